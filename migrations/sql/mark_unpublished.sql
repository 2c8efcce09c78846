-- mark_unpublished([{order_id}]) -> {marked}: these accepted orders are not in the queue, so that reconcile publishes them
-- as soon as it can instead of waiting for their messages first.
CREATE OR REPLACE FUNCTION mark_unpublished(batch jsonb) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
    WITH waiting AS (
        SELECT id FROM orders WHERE id IN (SELECT (e->>'order_id')::uuid FROM jsonb_array_elements(batch) AS e)
            AND status = 'accepted' ORDER BY id FOR NO KEY UPDATE
    ), marked AS (
        UPDATE orders SET published_at = '-infinity' FROM waiting WHERE orders.id = waiting.id RETURNING 1
    )
    SELECT jsonb_build_object('marked', count(*)) FROM marked
$$;
