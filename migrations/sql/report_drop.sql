-- report_drop({drop_id}) -> {report}: what became of a drop, null if there is none. Its figures come from what is never erased
-- or rewritten (counters, orders, payments, ledger, events), so they are the same months later.
--
-- sold_out_at is when the last free unit of any SKU was first taken; sell_out_seconds count from the first order. A decision
-- takes from accepted to reserved, sold_out or rejected; a payment from reserved to confirmed. Percentiles are null where
-- nothing was measured.
CREATE OR REPLACE FUNCTION report_drop(wanted jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    d drops;
    report jsonb;
    counted jsonb;
    money jsonb;
    times jsonb;
    ended_at timestamptz;  -- when nothing was left
    checked jsonb;
BEGIN
    SELECT * INTO d FROM drops WHERE id = wanted->>'drop_id';
    IF d.id IS NULL THEN
        RETURN jsonb_build_object('report', NULL);
    END IF;

    SELECT coalesce(jsonb_agg(jsonb_build_object('status', o.status, 'reason', o.reason, 'orders', o.orders)
        ORDER BY o.status, o.reason NULLS FIRST), '[]') INTO counted
    FROM (SELECT status, reason, count(*) AS orders FROM orders WHERE drop_id = d.id GROUP BY status, reason) o;

    SELECT jsonb_build_object('payments', count(*), 'captured_minor', coalesce(sum(captured_minor), 0),
        'refunded_minor', coalesce(sum(refunded_minor), 0)) INTO money
    FROM payments WHERE drop_id = d.id;

    SELECT min(at) INTO ended_at FROM (
        SELECT at, kind, sum(CASE kind WHEN 'reserve' THEN -quantity WHEN 'sell' THEN 0 ELSE quantity END) OVER (ORDER BY at, id) AS free
        FROM ledger WHERE drop_id = d.id) l
    WHERE free <= 0 AND kind = 'reserve';

    SELECT jsonb_build_object(
        'decision_seconds', percentiles(array_agg(decided - accepted) FILTER (WHERE decided IS NOT NULL)),
        'payment_seconds', percentiles(array_agg(paid - held) FILTER (WHERE paid IS NOT NULL AND amount_minor > 0)),
        'sell_out_seconds', extract(epoch FROM ended_at - min(accepted))::float8) INTO times
    FROM (SELECT o.amount_minor, e.* FROM orders o CROSS JOIN LATERAL (
        SELECT min(occurred_at) FILTER (WHERE type = 'order.accepted') AS accepted,
               min(occurred_at) FILTER (WHERE type IN ('order.reserved', 'order.sold_out', 'order.rejected')) AS decided,
               min(occurred_at) FILTER (WHERE type = 'order.reserved') AS held,
               min(occurred_at) FILTER (WHERE type = 'order.confirmed') AS paid
        FROM events WHERE events.order_id = o.id) e WHERE o.drop_id = d.id) t;

    SELECT jsonb_build_object('violations', count(*) FILTER (WHERE accepted_at IS NULL),
        'accepted', count(*) FILTER (WHERE accepted_at IS NOT NULL), 'sealed_at', d.sealed_at) INTO checked
    FROM judged_violations WHERE drop_id = d.id;

    report := jsonb_build_object('drop_id', d.id, 'name', d.name, 'state', d.state, 'currency', d.currency, 'starts_at', d.starts_at,
        'ends_at', d.ends_at, 'orders', counted, 'money', money, 'sold_out_at', ended_at, 'audit', checked,
        'items', (SELECT items FROM shown_drops WHERE shown_drops.drop_id = d.id));
    RETURN jsonb_build_object('report', report || times);
END $$;
