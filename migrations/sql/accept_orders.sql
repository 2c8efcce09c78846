-- accept_orders([{order_id, drop_id, idempotency_key, fingerprint, request, payable}]) -> [verdict], in the same order.
--
-- A verdict is {outcome, order_id, ...}: `created`, `replayed`, `conflict` (same key, other fingerprint), or a refusal
-- that leaves no row: drop_not_found, not_open, closed, paused, unknown_sku, payment_method_required, price_changed,
-- sold_out, payments_unavailable. The first statement judges every request and inserts what can be accepted; the second
-- one sees what others committed meanwhile, so a key that was ever accepted is a replay whatever the drop is by now.
-- Rows go in by id, so that two batches sharing keys wait for each other instead of deadlocking.
CREATE OR REPLACE FUNCTION accept_orders(batch jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    judged jsonb;
    verdicts jsonb;
BEGIN
    WITH asked AS MATERIALIZED (
        SELECT n, (e->>'order_id')::uuid AS order_id, e->>'drop_id' AS drop_id, e->>'idempotency_key' AS idempotency_key,
               e->>'fingerprint' AS fingerprint, e->'request' AS request, (e->>'payable')::boolean AS payable
        FROM jsonb_array_elements(batch) WITH ORDINALITY AS t (e, n)
    ), line AS MATERIALIZED (
        SELECT a.n, l->>'sku' AS sku, (l->>'quantity')::integer AS quantity, i.unit_price_minor,
               i.sku IS NULL AS unknown, i.stock - i.reserved - i.sold <= 0 AS sold_out
        FROM asked a CROSS JOIN LATERAL jsonb_array_elements(a.request->'items') AS l
        LEFT JOIN items i ON i.drop_id = a.drop_id AND i.sku = l->>'sku'
    ), cart AS (
        SELECT n, sum(quantity * unit_price_minor)::bigint AS amount_minor,
               jsonb_agg(sku ORDER BY sku) FILTER (WHERE unknown) AS unknown_skus,
               jsonb_agg(sku ORDER BY sku) FILTER (WHERE sold_out) AS sold_out_skus
        FROM line GROUP BY n
    ), verdict AS MATERIALIZED (
        SELECT a.*, c.amount_minor, c.unknown_skus, c.sold_out_skus, d.starts_at, CASE
            WHEN d.id IS NULL THEN 'drop_not_found'
            WHEN d.state = 'ended' OR now() >= d.ends_at THEN 'closed'
            WHEN d.state = 'draft' OR now() < d.starts_at THEN 'not_open'
            WHEN d.state = 'paused' THEN 'paused'
            WHEN c.unknown_skus IS NOT NULL THEN 'unknown_sku'
            WHEN a.payable AND c.amount_minor > 0 AND a.request->>'payment_method' IS NULL THEN 'payment_method_required'
            WHEN (a.request->>'expected_amount_minor')::bigint <> c.amount_minor THEN 'price_changed'
            WHEN c.sold_out_skus IS NOT NULL THEN 'sold_out'
            WHEN c.amount_minor > 0 AND NOT a.payable THEN 'payments_unavailable'
        END AS refusal
        FROM asked a JOIN cart c USING (n) LEFT JOIN drops d ON d.id = a.drop_id
    ), chosen AS (
        SELECT DISTINCT ON (order_id) * FROM verdict WHERE refusal IS NULL ORDER BY order_id, n
    ), created AS (
        INSERT INTO orders (id, drop_id, idempotency_key, fingerprint, customer_id, amount_minor, request)
        SELECT order_id, drop_id, idempotency_key, fingerprint, request->'customer'->>'id', amount_minor, request
        FROM chosen ORDER BY order_id
        ON CONFLICT DO NOTHING RETURNING id, drop_id
    ), lines AS (
        INSERT INTO order_lines (order_id, sku, quantity, unit_price_minor)
        SELECT h.order_id, l.sku, l.quantity, l.unit_price_minor
        FROM chosen h JOIN created ON created.id = h.order_id JOIN line l ON l.n = h.n
    ), announced AS (
        INSERT INTO events (drop_id, order_id, seq, type) SELECT drop_id, id, 1, 'order.accepted' FROM created
    )
    SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
        'n', v.n, 'order_id', v.order_id, 'drop_id', v.drop_id, 'key', v.idempotency_key, 'fingerprint', v.fingerprint,
        'refusal', v.refusal, 'amount_minor', v.amount_minor, 'starts_at', v.starts_at,
        'unknown_skus', v.unknown_skus, 'sold_out_skus', v.sold_out_skus, 'created', created.id IS NOT NULL AND h.n IS NOT NULL)))
    INTO judged
    FROM verdict v LEFT JOIN chosen h ON h.n = v.n LEFT JOIN created ON created.id = v.order_id;

    SELECT jsonb_agg(CASE
        WHEN (j->>'created')::boolean THEN
            jsonb_build_object('outcome', 'created', 'order_id', o.id, 'amount_minor', o.amount_minor)
        WHEN o.id IS NOT NULL THEN jsonb_build_object(
            'outcome', CASE WHEN o.fingerprint = j->>'fingerprint' THEN 'replayed' ELSE 'conflict' END,
            'order_id', o.id, 'amount_minor', o.amount_minor)
        ELSE (j - '{n,key,fingerprint,refusal,created}'::text[]) || jsonb_build_object('outcome', j->>'refusal')
        END ORDER BY (j->>'n')::bigint)
    INTO verdicts
    FROM jsonb_array_elements(judged) AS j
    LEFT JOIN orders o ON o.drop_id = j->>'drop_id' AND o.idempotency_key = j->>'key';
    RETURN coalesce(verdicts, '[]'::jsonb);
END $$;
