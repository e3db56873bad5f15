-- The hour that a clock change repeats is two: which of them a fact belongs to is known when it is projected, so everything is projected
-- again from the event log.

TRUNCATE checkpoints, stores, orders, facts, fact_lines, fact_tenders, fact_discounts, completions, cash_movements, business_days;

-- 1: the second of the two hours of one name on the wall that a clock set back makes.
ALTER TABLE facts ADD COLUMN hour_repeated BIGINT NOT NULL DEFAULT 0;

CREATE OR REPLACE VIEW doppio_analytics.orders AS
SELECT f.store_id,
       f.order_id,
       f.business_date::date AS business_date,
       o.ticket_number,
       f.document_number,
       CASE o.status WHEN 1 THEN 'placed' WHEN 2 THEN 'preparing' WHEN 3 THEN 'ready' WHEN 4 THEN 'completed' WHEN 5 THEN 'cancelled'
            ELSE 'unknown' END AS status,
       CASE o.membership WHEN 1 THEN 'member' WHEN 2 THEN 'not_member' WHEN 3 THEN 'unverified' ELSE 'none' END AS membership,
       timestamptz 'epoch' + f.recorded_at_us * interval '1 microsecond' AS placed_at,
       timestamptz 'epoch' + o.updated_at_us * interval '1 microsecond' AS updated_at,
       substr(f.hour, 12, 2)::integer AS local_hour,
       s.currency,
       f.gross,
       f.discount,
       f.net,
       f.vat,
       f.hour
FROM doppio_read.live_generations g
JOIN doppio_read.facts f ON f.generation = g.generation AND f.kind = 1
JOIN doppio_read.orders o ON o.generation = f.generation AND o.store_id = f.store_id AND o.order_id = f.order_id
JOIN doppio_read.stores s ON s.generation = f.generation AND s.store_id = f.store_id
WHERE g.projection = 'sales';

COMMENT ON COLUMN doppio_analytics.orders.hour IS 'Start of the local hour of placed_at with its offset from UTC, such as 2016-10-30T01:00+01:00. Unlike local_hour it tells the two hours that a clock set back makes.';
