//! The whole of Doppio on embedded engines, as a till, a reader and the command line see it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contract::api::member::{RegisterMemberRequest, Tier};
use contract::api::ordering::{self as api, PlaceOrderRequest, PlaceOrderResponse};
use contract::api::query::{GetDailySalesRequest, GetOrderRequest, ListOrdersRequest};
use contract::api::types::{
    BusinessDayState, Channel, MembershipOutcome, OrderStatus, ServiceMode, TenderKind,
};
use contract::{Reason, timestamp_to_proto};
use doppio::clients::{Clients, call};
use doppio::data_dir::DataDir;
use doppio::exit::Failure;
use doppio::system::{Plan, System};
use integration_tests::services::doppio;
use runtime::Clock;
use serde_json::Value;
use tonic_types::StatusExt as _;
use uuid::Uuid;

const STORE: &str = "gangnam";
const STOP_GRACE: Duration = Duration::from_secs(10);

fn plain(failure: Failure) -> anyhow::Error {
    failure.error
}

async fn start(data: &Path) -> Result<(System, Clients)> {
    let plan = Plan::embedded(DataDir::hold(data).map_err(plain)?).map_err(plain)?;
    let system = System::start(plan).await.map_err(plain)?;
    let clients = Clients::of(&system.addresses).map_err(plain)?;
    Ok((system, clients))
}

/// A paid order as a till sends it.
async fn order(
    clients: &Clients,
    sku: &str,
    quantity: i32,
    member: Option<&str>,
) -> Result<PlaceOrderRequest> {
    let draft = api::OrderDraft {
        store_id: STORE.into(),
        terminal_id: "till-1".into(),
        channel: Channel::Counter.into(),
        service_mode: ServiceMode::TakeAway.into(),
        lines: vec![api::DraftLine {
            line_id: "l1".into(),
            sku: sku.into(),
            quantity,
            ..api::DraftLine::default()
        }],
        member: member.map(|id| api::order_draft::Member::MemberId(id.to_owned())),
        ..api::OrderDraft::default()
    };
    let quote = clients
        .ordering
        .clone()
        .quote_order(call(api::QuoteOrderRequest {
            draft: Some(draft.clone()),
        }))
        .await?
        .into_inner();
    let due = quote.priced.and_then(|priced| priced.amount_due);
    Ok(PlaceOrderRequest {
        order_id: Uuid::now_v7().to_string(),
        draft: Some(draft),
        tenders: vec![api::Tender {
            tender_id: "t1".into(),
            kind: TenderKind::Card.into(),
            amount: due.clone(),
            ..api::Tender::default()
        }],
        expected_total: due,
        client_time: Some(timestamp_to_proto(Clock::system().now())),
        ..PlaceOrderRequest::default()
    })
}

async fn place(clients: &Clients, request: &PlaceOrderRequest) -> Result<PlaceOrderResponse> {
    Ok(clients
        .ordering
        .clone()
        .place_order(call(request.clone()))
        .await?
        .into_inner())
}

async fn read(clients: &Clients, order_id: &str, token: &str) -> Result<api::Order> {
    let request = GetOrderRequest {
        store_id: STORE.into(),
        order_id: order_id.into(),
        at_least: vec![token.into()],
    };
    clients
        .query
        .clone()
        .get_order(call(request))
        .await?
        .into_inner()
        .order
        .context("an order")
}

/// All orders of a date, page by page.
async fn list(
    clients: &Clients,
    date: &str,
    statuses: &[OrderStatus],
    page_size: i32,
    token: &str,
) -> Result<Vec<api::Order>> {
    let (mut orders, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListOrdersRequest {
            store_id: STORE.into(),
            business_date: date.into(),
            statuses: statuses.iter().map(|status| (*status).into()).collect(),
            page_size,
            page_token,
            at_least: vec![token.into()],
        };
        let answer = clients
            .query
            .clone()
            .list_orders(call(request))
            .await?
            .into_inner();
        ensure!(
            answer.orders.len() <= usize::try_from(page_size)?,
            "a page of {}",
            answer.orders.len()
        );
        orders.extend(answer.orders);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return Ok(orders);
        }
    }
}

/// Takes an order through the kitchen; each step is seen at once with its token.
async fn make(clients: &Clients, order_id: &str) -> Result<String> {
    let mut ordering = clients.ordering.clone();
    let (store_id, order_id) = (STORE.to_owned(), order_id.to_owned());
    let request_id = || Uuid::now_v7().to_string();
    let (store, order) = (store_id.clone(), order_id.clone());
    let request = api::StartPreparationRequest {
        store_id: store,
        order_id: order,
        request_id: request_id(),
        ..Default::default()
    };
    let answer = ordering
        .start_preparation(call(request))
        .await?
        .into_inner();
    ensure!(
        read(clients, &order_id, &answer.consistency_token)
            .await?
            .status()
            == OrderStatus::Preparing
    );
    let (store, order) = (store_id.clone(), order_id.clone());
    let request = api::MarkReadyRequest {
        store_id: store,
        order_id: order,
        request_id: request_id(),
        ..Default::default()
    };
    let answer = ordering.mark_ready(call(request)).await?.into_inner();
    ensure!(
        read(clients, &order_id, &answer.consistency_token)
            .await?
            .status()
            == OrderStatus::Ready
    );
    let request = api::CompleteOrderRequest {
        store_id,
        order_id: order_id.clone(),
        request_id: request_id(),
        ..Default::default()
    };
    let answer = ordering.complete_order(call(request)).await?.into_inner();
    ensure!(
        read(clients, &order_id, &answer.consistency_token)
            .await?
            .status()
            == OrderStatus::Completed
    );
    Ok(answer.consistency_token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_goes_from_the_till_to_the_days_sales_and_outlives_a_restart() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let (system, clients) = start(&data).await?;
    let registration = RegisterMemberRequest {
        request_id: Uuid::now_v7().to_string(),
        display_name: "Kim Minseo".into(),
        phone_number: "+821012345678".into(),
        tier: Tier::Gold.into(),
        ..RegisterMemberRequest::default()
    };
    let member = clients
        .member
        .clone()
        .register_member(call(registration))
        .await?
        .into_inner()
        .member
        .context("a member")?;

    let first = order(&clients, "americano", 2, Some(&member.member_id)).await?;
    let placed = place(&clients, &first).await?;
    let shown = placed.order.clone().context("an order")?;
    ensure!(
        !placed.replayed
            && shown.status() == OrderStatus::Placed
            && (shown.ticket_number, shown.document_number) == (1, 1)
    );
    let membership = shown.membership.as_ref().context("a membership")?;
    ensure!(
        membership.outcome() == MembershipOutcome::Member
            && membership.member_id == member.member_id,
        "{membership:?}"
    );
    ensure!(read(&clients, &first.order_id, &placed.consistency_token).await? == shown);
    make(&clients, &first.order_id).await?;

    let (mut gross, mut placed_ids) = (2 * 4_500, vec![first.order_id.clone()]);
    for number in 1..=7 {
        let request = order(&clients, "latte", number, None).await?;
        place(&clients, &request).await?;
        placed_ids.push(request.order_id);
        gross += 5_000 * i64::from(number);
    }
    let cancel = api::CancelOrderRequest {
        store_id: STORE.into(),
        order_id: placed_ids[7].clone(),
        request_id: Uuid::now_v7().to_string(),
        client_time: Some(timestamp_to_proto(Clock::system().now())),
        reason_code: "customer-left".into(),
        ..api::CancelOrderRequest::default()
    };
    let cancelled = clients
        .ordering
        .clone()
        .cancel_order(call(cancel))
        .await?
        .into_inner();
    let (token, date) = (cancelled.consistency_token, shown.business_date.clone());
    let void = cancelled
        .order
        .and_then(|order| order.cancellation)
        .context("a cancellation")?;
    ensure!(
        void.document_number == 9
            && void
                .amount
                .as_ref()
                .is_some_and(|amount| amount.amount_minor == 35_000),
        "{void:?}"
    );

    let orders = list(&clients, &date, &[], 3, &token).await?;
    ensure!(
        orders.iter().map(|order| order.ticket_number).eq(1..=8),
        "{orders:?}"
    );
    ensure!(orders.iter().map(|order| &order.order_id).eq(&placed_ids));
    for page_size in [1, 4, 8, 1_000] {
        ensure!(
            list(&clients, &date, &[], page_size, &token).await? == orders,
            "pages of {page_size}"
        );
    }
    let over = list(
        &clients,
        &date,
        &[OrderStatus::Completed, OrderStatus::Cancelled],
        1,
        &token,
    )
    .await?;
    ensure!(
        over.iter().map(|order| order.ticket_number).eq([1, 8]),
        "{over:?}"
    );

    let request = GetDailySalesRequest {
        store_id: STORE.into(),
        business_date: date.clone(),
        at_least: vec![token.clone()],
    };
    let sales = clients
        .query
        .clone()
        .get_daily_sales(call(request.clone()))
        .await?
        .into_inner();
    ensure!(
        sales.state() == BusinessDayState::Open && sales.orders == 8,
        "{sales:?}"
    );
    ensure!(
        sales
            .gross
            .as_ref()
            .is_some_and(|money| money.amount_minor == gross),
        "{gross}: {sales:?}"
    );
    ensure!(
        sales
            .voids
            .as_ref()
            .is_some_and(|block| block.count == Some(1)),
        "{sales:?}"
    );
    ensure!(
        sales
            .items
            .iter()
            .map(|item| (item.sku.as_str(), item.units))
            .eq([("americano", 2), ("latte", 28)]),
        "{sales:?}"
    );
    system.stop(STOP_GRACE).await.map_err(plain)?;

    // All of it is there after a restart, and an old id gets its first answer.
    let (system, clients) = start(&data).await?;
    ensure!(list(&clients, &date, &[], 100, &token).await? == orders);
    let again = clients
        .query
        .clone()
        .get_daily_sales(call(request))
        .await?
        .into_inner();
    ensure!(
        again.sales == sales.sales
            && again.voids == sales.voids
            && again.items == sales.items
            && again.hours == sales.hours
    );
    let again = place(&clients, &first).await?;
    ensure!(
        again.replayed && again.order.as_ref() == Some(&shown),
        "{again:?}"
    );
    let mut other = first.clone();
    other.draft.as_mut().context("a draft")?.lines[0].quantity = 1;
    let refused = clients
        .ordering
        .clone()
        .place_order(call(other))
        .await
        .err()
        .context("an id was used twice")?;
    ensure!(
        refused
            .get_details_error_info()
            .is_some_and(|info| info.reason == Reason::IdReused.as_str()),
        "{refused:?}"
    );
    let next = place(&clients, &order(&clients, "croissant", 1, None).await?)
        .await?
        .order
        .context("an order")?;
    ensure!(
        (next.ticket_number, next.document_number) == (9, 10) || next.business_date != date,
        "{next:?}"
    );
    system.stop(STOP_GRACE).await.map_err(plain)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `doppio`, which has to end with this code.
async fn run(arguments: &[&str], target: &[&str], code: i32) -> Result<Output> {
    let output = doppio(&[arguments, target].concat()).await?;
    let said = [text(&output.stdout), text(&output.stderr)].concat();
    ensure!(
        output.status.code() == Some(code),
        "doppio {arguments:?} ended with {}, not {code}: {said}",
        output.status
    );
    // A failure says why, and says it on standard error.
    ensure!(
        code == 0 || !output.stderr.is_empty(),
        "doppio {arguments:?} says nothing"
    );
    Ok(output)
}

/// The one JSON document that a command prints.
async fn document(arguments: &[&str], target: &[&str]) -> Result<Value> {
    let output = run(arguments, &[&["--json"], target].concat(), 0).await?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("doppio {arguments:?}: {}", text(&output.stdout)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_works_on_a_running_system() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let (system, _) = start(&data).await?;
    let addresses = system.addresses;
    let [member, ordering, query] = [addresses.member, addresses.ordering, addresses.query]
        .map(|address| format!("http://{address}"));
    let target = [
        "--member-server",
        &member,
        "--ordering-server",
        &ordering,
        "--query-server",
        &query,
    ];

    let item = ["--item", "americano:2+shot"];
    let placed = document(
        &[&["order", "place", "--store", STORE], &item[..]].concat(),
        &target,
    )
    .await?;
    let order_id = placed["order"]["order_id"]
        .as_str()
        .context("an order id")?;
    let token = placed["consistency_token"].as_str().context("a token")?;
    ensure!(
        placed["order"]["status"] == "ORDER_STATUS_PLACED"
            && placed["order"]["ticket_number"] == "1",
        "{placed}"
    );
    ensure!(
        placed["order"]["priced"]["gross"]["amount_minor"] == "10000",
        "{placed}"
    );
    let repeated = document(
        &[
            &["order", "place", "--store", STORE, "--order-id", order_id],
            &item[..],
        ]
        .concat(),
        &target,
    )
    .await?;
    ensure!(
        repeated["replayed"] == true && repeated["order"] == placed["order"],
        "{repeated}"
    );
    let shown = document(
        &[
            "order",
            "show",
            "--store",
            STORE,
            order_id,
            "--at-least",
            token,
        ],
        &target,
    )
    .await?;
    ensure!(shown["order"] == placed["order"], "{shown}");
    for (step, status) in [
        ("start", "PREPARING"),
        ("ready", "READY"),
        ("complete", "COMPLETED"),
    ] {
        let answer = document(&["order", step, "--store", STORE, order_id], &target).await?;
        ensure!(
            answer["order"]["status"] == format!("ORDER_STATUS_{status}"),
            "{answer}"
        );
    }
    let listed = document(&["order", "list", "--store", STORE], &target).await?;
    ensure!(
        listed["orders"]
            .as_array()
            .is_some_and(|orders| orders.len() == 1),
        "{listed}"
    );
    let people = text(
        &run(&["order", "list", "--store", STORE], &target, 0)
            .await?
            .stdout,
    );
    ensure!(
        people.contains("Americano") && people.contains(order_id),
        "{people}"
    );
    // A shop reads its own clock, and which one that is.
    let placed_at: jiff::Timestamp = listed["orders"][0]["place_time"]
        .as_str()
        .context("a time")?
        .parse()?;
    let local = placed_at.in_tz("Asia/Seoul")?.strftime("%H:%M:%S");
    ensure!(
        people.contains("Asia/Seoul") && people.contains(&local.to_string()),
        "{people}\n{local}"
    );

    let mistakes: [(&[&str], i32, &str); 6] = [
        (
            &["order", "place", "--store", STORE, "--item", "unobtainium"],
            3,
            "UNKNOWN_ITEM",
        ),
        (
            &["order", "cancel", "--store", STORE, order_id],
            3,
            "ILLEGAL_TRANSITION",
        ),
        (
            &["order", "show", "--store", "atlantis", order_id],
            3,
            "UNKNOWN_STORE",
        ),
        (&["order", "place", "--store", STORE], 2, "--item"),
        (
            &[
                "order",
                "place",
                "--store",
                STORE,
                "--item",
                "americano:many",
            ],
            2,
            "SKU",
        ),
        (
            &["order", "list", "--store", STORE, "--status", "lost"],
            2,
            "lost",
        ),
    ];
    for (command, code, mention) in mistakes {
        let complaint = text(&run(command, &target, code).await?.stderr);
        ensure!(
            complaint.contains(mention),
            "doppio {command:?}: {complaint}"
        );
    }

    // The directory is this system's until it stops; then nothing answers at its addresses, and the directory opens.
    let held = ["--data", &data.to_string_lossy()];
    let complaint = text(
        &run(&["order", "list", "--store", STORE], &held, 4)
            .await?
            .stderr,
    );
    ensure!(
        complaint.contains("is held by a running doppio"),
        "{complaint}"
    );
    system.stop(STOP_GRACE).await.map_err(plain)?;
    run(&["order", "list", "--store", STORE], &target, 4).await?;
    let again = document(&["order", "show", "--store", STORE, order_id], &held).await?;
    ensure!(
        again["order"]["status"] == "ORDER_STATUS_COMPLETED",
        "{again}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_sells_and_finds_the_read_model_equal_to_the_log() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let target = ["--data", &data.to_string_lossy()];
    let said = text(
        &run(
            &["demo", "--seconds", "2", "--orders-per-second", "30"],
            &target,
            0,
        )
        .await?
        .stdout,
    );
    ensure!(said.contains("The read model equals the log"), "{said}");
    // The last word is what to do next, and not a figure.
    let last = said.trim_end().rsplit("\n\n").next().unwrap_or_default();
    ensure!(
        last.starts_with("Next: ")
            && last.lines().count() > 1
            && last
                .lines()
                .skip(1)
                .all(|line| line.starts_with("  doppio ")),
        "{said}"
    );
    let stores = document(&["stores"], &target).await?;
    let names: BTreeSet<&str> = stores["stores"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|store| store["store_id"].as_str())
        .collect();
    ensure!(
        names == BTreeSet::from(["gangnam", "haeundae", "hongdae"]),
        "{stores}"
    );
    let before = document(&["order", "list", "--store", STORE], &target).await?;
    ensure!(
        before["orders"]
            .as_array()
            .is_some_and(|orders| orders.len() > 5),
        "{before}"
    );
    // A second demo in the same directory goes on with its stores.
    run(
        &["demo", "--seconds", "1", "--orders-per-second", "30"],
        &target,
        0,
    )
    .await?;
    let after = document(&["order", "list", "--store", STORE], &target).await?;
    ensure!(
        after["orders"].as_array().map(Vec::len) > before["orders"].as_array().map(Vec::len),
        "{after}"
    );
    Ok(())
}
