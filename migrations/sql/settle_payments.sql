-- settle_payments([{order_id, outcome, provider_ref, attempt, captured_minor, client_secret, reason, retry_seconds, error}])
-- -> [{order_id, outcome, provider_ref}], in the same order: make ours what the provider says.
--
--   created          a payment exists there, unconfirmed. The first one written is the order's; the answer's provider_ref
--                    says which. `over` when the order is over or being called off: it must not be confirmed.
--   captured         the money is there: the order is confirmed; if it no longer holds units, the money goes back.
--   action_required  the buyer has to act, with client_secret, and has his hold's time for it from now.
--   declined         for `reason`, and the provider can't capture it any more: the units go back on sale.
--   cancelled        as declined, because the payment was called off, by whoever is in `ending`.
--   in_doubt         look again in retry_seconds; `error` says why. Counts only for the latest claim (`attempt`).
--
-- Everything but `created` and `in_doubt` is about the payment provider_ref, which must be the order's. Facts can come
-- twice, late and in any order: money that was captured stays captured. The answer's outcome is the order's status
-- afterwards, or over, refund_due, unknown_payment, wrong_amount (nothing was changed by the last two).
CREATE OR REPLACE FUNCTION settle_payments(batch jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    s record;
    p record;
    verdict text;
    verdicts jsonb := '[]';
BEGIN
    PERFORM lock_orders(array_agg(DISTINCT (e->>'order_id')::uuid)) FROM jsonb_array_elements(batch) AS e;
    FOR s IN
        SELECT * FROM ROWS FROM (jsonb_to_recordset(batch) AS (order_id uuid, outcome text, provider_ref text, attempt integer,
            captured_minor bigint, client_secret text, reason text, retry_seconds double precision, error text)) WITH ORDINALITY
        ORDER BY ordinality
    LOOP
        SELECT payments.*, o.status, o.status IN ('reserved', 'action_required') AS is_open, o.reason AS why,
               payments.provider_ref IS NOT DISTINCT FROM s.provider_ref AS is_known
        INTO p FROM payments JOIN orders o ON o.id = payments.order_id WHERE payments.order_id = s.order_id;
        verdict := NULL;
        IF p.order_id IS NULL OR NOT (p.is_known OR s.outcome IN ('created', 'in_doubt')) THEN
            verdict := 'unknown_payment';
        ELSIF s.outcome = 'captured' AND s.captured_minor IS DISTINCT FROM p.amount_minor THEN
            verdict := 'wrong_amount';
        ELSIF s.outcome = 'captured' AND p.state <> 'captured' THEN
            UPDATE payments SET state = 'captured', captured_minor = amount_minor, due_at = NULL, client_secret = NULL,
                ending = NULL, last_error = NULL, updated_at = clock_timestamp() WHERE order_id = s.order_id;
            IF p.is_open THEN
                PERFORM move_order(s.order_id, 'confirmed', NULL);
            ELSE
                INSERT INTO refunds (id, order_id, amount_minor, reason)
                VALUES (gen_random_uuid(), s.order_id, p.amount_minor, 'no_stock');
                verdict := 'refund_due';
            END IF;
        ELSIF s.outcome = 'created' AND (NOT p.is_open OR p.ending IS NOT NULL) THEN
            verdict := 'over';
        ELSIF s.outcome = 'created' THEN
            UPDATE payments SET provider_ref = coalesce(provider_ref, s.provider_ref), updated_at = clock_timestamp()
            WHERE order_id = s.order_id;
        ELSIF s.outcome = 'in_doubt' AND p.is_open AND p.attempt = s.attempt THEN
            UPDATE payments SET due_at = least(due_at, clock_timestamp() + make_interval(secs => s.retry_seconds)),
                last_error = s.error, updated_at = clock_timestamp() WHERE order_id = s.order_id;
        ELSIF s.outcome = 'action_required' AND p.is_open THEN
            UPDATE payments SET state = 'action_required', client_secret = s.client_secret, updated_at = clock_timestamp(),
                due_at = clock_timestamp() + make_interval(secs => CASE WHEN ending IS NULL THEN s.retry_seconds ELSE 0 END)
            WHERE order_id = s.order_id;
            IF p.status = 'reserved' THEN
                UPDATE orders SET hold_expires_at = clock_timestamp() + make_interval(secs => d.hold_seconds)
                FROM drops d WHERE orders.id = s.order_id AND d.id = orders.drop_id;
                PERFORM move_order(s.order_id, 'action_required', NULL);
            END IF;
        ELSIF s.outcome IN ('declined', 'cancelled') AND p.is_open THEN
            UPDATE payments SET state = s.outcome, due_at = NULL, client_secret = NULL, updated_at = clock_timestamp()
            WHERE order_id = s.order_id;
            PERFORM move_order(s.order_id, CASE WHEN s.outcome = 'declined' THEN 'declined'
                WHEN p.ending = 'hold_expired' THEN 'expired' ELSE 'cancelled' END,
                CASE WHEN s.outcome = 'declined' THEN s.reason ELSE coalesce(p.ending, 'operator') END);
        END IF;
        verdicts := verdicts || (
            SELECT jsonb_build_object('order_id', s.order_id, 'outcome', coalesce(verdict, r.status), 'provider_ref', q.provider_ref)
            FROM (SELECT 1) one LEFT JOIN orders r ON r.id = s.order_id LEFT JOIN payments q ON q.order_id = s.order_id);
    END LOOP;
    PERFORM touch_drops(ARRAY(SELECT q.drop_id FROM payments q JOIN jsonb_array_elements(verdicts) AS v
        ON q.order_id = (v->>'order_id')::uuid AND v->>'outcome' = 'refund_due'));
    RETURN verdicts;
END $$;
