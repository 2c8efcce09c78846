-- move_order(order_id, status, reason): the books of one step of an order that lock_orders has locked. Units that it held are
-- sold (confirmed) or go back on sale (declined, expired, cancelled); a refunded order no longer counts for its buyer's limit.
-- A card is of no use to an order that is decided, so the payment method goes. Not granted to anybody.
CREATE OR REPLACE FUNCTION move_order(moved uuid, after text, why text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    before orders;
    held boolean;
    gives_back boolean;
BEGIN
    SELECT * INTO before FROM orders WHERE id = moved;
    held := before.status IN ('reserved', 'action_required');
    gives_back := held AND after IN ('declined', 'expired', 'cancelled');
    IF gives_back OR (held AND after = 'confirmed') THEN
        UPDATE items SET reserved = reserved - l.quantity, sold = sold + CASE after WHEN 'confirmed' THEN l.quantity ELSE 0 END
        FROM order_lines l WHERE l.order_id = moved AND items.drop_id = before.drop_id AND items.sku = l.sku;
        INSERT INTO ledger (drop_id, sku, order_id, kind, quantity)
        SELECT before.drop_id, sku, moved, CASE after WHEN 'confirmed' THEN 'sell' ELSE 'release' END, quantity
        FROM order_lines WHERE order_id = moved ORDER BY sku;
    END IF;
    IF gives_back OR (before.status = 'confirmed' AND after = 'refunded') THEN
        UPDATE customer_limits SET quantity = quantity - (SELECT sum(l.quantity) FROM order_lines l WHERE l.order_id = moved)
        WHERE drop_id = before.drop_id AND customer_id = before.customer_id;
    END IF;
    UPDATE orders SET status = after, reason = why, event_seq = event_seq + 1, updated_at = clock_timestamp(),
        hold_expires_at = CASE after WHEN 'action_required' THEN hold_expires_at END,
        request = CASE after WHEN 'action_required' THEN request ELSE request - 'payment_method' END
    WHERE id = moved;
    INSERT INTO events (drop_id, order_id, seq, type, reason)
    VALUES (before.drop_id, moved, before.event_seq + 1, 'order.' || after, why);
END $$;
