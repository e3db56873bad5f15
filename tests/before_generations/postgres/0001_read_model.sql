-- Everything here is derived from the event log and can be dropped and projected again.
-- Instants are microseconds since the Unix epoch, amounts are minor units of the store's currency, dates are YYYY-MM-DD.
-- Rows of several generations stand side by side while the projection is rebuilt; live_generations says which one is read.

CREATE TABLE live_generations (
    projection TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL
);

INSERT INTO live_generations (projection, generation) VALUES ('sales', 1);

-- One row for each stream of the log. Changes in the same transaction as the rows below.
CREATE TABLE checkpoints (
    projection TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL,
    stream BIGINT NOT NULL,
    log_id UUID NOT NULL,
    epoch BIGINT NOT NULL,
    position BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    head BIGINT NOT NULL,
    lag_us BIGINT NOT NULL,
    orphans BIGINT NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    -- Grows whenever another instance takes over: what fences the one before.
    term BIGINT NOT NULL,
    -- Grows with every write of the owner: a sign of life that needs no clock.
    beat BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    PRIMARY KEY (projection, generation, stream)
);

CREATE TABLE stores (
    generation BIGINT NOT NULL,
    store_id TEXT COLLATE "C" NOT NULL,
    stream BIGINT NOT NULL,
    ledger_id UUID,
    -- The ledger's last record whose effects are here; 0 before the first.
    revision BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    recorded_at_us BIGINT NOT NULL,
    currency TEXT COLLATE "C" NOT NULL,
    time_zone TEXT COLLATE "C" NOT NULL,
    -- JSON object: BCP 47 language tag to name.
    name TEXT COLLATE "C" NOT NULL,
    latest_date TEXT COLLATE "C" NOT NULL,
    day_open BIGINT NOT NULL,
    z_number BIGINT NOT NULL,
    z_hash BYTEA NOT NULL,
    document_number BIGINT NOT NULL,
    open_orders BIGINT NOT NULL,
    -- Orders completed since the last close while no day was open.
    completed_between BIGINT NOT NULL,
    grand_total_sales BIGINT NOT NULL,
    grand_total_returns BIGINT NOT NULL,
    -- Empty unless the store's projection stands still.
    quarantine_reason TEXT COLLATE "C" NOT NULL,
    -- The first record that was not applied.
    quarantine_revision BIGINT NOT NULL,
    quarantined_at_us BIGINT NOT NULL,
    skipped_records BIGINT NOT NULL,
    PRIMARY KEY (generation, store_id)
);

CREATE TABLE orders (
    generation BIGINT NOT NULL,
    store_id TEXT COLLATE "C" NOT NULL,
    order_id UUID NOT NULL,
    business_date TEXT COLLATE "C" NOT NULL,
    ticket_number BIGINT NOT NULL,
    -- As doppio.type.v1.OrderStatus numbers them.
    status BIGINT NOT NULL,
    -- As doppio.type.v1.MembershipOutcome numbers them: what is known today.
    membership BIGINT NOT NULL,
    placed_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    -- doppio.ordering.v1.Order as it stands.
    body BYTEA NOT NULL,
    PRIMARY KEY (generation, store_id, order_id)
);

-- The date before the store: before there are statistics, nothing but the primary key may look right for an order's id.
CREATE UNIQUE INDEX orders_by_ticket ON orders (generation, business_date, store_id, ticket_number);
-- Only what is still being made: a board's question, and few rows.
CREATE INDEX orders_open ON orders (generation, store_id, status) WHERE status < 4;

-- What moved money by an order: sales, voids and refunds. One row an event; amounts are never negative, the kind says which way they went.
CREATE TABLE facts (
    generation BIGINT NOT NULL,
    store_id TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    event_index BIGINT NOT NULL,
    -- 1 sale, 2 void, 3 refund.
    kind BIGINT NOT NULL,
    -- Of the day's report: 1 sales, 2 voids, 3 refunds of the same day, 4 refunds and cancellations of earlier days.
    block BIGINT NOT NULL,
    -- The day that it counts in, and the day of the sale.
    business_date TEXT COLLATE "C" NOT NULL,
    sale_business_date TEXT COLLATE "C" NOT NULL,
    order_id UUID NOT NULL,
    recorded_at_us BIGINT NOT NULL,
    -- Start of the local hour with its offset from UTC: 2026-03-02T09:00+09:00.
    hour TEXT COLLATE "C" NOT NULL,
    document_number BIGINT NOT NULL,
    reason_code TEXT COLLATE "C" NOT NULL,
    gross BIGINT NOT NULL,
    discount BIGINT NOT NULL,
    net BIGINT NOT NULL,
    vat BIGINT NOT NULL,
    PRIMARY KEY (generation, store_id, revision, event_index)
);

CREATE INDEX facts_by_date ON facts (generation, store_id, business_date);
CREATE INDEX facts_by_sale_date ON facts (generation, store_id, sale_business_date);

-- Lines sold or given back.
CREATE TABLE fact_lines (
    generation BIGINT NOT NULL,
    store_id TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    event_index BIGINT NOT NULL,
    position BIGINT NOT NULL,
    -- Index of the line in its order.
    line_index BIGINT NOT NULL,
    sku TEXT COLLATE "C" NOT NULL,
    category TEXT COLLATE "C" NOT NULL,
    quantity BIGINT NOT NULL,
    gross BIGINT NOT NULL,
    discount BIGINT NOT NULL,
    net BIGINT NOT NULL,
    -- Its share of the fact's VAT; the shares sum to it.
    vat BIGINT NOT NULL,
    tax_class TEXT COLLATE "C" NOT NULL,
    tax_rate_bp BIGINT NOT NULL,
    PRIMARY KEY (generation, store_id, revision, event_index, position)
);

-- Tenders taken or returned.
CREATE TABLE fact_tenders (
    generation BIGINT NOT NULL,
    store_id TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    event_index BIGINT NOT NULL,
    position BIGINT NOT NULL,
    tender_id TEXT COLLATE "C" NOT NULL,
    -- As doppio.type.v1.TenderKind numbers them.
    kind BIGINT NOT NULL,
    -- Of cash; empty for other kinds.
    drawer_id TEXT COLLATE "C" NOT NULL,
    tendered BIGINT NOT NULL,
    change BIGINT NOT NULL,
    taken BIGINT NOT NULL,
    returned BIGINT NOT NULL,
    PRIMARY KEY (generation, store_id, revision, event_index, position)
);

-- Cash that came into a drawer or left it other than by an order.
CREATE TABLE cash_movements (
    generation BIGINT NOT NULL,
    store_id TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    event_index BIGINT NOT NULL,
    position BIGINT NOT NULL,
    -- 4 float at the day's opening, 5 float stated later, 6 paid in, 7 paid out: facts have the numbers before.
    kind BIGINT NOT NULL,
    business_date TEXT COLLATE "C" NOT NULL,
    recorded_at_us BIGINT NOT NULL,
    drawer_id TEXT COLLATE "C" NOT NULL,
    amount BIGINT NOT NULL,
    -- What it adds to the drawer's expected cash; a float stated later takes the place of the one before.
    effect BIGINT NOT NULL,
    reason_code TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (generation, store_id, revision, event_index, position)
);

CREATE INDEX cash_movements_by_date ON cash_movements (generation, store_id, business_date);

CREATE TABLE business_days (
    generation BIGINT NOT NULL,
    store_id TEXT COLLATE "C" NOT NULL,
    business_date TEXT COLLATE "C" NOT NULL,
    -- 1 open, 2 closed.
    state BIGINT NOT NULL,
    time_zone TEXT COLLATE "C" NOT NULL,
    start_at_us BIGINT NOT NULL,
    end_at_us BIGINT NOT NULL,
    closed_at_us BIGINT NOT NULL,
    z_number BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    -- doppio.event.v1.DayReport as the projection computes it.
    body BYTEA NOT NULL,
    -- doppio.event.v1.BusinessDayClosed as it was recorded, without what it carries over; empty until the day is closed.
    recorded BYTEA NOT NULL,
    -- JSON array of {figure, recorded, projected}.
    differences TEXT COLLATE "C" NOT NULL,
    -- JSON object of the recorded figures by name; empty until the day is closed.
    figures TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (generation, store_id, business_date)
);
