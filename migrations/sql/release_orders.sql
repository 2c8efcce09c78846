-- release_orders([{order_id, reason}]) -> [{order_id, outcome}]: end orders that are not paid for, and put what they
-- held back on sale. outcome: `cancelled`, `cancelling` (a charge may exist: its payment is called off first, and until
-- then the order stays as it is), `too_late` (already confirmed: money or units have changed hands), another status that
-- the order already has, or `unknown_order`. An accepted order holds nothing yet and is simply cancelled.
CREATE OR REPLACE FUNCTION release_orders(batch jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    o record;
    outcomes jsonb;
BEGIN
    PERFORM lock_orders(array_agg(DISTINCT (e->>'order_id')::uuid)) FROM jsonb_array_elements(batch) AS e;
    FOR o IN
        SELECT DISTINCT ON (r.id) r.id, r.status, e->>'reason' AS why, coalesce(p.state, 'due') = 'due' AS is_uncharged
        FROM jsonb_array_elements(batch) AS e JOIN orders r ON r.id = (e->>'order_id')::uuid
        LEFT JOIN payments p ON p.order_id = r.id
        WHERE r.status IN ('accepted', 'reserved', 'action_required') ORDER BY r.id
    LOOP
        IF o.is_uncharged THEN
            UPDATE payments SET state = 'cancelled', due_at = NULL, updated_at = clock_timestamp() WHERE order_id = o.id;
            PERFORM move_order(o.id, 'cancelled', o.why);
        ELSE
            UPDATE payments SET ending = coalesce(ending, o.why), due_at = clock_timestamp() WHERE order_id = o.id;
        END IF;
    END LOOP;

    SELECT jsonb_agg(jsonb_build_object('order_id', a.id, 'outcome', CASE
        WHEN r.id IS NULL THEN 'unknown_order'
        WHEN r.status IN ('reserved', 'action_required') THEN 'cancelling'
        WHEN r.status IN ('confirmed', 'refunded') THEN 'too_late'
        ELSE r.status END))
    INTO outcomes
    FROM (SELECT DISTINCT (e->>'order_id')::uuid AS id FROM jsonb_array_elements(batch) AS e) a LEFT JOIN orders r ON r.id = a.id;
    RETURN coalesce(outcomes, '[]'::jsonb);
END $$;
