-- erase_personal_data({limit, retention_days}) -> {orders, messages, drops}: forget who bought in one drop that ended longer ago
-- than that, and is over: about `limit` orders (all orders of a customer go together, and one drop at a time); and the bodies
-- of up to `limit` messages that were rejected longer ago than that. `drops` is 1 when the last of a drop's orders was done.
-- Of two callers at once, one does nothing.
CREATE OR REPLACE FUNCTION erase_personal_data(bounds jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    past timestamptz := now() - make_interval(days => (bounds->>'retention_days')::integer);
    most integer := (bounds->>'limit')::integer;
    chosen text;
    orders_erased integer := 0;
    messages_erased integer := 0;
    is_done boolean := false;
BEGIN
    -- no lock on the drop: whoever moves orders locks drops last
    IF pg_try_advisory_xact_lock(hashtextextended('erase_personal_data', 0)) THEN
        SELECT id INTO chosen FROM drops WHERE erased_at IS NULL AND ends_at <= past AND is_over(id) ORDER BY ends_at LIMIT 1;
        orders_erased := forget_customers(chosen, ARRAY(
            SELECT customer_id FROM orders WHERE drop_id = chosen AND request ? 'customer' LIMIT most));
        UPDATE drops SET erased_at = clock_timestamp() WHERE id = chosen
            AND NOT EXISTS (SELECT 1 FROM orders WHERE drop_id = chosen AND request ? 'customer');
        is_done := FOUND;
        UPDATE rejected_messages SET body = '' WHERE id IN (
            SELECT id FROM rejected_messages WHERE body <> '' AND rejected_at <= past ORDER BY rejected_at LIMIT most);
        GET DIAGNOSTICS messages_erased = ROW_COUNT;
    END IF;
    RETURN jsonb_build_object('orders', orders_erased, 'messages', messages_erased, 'drops', is_done::integer);
END $$;
