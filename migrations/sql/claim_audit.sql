-- claim_audit({pause_seconds, seal_after_seconds}) -> {drop}: the drop to be audited next, which is the least recently audited
-- one; null if all were within pause_seconds. drop is {drop_id, audited_at, is_over}. is_over: nothing can move in it any more,
-- so if its books are found in order now, they stay so; seal_after_seconds lets calls end that began before the drop did.
-- Two callers at once get different drops.
CREATE OR REPLACE FUNCTION claim_audit(bounds jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    claimed drops;
BEGIN
    UPDATE drops SET audited_at = clock_timestamp() WHERE id = (
        SELECT id FROM drops
        WHERE sealed_at IS NULL AND audited_at <= now() - make_interval(secs => (bounds->>'pause_seconds')::double precision)
        ORDER BY audited_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
    RETURNING * INTO claimed;
    -- a statement of its own: what was committed before the drop was locked must be seen
    RETURN jsonb_build_object('drop', CASE WHEN claimed.id IS NOT NULL THEN jsonb_build_object(
        'drop_id', claimed.id, 'audited_at', claimed.audited_at,
        'is_over', claimed.ends_at <= now() - make_interval(secs => (bounds->>'seal_after_seconds')::double precision)
                   AND is_over(claimed.id)) END);
END $$;
