-- accept_violations({drop_id, reason, os_user}) -> {accepted}: a person knows what is wrong with the drop's books at this
-- moment, and goes on. Who: the database's user, and the one of the machine that asked. The same is accepted once.
CREATE OR REPLACE FUNCTION accept_violations(wanted jsonb) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
    WITH accepted AS (
        INSERT INTO accepted_violations (drop_id, promise, order_id, violation, reason, os_user)
        SELECT drop_id, promise, order_id, violation, wanted->>'reason', wanted->>'os_user'
        FROM audit_violations WHERE drop_id = wanted->>'drop_id'
        ON CONFLICT DO NOTHING RETURNING 1
    ), next_audit AS (
        UPDATE drops SET audited_at = '-infinity' WHERE id = wanted->>'drop_id'
    )
    SELECT jsonb_build_object('accepted', count(*)) FROM accepted
$$;
