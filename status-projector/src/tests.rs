//! The task of a stream over a real log and a real read model, with a fold that panics, or a database that is slow.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::event::TenderKind;
use contract::{BusinessDate, OrderId, StoreId};
use event_log::sqlite::SqliteLog;
use event_log::{AppendOutcome, EventLog, Expectation, LogEpoch, Record, Revision, StreamIndex};
use jiff::Timestamp;
use read_model::{
    Batch, DayRow, Facts, Fence, Generation, Heartbeat, ListRow, ReadModel, ReadModelError,
    ReadModelWriter, StoreRow, StreamRow,
};
use runtime::{Clock, Shutdown};
use tokio::time::{Instant, sleep};

use crate::Config;
use crate::effects::Fold;
use crate::fixture::{Ledger, STANDARD, line, paid};
use crate::fold::{Entry, StoreInput, StoreOutput, project};
use crate::health::Health;
use crate::stream::{FIRST_BATCH, Held, STUCK, StreamTask};

const PATIENCE: Duration = Duration::from_secs(60);

struct Rig {
    log: Arc<dyn EventLog>,
    model: ReadModel,
    directory: tempfile::TempDir,
}

fn open(directory: &Path) -> ReadModel {
    ReadModel::open(&format!(
        "sqlite:{}",
        directory.join("read-model.db").display()
    ))
    .unwrap()
}

impl Rig {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = SqliteLog::create(&directory.path().join("log.db"))
            .await
            .unwrap();
        let model = open(directory.path());
        model.writer.prepare().await.unwrap();
        Self {
            log: Arc::new(log),
            model,
            directory,
        }
    }

    async fn append(&self, record: &Record) {
        let tip = self.log.tip(&record.header().ledger).await.unwrap();
        let expectation = tip.map_or(Expectation::Empty, Expectation::Tip);
        let appended = self
            .log
            .append(record, &expectation, Instant::now() + PATIENCE)
            .await
            .unwrap();
        assert!(matches!(appended, AppendOutcome::Stored(_)), "{appended:?}");
    }

    async fn sell(&self, ledger: &mut Ledger, orders: usize) {
        if ledger.chain.is_none() {
            self.append(&ledger.open_day("2026-03-02", &[("main", 1_000)]).unwrap())
                .await;
        }
        for _ in 0..orders {
            let order = ledger.americano().unwrap();
            self.append(&ledger.place(order).unwrap()).await;
        }
    }

    fn task(&self, instance: &str, fold: Fold, model: Arc<dyn ReadModelWriter>) -> StreamTask {
        let config = Config {
            instance: instance.into(),
            batch: 1_000,
        };
        StreamTask {
            generation: Generation(1),
            stream: StreamIndex(0),
            config: Arc::new(config),
            log: self.log.clone(),
            model,
            clock: Clock::system(),
            health: Health::default(),
            fold,
            held: Held::Never,
            size: 1_000,
            patience: STUCK,
        }
    }

    async fn row(&self, ledger: &Ledger) -> Option<StoreRow> {
        let store = StoreId::new(ledger.name.as_str()).unwrap();
        let found = self.model.writer.stores(Generation(1), &[store]).await;
        found.unwrap().into_iter().next()
    }

    async fn reaches(&self, ledger: &Ledger, revision: Revision) -> StoreRow {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.row(ledger).await {
                Some(row) if row.revision() >= revision => return row,
                row => assert!(Instant::now() < until, "{row:?}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Panics at the third record of busan.
fn panics(input: &StoreInput, entries: &[Entry], at: Timestamp) -> StoreOutput {
    for entry in entries {
        if let Entry::Record { record, .. } = entry {
            let header = record.header();
            assert!(
                header.ledger.as_str() != "busan" || record.revision() != Revision(3),
                "no such fold"
            );
        }
    }
    project(input, entries, at)
}

/// Few records are folded on the task's own thread, many on another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_fold_quarantines_its_store_alone() {
    for orders in [4, 40] {
        let rig = Rig::new().await;
        let (mut busan, mut gangnam) = (
            Ledger::new("busan").unwrap(),
            Ledger::new("gangnam").unwrap(),
        );
        for _ in 0..2 {
            rig.sell(&mut gangnam, orders).await;
            rig.sell(&mut busan, orders).await;
        }
        let shutdown = Shutdown::new();
        let task = rig.task("one", panics, rig.model.writer.clone());
        shutdown.spawn_for_good("the stream", task.run(shutdown.soft()));
        let last = gangnam.chain.unwrap().revision;
        let sound = rig.reaches(&gangnam, last).await;
        assert_eq!(sound.quarantine, None);
        // The last records in the log are busan's.
        let until = Instant::now() + PATIENCE;
        let still = loop {
            let row = rig.row(&busan).await.unwrap();
            match &row.quarantine {
                Some(quarantine) if quarantine.skipped + 3 == busan.chain.unwrap().revision.0 => {
                    break row;
                }
                other => assert!(Instant::now() < until, "{other:?}"),
            }
            sleep(Duration::from_millis(20)).await;
        };
        let quarantine = still.quarantine.clone().unwrap();
        assert_eq!(
            (still.revision(), quarantine.revision),
            (Revision(2), Revision(3))
        );
        assert_eq!(
            quarantine.reason,
            "revision 3: the fold panicked: no such fold"
        );
        assert!(shutdown.failure().is_none());
        shutdown.finish(PATIENCE).await;
    }
}

/// A database that takes its time or fails, and counts what is asked of it.
struct Watched {
    writer: Arc<dyn ReadModelWriter>,
    /// For each answer about the stream.
    answer: Duration,
    /// For each step of a batch.
    step: Duration,
    /// Records of the largest batch that it commits.
    most: u64,
    /// Records of each batch that it was given.
    given: Mutex<Vec<u64>>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Rows read since the last commit that succeeded.
    fetched: usize,
    /// Of each commit that succeeded.
    commits: Vec<Commit>,
    /// So many commits fail, after they were carried out or without.
    failing: usize,
    carried_out: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Commit {
    fetched: usize,
    written: usize,
}

impl Watched {
    fn new(writer: Arc<dyn ReadModelWriter>) -> Self {
        Self {
            writer,
            answer: Duration::ZERO,
            step: Duration::ZERO,
            most: u64::MAX,
            given: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    async fn fetched<T>(
        &self,
        rows: impl Future<Output = Result<Vec<T>, ReadModelError>>,
    ) -> Result<Vec<T>, ReadModelError> {
        sleep(self.step).await;
        let rows = rows.await?;
        self.seen().fetched += rows.len();
        Ok(rows)
    }
}

fn rows_of(batch: &Batch) -> usize {
    let facts = &batch.facts;
    batch.stores.len()
        + batch.placed.len()
        + batch.orders.len()
        + batch.days.len()
        + facts.facts.len()
        + facts.lines.len()
        + facts.discounts.len()
        + facts.tenders.len()
        + facts.completions.len()
        + facts.cash.len()
        + facts.lists.len()
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
        sleep(self.answer).await;
        self.writer.stream(generation, stream, epoch).await
    }

    async fn claim(
        &self,
        seen: &StreamRow,
        owner: &str,
        epoch: LogEpoch,
    ) -> Result<Option<StreamRow>, ReadModelError> {
        sleep(self.answer).await;
        self.writer.claim(seen, owner, epoch).await
    }

    async fn release(&self, fence: &Fence) -> Result<(), ReadModelError> {
        self.writer.release(fence).await
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), ReadModelError> {
        sleep(self.answer).await;
        self.writer.beat(heartbeat).await
    }

    async fn stores(
        &self,
        generation: Generation,
        stores: &[StoreId],
    ) -> Result<Vec<StoreRow>, ReadModelError> {
        self.fetched(self.writer.stores(generation, stores)).await
    }

    async fn orders(
        &self,
        generation: Generation,
        orders: &[(StoreId, OrderId)],
    ) -> Result<Vec<(StoreId, OrderId, Vec<u8>)>, ReadModelError> {
        self.fetched(self.writer.orders(generation, orders)).await
    }

    async fn days(
        &self,
        generation: Generation,
        days: &[(StoreId, BusinessDate)],
    ) -> Result<Vec<DayRow>, ReadModelError> {
        self.fetched(self.writer.days(generation, days)).await
    }

    async fn day_lists(
        &self,
        generation: Generation,
        days: &[(StoreId, BusinessDate)],
    ) -> Result<Vec<ListRow>, ReadModelError> {
        self.fetched(self.writer.day_lists(generation, days)).await
    }

    /// Slow before the transaction and within it, where nobody can take the stream over.
    async fn commit(&self, batch: &Batch) -> Result<(), ReadModelError> {
        sleep(self.step).await;
        sleep(self.step).await;
        let records = batch.checkpoint.position.0 - batch.fence.position.0;
        self.given.lock().unwrap().push(records);
        if records > self.most {
            return Err(ReadModelError::Unavailable(sqlx::Error::PoolTimedOut));
        }
        let (fails, carried_out) = {
            let mut seen = self.seen();
            let fails = seen.failing > 0;
            seen.failing = seen.failing.saturating_sub(1);
            (fails, seen.carried_out)
        };
        if !fails || carried_out {
            self.writer.commit(batch).await?;
        }
        if fails {
            let lost = std::io::Error::other("the connection is lost");
            return Err(ReadModelError::Unavailable(lost.into()));
        }
        let mut seen = self.seen();
        let fetched = std::mem::take(&mut seen.fetched);
        let written = rows_of(batch);
        seen.commits.push(Commit { fetched, written });
        Ok(())
    }
}

/// A batch takes longer than a standby waits for a sign of life: because every answer is late, or because there is much to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_projectors_on_a_slow_database_do_not_fence_each_other_for_ever() {
    let late = Duration::from_millis(700);
    for (answer, step) in [(late, late), (Duration::ZERO, 2 * late)] {
        let rig = Rig::new().await;
        let mut gangnam = Ledger::new("gangnam").unwrap();
        rig.sell(&mut gangnam, 100).await;
        let shutdown = Shutdown::new();
        for instance in ["one", "other"] {
            let slow = Watched {
                answer,
                step,
                ..Watched::new(open(rig.directory.path()).writer)
            };
            let task = rig.task(instance, project, Arc::new(slow));
            shutdown.spawn_for_good("the stream", task.run(shutdown.soft()));
        }
        let last = gangnam.chain.unwrap().revision;
        rig.reaches(&gangnam, last).await;
        let row = rig
            .model
            .writer
            .stream(Generation(1), StreamIndex(0), rig.log.epoch())
            .await
            .unwrap();
        assert_eq!(row.term, 1, "nobody took the stream from its owner");
        shutdown.finish(Duration::from_secs(1)).await;
    }
}

/// Whoever had the stream before may have failed over a batch that was too large; and what was too large once is not tried first again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_taken_over_with_a_small_batch_and_goes_on_with_what_worked() {
    let rig = Rig::new().await;
    let mut gangnam = Ledger::new("gangnam").unwrap();
    rig.sell(&mut gangnam, 400).await;
    let model = Arc::new(Watched {
        most: 100,
        ..Watched::new(rig.model.writer.clone())
    });
    let shutdown = Shutdown::new();
    let task = rig.task("one", project, model.clone());
    shutdown.spawn_for_good("the stream", task.run(shutdown.soft()));
    rig.reaches(&gangnam, gangnam.chain.unwrap().revision).await;
    shutdown.finish(PATIENCE).await;
    let given = model.given.lock().unwrap().clone();
    assert_eq!(given[0], u64::try_from(FIRST_BATCH).unwrap(), "{given:?}");
    // What works is followed by twice as much, what fails by half.
    assert!(given.contains(&128), "{given:?}");
    assert!(given.iter().all(|records| *records <= 128), "{given:?}");
    for pair in given.windows(2) {
        assert!(pair[0] <= 100 || pair[1] <= 64, "{given:?}");
    }
}

/// Or two that are both too slow would take the stream from each other for ever.
#[tokio::test]
async fn whoever_loses_a_stream_lets_the_other_be_ever_longer_until_it_makes_progress_itself() {
    let rig = Rig::new().await;
    let mut task = rig.task("one", project, rig.model.writer.clone());
    let mut last = task.patience;
    for _ in 0..4 {
        task.lose();
        assert_eq!(task.patience, last * 2);
        last = task.patience;
    }
    for _ in 0..40 {
        task.lose();
    }
    assert!(task.patience > last && task.patience < STUCK * 1_000);
    task.learn(1, Duration::ZERO, false);
    assert!(task.patience > last, "that was no progress");
    task.learn(1, Duration::ZERO, true);
    assert_eq!(task.patience, STUCK);
}

/// One more order, and what its batch read and wrote, where `items` different things were sold by `orders` orders before.
async fn one_more_order(items: usize, orders: usize) -> Commit {
    let rig = Rig::new().await;
    let mut gangnam = Ledger::new("gangnam").unwrap();
    rig.sell(&mut gangnam, orders).await;
    for item in 0..items {
        let sku = format!("item-{item}");
        let lines = vec![line(&sku, "coffee", STANDARD, 1, 4_500, 0)];
        let tenders = vec![paid("card-1", TenderKind::Card, 4_500)];
        let order = gangnam.sale(lines, vec![], tenders).unwrap();
        rig.append(&gangnam.place(order).unwrap()).await;
    }
    let watched = Arc::new(Watched::new(rig.model.writer.clone()));
    let shutdown = Shutdown::new();
    let task = rig.task("one", project, watched.clone());
    shutdown.spawn_for_good("the stream", task.run(shutdown.soft()));
    rig.reaches(&gangnam, gangnam.chain.unwrap().revision).await;
    rig.sell(&mut gangnam, 1).await;
    rig.reaches(&gangnam, gangnam.chain.unwrap().revision).await;
    shutdown.finish(PATIENCE).await;
    let last = watched.seen().commits.last().copied();
    last.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_batch_costs_the_same_whatever_the_menu_and_the_day() {
    // The store, the order, the day, the fact with its line and tender, the item and its category.
    let least = Commit {
        fetched: 0,
        written: 8,
    };
    assert_eq!(one_more_order(1, 1).await, least);
    assert_eq!(one_more_order(400, 1).await, least);
    assert_eq!(one_more_order(1, 400).await, least);
}

/// The rows of a ledger, projected in one go from nothing.
async fn in_one_go(rig: &Rig, ledger: &Ledger) -> (StoreRow, Vec<DayRow>) {
    let directory = tempfile::tempdir().unwrap();
    let model = open(directory.path());
    model.writer.prepare().await.unwrap();
    let other = Rig {
        log: rig.log.clone(),
        model,
        directory,
    };
    let shutdown = Shutdown::new();
    let task = other.task("one", project, other.model.writer.clone());
    shutdown.spawn_for_good("the stream", task.run(shutdown.soft()));
    other.reaches(ledger, ledger.chain.unwrap().revision).await;
    shutdown.finish(PATIENCE).await;
    other.rows(ledger).await
}

impl Rig {
    async fn rows(&self, ledger: &Ledger) -> (StoreRow, Vec<DayRow>) {
        let row = self.row(ledger).await.unwrap();
        let days = [(row.store.clone(), row.latest_date.unwrap())];
        let days = self.model.writer.days(Generation(1), &days).await.unwrap();
        (row, days)
    }
}

/// Nobody knows whether a commit whose answer is lost was carried out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_memory_is_forgotten_when_a_commit_fails() {
    for carried_out in [false, true] {
        let rig = Rig::new().await;
        let mut gangnam = Ledger::new("gangnam").unwrap();
        rig.sell(&mut gangnam, 5).await;
        let watched = Arc::new(Watched::new(rig.model.writer.clone()));
        let shutdown = Shutdown::new();
        let task = rig.task("one", project, watched.clone());
        shutdown.spawn_for_good("the stream", task.run(shutdown.soft()));
        rig.reaches(&gangnam, gangnam.chain.unwrap().revision).await;
        {
            let mut seen = watched.seen();
            (seen.failing, seen.carried_out) = (1, carried_out);
        }
        rig.sell(&mut gangnam, 1).await;
        rig.reaches(&gangnam, gangnam.chain.unwrap().revision).await;
        rig.sell(&mut gangnam, 1).await;
        rig.reaches(&gangnam, gangnam.chain.unwrap().revision).await;
        shutdown.finish(PATIENCE).await;
        let (commits, failing) = {
            let seen = watched.seen();
            (seen.commits.clone(), seen.failing)
        };
        let after = commits.iter().rev().find(|commit| commit.fetched > 0);
        assert_eq!(failing, 0);
        // The store and its open day.
        assert_eq!(after.map(|commit| commit.fetched), Some(2), "{commits:?}");
        assert_eq!(rig.rows(&gangnam).await, in_one_go(&rig, &gangnam).await);
    }
}

/// Another instance projects what follows, and the one before comes back: it builds on the other's rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_memory_is_forgotten_with_the_fence() {
    let rig = Rig::new().await;
    let mut gangnam = Ledger::new("gangnam").unwrap();
    rig.sell(&mut gangnam, 5).await;
    let watched = Arc::new(Watched::new(rig.model.writer.clone()));
    let shutdown = Shutdown::new();
    let task = rig.task("one", project, watched.clone());
    shutdown.spawn_for_good("the stream", task.run(shutdown.soft()));
    rig.reaches(&gangnam, gangnam.chain.unwrap().revision).await;
    let writer = &rig.model.writer;
    let seen = loop {
        let seen = writer
            .stream(Generation(1), StreamIndex(0), rig.log.epoch())
            .await
            .unwrap();
        if writer
            .claim(&seen, "other", rig.log.epoch())
            .await
            .unwrap()
            .is_some()
        {
            break seen;
        }
    };
    // The other owner does something to the store's row and is gone.
    let mut row = rig.row(&gangnam).await.unwrap();
    row.name.insert("ko".into(), "강남".into());
    let batch = Batch {
        fence: Fence {
            generation: Generation(1),
            stream: StreamIndex(0),
            term: seen.term + 1,
            position: seen.position,
        },
        checkpoint: seen.checkpoint().unwrap(),
        head: seen.head,
        lag_us: 0,
        orphans: 0,
        at: Timestamp::UNIX_EPOCH,
        stores: vec![row],
        placed: vec![],
        orders: vec![],
        facts: Facts::default(),
        days: vec![],
    };
    writer.commit(&batch).await.unwrap();
    rig.sell(&mut gangnam, 1).await;
    let row = rig.reaches(&gangnam, gangnam.chain.unwrap().revision).await;
    assert_eq!(row.name.get("ko").map(String::as_str), Some("강남"));
    shutdown.finish(PATIENCE).await;
}
