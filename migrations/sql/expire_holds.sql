-- expire_holds({limit}) -> {expired}: orders whose buyers' time is over, oldest first: their payments are to be called off.
-- Units go back on sale when the provider has said that it can't capture the money any more (settle_payments).
CREATE OR REPLACE FUNCTION expire_holds(bounds jsonb) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
    WITH late AS (
        SELECT o.id FROM orders o JOIN payments p ON p.order_id = o.id
        WHERE o.hold_expires_at <= now() AND o.status IN ('reserved', 'action_required') AND p.ending IS NULL
        ORDER BY o.hold_expires_at LIMIT (bounds->>'limit')::integer
        FOR NO KEY UPDATE OF o, p SKIP LOCKED
    ), marked AS (
        UPDATE payments SET ending = 'hold_expired', due_at = clock_timestamp() FROM late WHERE payments.order_id = late.id RETURNING 1
    )
    SELECT jsonb_build_object('expired', count(*)) FROM marked
$$;
