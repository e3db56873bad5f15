-- The hour that a clock change repeats is two: which of them a fact belongs to is known when it is projected, so everything is projected
-- again from the event log.

DELETE FROM checkpoints;
DELETE FROM stores;
DELETE FROM orders;
DELETE FROM facts;
DELETE FROM fact_lines;
DELETE FROM fact_tenders;
DELETE FROM fact_discounts;
DELETE FROM completions;
DELETE FROM cash_movements;
DELETE FROM business_days;

-- 1: the second of the two hours of one name on the wall that a clock set back makes.
ALTER TABLE facts ADD COLUMN hour_repeated INTEGER NOT NULL DEFAULT 0;
