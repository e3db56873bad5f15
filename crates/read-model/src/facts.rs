//! What happened to money and drawers, one row an event or a part of one.

use contract::{BusinessDate, Money, OrderId, StoreId};
use event_log::Revision;
use jiff::Timestamp;

use crate::list::ListRow;

/// What happened to money by an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactKind {
    Sale = 1,
    /// A cancellation.
    Void = 2,
    Refund = 3,
}

/// The block of a day's report that a fact counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactBlock {
    Sales = 1,
    Voids = 2,
    RefundsSameDay = 3,
    RefundsPriorDays = 4,
}

/// Where an event is in its store's ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPlace {
    pub revision: Revision,
    /// Counts the events of a record from 0.
    pub index: u32,
}

/// A sale, or something given back. Amounts are never negative: the kind says which way they went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactRow {
    pub store: StoreId,
    pub place: EventPlace,
    pub kind: FactKind,
    pub block: FactBlock,
    /// The day that it counts in.
    pub business_date: BusinessDate,
    /// The day of the sale; of a sale the same.
    pub sale_business_date: BusinessDate,
    pub order_id: OrderId,
    pub recorded_at: Timestamp,
    /// Start of its local hour with the offset from UTC, as in `doppio.event.v1.HourFigures`.
    pub hour: String,
    /// The second of the two hours of one name on the wall that a clock set back makes.
    pub hour_repeated: bool,
    pub document_number: i64,
    /// Why it was given back; empty for a sale.
    pub reason_code: String,
    pub gross: Money,
    pub discount: Money,
    pub net: Money,
    pub vat: Money,
}

/// A line of a fact: sold or given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineRow {
    pub store: StoreId,
    pub place: EventPlace,
    /// Counts the lines of the fact from 0.
    pub position: u32,
    /// Index of the line in its order.
    pub line_index: u32,
    pub sku: String,
    pub category: String,
    pub quantity: i32,
    pub gross: Money,
    pub discount: Money,
    pub net: Money,
    /// Its share of the fact's VAT: `net` less a share of its class's supply by largest remainder. The shares sum to the fact's VAT.
    pub vat: Money,
    pub tax_class: String,
    pub tax_rate_bp: u32,
}

/// A tender of a fact: taken by a sale or returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenderRow {
    pub store: StoreId,
    pub place: EventPlace,
    /// Counts the tenders of the fact from 0.
    pub position: u32,
    pub tender_id: String,
    /// As `doppio.type.v1.TenderKind` numbers them.
    pub kind: i32,
    /// Of cash; empty for other kinds.
    pub drawer_id: String,
    pub tendered: Money,
    pub change: Money,
    /// What was applied: `tendered - change`; 0 when it is given back.
    pub taken: Money,
    pub returned: Money,
}

/// A discount of a sale, as it was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscountRow {
    pub store: StoreId,
    pub place: EventPlace,
    /// Counts the discounts of the sale from 0.
    pub position: u32,
    /// As `doppio.type.v1.DiscountSource` numbers them.
    pub source: i32,
    pub discount_id: String,
    pub amount: Money,
}

/// An order that was completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionRow {
    pub store: StoreId,
    pub place: EventPlace,
    /// Of the Z report that counts it: between two days that of the next one.
    pub z_number: i64,
    pub order_id: OrderId,
    pub recorded_at: Timestamp,
}

/// How cash came into a drawer or left it other than by an order; and what was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CashKind {
    /// The float that a day was opened with.
    OpeningFloat = 4,
    /// A float stated later, in place of the one before.
    Float = 5,
    PaidIn = 6,
    PaidOut = 7,
    /// What a drawer held at the close. Has no effect on what it should have held, like `CountedLate`.
    Counted = 8,
    /// The same, counted after an automatic close.
    CountedLate = 9,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CashRow {
    pub store: StoreId,
    pub place: EventPlace,
    /// Counts the movements of the event from 0.
    pub position: u32,
    pub kind: CashKind,
    pub business_date: BusinessDate,
    pub recorded_at: Timestamp,
    pub drawer_id: String,
    pub amount: Money,
    /// What it adds to the cash that the drawer is expected to hold; may be negative.
    pub effect: Money,
    pub reason_code: String,
}

/// What moved money in a run of records, and what else a report counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub facts: Vec<FactRow>,
    pub lines: Vec<LineRow>,
    pub discounts: Vec<DiscountRow>,
    pub tenders: Vec<TenderRow>,
    pub completions: Vec<CompletionRow>,
    pub cash: Vec<CashRow>,
    /// What is added to the days' lists; each key once.
    pub lists: Vec<ListRow>,
}

impl Facts {
    pub fn append(&mut self, mut other: Self) {
        self.facts.append(&mut other.facts);
        self.lines.append(&mut other.lines);
        self.discounts.append(&mut other.discounts);
        self.tenders.append(&mut other.tenders);
        self.completions.append(&mut other.completions);
        self.cash.append(&mut other.cash);
        self.lists.append(&mut other.lists);
    }
}
