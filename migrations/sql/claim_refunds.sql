-- claim_refunds({limit, lease_seconds, refund_ids}) -> [refund]: hand out refunds that are due, oldest first; refund_ids
-- names them instead. A claim that nobody settles is due again after its lease.
CREATE OR REPLACE FUNCTION claim_refunds(bounds jsonb) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
    WITH due AS (
        SELECT id FROM refunds
        WHERE due_at <= clock_timestamp()
          AND (NOT bounds ? 'refund_ids' OR id IN (SELECT jsonb_array_elements_text(bounds->'refund_ids')::uuid))
        ORDER BY created_at LIMIT (bounds->>'limit')::integer
        FOR NO KEY UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE refunds SET state = 'claimed', attempt = attempt + 1, updated_at = clock_timestamp(),
            due_at = clock_timestamp() + make_interval(secs => (bounds->>'lease_seconds')::double precision)
        FROM due WHERE refunds.id = due.id RETURNING refunds.*
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object('refund_id', c.id, 'order_id', c.order_id, 'attempt', c.attempt,
        'key_number', c.key_number, 'amount_minor', c.amount_minor, 'provider_ref', p.provider_ref) ORDER BY c.created_at), '[]'::jsonb)
    FROM claimed c JOIN payments p ON p.order_id = c.order_id
$$;
