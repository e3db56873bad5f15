-- Every figure of a report gets the facts behind it: discounts, completions and counts of drawers become rows. Days that were projected
-- before do not have them, so everything is projected again from the event log.

DELETE FROM checkpoints;
DELETE FROM stores;
DELETE FROM orders;
DELETE FROM facts;
DELETE FROM fact_lines;
DELETE FROM fact_tenders;
DELETE FROM cash_movements;
DELETE FROM business_days;

-- Minutes after local midnight at which a business day begins.
ALTER TABLE stores ADD COLUMN cutoff_minutes INTEGER NOT NULL DEFAULT 240;

-- Discounts of sales, as they were applied.
CREATE TABLE fact_discounts (
    generation INTEGER NOT NULL,
    store_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    event_index INTEGER NOT NULL,
    position INTEGER NOT NULL,
    -- As doppio.type.v1.DiscountSource numbers them.
    source INTEGER NOT NULL,
    discount_id TEXT NOT NULL,
    amount INTEGER NOT NULL,
    PRIMARY KEY (generation, store_id, revision, event_index, position)
) WITHOUT ROWID;

-- Orders completed. They move no money, and between two days they count in the next.
CREATE TABLE completions (
    generation INTEGER NOT NULL,
    store_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    event_index INTEGER NOT NULL,
    -- Of the Z report that they are counted in.
    z_number INTEGER NOT NULL,
    order_id BLOB NOT NULL,
    recorded_at_us INTEGER NOT NULL,
    PRIMARY KEY (generation, store_id, revision, event_index)
) WITHOUT ROWID;

CREATE INDEX completions_by_z ON completions (generation, store_id, z_number);

-- Days whose recorded figures the projection computes otherwise: none, if all is well.
CREATE INDEX business_days_differing ON business_days (generation, store_id, business_date) WHERE differences <> '[]';
