-- claim_waiting_orders({limit, after_seconds, pause_seconds_max}) -> [message]: orders that stay accepted longer than
-- they should, oldest first, marked as published now. The pause before an order is handed out again doubles with the time
-- that it has waited, up to the maximum; an order known not to be in the queue (published at -infinity) is due at once. Orders of paused drops wait for the drop.
-- SKIP LOCKED: two callers at once get different orders.
CREATE OR REPLACE FUNCTION claim_waiting_orders(bounds jsonb) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
    WITH due AS (
        SELECT r.id FROM orders r JOIN drops d ON d.id = r.drop_id
        WHERE r.status = 'accepted' AND d.state <> 'paused'
          AND now() - coalesce(r.published_at, r.accepted_at) >= make_interval(secs => least(
              (bounds->>'pause_seconds_max')::numeric,
              greatest((bounds->>'after_seconds')::numeric,
                       extract(epoch FROM coalesce(r.published_at, r.accepted_at) - r.accepted_at)))::double precision)
        ORDER BY r.accepted_at LIMIT (bounds->>'limit')::integer
        FOR NO KEY UPDATE OF r SKIP LOCKED
    ), claimed AS (
        UPDATE orders SET published_at = clock_timestamp() FROM due WHERE orders.id = due.id
        RETURNING orders.id, orders.idempotency_key, orders.fingerprint, orders.request, orders.amount_minor, orders.accepted_at
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object('schema_version', 1, 'order_id', id, 'idempotency_key', idempotency_key,
        'fingerprint', fingerprint, 'request', request, 'amount_minor', amount_minor) ORDER BY accepted_at), '[]'::jsonb)
    FROM claimed
$$;
