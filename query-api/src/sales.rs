//! A day's stored figures as the API says them.

use contract::api::query::GetDailySalesResponse;
use contract::api::types::{BusinessDayState, DifferingDay, FigureDifference};
use contract::event::DayReport;
use contract::{Currency, report_view, timestamp_to_proto};
use jiff::Timestamp;
use prost::Message as _;
use read_model::{DayRow, DayState, Reported};

use crate::error::QueryError;
use crate::lists::day_lists;

/// The figures of a day; all zero for a date without trade.
pub(crate) fn daily_sales(
    currency: Currency,
    store_id: String,
    business_date: String,
    found: Option<&Reported>,
    now: Timestamp,
) -> Result<GetDailySalesResponse, QueryError> {
    let day = found.map(|found| &found.day);
    let lists = found
        .map(|found| day_lists(&found.rows, found.more, currency).0)
        .unwrap_or_default();
    let report = match day {
        Some(day) => {
            DayReport::decode(day.body.as_slice()).map_err(|cause| QueryError::Stored {
                what: "day report",
                cause,
            })?
        }
        None => DayReport::default(),
    };
    let report = report_view::report(&report, currency);
    let sales = report.sales.clone().unwrap_or_default();
    Ok(GetDailySalesResponse {
        store_id,
        business_date,
        state: state(day, now) as i32,
        orders: sales.count.unwrap_or_default(),
        gross: sales.gross,
        discount: sales.discount,
        net: sales.net,
        vat: sales.vat,
        sales: report.sales,
        voids: report.voids,
        refunds_same_day: report.refunds_same_day,
        refunds_prior_days: report.refunds_prior_days,
        turnover: report.turnover,
        tenders: report.tenders,
        drawers: report.drawers,
        items: lists.items,
        categories: lists.categories,
        hours: report.hours,
        discounts: lists.discounts,
        more_rows: lists.more,
        z_number: day.map_or(0, |day| day.z_number),
        differences: day.map(differences).unwrap_or_default(),
        freshness: None,
        start_time: day.map(|day| timestamp_to_proto(day.start)),
        end_time: day.map(|day| timestamp_to_proto(day.end)),
    })
}

pub(crate) fn differing_day(day: &read_model::DifferingDay) -> DifferingDay {
    DifferingDay {
        store_id: day.store.to_string(),
        business_date: day.date.to_string(),
        z_number: day.z_number,
        differences: figure_differences(&day.differences),
    }
}

/// Where the projection's figures are not the recorded ones.
pub(crate) fn differences(day: &DayRow) -> Vec<FigureDifference> {
    figure_differences(&day.differences)
}

fn figure_differences(rows: &[read_model::FigureDifference]) -> Vec<FigureDifference> {
    rows.iter()
        .map(|row| FigureDifference {
            figure: row.figure.clone(),
            recorded: row.recorded,
            projected: row.projected,
        })
        .collect()
}

pub(crate) fn state(day: Option<&DayRow>, now: Timestamp) -> BusinessDayState {
    match day {
        None => BusinessDayState::NoTrade,
        Some(day) if day.state == DayState::Closed => BusinessDayState::Closed,
        Some(day) if now >= day.end => BusinessDayState::Overdue,
        Some(_) => BusinessDayState::Open,
    }
}
