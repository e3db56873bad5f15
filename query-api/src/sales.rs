//! A day's stored figures as the API says them.

use contract::api::query::{
    CategorySales, DiscountSales, DrawerSales, FigureDifference, GetDailySalesResponse, HourSales, ItemSales, TenderSales,
};
use contract::api::types::{self, BusinessDayState};
use contract::event::{Block, DayReport};
use contract::{Currency, Money, timestamp_to_proto};
use jiff::Timestamp;
use prost::Message as _;
use read_model::{DayRow, DayState};

use crate::error::QueryError;

/// The figures of a day; all zero for a date without trade.
pub(crate) fn daily_sales(
    currency: Currency,
    store_id: String,
    business_date: String,
    day: Option<&DayRow>,
    now: Timestamp,
) -> Result<GetDailySalesResponse, QueryError> {
    let report = match day {
        Some(day) => DayReport::decode(day.body.as_slice()).map_err(|cause| QueryError::Stored { what: "day report", cause })?,
        None => DayReport::default(),
    };
    let money = |minor: i64| Some(currency.amount(Money::new(minor)));
    let sales = report.sales.clone().unwrap_or_default();
    Ok(GetDailySalesResponse {
        store_id,
        business_date,
        state: state(day, now) as i32,
        orders: sales.count,
        gross: money(sales.gross),
        discount: money(sales.discount),
        net: money(sales.net),
        vat: money(sales.vat),
        sales: Some(block(currency, Some(sales))),
        voids: Some(block(currency, report.voids)),
        refunds_same_day: Some(block(currency, report.refunds_same_day)),
        refunds_prior_days: Some(block(currency, report.refunds_prior_days)),
        turnover: Some(block(currency, report.turnover)),
        tenders: report
            .tenders
            .into_iter()
            .map(|row| TenderSales { kind: row.kind, taken: money(row.taken), returned: money(row.returned), net: money(row.net) })
            .collect(),
        drawers: report
            .drawers
            .into_iter()
            .map(|row| DrawerSales {
                drawer_id: row.drawer_id,
                float: money(row.float),
                tendered: money(row.tendered),
                change: money(row.change),
                returned: money(row.returned),
                paid_in: money(row.paid_in),
                paid_out: money(row.paid_out),
                expected: money(row.expected),
                counted: row.counted.and_then(money),
                over_short: row.over_short.and_then(money),
            })
            .collect(),
        items: report
            .items
            .into_iter()
            .map(|row| ItemSales {
                sku: row.sku,
                name: Some(types::LocalizedText { text: row.name }),
                category: row.category,
                units: row.units,
                gross: money(row.gross),
                discount: money(row.discount),
                net: money(row.net),
            })
            .collect(),
        categories: report
            .categories
            .into_iter()
            .map(|row| CategorySales {
                category: row.category,
                units: row.units,
                gross: money(row.gross),
                discount: money(row.discount),
                net: money(row.net),
            })
            .collect(),
        hours: report
            .hours
            .into_iter()
            .map(|row| HourSales {
                hour: row.hour,
                orders: row.orders,
                gross: money(row.gross),
                discount: money(row.discount),
                net: money(row.net),
            })
            .collect(),
        z_number: day.map_or(0, |day| day.z_number),
        differences: day
            .map(|day| day.differences.iter())
            .into_iter()
            .flatten()
            .map(|row| FigureDifference { figure: row.figure.clone(), recorded: row.recorded, projected: row.projected })
            .collect(),
        freshness: None,
        start_time: day.map(|day| timestamp_to_proto(day.start)),
        end_time: day.map(|day| timestamp_to_proto(day.end)),
        discounts: report
            .discounts
            .into_iter()
            .map(|row| DiscountSales { source: row.source, discount_id: row.discount_id, count: row.count, amount: money(row.amount) })
            .collect(),
    })
}

fn state(day: Option<&DayRow>, now: Timestamp) -> BusinessDayState {
    match day {
        None => BusinessDayState::NoTrade,
        Some(day) if day.state == DayState::Closed => BusinessDayState::Closed,
        Some(day) if now >= day.end => BusinessDayState::Overdue,
        Some(_) => BusinessDayState::Open,
    }
}

fn block(currency: Currency, block: Option<Block>) -> types::Block {
    let block = block.unwrap_or_default();
    let money = |minor: i64| Some(currency.amount(Money::new(minor)));
    types::Block {
        count: block.count,
        gross: money(block.gross),
        discount: money(block.discount),
        net: money(block.net),
        supply: money(block.supply),
        vat: money(block.vat),
        taxes: block
            .taxes
            .into_iter()
            .map(|tax| types::TaxAmount {
                tax_class: tax.tax_class,
                kind: tax.kind,
                rate_bp: tax.rate_bp,
                net: money(tax.net),
                supply: money(tax.supply),
                vat: money(tax.vat),
            })
            .collect(),
    }
}
