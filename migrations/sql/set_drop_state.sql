-- set_drop_state({drop_id, state, from_states?: [state]}) -> {outcome: ok | unchanged | drop_not_found | not_allowed,
-- state: the one before}. draft goes live, live and paused change places, and each of them can end; an ended drop stays
-- ended. from_states narrows that down further: open and resume both ask for live, and must not do each other's work.
-- A drop that is closed before its time ends now: an order that reached only the queue is judged by when it was published.
CREATE OR REPLACE FUNCTION set_drop_state(wanted jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    before text;
    after text := wanted->>'state';
BEGIN
    SELECT state INTO before FROM drops WHERE id = wanted->>'drop_id' FOR NO KEY UPDATE;
    IF before IS NULL THEN
        RETURN jsonb_build_object('outcome', 'drop_not_found', 'state', NULL);
    ELSIF before = after THEN
        RETURN jsonb_build_object('outcome', 'unchanged', 'state', before);
    ELSIF before = 'ended' OR after = 'draft' OR (before = 'draft' AND after = 'paused')
          OR NOT coalesce(wanted->'from_states' ? before, true) THEN
        RETURN jsonb_build_object('outcome', 'not_allowed', 'state', before);
    END IF;
    UPDATE drops SET state = after, audited_at = '-infinity',
        ends_at = CASE WHEN after = 'ended' AND now() > starts_at THEN least(ends_at, now()) ELSE ends_at END
    WHERE id = wanted->>'drop_id';
    RETURN jsonb_build_object('outcome', 'ok', 'state', before);
END $$;
