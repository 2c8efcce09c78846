-- settle_refunds([{refund_id, outcome, attempt, provider_ref, retry_seconds, error}]) -> [{refund_id, outcome}], in the same
-- order: make ours what the provider says of a refund. outcome is `succeeded`, `failed` (it will never be made: an operator
-- has to look), `in_doubt` (look again in retry_seconds), or `unmade` (it was not made, and its idempotency key is spent:
-- the next attempt takes another one); the last two count only for the latest claim. The answer has the refund's state
-- afterwards, or `unknown_refund`. When all that was captured has gone back, the order is refunded, and its units go back
-- on sale if any of its refunds asked for that: the one that did need not be the last to succeed.
CREATE OR REPLACE FUNCTION settle_refunds(batch jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    s record;
    f record;
    verdicts jsonb := '[]';
BEGIN
    PERFORM lock_orders(array_agg(DISTINCT order_id)) FROM refunds
    WHERE id IN (SELECT (e->>'refund_id')::uuid FROM jsonb_array_elements(batch) AS e);
    FOR s IN
        SELECT * FROM ROWS FROM (jsonb_to_recordset(batch) AS (refund_id uuid, outcome text, attempt integer, provider_ref text,
            retry_seconds double precision, error text)) WITH ORDINALITY ORDER BY ordinality
    LOOP
        SELECT r.*, r.state IN ('due', 'claimed') AS is_open, r.attempt = s.attempt AS is_latest INTO f
        FROM refunds r WHERE id = s.refund_id FOR NO KEY UPDATE;
        IF f.is_open AND s.outcome = 'succeeded' THEN
            UPDATE refunds SET state = 'succeeded', due_at = NULL, provider_ref = s.provider_ref, last_error = NULL,
                updated_at = clock_timestamp() WHERE id = f.id;
            UPDATE payments SET refunded_minor = refunded_minor + f.amount_minor, updated_at = clock_timestamp()
            WHERE order_id = f.order_id;
            PERFORM finish_refund(f.order_id, (SELECT bool_or(restock) FROM refunds WHERE order_id = f.order_id AND state = 'succeeded'))
            FROM payments WHERE order_id = f.order_id AND refunded_minor = captured_minor;
        ELSIF f.is_open AND s.outcome = 'failed' THEN
            UPDATE refunds SET state = 'failed', due_at = NULL, last_error = s.error, updated_at = clock_timestamp() WHERE id = f.id;
        ELSIF f.is_open AND f.is_latest THEN
            UPDATE refunds SET due_at = clock_timestamp() + make_interval(secs => s.retry_seconds), last_error = s.error,
                key_number = key_number + CASE s.outcome WHEN 'unmade' THEN 1 ELSE 0 END, updated_at = clock_timestamp()
            WHERE id = f.id;
        END IF;
        verdicts := verdicts || (SELECT jsonb_build_object('refund_id', s.refund_id, 'outcome', coalesce(r.state, 'unknown_refund'))
                                 FROM (SELECT 1) one LEFT JOIN refunds r ON r.id = s.refund_id);
    END LOOP;
    PERFORM touch_drops(ARRAY(SELECT o.drop_id FROM refunds q JOIN orders o ON o.id = q.order_id
        WHERE q.id IN (SELECT (e->>'refund_id')::uuid FROM jsonb_array_elements(batch) AS e)));
    RETURN verdicts;
END $$;
