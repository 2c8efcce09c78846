-- forget_customers(drop_id, customer_ids): take what is personal out of all orders of these customers of a drop; returns out of
-- how many. Who has an order there that is not decided yet is left alone. The customer is called by a word drawn for this drop,
-- in his orders and in his limit together, so that they still agree and nobody can find him by it. Idempotency key and
-- fingerprint stay: a replay still gets its 202. Not granted to anybody.
CREATE OR REPLACE FUNCTION forget_customers(forgotten_in text, customer_ids text[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    erased integer;
BEGIN
    PERFORM 1 FROM customer_limits WHERE drop_id = forgotten_in AND customer_id = ANY (customer_ids) ORDER BY customer_id FOR UPDATE;
    PERFORM 1 FROM orders WHERE drop_id = forgotten_in AND customer_id = ANY (customer_ids) ORDER BY id FOR NO KEY UPDATE;
    WITH named AS MATERIALIZED (
        SELECT customer_id AS id, 'erased-' || gen_random_uuid() AS alias FROM orders
        WHERE drop_id = forgotten_in AND customer_id = ANY (customer_ids)
        GROUP BY customer_id HAVING NOT bool_or(status IN ('accepted', 'reserved', 'action_required'))
    ), limits AS (
        UPDATE customer_limits SET customer_id = named.alias FROM named WHERE drop_id = forgotten_in AND customer_id = named.id
    ), blanked AS (
        UPDATE orders SET customer_id = named.alias, request = request - '{customer,shipping,metadata,payment_method}'::text[]
        FROM named WHERE drop_id = forgotten_in AND customer_id = named.id RETURNING 1
    )
    SELECT count(*) INTO erased FROM blanked;
    RETURN erased;
END $$;
