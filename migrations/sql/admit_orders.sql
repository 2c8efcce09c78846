-- admit_orders([{order_id, drop_id, idempotency_key, fingerprint, request, amount_minor, published_at}]) ->
-- [{order_id, outcome}], in the same order: insert orders that were accepted while the database was away, from their
-- messages. outcome: `stored` (now or before: the stored row wins), `drop_not_found`, or `conflict` (the key belongs to an
-- order of another id). Of two messages under one id, the one that was published first is the order.
--
-- The buyer was told 202, so what can't be served is a row with its reason: `rejected`, when the drop was not open at
-- published_at (`drop_closed`), sells no such SKU (`unknown_sku`) or asks another price than quoted (`price_changed`).
CREATE OR REPLACE FUNCTION admit_orders(batch jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    outcomes jsonb;
BEGIN
    WITH asked AS MATERIALIZED (
        SELECT DISTINCT ON (order_id) a.*, least(a.published_at, now()) AS accepted_at, d.id IS NOT NULL AS known,
               d.state <> 'draft' AND a.published_at >= d.starts_at AND a.published_at < d.ends_at AS was_open
        FROM jsonb_to_recordset(batch) AS a (order_id uuid, drop_id text, idempotency_key text, fingerprint text,
                                             request jsonb, amount_minor bigint, published_at timestamptz)
        LEFT JOIN drops d ON d.id = a.drop_id ORDER BY order_id, published_at
    ), line AS MATERIALIZED (
        SELECT a.order_id, l->>'sku' AS sku, (l->>'quantity')::integer AS quantity, coalesce(i.unit_price_minor, 0) AS price,
               i.sku IS NULL AS unknown
        FROM asked a CROSS JOIN LATERAL jsonb_array_elements(a.request->'items') AS l
        LEFT JOIN items i ON i.drop_id = a.drop_id AND i.sku = l->>'sku'
        WHERE a.known
    ), cart AS (
        SELECT order_id, sum(quantity * price)::bigint AS amount_minor, bool_or(unknown) AS unknown FROM line GROUP BY order_id
    ), judged AS (
        SELECT a.order_id, a.drop_id, a.idempotency_key, a.fingerprint, a.request, a.accepted_at, c.amount_minor, CASE
            WHEN NOT a.was_open THEN 'drop_closed'
            WHEN c.unknown THEN 'unknown_sku'
            WHEN c.amount_minor <> a.amount_minor THEN 'price_changed'
        END AS reason
        FROM asked a JOIN cart c USING (order_id)
    ), created AS (
        INSERT INTO orders (id, drop_id, idempotency_key, fingerprint, customer_id, amount_minor, request, status, reason,
                            event_seq, accepted_at, published_at)
        SELECT order_id, drop_id, idempotency_key, fingerprint, request->'customer'->>'id', amount_minor, request,
               CASE WHEN reason IS NULL THEN 'accepted' ELSE 'rejected' END, reason,
               CASE WHEN reason IS NULL THEN 1 ELSE 2 END, accepted_at, accepted_at
        FROM judged ORDER BY order_id
        ON CONFLICT DO NOTHING RETURNING id, drop_id, reason, accepted_at
    ), lines AS (
        INSERT INTO order_lines (order_id, sku, quantity, unit_price_minor)
        SELECT l.order_id, l.sku, l.quantity, l.price FROM line l JOIN created ON created.id = l.order_id
    )
    INSERT INTO events (drop_id, order_id, seq, type, reason, occurred_at)
    SELECT drop_id, id, 1, 'order.accepted', NULL, accepted_at FROM created
    UNION ALL
    SELECT drop_id, id, 2, 'order.rejected', reason, clock_timestamp() FROM created WHERE reason IS NOT NULL;

    PERFORM touch_drops(ARRAY(SELECT e->>'drop_id' FROM jsonb_array_elements(batch) AS e));

    -- a statement of its own, to see what others committed while the insertion waited for them
    SELECT jsonb_agg(jsonb_build_object('order_id', a.order_id, 'outcome', CASE
        WHEN o.id IS NOT NULL THEN 'stored' WHEN d.id IS NULL THEN 'drop_not_found' ELSE 'conflict' END) ORDER BY a.n)
    INTO outcomes
    FROM (SELECT n, (e->>'order_id')::uuid AS order_id, e->>'drop_id' AS drop_id
          FROM jsonb_array_elements(batch) WITH ORDINALITY AS t (e, n)) a
    LEFT JOIN LATERAL (SELECT id FROM orders WHERE orders.id = a.order_id OFFSET 0) o ON true LEFT JOIN drops d ON d.id = a.drop_id;
    RETURN coalesce(outcomes, '[]'::jsonb);
END $$;
