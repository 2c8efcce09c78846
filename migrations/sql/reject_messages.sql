-- reject_messages([{id, topic, reason, body}]) -> {recorded}: keep messages that can never be processed, and why. A
-- message that is delivered again is recorded once.
CREATE OR REPLACE FUNCTION reject_messages(batch jsonb) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH kept AS (
        INSERT INTO rejected_messages (id, topic, reason, body)
        SELECT DISTINCT ON (m.id) m.id, m.topic, m.reason, m.body
        FROM jsonb_to_recordset(batch) AS m (id text, topic text, reason text, body text) ORDER BY m.id
        ON CONFLICT DO NOTHING RETURNING 1
    )
    SELECT jsonb_build_object('recorded', count(*)) FROM kept
$$;
