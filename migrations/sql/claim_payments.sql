-- claim_payments({limit, pace, burst, lease_seconds, soon_seconds, only_started, order_ids}) -> {claimed: [payment], more}: hand out
-- payments that are due, in the order in which their units were reserved, at most `pace` a second and `burst` at once for
-- all callers together. From here on a charge may exist: that is what `claimed` says. A claim that nobody settles is due
-- again after its lease. The first claim of an order starts its hold. `more` are due, or will be within soon_seconds.
--
-- only_started leaves those aside that nobody has tried yet. order_ids names the payments instead, beside the pace: those
-- that are due, or wait for their buyers. Safe to be claimed twice, as whoever has it only makes the provider's own truth
-- ours; so the lease saves work, and nothing rests on it.
CREATE OR REPLACE FUNCTION claim_payments(bounds jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    named uuid[] := ARRAY(SELECT jsonb_array_elements_text(bounds->'order_ids')::uuid);
    is_named boolean := bounds ? 'order_ids';
    started_only boolean := coalesce((bounds->>'only_started')::boolean, false);
    rate double precision := (bounds->>'pace')::double precision;
    tokens_left double precision;
    chosen uuid[];
    claimed jsonb;
    more boolean;
BEGIN
    IF is_named THEN
        chosen := named;
    ELSE
        -- a clock may be behind: of a machine that took over, or one that was set right
        SELECT least((bounds->>'burst')::double precision, tokens + rate * greatest(0, extract(epoch FROM clock_timestamp() - at)))
        INTO tokens_left FROM payment_pace WHERE provider = 'stripe' FOR NO KEY UPDATE;
        SELECT array_agg(p.order_id) INTO chosen FROM (
            SELECT order_id FROM payments WHERE due_at <= clock_timestamp() AND (attempt > 0 OR NOT started_only)
            ORDER BY position LIMIT least((bounds->>'limit')::integer, floor(tokens_left)::integer)) p;
    END IF;

    PERFORM 1 FROM orders WHERE id = ANY (chosen) ORDER BY id FOR NO KEY UPDATE;
    PERFORM 1 FROM payments WHERE order_id = ANY (chosen) ORDER BY order_id FOR NO KEY UPDATE;
    WITH taken AS (
        UPDATE payments SET state = CASE state WHEN 'due' THEN 'claimed' ELSE state END, attempt = attempt + 1,
            due_at = clock_timestamp() + make_interval(secs => (bounds->>'lease_seconds')::double precision),
            updated_at = clock_timestamp()
        WHERE order_id = ANY (chosen) AND (due_at <= clock_timestamp() OR (is_named AND state = 'action_required'))
        RETURNING *
    ), held AS (
        UPDATE orders SET hold_expires_at = clock_timestamp() + make_interval(secs => d.hold_seconds)
        FROM taken t JOIN drops d ON d.id = t.drop_id WHERE orders.id = t.order_id AND t.attempt = 1
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object('order_id', t.order_id, 'drop_id', t.drop_id, 'attempt', t.attempt,
        'provider_ref', t.provider_ref, 'ending', t.ending, 'amount_minor', t.amount_minor, 'currency', d.currency,
        'payment_method', r.request->>'payment_method') ORDER BY t.position), '[]'::jsonb)
    INTO claimed
    FROM taken t JOIN drops d ON d.id = t.drop_id JOIN orders r ON r.id = t.order_id;

    IF NOT is_named THEN
        UPDATE payment_pace SET tokens = tokens_left - jsonb_array_length(claimed), at = clock_timestamp() WHERE provider = 'stripe';
    END IF;
    SELECT EXISTS (SELECT 1 FROM payments WHERE due_at <= clock_timestamp() + make_interval(secs => coalesce((bounds->>'soon_seconds')::double precision, 0))
                   AND (attempt > 0 OR NOT started_only)) INTO more;
    RETURN jsonb_build_object('claimed', claimed, 'more', more);
END $$;
