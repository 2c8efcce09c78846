-- reserve_orders([{order_id}]) -> [{order_id, outcome, fingerprint}], one for each distinct id; outcome is the order's
-- status, or `paused` (the drop is: the order stays accepted) or `unknown_order`; the fingerprint is the stored request's.
--
-- Locks in the one order that everybody keeps (items, customer_limits, orders), then reads in a later statement, because
-- in READ COMMITTED a statement does not see what was committed while it waited. Decides in a loop, oldest order first:
-- an order that does not fit leaves its units to the next one that does. Free orders are confirmed at once.
CREATE OR REPLACE FUNCTION reserve_orders(batch jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    asked uuid[];
    waiting uuid[];
    item_drops text[];
    item_skus text[];
    free bigint[];
    buyer_drops text[];
    buyer_ids text[];
    bought bigint[];
    o record;
    i integer;
    verdict text;
    why text;
    decided uuid[] := '{}';
    statuses text[] := '{}';
    reasons text[] := '{}';
    outcomes jsonb;
BEGIN
    SELECT array_agg(DISTINCT (e->>'order_id')::uuid) INTO asked FROM jsonb_array_elements(batch) AS e;
    SELECT array_agg(id) INTO waiting FROM orders WHERE id = ANY (asked) AND status = 'accepted';

    IF waiting IS NOT NULL THEN
        PERFORM 1 FROM items
        WHERE (drop_id, sku) IN (SELECT r.drop_id, l.sku FROM orders r JOIN order_lines l ON l.order_id = r.id
                                 WHERE r.id = ANY (waiting))
        ORDER BY drop_id, sku FOR NO KEY UPDATE;
        INSERT INTO customer_limits (drop_id, customer_id, quantity)
        SELECT DISTINCT drop_id, customer_id, 0 FROM orders r WHERE id = ANY (waiting)
            AND EXISTS (SELECT 1 FROM drops d WHERE d.id = r.drop_id AND d.per_customer_limit IS NOT NULL)
        ORDER BY drop_id, customer_id ON CONFLICT DO NOTHING;
        PERFORM 1 FROM customer_limits
        WHERE (drop_id, customer_id) IN (SELECT drop_id, customer_id FROM orders WHERE id = ANY (waiting))
        ORDER BY drop_id, customer_id FOR NO KEY UPDATE;
        PERFORM 1 FROM orders WHERE id = ANY (waiting) ORDER BY id FOR NO KEY UPDATE;

        SELECT array_agg(drop_id ORDER BY drop_id, sku), array_agg(sku ORDER BY drop_id, sku),
               array_agg(stock - reserved - sold ORDER BY drop_id, sku)
        INTO item_drops, item_skus, free
        FROM items WHERE (drop_id, sku) IN (SELECT r.drop_id, l.sku FROM orders r JOIN order_lines l ON l.order_id = r.id
                                            WHERE r.id = ANY (waiting));
        SELECT array_agg(b.drop_id ORDER BY b.drop_id, b.customer_id), array_agg(b.customer_id ORDER BY b.drop_id, b.customer_id),
               array_agg(coalesce(c.quantity, 0) ORDER BY b.drop_id, b.customer_id)
        INTO buyer_drops, buyer_ids, bought
        FROM (SELECT DISTINCT drop_id, customer_id FROM orders WHERE id = ANY (waiting)) b
        LEFT JOIN customer_limits c USING (drop_id, customer_id);

        FOR o IN
            WITH item AS MATERIALIZED (
                SELECT * FROM unnest(item_drops, item_skus) WITH ORDINALITY AS t (drop_id, sku, n)
            ), buyer AS MATERIALIZED (
                SELECT * FROM unnest(buyer_drops, buyer_ids) WITH ORDINALITY AS t (drop_id, customer_id, n)
            )
            SELECT r.id, r.amount_minor, r.accepted_at, b.n AS buyer, d.per_customer_limit,
                   array_agg(item.n) AS items, array_agg(l.quantity) AS quantities, sum(l.quantity) AS units
            FROM orders r
            JOIN drops d ON d.id = r.drop_id AND d.state <> 'paused'
            JOIN order_lines l ON l.order_id = r.id
            JOIN buyer b ON b.drop_id = r.drop_id AND b.customer_id = r.customer_id
            LEFT JOIN item ON item.drop_id = r.drop_id AND item.sku = l.sku
            WHERE r.id = ANY (waiting) AND r.status = 'accepted'
            GROUP BY r.id, r.amount_minor, r.accepted_at, b.n, d.per_customer_limit
            ORDER BY r.accepted_at, r.id
        LOOP
            verdict := CASE WHEN o.amount_minor = 0 THEN 'confirmed' ELSE 'reserved' END;
            why := NULL;
            FOR i IN 1 .. array_length(o.items, 1) LOOP
                IF o.items[i] IS NULL THEN
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
            decided := decided || o.id;
            statuses := statuses || verdict;
            reasons := reasons || why;
        END LOOP;

        PERFORM write_decisions(decided, statuses, reasons);
    END IF;

    SELECT jsonb_agg(jsonb_build_object('order_id', a.id, 'fingerprint', r.fingerprint, 'outcome',
        CASE WHEN r.id IS NULL THEN 'unknown_order' WHEN r.status = 'accepted' THEN 'paused' ELSE r.status END))
    INTO outcomes
    FROM unnest(asked) AS a (id) LEFT JOIN orders r ON r.id = a.id;
    RETURN coalesce(outcomes, '[]'::jsonb);
END $$;
