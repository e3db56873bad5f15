//! Paths of a report's figures: what they ask of the facts, and their value in the report.

use contract::event::{Block, DayReport, DiscountSource, ListDigest, TenderKind};
use contract::figures;
use contract::list_digest::ListAmounts;
use read_model::{
    BlockAmount, DayList, DayRow, DayState, DiscountAmount, DrawerFlow, Explained, FactBlock,
    Figure, LineAmount, ListFigure, StoreFigure, TaxPart, TenderFlow,
};

/// What a caller may name.
const LEGAL: &str = "must be one of: BLOCK.count|gross|discount|net|supply|vat or BLOCK.taxes.CLASS.net|supply|vat, where BLOCK is sales, \
                     voids, refunds_same_day, refunds_prior_days or turnover (which has no count), and CLASS is a tax class, or one rate of it as CLASS@BASIS_POINTS; tenders.KIND.taken|returned|net, where KIND is cash, card, \
                     mobile, voucher or other; items.SKU.units|gross|discount|net; categories.CATEGORY.units|gross|discount|net; \
                     items or categories, then .rows|units|gross|discount|net|digest, and discounts.rows|count|amount|digest; \
                     hours.HOUR.orders|gross|discount|net, with the hour as the report has it, such as 2026-03-02T09:00+09:00; \
                     drawers.DRAWER.carried|opening_difference|float|tendered|change|returned|paid_in|paid_out|expected|counted|over_short; \
                     discounts.SOURCE.ID.count|amount, where SOURCE is line_promotion, line_manual, order_promotion, order_manual, coupon or \
                     points; carried_in, completed, cancelled, carried_out, first_ticket, last_ticket, first_document, last_document, \
                     grand_total_sales, grand_total_returns or grand_total";

const STORE_FIGURES: [(&str, StoreFigure); 11] = [
    ("carried_in", StoreFigure::CarriedIn),
    ("completed", StoreFigure::Completed),
    ("cancelled", StoreFigure::Cancelled),
    ("carried_out", StoreFigure::CarriedOut),
    ("first_ticket", StoreFigure::FirstTicket),
    ("last_ticket", StoreFigure::LastTicket),
    ("first_document", StoreFigure::FirstDocument),
    ("last_document", StoreFigure::LastDocument),
    ("grand_total_sales", StoreFigure::GrandTotalSales),
    ("grand_total_returns", StoreFigure::GrandTotalReturns),
    ("grand_total", StoreFigure::GrandTotal),
];

/// A tender kind as paths and rows of sales name it.
pub(crate) fn tender_name(kind: i32) -> String {
    TenderKind::try_from(kind).map_or_else(|_| kind.to_string(), figures::tender_name)
}

/// Reads a path. The error names the legal ones.
pub(crate) fn parse(path: &str) -> Result<Figure, &'static str> {
    read(path).ok_or(LEGAL)
}

fn read(path: &str) -> Option<Figure> {
    if let Some((_, figure)) = STORE_FIGURES.iter().find(|(name, _)| *name == path) {
        return Some(Figure::Store(*figure));
    }
    let (group, rest) = path.split_once('.')?;
    let block = match group {
        "sales" => Some(Some(FactBlock::Sales)),
        "voids" => Some(Some(FactBlock::Voids)),
        "refunds_same_day" => Some(Some(FactBlock::RefundsSameDay)),
        "refunds_prior_days" => Some(Some(FactBlock::RefundsPriorDays)),
        "turnover" => Some(None),
        _ => None,
    };
    if let Some(block) = block {
        let Some(class) = rest.strip_prefix("taxes.") else {
            return match (block, block_amount(rest, "count")?) {
                // Orders less refunds count nothing.
                (None, BlockAmount::Count) => None,
                (block, amount) => Some(Figure::Block(block, amount)),
            };
        };
        let (class, part) = class
            .rsplit_once('.')
            .filter(|(class, _)| !class.is_empty())?;
        let part = match part {
            "net" => TaxPart::Net,
            "supply" => TaxPart::Supply,
            "vat" => TaxPart::Vat,
            _ => return None,
        };
        return Some(Figure::Tax(block, class.to_owned(), part));
    }
    if let Some(figure) = whole_list(group, rest) {
        return Some(figure);
    }
    let (key, amount) = rest
        .rsplit_once('.')
        .filter(|(key, _)| !key.is_empty() && !key.contains('\0'))?;
    let owned = key.to_owned();
    match group {
        "items" => Some(Figure::Item(owned, line_amount(amount)?)),
        "categories" => Some(Figure::Category(owned, line_amount(amount)?)),
        "hours" if !matches!(amount, "supply" | "vat") => {
            Some(Figure::Hour(owned, block_amount(amount, "orders")?))
        }
        "tenders" => {
            let kind = TenderKind::from_str_name(&format!("TENDER_KIND_{}", capitals(key)?))?;
            if kind == TenderKind::Unspecified {
                return None;
            }
            let flow = match amount {
                "taken" => TenderFlow::Taken,
                "returned" => TenderFlow::Returned,
                "net" => TenderFlow::Net,
                _ => return None,
            };
            Some(Figure::Tender(kind.into(), flow))
        }
        "drawers" => {
            let flow = match amount {
                "carried" => DrawerFlow::Carried,
                "opening_difference" => DrawerFlow::OpeningDifference,
                "float" => DrawerFlow::Float,
                "tendered" => DrawerFlow::Tendered,
                "change" => DrawerFlow::Change,
                "returned" => DrawerFlow::Returned,
                "paid_in" => DrawerFlow::PaidIn,
                "paid_out" => DrawerFlow::PaidOut,
                "expected" => DrawerFlow::Expected,
                "counted" => DrawerFlow::Counted,
                "over_short" => DrawerFlow::OverShort,
                _ => return None,
            };
            Some(Figure::Drawer(owned, flow))
        }
        "discounts" => {
            let (source, id) = key.split_once('.').filter(|(_, id)| !id.is_empty())?;
            let source =
                DiscountSource::from_str_name(&format!("DISCOUNT_SOURCE_{}", capitals(source)?))?;
            if source == DiscountSource::Unspecified {
                return None;
            }
            let amount = match amount {
                "count" => DiscountAmount::Count,
                "amount" => DiscountAmount::Amount,
                _ => return None,
            };
            Some(Figure::Discount(source.into(), id.to_owned(), amount))
        }
        _ => None,
    }
}

/// A name in lower case as the protocol writes it; `None` if it is not in lower case.
fn capitals(name: &str) -> Option<String> {
    name.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        .then(|| name.to_ascii_uppercase())
}

/// A figure of all items, categories or discounts. Keys have a dot and an amount behind them, these have not.
fn whole_list(group: &str, name: &str) -> Option<Figure> {
    let list = match group {
        "items" => DayList::Items,
        "categories" => DayList::Categories,
        "discounts" => DayList::Discounts,
        _ => return None,
    };
    let figure = match (name, list) {
        ("rows", _) => ListFigure::Rows,
        ("digest", _) => ListFigure::Digest,
        ("count", DayList::Discounts) => ListFigure::Count,
        ("amount", DayList::Discounts) => ListFigure::Discount,
        (_, DayList::Discounts) => return None,
        ("units", _) => ListFigure::Count,
        ("gross", _) => ListFigure::Gross,
        ("discount", _) => ListFigure::Discount,
        ("net", _) => ListFigure::Net,
        _ => return None,
    };
    Some(Figure::List(list, figure))
}

fn block_amount(name: &str, count: &str) -> Option<BlockAmount> {
    Some(match name {
        _ if name == count => BlockAmount::Count,
        "gross" => BlockAmount::Gross,
        "discount" => BlockAmount::Discount,
        "net" => BlockAmount::Net,
        "supply" => BlockAmount::Supply,
        "vat" => BlockAmount::Vat,
        _ => return None,
    })
}

fn line_amount(name: &str) -> Option<LineAmount> {
    Some(match name {
        "units" => LineAmount::Units,
        "gross" => LineAmount::Gross,
        "discount" => LineAmount::Discount,
        "net" => LineAmount::Net,
        _ => return None,
    })
}

/// A figure's value and what its facts sum to.
pub(crate) fn answer(
    figure: &Figure,
    report: &DayReport,
    day: &DayRow,
    explained: &Explained,
) -> (i64, i64) {
    let listed = explained.listed.unwrap_or_default();
    let value = match figure {
        Figure::Item(_, amount) | Figure::Category(_, amount) => of_row(*amount, listed),
        Figure::Discount(_, _, DiscountAmount::Count) => listed.count,
        Figure::Discount(_, _, DiscountAmount::Amount) => listed.discount,
        // The report of an open day has no digests yet.
        Figure::List(_, what) if day.state == DayState::Open => explained
            .digest
            .as_ref()
            .map_or(0, |list| of_list(list, *what)),
        figure => value(figure, report),
    };
    // A digest is no sum.
    let total = match (figure, &explained.digest) {
        (Figure::List(_, ListFigure::Digest), Some(list)) => figures::fingerprint(list),
        _ => explained.total,
    };
    (value, total)
}

/// The figure as the report has it; 0 for an item, class, hour or drawer that it does not have.
pub(crate) fn value(figure: &Figure, report: &DayReport) -> i64 {
    match figure {
        Figure::Block(which, amount) => block(report, *which).map_or(0, |block| match amount {
            BlockAmount::Count => block.count,
            BlockAmount::Gross => block.gross,
            BlockAmount::Discount => block.discount,
            BlockAmount::Net => block.net,
            BlockAmount::Supply => block.supply,
            BlockAmount::Vat => block.vat,
        }),
        Figure::Tax(which, class, part) => {
            let taxes = block(report, *which)
                .map(|block| block.taxes.as_slice())
                .unwrap_or_default();
            let own = taxes.iter().filter(|tax| {
                tax.tax_class == *class || format!("{}@{}", tax.tax_class, tax.rate_bp) == *class
            });
            own.fold(0, |sum: i64, tax| {
                sum.saturating_add(match part {
                    TaxPart::Net => tax.net,
                    TaxPart::Supply => tax.supply,
                    TaxPart::Vat => tax.vat,
                })
            })
        }
        Figure::Tender(kind, flow) => {
            report
                .tenders
                .iter()
                .find(|row| row.kind == *kind)
                .map_or(0, |row| match flow {
                    TenderFlow::Taken => row.taken,
                    TenderFlow::Returned => row.returned,
                    TenderFlow::Net => row.net,
                })
        }
        Figure::Hour(hour, amount) => {
            report
                .hours
                .iter()
                .find(|row| row.hour == *hour)
                .map_or(0, |row| match amount {
                    BlockAmount::Count => row.orders,
                    BlockAmount::Gross => row.gross,
                    BlockAmount::Discount => row.discount,
                    BlockAmount::Net => row.net,
                    // No path names these of an hour.
                    BlockAmount::Supply | BlockAmount::Vat => 0,
                })
        }
        Figure::Drawer(drawer, flow) => report
            .drawers
            .iter()
            .find(|row| row.drawer_id == *drawer)
            .map_or(0, |row| match flow {
                DrawerFlow::Carried => row.carried,
                DrawerFlow::OpeningDifference => row.opening_difference.unwrap_or(0),
                DrawerFlow::Float => row.float,
                DrawerFlow::Tendered => row.tendered,
                DrawerFlow::Change => row.change,
                DrawerFlow::Returned => row.returned,
                DrawerFlow::PaidIn => row.paid_in,
                DrawerFlow::PaidOut => row.paid_out,
                DrawerFlow::Expected => row.expected,
                DrawerFlow::Counted => row.counted.unwrap_or(0),
                DrawerFlow::OverShort => row.over_short.unwrap_or(0),
            }),
        Figure::List(list, figure) => {
            let list = match list {
                DayList::Items => &report.items,
                DayList::Categories => &report.categories,
                DayList::Discounts => &report.discounts,
            };
            list.as_ref().map_or(0, |list| of_list(list, *figure))
        }
        // A report does not hold rows of lists.
        Figure::Item(..) | Figure::Category(..) | Figure::Discount(..) => 0,
        Figure::Store(figure) => match figure {
            StoreFigure::CarriedIn => report.carried_in,
            StoreFigure::Completed => report.completed,
            StoreFigure::Cancelled => report.cancelled,
            StoreFigure::CarriedOut => report.carried_out,
            StoreFigure::FirstTicket => report.first_ticket,
            StoreFigure::LastTicket => report.last_ticket,
            StoreFigure::FirstDocument => report.first_document,
            StoreFigure::LastDocument => report.last_document,
            StoreFigure::GrandTotalSales => report.grand_total_sales,
            StoreFigure::GrandTotalReturns => report.grand_total_returns,
            StoreFigure::GrandTotal => report
                .grand_total_sales
                .saturating_sub(report.grand_total_returns),
        },
    }
}

fn block(report: &DayReport, which: Option<FactBlock>) -> Option<&Block> {
    match which {
        Some(FactBlock::Sales) => report.sales.as_ref(),
        Some(FactBlock::Voids) => report.voids.as_ref(),
        Some(FactBlock::RefundsSameDay) => report.refunds_same_day.as_ref(),
        Some(FactBlock::RefundsPriorDays) => report.refunds_prior_days.as_ref(),
        None => report.turnover.as_ref(),
    }
}

fn of_row(amount: LineAmount, row: ListAmounts) -> i64 {
    match amount {
        LineAmount::Units => row.count,
        LineAmount::Gross => row.gross,
        LineAmount::Discount => row.discount,
        LineAmount::Net => row.net,
    }
}

fn of_list(list: &ListDigest, figure: ListFigure) -> i64 {
    match figure {
        ListFigure::Rows => list.rows,
        ListFigure::Count => list.count,
        ListFigure::Gross => list.gross,
        ListFigure::Discount => list.discount,
        ListFigure::Net => list.net,
        ListFigure::Digest => figures::fingerprint(list),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_figures() {
        for (path, figure) in [
            (
                "sales.net",
                Figure::Block(Some(FactBlock::Sales), BlockAmount::Net),
            ),
            ("turnover.net", Figure::Block(None, BlockAmount::Net)),
            (
                "items.digest",
                Figure::List(DayList::Items, ListFigure::Digest),
            ),
            (
                "discounts.amount",
                Figure::List(DayList::Discounts, ListFigure::Discount),
            ),
            (
                "voids.taxes.STD.vat",
                Figure::Tax(Some(FactBlock::Voids), "STD".into(), TaxPart::Vat),
            ),
            (
                "sales.taxes.std@1000.net",
                Figure::Tax(Some(FactBlock::Sales), "std@1000".into(), TaxPart::Net),
            ),
            (
                "tenders.cash.returned",
                Figure::Tender(1, TenderFlow::Returned),
            ),
            (
                "items.latte.units",
                Figure::Item("latte".into(), LineAmount::Units),
            ),
            (
                "categories.hot.drinks.net",
                Figure::Category("hot.drinks".into(), LineAmount::Net),
            ),
            (
                "hours.2026-03-02T09:00+09:00.orders",
                Figure::Hour("2026-03-02T09:00+09:00".into(), BlockAmount::Count),
            ),
            (
                "drawers.main.expected",
                Figure::Drawer("main".into(), DrawerFlow::Expected),
            ),
            (
                "drawers.main.over_short",
                Figure::Drawer("main".into(), DrawerFlow::OverShort),
            ),
            (
                "discounts.coupon.spring.amount",
                Figure::Discount(5, "spring".into(), DiscountAmount::Amount),
            ),
            ("carried_out", Figure::Store(StoreFigure::CarriedOut)),
            ("grand_total", Figure::Store(StoreFigure::GrandTotal)),
        ] {
            assert_eq!(parse(path), Ok(figure));
        }
        for path in [
            "",
            "sales",
            "sales.",
            "sales.units",
            "sales.taxes..vat",
            "tenders.gold.net",
            "items..net",
            "hours.9.vat",
            "tips.net",
            "turnover.count",
            "items.count",
            "tenders.CASH.net",
            "tenders.unspecified.net",
            "discounts.coupon.count",
            "discounts.luck.x.count",
            "carried_in.count",
        ] {
            let legal = parse(path).unwrap_err();
            assert!(legal.contains("refunds_prior_days"), "{path}");
        }
    }

    /// A difference names a figure as it is asked for, and what is found there is the report's.
    #[test]
    fn every_name_of_a_figure_can_be_explained() {
        use contract::event::{DrawerFigures, HourFigures, TaxAmount, TenderFigures};
        let mut next = 0;
        let mut number = || {
            next += 1;
            next
        };
        let mut block = || {
            let tax = TaxAmount {
                tax_class: "std".into(),
                rate_bp: 1_000,
                net: number(),
                supply: number(),
                vat: number(),
                ..TaxAmount::default()
            };
            Some(Block {
                count: number(),
                gross: number(),
                discount: number(),
                net: number(),
                supply: number(),
                vat: number(),
                taxes: vec![tax],
            })
        };
        let blocks = [block(), block(), block(), block(), block()];
        let [sales, voids, refunds_same_day, refunds_prior_days, turnover] = blocks;
        let mut list = |byte| {
            Some(ListDigest {
                rows: number(),
                count: number(),
                gross: number(),
                discount: number(),
                net: number(),
                sha256: vec![byte; 32].into(),
            })
        };
        let [items, categories, discounts] = [list(7), list(8), list(9)];
        let report = DayReport {
            sales,
            voids,
            refunds_same_day,
            refunds_prior_days,
            turnover,
            items,
            categories,
            discounts,
            tenders: (1..=5)
                .map(|kind| TenderFigures {
                    kind,
                    taken: number(),
                    returned: number(),
                    net: number(),
                })
                .collect(),
            drawers: vec![DrawerFigures {
                drawer_id: "main".into(),
                float: number(),
                tendered: number(),
                change: number(),
                returned: number(),
                paid_in: number(),
                paid_out: number(),
                expected: number(),
                counted: Some(number()),
                over_short: Some(number()),
                carried: number(),
                opening_difference: Some(number()),
            }],
            hours: vec![HourFigures {
                hour: "2026-03-02T09:00+09:00".into(),
                orders: number(),
                gross: number(),
                discount: number(),
                net: number(),
            }],
            carried_in: number(),
            completed: number(),
            cancelled: number(),
            carried_out: number(),
            first_ticket: number(),
            last_ticket: number(),
            first_document: number(),
            last_document: number(),
            grand_total_sales: number(),
            grand_total_returns: number(),
        };
        let named = figures::figures(&report);
        assert!(named.len() > 90, "{}", named.len());
        for (name, number) in named {
            assert_eq!(value(&parse(&name).unwrap(), &report), number, "{name}");
        }
    }
}
