//! How fast a log is projected from nothing, and where the time goes.
//!
//! ```text
//! cargo bench -p status-projector --features fixtures --bench catch_up -- --help
//! ```
//!
//! A log is filled with one-line orders, projected into an empty read model, and compared with two ceilings: the same batches committed
//! once more without reading or folding anything, and the database's own bulk load of the same rows.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::Parser;
use contract::{BusinessDate, OrderId, StoreId};
use event_log::{
    AppendOutcome, Checkpoint, Delivered, EventLog, Expectation, LedgerName, LogEpoch, LogError,
    LogLocation, Place, Placed, Position, Record, Revision, StreamHead, StreamIndex, Subscription,
    Tip,
};
use read_model::{
    Batch, DayRow, Fence, Generation, Heartbeat, ListRow, ReadModel, ReadModelError,
    ReadModelWriter, StoreRow, StreamRow,
};
use runtime::{Clock, Shutdown};
use status_projector::Config;
use status_projector::fixture::Ledger;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// As in the service.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PATIENCE: Duration = Duration::from_secs(120);
const DAY: &str = "2026-03-02";

#[derive(Debug, Parser)]
struct Options {
    /// Orders in the log.
    #[arg(long, default_value_t = 54_500)]
    orders: usize,
    /// Records that hold them.
    #[arg(long, default_value_t = 6_668)]
    records: usize,
    /// Stores that they are spread over.
    #[arg(long, default_value_t = 1)]
    stores: usize,
    /// Most records of a batch.
    #[arg(long, default_value_t = status_projector::DEFAULT_BATCH)]
    batch: usize,
    /// A NATS server without a log; an embedded log when absent.
    #[arg(long)]
    nats: Option<String>,
    /// A PostgreSQL server in which databases may be made; embedded SQLite when absent.
    #[arg(long)]
    postgres: Option<String>,
    /// How often it is projected.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Whether the ceilings are measured too.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    ceilings: bool,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let directory = tempfile::tempdir()?;
    let location = location(&options, &directory)?;
    location.init().await?;
    let log = location.open().await?;
    let begun = Instant::now();
    fill(&options, &*log).await?;
    println!(
        "{} orders in {} records of {} stores, recorded in {:.1} s",
        options.orders,
        options.records,
        options.stores,
        begun.elapsed().as_secs_f64()
    );
    let databases = Databases {
        postgres: options.postgres.clone(),
        directory: directory.path().to_owned(),
        made: AtomicU64::new(0),
    };
    for _ in 0..options.rounds {
        round(&options, &log, &databases).await?;
    }
    Ok(())
}

async fn round(options: &Options, log: &Arc<dyn EventLog>, databases: &Databases) -> Result<()> {
    let url = databases.fresh().await?;
    let kept = Arc::new(Watched::new(
        ReadModel::open(&url)?.writer,
        options.ceilings,
    ));
    kept.prepare().await?;
    let reading = Arc::new(AtomicU64::new(0));
    let log = Arc::new(WatchedLog {
        log: log.clone(),
        reading: reading.clone(),
    });
    let took = catch_up(options, log, kept.clone()).await?;
    let batches = std::mem::take(&mut *kept.batches.lock().await);
    let largest = kept.largest.load(Ordering::Relaxed);
    println!(
        "caught up in {:.3} s: {} commits, largest {largest} records; waiting for records {:.3} s, for rows {:.3} s, for commits {:.3} s",
        took.as_secs_f64(),
        kept.commits.load(Ordering::Relaxed),
        seconds(&reading),
        seconds(&kept.fetching),
        seconds(&kept.committing),
    );
    if !options.ceilings {
        return Ok(());
    }
    let again = databases.fresh().await?;
    let alone = commit_again(&again, batches).await?;
    let empty = databases.fresh().await?;
    ReadModel::open(&empty)?.writer.prepare().await?;
    let load = read_model::bulk_load(&url, &empty).await?;
    println!(
        "  the same batches alone {:.3} s; bulk load of the same {} rows {:.3} s = {:.0} % of the catch-up",
        alone.as_secs_f64(),
        load.rows,
        load.took.as_secs_f64(),
        100.0 * load.took.as_secs_f64() / took.as_secs_f64(),
    );
    Ok(())
}

/// From the start of the projector to the commit of the log's last record.
async fn catch_up(
    options: &Options,
    log: Arc<WatchedLog>,
    model: Arc<Watched>,
) -> Result<Duration> {
    let heads = async {
        let mut heads = Vec::new();
        for stream in 0..log.streams() {
            heads.push(log.head(StreamIndex(stream)).await?.position);
        }
        Ok::<_, LogError>(heads)
    };
    let heads = heads.await?;
    let generation = model.prepare().await?;
    let (shutdown, begun) = (Shutdown::new(), Instant::now());
    let config = Config {
        instance: "bench".into(),
        batch: options.batch,
    };
    let (log, writer): (Arc<dyn EventLog>, Arc<dyn ReadModelWriter>) = (log, model.clone());
    let _health = status_projector::start(config, &log, &writer, &shutdown, &Clock::system());
    for (stream, head) in (0..).map(StreamIndex).zip(heads) {
        let mut position = model.position.subscribe();
        let reached = position.wait_for(|reached| reached.get(&stream) >= Some(&head));
        tokio::time::timeout(PATIENCE, reached)
            .await
            .context("the projector does not get there")??;
    }
    let took = begun.elapsed();
    shutdown.finish(PATIENCE).await;
    let row = model
        .stream(generation, StreamIndex(0), log.epoch())
        .await?;
    ensure!(row.position > Position(0));
    Ok(took)
}

/// Commits batches that were committed elsewhere, and nothing else.
async fn commit_again(url: &str, batches: Vec<Batch>) -> Result<Duration> {
    let writer = ReadModel::open(url)?.writer;
    writer.prepare().await?;
    let generation = writer.prepare().await?;
    let mut terms = std::collections::BTreeMap::new();
    for batch in &batches {
        let stream = batch.fence.stream;
        if terms.contains_key(&stream) {
            continue;
        }
        let seen = writer
            .stream(generation, stream, batch.checkpoint.epoch)
            .await?;
        let owned = writer.claim(&seen, "bench", batch.checkpoint.epoch).await?;
        terms.insert(stream, owned.context("the stream is free")?.term);
    }
    let begun = Instant::now();
    for mut batch in batches {
        batch.fence.term = terms.get(&batch.fence.stream).copied().unwrap_or(0);
        writer.commit(&batch).await?;
    }
    Ok(begun.elapsed())
}

fn location(options: &Options, directory: &tempfile::TempDir) -> Result<LogLocation> {
    Ok(match &options.nats {
        Some(url) => {
            let mut config = event_log::jetstream::JetStreamConfig::new(vec![url.clone()]);
            // A stream of its own, so that one server serves for many runs.
            config.prefix = format!("BENCH{}", std::process::id());
            LogLocation::JetStream(config)
        }
        None => LogLocation::sqlite(&directory.path().join("log.db")),
    })
}

/// Fills the log as ordering does under load: what waits together is recorded together.
async fn fill(options: &Options, log: &dyn EventLog) -> Result<()> {
    let (orders, records) = (options.orders, options.records.max(options.stores));
    let mut stores = Vec::new();
    for index in 0..options.stores {
        let mut ledger = sound(Ledger::new(&format!("store-{index}")))?;
        let opened = sound(ledger.open_day(DAY, &[("main", 100_000)]))?;
        let tip = append(log, &opened, Expectation::Empty).await?;
        stores.push((ledger, tip));
    }
    let mut placed = 0;
    for index in 0..records {
        let until = orders * (index + 1) / records;
        let which = index % stores.len();
        let (ledger, tip) = stores.get_mut(which).context("a store")?;
        let mut sales = Vec::new();
        for _ in placed..until {
            sales.push(sound(ledger.americano())?);
        }
        if sales.is_empty() {
            continue;
        }
        placed = until;
        let record = sound(ledger.place_all(sales))?;
        *tip = append(log, &record, Expectation::Tip(*tip)).await?;
    }
    Ok(())
}

async fn append(log: &dyn EventLog, record: &Record, expectation: Expectation) -> Result<Tip> {
    match log
        .append(record, &expectation, Instant::now() + PATIENCE)
        .await?
    {
        AppendOutcome::Stored(appended) => Ok(appended.tip),
        other => bail!("{other:?}"),
    }
}

fn sound<T>(result: Result<T, status_projector::fixture::Failure>) -> Result<T> {
    result.map_err(|error| anyhow!("{error}"))
}

/// Empty read models, made as they are needed.
struct Databases {
    postgres: Option<String>,
    directory: PathBuf,
    made: AtomicU64,
}

impl Databases {
    async fn fresh(&self) -> Result<String> {
        use sqlx::Connection as _;
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let Some(server) = &self.postgres else {
            let path = self.directory.join(format!("read-model-{number}.db"));
            return Ok(format!("sqlite:{}", path.display()));
        };
        let name = format!("bench_{}_{number}", std::process::id());
        let (server, _) = server
            .rsplit_once('/')
            .context("--postgres is postgres://user@host:port/database")?;
        let mut connection = sqlx::PgConnection::connect(&format!("{server}/postgres")).await?;
        let make = format!("CREATE DATABASE {name}");
        sqlx::query(sqlx::AssertSqlSafe(make))
            .execute(&mut connection)
            .await?;
        sqlx::query("CHECKPOINT").execute(&mut connection).await?;
        connection.close().await?;
        Ok(format!("{server}/{name}"))
    }
}

fn seconds(us: &AtomicU64) -> f64 {
    Duration::from_micros(us.load(Ordering::Relaxed)).as_secs_f64()
}

async fn timed<T>(us: &AtomicU64, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let done = work.await;
    let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    us.fetch_add(took, Ordering::Relaxed);
    done
}

/// A writer that counts what it is asked for, and keeps the batches.
struct Watched {
    writer: Arc<dyn ReadModelWriter>,
    keeps: bool,
    batches: Mutex<Vec<Batch>>,
    position: tokio::sync::watch::Sender<std::collections::BTreeMap<StreamIndex, Position>>,
    commits: AtomicU64,
    largest: AtomicU64,
    fetching: AtomicU64,
    committing: AtomicU64,
}

impl Watched {
    fn new(writer: Arc<dyn ReadModelWriter>, keeps: bool) -> Self {
        Self {
            writer,
            keeps,
            batches: Mutex::default(),
            position: tokio::sync::watch::Sender::default(),
            commits: AtomicU64::new(0),
            largest: AtomicU64::new(0),
            fetching: AtomicU64::new(0),
            committing: AtomicU64::new(0),
        }
    }
}

#[async_trait::async_trait]
impl ReadModelWriter for Watched {
    async fn prepare(&self) -> Result<Generation, ReadModelError> {
        self.writer.prepare().await
    }

    async fn written(&self) -> Result<Vec<Generation>, ReadModelError> {
        self.writer.written().await
    }

    async fn take_over(&self, generation: Generation) -> Result<bool, ReadModelError> {
        self.writer.take_over(generation).await
    }

    async fn stream(
        &self,
        generation: Generation,
        stream: StreamIndex,
        epoch: LogEpoch,
    ) -> Result<StreamRow, ReadModelError> {
        self.writer.stream(generation, stream, epoch).await
    }

    async fn claim(
        &self,
        seen: &StreamRow,
        owner: &str,
        epoch: LogEpoch,
    ) -> Result<Option<StreamRow>, ReadModelError> {
        self.writer.claim(seen, owner, epoch).await
    }

    async fn release(&self, fence: &Fence) -> Result<(), ReadModelError> {
        self.writer.release(fence).await
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), ReadModelError> {
        self.writer.beat(heartbeat).await
    }

    async fn stores(
        &self,
        generation: Generation,
        stores: &[StoreId],
    ) -> Result<Vec<StoreRow>, ReadModelError> {
        timed(&self.fetching, self.writer.stores(generation, stores)).await
    }

    async fn orders(
        &self,
        generation: Generation,
        orders: &[(StoreId, OrderId)],
    ) -> Result<Vec<(StoreId, OrderId, Vec<u8>)>, ReadModelError> {
        timed(&self.fetching, self.writer.orders(generation, orders)).await
    }

    async fn days(
        &self,
        generation: Generation,
        days: &[(StoreId, BusinessDate)],
    ) -> Result<Vec<DayRow>, ReadModelError> {
        timed(&self.fetching, self.writer.days(generation, days)).await
    }

    async fn day_lists(
        &self,
        generation: Generation,
        days: &[(StoreId, BusinessDate)],
    ) -> Result<Vec<ListRow>, ReadModelError> {
        timed(&self.fetching, self.writer.day_lists(generation, days)).await
    }

    async fn commit(&self, batch: &Batch) -> Result<(), ReadModelError> {
        timed(&self.committing, self.writer.commit(batch)).await?;
        let (before, now) = (batch.fence.position.0, batch.checkpoint.position.0);
        self.largest.fetch_max(now - before, Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.position.send_modify(|position| {
            position.insert(batch.fence.stream, batch.checkpoint.position);
        });
        if self.keeps {
            self.batches.lock().await.push(batch.clone());
        }
        Ok(())
    }
}

/// A log that counts how long its subscriber waits.
struct WatchedLog {
    log: Arc<dyn EventLog>,
    reading: Arc<AtomicU64>,
}

struct WatchedSubscription {
    subscription: Box<dyn Subscription>,
    reading: Arc<AtomicU64>,
}

#[async_trait::async_trait]
impl Subscription for WatchedSubscription {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivered>, LogError> {
        timed(&self.reading, self.subscription.next(max, wait)).await
    }
}

#[async_trait::async_trait]
impl EventLog for WatchedLog {
    fn epoch(&self) -> LogEpoch {
        self.log.epoch()
    }

    fn streams(&self) -> u16 {
        self.log.streams()
    }

    fn stream_of(&self, ledger: &LedgerName) -> StreamIndex {
        self.log.stream_of(ledger)
    }

    async fn append(
        &self,
        record: &Record,
        expectation: &Expectation,
        deadline: Instant,
    ) -> Result<AppendOutcome, LogError> {
        self.log.append(record, expectation, deadline).await
    }

    async fn tip(&self, ledger: &LedgerName) -> Result<Option<Tip>, LogError> {
        self.log.tip(ledger).await
    }

    async fn read_placed(
        &self,
        ledger: &LedgerName,
        after: Option<&event_log::ChainState>,
        max: usize,
    ) -> Result<Vec<Placed>, LogError> {
        self.log.read_placed(ledger, after, max).await
    }

    async fn read_at(
        &self,
        ledger: &LedgerName,
        place: &Place,
    ) -> Result<Option<Record>, LogError> {
        self.log.read_at(ledger, place).await
    }

    async fn read_one(
        &self,
        ledger: &LedgerName,
        revision: Revision,
    ) -> Result<Option<Record>, LogError> {
        self.log.read_one(ledger, revision).await
    }

    async fn ledgers(&self) -> Result<Vec<LedgerName>, LogError> {
        self.log.ledgers().await
    }

    async fn head(&self, stream: StreamIndex) -> Result<StreamHead, LogError> {
        self.log.head(stream).await
    }

    async fn subscribe(
        &self,
        stream: StreamIndex,
        after: Option<&Checkpoint>,
    ) -> Result<Box<dyn Subscription>, LogError> {
        Ok(Box::new(WatchedSubscription {
            subscription: self.log.subscribe(stream, after).await?,
            reading: self.reading.clone(),
        }))
    }

    async fn server_time(&self) -> Result<jiff::Timestamp, LogError> {
        self.log.server_time().await
    }

    fn shares_clock(&self) -> bool {
        self.log.shares_clock()
    }

    async fn ping(&self) -> Result<(), LogError> {
        self.log.ping().await
    }

    fn distrust(&self, detail: String) -> LogError {
        self.log.distrust(detail)
    }
}
