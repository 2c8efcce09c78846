-- erase_customer({customer_id, shipped}) -> {erased, reduced, open, unshipped, messages}: forget one customer at once, in all
-- drops, as far as that is safe; each number counts orders, the last one rejected messages that name him.
--   erased     nothing personal is left
--   reduced    only the customer's id is: by it his other orders of the drop are found, or its limit is kept until it ends
--   open       not decided yet: everything stays, as it is needed
--   unshipped  confirmed: the address stays until the caller says that all was shipped (`shipped`)
-- What stays goes when this is called again later, and at the latest when the drop's time for keeping data is over.
-- Reads all orders: there is no index by customer, which every sale would pay for.
CREATE OR REPLACE FUNCTION erase_customer(wanted jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    customer text := wanted->>'customer_id';
    is_shipped boolean := coalesce((wanted->>'shipped')::boolean, false);
    bought_in text[] := ARRAY(SELECT DISTINCT drop_id FROM orders WHERE customer_id = customer);
    forgotten integer;
    left_over jsonb;
    messages_erased integer;
BEGIN
    PERFORM 1 FROM customer_limits WHERE drop_id = ANY (bought_in) AND customer_id = customer ORDER BY drop_id FOR UPDATE;
    PERFORM 1 FROM orders WHERE drop_id = ANY (bought_in) AND customer_id = customer ORDER BY id FOR NO KEY UPDATE;

    SELECT coalesce(sum(forget_customers(b.drop_id, ARRAY[customer])), 0) INTO forgotten FROM (
        SELECT o.drop_id FROM orders o JOIN drops d ON d.id = o.drop_id WHERE o.drop_id = ANY (bought_in) AND o.customer_id = customer
        GROUP BY o.drop_id, d.per_customer_limit, d.state, d.ends_at
        HAVING bool_and(is_shipped OR o.status <> 'confirmed')
           AND (d.per_customer_limit IS NULL OR d.state = 'ended' OR d.ends_at <= now())) b;
    WITH remaining AS (
        SELECT id, CASE WHEN status IN ('accepted', 'reserved', 'action_required') THEN 'open'
                        WHEN status = 'confirmed' AND NOT is_shipped THEN 'unshipped' ELSE 'reduced' END AS kept
        FROM orders WHERE drop_id = ANY (bought_in) AND customer_id = customer
    ), blanked AS (
        UPDATE orders SET request = request - '{shipping,metadata}'::text[]
            || jsonb_build_object('customer', jsonb_build_object('id', customer))
        FROM remaining WHERE orders.id = remaining.id AND kept = 'reduced'
    )
    SELECT jsonb_build_object('open', count(*) FILTER (WHERE kept = 'open'), 'unshipped', count(*) FILTER (WHERE kept = 'unshipped'),
        'reduced', count(*) FILTER (WHERE kept = 'reduced')) INTO left_over FROM remaining;
    UPDATE rejected_messages SET body = '' WHERE body <> '' AND strpos(body, to_jsonb(customer)::text) > 0;
    GET DIAGNOSTICS messages_erased = ROW_COUNT;
    RETURN left_over || jsonb_build_object('erased', forgotten, 'messages', messages_erased);
END $$;
