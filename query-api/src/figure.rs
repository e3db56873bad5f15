//! Paths of a report's figures: what they ask of the facts, and their value in the report.

use contract::api::types::{DiscountSource, TenderKind};
use contract::event::{Block, DayReport};
use contract::{Reason, Rejection};
use read_model::{
    BlockAmount, DiscountAmount, DrawerFlow, FactBlock, Figure, LineAmount, StoreFigure, TaxPart,
    TenderFlow,
};

/// What a caller may name.
const LEGAL: &str = "must be one of: BLOCK.count|gross|discount|net|supply|vat or BLOCK.taxes.CLASS.net|supply|vat, where BLOCK is sales, \
                     voids, refunds_same_day, refunds_prior_days or turnover, and CLASS is a tax class, or one rate of it as CLASS@BASIS_POINTS; tenders.KIND.taken|returned|net, where KIND is cash, card, \
                     mobile, voucher or other; items.SKU.units|gross|discount|net; categories.CATEGORY.units|gross|discount|net; \
                     hours.HOUR.orders|gross|discount|net, with the hour as the report has it, such as 2026-03-02T09:00+09:00; \
                     drawers.DRAWER.float|tendered|change|returned|paid_in|paid_out|expected|counted|over_short; \
                     discounts.SOURCE.ID.count|amount, where SOURCE is line_promotion, line_manual, order_promotion, order_manual, coupon or \
                     points; carried_in, completed, cancelled, carried_out, first_ticket, last_ticket, first_document, last_document, \
                     grand_total_sales, grand_total_returns or grand_total";

const TENDER_KINDS: [(&str, TenderKind); 5] = [
    ("cash", TenderKind::Cash),
    ("card", TenderKind::Card),
    ("mobile", TenderKind::Mobile),
    ("voucher", TenderKind::Voucher),
    ("other", TenderKind::Other),
];

const DISCOUNT_SOURCES: [(&str, DiscountSource); 6] = [
    ("line_promotion", DiscountSource::LinePromotion),
    ("line_manual", DiscountSource::LineManual),
    ("order_promotion", DiscountSource::OrderPromotion),
    ("order_manual", DiscountSource::OrderManual),
    ("coupon", DiscountSource::Coupon),
    ("points", DiscountSource::Points),
];

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
    TENDER_KINDS
        .iter()
        .find(|(_, own)| *own as i32 == kind)
        .map_or_else(|| kind.to_string(), |(name, _)| (*name).to_owned())
}

/// Reads a path; refuses an unknown one, naming the legal ones.
pub(crate) fn parse(path: &str) -> Result<Figure, Rejection> {
    read(path).ok_or_else(|| Rejection::field(Reason::InvalidArgument, "figure", LEGAL))
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
            return Some(Figure::Block(block, block_amount(rest, "count")?));
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
            let (_, kind) = TENDER_KINDS.iter().find(|(name, _)| *name == key)?;
            let flow = match amount {
                "taken" => TenderFlow::Taken,
                "returned" => TenderFlow::Returned,
                "net" => TenderFlow::Net,
                _ => return None,
            };
            Some(Figure::Tender(*kind as i32, flow))
        }
        "drawers" => {
            let flow = match amount {
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
            let (_, source) = DISCOUNT_SOURCES.iter().find(|(name, _)| *name == source)?;
            let amount = match amount {
                "count" => DiscountAmount::Count,
                "amount" => DiscountAmount::Amount,
                _ => return None,
            };
            Some(Figure::Discount(*source as i32, id.to_owned(), amount))
        }
        _ => None,
    }
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
        Figure::Item(sku, amount) => {
            let row = report.items.iter().find(|row| row.sku == *sku);
            row.map_or(0, |row| {
                of_lines(*amount, [row.units, row.gross, row.discount, row.net])
            })
        }
        Figure::Category(category, amount) => {
            let row = report
                .categories
                .iter()
                .find(|row| row.category == *category);
            row.map_or(0, |row| {
                of_lines(*amount, [row.units, row.gross, row.discount, row.net])
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
        Figure::Discount(source, id, amount) => {
            let row = report
                .discounts
                .iter()
                .find(|row| row.source == *source && row.discount_id == *id);
            row.map_or(0, |row| match amount {
                DiscountAmount::Count => row.count,
                DiscountAmount::Amount => row.amount,
            })
        }
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

fn of_lines(amount: LineAmount, [units, gross, discount, net]: [i64; 4]) -> i64 {
    match amount {
        LineAmount::Units => units,
        LineAmount::Gross => gross,
        LineAmount::Discount => discount,
        LineAmount::Net => net,
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
            ("turnover.count", Figure::Block(None, BlockAmount::Count)),
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
            "discounts.coupon.count",
            "discounts.luck.x.count",
            "carried_in.count",
        ] {
            let rejection = parse(path).unwrap_err();
            assert!(
                rejection.message.contains("refunds_prior_days")
                    && rejection.reason == Reason::InvalidArgument,
                "{path}"
            );
        }
    }
}
