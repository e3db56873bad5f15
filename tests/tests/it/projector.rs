//! Projector and query service together, on an embedded log, over both read models.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use contract::ConsistencyToken;
use contract::api::admin::GetProjectionStatusRequest;
use contract::api::admin::admin_service_client::AdminServiceClient;
use contract::api::query::query_service_client::QueryServiceClient;
use contract::api::query::{
    GetDailySalesRequest, GetOrderRequest, ListOrdersRequest, ListStoresRequest,
};
use contract::api::types::{BusinessDayState, OrderStatus};
use contract::event::OrderPlaced;
use event_log::jetstream::JetStreamLog;
use event_log::sqlite::SqliteLog;
use event_log::{AppendOutcome, EventLog, Expectation, Record, Revision};
use integration_tests::{Nats, Postgres};
use jiff::Timestamp;
use read_model::{ReadModel, ReadModelWriter};
use runtime::{Clock, Shutdown};
use status_projector::fixture::{Ledger, id_of};
use status_projector::{Config, Health, Trouble};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::interruption::Observed;

pub(super) const PATIENCE: Duration = Duration::from_secs(20);
const KILLS: u64 = 40;
const ROUND: Duration = Duration::from_secs(2);
pub(super) const DAY: &str = "2026-03-02";

/// A log, a read model, and whatever runs on them.
pub(super) struct Rig {
    pub(super) log: Arc<dyn EventLog>,
    pub(super) model: ReadModel,
    directory: tempfile::TempDir,
}

impl Rig {
    pub(super) async fn embedded() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let model = ReadModel::open(&format!(
            "sqlite:{}",
            directory.path().join("read-model.db").display()
        ))?;
        Self::new(directory, model).await
    }

    pub(super) async fn postgres(postgres: &Postgres) -> Result<Self> {
        let model = ReadModel::open(&postgres.fresh_database().await?.url)?;
        Self::new(tempfile::tempdir()?, model).await
    }

    /// On a read model that may be read by others too.
    pub(super) async fn on(model: ReadModel) -> Result<Self> {
        Self::new(tempfile::tempdir()?, model).await
    }

    async fn new(directory: tempfile::TempDir, model: ReadModel) -> Result<Self> {
        let log = Arc::new(SqliteLog::create(&directory.path().join("log.db")).await?);
        Ok(Self {
            log,
            model,
            directory,
        })
    }

    pub(super) async fn append(&self, record: &Record) -> Result<()> {
        let expectation = match record.revision() {
            Revision(1) => Expectation::Empty,
            _ => Expectation::Tip(
                self.log
                    .tip(&record.header().ledger)
                    .await?
                    .context("the ledger has a tip")?,
            ),
        };
        match self
            .log
            .append(record, &expectation, Instant::now() + PATIENCE)
            .await?
        {
            AppendOutcome::Stored(_) => Ok(()),
            other => bail!("{other:?}"),
        }
    }

    pub(super) fn project(&self, instance: &str, batch: usize) -> (Shutdown, Health) {
        self.project_through(&self.model.writer, instance, batch)
    }

    /// Into another read model than the rig's own.
    pub(super) fn project_into(&self, model: &ReadModel, instance: &str) -> (Shutdown, Health) {
        self.project_through(&model.writer, instance, 100)
    }

    fn project_through(
        &self,
        writer: &Arc<dyn ReadModelWriter>,
        instance: &str,
        batch: usize,
    ) -> (Shutdown, Health) {
        let shutdown = Shutdown::new();
        let config = Config {
            instance: instance.into(),
            batch,
        };
        let health =
            status_projector::start(config, &self.log, writer, &shutdown, &Clock::system());
        (shutdown, health)
    }

    pub(super) async fn serve(&self, shutdown: &Shutdown, clock: Clock) -> Result<Channel> {
        let url = self.serve_at(shutdown, clock).await?;
        Ok(runtime::channel::connect_lazy(&url)?)
    }

    /// The address of a query service.
    pub(super) async fn serve_at(&self, shutdown: &Shutdown, clock: Clock) -> Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (reader, serving) = (self.model.reader.clone(), shutdown.clone());
        tokio::spawn(async move { query_api::run(reader, listener, serving, clock).await });
        Ok(url)
    }

    pub(super) fn token(&self, ledger: &Ledger) -> Result<String> {
        let revision = ledger.chain.map_or(0, |chain| chain.revision.0);
        let epoch = self.log.epoch();
        let store = contract::StoreId::new(ledger.name.as_str())?;
        Ok(ConsistencyToken {
            log_id: epoch.log_id,
            epoch: epoch.epoch,
            store,
            revision,
        }
        .to_string())
    }

    /// Waits until the store's last record is projected.
    pub(super) async fn projected(&self, ledger: &Ledger) -> Result<()> {
        let store = contract::StoreId::new(ledger.name.as_str())?;
        let limit = Instant::now() + PATIENCE;
        loop {
            let revision = self
                .model
                .reader
                .orders
                .store(&store)
                .await
                .ok()
                .flatten()
                .map_or(0, |seen| seen.store.revision().0);
            if Some(Revision(revision)) == ledger.chain.map(|chain| chain.revision) {
                return Ok(());
            }
            ensure!(
                Instant::now() < limit,
                "store {store} is at revision {revision}"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(super) fn sound<T>(result: Result<T, status_projector::fixture::Failure>) -> Result<T> {
    result.map_err(|error| anyhow!("{error}"))
}

/// A ledger with an open day and `count` orders in the log.
pub(super) async fn orders(
    rig: &Rig,
    store: &str,
    count: usize,
) -> Result<(Ledger, Vec<OrderPlaced>)> {
    let mut ledger = sound(Ledger::new(store))?;
    rig.append(&sound(ledger.open_day(DAY, &[("main", 1_000)]))?)
        .await?;
    let mut orders = Vec::new();
    for _ in 0..count {
        let order = sound(ledger.americano())?;
        rig.append(&sound(ledger.place(order.clone()))?).await?;
        orders.push(order);
    }
    Ok((ledger, orders))
}

fn reason(status: &Status) -> String {
    status
        .get_error_details()
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default()
}

pub(super) fn refused<T: std::fmt::Debug>(
    answer: Result<T, Status>,
    code: Code,
    because: &str,
) -> Result<Status> {
    let status = answer
        .err()
        .with_context(|| format!("{because} is expected"))?;
    ensure!(
        (status.code(), reason(&status).as_str()) == (code, because),
        "{because} is expected, not {status:?}"
    );
    Ok(status)
}

pub(super) fn get_order(store: &str, order: &OrderPlaced, at_least: &[String]) -> GetOrderRequest {
    let order_id = id_of(order).map(|id| id.to_string()).unwrap_or_default();
    GetOrderRequest {
        store_id: store.into(),
        order_id,
        at_least: at_least.to_vec(),
    }
}

pub(super) fn page(page_size: i32, page_token: &str) -> ListOrdersRequest {
    ListOrdersRequest {
        store_id: "gangnam".into(),
        page_size,
        page_token: page_token.into(),
        ..ListOrdersRequest::default()
    }
}

pub(super) fn sales(store: &str, date: &str) -> GetDailySalesRequest {
    GetDailySalesRequest {
        store_id: store.into(),
        business_date: date.into(),
        ..GetDailySalesRequest::default()
    }
}

pub(super) fn within<T>(message: T, limit: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

async fn reads(rig: Rig) -> Result<()> {
    let (projecting, _) = rig.project("one", 1_000);
    let serving = Shutdown::new();
    let clock = Clock::manual("2026-03-02T09:00:00Z".parse()?);
    let channel = rig.serve(&serving, clock.clone()).await?;
    let mut client = QueryServiceClient::new(channel.clone());
    let (mut ledger, placed) = orders(&rig, "gangnam", 25).await?;
    rig.append(&sound(ledger.complete(&placed[0]))?).await?;

    // What was written is read with its token, at once.
    let token = rig.token(&ledger)?;
    let answer = client
        .get_order(get_order(
            "gangnam",
            &placed[0],
            std::slice::from_ref(&token),
        ))
        .await?
        .into_inner();
    let order = answer.order.context("an order")?;
    ensure!(order.status() == OrderStatus::Completed && order.ticket_number == 1);
    let freshness = answer.freshness.context("freshness")?;
    ensure!(freshness.consistency_token == token && freshness.as_of.is_some());

    // Paging.
    let mut tickets = Vec::new();
    let mut next = String::new();
    loop {
        let answer = client.list_orders(page(10, &next)).await?.into_inner();
        tickets.extend(answer.orders.iter().map(|order| order.ticket_number));
        next = answer.next_page_token;
        if next.is_empty() {
            break;
        }
        ensure!(answer.orders.len() == 10);
        refused(
            client.list_orders(page(9, &next)).await,
            Code::InvalidArgument,
            "MALFORMED_PAGE_TOKEN",
        )?;
        refused(
            client.list_orders(page(10, &next[1..])).await,
            Code::InvalidArgument,
            "MALFORMED_PAGE_TOKEN",
        )?;
    }
    ensure!(tickets == (1..=25).collect::<Vec<_>>(), "{tickets:?}");
    let completed = ListOrdersRequest {
        statuses: vec![OrderStatus::Completed.into()],
        ..page(0, "")
    };
    ensure!(
        client
            .list_orders(completed)
            .await?
            .into_inner()
            .orders
            .len()
            == 1
    );

    // The day's figures, and the states of days.
    let day = client
        .get_daily_sales(sales("gangnam", ""))
        .await?
        .into_inner();
    ensure!(day.state() == BusinessDayState::Open && day.orders == 25 && day.business_date == DAY);
    ensure!(
        day.net
            .as_ref()
            .is_some_and(|net| net.amount_minor == 25 * 4_500 && net.currency_code == "KRW")
    );
    ensure!(
        day.vat
            .as_ref()
            .is_some_and(|vat| vat.amount_minor == 25 * 409)
    );
    clock.set("2026-03-02T19:00:00Z".parse()?);
    ensure!(
        client
            .get_daily_sales(sales("gangnam", DAY))
            .await?
            .into_inner()
            .state()
            == BusinessDayState::Overdue
    );
    let none = client
        .get_daily_sales(sales("gangnam", "2020-01-01"))
        .await?
        .into_inner();
    ensure!(none.state() == BusinessDayState::NoTrade && none.orders == 0 && none.net.is_some());
    ensure!(
        client
            .list_stores(ListStoresRequest::default())
            .await?
            .into_inner()
            .stores
            .len()
            == 1
    );

    // What is refused.
    let with = |at_least: &str| get_order("gangnam", &placed[0], &[at_least.to_owned()]);
    refused(
        client.get_order(with("nonsense")).await,
        Code::InvalidArgument,
        "MALFORMED_CONSISTENCY_TOKEN",
    )?;
    refused(
        client
            .get_order(get_order("nowhere", &placed[0], &[]))
            .await,
        Code::NotFound,
        "UNKNOWN_STORE",
    )?;
    let unknown = GetOrderRequest {
        order_id: "019352f0-7a1c-7c3e-8f00-0123456789ab".into(),
        ..get_order("gangnam", &placed[0], &[])
    };
    refused(
        client.get_order(unknown).await,
        Code::NotFound,
        "UNKNOWN_ORDER",
    )?;
    let malformed = GetOrderRequest {
        store_id: "Gang nam".into(),
        order_id: "7".into(),
        at_least: vec![],
    };
    let status = refused(
        client.get_order(malformed).await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
    )?;
    let details = status.get_error_details();
    let fields: Vec<_> = details
        .bad_request()
        .into_iter()
        .flat_map(|bad| &bad.field_violations)
        .map(|bad| bad.field.as_str())
        .collect();
    ensure!(fields == ["store_id", "order_id"], "{fields:?}");
    refused(
        client.get_daily_sales(sales("gangnam", "2026-3-2")).await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
    )?;
    refused(
        client.list_orders(page(-1, "")).await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
    )?;
    let epoch = rig.log.epoch();
    let store = contract::StoreId::new("gangnam")?;
    let other = ConsistencyToken {
        log_id: epoch.log_id,
        epoch: epoch.epoch + 1,
        store: store.clone(),
        revision: 1,
    };
    refused(
        client.get_order(with(&other.to_string())).await,
        Code::FailedPrecondition,
        "LOG_CHANGED",
    )?;
    let ahead = ConsistencyToken {
        log_id: epoch.log_id,
        epoch: epoch.epoch,
        store,
        revision: 1_000,
    }
    .to_string();
    // The reason arrives before the caller's own deadline, which would leave none.
    let status = refused(
        client
            .get_order(within(with(&ahead), Duration::from_millis(2_000)))
            .await,
        Code::DeadlineExceeded,
        "TOO_STALE",
    )?;
    ensure!(status.get_error_details().retry_info().is_some());

    // Many who wait for one order are answered when it is there.
    let order = sound(ledger.americano())?;
    let record = sound(ledger.place(order.clone()))?;
    let token = rig.token(&ledger)?;
    let waiting: Vec<_> = (0..200)
        .map(|_| {
            let (mut client, request) = (
                client.clone(),
                get_order("gangnam", &order, std::slice::from_ref(&token)),
            );
            tokio::spawn(async move { client.get_order(request).await })
        })
        .collect();
    sleep(Duration::from_millis(100)).await;
    rig.append(&record).await?;
    for one in waiting {
        ensure!(one.await??.into_inner().order.is_some());
    }

    let status = AdminServiceClient::new(channel)
        .get_projection_status(GetProjectionStatusRequest {})
        .await?
        .into_inner();
    let stream = status.streams.first().context("a stream")?;
    ensure!(
        stream.checkpoint == 28 && stream.owner == "one" && status.log_epoch == epoch.to_string(),
        "{status:?}"
    );
    serving.finish(PATIENCE).await;
    projecting.finish(PATIENCE).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_reflect_their_tokens_on_sqlite() -> Result<()> {
    reads(Rig::embedded().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_reflect_their_tokens_on_postgresql() -> Result<()> {
    reads(Rig::postgres(Postgres::shared().await?).await?).await
}

/// Killed again and again at any moment, the rows are those of a projection in one go.
async fn killed(rig: Rig) -> Result<()> {
    let mut ledgers = Vec::new();
    for store in ["gangnam", "busan", "jeju"] {
        let (mut ledger, placed) = orders(&rig, store, 150).await?;
        for order in placed.iter().step_by(3) {
            rig.append(&sound(ledger.complete(order))?).await?;
        }
        ledgers.push((ledger, placed));
    }
    let observed = Arc::new(Observed::new(rig.model.writer.clone()));
    let writer: Arc<dyn ReadModelWriter> = observed.clone();
    let mut begun = observed.begun();
    for round in 0..KILLS {
        // However fast the rounds before were, something is left to commit.
        let (ledger, placed) = ledgers.first_mut().context("a ledger")?;
        let order = sound(ledger.americano())?;
        rig.append(&sound(ledger.place(order.clone()))?).await?;
        placed.push(order);
        begun.mark_unchanged();
        let (shutdown, _) = rig.project_through(&writer, "one", 5);
        // A database that still clears up after the kill before lets no commit begin: then this round hits nothing, and is not counted.
        if let Ok(changed) = timeout(ROUND, begun.changed()).await {
            changed?;
        }
        // From 0.1 to 26 ms: in the middle of a commit, and after it, on every database and a machine of any speed.
        sleep(Duration::from_micros(100 << (round % 9))).await;
        shutdown.hard().cancel();
        shutdown.finish(PATIENCE).await;
    }
    let (broken_off, finished) = (observed.broken_off(), observed.finished());
    ensure!(
        broken_off >= KILLS / 4 && finished >= 1,
        "{KILLS} kills hit {broken_off} transactions, {finished} were committed: this proves nothing"
    );
    let (shutdown, _) = rig.project("one", 1_000);
    for (ledger, _) in &ledgers {
        rig.projected(ledger).await?;
    }
    let whole = Rig::embedded().await?;
    for (ledger, placed) in &ledgers {
        let records = rig.log.read(&ledger.name, None, 10_000).await?;
        for record in &records {
            whole.append(record).await?;
        }
        let (projecting, _) = whole.project("one", 5_000);
        whole.projected(ledger).await?;
        projecting.finish(PATIENCE).await;
        let store = contract::StoreId::new(ledger.name.as_str())?;
        let (mine, theirs) = (
            rig.model.reader.orders.day(&store, None).await?,
            whole.model.reader.orders.day(&store, None).await?,
        );
        let (mine, theirs) = (mine.context("a store")?, theirs.context("a store")?);
        ensure!(
            mine.store == theirs.store && mine.found == theirs.found,
            "{store}: {:?} {:?}",
            mine.store,
            theirs.store
        );
        for order in placed {
            let id = id_of(order).context("an id")?;
            let (mine, theirs) = (
                rig.model.reader.orders.order(&store, id).await?,
                whole.model.reader.orders.order(&store, id).await?,
            );
            ensure!(mine.context("a store")?.found == theirs.context("a store")?.found);
        }
    }
    ensure!(
        rig.model
            .reader
            .projection
            .status()
            .await?
            .streams
            .iter()
            .all(|stream| stream.orphans == 0)
    );
    shutdown.finish(PATIENCE).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_it_projects_exactly_once_on_sqlite() -> Result<()> {
    killed(Rig::embedded().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_it_projects_exactly_once_on_postgresql() -> Result<()> {
    killed(Rig::postgres(Postgres::shared().await?).await?).await
}

async fn owner(rig: &Rig) -> Result<String> {
    Ok(rig
        .model
        .reader
        .projection
        .status()
        .await?
        .streams
        .first()
        .map(|stream| stream.owner.clone())
        .unwrap_or_default())
}

/// A standby takes over from an owner that was killed, and one that let go is followed at once.
async fn taken_over(rig: Rig) -> Result<()> {
    let (mut ledger, _) = orders(&rig, "gangnam", 5).await?;
    let (one, _) = rig.project("one", 10);
    rig.projected(&ledger).await?;
    let (two, _) = rig.project("two", 10);
    sleep(Duration::from_millis(3_000)).await;
    ensure!(
        owner(&rig).await? == "one",
        "an owner at rest is left alone"
    );
    one.hard().cancel();
    let order = sound(ledger.americano())?;
    rig.append(&sound(ledger.place(order))?).await?;
    rig.projected(&ledger).await?;
    ensure!(owner(&rig).await? == "two", "the standby takes over");
    let (three, _) = rig.project("three", 10);
    sleep(Duration::from_millis(300)).await;
    two.finish(PATIENCE).await;
    let order = sound(ledger.americano())?;
    rig.append(&sound(ledger.place(order))?).await?;
    rig.projected(&ledger).await?;
    ensure!(
        owner(&rig).await? == "three",
        "who waits follows one that let go"
    );
    // An instance of the same name takes over at once; the one before is fenced, and stays so.
    let (again, _) = rig.project("three", 10);
    let patience = Instant::now() + PATIENCE;
    while rig
        .model
        .reader
        .projection
        .status()
        .await?
        .streams
        .first()
        .is_some_and(|stream| stream.term < 4)
    {
        ensure!(
            Instant::now() < patience,
            "an instance of the owner's name does not take over"
        );
        sleep(Duration::from_millis(50)).await;
    }
    for _ in 0..20 {
        let order = sound(ledger.americano())?;
        rig.append(&sound(ledger.place(order))?).await?;
        sleep(Duration::from_millis(50)).await;
    }
    rig.projected(&ledger).await?;
    let stream = rig
        .model
        .reader
        .projection
        .status()
        .await?
        .streams
        .into_iter()
        .next()
        .context("a stream")?;
    ensure!(stream.term == 4, "{stream:?}");
    again.finish(PATIENCE).await;
    three.finish(PATIENCE).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_on_sqlite() -> Result<()> {
    taken_over(Rig::embedded().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_on_postgresql() -> Result<()> {
    taken_over(Rig::postgres(Postgres::shared().await?).await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_ledger_is_quarantined_and_the_others_go_on() -> Result<()> {
    let rig = Rig::embedded().await?;
    let (projecting, _) = rig.project("one", 10);
    let serving = Shutdown::new();
    let channel = rig.serve(&serving, Clock::system()).await?;
    let mut client = QueryServiceClient::new(channel.clone());
    let (mut broken, placed) = orders(&rig, "gangnam", 3).await?;
    rig.append(&sound(broken.append_bytes(b"\xff\xff", 1))?)
        .await?;
    for _ in 0..4 {
        let order = sound(broken.americano())?;
        rig.append(&sound(broken.place(order))?).await?;
    }
    let (whole, others) = orders(&rig, "busan", 3).await?;
    let token = rig.token(&whole)?;
    ensure!(
        client
            .get_order(get_order("busan", &others[2], &[token]))
            .await?
            .into_inner()
            .order
            .is_some()
    );
    let token = rig.token(&broken)?;
    refused(
        client
            .get_order(get_order("gangnam", &placed[0], &[token]))
            .await,
        Code::FailedPrecondition,
        "PROJECTION_QUARANTINED",
    )?;
    ensure!(
        client
            .get_order(get_order("gangnam", &placed[2], &[]))
            .await?
            .into_inner()
            .order
            .is_some(),
        "what was applied stays readable"
    );
    let status = AdminServiceClient::new(channel)
        .get_projection_status(GetProjectionStatusRequest {})
        .await?
        .into_inner();
    let store = status.quarantined.first().context("a quarantined store")?;
    ensure!(
        (
            store.store_id.as_str(),
            store.revision,
            store.skipped_records
        ) == ("gangnam", 5, 4),
        "{store:?}"
    );
    ensure!(store.reason.contains("cannot be read"), "{}", store.reason);
    serving.finish(PATIENCE).await;
    projecting.finish(PATIENCE).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_log_stops_the_projector() -> Result<()> {
    let rig = Rig::embedded().await?;
    let (ledger, _) = orders(&rig, "gangnam", 3).await?;
    let (shutdown, _) = rig.project("one", 10);
    rig.projected(&ledger).await?;
    shutdown.finish(PATIENCE).await;
    let other: Arc<dyn EventLog> =
        Arc::new(SqliteLog::create(&rig.directory.path().join("other.db")).await?);
    let other = Rig {
        log: other,
        model: rig.model.clone(),
        directory: tempfile::tempdir()?,
    };
    orders(&other, "gangnam", 9).await?;
    let (shutdown, health) = other.project("one", 10);
    let limit = Instant::now() + PATIENCE;
    let reason = loop {
        match health.troubles().into_values().next() {
            Some(Trouble::Stopped(reason)) => break reason,
            other => ensure!(Instant::now() < limit, "{other:?}"),
        }
        sleep(Duration::from_millis(20)).await;
    };
    ensure!(reason.contains("rebuild it from this log"), "{reason}");
    shutdown.finish(PATIENCE).await;
    rig.projected(&ledger).await?;
    let (shutdown, health) = rig.project("one", 10);
    rig.projected(&ledger).await?;
    ensure!(health.troubles().is_empty());
    shutdown.finish(PATIENCE).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_dies_is_waited_for() -> Result<()> {
    let postgres = Postgres::start().await?;
    let rig = Rig::postgres(&postgres).await?;
    let (projecting, _) = rig.project("one", 10);
    let serving = Shutdown::new();
    let mut client = QueryServiceClient::new(
        rig.serve(&serving, Clock::manual(Timestamp::UNIX_EPOCH))
            .await?,
    );
    let (mut ledger, placed) = orders(&rig, "gangnam", 5).await?;
    rig.projected(&ledger).await?;
    postgres.kill();
    for _ in 0..5 {
        let order = sound(ledger.americano())?;
        rig.append(&sound(ledger.place(order))?).await?;
    }
    let status = refused(
        client
            .get_order(within(
                get_order("gangnam", &placed[0], &[]),
                Duration::from_secs(4),
            ))
            .await,
        Code::Unavailable,
        "READ_MODEL_UNAVAILABLE",
    )?;
    ensure!(status.get_error_details().retry_info().is_some());
    postgres.restart().await?;
    rig.projected(&ledger).await?;
    let token = rig.token(&ledger)?;
    ensure!(
        client
            .get_order(get_order("gangnam", &placed[0], &[token]))
            .await?
            .into_inner()
            .order
            .is_some()
    );
    ensure!(
        client
            .get_daily_sales(sales("gangnam", DAY))
            .await?
            .into_inner()
            .orders
            == 10
    );
    serving.finish(PATIENCE).await;
    projecting.finish(PATIENCE).await;
    Ok(())
}

/// A request for messages brings as many as a batch holds, and what comes while one batch is committed becomes the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_on_jetstream_holds_thousands_of_records() -> Result<()> {
    const ORDERS: usize = 5_000;
    let nats = Nats::single().await?;
    let directory = tempfile::tempdir()?;
    let model = ReadModel::open(&format!(
        "sqlite:{}",
        directory.path().join("read-model.db").display()
    ))?;
    let log: Arc<dyn EventLog> = Arc::new(JetStreamLog::init(&nats.config()).await?);
    let rig = Rig {
        log,
        model,
        directory,
    };
    let mut ledger = sound(Ledger::new("gangnam"))?;
    let mut records = vec![sound(ledger.open_day(DAY, &[("main", 1_000)]))?];
    for _ in 0..ORDERS {
        let order = sound(ledger.americano())?;
        records.push(sound(ledger.place(order))?);
    }
    let mut expectation = Expectation::Empty;
    for record in &records {
        let limit = Instant::now() + PATIENCE;
        let appended = match rig.log.append(record, &expectation, limit).await? {
            AppendOutcome::Stored(appended) => appended,
            other => bail!("{other:?}"),
        };
        expectation = Expectation::Tip(appended.tip);
    }
    let pause = Duration::from_millis(200);
    let slow = Arc::new(Observed::slow(rig.model.writer.clone(), pause));
    let writer: Arc<dyn ReadModelWriter> = slow.clone();
    let (projecting, _) = rig.project_through(&writer, "one", 5_000);
    rig.projected(&ledger).await?;
    projecting.finish(PATIENCE).await;
    // One order a record.
    ensure!(slow.most_placed() > 512, "{}", slow.most_placed());
    Ok(())
}
