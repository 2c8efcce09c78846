-- finish_retries([{id, retry_at}]) -> {finished}: these messages were tried again, as asked for at retry_at. Those that were not
-- rejected anew are done with, and go; reject_messages has taken the others' request back.
CREATE OR REPLACE FUNCTION finish_retries(batch jsonb) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
    WITH gone AS (
        DELETE FROM rejected_messages m USING jsonb_to_recordset(batch) AS tried (id text, retry_at timestamptz)
        WHERE m.id = tried.id AND m.retry_at = tried.retry_at RETURNING 1
    )
    SELECT jsonb_build_object('finished', count(*)) FROM gone
$$;
