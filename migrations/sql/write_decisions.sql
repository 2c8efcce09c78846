-- write_decisions(ids, statuses, reasons): the books of reserve_orders, for orders that it has locked and decided. Not
-- granted to anybody: only reserve_orders, which runs as the owner, may call it.
CREATE OR REPLACE FUNCTION write_decisions(ids uuid[], statuses text[], reasons text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE items SET reserved = reserved + won.to_hold, sold = sold + won.to_sell
    FROM (SELECT r.drop_id, l.sku, coalesce(sum(l.quantity) FILTER (WHERE t.status = 'reserved'), 0) AS to_hold,
                 coalesce(sum(l.quantity) FILTER (WHERE t.status = 'confirmed'), 0) AS to_sell
          FROM unnest(ids, statuses) AS t (id, status) JOIN orders r ON r.id = t.id JOIN order_lines l ON l.order_id = r.id
          WHERE t.status IN ('reserved', 'confirmed') GROUP BY r.drop_id, l.sku) won
    WHERE items.drop_id = won.drop_id AND items.sku = won.sku;

    INSERT INTO customer_limits (drop_id, customer_id, quantity)
    SELECT r.drop_id, r.customer_id, sum(l.quantity)
    FROM unnest(ids, statuses) AS t (id, status) JOIN orders r ON r.id = t.id JOIN order_lines l ON l.order_id = r.id
    WHERE t.status IN ('reserved', 'confirmed') GROUP BY r.drop_id, r.customer_id ORDER BY r.drop_id, r.customer_id
    ON CONFLICT (drop_id, customer_id) DO UPDATE SET quantity = customer_limits.quantity + excluded.quantity;

    INSERT INTO ledger (drop_id, sku, order_id, kind, quantity)
    SELECT r.drop_id, l.sku, r.id, k.kind, l.quantity
    FROM unnest(ids, statuses) AS t (id, status) JOIN orders r ON r.id = t.id JOIN order_lines l ON l.order_id = r.id
    CROSS JOIN (VALUES ('reserve', 1), ('sell', 2)) AS k (kind, step)
    WHERE t.status = 'confirmed' OR t.status = 'reserved' AND k.kind = 'reserve'
    ORDER BY r.id, k.step;

    -- a free order passes through `reserved` on its way: two events, one state
    INSERT INTO events (drop_id, order_id, seq, type, reason)
    SELECT r.drop_id, r.id, r.event_seq + 1, CASE t.status WHEN 'confirmed' THEN 'order.reserved' ELSE 'order.' || t.status END, t.reason
    FROM unnest(ids, statuses, reasons) AS t (id, status, reason) JOIN orders r ON r.id = t.id
    UNION ALL
    SELECT r.drop_id, r.id, r.event_seq + 2, 'order.confirmed', NULL
    FROM unnest(ids, statuses) AS t (id, status) JOIN orders r ON r.id = t.id WHERE t.status = 'confirmed';

    UPDATE orders SET status = t.status, reason = t.reason, updated_at = clock_timestamp(),
        event_seq = event_seq + CASE t.status WHEN 'confirmed' THEN 2 ELSE 1 END,
        published_at = coalesce(nullif(published_at, '-infinity'), clock_timestamp())
    FROM unnest(ids, statuses, reasons) AS t (id, status, reason)
    WHERE orders.id = t.id;
END $$;
