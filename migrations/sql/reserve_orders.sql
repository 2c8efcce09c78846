-- reserve_orders([{order_id}]) -> [{order_id, outcome, fingerprint}], one for each distinct id; outcome is the order's
-- status, or `paused` (the drop is: the order stays accepted) or `unknown_order`; the fingerprint is the stored request's.
--
-- Locks in the one order that everybody keeps (items, customer_limits, orders), then reads in a later statement, because
-- in READ COMMITTED a statement does not see what was committed while it waited. What never changes, who ordered what, is
-- read once, before the locks. Decides in a loop, oldest order first: an order that does not fit leaves its units to the
-- next one that does. Free orders are confirmed at once. (OFFSET 0 and enable_seqscan: see accept_orders.)
CREATE OR REPLACE FUNCTION reserve_orders(batch jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    asked uuid[];
    lines wanted_line[];
    waiting uuid[];
    free bigint[];
    bought bigint[];
    o record;
    i integer;
    verdict text;
    why text;
    decisions decision[] := '{}';
    outcomes jsonb;
BEGIN
    SELECT array_agg(DISTINCT (e->>'order_id')::uuid) INTO asked FROM jsonb_array_elements(batch) AS e;
    SELECT array_agg(ROW(w.*)::wanted_line) INTO lines FROM (
        SELECT r.id, r.drop_id, l.sku, l.quantity, r.customer_id, d.per_customer_limit,
               dense_rank() OVER (ORDER BY r.drop_id, l.sku), dense_rank() OVER (ORDER BY r.drop_id, r.customer_id)
        FROM unnest(asked) AS a (id)
        JOIN LATERAL (SELECT id, drop_id, customer_id, status FROM orders WHERE orders.id = a.id OFFSET 0) r ON r.status = 'accepted'
        JOIN LATERAL (SELECT sku, quantity FROM order_lines WHERE order_lines.order_id = a.id OFFSET 0) l ON true
        JOIN LATERAL (SELECT per_customer_limit FROM drops WHERE drops.id = r.drop_id OFFSET 0) d ON true
    ) w;

    IF lines IS NOT NULL THEN
        PERFORM 1 FROM items WHERE (drop_id, sku) IN (SELECT w.drop_id, w.sku FROM unnest(lines) AS w)
        ORDER BY drop_id, sku FOR NO KEY UPDATE;
        INSERT INTO customer_limits (drop_id, customer_id, quantity)
        SELECT DISTINCT w.drop_id, w.customer_id, 0 FROM unnest(lines) AS w WHERE w.per_customer_limit IS NOT NULL
        ORDER BY w.drop_id, w.customer_id ON CONFLICT DO NOTHING;
        PERFORM 1 FROM customer_limits WHERE (drop_id, customer_id) IN (
            SELECT w.drop_id, w.customer_id FROM unnest(lines) AS w WHERE w.per_customer_limit IS NOT NULL)
        ORDER BY drop_id, customer_id FOR NO KEY UPDATE;
        PERFORM 1 FROM orders WHERE id IN (SELECT w.order_id FROM unnest(lines) AS w) ORDER BY id FOR NO KEY UPDATE;

        SELECT array_agg(i.free ORDER BY w.item) INTO free  -- null: the drop has no such SKU
        FROM (SELECT DISTINCT item, drop_id, sku FROM unnest(lines)) w
        LEFT JOIN LATERAL (SELECT stock - reserved - sold AS free FROM items
                           WHERE items.drop_id = w.drop_id AND items.sku = w.sku OFFSET 0) i ON true;
        SELECT array_agg(coalesce(c.quantity, 0) ORDER BY w.buyer) INTO bought
        FROM (SELECT DISTINCT buyer, drop_id, customer_id, per_customer_limit FROM unnest(lines)) w
        LEFT JOIN LATERAL (SELECT quantity FROM customer_limits WHERE w.per_customer_limit IS NOT NULL
                           AND customer_limits.drop_id = w.drop_id AND customer_limits.customer_id = w.customer_id OFFSET 0) c ON true;

        FOR o IN
            SELECT r.id, r.amount_minor, w.buyer, w.per_customer_limit, w.items, w.quantities, w.units
            FROM (SELECT order_id, drop_id, buyer, per_customer_limit, array_agg(item) AS items,
                         array_agg(quantity) AS quantities, sum(quantity) AS units
                  FROM unnest(lines) GROUP BY order_id, drop_id, buyer, per_customer_limit) w
            JOIN LATERAL (SELECT id, status, amount_minor, accepted_at FROM orders
                          WHERE orders.id = w.order_id OFFSET 0) r ON r.status = 'accepted'
            JOIN LATERAL (SELECT state FROM drops WHERE drops.id = w.drop_id OFFSET 0) d ON d.state <> 'paused'
            ORDER BY r.accepted_at, r.id
        LOOP
            verdict := CASE WHEN o.amount_minor = 0 THEN 'confirmed' ELSE 'reserved' END;
            why := NULL;
            FOR i IN 1 .. array_length(o.items, 1) LOOP
                IF free[o.items[i]] IS NULL THEN
                    verdict := 'rejected'; why := 'unknown_sku'; EXIT;
                ELSIF free[o.items[i]] < o.quantities[i] THEN
                    verdict := 'sold_out';
                END IF;
            END LOOP;
            IF verdict <> 'rejected' AND bought[o.buyer] + o.units > o.per_customer_limit THEN
                verdict := 'rejected'; why := 'limit_exceeded';
            END IF;
            IF verdict IN ('confirmed', 'reserved') THEN
                FOR i IN 1 .. array_length(o.items, 1) LOOP
                    free[o.items[i]] := free[o.items[i]] - o.quantities[i];
                END LOOP;
                bought[o.buyer] := bought[o.buyer] + o.units;
            END IF;
            decisions := decisions || ROW(o.id, verdict, why)::decision;
        END LOOP;

        PERFORM write_decisions(lines, decisions);
    END IF;

    SELECT jsonb_agg(jsonb_build_object('order_id', a.id, 'fingerprint', r.fingerprint, 'outcome',
        CASE WHEN r.id IS NULL THEN 'unknown_order' WHEN r.status = 'accepted' THEN 'paused' ELSE r.status END))
    INTO outcomes
    FROM unnest(asked) AS a (id)
    LEFT JOIN LATERAL (SELECT id, status, fingerprint FROM orders WHERE orders.id = a.id OFFSET 0) r ON true;
    RETURN coalesce(outcomes, '[]'::jsonb);
END $$;
