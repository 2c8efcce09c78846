-- restock_item({drop_id, sku, quantity, ref}) -> {outcome: ok | replayed | drop_not_found | unknown_sku, stock}: add
-- units. The same ref adds them once, however often it is sent.
CREATE OR REPLACE FUNCTION restock_item(wanted jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    now_stock bigint;
    added bigint;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM drops WHERE id = wanted->>'drop_id') THEN
        RETURN jsonb_build_object('outcome', 'drop_not_found');
    END IF;
    SELECT stock INTO now_stock FROM items WHERE drop_id = wanted->>'drop_id' AND sku = wanted->>'sku' FOR NO KEY UPDATE;
    IF now_stock IS NULL THEN
        RETURN jsonb_build_object('outcome', 'unknown_sku');
    END IF;
    INSERT INTO ledger (drop_id, sku, kind, quantity, ref)
    VALUES (wanted->>'drop_id', wanted->>'sku', 'stock', (wanted->>'quantity')::bigint, (wanted->>'drop_id') || '/' || (wanted->>'ref'))
    ON CONFLICT DO NOTHING RETURNING quantity INTO added;
    UPDATE items SET stock = stock + coalesce(added, 0)
    WHERE drop_id = wanted->>'drop_id' AND sku = wanted->>'sku' RETURNING stock INTO now_stock;
    PERFORM touch_drops(ARRAY[wanted->>'drop_id']);
    RETURN jsonb_build_object('outcome', CASE WHEN added IS NULL THEN 'replayed' ELSE 'ok' END, 'stock', now_stock);
END $$;
