-- retry_messages([{id}]) -> [{id, outcome}], in the same order: a person asks for rejected messages to be tried again, which
-- reconcile does. outcome: `asked`, `erased` (nothing of it is left to be tried), or `unknown_message`.
CREATE OR REPLACE FUNCTION retry_messages(batch jsonb) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
    WITH asked AS (
        SELECT e->>'id' AS id, n FROM jsonb_array_elements(batch) WITH ORDINALITY AS t (e, n)
    ), marked AS (
        UPDATE rejected_messages SET retry_at = clock_timestamp() WHERE id IN (SELECT id FROM asked) AND body <> ''
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object('id', a.id, 'outcome', CASE
        WHEN m.id IS NULL THEN 'unknown_message' WHEN m.body = '' THEN 'erased' ELSE 'asked' END) ORDER BY a.n), '[]'::jsonb)
    FROM asked a LEFT JOIN rejected_messages m ON m.id = a.id
$$;
