-- close_drops({limit}) -> {closed}: live drops whose time is over have ended. A paused one stays paused: a person decides what
-- becomes of its orders. Orders that were accepted in time go on being decided.
CREATE OR REPLACE FUNCTION close_drops(bounds jsonb) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
    WITH over AS (
        SELECT id FROM drops WHERE state = 'live' AND ends_at <= now()
        ORDER BY ends_at LIMIT (bounds->>'limit')::integer FOR NO KEY UPDATE SKIP LOCKED
    ), closed AS (
        UPDATE drops SET state = 'ended', audited_at = '-infinity' FROM over WHERE drops.id = over.id RETURNING 1
    )
    SELECT jsonb_build_object('closed', count(*)) FROM closed
$$;
