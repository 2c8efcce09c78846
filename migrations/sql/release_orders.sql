-- release_orders([{order_id, reason}]) -> [{order_id, outcome}]: end orders that are not paid for, and put what they
-- held back on sale. outcome: `cancelled`, `too_late` (already confirmed: money or units have changed hands), another
-- status that the order already has, or `unknown_order`. An accepted order holds nothing yet and is simply cancelled.
CREATE OR REPLACE FUNCTION release_orders(batch jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    asked uuid[];
    held uuid[];
    ending uuid[];
    outcomes jsonb;
BEGIN
    SELECT array_agg(DISTINCT (e->>'order_id')::uuid) INTO asked FROM jsonb_array_elements(batch) AS e;
    PERFORM 1 FROM items
    WHERE (drop_id, sku) IN (SELECT r.drop_id, l.sku FROM orders r JOIN order_lines l ON l.order_id = r.id
                             WHERE r.id = ANY (asked) AND r.status IN ('accepted', 'reserved'))
    ORDER BY drop_id, sku FOR NO KEY UPDATE;
    PERFORM 1 FROM customer_limits
    WHERE (drop_id, customer_id) IN (SELECT drop_id, customer_id FROM orders
                                     WHERE id = ANY (asked) AND status IN ('accepted', 'reserved'))
    ORDER BY drop_id, customer_id FOR NO KEY UPDATE;
    PERFORM 1 FROM orders WHERE id = ANY (asked) ORDER BY id FOR NO KEY UPDATE;

    SELECT array_agg(id), array_agg(id) FILTER (WHERE status = 'reserved') INTO ending, held
    FROM orders WHERE id = ANY (asked) AND status IN ('accepted', 'reserved');

    UPDATE items SET reserved = reserved - back.quantity
    FROM (SELECT r.drop_id, l.sku, sum(l.quantity) AS quantity FROM orders r JOIN order_lines l ON l.order_id = r.id
          WHERE r.id = ANY (held) GROUP BY r.drop_id, l.sku) back
    WHERE items.drop_id = back.drop_id AND items.sku = back.sku;
    UPDATE customer_limits SET quantity = customer_limits.quantity - back.quantity
    FROM (SELECT r.drop_id, r.customer_id, sum(l.quantity) AS quantity FROM orders r JOIN order_lines l ON l.order_id = r.id
          WHERE r.id = ANY (held) GROUP BY r.drop_id, r.customer_id) back
    WHERE customer_limits.drop_id = back.drop_id AND customer_limits.customer_id = back.customer_id;
    INSERT INTO ledger (drop_id, sku, order_id, kind, quantity)
    SELECT r.drop_id, l.sku, r.id, 'release', l.quantity
    FROM orders r JOIN order_lines l ON l.order_id = r.id WHERE r.id = ANY (held);

    WITH reason AS (
        SELECT DISTINCT ON (id) (e->>'order_id')::uuid AS id, e->>'reason' AS reason
        FROM jsonb_array_elements(batch) AS e ORDER BY id
    ), ended AS (
        UPDATE orders SET status = 'cancelled', reason = reason.reason, updated_at = clock_timestamp(),
            event_seq = event_seq + 1, hold_expires_at = NULL
        FROM reason WHERE orders.id = reason.id AND orders.id = ANY (ending)
        RETURNING orders.drop_id, orders.id, orders.event_seq, orders.reason
    )
    INSERT INTO events (drop_id, order_id, seq, type, reason)
    SELECT drop_id, id, event_seq, 'order.cancelled', reason FROM ended;

    SELECT jsonb_agg(jsonb_build_object('order_id', a.id, 'outcome',
        CASE WHEN r.id IS NULL THEN 'unknown_order' WHEN r.status IN ('confirmed', 'refunded') THEN 'too_late' ELSE r.status END))
    INTO outcomes
    FROM unnest(asked) AS a (id) LEFT JOIN orders r ON r.id = a.id;
    RETURN coalesce(outcomes, '[]'::jsonb);
END $$;
