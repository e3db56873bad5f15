-- Everything here is derived from the event log and can be dropped and projected again.
-- Instants are microseconds since the Unix epoch, amounts are minor units of the store's currency, dates are YYYY-MM-DD.
-- Rows of several generations stand side by side while the projection is rebuilt; live_generations says which one is read.

CREATE TABLE live_generations (
    projection TEXT NOT NULL PRIMARY KEY,
    generation INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO live_generations (projection, generation) VALUES ('sales', 1);

-- One row for each stream of the log. Changes in the same transaction as the rows below.
CREATE TABLE checkpoints (
    projection TEXT NOT NULL,
    generation INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    log_id BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    position INTEGER NOT NULL,
    hash BLOB NOT NULL,
    head INTEGER NOT NULL,
    lag_us INTEGER NOT NULL,
    orphans INTEGER NOT NULL,
    owner TEXT NOT NULL,
    -- Grows whenever another instance takes over: what fences the one before.
    term INTEGER NOT NULL,
    -- Grows with every write of the owner: a sign of life that needs no clock.
    beat INTEGER NOT NULL,
    updated_at_us INTEGER NOT NULL,
    PRIMARY KEY (projection, generation, stream)
) WITHOUT ROWID;

CREATE TABLE stores (
    generation INTEGER NOT NULL,
    store_id TEXT NOT NULL,
    stream INTEGER NOT NULL,
    ledger_id BLOB,
    -- The ledger's last record whose effects are here; 0 before the first.
    revision INTEGER NOT NULL,
    hash BLOB NOT NULL,
    recorded_at_us INTEGER NOT NULL,
    currency TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    -- JSON object: BCP 47 language tag to name.
    name TEXT NOT NULL,
    latest_date TEXT NOT NULL,
    day_open INTEGER NOT NULL,
    z_number INTEGER NOT NULL,
    z_hash BLOB NOT NULL,
    document_number INTEGER NOT NULL,
    open_orders INTEGER NOT NULL,
    -- Orders completed since the last close while no day was open.
    completed_between INTEGER NOT NULL,
    grand_total_sales INTEGER NOT NULL,
    grand_total_returns INTEGER NOT NULL,
    -- Empty unless the store's projection stands still.
    quarantine_reason TEXT NOT NULL,
    -- The first record that was not applied.
    quarantine_revision INTEGER NOT NULL,
    quarantined_at_us INTEGER NOT NULL,
    skipped_records INTEGER NOT NULL,
    PRIMARY KEY (generation, store_id)
) WITHOUT ROWID;

CREATE TABLE orders (
    generation INTEGER NOT NULL,
    store_id TEXT NOT NULL,
    order_id BLOB NOT NULL,
    business_date TEXT NOT NULL,
    ticket_number INTEGER NOT NULL,
    -- As doppio.type.v1.OrderStatus numbers them.
    status INTEGER NOT NULL,
    placed_at_us INTEGER NOT NULL,
    updated_at_us INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    -- doppio.ordering.v1.Order as it stands.
    body BLOB NOT NULL,
    PRIMARY KEY (generation, store_id, order_id)
);

CREATE UNIQUE INDEX orders_by_ticket ON orders (generation, store_id, business_date, ticket_number);
-- Only what is still being made: a board's question, and few rows.
CREATE INDEX orders_open ON orders (generation, store_id, status) WHERE status < 4;

CREATE TABLE order_lines (
    generation INTEGER NOT NULL,
    store_id TEXT NOT NULL,
    order_id BLOB NOT NULL,
    line_index INTEGER NOT NULL,
    business_date TEXT NOT NULL,
    placed_at_us INTEGER NOT NULL,
    sku TEXT NOT NULL,
    category TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    gross INTEGER NOT NULL,
    discount INTEGER NOT NULL,
    net INTEGER NOT NULL,
    tax_class TEXT NOT NULL,
    tax_rate_bp INTEGER NOT NULL,
    PRIMARY KEY (generation, store_id, order_id, line_index)
) WITHOUT ROWID;

CREATE TABLE business_days (
    generation INTEGER NOT NULL,
    store_id TEXT NOT NULL,
    business_date TEXT NOT NULL,
    -- 1 open, 2 closed.
    state INTEGER NOT NULL,
    time_zone TEXT NOT NULL,
    start_at_us INTEGER NOT NULL,
    end_at_us INTEGER NOT NULL,
    closed_at_us INTEGER NOT NULL,
    z_number INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    -- doppio.event.v1.DayReport as the projection computes it.
    body BLOB NOT NULL,
    -- doppio.event.v1.DayReport as the Z recorded it; empty until the day is closed.
    recorded BLOB NOT NULL,
    -- JSON array of {figure, recorded, projected}.
    differences TEXT NOT NULL,
    PRIMARY KEY (generation, store_id, business_date)
);
