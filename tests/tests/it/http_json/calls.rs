//! A day of a store over HTTP: every call, and what each refusal looks like.

use anyhow::{Result, ensure};
use doppio::clients::call;
use event_log::LogLocation;
use integration_tests::{Nats, Postgres};
use runtime::Clock;
use serde_json::{Value, json};

use super::both::Both;
use super::{STORE, Stand, member_database, text};
use crate::shop::{new_id, registration};

const ORDERING: &str = "doppio.ordering.v1.OrderingService";
const QUERY: &str = "doppio.query.v1.QueryService";
const SETTLEMENT: &str = "doppio.query.v1.SettlementService";
const ADMIN: &str = "doppio.admin.v1.AdminService";

fn won(amount: i64) -> Value {
    json!({ "currencyCode": "KRW", "amountMinor": amount.to_string() })
}

fn draft() -> Value {
    json!({
        "storeId": STORE,
        "terminalId": "till-1",
        "channel": "CHANNEL_COUNTER",
        "serviceMode": "SERVICE_MODE_TAKE_AWAY",
        "lines": [{ "lineId": "l1", "sku": "americano", "quantity": 2 }],
    })
}

/// A draft that is paid in cash, with change.
fn order() -> Value {
    json!({
        "orderId": new_id(),
        "draft": draft(),
        "tenders": [{ "tenderId": "t1", "kind": "TENDER_KIND_CASH", "tendered": won(10_000), "drawerId": "main" }],
        "expectedTotal": won(9_000),
        "clientTime": Clock::system().now().to_string(),
    })
}

/// A command on an order, with more that it says.
fn on_order(id: &str, more: Value) -> Value {
    let mut command = json!({
        "storeId": STORE,
        "orderId": id,
        "requestId": new_id(),
        "clientTime": Clock::system().now().to_string(),
        "terminalId": "till-1",
        "staffId": "kim",
    });
    merge(&mut command, more);
    command
}

fn merge(value: &mut Value, more: Value) {
    if let (Some(fields), Value::Object(more)) = (value.as_object_mut(), more) {
        fields.extend(more);
    }
}

/// Everything a till and a kitchen do. Answers with the date and the ids of an order that is done and of one that waits.
async fn sell(stand: &Stand, ordering: &mut Both) -> Result<(String, String, String)> {
    let path = |rest: &str| format!("/v1/stores/{STORE}/{rest}");
    let named = |call: &str| format!("{ORDERING}.{call}");
    let menu = json!({ "storeId": STORE });
    ordering
        .read(&named("GetMenu"), menu, &path("menu"))
        .await?;
    let quote = json!({ "draft": draft() });
    ordering
        .command(&named("QuoteOrder"), quote, &path("orders:quote"))
        .await?;

    let placed = ordering
        .command(&named("PlaceOrder"), order(), &path("orders"))
        .await?;
    let (id, date) = (
        text(&placed, "order.orderId")?,
        text(&placed, "order.businessDate")?,
    );
    for (call, verb) in [
        ("StartPreparation", "startPreparation"),
        ("MarkReady", "markReady"),
        ("CompleteOrder", "complete"),
    ] {
        let request = on_order(&id, json!({}));
        let at = path(&format!("orders/{id}:{verb}"));
        ordering.command(&named(call), request, &at).await?;
    }
    let lines = json!({ "reasonCode": "spilt", "lines": [{ "lineId": "l1", "quantity": 1 }] });
    let at = path(&format!("orders/{id}:refund"));
    let refunded = ordering
        .command(&named("RefundOrder"), on_order(&id, lines), &at)
        .await?;
    ensure!(text(&refunded, "order.status")? == "ORDER_STATUS_COMPLETED");

    let second = ordering
        .command(&named("PlaceOrder"), order(), &path("orders"))
        .await?;
    let second = text(&second, "order.orderId")?;
    let reason = on_order(&second, json!({ "reasonCode": "customer" }));
    let at = path(&format!("orders/{second}:cancel"));
    ordering.command(&named("CancelOrder"), reason, &at).await?;

    let third = ordering
        .command(&named("PlaceOrder"), order(), &path("orders"))
        .await?;
    let third = text(&third, "order.orderId")?;
    let mut members = stand.clients.member.clone();
    let member = members
        .register_member(call(registration("+821012345678", &[])))
        .await?
        .into_inner()
        .member
        .map(|member| member.member_id);
    let attach = on_order(&third, json!({ "memberId": member }));
    let at = path(&format!("orders/{third}:attachMember"));
    ordering
        .command(&named("AttachMember"), attach, &at)
        .await?;

    let mut cash = on_order(&id, json!({}));
    merge(
        &mut cash,
        json!({ "businessDate": date, "drawerId": "main", "kind": "CASH_MOVEMENT_KIND_PAID_IN", "amount": won(5_000), "reasonCode": "change" }),
    );
    if let Some(fields) = cash.as_object_mut() {
        fields.remove("orderId");
    }
    let request_id = text(&cash, "requestId")?;
    ordering
        .command(&named("RecordCashMovement"), cash, &path("cashMovements"))
        .await?;

    for (field, id) in [("orderId", &id), ("requestId", &request_id)] {
        let at = path(&format!("commandOutcome?{field}={id}"));
        let request = json!({ "storeId": STORE, field: id });
        ordering
            .read(&named("GetCommandOutcome"), request, &at)
            .await?;
    }
    Ok((date, id, third))
}

/// Ends the day, with the drawer counted afterwards.
async fn close(ordering: &mut Both, date: &str) -> Result<String> {
    let day = format!("/v1/stores/{STORE}/days/{date}");
    let mut command = json!({
        "storeId": STORE,
        "businessDate": date,
        "requestId": new_id(),
        "clientTime": Clock::system().now().to_string(),
        "terminalId": "till-1",
        "carryOverAll": true,
    });
    ordering
        .command(
            &format!("{ORDERING}.CloseBusinessDay"),
            command.clone(),
            &format!("{day}:close"),
        )
        .await?;
    merge(
        &mut command,
        json!({ "requestId": new_id(), "drawerId": "main", "counted": won(14_000) }),
    );
    if let Some(fields) = command.as_object_mut() {
        fields.remove("carryOverAll");
    }
    let counted = ordering
        .command(
            &format!("{ORDERING}.CountDrawer"),
            command,
            &format!("{day}/drawers/main:count"),
        )
        .await?;
    text(&counted, "consistencyToken")
}

/// Everything there is to read of an open day.
async fn read_open(query: &mut Both, date: &str, id: &str, token: &str) -> Result<()> {
    let path = |rest: &str| format!("/v1/stores/{STORE}/{rest}");
    let at_least = json!([token]);
    let store = json!({ "storeId": STORE, "atLeast": at_least });
    let with = |more: Value| {
        let mut request = store.clone();
        merge(&mut request, more);
        request
    };
    let order = query
        .read(
            &format!("{QUERY}.GetOrder"),
            with(json!({ "orderId": id })),
            &path(&format!("orders/{id}?atLeast={token}")),
        )
        .await?;
    ensure!(text(&order, "order.orderId")? == id);
    let statuses = json!({ "businessDate": date, "statuses": ["ORDER_STATUS_PLACED", "ORDER_STATUS_COMPLETED"], "pageSize": 1 });
    let first = query
        .read(
            &format!("{QUERY}.ListOrders"),
            with(statuses.clone()),
            // By name and by number, in the query and in the path, as JSON and as the proto have it.
            &path(&format!("days/{date}/orders?statuses=ORDER_STATUS_PLACED&statuses=4&page_size=1&at_least={token}")),
        )
        .await?;
    let page = text(&first, "nextPageToken")?;
    let mut second = with(statuses);
    merge(&mut second, json!({ "pageToken": page }));
    query
        .read(
            &format!("{QUERY}.ListOrders"),
            second,
            &path(&format!("orders?businessDate={date}&statuses=ORDER_STATUS_PLACED&statuses=ORDER_STATUS_COMPLETED&pageSize=1&pageToken={page}&atLeast={token}")),
        )
        .await?;
    for at in [
        path(&format!("sales?businessDate={date}&atLeast={token}")),
        path(&format!("days/{date}/sales?atLeast={token}")),
    ] {
        query
            .read(
                &format!("{QUERY}.GetDailySales"),
                with(json!({ "businessDate": date })),
                &at,
            )
            .await?;
    }
    query
        .read(&format!("{QUERY}.ListStores"), json!({}), "/v1/stores")
        .await?;
    query
        .read(
            &format!("{SETTLEMENT}.GetXReport"),
            store,
            &path(&format!("xReport?atLeast={token}")),
        )
        .await?;
    Ok(())
}

/// Everything there is to read of a closed one.
async fn read_closed(query: &mut Both, date: &str, token: &str) -> Result<()> {
    let path = |rest: &str| format!("/v1/stores/{STORE}/{rest}");
    let with = |more: Value| {
        let mut request = json!({ "storeId": STORE, "atLeast": [token] });
        merge(&mut request, more);
        request
    };
    let named = |call: &str| format!("{SETTLEMENT}.{call}");
    let report = query
        .read(
            &named("GetZReport"),
            with(json!({ "zNumber": 1 })),
            &path(&format!("zReports/1?atLeast={token}")),
        )
        .await?;
    ensure!(text(&report, "report.zNumber")? == "1", "{report}");
    query
        .read(
            &named("GetZReport"),
            with(json!({ "businessDate": date })),
            &path(&format!("days/{date}/zReport?atLeast={token}")),
        )
        .await?;
    query
        .read(
            &named("ListZReports"),
            with(json!({ "firstBusinessDate": date })),
            &path(&format!(
                "zReports?firstBusinessDate={date}&atLeast={token}"
            )),
        )
        .await?;
    let sales = json!({ "firstBusinessDate": date, "lastBusinessDate": date, "groupBy": "SALES_GROUPING_ITEM", "storeIds": [STORE], "atLeast": [token] });
    query
        .read(
            &named("GetSales"),
            sales,
            &format!("/v1/sales?firstBusinessDate={date}&lastBusinessDate={date}&groupBy=SALES_GROUPING_ITEM&storeIds={STORE}&atLeast={token}"),
        )
        .await?;
    let figure = "sales.taxes.std.vat";
    for figure in ["turnover.net", "items.americano.units", figure] {
        query
            .read(
                &named("ExplainFigure"),
                with(json!({ "businessDate": date, "figure": figure })),
                &path(&format!("days/{date}/figures/{figure}?atLeast={token}")),
            )
            .await?;
    }
    query
        .read(
            &named("ListDayRows"),
            with(json!({ "businessDate": date, "list": "DAY_LIST_ITEMS" })),
            &path(&format!(
                "days/{date}/rows?list=DAY_LIST_ITEMS&atLeast={token}"
            )),
        )
        .await?;
    query
        .read(
            &format!("{ADMIN}.GetProjectionStatus"),
            json!({}),
            "/v1/projection",
        )
        .await?;
    Ok(())
}

/// Refusals of the services, whichever way the call came.
async fn refuse(ordering: &mut Both, query: &mut Both, done: &str) -> Result<()> {
    let (started, quoted) = (
        format!("{ORDERING}.StartPreparation"),
        format!("{ORDERING}.QuoteOrder"),
    );
    let again = on_order(done, json!({}));
    let at = format!("/v1/stores/{STORE}/orders/{done}:startPreparation");
    let refused = ordering.command(&started, again, &at).await?;
    ensure!(
        refused["details"][0]["reason"] == "ILLEGAL_TRANSITION",
        "{refused}"
    );
    ensure!(
        refused["details"][0]["@type"] == "type.googleapis.com/google.rpc.ErrorInfo",
        "{refused}"
    );
    let nowhere = json!({ "draft": { "storeId": "atlantis", "lines": [{ "lineId": "a", "sku": "b", "quantity": 1 }] } });
    ordering
        .command(&quoted, nowhere, "/v1/stores/atlantis/orders:quote")
        .await?;
    let empty = json!({ "draft": { "storeId": STORE } });
    let refused = ordering
        .command(&quoted, empty, &format!("/v1/stores/{STORE}/orders:quote"))
        .await?;
    ensure!(
        refused.to_string().contains(r#""field":"draft.lines""#),
        "{refused}"
    );

    let read = format!("{QUERY}.GetOrder");
    let unknown = new_id();
    for (request, at) in [
        (
            json!({ "storeId": STORE, "orderId": unknown }),
            format!("/v1/stores/{STORE}/orders/{unknown}"),
        ),
        (
            json!({ "storeId": "Nowhere!", "orderId": "42" }),
            "/v1/stores/Nowhere%21/orders/42".to_owned(),
        ),
        (
            json!({ "storeId": STORE, "orderId": done, "atLeast": ["nonsense"] }),
            format!("/v1/stores/{STORE}/orders/{done}?atLeast=nonsense"),
        ),
    ] {
        let refused = query.read(&read, request, &at).await?;
        ensure!(refused["code"].is_number(), "{refused}");
    }
    Ok(())
}

async fn a_day(stand: &Stand) -> Result<()> {
    let mut ordering = Both::of(stand.ordering)?;
    let mut query = Both::of(stand.query)?;
    let (date, done, waiting) = sell(stand, &mut ordering).await?;
    let token = stand.sell().await?.consistency_token;
    read_open(&mut query, &date, &waiting, &token).await?;
    refuse(&mut ordering, &mut query, &done).await?;
    let token = close(&mut ordering, &date).await?;
    read_closed(&mut query, &date, &token).await?;
    ensure!(
        ordering.made == ordering.unary_calls(&[ordering::SERVICE]),
        "not every call was made: {:?}",
        ordering.made
    );
    ensure!(
        query.made == query.unary_calls(&query_api::SERVICES),
        "not every call was made: {:?}",
        query.made
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_says_the_same_over_http_and_grpc_on_embedded_engines() -> Result<()> {
    a_day(&Stand::embedded().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_says_the_same_over_http_and_grpc_on_nats_and_postgresql() -> Result<()> {
    let nats = Nats::single().await?;
    let postgres = Postgres::shared().await?;
    let (read_model, members) = (
        postgres.fresh_database().await?.url,
        postgres.fresh_database().await?.url,
    );
    let stand = Stand::on(|plan| {
        Ok(doppio::system::Plan {
            log: LogLocation::JetStream(nats.config()),
            read_model,
            member_db: member_database(&members)?,
            init_log: true,
            ..plan
        })
    })
    .await?;
    a_day(&stand).await
}
