-- lock_orders(asked): lock everything that orders can move, in the one order that everybody keeps: items, customer_limits,
-- orders, payments. What has to be decided is read in a later statement. Not granted to anybody.
CREATE OR REPLACE FUNCTION lock_orders(asked uuid[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM 1 FROM items
    WHERE (drop_id, sku) IN (SELECT r.drop_id, l.sku FROM orders r JOIN order_lines l ON l.order_id = r.id WHERE r.id = ANY (asked))
    ORDER BY drop_id, sku FOR NO KEY UPDATE;
    PERFORM 1 FROM customer_limits
    WHERE (drop_id, customer_id) IN (SELECT drop_id, customer_id FROM orders WHERE id = ANY (asked))
    ORDER BY drop_id, customer_id FOR NO KEY UPDATE;
    PERFORM 1 FROM orders WHERE id = ANY (asked) ORDER BY id FOR NO KEY UPDATE;
    PERFORM 1 FROM payments WHERE order_id = ANY (asked) ORDER BY order_id FOR NO KEY UPDATE;
END $$;
