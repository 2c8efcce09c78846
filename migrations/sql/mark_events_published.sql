-- mark_events_published([{order_id, seq}]) -> {marked}: the events of these orders up to number seq are published, and the
-- leases on them are over; 0 just gives a lease back. Being told late, or twice, does no harm. (coalesce: see claim_events.)
CREATE OR REPLACE FUNCTION mark_events_published(batch jsonb) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
    WITH told AS (
        SELECT order_id, seq FROM jsonb_to_recordset(batch) AS t (order_id uuid, seq integer) ORDER BY order_id OFFSET 0
    ), locked AS (
        SELECT e.order_id, e.seq, e.seq <= told.seq AS is_published
        FROM told JOIN LATERAL (
            SELECT order_id, seq FROM events WHERE events.order_id = told.order_id AND coalesce(published_at, 'infinity') = 'infinity'
            ORDER BY seq FOR NO KEY UPDATE) e ON true
    ), marked AS (
        UPDATE events SET leased_until = NULL, published_at = CASE WHEN is_published THEN clock_timestamp() END
        FROM locked WHERE events.order_id = locked.order_id AND events.seq = locked.seq
        RETURNING is_published
    )
    SELECT jsonb_build_object('marked', count(*) FILTER (WHERE is_published)) FROM marked
$$;
