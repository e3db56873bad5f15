//! What the projector writes, described once for both backends: each table's columns and how a row fills them.

use std::borrow::Cow;

use contract::{BusinessDate, Currency};
use event_log::RecordHash;
use jiff::Timestamp;
use uuid::Uuid;

use super::values::{json, signed};
use crate::day::DayRow;
use crate::error::ReadModelError;
use crate::facts::{CashRow, CompletionRow, DiscountRow, FactRow, LineRow, TenderRow};
use crate::list::ListRow;
use crate::order::OrderRow;
use crate::store::StoreRow;

/// A table.
pub(crate) struct Table<R: 'static> {
    pub name: &'static str,
    pub columns: &'static [Column<R>],
    /// What happens where a row of the same key is there already. Empty: the database refuses it.
    pub on_conflict: &'static str,
}

pub(crate) struct Column<R> {
    pub name: &'static str,
    pub cell: Cell<R>,
}

/// How a row fills a column.
pub(crate) enum Cell<R> {
    Integer(fn(&R) -> i64),
    Text(for<'a> fn(&'a R) -> &'a str),
    /// Empty where there is none.
    Date(fn(&R) -> Option<BusinessDate>),
    Json(fn(&R) -> Result<String, ReadModelError>),
    /// Null where there is none.
    Uuid(fn(&R) -> Option<Uuid>),
    Bytes(for<'a> fn(&'a R) -> Cow<'a, [u8]>),
}

impl<R> Table<R> {
    /// The columns' names, for a statement.
    pub fn columns(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
        names.join(", ")
    }
}

const fn column<R>(name: &'static str, cell: Cell<R>) -> Column<R> {
    Column { name, cell }
}

use Cell::{Bytes, Date, Integer, Json, Text, Uuid as Id};

pub(crate) const STORES: Table<StoreRow> = Table {
    name: "stores",
    columns: &[
        column("store_id", Text(|row| row.store.as_str())),
        column("stream", Integer(|row| i64::from(row.stream.0))),
        column(
            "ledger_id",
            Id(|row| row.chain.map(|chain| chain.ledger_id)),
        ),
        column("revision", Integer(|row| signed(row.revision().0))),
        column(
            "hash",
            Bytes(|row| {
                let hash = row.chain.map_or(RecordHash::NONE, |chain| chain.hash);
                Cow::Owned(hash.0.to_vec())
            }),
        ),
        column(
            "recorded_at_us",
            Integer(|row| row.chain.map_or(0, |chain| chain.recorded_at_us)),
        ),
        column(
            "currency",
            Text(|row| row.currency.as_ref().map_or("", Currency::as_str)),
        ),
        column("time_zone", Text(|row| &row.time_zone)),
        column("name", Json(|row| json(&row.name))),
        column("latest_date", Date(|row| row.latest_date)),
        column("day_open", Integer(|row| i64::from(row.day_open))),
        column("z_number", Integer(|row| row.z_number)),
        column("z_hash", Bytes(|row| Cow::Borrowed(&row.z_hash.0))),
        column("document_number", Integer(|row| row.document_number)),
        column("open_orders", Integer(|row| row.open_orders)),
        column("completed_between", Integer(|row| row.completed_between)),
        column(
            "grand_total_sales",
            Integer(|row| row.grand_total_sales.minor()),
        ),
        column(
            "grand_total_returns",
            Integer(|row| row.grand_total_returns.minor()),
        ),
        column(
            "quarantine_reason",
            Text(|row| {
                let quarantine = row.quarantine.as_ref();
                quarantine.map_or("", |quarantine| &quarantine.reason)
            }),
        ),
        column(
            "quarantine_revision",
            Integer(|row| {
                let quarantine = row.quarantine.as_ref();
                quarantine.map_or(0, |quarantine| signed(quarantine.revision.0))
            }),
        ),
        column(
            "quarantined_at_us",
            Integer(|row| {
                let quarantine = row.quarantine.as_ref();
                quarantine.map_or(0, |quarantine| quarantine.at.as_microsecond())
            }),
        ),
        column(
            "skipped_records",
            Integer(|row| {
                let quarantine = row.quarantine.as_ref();
                quarantine.map_or(0, |quarantine| signed(quarantine.skipped))
            }),
        ),
        column(
            "cutoff_minutes",
            Integer(|row| i64::from(row.cutoff_minutes)),
        ),
    ],
    on_conflict: "ON CONFLICT (store_id) DO UPDATE SET stream = excluded.stream, ledger_id = excluded.ledger_id, \
                  revision = excluded.revision, hash = excluded.hash, recorded_at_us = excluded.recorded_at_us, \
                  currency = excluded.currency, time_zone = excluded.time_zone, name = excluded.name, \
                  latest_date = excluded.latest_date, day_open = excluded.day_open, z_number = excluded.z_number, \
                  z_hash = excluded.z_hash, document_number = excluded.document_number, open_orders = excluded.open_orders, \
                  completed_between = excluded.completed_between, grand_total_sales = excluded.grand_total_sales, \
                  grand_total_returns = excluded.grand_total_returns, quarantine_reason = excluded.quarantine_reason, \
                  quarantine_revision = excluded.quarantine_revision, quarantined_at_us = excluded.quarantined_at_us, \
                  skipped_records = excluded.skipped_records, cutoff_minutes = excluded.cutoff_minutes",
};

const ORDER_COLUMNS: &[Column<OrderRow>] = &[
    column("store_id", Text(|row| row.store.as_str())),
    column("order_id", Id(|row| Some(row.order_id.uuid()))),
    column("business_date", Date(|row| Some(row.business_date))),
    column("ticket_number", Integer(|row| row.ticket_number)),
    column("status", Integer(|row| i64::from(row.status))),
    column("membership", Integer(|row| i64::from(row.membership))),
    column(
        "placed_at_us",
        Integer(|row| row.placed_at.as_microsecond()),
    ),
    column(
        "updated_at_us",
        Integer(|row| row.updated_at.as_microsecond()),
    ),
    column("revision", Integer(|row| signed(row.revision.0))),
    column("body", Bytes(|row| Cow::Borrowed(&row.body))),
];

/// Orders that are new.
pub(crate) const PLACED_ORDERS: Table<OrderRow> = Table {
    name: "orders",
    columns: ORDER_COLUMNS,
    on_conflict: "",
};

/// Orders that have changed. What an order was placed with never does.
pub(crate) const CHANGED_ORDERS: Table<OrderRow> = Table {
    name: "orders",
    columns: ORDER_COLUMNS,
    on_conflict: "ON CONFLICT (store_id, order_id) DO UPDATE SET status = excluded.status, \
                  membership = excluded.membership, updated_at_us = excluded.updated_at_us, revision = excluded.revision, \
                  body = excluded.body",
};

pub(crate) const DAYS: Table<DayRow> = Table {
    name: "business_days",
    columns: &[
        column("store_id", Text(|row| row.store.as_str())),
        column("business_date", Date(|row| Some(row.date))),
        column("state", Integer(|row| row.state as i64)),
        column("time_zone", Text(|row| &row.time_zone)),
        column("start_at_us", Integer(|row| row.start.as_microsecond())),
        column("end_at_us", Integer(|row| row.end.as_microsecond())),
        column(
            "closed_at_us",
            Integer(|row| row.closed_at.map_or(0, Timestamp::as_microsecond)),
        ),
        column("z_number", Integer(|row| row.z_number)),
        column("revision", Integer(|row| signed(row.revision.0))),
        column("body", Bytes(|row| Cow::Borrowed(&row.body))),
        column("recorded", Bytes(|row| Cow::Borrowed(&row.recorded))),
        column("differences", Json(|row| json(&row.differences))),
        column("figures", Json(|row| json(&row.figures))),
    ],
    on_conflict: "ON CONFLICT (store_id, business_date) DO UPDATE SET state = excluded.state, \
                  time_zone = excluded.time_zone, start_at_us = excluded.start_at_us, end_at_us = excluded.end_at_us, \
                  closed_at_us = excluded.closed_at_us, z_number = excluded.z_number, revision = excluded.revision, \
                  body = excluded.body, recorded = excluded.recorded, differences = excluded.differences, \
                  figures = excluded.figures",
};

pub(crate) const FACTS: Table<FactRow> = Table {
    name: "facts",
    columns: &[
        column("store_id", Text(|row| row.store.as_str())),
        column("revision", Integer(|row| signed(row.place.revision.0))),
        column("event_index", Integer(|row| i64::from(row.place.index))),
        column("kind", Integer(|row| row.kind as i64)),
        column("block", Integer(|row| row.block as i64)),
        column("business_date", Date(|row| Some(row.business_date))),
        column(
            "sale_business_date",
            Date(|row| Some(row.sale_business_date)),
        ),
        column("order_id", Id(|row| Some(row.order_id.uuid()))),
        column(
            "recorded_at_us",
            Integer(|row| row.recorded_at.as_microsecond()),
        ),
        column("hour", Text(|row| &row.hour)),
        column("document_number", Integer(|row| row.document_number)),
        column("reason_code", Text(|row| &row.reason_code)),
        column("gross", Integer(|row| row.gross.minor())),
        column("discount", Integer(|row| row.discount.minor())),
        column("net", Integer(|row| row.net.minor())),
        column("vat", Integer(|row| row.vat.minor())),
        column("hour_repeated", Integer(|row| i64::from(row.hour_repeated))),
    ],
    on_conflict: "",
};

pub(crate) const LINES: Table<LineRow> = Table {
    name: "fact_lines",
    columns: &[
        column("store_id", Text(|row| row.store.as_str())),
        column("revision", Integer(|row| signed(row.place.revision.0))),
        column("event_index", Integer(|row| i64::from(row.place.index))),
        column("position", Integer(|row| i64::from(row.position))),
        column("line_index", Integer(|row| i64::from(row.line_index))),
        column("sku", Text(|row| &row.sku)),
        column("category", Text(|row| &row.category)),
        column("quantity", Integer(|row| i64::from(row.quantity))),
        column("gross", Integer(|row| row.gross.minor())),
        column("discount", Integer(|row| row.discount.minor())),
        column("net", Integer(|row| row.net.minor())),
        column("vat", Integer(|row| row.vat.minor())),
        column("tax_class", Text(|row| &row.tax_class)),
        column("tax_rate_bp", Integer(|row| i64::from(row.tax_rate_bp))),
    ],
    on_conflict: "",
};

pub(crate) const DISCOUNTS: Table<DiscountRow> = Table {
    name: "fact_discounts",
    columns: &[
        column("store_id", Text(|row| row.store.as_str())),
        column("revision", Integer(|row| signed(row.place.revision.0))),
        column("event_index", Integer(|row| i64::from(row.place.index))),
        column("position", Integer(|row| i64::from(row.position))),
        column("source", Integer(|row| i64::from(row.source))),
        column("discount_id", Text(|row| &row.discount_id)),
        column("amount", Integer(|row| row.amount.minor())),
    ],
    on_conflict: "",
};

pub(crate) const TENDERS: Table<TenderRow> = Table {
    name: "fact_tenders",
    columns: &[
        column("store_id", Text(|row| row.store.as_str())),
        column("revision", Integer(|row| signed(row.place.revision.0))),
        column("event_index", Integer(|row| i64::from(row.place.index))),
        column("position", Integer(|row| i64::from(row.position))),
        column("tender_id", Text(|row| &row.tender_id)),
        column("kind", Integer(|row| i64::from(row.kind))),
        column("drawer_id", Text(|row| &row.drawer_id)),
        column("tendered", Integer(|row| row.tendered.minor())),
        column("change", Integer(|row| row.change.minor())),
        column("taken", Integer(|row| row.taken.minor())),
        column("returned", Integer(|row| row.returned.minor())),
    ],
    on_conflict: "",
};

pub(crate) const COMPLETIONS: Table<CompletionRow> = Table {
    name: "completions",
    columns: &[
        column("store_id", Text(|row| row.store.as_str())),
        column("revision", Integer(|row| signed(row.place.revision.0))),
        column("event_index", Integer(|row| i64::from(row.place.index))),
        column("z_number", Integer(|row| row.z_number)),
        column("order_id", Id(|row| Some(row.order_id.uuid()))),
        column(
            "recorded_at_us",
            Integer(|row| row.recorded_at.as_microsecond()),
        ),
    ],
    on_conflict: "",
};

pub(crate) const CASH: Table<CashRow> = Table {
    name: "cash_movements",
    columns: &[
        column("store_id", Text(|row| row.store.as_str())),
        column("revision", Integer(|row| signed(row.place.revision.0))),
        column("event_index", Integer(|row| i64::from(row.place.index))),
        column("position", Integer(|row| i64::from(row.position))),
        column("kind", Integer(|row| row.kind as i64)),
        column("business_date", Date(|row| Some(row.business_date))),
        column(
            "recorded_at_us",
            Integer(|row| row.recorded_at.as_microsecond()),
        ),
        column("drawer_id", Text(|row| &row.drawer_id)),
        column("amount", Integer(|row| row.amount.minor())),
        column("effect", Integer(|row| row.effect.minor())),
        column("reason_code", Text(|row| &row.reason_code)),
    ],
    on_conflict: "",
};

/// Adds to the rows that are there; the batch's fence makes sure that it happens once.
pub(crate) const LISTS: Table<ListRow> = Table {
    name: "day_lists",
    columns: &[
        column("store_id", Text(|row| row.store.as_str())),
        column("business_date", Date(|row| Some(row.date))),
        column("list", Integer(|row| row.list as i64)),
        column("list_key", Text(|row| &row.key)),
        column("category", Text(|row| &row.category)),
        column("name", Json(|row| json(&row.name))),
        column("units", Integer(|row| row.amounts.count)),
        column("gross", Integer(|row| row.amounts.gross)),
        column("discount", Integer(|row| row.amounts.discount)),
        column("net", Integer(|row| row.amounts.net)),
    ],
    on_conflict: "ON CONFLICT (store_id, business_date, list, list_key) DO UPDATE SET category = excluded.category, \
                  name = excluded.name, units = day_lists.units + excluded.units, gross = day_lists.gross + excluded.gross, \
                  discount = day_lists.discount + excluded.discount, net = day_lists.net + excluded.net",
};
