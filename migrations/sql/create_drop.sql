-- create_drop({id, name, currency, starts_at, ends_at, state, per_customer_limit, hold_seconds, order_id_key_version,
-- items: [{sku, title, unit_price_minor, stock}]}) -> {outcome: created | exists, drop}. Times left out mean now, and a
-- year from the start. An existing drop is never changed.
CREATE OR REPLACE FUNCTION create_drop(wanted jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    opens timestamptz := coalesce((wanted->>'starts_at')::timestamptz, now());
    made text;
BEGIN
    INSERT INTO drops (id, name, currency, starts_at, ends_at, state, per_customer_limit, hold_seconds, order_id_key_version)
    VALUES (wanted->>'id', coalesce(wanted->>'name', wanted->>'id'), wanted->>'currency', opens,
            coalesce((wanted->>'ends_at')::timestamptz, opens + interval '1 year'), coalesce(wanted->>'state', 'live'),
            (wanted->>'per_customer_limit')::integer, coalesce((wanted->>'hold_seconds')::integer, 600),
            coalesce((wanted->>'order_id_key_version')::integer, 1))
    ON CONFLICT DO NOTHING RETURNING id INTO made;
    IF made IS NOT NULL THEN
        INSERT INTO items (drop_id, sku, title, unit_price_minor, stock)
        SELECT made, i.sku, coalesce(i.title, i.sku), i.unit_price_minor, i.stock
        FROM jsonb_to_recordset(wanted->'items') AS i (sku text, title text, unit_price_minor bigint, stock bigint);
        INSERT INTO ledger (drop_id, sku, kind, quantity, ref)
        SELECT made, sku, 'stock', stock, made || '/opening' FROM items WHERE drop_id = made AND stock > 0;
    END IF;
    RETURN jsonb_build_object('outcome', CASE WHEN made IS NULL THEN 'exists' ELSE 'created' END,
        'drop', (SELECT to_jsonb(s) FROM shown_drops s WHERE s.drop_id = wanted->>'id'));
END $$;
