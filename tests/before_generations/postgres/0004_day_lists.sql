-- A Z holds digests of the lists that are as long as a day makes them; the lists are rows of their own. Figures have other names. Days that
-- were projected before have neither, so everything is projected again from the event log.

TRUNCATE checkpoints, stores, orders, facts, fact_lines, fact_discounts, fact_tenders, completions, cash_movements, business_days;

-- What a day sold, and its discounts. Each batch adds to the rows that are there.
CREATE TABLE day_lists (
    generation BIGINT NOT NULL,
    store_id TEXT COLLATE "C" NOT NULL,
    business_date TEXT COLLATE "C" NOT NULL,
    -- 1 items, 2 categories, 3 discounts.
    list BIGINT NOT NULL,
    -- The sku, the category, or the discount's source (as doppio.type.v1.DiscountSource numbers them), a slash and its id.
    list_key TEXT COLLATE "C" NOT NULL,
    -- Of an item, as its last sale on that day had it; a JSON object of names by language.
    category TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    -- Units sold; how often a discount was applied.
    units BIGINT NOT NULL,
    gross BIGINT NOT NULL,
    discount BIGINT NOT NULL,
    net BIGINT NOT NULL,
    PRIMARY KEY (generation, store_id, business_date, list, list_key)
);

COMMENT ON COLUMN doppio_analytics.z_reports.figures IS 'Every figure of the report by name, as ExplainFigure takes it: "tenders.cash.net", "items.units", "drawers.main.over_short" ...';
