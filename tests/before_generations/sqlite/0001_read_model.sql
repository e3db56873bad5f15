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
    -- As doppio.type.v1.MembershipOutcome numbers them: what is known today.
    membership INTEGER NOT NULL,
    placed_at_us INTEGER NOT NULL,
    updated_at_us INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    -- doppio.ordering.v1.Order as it stands.
    body BLOB NOT NULL,
    PRIMARY KEY (generation, store_id, order_id)
);

-- The date before the store: before there are statistics, nothing but the primary key may look right for an order's id.
CREATE UNIQUE INDEX orders_by_ticket ON orders (generation, business_date, store_id, ticket_number);
-- Only what is still being made: a board's question, and few rows.
CREATE INDEX orders_open ON orders (generation, store_id, status) WHERE status < 4;

-- What moved money by an order: sales, voids and refunds. One row an event; amounts are never negative, the kind says which way they went.
CREATE TABLE facts (
    generation INTEGER NOT NULL,
    store_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    event_index INTEGER NOT NULL,
    -- 1 sale, 2 void, 3 refund.
    kind INTEGER NOT NULL,
    -- Of the day's report: 1 sales, 2 voids, 3 refunds of the same day, 4 refunds and cancellations of earlier days.
    block INTEGER NOT NULL,
    -- The day that it counts in, and the day of the sale.
    business_date TEXT NOT NULL,
    sale_business_date TEXT NOT NULL,
    order_id BLOB NOT NULL,
    recorded_at_us INTEGER NOT NULL,
    -- Start of the local hour with its offset from UTC: 2026-03-02T09:00+09:00.
    hour TEXT NOT NULL,
    document_number INTEGER NOT NULL,
    reason_code TEXT NOT NULL,
    gross INTEGER NOT NULL,
    discount INTEGER NOT NULL,
    net INTEGER NOT NULL,
    vat INTEGER NOT NULL,
    PRIMARY KEY (generation, store_id, revision, event_index)
) WITHOUT ROWID;

CREATE INDEX facts_by_date ON facts (generation, store_id, business_date);
CREATE INDEX facts_by_sale_date ON facts (generation, store_id, sale_business_date);

-- Lines sold or given back.
CREATE TABLE fact_lines (
    generation INTEGER NOT NULL,
    store_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    event_index INTEGER NOT NULL,
    position INTEGER NOT NULL,
    -- Index of the line in its order.
    line_index INTEGER NOT NULL,
    sku TEXT NOT NULL,
    category TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    gross INTEGER NOT NULL,
    discount INTEGER NOT NULL,
    net INTEGER NOT NULL,
    -- Its share of the fact's VAT; the shares sum to it.
    vat INTEGER NOT NULL,
    tax_class TEXT NOT NULL,
    tax_rate_bp INTEGER NOT NULL,
    PRIMARY KEY (generation, store_id, revision, event_index, position)
) WITHOUT ROWID;

-- Tenders taken or returned.
CREATE TABLE fact_tenders (
    generation INTEGER NOT NULL,
    store_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    event_index INTEGER NOT NULL,
    position INTEGER NOT NULL,
    tender_id TEXT NOT NULL,
    -- As doppio.type.v1.TenderKind numbers them.
    kind INTEGER NOT NULL,
    -- Of cash; empty for other kinds.
    drawer_id TEXT NOT NULL,
    tendered INTEGER NOT NULL,
    change INTEGER NOT NULL,
    taken INTEGER NOT NULL,
    returned INTEGER NOT NULL,
    PRIMARY KEY (generation, store_id, revision, event_index, position)
) WITHOUT ROWID;

-- Cash that came into a drawer or left it other than by an order.
CREATE TABLE cash_movements (
    generation INTEGER NOT NULL,
    store_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    event_index INTEGER NOT NULL,
    position INTEGER NOT NULL,
    -- 4 float at the day's opening, 5 float stated later, 6 paid in, 7 paid out: facts have the numbers before.
    kind INTEGER NOT NULL,
    business_date TEXT NOT NULL,
    recorded_at_us INTEGER NOT NULL,
    drawer_id TEXT NOT NULL,
    amount INTEGER NOT NULL,
    -- What it adds to the drawer's expected cash; a float stated later takes the place of the one before.
    effect INTEGER NOT NULL,
    reason_code TEXT NOT NULL,
    PRIMARY KEY (generation, store_id, revision, event_index, position)
) WITHOUT ROWID;

CREATE INDEX cash_movements_by_date ON cash_movements (generation, store_id, business_date);

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
    -- doppio.event.v1.BusinessDayClosed as it was recorded, without what it carries over; empty until the day is closed.
    recorded BLOB NOT NULL,
    -- JSON array of {figure, recorded, projected}.
    differences TEXT NOT NULL,
    -- JSON object of the recorded figures by name; empty until the day is closed.
    figures TEXT NOT NULL,
    PRIMARY KEY (generation, store_id, business_date)
);
