//! Figures of a day's report as questions about facts.

use contract::{BusinessDate, OrderId, StoreId};
use jiff::Timestamp;

use crate::facts::{EventPlace, FactBlock};
use crate::rows::DayRow;
use crate::settlement::{JOIN_LINES, JOIN_TENDERS};

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
    Expected,
}

/// A figure of a day's report that is a sum over facts. A block of `None` is the turnover: sales less everything given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Figure {
    Block(Option<FactBlock>, BlockAmount),
    /// Of one tax class, at whatever rates.
    Tax(Option<FactBlock>, String, TaxPart),
    /// By kind, as `doppio.type.v1.TenderKind` numbers them.
    Tender(i32, TenderFlow),
    Item(String, LineAmount),
    Category(String, LineAmount),
    Hour(String, BlockAmount),
    Drawer(String, DrawerFlow),
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
}

const OF_DAY: &str = "WHERE f.generation = (SELECT generation FROM live_generations WHERE projection = 'sales') \
                      AND f.store_id = $1 AND f.business_date = $2";
const CASH: &str = "FROM cash_movements c WHERE c.generation = (SELECT generation FROM live_generations WHERE projection = 'sales') \
                    AND c.store_id = $1 AND c.business_date = $2";
const FACT: &str = "f.revision, f.event_index, f.kind, f.order_id, f.recorded_at_us";

impl Figure {
    /// What `$3` of [`Self::entries`] stands for.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Block(..) => String::new(),
            Self::Tender(kind, _) => kind.to_string(),
            Self::Tax(_, key, _) | Self::Item(key, _) | Self::Category(key, _) | Self::Hour(key, _) | Self::Drawer(key, _) => key.clone(),
        }
    }

    /// A query for (revision, event_index, kind, order_id, recorded_at_us, amount) of store `$1`, date `$2` and key `$3`.
    /// Made of nothing but the texts of this module.
    pub(crate) fn entries(&self) -> String {
        match self {
            Self::Block(block, amount) => {
                let (sign, only) = block_filter(*block);
                format!("SELECT {FACT}, {sign}{} AS amount FROM facts f {OF_DAY} AND CAST($3 AS TEXT) = ''{only}", block_amount(*amount))
            }
            Self::Tax(block, _, part) => {
                let (sign, only) = block_filter(*block);
                let part = match part {
                    TaxPart::Net => "l.net",
                    TaxPart::Supply => "(l.net - l.vat)",
                    TaxPart::Vat => "l.vat",
                };
                format!("SELECT {FACT}, {sign}{part} AS amount FROM facts f {JOIN_LINES} {OF_DAY} AND l.tax_class = $3{only}")
            }
            Self::Tender(_, flow) => {
                let flow = match flow {
                    TenderFlow::Taken => "t.taken",
                    TenderFlow::Returned => "t.returned",
                    TenderFlow::Net => "(t.taken - t.returned)",
                };
                format!("SELECT {FACT}, {flow} AS amount FROM facts f {JOIN_TENDERS} {OF_DAY} AND t.kind = CAST($3 AS BIGINT)")
            }
            Self::Item(_, amount) => format!(
                "SELECT {FACT}, {} AS amount FROM facts f {JOIN_LINES} {OF_DAY} AND f.block = 1 AND l.sku = $3",
                line_amount(*amount)
            ),
            Self::Category(_, amount) => {
                format!(
                    "SELECT {FACT}, {} AS amount FROM facts f {JOIN_LINES} {OF_DAY} AND f.block = 1 AND l.category = $3",
                    line_amount(*amount)
                )
            }
            Self::Hour(_, amount) => {
                format!("SELECT {FACT}, {} AS amount FROM facts f {OF_DAY} AND f.block = 1 AND f.hour = $3", block_amount(*amount))
            }
            Self::Drawer(_, flow) => drawer(*flow),
        }
    }
}

/// The sign of a fact's amount in a block's figures, and which facts count there.
fn block_filter(block: Option<FactBlock>) -> (&'static str, &'static str) {
    match block {
        Some(FactBlock::Sales) => ("", " AND f.block = 1"),
        Some(FactBlock::Voids) => ("", " AND f.block = 2"),
        Some(FactBlock::RefundsSameDay) => ("", " AND f.block = 3"),
        Some(FactBlock::RefundsPriorDays) => ("", " AND f.block = 4"),
        None => ("(CASE WHEN f.block = 1 THEN 1 ELSE -1 END) * ", ""),
    }
}

fn block_amount(amount: BlockAmount) -> &'static str {
    match amount {
        BlockAmount::Count => "1",
        BlockAmount::Gross => "f.gross",
        BlockAmount::Discount => "f.discount",
        BlockAmount::Net => "f.net",
        BlockAmount::Supply => "(f.net - f.vat)",
        BlockAmount::Vat => "f.vat",
    }
}

fn line_amount(amount: LineAmount) -> &'static str {
    match amount {
        LineAmount::Units => "l.quantity",
        LineAmount::Gross => "l.gross",
        LineAmount::Discount => "l.discount",
        LineAmount::Net => "l.net",
    }
}

/// expected = float + tendered - change - returned + paid in - paid out.
fn drawer(flow: DrawerFlow) -> String {
    let tenders = |amount: &str| {
        format!("SELECT {FACT}, {amount} AS amount FROM facts f {JOIN_TENDERS} {OF_DAY} AND t.kind = 1 AND t.drawer_id = $3")
    };
    let cash = |amount: &str, kinds: &str| {
        format!(
            "SELECT c.revision, c.event_index, c.kind, NULL AS order_id, c.recorded_at_us, {amount} AS amount {CASH} \
             AND c.drawer_id = $3 AND c.kind IN ({kinds})"
        )
    };
    match flow {
        DrawerFlow::Float => cash("c.effect", "4, 5"),
        DrawerFlow::PaidIn => cash("c.amount", "6"),
        DrawerFlow::PaidOut => cash("c.amount", "7"),
        DrawerFlow::Tendered => tenders("t.tendered"),
        DrawerFlow::Change => tenders("t.change"),
        DrawerFlow::Returned => tenders("t.returned"),
        DrawerFlow::Expected => {
            format!("{} UNION ALL {}", tenders("(t.tendered - t.change - t.returned)"), cash("c.effect", "4, 5, 6, 7"))
        }
    }
}
