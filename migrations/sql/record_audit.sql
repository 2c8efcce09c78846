-- record_audit({drop_id, audited_at, is_over, is_sound}) -> {outcome}: what an audit says of the drop that claim_audit gave out.
-- A live drop whose books are not sound is `paused`; one that is over and sound is `sealed`; else `unchanged`. `overtaken`:
-- the drop was changed, or claimed by another, since then, and is audited again: nothing is concluded from the old audit.
CREATE OR REPLACE FUNCTION record_audit(audit jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    audited drops;
    is_sound boolean := (audit->>'is_sound')::boolean;
    verdict text;
BEGIN
    SELECT * INTO audited FROM drops WHERE id = audit->>'drop_id' FOR NO KEY UPDATE;
    verdict := CASE
        WHEN audited.audited_at IS DISTINCT FROM (audit->>'audited_at')::timestamptz THEN 'overtaken'
        WHEN NOT is_sound AND audited.state = 'live' THEN 'paused'
        WHEN is_sound AND (audit->>'is_over')::boolean THEN 'sealed'
        ELSE 'unchanged' END;
    UPDATE drops SET state = CASE verdict WHEN 'paused' THEN 'paused' ELSE state END,
        sealed_at = CASE verdict WHEN 'sealed' THEN clock_timestamp() END
    WHERE id = audited.id AND verdict IN ('paused', 'sealed');
    RETURN jsonb_build_object('outcome', verdict);
END $$;
