//! Calls that are refused for the business day that they name or fall into.

use anyhow::Result;
use contract::api::ordering as api;
use contract::api::query::{GetZReportRequest, get_z_report_request};
use contract::{BusinessDate, timestamp_to_proto};
use doppio::clients::call;
use jiff::SignedDuration;

use super::calls::Scene;
use super::{Refused, refused};
use crate::shop::{card, line, new_id, won};

fn paid_in(scene: &Scene<'_>, business_date: String) -> api::RecordCashMovementRequest {
    api::RecordCashMovementRequest {
        store_id: scene.store.into(),
        business_date,
        drawer_id: "main".into(),
        kind: api::CashMovementKind::PaidIn.into(),
        amount: won(1_000),
        reason_code: "change-money".into(),
        request_id: new_id(),
        client_time: scene.shop.now(),
        ..api::RecordCashMovementRequest::default()
    }
}

async fn refused_cash(scene: &Scene<'_>, business_date: String) -> Result<Refused> {
    let request = paid_in(scene, business_date);
    let mut ordering = scene.shop.clients.ordering.clone();
    refused(ordering.record_cash_movement(call(request)).await)
}

/// One drawer more than a day's report has room for.
pub async fn too_many_drawers(scene: &Scene<'_>) -> Result<Refused> {
    const DRAWERS_OF_A_DAY: usize = 50;
    let date = scene.shop.sell(scene.store).await?.order.business_date;
    let mut ordering = scene.shop.clients.ordering.clone();
    for drawer in 1..=DRAWERS_OF_A_DAY {
        let mut request = paid_in(scene, date.clone());
        request.drawer_id = format!("d{drawer}");
        ordering.record_cash_movement(call(request)).await?;
    }
    refused_cash(scene, date).await
}

fn close(
    scene: &Scene<'_>,
    business_date: String,
    carry_over_all: bool,
) -> api::CloseBusinessDayRequest {
    api::CloseBusinessDayRequest {
        store_id: scene.store.into(),
        business_date,
        request_id: new_id(),
        client_time: scene.shop.now(),
        carry_over_all,
        ..api::CloseBusinessDayRequest::default()
    }
}

pub async fn no_report(scene: &Scene<'_>) -> Result<Refused> {
    let sold = scene.shop.sell(scene.store).await?;
    let request = GetZReportRequest {
        store_id: scene.store.into(),
        key: Some(get_z_report_request::Key::BusinessDate(
            sold.order.business_date,
        )),
        at_least: vec![sold.token],
    };
    let mut settlement = scene.shop.clients.settlement.clone();
    refused(settlement.get_z_report(call(request)).await)
}

pub async fn nothing_to_count(scene: &Scene<'_>) -> Result<Refused> {
    let sold = scene.shop.sell(scene.store).await?;
    let request = api::CountDrawerRequest {
        store_id: scene.store.into(),
        business_date: sold.order.business_date,
        drawer_id: "main".into(),
        counted: won(0),
        request_id: new_id(),
        client_time: scene.shop.now(),
        ..api::CountDrawerRequest::default()
    };
    refused(
        scene
            .shop
            .clients
            .ordering
            .clone()
            .count_drawer(call(request))
            .await,
    )
}

pub async fn closed(scene: &Scene<'_>) -> Result<Refused> {
    let date = scene.shop.sell(scene.store).await?.order.business_date;
    let mut ordering = scene.shop.clients.ordering.clone();
    ordering
        .close_business_day(call(close(scene, date.clone(), true)))
        .await?;
    // The next day is open, and the one before is not opened again.
    scene.shop.sell(scene.store).await?;
    refused_cash(scene, date).await
}

pub async fn not_begun(scene: &Scene<'_>) -> Result<Refused> {
    let date = scene.shop.sell(scene.store).await?.order.business_date;
    let tomorrow = BusinessDate::parse(&date)?.next()?;
    refused_cash(scene, tomorrow.to_string()).await
}

pub async fn open_orders(scene: &Scene<'_>) -> Result<Refused> {
    let date = scene.shop.sell(scene.store).await?.order.business_date;
    let request = close(scene, date, false);
    let mut ordering = scene.shop.clients.ordering.clone();
    refused(ordering.close_business_day(call(request)).await)
}

/// The first order of a day, by a till whose clock is an hour ahead.
pub async fn clock_ahead(scene: &Scene<'_>) -> Result<Refused> {
    let lines = vec![line("americano", 1)];
    let mut request = scene.shop.request(scene.store, lines, vec![card(4_500)]);
    let ahead = scene.shop.clock.now() + SignedDuration::from_hours(1);
    request.client_time = Some(timestamp_to_proto(ahead));
    scene.refused_request(request).await
}
