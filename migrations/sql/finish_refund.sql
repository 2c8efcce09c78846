-- finish_refund(order_id, restock): all the money of an order that lock_orders has locked has gone back. Units that were
-- sold go back on sale if they are to. Not granted to anybody.
CREATE OR REPLACE FUNCTION finish_refund(refunded uuid, restock boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    before orders;
BEGIN
    SELECT * INTO before FROM orders WHERE id = refunded;
    IF restock AND before.status = 'confirmed' THEN
        UPDATE items SET sold = sold - l.quantity FROM order_lines l
        WHERE l.order_id = refunded AND items.drop_id = before.drop_id AND items.sku = l.sku;
        INSERT INTO ledger (drop_id, sku, order_id, kind, quantity)
        SELECT before.drop_id, sku, refunded, 'restock', quantity FROM order_lines WHERE order_id = refunded ORDER BY sku;
    END IF;
    PERFORM move_order(refunded, 'refunded', coalesce(before.reason, 'operator'));
END $$;
