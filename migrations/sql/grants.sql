-- Who may do what. Group roles without login; a login role is a member of one of them. Nobody but the owner writes a table.
DO $$
DECLARE role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['merchdrop_checkout', 'merchdrop_process_order', 'merchdrop_charge_order',
        'merchdrop_reconcile', 'merchdrop_operator'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = role);  -- so that who may make none can migrate
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;  -- roles belong to the server, not to this database
        END;
    END LOOP;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO merchdrop_checkout, merchdrop_process_order, merchdrop_charge_order, merchdrop_reconcile,
    merchdrop_operator;

GRANT EXECUTE ON FUNCTION accept_orders, mark_unpublished, release_orders TO merchdrop_checkout;
GRANT SELECT ON shown_drops, shown_orders TO merchdrop_checkout, merchdrop_operator;
GRANT EXECUTE ON FUNCTION reserve_orders, admit_orders, reject_messages TO merchdrop_process_order;
GRANT EXECUTE ON FUNCTION claim_payments, settle_payments, claim_refunds, settle_refunds
    TO merchdrop_charge_order, merchdrop_reconcile, merchdrop_operator;
GRANT EXECUTE ON FUNCTION reject_messages TO merchdrop_charge_order;
GRANT EXECUTE ON FUNCTION claim_waiting_orders, mark_unpublished, expire_holds TO merchdrop_reconcile;
GRANT EXECUTE ON FUNCTION release_orders, request_refund TO merchdrop_operator;
GRANT SELECT ON shown_payments, shown_refunds, ledger TO merchdrop_operator;
GRANT SELECT ON waiting_payments TO merchdrop_reconcile;
GRANT EXECUTE ON FUNCTION create_drop, set_drop_state, restock_item TO merchdrop_operator;
GRANT SELECT ON audit_violations, late_orders TO merchdrop_reconcile, merchdrop_operator;
GRANT EXECUTE ON FUNCTION close_drops, claim_audit, record_audit, erase_personal_data TO merchdrop_reconcile;
GRANT SELECT ON judged_violations, missing_drops TO merchdrop_reconcile, merchdrop_operator;
GRANT EXECUTE ON FUNCTION accept_violations, erase_customer, report_drop TO merchdrop_operator;
GRANT EXECUTE ON FUNCTION claim_events, mark_events_published TO merchdrop_reconcile;
GRANT EXECUTE ON FUNCTION reserve_orders, admit_orders, reject_messages, finish_retries TO merchdrop_reconcile;  -- dead letters
GRANT EXECUTE ON FUNCTION retry_messages, drop_messages TO merchdrop_operator;
GRANT SELECT ON shown_messages TO merchdrop_reconcile, merchdrop_operator;
