//! Figures of a day's report as questions about facts.

use contract::event::ListDigest;
use contract::list_digest::{ListAmounts, discount_key};
use contract::{BusinessDate, OrderId, StoreId};
use jiff::Timestamp;

use crate::facts::{EventPlace, FactBlock};
use crate::lists::DayList;
use crate::rows::DayRow;
use crate::settlement::{JOIN_DISCOUNTS, JOIN_LINES, JOIN_TENDERS};

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

const OF_DAY: &str = "WHERE f.generation = (SELECT generation FROM live_generations WHERE projection = 'sales') \
                      AND f.store_id = $1 AND f.business_date = $2";
const CASH: &str = "FROM cash_movements c WHERE c.generation = (SELECT generation FROM live_generations WHERE projection = 'sales') \
                    AND c.store_id = $1 AND c.business_date = $2";
/// Facts of the day and of all days before it.
const UP_TO_DAY: &str = "WHERE f.generation = (SELECT generation FROM live_generations WHERE projection = 'sales') \
                         AND f.store_id = $1 AND f.business_date <= $2";
/// Completions; which Z counts them is to be said. The number of the day's own Z, also of one that is still to come: `$z`.
const COMPLETIONS: &str = "SELECT c.revision, c.event_index, CAST(10 AS BIGINT) AS kind, c.order_id, c.recorded_at_us, $sign AS amount FROM completions c \
                           WHERE c.generation = (SELECT generation FROM live_generations WHERE projection = 'sales') AND c.store_id = $1 \
                           AND c.z_number $z (SELECT CASE WHEN d.state = 2 THEN d.z_number ELSE s.z_number + 1 END FROM business_days d \
                           JOIN stores s ON s.generation = d.generation AND s.store_id = d.store_id WHERE d.generation = c.generation \
                           AND d.store_id = $1 AND d.business_date = $2)";
const FACT: &str = "f.revision, f.event_index, f.kind, f.order_id, f.recorded_at_us";

impl Figure {
    /// What `$3` of [`Self::entries`] stands for.
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

    /// A query for (revision, event_index, kind, order_id, recorded_at_us, amount) of store `$1`, date `$2` and key `$3`.
    /// Made of nothing but the texts of this module.
    pub(crate) fn entries(&self) -> String {
        match self {
            Self::Block(block, amount) => {
                let (sign, only) = block_filter(*block);
                format!(
                    "SELECT {FACT}, {sign}{} AS amount FROM facts f {OF_DAY} AND CAST($3 AS TEXT) = ''{only}",
                    block_amount(*amount)
                )
            }
            Self::Tax(block, _, part) => {
                let (sign, only) = block_filter(*block);
                let part = match part {
                    TaxPart::Net => "l.net",
                    TaxPart::Supply => "(l.net - l.vat)",
                    TaxPart::Vat => "l.vat",
                };
                format!(
                    "SELECT {FACT}, {sign}{part} AS amount FROM facts f {JOIN_LINES} {OF_DAY} AND (l.tax_class = $3 OR l.tax_class || '@' || CAST(l.tax_rate_bp AS TEXT) = $3){only}"
                )
            }
            Self::Tender(_, flow) => {
                let flow = match flow {
                    TenderFlow::Taken => "t.taken",
                    TenderFlow::Returned => "t.returned",
                    TenderFlow::Net => "(t.taken - t.returned)",
                };
                format!(
                    "SELECT {FACT}, {flow} AS amount FROM facts f {JOIN_TENDERS} {OF_DAY} AND t.kind = CAST($3 AS BIGINT)"
                )
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
                format!(
                    "SELECT {FACT}, {} AS amount FROM facts f {OF_DAY} AND f.block = 1 AND f.hour = $3",
                    block_amount(*amount)
                )
            }
            Self::Drawer(_, flow) => drawer(*flow),
            Self::Discount(_, _, amount) => {
                let amount = match amount {
                    DiscountAmount::Count => "1",
                    DiscountAmount::Amount => "x.amount",
                };
                format!(
                    "SELECT {FACT}, {amount} AS amount FROM facts f {JOIN_DISCOUNTS} {OF_DAY} AND f.block = 1 \
                     AND CAST(x.source AS TEXT) || '/' || x.discount_id = $3"
                )
            }
            Self::List(list, figure) => whole_list(*list, *figure),
            Self::Store(figure) => store(*figure),
        }
    }
}

/// The sales behind a whole list.
fn whole_list(list: DayList, figure: ListFigure) -> String {
    let (join, key, rows, last) = match list {
        DayList::Items => (JOIN_LINES, "l.sku", "l", "l.position"),
        DayList::Categories => (JOIN_LINES, "l.category", "l", "l.position"),
        DayList::Discounts => (JOIN_DISCOUNTS, "x.source, x.discount_id", "x", "x.position"),
    };
    let amount = match (figure, rows) {
        (ListFigure::Rows, _) => {
            return format!(
                "SELECT revision, event_index, kind, order_id, recorded_at_us, CAST(1 AS BIGINT) AS amount FROM (SELECT {FACT}, \
                 ROW_NUMBER() OVER (PARTITION BY {key} ORDER BY f.revision, f.event_index, {last}) AS place FROM facts f {join} {OF_DAY} \
                 AND f.block = 1 AND CAST($3 AS TEXT) = '') w WHERE place = 1"
            );
        }
        (ListFigure::Count, "x") => "1",
        (ListFigure::Discount | ListFigure::Digest, "x") => "x.amount",
        (ListFigure::Gross | ListFigure::Net, "x") => "0",
        (ListFigure::Count, _) => "l.quantity",
        (ListFigure::Gross, _) => "l.gross",
        (ListFigure::Discount, _) => "l.discount",
        (ListFigure::Net | ListFigure::Digest, _) => "l.net",
    };
    format!(
        "SELECT {FACT}, {amount} AS amount FROM facts f {join} {OF_DAY} AND f.block = 1 AND CAST($3 AS TEXT) = ''"
    )
}

/// carried in + sales.count - completed - cancelled = carried out; numbers and grand totals run through all days.
fn store(figure: StoreFigure) -> String {
    let up_to = |amount: &str, only: &str| {
        format!(
            "SELECT {FACT}, {amount} AS amount FROM facts f {UP_TO_DAY} AND CAST($3 AS TEXT) = '' {only}"
        )
    };
    let day = |rest: &str| {
        format!("SELECT {FACT}, 1 AS amount FROM facts f {OF_DAY} AND CAST($3 AS TEXT) = '' {rest}")
    };
    let completions = |z: &str, sign: &str| COMPLETIONS.replace("$sign", sign).replace("$z", z);
    // A sale opens an order, a void ends it.
    let opened = "CASE f.kind WHEN 1 THEN 1 ELSE -1 END";
    let numbered = |bound: &str| {
        let of_day = format!("SELECT {bound}(f.document_number) FROM facts f {OF_DAY}");
        up_to("1", &format!("AND f.document_number <= ({of_day})"))
    };
    match figure {
        StoreFigure::CarriedIn => {
            format!(
                "{} UNION ALL {}",
                up_to(opened, "AND f.business_date < $2 AND f.kind IN (1, 2)"),
                completions("<", "-1")
            )
        }
        StoreFigure::CarriedOut => format!(
            "{} UNION ALL {}",
            up_to(opened, "AND f.kind IN (1, 2)"),
            completions("<=", "-1")
        ),
        StoreFigure::Completed => format!("{} AND CAST($3 AS TEXT) = ''", completions("=", "1")),
        StoreFigure::Cancelled => day("AND f.kind = 2"),
        StoreFigure::FirstTicket => {
            day("AND f.block = 1 ORDER BY f.revision, f.event_index LIMIT 1")
        }
        StoreFigure::LastTicket => day("AND f.block = 1"),
        StoreFigure::FirstDocument => numbered("MIN"),
        StoreFigure::LastDocument => numbered("MAX"),
        StoreFigure::GrandTotalSales => up_to("f.net", "AND f.kind = 1"),
        StoreFigure::GrandTotalReturns => up_to("f.net", "AND f.kind <> 1"),
        StoreFigure::GrandTotal => up_to("CASE f.kind WHEN 1 THEN f.net ELSE -f.net END", ""),
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
        format!(
            "SELECT {FACT}, {amount} AS amount FROM facts f {JOIN_TENDERS} {OF_DAY} AND t.kind = 1 AND t.drawer_id = $3"
        )
    };
    let cash = |amount: &str, kinds: &str| {
        format!(
            "SELECT c.revision, c.event_index, c.kind, NULL AS order_id, c.recorded_at_us, {amount} AS amount {CASH} \
             AND c.drawer_id = $3 AND c.kind IN ({kinds})"
        )
    };
    let expected = |sign: &str| {
        let flows = tenders(&format!("{sign}(t.tendered - t.change - t.returned)"));
        format!(
            "{flows} UNION ALL {}",
            cash(&format!("{sign}c.effect"), "4, 5, 6, 7")
        )
    };
    match flow {
        DrawerFlow::Float => cash("c.effect", "4, 5"),
        DrawerFlow::Carried => cash("c.effect", "4"),
        DrawerFlow::OpeningDifference => cash("c.effect", "5"),
        DrawerFlow::PaidIn => cash("c.amount", "6"),
        DrawerFlow::PaidOut => cash("c.amount", "7"),
        DrawerFlow::Tendered => tenders("t.tendered"),
        DrawerFlow::Change => tenders("t.change"),
        DrawerFlow::Returned => tenders("t.returned"),
        DrawerFlow::Expected => expected(""),
        DrawerFlow::Counted => cash("c.amount", "8"),
        DrawerFlow::OverShort => {
            let counted = format!("SELECT 1 {CASH} AND c.drawer_id = $3 AND c.kind = 8");
            // A drawer that nobody counted holds nothing where it should hold less.
            let closed = "SELECT 1 FROM business_days d WHERE d.generation = (SELECT generation FROM live_generations \
                          WHERE projection = 'sales') AND d.store_id = $1 AND d.business_date = $2 AND d.state = 2";
            format!(
                "{} UNION ALL SELECT * FROM ({}) w WHERE EXISTS ({counted}) OR (EXISTS ({closed}) AND (SELECT SUM(amount) FROM ({}) n) < 0)",
                cash("c.amount", "8"),
                expected("-"),
                expected("")
            )
        }
    }
}
