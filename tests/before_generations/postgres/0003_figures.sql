-- Every figure of a report gets the facts behind it: discounts, completions and counts of drawers become rows. Days that were projected
-- before do not have them, so everything is projected again from the event log.

TRUNCATE checkpoints, stores, orders, facts, fact_lines, fact_tenders, cash_movements, business_days;

-- Minutes after local midnight at which a business day begins.
ALTER TABLE stores ADD COLUMN cutoff_minutes BIGINT NOT NULL DEFAULT 240;

-- Discounts of sales, as they were applied.
CREATE TABLE fact_discounts (
    generation BIGINT NOT NULL,
    store_id TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    event_index BIGINT NOT NULL,
    position BIGINT NOT NULL,
    -- As doppio.type.v1.DiscountSource numbers them.
    source BIGINT NOT NULL,
    discount_id TEXT COLLATE "C" NOT NULL,
    amount BIGINT NOT NULL,
    PRIMARY KEY (generation, store_id, revision, event_index, position)
);

-- Orders completed. They move no money, and between two days they count in the next.
CREATE TABLE completions (
    generation BIGINT NOT NULL,
    store_id TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    event_index BIGINT NOT NULL,
    -- Of the Z report that they are counted in.
    z_number BIGINT NOT NULL,
    order_id UUID NOT NULL,
    recorded_at_us BIGINT NOT NULL,
    PRIMARY KEY (generation, store_id, revision, event_index)
);

CREATE INDEX completions_by_z ON completions (generation, store_id, z_number);

-- Days whose recorded figures the projection computes otherwise: none, if all is well.
CREATE INDEX business_days_differing ON business_days (generation, store_id, business_date) WHERE differences <> '[]';

-- A range of dates is read in the order of the ledger, page by page.
DROP INDEX facts_by_date;
CREATE INDEX facts_by_date ON facts (generation, store_id, business_date, revision, event_index);

CREATE VIEW doppio_analytics.refund_lines AS
SELECT f.store_id,
       f.order_id,
       CASE f.kind WHEN 2 THEN 'void' ELSE 'refund' END AS kind,
       f.business_date::date AS business_date,
       f.sale_business_date::date AS sale_business_date,
       f.document_number,
       l.line_index,
       l.sku,
       l.category,
       l.quantity,
       s.currency,
       l.gross,
       l.discount,
       l.net,
       l.vat,
       l.tax_class,
       l.tax_rate_bp
FROM doppio_read.live_generations g
JOIN doppio_read.facts f ON f.generation = g.generation AND f.kind IN (2, 3)
JOIN doppio_read.fact_lines l
  ON l.generation = f.generation AND l.store_id = f.store_id AND l.revision = f.revision AND l.event_index = f.event_index
JOIN doppio_read.stores s ON s.generation = f.generation AND s.store_id = f.store_id
WHERE g.projection = 'sales';

COMMENT ON VIEW doppio_analytics.refund_lines IS 'One row a line of a refund or void. Amounts are what was given back, never negative.';
COMMENT ON COLUMN doppio_analytics.refund_lines.store_id IS 'The store.';
COMMENT ON COLUMN doppio_analytics.refund_lines.order_id IS 'The order.';
COMMENT ON COLUMN doppio_analytics.refund_lines.kind IS 'refund, or void: the order was cancelled.';
COMMENT ON COLUMN doppio_analytics.refund_lines.business_date IS 'The day on which it happened, in which the Z report has it.';
COMMENT ON COLUMN doppio_analytics.refund_lines.sale_business_date IS 'The day of the sale.';
COMMENT ON COLUMN doppio_analytics.refund_lines.document_number IS 'Of the refund or void: with store_id it finds its row in refunds.';
COMMENT ON COLUMN doppio_analytics.refund_lines.line_index IS 'The line of the order, counted from 0, as in order_lines.';
COMMENT ON COLUMN doppio_analytics.refund_lines.sku IS 'The item.';
COMMENT ON COLUMN doppio_analytics.refund_lines.category IS 'The item''s category when it was sold.';
COMMENT ON COLUMN doppio_analytics.refund_lines.quantity IS 'Units given back.';
COMMENT ON COLUMN doppio_analytics.refund_lines.currency IS 'ISO 4217 code of the amounts.';
COMMENT ON COLUMN doppio_analytics.refund_lines.gross IS 'Unit price times the units given back.';
COMMENT ON COLUMN doppio_analytics.refund_lines.discount IS 'The discount on them.';
COMMENT ON COLUMN doppio_analytics.refund_lines.net IS 'gross - discount.';
COMMENT ON COLUMN doppio_analytics.refund_lines.vat IS 'Their share of the VAT given back; the shares sum to it.';
COMMENT ON COLUMN doppio_analytics.refund_lines.tax_class IS 'The tax class that applied.';
COMMENT ON COLUMN doppio_analytics.refund_lines.tax_rate_bp IS 'Its rate in basis points: 1000 is 10 %.';

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'doppio_analyst') THEN
        GRANT SELECT ON ALL TABLES IN SCHEMA doppio_analytics TO doppio_analyst;
    END IF;
EXCEPTION
    -- The role is another database's, made by somebody else: docs/ANALYSTS.md says what to run.
    WHEN insufficient_privilege THEN
        NULL;
END
$$;
