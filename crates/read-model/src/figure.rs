//! Figures of a day's report as questions about facts.

use contract::event::ListDigest;
use contract::list_digest::{ListAmounts, discount_key};
use contract::{BusinessDate, OrderId, StoreId};
use jiff::Timestamp;

use crate::day::DayRow;
use crate::facts::{EventPlace, FactBlock};
use crate::list::DayList;

/// An amount of a block, or of an hour's sales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockAmount {
    Count,
    Gross,
    Discount,
    Net,
    Supply,
    Vat,
}

/// An amount of items or categories sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineAmount {
    Units,
    Gross,
    Discount,
    Net,
}

/// An amount of one tax class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaxPart {
    Net,
    Supply,
    Vat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenderFlow {
    Taken,
    Returned,
    Net,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrawerFlow {
    Float,
    Tendered,
    Change,
    Returned,
    PaidIn,
    PaidOut,
    /// What the last close left.
    Carried,
    /// What was counted at the opening, less that.
    OpeningDifference,
    Expected,
    /// At the close; a drawer that was left uncounted has neither this nor the next.
    Counted,
    OverShort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscountAmount {
    Count,
    Amount,
}

/// A figure of a whole list of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListFigure {
    Rows,
    /// Units sold; how often discounts were applied.
    Count,
    Gross,
    Discount,
    Net,
    /// No sum: what tells two lists of equal sums apart. Behind it stand the sales that made the list.
    Digest,
}

/// A figure of the store rather than of the day's sales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFigure {
    /// Orders that were open when the day before was closed.
    CarriedIn,
    Completed,
    Cancelled,
    CarriedOut,
    /// Numbers count what they number: the facts behind one are those numbered up to it, each 1.
    FirstTicket,
    LastTicket,
    FirstDocument,
    LastDocument,
    GrandTotalSales,
    GrandTotalReturns,
    GrandTotal,
}

/// A figure of a day's report that is a sum over facts. A block of `None` is the turnover: sales less everything given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Figure {
    Block(Option<FactBlock>, BlockAmount),
    /// Of one tax class: "std" at whatever rates, "std@1000" at one of them, in basis points.
    Tax(Option<FactBlock>, String, TaxPart),
    /// By kind, as `doppio.type.v1.TenderKind` numbers them.
    Tender(i32, TenderFlow),
    Item(String, LineAmount),
    Category(String, LineAmount),
    Hour(String, BlockAmount),
    Drawer(String, DrawerFlow),
    /// By source, as `doppio.type.v1.DiscountSource` numbers them, and id.
    Discount(i32, String, DiscountAmount),
    /// Of all items, categories or discounts.
    List(DayList, ListFigure),
    Store(StoreFigure),
}

/// A page of the facts behind a figure.
#[derive(Debug, Clone)]
pub struct FigureQuery {
    pub store: StoreId,
    pub date: BusinessDate,
    pub figure: Figure,
    /// The last fact of the page before.
    pub after: Option<EventPlace>,
    pub limit: u32,
}

/// What one event adds to a figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FigureFact {
    pub place: EventPlace,
    /// The event's type: "OrderPlaced", "CashMoved" ...
    pub event_type: &'static str,
    /// `None` for cash that moved without an order.
    pub order_id: Option<OrderId>,
    pub recorded_at: Timestamp,
    pub amount: i64,
}

#[derive(Debug, Clone)]
pub struct Explained {
    pub day: Option<DayRow>,
    /// Over all facts, not only this page's.
    pub total: i64,
    /// By place; none adds 0.
    pub facts: Vec<FigureFact>,
    /// Of an item, category or discount: its row in the day's list, if it has one.
    pub listed: Option<ListAmounts>,
    /// Of a figure of a list: its digest as the rows are now.
    pub digest: Option<ListDigest>,
}

impl Figure {
    /// The name of what it is a figure of: an item, a tax class, a drawer ... Empty for the others.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Block(..) | Self::List(..) | Self::Store(_) => String::new(),
            Self::Tender(kind, _) => kind.to_string(),
            Self::Discount(source, id, _) => discount_key(*source, id),
            Self::Tax(_, key, _)
            | Self::Item(key, _)
            | Self::Category(key, _)
            | Self::Hour(key, _)
            | Self::Drawer(key, _) => key.clone(),
        }
    }

    /// The row of a day's list that the figure is of.
    pub(crate) fn list_key(&self) -> Option<(DayList, String)> {
        let list = match self {
            Self::Item(..) => DayList::Items,
            Self::Category(..) => DayList::Categories,
            Self::Discount(..) => DayList::Discounts,
            _ => return None,
        };
        Some((list, self.key()))
    }
}
