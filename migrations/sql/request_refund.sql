-- request_refund({refund_id, order_id, amount_minor, restock}) -> {outcome, refund_id, amount_minor, left_minor}: write down
-- that money is to go back, before anybody asks the provider. Without amount_minor it is all that is left. outcome: `recorded`,
-- `replayed` (the same refund_id again), `conflict` (another refund has that id), `unknown_order`, `nothing_left` (nothing was
-- captured, or all of it is on its way back), `too_much`, or `not_all` (units can only go back on sale with the last of the
-- money). left_minor is what can still be refunded after this.
CREATE OR REPLACE FUNCTION request_refund(wanted jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    asked uuid := (wanted->>'order_id')::uuid;
    free_minor bigint;
    amount bigint;
    known refunds;
    verdict text;
BEGIN
    PERFORM lock_orders(ARRAY[asked]);
    SELECT coalesce((SELECT captured_minor FROM payments WHERE order_id = asked), 0)
           - coalesce((SELECT sum(amount_minor) FROM refunds WHERE order_id = asked AND state <> 'failed'), 0) INTO free_minor;
    amount := coalesce((wanted->>'amount_minor')::bigint, free_minor);
    SELECT * INTO known FROM refunds WHERE id = (wanted->>'refund_id')::uuid;
    verdict := CASE
        WHEN known.order_id <> asked OR known.amount_minor <> (wanted->>'amount_minor')::bigint
            OR known.restock <> coalesce((wanted->>'restock')::boolean, false) THEN 'conflict'
        WHEN known.id IS NOT NULL THEN 'replayed'
        WHEN NOT EXISTS (SELECT 1 FROM orders WHERE id = asked) THEN 'unknown_order'
        WHEN free_minor = 0 THEN 'nothing_left'
        WHEN amount > free_minor THEN 'too_much'
        WHEN (wanted->>'restock')::boolean AND amount < free_minor THEN 'not_all'
        ELSE 'recorded' END;
    IF verdict = 'recorded' THEN
        INSERT INTO refunds (id, order_id, amount_minor, reason, restock)
        VALUES ((wanted->>'refund_id')::uuid, asked, amount, 'operator', coalesce((wanted->>'restock')::boolean, false))
        ON CONFLICT (id) DO NOTHING;
        IF FOUND THEN
            free_minor := free_minor - amount;
            PERFORM touch_drops(ARRAY(SELECT drop_id FROM orders WHERE id = asked));
        ELSE  -- another order's refund took the id while this one looked
            verdict := 'conflict';
        END IF;
    END IF;
    RETURN jsonb_build_object('outcome', verdict, 'refund_id', wanted->>'refund_id',
        'amount_minor', coalesce(known.amount_minor, amount), 'left_minor', free_minor);
END $$;
