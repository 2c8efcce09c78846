-- What the API shows of a drop. Stock beyond `available` is for the operator.
CREATE OR REPLACE VIEW shown_drops AS
SELECT d.id AS drop_id, d.name, d.state, d.currency, d.starts_at, d.ends_at, d.per_customer_limit, d.hold_seconds,
       d.order_id_key_version,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('sku', i.sku, 'title', i.title, 'unit_price_minor', i.unit_price_minor,
            'available', i.stock - i.reserved - i.sold, 'stock', i.stock, 'reserved', i.reserved, 'sold', i.sold)
            ORDER BY i.sku), '[]'::jsonb) FROM items i WHERE i.drop_id = d.id) AS items
FROM drops d;

-- What the API shows of an order.
CREATE OR REPLACE VIEW shown_orders AS
SELECT o.id AS order_id, o.drop_id, o.status, o.reason,
       (SELECT jsonb_agg(jsonb_build_object('sku', l.sku, 'quantity', l.quantity, 'unit_price_minor', l.unit_price_minor)
            ORDER BY l.sku) FROM order_lines l WHERE l.order_id = o.id) AS items,
       o.amount_minor, d.currency, o.accepted_at, o.updated_at,
       (SELECT jsonb_build_object('provider', p.provider, 'state', p.state, 'captured_minor', p.captured_minor,
            'refunded_minor', p.refunded_minor, 'client_secret', p.client_secret,
            'expires_at', CASE p.state WHEN 'action_required' THEN o.hold_expires_at END)
        FROM payments p WHERE p.order_id = o.id) AS payment,
       o.idempotency_key
FROM orders o JOIN drops d ON d.id = o.drop_id;

-- Whether any payment has been due for longer than charge_order needs to see its wake-up.
CREATE OR REPLACE VIEW waiting_payments AS
SELECT EXISTS (SELECT 1 FROM payments WHERE due_at < now() - interval '5 seconds') AS is_waiting;

-- What an operator sees of a payment, beside what the provider has; refunding_minor is on its way back.
CREATE OR REPLACE VIEW shown_payments AS
SELECT p.order_id, p.drop_id, o.status, p.state, p.provider_ref, p.amount_minor, d.currency, p.captured_minor, p.refunded_minor,
       (SELECT coalesce(sum(f.amount_minor), 0)::bigint FROM refunds f
        WHERE f.order_id = p.order_id AND f.state IN ('due', 'claimed')) AS refunding_minor,
       p.attempt, p.last_error, o.accepted_at, o.reason
FROM payments p JOIN orders o ON o.id = p.order_id JOIN drops d ON d.id = p.drop_id;

-- What an operator sees of a refund.
CREATE OR REPLACE VIEW shown_refunds AS
SELECT id AS refund_id, order_id, amount_minor, reason, restock, state, attempt, provider_ref, last_error, created_at, updated_at
FROM refunds;

-- One row for every broken promise; empty on a healthy system.
CREATE OR REPLACE VIEW audit_violations AS
WITH booked AS (
    SELECT i.drop_id, i.sku, i.stock, i.reserved, i.sold,
           coalesce(sum(l.quantity) FILTER (WHERE l.kind = 'stock'), 0) AS booked_stock,
           coalesce(sum(CASE l.kind WHEN 'reserve' THEN l.quantity WHEN 'release' THEN -l.quantity WHEN 'sell' THEN -l.quantity END), 0)
               AS booked_reserved,
           coalesce(sum(CASE l.kind WHEN 'sell' THEN l.quantity WHEN 'restock' THEN -l.quantity END), 0) AS booked_sold
    FROM items i LEFT JOIN ledger l ON l.drop_id = i.drop_id AND l.sku = i.sku
    GROUP BY i.drop_id, i.sku, i.stock, i.reserved, i.sold
), lined AS (
    SELECT o.drop_id, o.id AS order_id, o.status, l.sku, l.quantity,
           coalesce(sum(g.quantity) FILTER (WHERE g.kind = 'reserve'), 0) AS reserve,
           coalesce(sum(g.quantity) FILTER (WHERE g.kind = 'release'), 0) AS release,
           coalesce(sum(g.quantity) FILTER (WHERE g.kind = 'sell'), 0) AS sell,
           coalesce(sum(g.quantity) FILTER (WHERE g.kind = 'restock'), 0) AS restock
    FROM orders o JOIN order_lines l ON l.order_id = o.id
    LEFT JOIN ledger g ON g.order_id = l.order_id AND g.sku = l.sku
    GROUP BY o.drop_id, o.id, o.status, l.sku, l.quantity
)
SELECT 1 AS promise, drop_id, NULL::uuid AS order_id,
       format('%s: counters say stock %s, reserved %s, sold %s; the ledger says %s, %s, %s',
              sku, stock, reserved, sold, booked_stock, booked_reserved, booked_sold) AS violation
FROM booked WHERE (stock, reserved, sold) <> (booked_stock, booked_reserved, booked_sold)
UNION ALL
SELECT 1, drop_id, NULL, format('%s: %s reserved and %s sold of %s', sku, reserved, sold, stock)
FROM booked WHERE reserved < 0 OR sold < 0 OR reserved + sold > stock
UNION ALL
SELECT 1, drop_id, order_id, format('%s is %s with %s units reserved, %s released, %s sold of %s', sku, status, reserve, release, sell, quantity)
FROM lined
WHERE (reserve, release, sell) <> (
    CASE WHEN status IN ('reserved', 'action_required', 'confirmed', 'declined', 'expired', 'refunded') THEN quantity
         WHEN status = 'cancelled' AND reserve > 0 THEN quantity ELSE 0 END,
    CASE WHEN status IN ('declined', 'expired') THEN quantity WHEN status = 'cancelled' THEN reserve
         WHEN status = 'refunded' THEN quantity - sell ELSE 0 END,
    CASE WHEN status = 'confirmed' THEN quantity WHEN status = 'refunded' AND sell > 0 THEN quantity ELSE 0 END)
   OR restock NOT IN (0, CASE WHEN status = 'refunded' THEN sell ELSE 0 END)
UNION ALL
SELECT 2, o.drop_id, o.id, format('amount is %s, its lines cost %s', o.amount_minor, coalesce(sum(l.quantity * l.unit_price_minor), 0))
FROM orders o LEFT JOIN order_lines l ON l.order_id = o.id
GROUP BY o.id, o.drop_id, o.amount_minor HAVING o.amount_minor <> coalesce(sum(l.quantity * l.unit_price_minor), 0)
    OR count(l.sku) = 0
UNION ALL
SELECT 2, o.drop_id, o.id, format('is %s, its payment is %s; captured %s and refunded %s of %s', o.status, coalesce(p.state, 'missing'),
              coalesce(p.captured_minor, 0), coalesce(p.refunded_minor, 0), o.amount_minor)
FROM orders o LEFT JOIN payments p ON p.order_id = o.id
WHERE (o.amount_minor > 0 OR p.order_id IS NOT NULL) AND CASE
    WHEN o.status IN ('accepted', 'sold_out', 'rejected') THEN p.order_id IS NOT NULL
    WHEN o.status = 'cancelled' AND p.order_id IS NULL THEN
        EXISTS (SELECT 1 FROM ledger g WHERE g.order_id = o.id AND g.kind = 'reserve')
    ELSE p.order_id IS NULL OR p.amount_minor <> o.amount_minor OR CASE o.status
        WHEN 'reserved' THEN p.state NOT IN ('due', 'claimed')
        WHEN 'action_required' THEN p.state <> 'action_required'
        WHEN 'confirmed' THEN p.captured_minor <> p.amount_minor OR p.state <> 'captured' OR p.refunded_minor = p.amount_minor
        WHEN 'refunded' THEN p.captured_minor <> p.amount_minor OR p.state <> 'captured' OR p.refunded_minor <> p.amount_minor
        -- money of an order that can't be fulfilled must be on its way back
        ELSE p.state NOT IN (o.status, 'captured') AND NOT (o.status = 'expired' AND p.state = 'cancelled')
             OR p.captured_minor - p.refunded_minor > (SELECT coalesce(sum(f.amount_minor), 0) FROM refunds f
                                                       WHERE f.order_id = o.id AND f.state IN ('due', 'claimed'))
        END
    END
UNION ALL
SELECT 2, p.drop_id, p.order_id, format('%s went back, its refunds come to %s of %s captured', p.refunded_minor,
              coalesce(sum(f.amount_minor) FILTER (WHERE f.state = 'succeeded'), 0), p.captured_minor)
FROM payments p LEFT JOIN refunds f ON f.order_id = p.order_id
GROUP BY p.order_id HAVING p.refunded_minor <> coalesce(sum(f.amount_minor) FILTER (WHERE f.state = 'succeeded'), 0)
    OR coalesce(sum(f.amount_minor) FILTER (WHERE f.state <> 'failed'), 0) > p.captured_minor
UNION ALL
SELECT 2, p.drop_id, p.order_id, 'a payment without an order'
FROM payments p WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.id = p.order_id)
UNION ALL
SELECT 1, coalesce(c.drop_id, b.drop_id), NULL,
       format('a customer''s limit counts %s units, his orders hold %s', coalesce(c.quantity, 0), coalesce(b.quantity, 0))
FROM customer_limits c
FULL JOIN (SELECT o.drop_id, o.customer_id, sum(l.quantity) AS quantity FROM orders o JOIN order_lines l ON l.order_id = o.id
           JOIN drops d ON d.id = o.drop_id AND d.per_customer_limit IS NOT NULL
           WHERE o.status IN ('reserved', 'action_required', 'confirmed') GROUP BY o.drop_id, o.customer_id) b
    ON b.drop_id = c.drop_id AND b.customer_id = c.customer_id
WHERE coalesce(c.quantity, 0) <> coalesce(b.quantity, 0)
UNION ALL
SELECT 3, o.drop_id, o.id, format('has %s events up to number %s, counts %s', count(e.seq), coalesce(max(e.seq), 0), o.event_seq)
FROM orders o LEFT JOIN events e ON e.order_id = o.id
GROUP BY o.id, o.drop_id, o.event_seq HAVING count(e.seq) <> o.event_seq OR coalesce(max(e.seq), 0) <> o.event_seq
UNION ALL
SELECT 3, o.drop_id, o.id, 'belongs to a drop that does not exist'
FROM orders o WHERE NOT EXISTS (SELECT 1 FROM drops d WHERE d.id = o.drop_id);

-- Lateness is no violation: it alerts, and never stops a sale.
CREATE OR REPLACE VIEW late_orders AS
SELECT o.drop_id, o.id AS order_id, o.status, o.accepted_at AS waiting_since
FROM orders o JOIN drops d ON d.id = o.drop_id
WHERE o.status = 'accepted' AND d.state <> 'paused' AND o.accepted_at < now() - interval '2 minutes'
UNION ALL
SELECT o.drop_id, o.id, o.status, o.hold_expires_at
FROM orders o WHERE o.status IN ('reserved', 'action_required') AND o.hold_expires_at < now() - interval '2 minutes';
