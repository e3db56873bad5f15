//! Whole tables, row by row, as they were at one instant. Columns and their order are those of the analysts' views. One declaration of
//! a table gives its query, its rows, and what an encoder has to know.

use contract::api::query::{
    ExportSalesResponse, ExportedOrder, ExportedOrderLine, ExportedRefund, ExportedRefundLine,
    ExportedTender, ExportedZReport,
};
use contract::{BusinessDate, Currency, StoreId, timestamp_from_proto, timestamp_to_proto};
use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::error::ReadModelError;
use crate::rows::DayRow;
use crate::settlement::{JOIN_LINES, JOIN_ORDERS, JOIN_TENDERS, SalesStore};
use crate::shared::{instant, json, live};

/// Facts read at once; an order has up to 200 lines.
pub(crate) const FACTS_A_PAGE: i64 = 500;
/// Z reports read at once; one has up to 128 KiB.
pub(crate) const REPORTS_A_PAGE: i64 = 20;

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
            Self::Orders => ExportedOrder::COLUMNS,
            Self::OrderLines => ExportedOrderLine::COLUMNS,
            Self::Refunds => ExportedRefund::COLUMNS,
            Self::RefundLines => ExportedRefundLine::COLUMNS,
            Self::Tenders => ExportedTender::COLUMNS,
            Self::ZReports => ExportedZReport::COLUMNS,
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

    /// The next rows, by store, business date and order of recording; `None` after the last. A page has no `freshness`.
    async fn next(&mut self) -> Result<Option<ExportSalesResponse>, ReadModelError>;
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub kind: ColumnKind,
    pub nullable: bool,
}

/// A value of a row, of its column's kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    Null,
    Integer(i64),
    /// Text, and dates as they are written.
    Text(&'a str),
    Instant(Timestamp),
}

/// A row of an exported table.
pub trait Exported {
    const COLUMNS: &'static [Column];

    /// In the order of the columns.
    fn values(&self) -> Vec<Value<'_>>;
}

/// A row as a backend's query gives it.
pub(crate) trait FromRow<R>: Sized {
    fn from_row(row: &R) -> Result<Self, ReadModelError>;
}

macro_rules! kind {
    (integer) => {
        ColumnKind::Integer
    };
    (decimals) => {
        ColumnKind::Integer
    };
    (date) => {
        ColumnKind::Date
    };
    (instant) => {
        ColumnKind::Instant
    };
    ($text:ident) => {
        ColumnKind::Text
    };
}

macro_rules! value {
    (integer, $field:expr) => {
        Value::Integer($field)
    };
    (decimals, $field:expr) => {
        Value::Integer($field)
    };
    (instant, $field:expr) => {
        $field
            .as_ref()
            .and_then(timestamp_from_proto)
            .map_or(Value::Null, Value::Instant)
    };
    (optional, $field:expr) => {
        $field.as_deref().map_or(Value::Null, Value::Text)
    };
    ($text:ident, $field:expr) => {
        Value::Text(&$field)
    };
}

macro_rules! column {
    (instant, $row:expr, $name:expr) => {
        Some(timestamp_to_proto(instant($row.try_get($name)?, $name)?))
    };
    (uuid, $row:expr, $name:expr) => {
        $row.try_get::<Uuid, _>($name)?.to_string()
    };
    (decimals, $row:expr, $name:expr) => {
        decimals($row.try_get($name)?)
    };
    ($plain:ident, $row:expr, $name:expr) => {
        $row.try_get($name)?
    };
}

/// The columns of a row message, each with its kind and its expression in both databases.
macro_rules! exported {
    ($message:ident: $columns:ident { $($field:ident: $kind:ident = $sql:expr,)* }) => {
        exported!($message { $($field: $kind,)* });

        const $columns: &str = concat!($($sql, " AS e_", stringify!($field), ", ",)* "f.business_date AS k_date");

        exported!(SqliteRow, $message { $($field: $kind,)* });
        exported!(PgRow, $message { $($field: $kind,)* });
    };
    ($message:ident { $($field:ident: $kind:ident,)* }) => {
        impl Exported for $message {
            const COLUMNS: &'static [Column] = &[$(
                Column { name: stringify!($field), kind: kind!($kind), nullable: matches!(stringify!($kind).as_bytes(), b"optional") },
            )*];

            fn values(&self) -> Vec<Value<'_>> {
                vec![$(value!($kind, self.$field),)*]
            }
        }
    };
    ($row:ty, $message:ident { $($field:ident: $kind:ident,)* }) => {
        impl FromRow<$row> for $message {
            fn from_row(row: &$row) -> Result<Self, ReadModelError> {
                Ok(Self { $($field: column!($kind, row, concat!("e_", stringify!($field))),)* })
            }
        }
    };
}

exported!(ExportedOrder: ORDERS {
    store_id: text = "f.store_id",
    order_id: uuid = "f.order_id",
    business_date: date = "f.business_date",
    ticket_number: integer = "o.ticket_number",
    document_number: integer = "f.document_number",
    status: text = "CASE o.status WHEN 1 THEN 'placed' WHEN 2 THEN 'preparing' WHEN 3 THEN 'ready' WHEN 4 THEN 'completed' \
                    WHEN 5 THEN 'cancelled' ELSE 'unknown' END",
    membership: text = "CASE o.membership WHEN 1 THEN 'member' WHEN 2 THEN 'not_member' WHEN 3 THEN 'unverified' ELSE 'none' END",
    placed_at: instant = "f.recorded_at_us",
    updated_at: instant = "o.updated_at_us",
    local_hour: integer = "CAST(substr(f.hour, 12, 2) AS BIGINT)",
    currency: text = "s.currency",
    gross: integer = "f.gross",
    discount: integer = "f.discount",
    net: integer = "f.net",
    vat: integer = "f.vat",
    hour: text = "f.hour",
    currency_decimals: decimals = "s.currency",
});

exported!(ExportedOrderLine: ORDER_LINES {
    store_id: text = "f.store_id",
    order_id: uuid = "f.order_id",
    business_date: date = "f.business_date",
    line_index: integer = "l.line_index",
    sku: text = "l.sku",
    category: text = "l.category",
    quantity: integer = "l.quantity",
    currency: text = "s.currency",
    gross: integer = "l.gross",
    discount: integer = "l.discount",
    net: integer = "l.net",
    vat: integer = "l.vat",
    tax_class: text = "l.tax_class",
    tax_rate_bp: integer = "l.tax_rate_bp",
    currency_decimals: decimals = "s.currency",
});

exported!(ExportedRefund: REFUNDS {
    store_id: text = "f.store_id",
    order_id: uuid = "f.order_id",
    kind: text = "CASE f.kind WHEN 2 THEN 'void' ELSE 'refund' END",
    business_date: date = "f.business_date",
    sale_business_date: date = "f.sale_business_date",
    document_number: integer = "f.document_number",
    reason_code: text = "f.reason_code",
    recorded_at: instant = "f.recorded_at_us",
    currency: text = "s.currency",
    gross: integer = "f.gross",
    discount: integer = "f.discount",
    net: integer = "f.net",
    vat: integer = "f.vat",
    currency_decimals: decimals = "s.currency",
});

exported!(ExportedRefundLine: REFUND_LINES {
    store_id: text = "f.store_id",
    order_id: uuid = "f.order_id",
    kind: text = "CASE f.kind WHEN 2 THEN 'void' ELSE 'refund' END",
    business_date: date = "f.business_date",
    sale_business_date: date = "f.sale_business_date",
    document_number: integer = "f.document_number",
    line_index: integer = "l.line_index",
    sku: text = "l.sku",
    category: text = "l.category",
    quantity: integer = "l.quantity",
    currency: text = "s.currency",
    gross: integer = "l.gross",
    discount: integer = "l.discount",
    net: integer = "l.net",
    vat: integer = "l.vat",
    tax_class: text = "l.tax_class",
    tax_rate_bp: integer = "l.tax_rate_bp",
    currency_decimals: decimals = "s.currency",
});

exported!(ExportedTender: TENDERS {
    store_id: text = "f.store_id",
    order_id: uuid = "f.order_id",
    business_date: date = "f.business_date",
    sale_business_date: date = "f.sale_business_date",
    tender_id: text = "t.tender_id",
    kind: text = "CASE t.kind WHEN 1 THEN 'cash' WHEN 2 THEN 'card' WHEN 3 THEN 'mobile' WHEN 4 THEN 'voucher' ELSE 'other' END",
    drawer_id: optional = "NULLIF(t.drawer_id, '')",
    recorded_at: instant = "f.recorded_at_us",
    currency: text = "s.currency",
    tendered: integer = "t.tendered",
    change_given: integer = "t.change",
    taken: integer = "t.taken",
    returned: integer = "t.returned",
    currency_decimals: decimals = "s.currency",
});

// A Z report's figures are read from the day's row.
exported!(ExportedZReport {
    store_id: text,
    z_number: integer,
    business_date: date,
    started_at: instant,
    ended_at: instant,
    closed_at: instant,
    currency: text,
    sales_count: integer,
    sales_gross: integer,
    sales_discount: integer,
    sales_net: integer,
    sales_vat: integer,
    voids_net: integer,
    refunds_same_day_net: integer,
    refunds_prior_days_net: integer,
    turnover_gross: integer,
    turnover_net: integer,
    turnover_vat: integer,
    grand_total_sales: integer,
    grand_total_returns: integer,
    figures: text,
    differences: text,
    currency_decimals: decimals,
});

/// Decimal places of a currency; of none, as many as most have.
fn decimals(currency: &str) -> i64 {
    Currency::new(currency)
        .map_or(2, |currency| currency.exponent())
        .into()
}

pub(crate) fn z_report(
    day: &DayRow,
    currency: Option<Currency>,
) -> Result<ExportedZReport, ReadModelError> {
    let figure = |name: &str| day.figures.get(name).copied().unwrap_or(0);
    Ok(ExportedZReport {
        store_id: day.store.to_string(),
        z_number: day.z_number,
        business_date: day.date.to_string(),
        started_at: Some(timestamp_to_proto(day.start)),
        ended_at: Some(timestamp_to_proto(day.end)),
        closed_at: day.closed_at.map(timestamp_to_proto),
        currency_decimals: currency.map_or(2, |currency| currency.exponent()).into(),
        currency: currency
            .map(|currency| currency.to_string())
            .unwrap_or_default(),
        sales_count: figure("sales.count"),
        sales_gross: figure("sales.gross"),
        sales_discount: figure("sales.discount"),
        sales_net: figure("sales.net"),
        sales_vat: figure("sales.vat"),
        voids_net: figure("voids.net"),
        refunds_same_day_net: figure("refunds_same_day.net"),
        refunds_prior_days_net: figure("refunds_prior_days.net"),
        turnover_gross: figure("turnover.gross"),
        turnover_net: figure("turnover.net"),
        turnover_vat: figure("turnover.vat"),
        grand_total_sales: figure("grand_total_sales"),
        grand_total_returns: figure("grand_total_returns"),
        figures: json(&day.figures)?,
        differences: json(&day.differences)?,
    })
}

/// Of a page's facts: store `$1`, dates `$2` to `$3`, after date `$4`, revision `$5` and index `$6`, at most `$7`. A fact without lines or
/// tenders gives one row without a `k_position`, so that the page's end is known. `None` for Z reports, which are no facts.
pub(crate) fn facts_sql(table: ExportTable) -> Option<String> {
    let (columns, kinds, join, position) = match table {
        ExportTable::Orders => (ORDERS, "= 1", JOIN_ORDERS.to_owned(), "CAST(0 AS BIGINT)"),
        ExportTable::OrderLines => (
            ORDER_LINES,
            "= 1",
            format!("LEFT {JOIN_LINES}"),
            "l.position",
        ),
        ExportTable::Refunds => (REFUNDS, "IN (2, 3)", String::new(), "CAST(0 AS BIGINT)"),
        ExportTable::RefundLines => (
            REFUND_LINES,
            "IN (2, 3)",
            format!("LEFT {JOIN_LINES}"),
            "l.position",
        ),
        ExportTable::Tenders => (
            TENDERS,
            "IN (1, 2, 3)",
            format!("LEFT {JOIN_TENDERS}"),
            "t.position",
        ),
        ExportTable::ZReports => return None,
    };
    Some(format!(
        "SELECT {columns}, f.revision AS k_revision, f.event_index AS k_index, {position} AS k_position FROM (SELECT * FROM facts f \
         WHERE f.generation = {live} AND f.store_id = $1 AND f.business_date BETWEEN $2 AND $3 AND f.kind {kinds} \
         AND (f.business_date, f.revision, f.event_index) > ($4, $5, $6) ORDER BY f.business_date, f.revision, f.event_index LIMIT $7) f \
         JOIN stores s ON s.generation = f.generation AND s.store_id = f.store_id {join} \
         ORDER BY f.business_date, f.revision, f.event_index, k_position",
        live = live!()
    ))
}

/// [`crate::ExportReader`] for a backend with a method `snapshot`, which begins a transaction that reads at one instant.
macro_rules! exporting {
    ($model:ident, $row:ty, $database:ty) => {
        struct Exporting {
            snapshot: Transaction<'static, $database>,
            query: ExportQuery,
            stores: Vec<SalesStore>,
            /// Index of the store that is read, and its last fact that has been.
            store: usize,
            after: (String, i64, i64),
        }

        const BEGINNING: (String, i64, i64) = (String::new(), -1, -1);

        fn export_rows<T: FromRow<$row>>(rows: &[$row]) -> Result<Vec<T>, ReadModelError> {
            rows.iter().filter(|row| !matches!(row.try_get::<Option<i64>, _>("k_position"), Ok(None))).map(T::from_row).collect()
        }

        impl Exporting {
            fn dates(&self) -> [String; 2] {
                let first = self.query.first.map(|date| date.to_string()).unwrap_or_default();
                [first, self.query.last.map_or_else(|| "9999-12-31".to_owned(), |date| date.to_string())]
            }

            /// A page of the store; `None` at its end.
            async fn page(&mut self, store: &str) -> Result<Option<ExportSalesResponse>, ReadModelError> {
                bound_page(&mut self.snapshot).await?;
                let [first, last] = self.dates();
                let Some(sql) = facts_sql(self.query.table) else { return self.reports(store, &first, &last).await };
                let rows = sqlx::query(AssertSqlSafe(sql))
                    .bind(store)
                    .bind(first)
                    .bind(last)
                    .bind(&self.after.0)
                    .bind(self.after.1)
                    .bind(self.after.2)
                    .bind(FACTS_A_PAGE)
                    .fetch_all(&mut *self.snapshot)
                    .await?;
                let Some(end) = rows.last() else { return Ok(None) };
                self.after = (end.try_get("k_date")?, end.try_get("k_revision")?, end.try_get("k_index")?);
                let mut page = ExportSalesResponse::default();
                match self.query.table {
                    ExportTable::Orders => page.orders = export_rows(&rows)?,
                    ExportTable::OrderLines => page.order_lines = export_rows(&rows)?,
                    ExportTable::Refunds => page.refunds = export_rows(&rows)?,
                    ExportTable::RefundLines => page.refund_lines = export_rows(&rows)?,
                    ExportTable::Tenders => page.tenders = export_rows(&rows)?,
                    ExportTable::ZReports => {}
                }
                Ok(Some(page))
            }

            async fn reports(&mut self, store: &str, first: &str, last: &str) -> Result<Option<ExportSalesResponse>, ReadModelError> {
                const REPORTS: &str = concat!(
                    "SELECT ",
                    store_columns!(),
                    ", ",
                    day_columns!(),
                    " FROM (SELECT * FROM business_days WHERE generation = ",
                    live!(),
                    " AND store_id = $1 AND state = 2 AND business_date BETWEEN $2 AND $3 AND business_date > $4 \
                     ORDER BY business_date LIMIT $5) d JOIN stores s ON s.generation = d.generation AND s.store_id = d.store_id \
                     ORDER BY d.business_date"
                );
                let rows = sqlx::query(REPORTS)
                    .bind(store)
                    .bind(first)
                    .bind(last)
                    .bind(&self.after.0)
                    .bind(REPORTS_A_PAGE)
                    .fetch_all(&mut *self.snapshot)
                    .await?;
                let Some(end) = rows.last() else { return Ok(None) };
                self.after.0 = end.try_get("d_date")?;
                let mut page = ExportSalesResponse::default();
                for row in &rows {
                    if let Some(day) = day_row(row)? {
                        page.z_reports.push(z_report(&day, store_row(row)?.currency)?);
                    }
                }
                Ok(Some(page))
            }
        }

        #[async_trait::async_trait]
        impl Export for Exporting {
            fn stores(&self) -> &[SalesStore] {
                &self.stores
            }

            async fn next(&mut self) -> Result<Option<ExportSalesResponse>, ReadModelError> {
                while let Some(store) = self.stores.get(self.store).map(|row| row.store.clone()) {
                    if let Some(page) = self.page(store.as_str()).await? {
                        return Ok(Some(page));
                    }
                    self.store += 1;
                    self.after = BEGINNING;
                }
                Ok(None)
            }
        }

        #[async_trait::async_trait]
        impl ExportReader for $model {
            async fn export(&self, query: &ExportQuery) -> Result<Box<dyn Export>, ReadModelError> {
                let mut snapshot = self.snapshot().await?;
                let stores = stores_asked(&mut snapshot, &query.stores).await?;
                Ok(Box::new(Exporting { snapshot, query: query.clone(), stores, store: 0, after: BEGINNING }))
            }
        }
    };
}

pub(crate) use exporting;
