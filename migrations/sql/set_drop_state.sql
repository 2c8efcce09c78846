-- set_drop_state({drop_id, state}) -> {outcome: ok | unchanged | drop_not_found | not_allowed, state: the one before}.
-- draft goes live, live and paused change places, and each of them can end; an ended drop stays ended.
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
    ELSIF before = 'ended' OR after = 'draft' OR (before = 'draft' AND after = 'paused') THEN
        RETURN jsonb_build_object('outcome', 'not_allowed', 'state', before);
    END IF;
    UPDATE drops SET state = after WHERE id = wanted->>'drop_id';
    RETURN jsonb_build_object('outcome', 'ok', 'state', before);
END $$;
