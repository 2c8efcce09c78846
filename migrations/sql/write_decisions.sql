-- write_decisions(lines, decisions): the books of reserve_orders, for orders that it has locked and decided. Not granted to
-- anybody: only reserve_orders, which runs as the owner, may call it.
CREATE OR REPLACE FUNCTION write_decisions(lines wanted_line[], decisions decision[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    won wanted_line[];  -- the lines of the orders that get what they asked for
BEGIN
    SELECT array_agg(w) INTO won FROM unnest(lines) AS w JOIN unnest(decisions) AS d USING (order_id)
    WHERE d.status IN ('reserved', 'confirmed');

    UPDATE items SET reserved = reserved + t.to_hold, sold = sold + t.to_sell
    FROM (SELECT w.drop_id, w.sku, coalesce(sum(w.quantity) FILTER (WHERE d.status = 'reserved'), 0) AS to_hold,
                 coalesce(sum(w.quantity) FILTER (WHERE d.status = 'confirmed'), 0) AS to_sell
          FROM unnest(won) AS w JOIN unnest(decisions) AS d USING (order_id) GROUP BY w.drop_id, w.sku) t
    WHERE items.drop_id = t.drop_id AND items.sku = t.sku;

    UPDATE customer_limits SET quantity = customer_limits.quantity + t.quantity
    FROM (SELECT drop_id, customer_id, sum(quantity) AS quantity FROM unnest(won)
          WHERE per_customer_limit IS NOT NULL GROUP BY drop_id, customer_id) t
    WHERE customer_limits.drop_id = t.drop_id AND customer_limits.customer_id = t.customer_id;

    INSERT INTO ledger (drop_id, sku, order_id, kind, quantity)
    SELECT w.drop_id, w.sku, w.order_id, k.kind, w.quantity
    FROM unnest(won) AS w JOIN unnest(decisions) AS d USING (order_id)
    CROSS JOIN (VALUES ('reserve', 1), ('sell', 2)) AS k (kind, step)
    WHERE d.status = 'confirmed' OR k.kind = 'reserve'
    ORDER BY w.order_id, k.step;

    -- what is held has to be paid for, in the order of the decisions
    INSERT INTO payments (order_id, drop_id, amount_minor)
    SELECT o.id, o.drop_id, o.amount_minor
    FROM unnest(decisions) WITH ORDINALITY AS d (order_id, status, reason, n)
    JOIN LATERAL (SELECT id, drop_id, amount_minor FROM orders WHERE orders.id = d.order_id OFFSET 0) o ON true
    WHERE d.status = 'reserved' ORDER BY d.n;

    -- an order that needs no card any more keeps none; a free order passes through `reserved` on its way: two events, one state
    WITH written AS (
        UPDATE orders SET status = d.status, reason = d.reason, updated_at = clock_timestamp(),
            event_seq = event_seq + CASE d.status WHEN 'confirmed' THEN 2 ELSE 1 END,
            request = CASE d.status WHEN 'reserved' THEN request ELSE request - 'payment_method' END,
            published_at = coalesce(nullif(published_at, '-infinity'), clock_timestamp())
        FROM unnest(decisions) AS d WHERE orders.id = d.order_id
        RETURNING orders.drop_id, orders.id, orders.event_seq, orders.status, orders.reason
    )
    INSERT INTO events (drop_id, order_id, seq, type, reason)
    SELECT w.drop_id, w.id, w.event_seq + e.step, 'order.' || e.status, w.reason
    FROM written w CROSS JOIN LATERAL (
        SELECT 0 AS step, w.status UNION ALL SELECT -1, 'reserved' WHERE w.status = 'confirmed') AS e (step, status)
    ORDER BY w.id, e.step;
END $$;
