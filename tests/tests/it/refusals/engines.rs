//! Calls that fail for what the services stand on.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use contract::api::member::check_membership_request::Key;
use contract::api::member::{CheckMembershipRequest, CheckMembershipResponse};
use contract::api::ordering::{
    AttachMemberRequest, CashMovementKind, GetMenuRequest, QuoteOrderRequest,
    RecordCashMovementRequest, StartPreparationRequest,
};
use contract::api::query::GetOrderRequest;
use contract::api::query::query_service_client::QueryServiceClient;
use contract::api::types::Money;
use contract::{ConsistencyToken, Reason, StoreId};
use doppio::clients::call;
use event_log::disturbed::{Disturbance, Disturbed};
use event_log::jetstream::JetStreamLog;
use event_log::sqlite::SqliteLog;
use event_log::{AppendOutcome, EventLog, Expectation, LogError, READER_VERSION, Record};
use integration_tests::{Nats, Postgres, TcpProxy};
use member::Database;
use member::conformance::Running;
use read_model::ReadModel;
use runtime::{Clock, Shutdown};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Executor as _, PgConnection};
use status_projector::fixture::Ledger;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::{Response, Status};

use super::calls::Scene;
use super::{Refused, refused};
use crate::shop::{Lone, NOWHERE, PATIENCE, new_id};

async fn refused_order(lone: &Lone, store: &str) -> Result<Refused> {
    let request = call(lone.americano(store));
    refused(lone.ordering.clone().place_order(request).await)
}

pub async fn no_member_service(store: &str) -> Result<Refused> {
    let lone = Lone::embedded(store, &[("ordering.member_url", NOWHERE)]).await?;
    let sold = lone.sell(store).await?;
    let request = AttachMemberRequest {
        store_id: store.into(),
        order_id: sold.order.order_id,
        request_id: new_id(),
        member_id: new_id(),
        ..AttachMemberRequest::default()
    };
    refused(lone.ordering.clone().attach_member(call(request)).await)
}

/// Holds the embedded log's write lock: appends are neither stored nor refused while it lives.
async fn held(lone: &Lone) -> Result<SqliteConnection> {
    let log = lone.directory.path().join("log.db");
    let mut holder =
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(log)).await?;
    holder.execute("BEGIN IMMEDIATE").await?;
    Ok(holder)
}

/// A catalog that says another currency than the ledger, at every door. What is recorded already is not in its way.
pub async fn other_currency(store: &str) -> Result<Refused> {
    let directory = tempfile::tempdir()?;
    let log = Arc::new(SqliteLog::create(&directory.path().join("log.db")).await?);
    let before = Lone::start(log.clone(), directory, store, &[]).await?;
    let request = before.americano(store);
    let mut ordering = before.ordering.clone();
    let sold = ordering
        .place_order(call(request.clone()))
        .await?
        .into_inner();
    let order = sold.order.context("an order")?;
    let text = crate::shop::catalog(&[store.to_owned()]).replace("KRW", "GBP");
    let lone = Lone::with_catalog(log, tempfile::tempdir()?, &text, &[]).await?;
    let mut ordering = lone.ordering.clone();
    let repeat = ordering
        .place_order(call(request.clone()))
        .await?
        .into_inner();
    ensure!(
        repeat.replayed && repeat.order == Some(order.clone()),
        "a repeat gets its first answer: {repeat:?}"
    );
    let step = StartPreparationRequest {
        store_id: store.into(),
        order_id: order.order_id,
        request_id: new_id(),
        ..StartPreparationRequest::default()
    };
    ordering.start_preparation(call(step)).await?;
    let draft = request.draft.clone();
    let quote = QuoteOrderRequest { draft };
    let cash = |currency: &str| RecordCashMovementRequest {
        store_id: store.into(),
        business_date: order.business_date.clone(),
        drawer_id: "main".into(),
        kind: CashMovementKind::PaidIn.into(),
        amount: Some(Money {
            currency_code: currency.into(),
            amount_minor: 50_000,
        }),
        reason_code: "change-money".into(),
        request_id: new_id(),
        client_time: request.client_time,
        ..RecordCashMovementRequest::default()
    };
    let mut other = request.clone();
    other.order_id = new_id();
    for tender in &mut other.tenders {
        for amount in [&mut tender.amount, &mut tender.tendered] {
            amount
                .iter_mut()
                .for_each(|amount| amount.currency_code = "GBP".into());
        }
    }
    let answers = [
        refused(ordering.quote_order(call(quote)).await)?,
        refused(ordering.record_cash_movement(call(cash("GBP"))).await)?,
        refused(ordering.place_order(call(other)).await)?,
    ];
    for answer in answers {
        let known = [Reason::CurrencyChanged, Reason::WrongCurrency];
        ensure!(
            known.iter().any(|reason| reason.as_str() == answer.reason),
            "{}: {}",
            answer.reason,
            answer.message
        );
    }
    let menu = GetMenuRequest {
        store_id: store.into(),
    };
    refused(ordering.get_menu(call(menu)).await)
}

pub async fn stuck_log(store: &str) -> Result<Refused> {
    let lone = Lone::embedded(store, &[]).await?;
    lone.sell(store).await?;
    let _holder = held(&lone).await?;
    let mut request = call(lone.americano(store));
    request.set_timeout(Duration::from_millis(800));
    refused(lone.ordering.clone().place_order(request).await)
}

pub async fn full_queue(store: &str) -> Result<Refused> {
    let lone = Lone::embedded(store, &[("ordering.queue", "1")]).await?;
    lone.sell(store).await?;
    let _holder = held(&lone).await?;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (mut ordering, mut request) = (lone.ordering.clone(), call(lone.americano(store)));
        request.set_timeout(Duration::from_millis(800));
        calls.spawn(async move { refused(ordering.place_order(request).await) });
    }
    let mut others = Vec::new();
    while let Some(answer) = calls.join_next().await {
        let refused = answer??;
        if refused.reason == Reason::Overloaded.as_str() {
            return Ok(refused);
        }
        others.push(refused.reason);
    }
    bail!("no call was refused for a full queue: {others:?}")
}

pub async fn dead_log(store: &str) -> Result<Refused> {
    let nats = Nats::single().await?;
    let lone = Lone::on(Arc::new(JetStreamLog::init(&nats.config()).await?), store).await?;
    lone.sell(store).await?;
    nats.kill_all();
    refused_order(&lone, store).await
}

/// What a query service on this read model, which nobody fills, answers to a read within this time.
async fn read_from(model: ReadModel, within: Duration) -> Result<Refused> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let shutdown = Shutdown::new();
    tokio::spawn(query_api::run(
        model.reader,
        listener,
        shutdown.clone(),
        Clock::system(),
    ));
    let mut client = QueryServiceClient::new(runtime::channel::connect_lazy(&url)?);
    let mut request = call(GetOrderRequest {
        store_id: "gangnam".into(),
        order_id: new_id(),
        at_least: vec![],
    });
    request.set_timeout(within);
    let answer = client.get_order(request).await;
    shutdown.finish(PATIENCE).await;
    refused(answer)
}

pub async fn dead_read_model() -> Result<Refused> {
    let model = ReadModel::open("postgres://doppio@127.0.0.1:1/doppio")?;
    read_from(model, PATIENCE).await
}

pub async fn empty_read_model() -> Result<Refused> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("read-model.db");
    let model = ReadModel::open(&format!("sqlite:{}", path.display()))?;
    model.writer.prepare().await?;
    read_from(model, PATIENCE).await
}

/// Somebody holds the table: the server ends the read by itself.
pub async fn held_read_model() -> Result<Refused> {
    let database = Postgres::shared().await?.fresh_database().await?;
    let model = ReadModel::open(&database.url)?;
    model.writer.prepare().await?;
    let mut holder = PgConnection::connect(&database.url).await?;
    holder.execute("BEGIN").await?;
    holder
        .execute("LOCK TABLE doppio_read.stores IN ACCESS EXCLUSIVE MODE")
        .await?;
    let refused = read_from(model, PATIENCE).await;
    holder.close().await?;
    refused
}

pub async fn dead_member_database() -> Result<Refused> {
    let postgres = Postgres::shared().await?;
    let proxy = TcpProxy::start(postgres.address()).await?;
    let database = postgres.fresh_database().await?;
    let url = database.url.replace(&postgres.address(), proxy.address());
    let running = Running::start(&Database::parse(&url)?).await?;
    drop(proxy);
    let answer = asked(&running).await?;
    running.stop().await?;
    refused(answer)
}

async fn asked(running: &Running) -> Result<Result<Response<CheckMembershipResponse>, Status>> {
    let question = CheckMembershipRequest {
        key: Some(Key::PhoneNumber("+821000000001".into())),
    };
    Ok(running.client()?.check_membership(call(question)).await)
}

pub async fn busy_rival(store: &str) -> Result<Refused> {
    let directory = tempfile::tempdir()?;
    let log: Arc<dyn EventLog> =
        Arc::new(SqliteLog::create(&directory.path().join("log.db")).await?);
    let rival = Lone::on(log.clone(), store).await?;
    let store_id = store.to_owned();
    let overtaken = Disturbed::new(log, Overtaken { rival, store_id });
    let lone = Lone::on(overtaken, store).await?;
    refused_order(&lone, store).await
}

/// Every append comes too late: another instance has always just written to the ledger.
struct Overtaken {
    rival: Lone,
    store_id: String,
}

#[async_trait::async_trait]
impl Disturbance for Overtaken {
    async fn append(
        &self,
        log: &dyn EventLog,
        record: &Record,
        expectation: &Expectation,
        deadline: Instant,
    ) -> Result<AppendOutcome, LogError> {
        let sold = self.rival.sell(&self.store_id).await;
        sold.map_err(|error| LogError::Unusable(format!("the rival: {error:#}")))?;
        log.append(record, expectation, deadline).await
    }
}

/// A read with the token of a sale, as changed by `change`.
async fn read_with(
    scene: &Scene<'_>,
    change: impl FnOnce(&mut ConsistencyToken),
) -> Result<Refused> {
    let sold = scene.shop.sell(scene.store).await?;
    let mut token: ConsistencyToken = ConsistencyToken::parse(&sold.token)?;
    change(&mut token);
    let mut request = call(GetOrderRequest {
        store_id: scene.store.into(),
        order_id: sold.order.order_id,
        at_least: vec![token.to_string()],
    });
    request.set_timeout(Duration::from_secs(2));
    refused(scene.shop.clients.query.clone().get_order(request).await)
}

pub async fn token_ahead(scene: &Scene<'_>) -> Result<Refused> {
    read_with(scene, |token| token.revision += 1_000).await
}

pub async fn token_of_another_log(scene: &Scene<'_>) -> Result<Refused> {
    read_with(scene, |token| token.epoch += 1).await
}

/// Appends a ledger's opening, and then bytes that no reader of `min_reader` understands.
async fn append_strange(log: &dyn EventLog, store: &str, min_reader: u16) -> Result<Ledger> {
    let mut ledger = Ledger::new(store).map_err(|error| anyhow!(error))?;
    let opening = ledger
        .open_day("2026-03-02", &[])
        .map_err(|error| anyhow!(error))?;
    let strange = ledger
        .append_bytes(b"\xff\xff", min_reader)
        .map_err(|error| anyhow!(error))?;
    for record in [opening, strange] {
        let expectation = match log.tip(&ledger.name).await? {
            Some(tip) => Expectation::Tip(tip),
            None => Expectation::Empty,
        };
        let deadline = Instant::now() + PATIENCE;
        match log.append(&record, &expectation, deadline).await? {
            AppendOutcome::Stored(_) => {}
            other => bail!("{other:?}"),
        }
    }
    Ok(ledger)
}

async fn ordered_after_strange(store: &str, min_reader: u16) -> Result<Refused> {
    let directory = tempfile::tempdir()?;
    let log = SqliteLog::create(&directory.path().join("log.db")).await?;
    append_strange(&log, store, min_reader).await?;
    let lone = Lone::start(Arc::new(log), directory, store, &[]).await?;
    refused_order(&lone, store).await
}

pub async fn broken_ledger(store: &str) -> Result<Refused> {
    ordered_after_strange(store, READER_VERSION).await
}

pub async fn newer_record(store: &str) -> Result<Refused> {
    ordered_after_strange(store, READER_VERSION + 1).await
}

pub async fn quarantined(scene: &Scene<'_>) -> Result<Refused> {
    let log = &scene.shop.system.log;
    let ledger = append_strange(log.as_ref(), scene.store, READER_VERSION).await?;
    let token = ConsistencyToken {
        log_id: log.epoch().log_id,
        epoch: log.epoch().epoch,
        store: StoreId::new(scene.store)?,
        revision: ledger.chain.context("a record")?.revision.0,
    };
    scene.read_with_token(&token.to_string()).await
}

/// A database that answers, with something that it should not: somebody has taken a table away.
pub async fn broken_member_database() -> Result<Refused> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("member.db");
    let running = Running::start(&Database::Sqlite(path.clone())).await?;
    let mut database =
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path)).await?;
    database
        .execute("ALTER TABLE members RENAME TO elsewhere")
        .await?;
    database.close().await?;
    let answer = asked(&running).await?;
    running.stop().await?;
    refused(answer)
}
