-- is_over(drop_id): whether the drop has ended, and nothing in it is undecided, unpaid or on its way back. Not granted to anybody.
CREATE OR REPLACE FUNCTION is_over(asked text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
    SELECT EXISTS (SELECT 1 FROM drops WHERE id = asked AND state = 'ended')
       AND NOT EXISTS (SELECT 1 FROM orders WHERE drop_id = asked AND status = 'accepted')
       AND NOT EXISTS (SELECT 1 FROM payments WHERE drop_id = asked AND due_at IS NOT NULL)
       AND NOT EXISTS (SELECT 1 FROM refunds f JOIN orders o ON o.id = f.order_id WHERE f.due_at IS NOT NULL AND o.drop_id = asked)
$$;
