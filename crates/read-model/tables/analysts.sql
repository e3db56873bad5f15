-- What analysts read of a generation: the views of the schema doppio_analytics select everything from those of the live generation's schema.
-- docs/ANALYSTS.md describes them. Their names and columns stay, however the tables behind them change. Amounts are minor units of the
-- row's currency.

CREATE VIEW analyst_orders AS
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
       f.hour,
       doppio_analytics.currency_decimals(s.currency) AS currency_decimals
FROM facts f
JOIN orders o ON o.store_id = f.store_id AND o.order_id = f.order_id
JOIN stores s ON s.store_id = f.store_id
WHERE f.kind = 1;

COMMENT ON VIEW analyst_orders IS 'One row an order, with the amounts it was sold for. What was given back later is in refunds.';
COMMENT ON COLUMN analyst_orders.store_id IS 'The store.';
COMMENT ON COLUMN analyst_orders.order_id IS 'The order''s id, a UUIDv7 made by the terminal.';
COMMENT ON COLUMN analyst_orders.business_date IS 'The day of the sale; it begins at the store''s cutoff, not at midnight.';
COMMENT ON COLUMN analyst_orders.ticket_number IS '1, 2, 3 ... per store and business date.';
COMMENT ON COLUMN analyst_orders.document_number IS 'Gapless per store over sales, voids and refunds.';
COMMENT ON COLUMN analyst_orders.status IS 'placed, preparing, ready, completed or cancelled, as it is now. A refund does not change it.';
COMMENT ON COLUMN analyst_orders.membership IS 'member, not_member, unverified or none, as it is known now.';
COMMENT ON COLUMN analyst_orders.placed_at IS 'When the server recorded the sale.';
COMMENT ON COLUMN analyst_orders.updated_at IS 'When the order last changed.';
COMMENT ON COLUMN analyst_orders.local_hour IS 'Hour of placed_at on the store''s clock, 0 to 23.';
COMMENT ON COLUMN analyst_orders.currency IS 'ISO 4217 code of the amounts.';
COMMENT ON COLUMN analyst_orders.gross IS 'Before discounts, VAT included.';
COMMENT ON COLUMN analyst_orders.discount IS 'All discounts.';
COMMENT ON COLUMN analyst_orders.net IS 'gross - discount: what the customer paid, VAT included.';
COMMENT ON COLUMN analyst_orders.vat IS 'The VAT inside net.';
COMMENT ON COLUMN analyst_orders.hour IS 'Start of the local hour of placed_at with its offset from UTC, such as 2016-10-30T01:00+01:00. Unlike local_hour it tells the two hours that a clock set back makes.';
COMMENT ON COLUMN analyst_orders.currency_decimals IS 'Decimal places of the currency: an amount of 5634 with 3 is 5.634.';

CREATE VIEW analyst_order_lines AS
SELECT f.store_id,
       f.order_id,
       f.business_date::date AS business_date,
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
       l.tax_rate_bp,
       doppio_analytics.currency_decimals(s.currency) AS currency_decimals
FROM facts f
JOIN fact_lines l
  ON l.store_id = f.store_id AND l.revision = f.revision AND l.event_index = f.event_index
JOIN stores s ON s.store_id = f.store_id
WHERE f.kind = 1;

COMMENT ON VIEW analyst_order_lines IS 'One row a line sold, as it was sold.';
COMMENT ON COLUMN analyst_order_lines.store_id IS 'The store.';
COMMENT ON COLUMN analyst_order_lines.order_id IS 'The order.';
COMMENT ON COLUMN analyst_order_lines.business_date IS 'The day of the sale.';
COMMENT ON COLUMN analyst_order_lines.line_index IS 'Counts the lines of the order from 0.';
COMMENT ON COLUMN analyst_order_lines.sku IS 'The item.';
COMMENT ON COLUMN analyst_order_lines.category IS 'The item''s category when it was sold.';
COMMENT ON COLUMN analyst_order_lines.quantity IS 'Units sold.';
COMMENT ON COLUMN analyst_order_lines.currency IS 'ISO 4217 code of the amounts.';
COMMENT ON COLUMN analyst_order_lines.gross IS 'Unit price with options times quantity.';
COMMENT ON COLUMN analyst_order_lines.discount IS 'The line''s share of all discounts.';
COMMENT ON COLUMN analyst_order_lines.net IS 'gross - discount.';
COMMENT ON COLUMN analyst_order_lines.vat IS 'The line''s share of the receipt''s VAT; the shares sum to it.';
COMMENT ON COLUMN analyst_order_lines.tax_class IS 'The tax class that applied.';
COMMENT ON COLUMN analyst_order_lines.tax_rate_bp IS 'Its rate in basis points: 1000 is 10 %.';
COMMENT ON COLUMN analyst_order_lines.currency_decimals IS 'Decimal places of the currency: an amount of 5634 with 3 is 5.634.';

CREATE VIEW analyst_refunds AS
SELECT f.store_id,
       f.order_id,
       CASE f.kind WHEN 2 THEN 'void' ELSE 'refund' END AS kind,
       f.business_date::date AS business_date,
       f.sale_business_date::date AS sale_business_date,
       f.document_number,
       f.reason_code,
       timestamptz 'epoch' + f.recorded_at_us * interval '1 microsecond' AS recorded_at,
       s.currency,
       f.gross,
       f.discount,
       f.net,
       f.vat,
       doppio_analytics.currency_decimals(s.currency) AS currency_decimals
FROM facts f
JOIN stores s ON s.store_id = f.store_id
WHERE f.kind IN (2, 3);

COMMENT ON VIEW analyst_refunds IS 'One row a refund or void. Amounts are what was given back, never negative.';
COMMENT ON COLUMN analyst_refunds.store_id IS 'The store.';
COMMENT ON COLUMN analyst_refunds.order_id IS 'The order that it takes back, or a part of it.';
COMMENT ON COLUMN analyst_refunds.kind IS 'refund, or void: the order was cancelled.';
COMMENT ON COLUMN analyst_refunds.business_date IS 'The day on which it happened, in which the Z report has it.';
COMMENT ON COLUMN analyst_refunds.sale_business_date IS 'The day of the sale.';
COMMENT ON COLUMN analyst_refunds.document_number IS 'Gapless per store over sales, voids and refunds.';
COMMENT ON COLUMN analyst_refunds.reason_code IS 'Why.';
COMMENT ON COLUMN analyst_refunds.recorded_at IS 'When the server recorded it.';
COMMENT ON COLUMN analyst_refunds.currency IS 'ISO 4217 code of the amounts.';
COMMENT ON COLUMN analyst_refunds.gross IS 'Unit price times the units given back.';
COMMENT ON COLUMN analyst_refunds.discount IS 'The discount on them.';
COMMENT ON COLUMN analyst_refunds.net IS 'gross - discount: what the customer got back.';
COMMENT ON COLUMN analyst_refunds.vat IS 'The VAT inside net.';
COMMENT ON COLUMN analyst_refunds.currency_decimals IS 'Decimal places of the currency: an amount of 5634 with 3 is 5.634.';

CREATE VIEW analyst_tenders AS
SELECT f.store_id,
       f.order_id,
       f.business_date::date AS business_date,
       f.sale_business_date::date AS sale_business_date,
       t.tender_id,
       CASE t.kind WHEN 1 THEN 'cash' WHEN 2 THEN 'card' WHEN 3 THEN 'mobile' WHEN 4 THEN 'voucher' ELSE 'other' END AS kind,
       NULLIF(t.drawer_id, '') AS drawer_id,
       timestamptz 'epoch' + f.recorded_at_us * interval '1 microsecond' AS recorded_at,
       s.currency,
       t.tendered,
       t.change AS change_given,
       t.taken,
       t.returned,
       doppio_analytics.currency_decimals(s.currency) AS currency_decimals
FROM facts f
JOIN fact_tenders t
  ON t.store_id = f.store_id AND t.revision = f.revision AND t.event_index = f.event_index
JOIN stores s ON s.store_id = f.store_id;

COMMENT ON VIEW analyst_tenders IS 'One row a tender taken or returned. sum(taken) - sum(returned) is what came in.';
COMMENT ON COLUMN analyst_tenders.store_id IS 'The store.';
COMMENT ON COLUMN analyst_tenders.order_id IS 'The order that was paid or given back.';
COMMENT ON COLUMN analyst_tenders.business_date IS 'The day on which the money moved.';
COMMENT ON COLUMN analyst_tenders.sale_business_date IS 'The day of the sale.';
COMMENT ON COLUMN analyst_tenders.tender_id IS 'The tender''s name within its order.';
COMMENT ON COLUMN analyst_tenders.kind IS 'cash, card, mobile, voucher or other.';
COMMENT ON COLUMN analyst_tenders.drawer_id IS 'The drawer of cash; null for other kinds.';
COMMENT ON COLUMN analyst_tenders.recorded_at IS 'When the server recorded it.';
COMMENT ON COLUMN analyst_tenders.currency IS 'ISO 4217 code of the amounts.';
COMMENT ON COLUMN analyst_tenders.tendered IS 'What the customer handed over.';
COMMENT ON COLUMN analyst_tenders.change_given IS 'What the customer got back of it at once.';
COMMENT ON COLUMN analyst_tenders.taken IS 'tendered - change_given: what was applied to the sale; 0 when it is given back.';
COMMENT ON COLUMN analyst_tenders.returned IS 'What was given back; 0 for a sale.';
COMMENT ON COLUMN analyst_tenders.currency_decimals IS 'Decimal places of the currency: an amount of 5634 with 3 is 5.634.';

CREATE VIEW analyst_sales_by_day AS
SELECT f.store_id,
       f.business_date::date AS business_date,
       d.state = 2 AS closed,
       s.currency,
       count(*) FILTER (WHERE f.block = 1) AS orders,
       coalesce(sum(f.gross) FILTER (WHERE f.block = 1), 0)::bigint AS gross,
       coalesce(sum(f.discount) FILTER (WHERE f.block = 1), 0)::bigint AS discount,
       coalesce(sum(f.net) FILTER (WHERE f.block = 1), 0)::bigint AS net,
       coalesce(sum(f.vat) FILTER (WHERE f.block = 1), 0)::bigint AS vat,
       coalesce(sum(f.net) FILTER (WHERE f.block = 2), 0)::bigint AS voids_net,
       coalesce(sum(f.net) FILTER (WHERE f.block = 3), 0)::bigint AS refunds_same_day_net,
       coalesce(sum(f.net) FILTER (WHERE f.block = 4), 0)::bigint AS refunds_prior_days_net,
       sum(CASE WHEN f.block = 1 THEN f.gross ELSE -f.gross END)::bigint AS turnover_gross,
       sum(CASE WHEN f.block = 1 THEN f.net ELSE -f.net END)::bigint AS turnover_net,
       sum(CASE WHEN f.block = 1 THEN f.vat ELSE -f.vat END)::bigint AS turnover_vat,
       doppio_analytics.currency_decimals(s.currency) AS currency_decimals
FROM facts f
JOIN stores s ON s.store_id = f.store_id
JOIN business_days d ON d.store_id = f.store_id AND d.business_date = f.business_date
GROUP BY f.store_id, f.business_date, d.state, s.currency;

COMMENT ON VIEW analyst_sales_by_day IS 'One row a store and business date with trade, also of open days; every fact on the day on which it happened, as in Z reports.';
COMMENT ON COLUMN analyst_sales_by_day.store_id IS 'The store.';
COMMENT ON COLUMN analyst_sales_by_day.business_date IS 'The day; it begins at the store''s cutoff, not at midnight.';
COMMENT ON COLUMN analyst_sales_by_day.closed IS 'Whether the day is closed; before, its figures still change.';
COMMENT ON COLUMN analyst_sales_by_day.currency IS 'ISO 4217 code of the amounts.';
COMMENT ON COLUMN analyst_sales_by_day.orders IS 'Orders placed, later cancelled ones included.';
COMMENT ON COLUMN analyst_sales_by_day.gross IS 'Sales before discounts, VAT included.';
COMMENT ON COLUMN analyst_sales_by_day.discount IS 'Discounts on sales.';
COMMENT ON COLUMN analyst_sales_by_day.net IS 'Sales: gross - discount.';
COMMENT ON COLUMN analyst_sales_by_day.vat IS 'The VAT inside net.';
COMMENT ON COLUMN analyst_sales_by_day.voids_net IS 'Cancellations of the day''s own orders.';
COMMENT ON COLUMN analyst_sales_by_day.refunds_same_day_net IS 'Refunds of the day''s own orders.';
COMMENT ON COLUMN analyst_sales_by_day.refunds_prior_days_net IS 'Refunds and cancellations of earlier days'' orders.';
COMMENT ON COLUMN analyst_sales_by_day.turnover_gross IS 'Gross of sales less gross of everything given back.';
COMMENT ON COLUMN analyst_sales_by_day.turnover_net IS 'net less everything given back.';
COMMENT ON COLUMN analyst_sales_by_day.turnover_vat IS 'The VAT due: vat less that of everything given back.';
COMMENT ON COLUMN analyst_sales_by_day.currency_decimals IS 'Decimal places of the currency: an amount of 5634 with 3 is 5.634.';

CREATE VIEW analyst_sales_by_item AS
SELECT f.store_id,
       f.business_date::date AS business_date,
       l.sku,
       l.category,
       s.currency,
       coalesce(sum(l.quantity) FILTER (WHERE f.kind = 1), 0)::bigint AS units,
       coalesce(sum(l.gross) FILTER (WHERE f.kind = 1), 0)::bigint AS gross,
       coalesce(sum(l.discount) FILTER (WHERE f.kind = 1), 0)::bigint AS discount,
       coalesce(sum(l.net) FILTER (WHERE f.kind = 1), 0)::bigint AS net,
       coalesce(sum(l.quantity) FILTER (WHERE f.kind <> 1), 0)::bigint AS returned_units,
       coalesce(sum(l.net) FILTER (WHERE f.kind <> 1), 0)::bigint AS returned_net,
       sum(CASE WHEN f.kind = 1 THEN l.net ELSE -l.net END)::bigint AS turnover_net,
       sum(CASE WHEN f.kind = 1 THEN l.vat ELSE -l.vat END)::bigint AS turnover_vat,
       doppio_analytics.currency_decimals(s.currency) AS currency_decimals
FROM facts f
JOIN fact_lines l
  ON l.store_id = f.store_id AND l.revision = f.revision AND l.event_index = f.event_index
JOIN stores s ON s.store_id = f.store_id
GROUP BY f.store_id, f.business_date, l.sku, l.category, s.currency;

COMMENT ON VIEW analyst_sales_by_item IS 'One row a store, business date, item and category; every fact on the day on which it happened.';
COMMENT ON COLUMN analyst_sales_by_item.store_id IS 'The store.';
COMMENT ON COLUMN analyst_sales_by_item.business_date IS 'The day on which it was sold or given back.';
COMMENT ON COLUMN analyst_sales_by_item.sku IS 'The item.';
COMMENT ON COLUMN analyst_sales_by_item.category IS 'The item''s category when it was sold.';
COMMENT ON COLUMN analyst_sales_by_item.currency IS 'ISO 4217 code of the amounts.';
COMMENT ON COLUMN analyst_sales_by_item.units IS 'Units sold.';
COMMENT ON COLUMN analyst_sales_by_item.gross IS 'Sales before discounts, VAT included.';
COMMENT ON COLUMN analyst_sales_by_item.discount IS 'Discounts on sales.';
COMMENT ON COLUMN analyst_sales_by_item.net IS 'Sales: gross - discount.';
COMMENT ON COLUMN analyst_sales_by_item.returned_units IS 'Units given back, by refund or cancellation.';
COMMENT ON COLUMN analyst_sales_by_item.returned_net IS 'What was given back for them.';
COMMENT ON COLUMN analyst_sales_by_item.turnover_net IS 'net - returned_net.';
COMMENT ON COLUMN analyst_sales_by_item.turnover_vat IS 'The VAT inside turnover_net.';
COMMENT ON COLUMN analyst_sales_by_item.currency_decimals IS 'Decimal places of the currency: an amount of 5634 with 3 is 5.634.';

CREATE VIEW analyst_z_reports AS
SELECT d.store_id,
       d.z_number,
       d.business_date::date AS business_date,
       timestamptz 'epoch' + d.start_at_us * interval '1 microsecond' AS started_at,
       timestamptz 'epoch' + d.end_at_us * interval '1 microsecond' AS ended_at,
       timestamptz 'epoch' + d.closed_at_us * interval '1 microsecond' AS closed_at,
       s.currency,
       coalesce((j.figures ->> 'sales.count')::bigint, 0) AS sales_count,
       coalesce((j.figures ->> 'sales.gross')::bigint, 0) AS sales_gross,
       coalesce((j.figures ->> 'sales.discount')::bigint, 0) AS sales_discount,
       coalesce((j.figures ->> 'sales.net')::bigint, 0) AS sales_net,
       coalesce((j.figures ->> 'sales.vat')::bigint, 0) AS sales_vat,
       coalesce((j.figures ->> 'voids.net')::bigint, 0) AS voids_net,
       coalesce((j.figures ->> 'refunds_same_day.net')::bigint, 0) AS refunds_same_day_net,
       coalesce((j.figures ->> 'refunds_prior_days.net')::bigint, 0) AS refunds_prior_days_net,
       coalesce((j.figures ->> 'turnover.gross')::bigint, 0) AS turnover_gross,
       coalesce((j.figures ->> 'turnover.net')::bigint, 0) AS turnover_net,
       coalesce((j.figures ->> 'turnover.vat')::bigint, 0) AS turnover_vat,
       coalesce((j.figures ->> 'grand_total_sales')::bigint, 0) AS grand_total_sales,
       coalesce((j.figures ->> 'grand_total_returns')::bigint, 0) AS grand_total_returns,
       j.figures,
       d.differences::jsonb AS differences,
       doppio_analytics.currency_decimals(s.currency) AS currency_decimals
FROM business_days d
JOIN stores s ON s.store_id = d.store_id
CROSS JOIN LATERAL (SELECT d.figures::jsonb AS figures) j
WHERE d.state = 2;

COMMENT ON VIEW analyst_z_reports IS 'One row a closed business day, with its figures as they were recorded at the close.';
COMMENT ON COLUMN analyst_z_reports.store_id IS 'The store.';
COMMENT ON COLUMN analyst_z_reports.z_number IS '1, 2, 3 ... per store, without a gap.';
COMMENT ON COLUMN analyst_z_reports.business_date IS 'The day.';
COMMENT ON COLUMN analyst_z_reports.started_at IS 'When the day began: the store''s cutoff.';
COMMENT ON COLUMN analyst_z_reports.ended_at IS 'The next cutoff.';
COMMENT ON COLUMN analyst_z_reports.closed_at IS 'When the close was recorded.';
COMMENT ON COLUMN analyst_z_reports.currency IS 'ISO 4217 code of the amounts.';
COMMENT ON COLUMN analyst_z_reports.sales_count IS 'Orders placed, later cancelled ones included.';
COMMENT ON COLUMN analyst_z_reports.sales_gross IS 'Sales before discounts, VAT included.';
COMMENT ON COLUMN analyst_z_reports.sales_discount IS 'Discounts on sales.';
COMMENT ON COLUMN analyst_z_reports.sales_net IS 'sales_gross - sales_discount.';
COMMENT ON COLUMN analyst_z_reports.sales_vat IS 'The VAT inside sales_net.';
COMMENT ON COLUMN analyst_z_reports.voids_net IS 'Cancellations of the day''s own orders.';
COMMENT ON COLUMN analyst_z_reports.refunds_same_day_net IS 'Refunds of the day''s own orders.';
COMMENT ON COLUMN analyst_z_reports.refunds_prior_days_net IS 'Refunds and cancellations of earlier days'' orders.';
COMMENT ON COLUMN analyst_z_reports.turnover_gross IS 'Gross of sales less gross of everything given back.';
COMMENT ON COLUMN analyst_z_reports.turnover_net IS 'sales_net less everything given back.';
COMMENT ON COLUMN analyst_z_reports.turnover_vat IS 'The VAT due.';
COMMENT ON COLUMN analyst_z_reports.grand_total_sales IS 'All sales of the store up to and with this day; never falls.';
COMMENT ON COLUMN analyst_z_reports.grand_total_returns IS 'Everything the store has given back up to and with this day; never falls.';
COMMENT ON COLUMN analyst_z_reports.figures IS 'Every figure of the report by name, as ExplainFigure takes it: "tenders.cash.net", "items.units", "drawers.main.over_short" ...';
COMMENT ON COLUMN analyst_z_reports.differences IS 'Figures that the projection computes otherwise than recorded: [{figure, recorded, projected}]; [] when they agree.';
COMMENT ON COLUMN analyst_z_reports.currency_decimals IS 'Decimal places of the currency: an amount of 5634 with 3 is 5.634.';

CREATE VIEW analyst_refund_lines AS
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
       l.tax_rate_bp,
       doppio_analytics.currency_decimals(s.currency) AS currency_decimals
FROM facts f
JOIN fact_lines l
  ON l.store_id = f.store_id AND l.revision = f.revision AND l.event_index = f.event_index
JOIN stores s ON s.store_id = f.store_id
WHERE f.kind IN (2, 3);

COMMENT ON VIEW analyst_refund_lines IS 'One row a line of a refund or void. Amounts are what was given back, never negative.';
COMMENT ON COLUMN analyst_refund_lines.store_id IS 'The store.';
COMMENT ON COLUMN analyst_refund_lines.order_id IS 'The order.';
COMMENT ON COLUMN analyst_refund_lines.kind IS 'refund, or void: the order was cancelled.';
COMMENT ON COLUMN analyst_refund_lines.business_date IS 'The day on which it happened, in which the Z report has it.';
COMMENT ON COLUMN analyst_refund_lines.sale_business_date IS 'The day of the sale.';
COMMENT ON COLUMN analyst_refund_lines.document_number IS 'Of the refund or void: with store_id it finds its row in refunds.';
COMMENT ON COLUMN analyst_refund_lines.line_index IS 'The line of the order, counted from 0, as in order_lines.';
COMMENT ON COLUMN analyst_refund_lines.sku IS 'The item.';
COMMENT ON COLUMN analyst_refund_lines.category IS 'The item''s category when it was sold.';
COMMENT ON COLUMN analyst_refund_lines.quantity IS 'Units given back.';
COMMENT ON COLUMN analyst_refund_lines.currency IS 'ISO 4217 code of the amounts.';
COMMENT ON COLUMN analyst_refund_lines.gross IS 'Unit price times the units given back.';
COMMENT ON COLUMN analyst_refund_lines.discount IS 'The discount on them.';
COMMENT ON COLUMN analyst_refund_lines.net IS 'gross - discount.';
COMMENT ON COLUMN analyst_refund_lines.vat IS 'Their share of the VAT given back; the shares sum to it.';
COMMENT ON COLUMN analyst_refund_lines.tax_class IS 'The tax class that applied.';
COMMENT ON COLUMN analyst_refund_lines.tax_rate_bp IS 'Its rate in basis points: 1000 is 10 %.';
COMMENT ON COLUMN analyst_refund_lines.currency_decimals IS 'Decimal places of the currency: an amount of 5634 with 3 is 5.634.';
