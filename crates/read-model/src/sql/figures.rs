//! A figure as a statement for the facts behind it.

use super::joins::{DISCOUNTS, LINES, TENDERS};
use crate::facts::FactBlock;
use crate::figure::{
    BlockAmount, DiscountAmount, DrawerFlow, Figure, LineAmount, ListFigure, StoreFigure, TaxPart,
    TenderFlow,
};
use crate::list::DayList;

const OF_DAY: &str = "WHERE f.store_id = $1 AND f.business_date = $2";
const CASH: &str = "FROM cash_movements c WHERE c.store_id = $1 AND c.business_date = $2";
/// Facts of the day and of all days before it.
const UP_TO_DAY: &str = "WHERE f.store_id = $1 AND f.business_date <= $2";
/// A closed day of date `$2`.
const CLOSED_DAY: &str =
    "SELECT 1 FROM business_days d WHERE d.store_id = $1 AND d.business_date = $2 AND d.state = 2";
/// Completions; which Z counts them is to be said. The number of the day's own Z, also of one that is still to come: `$z`.
const COMPLETIONS: &str = "SELECT c.revision, c.event_index, CAST(10 AS BIGINT) AS kind, c.order_id, c.recorded_at_us, $sign AS amount FROM completions c \
     WHERE c.store_id = $1 AND c.z_number $z (SELECT CASE WHEN d.state = 2 THEN d.z_number ELSE s.z_number + 1 END FROM business_days d \
     JOIN stores s ON s.store_id = d.store_id WHERE d.store_id = $1 AND d.business_date = $2)";
const FACT: &str = "f.revision, f.event_index, f.kind, f.order_id, f.recorded_at_us";

/// A statement for (revision, event_index, kind, order_id, recorded_at_us, amount) of store `$1`, date `$2` and [`Figure::key`] `$3`. Made
/// of nothing but this module's texts.
pub(super) fn entries(figure: &Figure) -> String {
    match figure {
        Figure::Block(block, amount) => {
            let (sign, only) = block_filter(*block);
            format!(
                "SELECT {FACT}, {sign}{} AS amount FROM facts f {OF_DAY} AND CAST($3 AS TEXT) = ''{only}",
                block_amount(*amount)
            )
        }
        Figure::Tax(block, _, part) => {
            let (sign, only) = block_filter(*block);
            let part = match part {
                TaxPart::Net => "l.net",
                TaxPart::Supply => "(l.net - l.vat)",
                TaxPart::Vat => "l.vat",
            };
            format!(
                "SELECT {FACT}, {sign}{part} AS amount FROM facts f {LINES} {OF_DAY} AND (l.tax_class = $3 OR l.tax_class || '@' || CAST(l.tax_rate_bp AS TEXT) = $3){only}"
            )
        }
        Figure::Tender(_, flow) => {
            let flow = match flow {
                TenderFlow::Taken => "t.taken",
                TenderFlow::Returned => "t.returned",
                TenderFlow::Net => "(t.taken - t.returned)",
            };
            format!(
                "SELECT {FACT}, {flow} AS amount FROM facts f {TENDERS} {OF_DAY} AND t.kind = CAST($3 AS BIGINT)"
            )
        }
        Figure::Item(_, amount) => format!(
            "SELECT {FACT}, {} AS amount FROM facts f {LINES} {OF_DAY} AND f.block = 1 AND l.sku = $3",
            line_amount(*amount)
        ),
        Figure::Category(_, amount) => {
            format!(
                "SELECT {FACT}, {} AS amount FROM facts f {LINES} {OF_DAY} AND f.block = 1 AND l.category = $3",
                line_amount(*amount)
            )
        }
        Figure::Hour(_, amount) => {
            format!(
                "SELECT {FACT}, {} AS amount FROM facts f {OF_DAY} AND f.block = 1 AND f.hour = $3",
                block_amount(*amount)
            )
        }
        Figure::Drawer(_, flow) => drawer(*flow),
        Figure::Discount(_, _, amount) => {
            let amount = match amount {
                DiscountAmount::Count => "1",
                DiscountAmount::Amount => "x.amount",
            };
            format!(
                "SELECT {FACT}, {amount} AS amount FROM facts f {DISCOUNTS} {OF_DAY} AND f.block = 1 \
                 AND CAST(x.source AS TEXT) || '/' || x.discount_id = $3"
            )
        }
        Figure::List(list, figure) => whole_list(*list, *figure),
        Figure::Store(figure) => store(*figure),
    }
}

/// The sales behind a whole list.
fn whole_list(list: DayList, figure: ListFigure) -> String {
    let (join, key, rows, last) = match list {
        DayList::Items => (LINES, "l.sku", "l", "l.position"),
        DayList::Categories => (LINES, "l.category", "l", "l.position"),
        DayList::Discounts => (DISCOUNTS, "x.source, x.discount_id", "x", "x.position"),
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
            "SELECT {FACT}, {amount} AS amount FROM facts f {TENDERS} {OF_DAY} AND t.kind = 1 AND t.drawer_id = $3"
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
            format!(
                "{} UNION ALL SELECT * FROM ({}) w WHERE EXISTS ({counted}) OR (EXISTS ({CLOSED_DAY}) AND (SELECT SUM(amount) FROM ({}) n) < 0)",
                cash("c.amount", "8"),
                expected("-"),
                expected("")
            )
        }
    }
}
