-- claim_events({limit, lease_seconds}) -> [{event_id, seq, type, occurred_at, order}]: events that are not published yet, of up
-- to `limit` orders, those first whose events wait longest. Of an order it is all of them, in their order, and none while
-- somebody else's lease on it lasts: so whoever relays, an order's events go out in the order in which they happened. A lease
-- that nobody ends (mark_events_published) runs out. SKIP LOCKED: two callers at once get different orders.
--
-- However long the backlog is, no more of it is read than is handed out: its index in its order (so no bitmap), and everything
-- else by key, never with a condition that this index could serve too.
--
-- `order` is what the API shows, field by field, so that nothing personal gets in with a new column; status, reason and
-- updated_at are those of the event, the payment is as it stands now.
CREATE OR REPLACE FUNCTION claim_events(bounds jsonb) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET timezone = 'UTC' AS $$
    WITH due AS (
        SELECT e.id, e.order_id, e.seq FROM events e
        WHERE e.published_at IS NULL AND (e.leased_until IS NULL OR e.leased_until <= now())
          AND (SELECT before.published_at IS NULL FROM events before
               WHERE before.order_id = e.order_id AND before.seq = e.seq - 1) IS NOT TRUE
        ORDER BY e.id LIMIT (bounds->>'limit')::integer
        FOR NO KEY UPDATE OF e SKIP LOCKED
    ), leased AS (
        UPDATE events SET leased_until = clock_timestamp() + make_interval(secs => (bounds->>'lease_seconds')::double precision)
        FROM due WHERE events.order_id = due.order_id AND events.seq = due.seq
        RETURNING events.id, events.order_id, events.seq
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object(
        'event_id', e.order_id || '.' || e.seq, 'seq', e.seq, 'type', e.type, 'occurred_at', e.occurred_at,
        'order', jsonb_build_object(
            'order_id', o.order_id, 'drop_id', o.drop_id, 'status', replace(e.type, 'order.', ''), 'reason', e.reason,
            'items', o.items, 'amount_minor', o.amount_minor, 'currency', o.currency, 'accepted_at', o.accepted_at,
            'updated_at', e.occurred_at, 'payment', o.payment - 'client_secret')) ORDER BY l.id, e.seq), '[]'::jsonb)
    FROM leased l
    JOIN LATERAL (SELECT * FROM events WHERE events.order_id = l.order_id AND events.seq >= l.seq OFFSET 0) e ON true
    JOIN LATERAL (SELECT * FROM shown_orders WHERE shown_orders.order_id = l.order_id OFFSET 0) o ON true
$$;
