//! No room left on the disk, for every file at once: nothing is lost, everything says so, and everything goes on by itself.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contract::api::member::{RegisterMemberRequest, Tier};
use contract::api::ordering as api;
use contract::api::query::GetOrderRequest;
use contract::api::types::{Channel, ServiceMode, TenderKind};
use contract::timestamp_to_proto;
use doppio::clients::{Clients, call};
use integration_tests::services::{doppio, free_ports, program_path};
use runtime::Clock;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(100);
const SHORT: Duration = Duration::from_secs(2);

/// Limits how large a file the process may write: at 0 bytes every write fails, of whichever file.
fn set_room(process: &Child, bytes: Option<u64>) -> Result<()> {
    let id = process.id().context("it has ended")?;
    let id = Pid::from_raw(i32::try_from(id)?).context("no process id")?;
    let limit = Rlimit {
        current: bytes,
        ..getrlimit(Resource::Fsize)
    };
    prlimit(Some(id), Resource::Fsize, limit)?;
    Ok(())
}

async fn becomes(url: &str, status: ServingStatus) -> Result<()> {
    let mut client = HealthClient::new(runtime::channel::connect_lazy(url)?);
    let limit = Instant::now() + PATIENCE;
    loop {
        let request = HealthCheckRequest {
            service: String::new(),
        };
        let answer = client.check(call(request)).await;
        if answer.is_ok_and(|answer| answer.get_ref().status() == status) {
            return Ok(());
        }
        ensure!(Instant::now() < limit, "{url} is not {status:?}");
        sleep(LOOK).await;
    }
}

async fn order(clients: &Clients) -> Result<api::PlaceOrderRequest> {
    let draft = api::OrderDraft {
        store_id: "gangnam".into(),
        terminal_id: "till-1".into(),
        channel: Channel::Counter.into(),
        service_mode: ServiceMode::TakeAway.into(),
        lines: vec![api::DraftLine {
            line_id: "l1".into(),
            sku: "americano".into(),
            quantity: 1,
            ..api::DraftLine::default()
        }],
        ..api::OrderDraft::default()
    };
    let request = api::QuoteOrderRequest {
        draft: Some(draft.clone()),
    };
    let quote = clients.ordering.clone().quote_order(call(request)).await?;
    let due = quote
        .into_inner()
        .priced
        .and_then(|priced| priced.amount_due);
    Ok(api::PlaceOrderRequest {
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
        ..api::PlaceOrderRequest::default()
    })
}

fn within<T>(message: T, limit: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(limit);
    request
}

fn registration() -> RegisterMemberRequest {
    RegisterMemberRequest {
        request_id: Uuid::now_v7().to_string(),
        display_name: "Minji".into(),
        phone_number: "+821012345678".into(),
        tier: Tier::Basic.into(),
        ..RegisterMemberRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_everything_goes_on_once_there_is_room() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let base = free_ports(5)?;
    // The signal that comes with such a failed write would end the process, a full disk does not: ignored, as across `exec`.
    let mut process = Command::new("/bin/sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(program_path("doppio")?)
        .args(["up", "--data"])
        .arg(directory.path().join("data"))
        .args(["--listen", &format!("127.0.0.1:{base}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let url = |offset: u16| format!("http://127.0.0.1:{}", base + offset);
    let [member, ordering, query, projector] = [url(1), url(2), url(3), url(4)];
    for url in [&member, &ordering, &query, &projector] {
        becomes(url, ServingStatus::Serving).await?;
    }
    let clients = Clients::connect(&member, &ordering, &query).map_err(|failure| failure.error)?;
    for _ in 0..3 {
        let request = order(&clients).await?;
        clients.ordering.clone().place_order(call(request)).await?;
    }

    set_room(&process, Some(0))?;
    let request = order(&clients).await?;
    for _ in 0..3 {
        let placed = clients
            .ordering
            .clone()
            .place_order(within(request.clone(), SHORT))
            .await;
        ensure!(placed.is_err(), "sold without a record: {placed:?}");
    }
    let registration = registration();
    for _ in 0..3 {
        let registered = clients
            .member
            .clone()
            .register_member(within(registration.clone(), SHORT))
            .await;
        ensure!(
            registered.is_err(),
            "registered without a row: {registered:?}"
        );
    }
    for url in [&ordering, &member, &projector] {
        becomes(url, ServingStatus::NotServing).await?;
    }
    let server = format!("http://127.0.0.1:{base}");
    let doctor = doppio(&["doctor", "--server", &server]).await?;
    ensure!(!doctor.status.success(), "the doctor sees nothing wrong");

    set_room(&process, None)?;
    for url in [&member, &ordering, &query, &projector] {
        becomes(url, ServingStatus::Serving).await?;
    }
    // The same order, which may have been recorded meanwhile, and further ones: without a restart.
    let placed = clients.ordering.clone().place_order(call(request)).await?;
    let ticket = placed.into_inner().order.map(|order| order.ticket_number);
    ensure!(ticket == Some(4), "{ticket:?}");
    clients
        .member
        .clone()
        .register_member(call(registration))
        .await?;
    let next = order(&clients).await?;
    let placed = clients
        .ordering
        .clone()
        .place_order(call(next.clone()))
        .await?
        .into_inner();
    let read = GetOrderRequest {
        store_id: "gangnam".into(),
        order_id: next.order_id,
        at_least: vec![placed.consistency_token],
    };
    clients.query.clone().get_order(call(read)).await?;
    ensure!(process.try_wait()?.is_none(), "it was ended");
    process.kill().await?;

    // What was acknowledged is there, once.
    let data = directory.path().join("data").display().to_string();
    let doctor = doppio(&["doctor", "--data", &data]).await?;
    let said = String::from_utf8_lossy(&doctor.stdout);
    ensure!(doctor.status.success(), "{said}");
    Ok(())
}
