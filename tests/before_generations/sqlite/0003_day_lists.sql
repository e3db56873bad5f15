-- A Z holds digests of the lists that are as long as a day makes them; the lists are rows of their own. Figures have other names. Days that
-- were projected before have neither, so everything is projected again from the event log.

DELETE FROM checkpoints;
DELETE FROM stores;
DELETE FROM orders;
DELETE FROM facts;
DELETE FROM fact_lines;
DELETE FROM fact_discounts;
DELETE FROM fact_tenders;
DELETE FROM completions;
DELETE FROM cash_movements;
DELETE FROM business_days;

-- What a day sold, and its discounts. Each batch adds to the rows that are there.
CREATE TABLE day_lists (
    generation INTEGER NOT NULL,
    store_id TEXT NOT NULL,
    business_date TEXT NOT NULL,
    -- 1 items, 2 categories, 3 discounts.
    list INTEGER NOT NULL,
    -- The sku, the category, or the discount's source (as doppio.type.v1.DiscountSource numbers them), a slash and its id.
    list_key TEXT NOT NULL,
    -- Of an item, as its last sale on that day had it; a JSON object of names by language.
    category TEXT NOT NULL,
    name TEXT NOT NULL,
    -- Units sold; how often a discount was applied.
    units INTEGER NOT NULL,
    gross INTEGER NOT NULL,
    discount INTEGER NOT NULL,
    net INTEGER NOT NULL,
    PRIMARY KEY (generation, store_id, business_date, list, list_key)
) WITHOUT ROWID;
