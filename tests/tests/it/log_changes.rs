//! What an operator may do to a log behind its services' backs: put back an older copy, remove it and make it anew, fill the disk.
//! Nothing is given out twice, everything says so, and goes on by itself or once an operator has acted.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contract::api::ordering as api;
use contract::api::query::GetOrderRequest;
use contract::api::types::{Channel, ServiceMode, TenderKind};
use contract::{Reason, timestamp_to_proto};
use doppio::clients::{Clients, call};
use doppio::data_dir::DataDir;
use doppio::exit::Failure;
use doppio::system::{Plan, System};
use event_log::jetstream::JetStreamLog;
use integration_tests::services::{clients, doppio};
use integration_tests::{Engines, Nats};
use runtime::Clock;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::{Instant, sleep};
use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;
use uuid::Uuid;

const STORES: [&str; 2] = ["gangnam", "hongdae"];
const STOP_GRACE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

fn plain(failure: Failure) -> anyhow::Error {
    failure.error
}

async fn start(data: &Path) -> Result<(System, Clients)> {
    let plan = Plan::embedded(DataDir::hold(data).map_err(plain)?).map_err(plain)?;
    let system = System::start(plan).await.map_err(plain)?;
    let clients = Clients::of(&system.addresses).map_err(plain)?;
    Ok((system, clients))
}

/// An americano, paid for by card, as a till sends it.
async fn americano(clients: &Clients, store: &str) -> Result<api::PlaceOrderRequest> {
    let draft = api::OrderDraft {
        store_id: store.into(),
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
    let quote = clients
        .ordering
        .clone()
        .quote_order(call(api::QuoteOrderRequest {
            draft: Some(draft.clone()),
        }))
        .await?
        .into_inner();
    let due = quote.priced.and_then(|priced| priced.amount_due);
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

async fn place(
    clients: &Clients,
    request: &api::PlaceOrderRequest,
) -> Result<api::PlaceOrderResponse, Status> {
    let placed = clients
        .ordering
        .clone()
        .place_order(call(request.clone()))
        .await?;
    Ok(placed.into_inner())
}

struct Sale {
    order_id: String,
    ticket: i64,
    token: String,
}

async fn sell(clients: &Clients, store: &str) -> Result<Sale> {
    let request = americano(clients, store).await?;
    let placed = place(clients, &request).await?;
    Ok(Sale {
        order_id: request.order_id,
        ticket: placed.order.context("an order")?.ticket_number,
        token: placed.consistency_token,
    })
}

async fn read(clients: &Clients, store: &str, sale: &Sale) -> Result<(), Status> {
    let request = GetOrderRequest {
        store_id: store.into(),
        order_id: sale.order_id.clone(),
        at_least: vec![sale.token.clone()],
    };
    clients
        .query
        .clone()
        .get_order(call(request))
        .await
        .map(|_| ())
}

fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

fn is(status: &Status, wanted: Reason) -> bool {
    reason(status) == wanted.as_str()
}

/// Tills of every store go on trying; nothing is sold, and in the end all hear that the log has changed.
async fn nothing_is_sold(clients: &Clients) -> Result<()> {
    let limit = Instant::now() + PATIENCE;
    let mut told = 0;
    while told < 3 {
        ensure!(Instant::now() < limit, "tills are not told LOG_CHANGED");
        let mut all = true;
        for store in STORES {
            let request = americano(clients, store).await?;
            match place(clients, &request).await {
                Ok(placed) => anyhow::bail!("{store} sold ticket {:?}", placed.order),
                Err(status) => all &= is(&status, Reason::LogChanged),
            }
        }
        told = if all { told + 1 } else { 0 };
        sleep(LOOK).await;
    }
    Ok(())
}

async fn health(url: &str) -> Result<ServingStatus> {
    let mut client = HealthClient::new(runtime::channel::connect_lazy(url)?);
    let request = HealthCheckRequest {
        service: String::new(),
    };
    let answer = client.check(call(request)).await?;
    Ok(answer.into_inner().status())
}

async fn becomes(url: &str, status: ServingStatus) -> Result<()> {
    let limit = Instant::now() + PATIENCE;
    while health(url).await? != status {
        ensure!(Instant::now() < limit, "{url} is not {status:?}");
        sleep(LOOK).await;
    }
    Ok(())
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs a command that has to fail because the log has changed.
async fn refuses(arguments: &[&str]) -> Result<()> {
    let output = doppio(&[arguments, &["--json"]].concat()).await?;
    let said = said(&output);
    ensure!(
        !output.status.success(),
        "doppio {arguments:?} sees nothing wrong:\n{said}"
    );
    ensure!(
        said.contains("LOG_CHANGED") || said.contains("LOG CHANGED"),
        "doppio {arguments:?} fails otherwise:\n{said}"
    );
    Ok(())
}

/// Copies the log of a data directory aside, as it is at one instant, also under those who have it open.
async fn save(data: &Path) -> Result<()> {
    let copy = data.join("copy-of-the-log");
    let mut connection = SqliteConnectOptions::new()
        .filename(data.join("log.db"))
        .connect()
        .await?;
    sqlx::query("VACUUM INTO ?1")
        .bind(copy.display().to_string())
        .execute(&mut connection)
        .await?;
    Ok(connection.close().await?)
}

fn put_back(data: &Path) -> Result<()> {
    for suffix in ["-wal", "-shm"] {
        let path = data.join(format!("log.db{suffix}"));
        if path.exists() {
            std::fs::remove_file(path)?;
        }
    }
    std::fs::copy(data.join("copy-of-the-log"), data.join("copy"))?;
    Ok(std::fs::rename(data.join("copy"), data.join("log.db"))?)
}

fn remove(data: &Path, name: &str) -> Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let path = data.join(format!("{name}{suffix}"));
        if path.exists() {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_the_embedded_log_stops_everything_until_it_is_adopted() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path();
    let (system, clients) = start(data).await?;
    for ticket in 1..=3 {
        ensure!(sell(&clients, STORES[0]).await?.ticket == ticket);
    }
    sell(&clients, STORES[1]).await?;
    save(data).await?;
    // Less than a day's close, and less than what the index writes at once: only the witness beside it has seen this.
    let lost = sell(&clients, STORES[0]).await?;
    ensure!(lost.ticket == 4);
    read(&clients, STORES[0], &lost).await?;
    system.stop(STOP_GRACE).await.map_err(plain)?;

    let target = ["--data", &data.display().to_string()].map(str::to_owned);
    let with = |command: &[&str]| -> Vec<String> {
        let command = command.iter().map(|word| (*word).to_owned());
        command.chain(target.clone()).collect()
    };
    // With all witnesses, with that of ordering alone, and with that of the read model alone.
    for gone in ["", "read-model.db", "ordering-index.db"] {
        put_back(data)?;
        let aside = data.join("aside");
        if !gone.is_empty() {
            std::fs::create_dir_all(&aside)?;
            std::fs::copy(data.join(gone), aside.join(gone))?;
            remove(data, gone)?;
        }
        for command in [&["status"][..], &["doctor"], &["stores"]] {
            let arguments = with(command);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            refuses(&arguments).await?;
        }
        let (system, clients) = start(data).await?;
        nothing_is_sold(&clients).await?;
        becomes(
            &format!("http://{}", system.addresses.ordering),
            ServingStatus::NotServing,
        )
        .await?;
        if gone != "read-model.db" {
            for address in [system.addresses.query, system.addresses.projector] {
                becomes(&format!("http://{address}"), ServingStatus::NotServing).await?;
            }
            let status = read(&clients, STORES[0], &lost).await.err();
            let status = status.context("a lost order is read as if it were there")?;
            ensure!(is(&status, Reason::LogChanged), "{status:?}");
        }
        system.stop(STOP_GRACE).await.map_err(plain)?;
        if !gone.is_empty() {
            remove(data, gone)?;
            std::fs::copy(aside.join(gone), data.join(gone))?;
        }
    }

    let adopted = with(&["log", "adopt"]);
    let output = doppio(&adopted).await?;
    ensure!(output.status.success(), "{}", said(&output));
    let (system, clients) = start(data).await?;
    let sale = sell(&clients, STORES[0]).await?;
    ensure!(sale.ticket == 4, "an operator said that this is the log");
    read(&clients, STORES[0], &sale).await?;
    let status = read(&clients, STORES[0], &lost).await.err();
    let status = status.context("a token of the life before is taken")?;
    ensure!(is(&status, Reason::LogChanged), "{status:?}");
    for address in [
        system.addresses.ordering,
        system.addresses.query,
        system.addresses.projector,
    ] {
        becomes(&format!("http://{address}"), ServingStatus::Serving).await?;
    }
    system.stop(STOP_GRACE).await.map_err(plain)?;
    for command in [&["status"][..], &["doctor"]] {
        let output = doppio(&with(command)).await?;
        ensure!(output.status.success(), "{command:?}: {}", said(&output));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_log_replaced_under_its_services_is_not_sold_on() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path();
    let (system, clients) = start(data).await?;
    for store in STORES {
        sell(&clients, store).await?;
    }
    save(data).await?;
    let lost = sell(&clients, STORES[0]).await?;
    read(&clients, STORES[0], &lost).await?;
    put_back(data)?;
    nothing_is_sold(&clients).await?;
    for address in [
        system.addresses.ordering,
        system.addresses.query,
        system.addresses.projector,
    ] {
        becomes(&format!("http://{address}"), ServingStatus::NotServing).await?;
    }
    let status = read(&clients, STORES[0], &lost).await.err();
    let status = status.context("read as if all were well")?;
    ensure!(is(&status, Reason::LogChanged), "{status:?}");
    system.stop(STOP_GRACE).await.map_err(plain)?;
    // Restarting is no act of an operator.
    let (system, clients) = start(data).await?;
    nothing_is_sold(&clients).await?;
    system.stop(STOP_GRACE).await.map_err(plain)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_made_anew_under_its_services_is_not_sold_into() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let nats = Nats::single().await?;
    let read_model = format!("sqlite:{}", directory.path().join("rm.db").display());
    let engines = Engines::new(&nats, &read_model)?;
    JetStreamLog::init(&nats.config()).await?;
    let member = engines.member().await?;
    let ordering = engines.ordering("ordering-1", &member, &[]).await?;
    let projector = engines.status_projector("projector-1").await?;
    let query = engines.query_api().await?;
    let clients = clients(&member, &ordering, &query)?;
    let outcome = async {
        let mut sold = Vec::new();
        for store in STORES {
            for _ in 0..2 {
                let sale = sell(&clients, store).await?;
                read(&clients, store, &sale).await?;
                sold.push((store, sale));
            }
        }
        let jetstream = async_nats::jetstream::new(async_nats::connect(nats.urls()).await?);
        let saved = jetstream
            .get_stream("ORDERS-0")
            .await?
            .get_info()
            .await?
            .config;
        jetstream.delete_stream("ORDERS-0").await?;
        jetstream.create_stream(saved).await?;
        let services = [
            "--member-server",
            &member.url(),
            "--ordering-server",
            &ordering.url(),
            "--query-server",
            &query.url(),
        ]
        .map(str::to_owned);
        for round in 0..2 {
            nothing_is_sold(&clients).await?;
            for url in [ordering.url(), projector.url(), query.url()] {
                becomes(&url, ServingStatus::NotServing).await?;
            }
            for command in ["status", "doctor", "stores"] {
                let mut arguments = vec![command.to_owned()];
                arguments.extend(services.clone());
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                refuses(&arguments).await?;
            }
            for (store, sale) in &sold {
                let status = read(&clients, store, sale).await.err();
                let status = status.context("read as if all were well")?;
                ensure!(is(&status, Reason::LogChanged), "{status:?}");
            }
            let info = jetstream.get_stream("ORDERS-0").await?.get_info().await?;
            ensure!(info.state.messages == 0, "something landed in another log");
            if round == 0 {
                // Restarting is no act of an operator.
                for service in [&ordering, &projector, &query] {
                    service.launch()?;
                }
                for service in [&ordering, &projector, &query] {
                    service.answers().await?;
                }
            }
        }
        let log = engines.log();
        let output = doppio(&["log", "adopt", "--log", log]).await?;
        ensure!(output.status.success(), "{}", said(&output));
        ordering.restart().await?;
        let sale = sell(&clients, STORES[0]).await?;
        ensure!(sale.ticket == 1, "the adopted log is empty");
        Ok(())
    };
    let outcome: Result<()> = outcome.await;
    outcome.with_context(|| {
        format!(
            "{}\n{}\n{}",
            ordering.tail(),
            projector.tail(),
            query.tail()
        )
    })
}
