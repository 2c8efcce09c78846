-- Tables. Money is in minor units of the drop's currency; every time comes from the database's clock.
-- Orders have no foreign keys to drops and items: a KEY SHARE lock on the hottest rows of the system for every order
-- would cost writes and could deadlock. Drops and items are never deleted, and the audit looks for orphans.

CREATE TABLE drops (
    id                   text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name                 text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    currency             text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    starts_at            timestamptz NOT NULL,
    ends_at              timestamptz NOT NULL,
    state                text NOT NULL CHECK (state IN ('draft', 'live', 'paused', 'ended')),
    per_customer_limit   integer CHECK (per_customer_limit BETWEEN 1 AND 1000000),
    hold_seconds         integer NOT NULL DEFAULT 600 CHECK (hold_seconds BETWEEN 1 AND 86400),
    order_id_key_version integer NOT NULL CHECK (order_id_key_version >= 1),
    created_at           timestamptz NOT NULL DEFAULT now(),
    audited_at           timestamptz NOT NULL DEFAULT '-infinity',  -- when its latest audit began; -infinity: audit it next
    sealed_at            timestamptz,  -- it is over and was found in order: not audited any more
    erased_at            timestamptz,  -- nothing personal is left in its orders
    CHECK (ends_at > starts_at)
);
CREATE INDEX drops_to_close ON drops (ends_at) WHERE state = 'live';
CREATE INDEX drops_to_audit ON drops (audited_at) WHERE sealed_at IS NULL;
CREATE INDEX drops_to_erase ON drops (ends_at) WHERE erased_at IS NULL;

CREATE TABLE items (
    drop_id          text NOT NULL REFERENCES drops (id),
    sku              text NOT NULL CHECK (sku ~ '^[A-Za-z0-9._-]{1,64}$'),
    title            text NOT NULL CHECK (length(title) BETWEEN 1 AND 255),
    unit_price_minor bigint NOT NULL CHECK (unit_price_minor BETWEEN 0 AND 99999999),
    stock            bigint NOT NULL DEFAULT 0 CHECK (stock <= 1000000000),
    reserved         bigint NOT NULL DEFAULT 0,
    sold             bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (drop_id, sku),
    CONSTRAINT items_never_oversold CHECK (reserved >= 0 AND sold >= 0 AND reserved + sold <= stock)
) WITH (fillfactor = 50);  -- counters change all the time: room for new versions on the same page

CREATE TABLE orders (
    id              uuid PRIMARY KEY,
    drop_id         text NOT NULL,
    idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    fingerprint     text NOT NULL,
    customer_id     text NOT NULL,
    status          text NOT NULL DEFAULT 'accepted' CHECK (status IN ('accepted', 'reserved', 'action_required',
                        'confirmed', 'declined', 'expired', 'cancelled', 'refunded', 'sold_out', 'rejected')),
    reason          text CHECK (reason IN ('limit_exceeded', 'price_changed', 'drop_closed', 'unknown_sku',
                        'card_declined', 'insufficient_funds', 'authentication_failed', 'hold_expired',
                        'buyer_cancelled', 'operator')),
    amount_minor    bigint NOT NULL CHECK (amount_minor >= 0),
    request         jsonb NOT NULL,
    event_seq       integer NOT NULL DEFAULT 1,
    accepted_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at    timestamptz,  -- when the order was last known to be in the queue; -infinity: known not to be
    hold_expires_at timestamptz,
    CONSTRAINT orders_one_per_key UNIQUE (drop_id, idempotency_key)
) WITH (fillfactor = 80);

-- What reconcile looks through; an order leaves these indexes when it is decided, and when its hold is over.
CREATE INDEX orders_waiting ON orders (drop_id, accepted_at) WHERE status = 'accepted';
CREATE INDEX orders_held ON orders (hold_expires_at) WHERE hold_expires_at IS NOT NULL;

CREATE TABLE order_lines (
    order_id         uuid NOT NULL,
    sku              text NOT NULL,
    quantity         integer NOT NULL CHECK (quantity BETWEEN 1 AND 1000),
    unit_price_minor bigint NOT NULL CHECK (unit_price_minor >= 0),
    PRIMARY KEY (order_id, sku)
);

-- Only for drops with a limit.
CREATE TABLE customer_limits (
    drop_id     text NOT NULL,
    customer_id text NOT NULL,
    quantity    bigint NOT NULL CHECK (quantity >= 0),
    PRIMARY KEY (drop_id, customer_id)
) WITH (fillfactor = 80);

-- What is charged for an order, from the moment that its units are held. A free order has none.
CREATE TABLE payments (
    order_id       uuid PRIMARY KEY,
    drop_id        text NOT NULL,
    position       bigint GENERATED ALWAYS AS IDENTITY,  -- units were reserved in this order, and are charged in it
    provider       text NOT NULL DEFAULT 'stripe',
    provider_ref   text UNIQUE,  -- the only payment at the provider that may ever be confirmed for the order
    state          text NOT NULL DEFAULT 'due' CHECK (state IN ('due', 'claimed', 'action_required', 'captured',
                       'declined', 'cancelled')),
    ending         text CHECK (ending IN ('buyer_cancelled', 'operator', 'hold_expired')),  -- why it is to be called off
    attempt        integer NOT NULL DEFAULT 0,
    due_at         timestamptz DEFAULT clock_timestamp(),  -- when somebody should look after it next; null: it is over
    amount_minor   bigint NOT NULL CHECK (amount_minor > 0),
    captured_minor bigint NOT NULL DEFAULT 0,
    refunded_minor bigint NOT NULL DEFAULT 0,
    client_secret  text,  -- only while the buyer has to act
    last_error     text,
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT payments_captured_once CHECK (captured_minor IN (0, amount_minor)),
    CONSTRAINT payments_never_over_refunded CHECK (refunded_minor BETWEEN 0 AND captured_minor)
) WITH (fillfactor = 80);
CREATE INDEX payments_due ON payments (position) WHERE due_at IS NOT NULL;
CREATE INDEX payments_by_drop ON payments (drop_id);

-- Money that goes back. A row is written before the provider is asked; its id is the provider's idempotency key.
CREATE TABLE refunds (
    id           uuid PRIMARY KEY,
    order_id     uuid NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    reason       text NOT NULL CHECK (reason IN ('operator', 'no_stock')),
    restock      boolean NOT NULL DEFAULT false,  -- the units go back on sale with the money
    state        text NOT NULL DEFAULT 'due' CHECK (state IN ('due', 'claimed', 'succeeded', 'failed')),
    attempt      integer NOT NULL DEFAULT 0,
    key_number   integer NOT NULL DEFAULT 0,  -- of the idempotency key: another one after an answer of 5xx
    due_at       timestamptz DEFAULT clock_timestamp(),
    provider_ref text UNIQUE,
    last_error   text,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX refunds_by_order ON refunds (order_id);
CREATE INDEX refunds_due ON refunds (created_at) WHERE due_at IS NOT NULL;

-- How fast the provider is asked, by all instances together: a token bucket.
CREATE TABLE payment_pace (
    provider text PRIMARY KEY,
    tokens   double precision NOT NULL DEFAULT 0,
    at       timestamptz NOT NULL DEFAULT now()
);
INSERT INTO payment_pace (provider) VALUES ('stripe');

CREATE TABLE ledger (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    drop_id  text NOT NULL,
    sku      text NOT NULL,
    order_id uuid,
    kind     text NOT NULL CHECK (kind IN ('stock', 'reserve', 'release', 'sell', 'restock')),
    quantity bigint NOT NULL CHECK (quantity > 0),
    ref      text NOT NULL DEFAULT '',  -- tells two stockings of one SKU apart
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT ledger_once UNIQUE NULLS NOT DISTINCT (order_id, sku, kind, ref)
);
CREATE INDEX ledger_by_item ON ledger (drop_id, sku) INCLUDE (kind, quantity);

CREATE TABLE events (
    id           bigint GENERATED ALWAYS AS IDENTITY,  -- what happened first is relayed first
    drop_id      text NOT NULL,
    order_id     uuid NOT NULL,
    seq          integer NOT NULL CHECK (seq >= 1),
    type         text NOT NULL,
    reason       text,
    occurred_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at timestamptz,
    leased_until timestamptz,  -- of an order's first unpublished event: until then somebody is publishing them all
    CONSTRAINT events_in_order PRIMARY KEY (order_id, seq)
);
CREATE INDEX events_unpublished ON events (id) WHERE published_at IS NULL;  -- the only index on id: it costs what a key would

CREATE TABLE rejected_messages (
    id          text PRIMARY KEY,  -- the Pub/Sub message id
    topic       text NOT NULL,
    reason      text NOT NULL,
    body        text NOT NULL,
    rejected_at timestamptz NOT NULL DEFAULT now(),
    retry_at    timestamptz  -- when a person asked for it to be tried again
);
CREATE INDEX rejected_messages_kept ON rejected_messages (rejected_at) WHERE body <> '';

-- Broken promises that a person has looked at, and decided to go on with.
CREATE TABLE accepted_violations (
    drop_id       text NOT NULL,
    promise       integer NOT NULL,
    order_id      uuid,
    violation     text NOT NULL,
    reason        text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    database_user text NOT NULL DEFAULT session_user,
    os_user       text NOT NULL,
    accepted_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT accepted_violations_once UNIQUE NULLS NOT DISTINCT (drop_id, promise, order_id, violation)
);
CREATE INDEX rejected_messages_to_retry ON rejected_messages (retry_at) WHERE retry_at IS NOT NULL;

-- What reserve_orders works on: a line of an order with what never changes about it, numbered by item and by buyer, …
CREATE TYPE wanted_line AS (
    order_id           uuid,
    drop_id            text,
    sku                text,
    quantity           integer,
    customer_id        text,
    per_customer_limit integer,
    item               integer,
    buyer              integer
);
-- … and what becomes of an order.
CREATE TYPE decision AS (order_id uuid, status text, reason text);
