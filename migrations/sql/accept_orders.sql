-- accept_orders([{order_id, drop_id, idempotency_key, fingerprint, request, payable}]) -> [verdict], in the same order.
--
-- A verdict is {outcome, order_id, ...}: `created`, `replayed`, `conflict` (same key, other fingerprint), or a refusal
-- that leaves no row: drop_not_found, not_open, closed, paused, unknown_sku, payment_method_required, price_changed,
-- sold_out, payments_unavailable. The first statement judges every request and inserts what can be accepted; the second
-- one sees what others committed meanwhile, so a key that was ever accepted is a replay whatever the drop is by now.
-- Copies of one request wait for each other before they are judged: one that comes while the other is accepted but not yet
-- committed would not find its row, and might be told that the last unit is gone.
-- Rows go in by id, so that two batches sharing keys wait for each other instead of deadlocking.
--
-- Rows are looked up one by one, through an index, whatever the planner thinks of the tables' sizes: a plan that was made
-- while a table was small is kept, and would read all of it later. That is what OFFSET 0 and enable_seqscan are for; with
-- them one generic plan serves every batch, and planning costs nothing. The parts of the batch are joined by hash:
-- enable_nestloop leaves nested loops to the lookups, which know no other way.
CREATE OR REPLACE FUNCTION accept_orders(batch jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_nestloop = off AS $$
DECLARE
    verdicts jsonb;
    are_new boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(key)
    FROM (SELECT DISTINCT hashtextextended(e->>'order_id', 0) AS key FROM jsonb_array_elements(batch) AS e ORDER BY key) AS keys;

    WITH asked AS MATERIALIZED (
        SELECT a.n, a.order_id, a.drop_id, a.idempotency_key, a.fingerprint, a.request, a.payable,
               d.id AS found, d.state, d.starts_at, d.ends_at
        FROM ROWS FROM (jsonb_to_recordset(batch) AS (order_id uuid, drop_id text, idempotency_key text, fingerprint text,
                                                      request jsonb, payable boolean))
            WITH ORDINALITY AS a (order_id, drop_id, idempotency_key, fingerprint, request, payable, n)
        LEFT JOIN LATERAL (SELECT * FROM drops WHERE drops.id = a.drop_id OFFSET 0) d ON true
    ), line AS MATERIALIZED (
        SELECT a.n, l.sku, l.quantity, i.unit_price_minor, i.available
        FROM asked a CROSS JOIN LATERAL jsonb_to_recordset(a.request->'items') AS l (sku text, quantity integer)
        LEFT JOIN LATERAL (SELECT unit_price_minor, stock - reserved - sold AS available FROM items
                           WHERE items.drop_id = a.drop_id AND items.sku = l.sku OFFSET 0) i ON true
    ), cart AS (
        SELECT n, sum(quantity * unit_price_minor)::bigint AS amount_minor,
               jsonb_agg(sku ORDER BY sku) FILTER (WHERE unit_price_minor IS NULL) AS unknown_skus,
               jsonb_agg(sku ORDER BY sku) FILTER (WHERE available <= 0) AS sold_out_skus
        FROM line GROUP BY n
    ), verdict AS MATERIALIZED (
        SELECT a.*, c.amount_minor, c.unknown_skus, c.sold_out_skus, CASE
            WHEN a.found IS NULL THEN 'drop_not_found'
            WHEN a.state = 'ended' OR now() >= a.ends_at THEN 'closed'
            WHEN a.state = 'draft' OR now() < a.starts_at THEN 'not_open'
            WHEN a.state = 'paused' THEN 'paused'
            WHEN c.unknown_skus IS NOT NULL THEN 'unknown_sku'
            WHEN a.payable AND c.amount_minor > 0 AND a.request->>'payment_method' IS NULL THEN 'payment_method_required'
            WHEN (a.request->>'expected_amount_minor')::bigint <> c.amount_minor THEN 'price_changed'
            WHEN c.sold_out_skus IS NOT NULL THEN 'sold_out'
            WHEN c.amount_minor > 0 AND NOT a.payable THEN 'payments_unavailable'
        END AS refusal
        FROM asked a JOIN cart c USING (n)
    ), chosen AS MATERIALIZED (
        SELECT DISTINCT ON (order_id) * FROM verdict WHERE refusal IS NULL ORDER BY order_id, n
    ), created AS (
        INSERT INTO orders (id, drop_id, idempotency_key, fingerprint, customer_id, amount_minor, request)
        SELECT order_id, drop_id, idempotency_key, fingerprint, request->'customer'->>'id', amount_minor, request
        FROM chosen ORDER BY order_id
        ON CONFLICT DO NOTHING RETURNING id, drop_id
    ), lines AS (
        INSERT INTO order_lines (order_id, sku, quantity, unit_price_minor)
        SELECT c.id, l.sku, l.quantity, l.unit_price_minor
        FROM created c JOIN chosen h ON h.order_id = c.id JOIN line l ON l.n = h.n
    ), announced AS (
        INSERT INTO events (drop_id, order_id, seq, type) SELECT drop_id, id, 1, 'order.accepted' FROM created
    )
    SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
        'outcome', CASE WHEN c.id IS NULL THEN v.refusal ELSE 'created' END, 'order_id', v.order_id,
        'amount_minor', v.amount_minor, 'starts_at', v.starts_at,
        'unknown_skus', v.unknown_skus, 'sold_out_skus', v.sold_out_skus)) ORDER BY v.n), bool_and(c.id IS NOT NULL)
    INTO verdicts, are_new
    FROM verdict v LEFT JOIN chosen h ON h.n = v.n LEFT JOIN created c ON c.id = h.order_id;
    IF are_new THEN
        RETURN verdicts;
    END IF;

    SELECT jsonb_agg(CASE WHEN o.id IS NULL THEN v.verdict ELSE jsonb_build_object(
        'outcome', CASE WHEN o.fingerprint = e.entry->>'fingerprint' THEN 'replayed' ELSE 'conflict' END,
        'order_id', o.id, 'amount_minor', o.amount_minor) END ORDER BY v.n)
    INTO verdicts
    FROM jsonb_array_elements(verdicts) WITH ORDINALITY AS v (verdict, n)
    JOIN jsonb_array_elements(batch) WITH ORDINALITY AS e (entry, n) USING (n)
    LEFT JOIN LATERAL (
        SELECT id, fingerprint, amount_minor FROM orders
        WHERE v.verdict->>'outcome' IS DISTINCT FROM 'created'
            AND orders.drop_id = e.entry->>'drop_id' AND orders.idempotency_key = e.entry->>'idempotency_key' OFFSET 0
    ) o ON true;
    RETURN coalesce(verdicts, '[]'::jsonb);
END $$;
