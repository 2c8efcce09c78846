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

-- One row for every broken promise; empty on a healthy system. Asked for one drop, each part begins with that drop's rows and
-- looks up what belongs to each of them by index: that is what the LATERALs and OFFSET 0 are for, and why there is no CTE or
-- FULL JOIN, which would read all drops first. A text stays the same while the sale goes on: it tells the difference between
-- two books, not where they stand, so that a violation that a person has accepted can be known again.
CREATE OR REPLACE VIEW audit_violations AS
SELECT 1 AS promise, i.drop_id, NULL::uuid AS order_id,
       format('%s: the counters are ahead of the ledger by stock %s, reserved %s, sold %s',
              i.sku, i.stock - b.stock, i.reserved - b.reserved, i.sold - b.sold) AS violation
FROM items i CROSS JOIN LATERAL (
    SELECT coalesce(sum(l.quantity) FILTER (WHERE l.kind = 'stock'), 0) AS stock,
           coalesce(sum(CASE l.kind WHEN 'reserve' THEN l.quantity WHEN 'release' THEN -l.quantity WHEN 'sell' THEN -l.quantity END), 0)
               AS reserved,
           coalesce(sum(CASE l.kind WHEN 'sell' THEN l.quantity WHEN 'restock' THEN -l.quantity END), 0) AS sold
    FROM ledger l WHERE l.drop_id = i.drop_id AND l.sku = i.sku) b
WHERE (i.stock, i.reserved, i.sold) <> (b.stock, b.reserved, b.sold)
UNION ALL
SELECT 1, i.drop_id, NULL, format('%s: %s units too many are given away, reserved is %s below 0, sold %s', i.sku,
              greatest(i.reserved + i.sold - i.stock, 0), greatest(-i.reserved, 0), greatest(-i.sold, 0))
FROM items i WHERE i.reserved < 0 OR i.sold < 0 OR i.reserved + i.sold > i.stock
UNION ALL
SELECT 1, o.drop_id, o.id, format('%s: the ledger is ahead of this order by %s reserved, %s released, %s sold; %s restocked',
              l.sku, g.reserve - due.reserve, g.release - due.release, g.sell - due.sell, g.restock)
FROM orders o
CROSS JOIN LATERAL (SELECT sku, quantity FROM order_lines WHERE order_lines.order_id = o.id OFFSET 0) l
CROSS JOIN LATERAL (
    SELECT coalesce(sum(ledger.quantity) FILTER (WHERE kind = 'reserve'), 0) AS reserve,
           coalesce(sum(ledger.quantity) FILTER (WHERE kind = 'release'), 0) AS release,
           coalesce(sum(ledger.quantity) FILTER (WHERE kind = 'sell'), 0) AS sell,
           coalesce(sum(ledger.quantity) FILTER (WHERE kind = 'restock'), 0) AS restock
    FROM ledger WHERE ledger.order_id = o.id AND ledger.sku = l.sku) g
CROSS JOIN LATERAL (
    SELECT CASE WHEN o.status IN ('reserved', 'action_required', 'confirmed', 'declined', 'expired', 'refunded') THEN l.quantity
                WHEN o.status = 'cancelled' AND g.reserve > 0 THEN l.quantity ELSE 0 END AS reserve,
           CASE WHEN o.status IN ('declined', 'expired') THEN l.quantity WHEN o.status = 'cancelled' THEN g.reserve
                WHEN o.status = 'refunded' THEN l.quantity - g.sell ELSE 0 END AS release,
           CASE WHEN o.status = 'confirmed' THEN l.quantity WHEN o.status = 'refunded' AND g.sell > 0 THEN l.quantity ELSE 0 END AS sell) due
WHERE (g.reserve, g.release, g.sell) <> (due.reserve, due.release, due.sell)
   OR g.restock NOT IN (0, CASE WHEN o.status = 'refunded' THEN g.sell ELSE 0 END)
UNION ALL
SELECT 1, g.drop_id, g.order_id, format('%s: the ledger moves %s units (%s) that nobody asked for', g.sku, g.quantity, g.kind)
FROM ledger g
WHERE CASE WHEN g.kind = 'stock' THEN
        g.order_id IS NOT NULL OR NOT EXISTS (SELECT 1 FROM items i WHERE i.drop_id = g.drop_id AND i.sku = g.sku OFFSET 0)
    ELSE NOT EXISTS (SELECT 1 FROM orders o JOIN order_lines l ON l.order_id = o.id
                     WHERE o.id = g.order_id AND o.drop_id = g.drop_id AND l.sku = g.sku OFFSET 0) END
UNION ALL
SELECT 2, o.drop_id, o.id, format('amount is %s, its lines cost %s', o.amount_minor, l.cost)
FROM orders o CROSS JOIN LATERAL (
    SELECT coalesce(sum(quantity * unit_price_minor), 0) AS cost, count(*) AS lines FROM order_lines WHERE order_lines.order_id = o.id) l
WHERE o.amount_minor <> l.cost OR l.lines = 0
UNION ALL
SELECT 2, o.drop_id, o.id, format('is %s, its payment is %s; captured %s and refunded %s of %s', o.status, coalesce(p.state, 'missing'),
              coalesce(p.captured_minor, 0), coalesce(p.refunded_minor, 0), o.amount_minor)
FROM orders o LEFT JOIN LATERAL (SELECT * FROM payments WHERE payments.order_id = o.id OFFSET 0) p ON true
WHERE (o.amount_minor > 0 OR p.order_id IS NOT NULL) AND CASE
    WHEN o.status IN ('accepted', 'sold_out', 'rejected') THEN p.order_id IS NOT NULL
    WHEN o.status = 'cancelled' AND p.order_id IS NULL THEN
        EXISTS (SELECT 1 FROM ledger g WHERE g.order_id = o.id AND g.kind = 'reserve' OFFSET 0)
    ELSE p.order_id IS NULL OR p.amount_minor <> o.amount_minor OR CASE o.status
        -- what nobody will look at any more holds its units for ever
        WHEN 'reserved' THEN p.state NOT IN ('due', 'claimed') OR p.due_at IS NULL
        WHEN 'action_required' THEN p.state <> 'action_required' OR p.due_at IS NULL
        WHEN 'confirmed' THEN p.captured_minor <> p.amount_minor OR p.state <> 'captured' OR p.refunded_minor = p.amount_minor
        WHEN 'refunded' THEN p.captured_minor <> p.amount_minor OR p.state <> 'captured' OR p.refunded_minor <> p.amount_minor
        -- money of an order that can't be fulfilled must be on its way back
        ELSE p.state NOT IN (o.status, 'captured') AND NOT (o.status = 'expired' AND p.state = 'cancelled')
             OR p.captured_minor - p.refunded_minor > (SELECT coalesce(sum(f.amount_minor), 0) FROM refunds f
                                                       WHERE f.order_id = o.id AND f.state IN ('due', 'claimed') AND f.due_at IS NOT NULL)
        END
    END
UNION ALL
SELECT 2, p.drop_id, p.order_id, format('%s went back, its refunds come to %s of %s captured', p.refunded_minor, f.succeeded, p.captured_minor)
FROM payments p CROSS JOIN LATERAL (
    SELECT coalesce(sum(amount_minor) FILTER (WHERE state = 'succeeded'), 0) AS succeeded,
           coalesce(sum(amount_minor) FILTER (WHERE state <> 'failed'), 0) AS asked
    FROM refunds WHERE refunds.order_id = p.order_id) f
WHERE p.refunded_minor <> f.succeeded OR f.asked > p.captured_minor
UNION ALL
SELECT 2, p.drop_id, p.order_id, 'a payment without an order'
FROM payments p WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.id = p.order_id AND o.drop_id = p.drop_id OFFSET 0)
UNION ALL
-- a customer is named by his first order, not by his id
SELECT 1, c.drop_id, c.order_id, CASE
    WHEN c.counted <> c.held THEN format('the limit of this order''s customer is %s units ahead of his orders', c.counted - c.held)
    ELSE format('this order''s customer has %s units, and may have %s', c.held, d.per_customer_limit) END
FROM (SELECT drop_id, customer_id, (array_agg(order_id ORDER BY accepted_at, order_id))[1] AS order_id,
             sum(counted) AS counted, sum(held) AS held
      FROM (SELECT drop_id, customer_id, NULL::uuid AS order_id, NULL::timestamptz AS accepted_at, quantity AS counted, 0::bigint AS held
            FROM customer_limits
            UNION ALL
            SELECT o.drop_id, o.customer_id, o.id, o.accepted_at, 0, CASE WHEN o.status IN ('reserved', 'action_required', 'confirmed')
                THEN coalesce((SELECT sum(l.quantity) FROM order_lines l WHERE l.order_id = o.id), 0)::bigint ELSE 0 END
            FROM orders o JOIN drops l ON l.id = o.drop_id AND l.per_customer_limit IS NOT NULL) counts
      GROUP BY drop_id, customer_id) c
LEFT JOIN drops d ON d.id = c.drop_id
WHERE c.counted <> c.held OR c.held > d.per_customer_limit
UNION ALL
SELECT 3, o.drop_id, o.id, format('%s of its events are missing, or their numbers are wrong', o.event_seq - e.events)
FROM orders o CROSS JOIN LATERAL (
    SELECT count(*) AS events, coalesce(max(seq), 0) AS last FROM events WHERE events.order_id = o.id) e
WHERE e.events <> o.event_seq OR e.last <> o.event_seq
UNION ALL
SELECT 3, o.drop_id, o.id, format('is %s, its last event is %s', o.status, e.type)
FROM orders o CROSS JOIN LATERAL (SELECT type FROM events WHERE events.order_id = o.id ORDER BY seq DESC LIMIT 1) e
WHERE e.type <> 'order.' || o.status
UNION ALL
SELECT 3, o.drop_id, o.id, 'belongs to a drop that does not exist'
FROM orders o WHERE NOT EXISTS (SELECT 1 FROM drops d WHERE d.id = o.drop_id OFFSET 0);

-- The same, and who has accepted which.
CREATE OR REPLACE VIEW judged_violations AS
SELECT v.*, a.accepted_at, a.database_user, a.os_user, a.reason
FROM audit_violations v
LEFT JOIN accepted_violations a ON a.drop_id = v.drop_id AND a.promise = v.promise AND a.violation = v.violation
    AND a.order_id IS NOT DISTINCT FROM v.order_id;

-- Drops that orders name and that don't exist, so that no audit of a drop comes by them; as many steps as there are drops.
CREATE OR REPLACE VIEW missing_drops AS
WITH RECURSIVE named AS (
    SELECT min(drop_id) AS drop_id FROM orders
    UNION ALL
    SELECT (SELECT min(o.drop_id) FROM orders o WHERE o.drop_id > named.drop_id) FROM named WHERE named.drop_id IS NOT NULL)
SELECT drop_id FROM named WHERE drop_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM drops d WHERE d.id = named.drop_id OFFSET 0);

-- Lateness is no violation: it alerts, and never stops a sale. A paused drop's orders wait on purpose, until it should have
-- ended; money that goes back is late when the provider has not taken it in ten minutes.
CREATE OR REPLACE VIEW late_orders AS
SELECT o.drop_id, o.id AS order_id, o.status, o.accepted_at AS waiting_since
FROM orders o JOIN drops d ON d.id = o.drop_id
WHERE o.status = 'accepted' AND (d.state <> 'paused' OR d.ends_at < now()) AND o.accepted_at < now() - interval '2 minutes'
UNION ALL
SELECT o.drop_id, o.id, o.status, o.hold_expires_at
FROM orders o WHERE o.status IN ('reserved', 'action_required') AND o.hold_expires_at < now() - interval '2 minutes'
UNION ALL
SELECT o.drop_id, o.id, 'refund due', f.created_at
FROM refunds f JOIN orders o ON o.id = f.order_id WHERE f.due_at IS NOT NULL AND f.created_at < now() - interval '10 minutes';

-- Messages that could not be processed, as an operator sees them and reconcile tries them again; bodies hold personal data.
CREATE OR REPLACE VIEW shown_messages AS
SELECT id, topic, reason, rejected_at, retry_at, octet_length(body) AS bytes, body FROM rejected_messages;
