-- reject_messages([{id, topic, reason, body}]) -> {recorded}: keep messages that can never be processed, and why. A
-- message that is delivered again is recorded once; one that was tried again because a person asked is recorded anew.
CREATE OR REPLACE FUNCTION reject_messages(batch jsonb) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH kept AS (
        INSERT INTO rejected_messages AS r (id, topic, reason, body)
        SELECT DISTINCT ON (m.id) m.id, m.topic, m.reason, m.body
        FROM jsonb_to_recordset(batch) AS m (id text, topic text, reason text, body text) ORDER BY m.id
        ON CONFLICT (id) DO UPDATE SET reason = excluded.reason, rejected_at = now(), retry_at = NULL WHERE r.retry_at IS NOT NULL
        RETURNING 1
    )
    SELECT jsonb_build_object('recorded', count(*)) FROM kept
$$;
