//! The API's [`DayReport`](types::DayReport) of a recorded report body.

use crate::api::types;
use crate::event as e;
use crate::local_hour::in_order as hours_in_order;
use crate::money::{Currency, Money};
use crate::order_view::taxes;

/// A block of figures for the API.
#[must_use]
pub fn block(block: Option<&e::Block>, currency: Currency) -> types::Block {
    let block = block.cloned().unwrap_or_default();
    let money = |minor| Some(currency.amount(Money::new(minor)));
    types::Block {
        count: Some(block.count),
        gross: money(block.gross),
        discount: money(block.discount),
        net: money(block.net),
        supply: money(block.supply),
        vat: money(block.vat),
        taxes: taxes(&block.taxes, currency),
    }
}

/// What proves a list.
#[must_use]
pub fn digest(list: &e::ListDigest, currency: Currency) -> types::ListDigest {
    let money = |minor| Some(currency.amount(Money::new(minor)));
    types::ListDigest {
        rows: list.rows,
        count: list.count,
        gross: money(list.gross),
        discount: money(list.discount),
        net: money(list.net),
        sha256: list.sha256.to_vec(),
    }
}

/// The figures of a report body. Who, when and which number is the caller's to add.
#[must_use]
pub fn report(body: &e::DayReport, currency: Currency) -> types::DayReport {
    let money = |minor| Some(currency.amount(Money::new(minor)));
    types::DayReport {
        currency_code: currency.to_string(),
        sales: Some(block(body.sales.as_ref(), currency)),
        voids: Some(block(body.voids.as_ref(), currency)),
        refunds_same_day: Some(block(body.refunds_same_day.as_ref(), currency)),
        refunds_prior_days: Some(block(body.refunds_prior_days.as_ref(), currency)),
        turnover: Some(types::Block {
            count: None,
            ..block(body.turnover.as_ref(), currency)
        }),
        tenders: body
            .tenders
            .iter()
            .map(|tender| types::TenderSales {
                kind: tender.kind,
                taken: money(tender.taken),
                returned: money(tender.returned),
                net: money(tender.net),
            })
            .collect(),
        drawers: body
            .drawers
            .iter()
            .map(|drawer| types::DrawerSales {
                drawer_id: drawer.drawer_id.clone(),
                float: money(drawer.float),
                tendered: money(drawer.tendered),
                change: money(drawer.change),
                returned: money(drawer.returned),
                paid_in: money(drawer.paid_in),
                paid_out: money(drawer.paid_out),
                expected: money(drawer.expected),
                counted: drawer.counted.and_then(money),
                over_short: drawer.over_short.and_then(money),
                carried: money(drawer.carried),
                opening_difference: drawer.opening_difference.and_then(money),
            })
            .collect(),
        items: body.items.as_ref().map(|list| digest(list, currency)),
        categories: body.categories.as_ref().map(|list| digest(list, currency)),
        hours: hours(body, currency),
        discounts: body.discounts.as_ref().map(|list| digest(list, currency)),
        carried_in: body.carried_in,
        completed: body.completed,
        cancelled: body.cancelled,
        carried_out: body.carried_out,
        first_ticket: body.first_ticket,
        last_ticket: body.last_ticket,
        first_document: body.first_document,
        last_document: body.last_document,
        grand_total_sales: money(body.grand_total_sales),
        grand_total_returns: money(body.grand_total_returns),
        grand_total: body
            .grand_total_sales
            .checked_sub(body.grand_total_returns)
            .and_then(money),
        ..types::DayReport::default()
    }
}

/// Hours in the order in which they passed.
fn hours(body: &e::DayReport, currency: Currency) -> Vec<types::HourSales> {
    let money = |minor| Some(currency.amount(Money::new(minor)));
    let mut hours: Vec<&e::HourFigures> = body.hours.iter().collect();
    hours.sort_by(|one, other| hours_in_order(&one.hour, &other.hour));
    hours
        .into_iter()
        .map(|hour| types::HourSales {
            hour: hour.hour.clone(),
            orders: hour.orders,
            gross: money(hour.gross),
            discount: money(hour.discount),
            net: money(hour.net),
        })
        .collect()
}

/// The Z report that a close recorded.
#[must_use]
pub fn z_report(
    store_id: &str,
    closed: &e::BusinessDayClosed,
    currency: Currency,
) -> types::DayReport {
    types::DayReport {
        store_id: store_id.to_owned(),
        business_date: closed.business_date.clone(),
        state: types::BusinessDayState::Closed.into(),
        z_number: closed.z_number,
        start_time: closed.start_time,
        end_time: closed.end_time,
        close_time: closed.close_time,
        automatic: closed.automatic,
        report_version: closed.report_version,
        previous_z_hash: closed.previous_z_hash.to_vec(),
        last_revision: closed.last_revision,
        last_hash: closed.last_hash.to_vec(),
        ..report(&closed.report.clone().unwrap_or_default(), currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turnover_has_no_count() {
        let block = |count| {
            Some(e::Block {
                count,
                net: 5_000,
                ..e::Block::default()
            })
        };
        let body = e::DayReport {
            sales: block(1),
            refunds_same_day: block(2),
            // Whatever is recorded.
            turnover: block(-1),
            ..e::DayReport::default()
        };
        let shown = report(&body, Currency::new("KRW").unwrap());
        assert_eq!(shown.sales.unwrap().count, Some(1));
        let turnover = shown.turnover.unwrap();
        assert_eq!(turnover.count, None);
        assert_eq!(turnover.net.unwrap().amount_minor, 5_000);
    }
}
