//! Whole tables, row by row, as they were at one instant. Columns and their order are those of the analysts' views. One declaration of
//! a column says what it is called, what it holds and where that comes from.

use contract::{BusinessDate, Currency, StoreId};
use jiff::Timestamp;

use crate::day::DayRow;
use crate::error::ReadModelError;
use crate::settlement::SalesStore;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportTable {
    Orders,
    OrderLines,
    /// Refunds and voids.
    Refunds,
    RefundLines,
    Tenders,
    ZReports,
}

impl ExportTable {
    pub const ALL: [Self; 6] = [
        Self::Orders,
        Self::OrderLines,
        Self::Refunds,
        Self::RefundLines,
        Self::Tenders,
        Self::ZReports,
    ];

    /// As the analysts' view is named.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::OrderLines => "order_lines",
            Self::Refunds => "refunds",
            Self::RefundLines => "refund_lines",
            Self::Tenders => "tenders",
            Self::ZReports => "z_reports",
        }
    }

    #[must_use]
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Orders => ORDERS,
            Self::OrderLines => ORDER_LINES,
            Self::Refunds => REFUNDS,
            Self::RefundLines => REFUND_LINES,
            Self::Tenders => TENDERS,
            Self::ZReports => Z_REPORTS,
        }
    }
}

#[derive(Debug, Clone)]
pub struct ExportQuery {
    pub table: ExportTable,
    /// Empty: all.
    pub stores: Vec<StoreId>,
    /// Both inclusive; `None`: unbounded.
    pub first: Option<BusinessDate>,
    pub last: Option<BusinessDate>,
}

/// An export under way. It reads at the instant at which it was begun, however long it takes, and holds a connection meanwhile.
#[async_trait::async_trait]
pub trait Export: Send {
    /// Of the stores asked for, the ones that there are.
    fn stores(&self) -> &[SalesStore];

    /// The next rows, by store, business date and order of recording; `None` after the last. There may be none in between.
    async fn next(&mut self) -> Result<Option<Vec<ExportRow>>, ReadModelError>;
}

/// A value for each column of the table, in their order.
pub type ExportRow = Vec<Value>;

/// A value of its column's kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Integer(i64),
    /// Text, and dates as they are written.
    Text(String),
    Instant(Timestamp),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    Integer,
    Text,
    /// YYYY-MM-DD.
    Date,
    /// An instant in microseconds.
    Instant,
}

#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    pub kind: ColumnKind,
    pub nullable: bool,
    pub(crate) source: Source,
}

/// Where a column's values come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    /// An expression in both databases, over a fact `f`, its store `s`, and what belongs to the table's rows.
    Fact(&'static str, Stored),
    /// Of a Z report, which is read as a day with its store's currency.
    Day(fn(&DayRow, Option<Currency>) -> Result<Value, ReadModelError>),
}

/// What an expression gives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stored {
    Integer,
    Text,
    Uuid,
    /// Microseconds since 1970.
    Instant,
    /// A currency, of which the column holds the decimal places.
    Currency,
}

const fn column(name: &'static str, kind: ColumnKind, sql: &'static str, stored: Stored) -> Column {
    Column {
        name,
        kind,
        nullable: false,
        source: Source::Fact(sql, stored),
    }
}

const fn integer(name: &'static str, sql: &'static str) -> Column {
    column(name, ColumnKind::Integer, sql, Stored::Integer)
}

const fn text(name: &'static str, sql: &'static str) -> Column {
    column(name, ColumnKind::Text, sql, Stored::Text)
}

const fn nullable_text(name: &'static str, sql: &'static str) -> Column {
    Column {
        nullable: true,
        ..text(name, sql)
    }
}

const fn id(name: &'static str, sql: &'static str) -> Column {
    column(name, ColumnKind::Text, sql, Stored::Uuid)
}

const fn date(name: &'static str, sql: &'static str) -> Column {
    column(name, ColumnKind::Date, sql, Stored::Text)
}

const fn instant(name: &'static str, sql: &'static str) -> Column {
    column(name, ColumnKind::Instant, sql, Stored::Instant)
}

/// Of the store's currency.
const fn decimals(name: &'static str) -> Column {
    column(name, ColumnKind::Integer, "s.currency", Stored::Currency)
}

const fn of_day(
    name: &'static str,
    kind: ColumnKind,
    of: fn(&DayRow, Option<Currency>) -> Result<Value, ReadModelError>,
) -> Column {
    Column {
        name,
        kind,
        nullable: false,
        source: Source::Day(of),
    }
}

/// Decimal places of a currency; of none, as many as most have.
pub(crate) fn decimals_of(currency: Option<Currency>) -> i64 {
    currency.map_or(2, |currency| currency.exponent()).into()
}

/// A figure as it was recorded; 0 where the report has none of that name.
fn figure(day: &DayRow, name: &str) -> Result<Value, ReadModelError> {
    Ok(Value::Integer(day.figures.get(name).copied().unwrap_or(0)))
}

fn json(value: &impl serde::Serialize) -> Result<Value, ReadModelError> {
    serde_json::to_string(value)
        .map(Value::Text)
        .map_err(|error| ReadModelError::Corrupt(error.to_string()))
}

const STATUS: &str = "CASE o.status WHEN 1 THEN 'placed' WHEN 2 THEN 'preparing' WHEN 3 THEN 'ready' WHEN 4 THEN 'completed' \
     WHEN 5 THEN 'cancelled' ELSE 'unknown' END";
const MEMBERSHIP: &str = "CASE o.membership WHEN 1 THEN 'member' WHEN 2 THEN 'not_member' WHEN 3 THEN 'unverified' ELSE 'none' END";
const RETURN_KIND: &str = "CASE f.kind WHEN 2 THEN 'void' ELSE 'refund' END";
const TENDER_KIND: &str = "CASE t.kind WHEN 1 THEN 'cash' WHEN 2 THEN 'card' WHEN 3 THEN 'mobile' WHEN 4 THEN 'voucher' ELSE 'other' END";

const ORDERS: &[Column] = &[
    text("store_id", "f.store_id"),
    id("order_id", "f.order_id"),
    date("business_date", "f.business_date"),
    integer("ticket_number", "o.ticket_number"),
    integer("document_number", "f.document_number"),
    text("status", STATUS),
    text("membership", MEMBERSHIP),
    instant("placed_at", "f.recorded_at_us"),
    instant("updated_at", "o.updated_at_us"),
    integer("local_hour", "CAST(substr(f.hour, 12, 2) AS BIGINT)"),
    text("currency", "s.currency"),
    integer("gross", "f.gross"),
    integer("discount", "f.discount"),
    integer("net", "f.net"),
    integer("vat", "f.vat"),
    text("hour", "f.hour"),
    decimals("currency_decimals"),
];

const ORDER_LINES: &[Column] = &[
    text("store_id", "f.store_id"),
    id("order_id", "f.order_id"),
    date("business_date", "f.business_date"),
    integer("line_index", "l.line_index"),
    text("sku", "l.sku"),
    text("category", "l.category"),
    integer("quantity", "l.quantity"),
    text("currency", "s.currency"),
    integer("gross", "l.gross"),
    integer("discount", "l.discount"),
    integer("net", "l.net"),
    integer("vat", "l.vat"),
    text("tax_class", "l.tax_class"),
    integer("tax_rate_bp", "l.tax_rate_bp"),
    decimals("currency_decimals"),
];

const REFUNDS: &[Column] = &[
    text("store_id", "f.store_id"),
    id("order_id", "f.order_id"),
    text("kind", RETURN_KIND),
    date("business_date", "f.business_date"),
    date("sale_business_date", "f.sale_business_date"),
    integer("document_number", "f.document_number"),
    text("reason_code", "f.reason_code"),
    instant("recorded_at", "f.recorded_at_us"),
    text("currency", "s.currency"),
    integer("gross", "f.gross"),
    integer("discount", "f.discount"),
    integer("net", "f.net"),
    integer("vat", "f.vat"),
    decimals("currency_decimals"),
];

const REFUND_LINES: &[Column] = &[
    text("store_id", "f.store_id"),
    id("order_id", "f.order_id"),
    text("kind", RETURN_KIND),
    date("business_date", "f.business_date"),
    date("sale_business_date", "f.sale_business_date"),
    integer("document_number", "f.document_number"),
    integer("line_index", "l.line_index"),
    text("sku", "l.sku"),
    text("category", "l.category"),
    integer("quantity", "l.quantity"),
    text("currency", "s.currency"),
    integer("gross", "l.gross"),
    integer("discount", "l.discount"),
    integer("net", "l.net"),
    integer("vat", "l.vat"),
    text("tax_class", "l.tax_class"),
    integer("tax_rate_bp", "l.tax_rate_bp"),
    decimals("currency_decimals"),
];

const TENDERS: &[Column] = &[
    text("store_id", "f.store_id"),
    id("order_id", "f.order_id"),
    date("business_date", "f.business_date"),
    date("sale_business_date", "f.sale_business_date"),
    text("tender_id", "t.tender_id"),
    text("kind", TENDER_KIND),
    nullable_text("drawer_id", "NULLIF(t.drawer_id, '')"),
    instant("recorded_at", "f.recorded_at_us"),
    text("currency", "s.currency"),
    integer("tendered", "t.tendered"),
    integer("change_given", "t.change"),
    integer("taken", "t.taken"),
    integer("returned", "t.returned"),
    decimals("currency_decimals"),
];

use ColumnKind::{Date, Instant, Integer, Text};

const Z_REPORTS: &[Column] = &[
    of_day("store_id", Text, |day, _| {
        Ok(Value::Text(day.store.to_string()))
    }),
    of_day("z_number", Integer, |day, _| {
        Ok(Value::Integer(day.z_number))
    }),
    of_day("business_date", Date, |day, _| {
        Ok(Value::Text(day.date.to_string()))
    }),
    of_day("started_at", Instant, |day, _| {
        Ok(Value::Instant(day.start))
    }),
    of_day("ended_at", Instant, |day, _| Ok(Value::Instant(day.end))),
    of_day("closed_at", Instant, |day, _| {
        Ok(day.closed_at.map_or(Value::Null, Value::Instant))
    }),
    of_day("currency", Text, |_, currency| {
        Ok(Value::Text(
            currency
                .map(|currency| currency.to_string())
                .unwrap_or_default(),
        ))
    }),
    of_day("sales_count", Integer, |day, _| figure(day, "sales.count")),
    of_day("sales_gross", Integer, |day, _| figure(day, "sales.gross")),
    of_day("sales_discount", Integer, |day, _| {
        figure(day, "sales.discount")
    }),
    of_day("sales_net", Integer, |day, _| figure(day, "sales.net")),
    of_day("sales_vat", Integer, |day, _| figure(day, "sales.vat")),
    of_day("voids_net", Integer, |day, _| figure(day, "voids.net")),
    of_day("refunds_same_day_net", Integer, |day, _| {
        figure(day, "refunds_same_day.net")
    }),
    of_day("refunds_prior_days_net", Integer, |day, _| {
        figure(day, "refunds_prior_days.net")
    }),
    of_day("turnover_gross", Integer, |day, _| {
        figure(day, "turnover.gross")
    }),
    of_day("turnover_net", Integer, |day, _| {
        figure(day, "turnover.net")
    }),
    of_day("turnover_vat", Integer, |day, _| {
        figure(day, "turnover.vat")
    }),
    of_day("grand_total_sales", Integer, |day, _| {
        figure(day, "grand_total_sales")
    }),
    of_day("grand_total_returns", Integer, |day, _| {
        figure(day, "grand_total_returns")
    }),
    of_day("figures", Text, |day, _| json(&day.figures)),
    of_day("differences", Text, |day, _| json(&day.differences)),
    of_day("currency_decimals", Integer, |_, currency| {
        Ok(Value::Integer(decimals_of(currency)))
    }),
];
