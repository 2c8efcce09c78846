-- drop_messages([{id}]) -> {dropped}: delete rejected messages for good.
CREATE OR REPLACE FUNCTION drop_messages(batch jsonb) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
    WITH gone AS (
        DELETE FROM rejected_messages WHERE id IN (SELECT e->>'id' FROM jsonb_array_elements(batch) AS e) RETURNING 1
    )
    SELECT jsonb_build_object('dropped', count(*)) FROM gone
$$;
