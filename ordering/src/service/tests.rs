//! The registry of stores: overload, leaving memory, the sweep; and the catalog's file.

#[path = "card_number_tests.rs"]
mod card_numbers;
#[path = "repeat_tests.rs"]
mod repeats;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contract::event::{Channel, Pricing, ServiceMode, TenderKind};
use contract::{Money, OrderId, Reason, Rejection, Slug, StoreId};
use event_log::disturbed::{Disturbance, Disturbed};
use event_log::sqlite::SqliteLog;
use event_log::{AppendOutcome, EventLog, Expectation, LedgerName, LogError, Place, Record};
use jiff::{SignedDuration, Timestamp};
use runtime::config::Settings;
use runtime::{Clock, Shutdown};
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::RwLock;
use tokio::time::Instant;
use uuid::Uuid;

use super::config::Config;
use super::membership::Membership;
use super::registry::Registry;
use crate::catalog::{self, Catalog, CatalogSource};
use crate::domain::{
    Actor, ChangeStatus, Command, CommandId, Draft, DraftLine, DraftTender, NewStatus, PlaceOrder,
    Principal,
};
use crate::ledger::{Answer, CommandIndex, Verdict, Work};

struct Service {
    directory: tempfile::TempDir,
    log: Arc<dyn EventLog>,
    registry: Registry,
    catalog: CatalogSource,
    clock: Clock,
    config: Config,
    _shutdown: Shutdown,
}

impl Service {
    async fn start(flags: &[(&str, &str)], clock: Clock) -> Self {
        Self::with_catalog(catalog::default_catalog().unwrap(), flags, clock).await
    }

    async fn with_catalog(catalog: Catalog, flags: &[(&str, &str)], clock: Clock) -> Self {
        Self::with_log(catalog, flags, clock, |log| log).await
    }

    async fn with_log(
        catalog: Catalog,
        flags: &[(&str, &str)],
        clock: Clock,
        through: impl FnOnce(Arc<dyn EventLog>) -> Arc<dyn EventLog>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.db");
        let log = through(Arc::new(SqliteLog::create(&path).await.unwrap()));
        Self::on(directory, log, catalog, flags, clock).await
    }

    /// The same directory and log, as after a restart.
    async fn restarted(self, catalog: Catalog, flags: &[(&str, &str)]) -> Self {
        Self::on(self.directory, self.log, catalog, flags, self.clock).await
    }

    async fn on(
        directory: tempfile::TempDir,
        log: Arc<dyn EventLog>,
        catalog: Catalog,
        flags: &[(&str, &str)],
        clock: Clock,
    ) -> Self {
        let flags: Vec<(&str, Option<String>)> = flags
            .iter()
            .map(|(key, value)| (*key, Some((*value).to_owned())))
            .collect();
        let mut settings = Settings::load(None, &flags);
        let config = Config::from(&mut settings).unwrap();
        settings.finish().unwrap();
        let index = CommandIndex::open(&directory.path().join("index.db"))
            .await
            .unwrap();
        let catalog = CatalogSource::fixed(catalog);
        let (membership, shutdown) = (Membership::new(&config), Shutdown::new());
        let registry = Registry::new(
            config.clone(),
            log.clone(),
            index,
            catalog.clone(),
            clock.clone(),
            membership,
            shutdown.clone(),
        );
        Self {
            directory,
            log,
            registry,
            catalog,
            clock,
            config,
            _shutdown: shutdown,
        }
    }

    fn store() -> StoreId {
        StoreId::new("gangnam").unwrap()
    }

    fn order(&self) -> Work {
        let slug = |text: &str| Slug::new(text).unwrap();
        let (service_mode, till_unit_price) = (None, None);
        let (line_id, sku) = (slug("l1"), slug("americano"));
        let line = DraftLine {
            line_id,
            sku,
            quantity: 1,
            options: vec![],
            service_mode,
            discounts: vec![],
            till_unit_price,
            till_item: None,
        };
        let draft = Draft {
            store_id: Self::store(),
            terminal_id: slug("till-1"),
            terminal_seq: 0,
            staff_id: None,
            channel: Channel::Counter,
            service_mode: ServiceMode::EatIn,
            lines: vec![line],
            order_discounts: vec![],
            promotion_codes: vec![],
            member: None,
            pricing: Pricing::Server,
        };
        let tender = DraftTender {
            tender_id: slug("t1"),
            kind: TenderKind::Card,
            scheme: String::new(),
            amount: Some(Money::new(4_500)),
            tendered: None,
            change: None,
            external_reference: String::new(),
            drawer_id: None,
        };
        let order_id = OrderId::from_uuid(Uuid::now_v7());
        let place = PlaceOrder {
            order_id,
            draft,
            tenders: vec![tender],
            expected_total: None,
            membership: None,
            quoted: None,
        };
        let actor = Actor {
            principal: Principal::TILL,
            client_time: Some(self.clock.now()),
            ..Actor::default()
        };
        let store = self.catalog.current().stores[&Self::store()].clone();
        Work::new(Command::PlaceOrder(Box::new(place)), actor, store)
    }

    async fn place(&self, patience: Duration) -> Verdict {
        self.registry
            .execute(&Self::store(), self.order(), Instant::now() + patience)
            .await
    }

    /// Asks another store than the one that sells, which brings it into memory.
    async fn ask(&self, store: &str) -> Result<u64, Rejection> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let (store, id) = (StoreId::new(store).unwrap(), CommandId(Uuid::nil()));
        let asked = self.registry.outcome(&store, id, None, true, deadline);
        asked.await.map(|outcome| outcome.revision)
    }

    async fn revision(&self) -> u64 {
        let asked = self
            .registry
            .outcome(
                &Self::store(),
                CommandId(Uuid::nil()),
                None,
                true,
                Instant::now() + Duration::from_secs(5),
            )
            .await;
        asked.unwrap().revision
    }
}

fn ticket(verdict: &Verdict) -> i64 {
    let answer: &Answer = verdict.as_ref().unwrap();
    answer.view(&Service::store()).unwrap().ticket_number
}

fn now() -> Clock {
    Clock::system()
}

/// Appends panic while they are told to, before or after the record is stored.
struct Panicking {
    armed: Arc<AtomicBool>,
    stores_first: bool,
}

#[async_trait::async_trait]
impl Disturbance for Panicking {
    async fn append(
        &self,
        log: &dyn EventLog,
        record: &Record,
        expectation: &Expectation,
        deadline: Instant,
    ) -> Result<AppendOutcome, LogError> {
        let armed = self.armed.load(Ordering::Relaxed);
        assert!(!armed || self.stores_first, "the append breaks down");
        let appended = log.append(record, expectation, deadline).await;
        assert!(!armed, "what was stored is not said");
        appended
    }
}

#[tokio::test]
async fn a_panic_in_a_store_task_answers_unknown_and_the_store_is_opened_again() {
    for stores_first in [false, true] {
        let armed = Arc::new(AtomicBool::new(false));
        let panicking = Panicking {
            armed: armed.clone(),
            stores_first,
        };
        let through = move |log| -> Arc<dyn EventLog> { Disturbed::new(log, panicking) };
        let catalog = catalog::default_catalog().unwrap();
        let service = Service::with_log(catalog, &[], now(), through).await;
        let patience = Duration::from_secs(5);
        service.place(patience).await.unwrap();
        armed.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        let work = service.order();
        let broken = service
            .registry
            .execute(&Service::store(), work.clone(), begun + patience)
            .await
            .unwrap_err();
        assert_eq!(broken.reason, Reason::OutcomeUnknown);
        assert!(begun.elapsed() < patience, "told at once");
        assert_eq!(service.registry.broken_tasks(), 1);
        armed.store(false, Ordering::Relaxed);
        // The same command, again: recorded once, whether it had been or not.
        let answer = service
            .registry
            .execute(&Service::store(), work, Instant::now() + patience)
            .await
            .unwrap();
        assert_eq!(answer.replayed, stores_first);
        assert_eq!(service.revision().await, 2);
        assert!(!service._shutdown.is_soft(), "other stores go on");
    }
}

/// Records are read at their places only while nobody holds the gate.
struct Gated(Arc<RwLock<()>>);

#[async_trait::async_trait]
impl Disturbance for Gated {
    async fn read_at(
        &self,
        log: &dyn EventLog,
        ledger: &LedgerName,
        place: &Place,
    ) -> Result<Option<Record>, LogError> {
        let _open = self.0.read().await;
        log.read_at(ledger, place).await
    }
}

#[tokio::test]
async fn a_store_sells_on_while_an_order_that_left_memory_is_read() {
    let gate = Arc::<RwLock<()>>::default();
    let held = gate.clone();
    let through = move |log| -> Arc<dyn EventLog> { Disturbed::new(log, Gated(held)) };
    let catalog = catalog::default_catalog().unwrap();
    let service = Service::with_log(catalog, &[], now(), through).await;
    let (store, patience) = (Service::store(), Duration::from_secs(20));
    let placed = service.order();
    let order_id = placed.command.new_order().unwrap();
    let step = |to| Work {
        command: Command::ChangeStatus(ChangeStatus {
            order_id,
            request_id: contract::RequestId::from_uuid(Uuid::now_v7()),
            to,
        }),
        ..placed.clone()
    };
    let carry_out = |work| {
        let (registry, store) = (service.registry.clone(), store.clone());
        async move {
            registry
                .execute(&store, work, Instant::now() + patience)
                .await
        }
    };
    carry_out(placed.clone()).await.unwrap();
    for to in [NewStatus::Preparing, NewStatus::Ready, NewStatus::Completed] {
        carry_out(step(to)).await.unwrap();
    }
    let shut = gate.write().await;
    let waiting = tokio::spawn(carry_out(step(NewStatus::Preparing)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    for number in 2..5 {
        assert_eq!(ticket(&carry_out(service.order()).await), number);
    }
    assert!(!waiting.is_finished(), "it was read through the gate");
    drop(shut);
    let refused = waiting.await.unwrap().unwrap_err();
    assert_eq!(refused.reason, Reason::IllegalTransition);
}

#[tokio::test]
async fn a_stuck_log_fills_the_queue_and_then_refuses_at_once() {
    let service = Service::start(&[("ordering.queue", "2")], now()).await;
    service.place(Duration::from_secs(5)).await.unwrap();
    // Somebody else holds the log's write lock: appends are neither stored nor refused.
    let options = SqliteConnectOptions::new().filename(service.directory.path().join("log.db"));
    let mut holder = sqlx::SqliteConnection::connect_with(&options)
        .await
        .unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut holder)
        .await
        .unwrap();
    let patience = Duration::from_millis(400);
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let (registry, work) = (service.registry.clone(), service.order());
        waiting.push(tokio::spawn(async move {
            registry
                .execute(&Service::store(), work, Instant::now() + patience)
                .await
        }));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut reasons = BTreeMap::new();
    for verdict in waiting {
        *reasons
            .entry(verdict.await.unwrap().unwrap_err().reason.as_str())
            .or_insert(0) += 1;
    }
    assert!(
        reasons["OVERLOADED"] >= 1 && reasons["OUTCOME_UNKNOWN"] >= 1,
        "{reasons:?}"
    );
    sqlx::query("ROLLBACK").execute(&mut holder).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(rejection) = service.place(Duration::from_secs(10)).await {
        assert_eq!(rejection.reason, Reason::Overloaded);
        assert!(Instant::now() < deadline, "the queue never emptied");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_idle_store_leaves_memory_and_comes_back() {
    let service = Service::start(&[("ordering.idle_ms", "20")], now()).await;
    let place = || service.place(Duration::from_secs(5));
    assert_eq!(ticket(&place().await), 1);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !service.registry.in_memory().is_empty() {
        assert!(
            Instant::now() < deadline,
            "the idle store never left memory"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(ticket(&place().await), 2);
}

#[tokio::test]
async fn at_the_limit_the_least_recently_used_idle_store_leaves() {
    let service = Service::start(&[("ordering.max_stores", "2")], now()).await;
    let place = || service.place(Duration::from_secs(5));
    place().await.unwrap();
    service.ask("hongdae").await.unwrap();
    place().await.unwrap();
    // Nobody is shut out: the third store gets in at once, in the place of the one that was called least recently.
    service.ask("haeundae").await.unwrap();
    assert_eq!(service.registry.in_memory(), ["gangnam", "haeundae"]);
    service.ask("hongdae").await.unwrap();
    assert_eq!(service.registry.in_memory(), ["haeundae", "hongdae"]);
    assert_eq!(ticket(&place().await), 3);
}

#[tokio::test]
async fn a_store_at_work_does_not_leave_for_another() {
    let service = Service::start(&[("ordering.max_stores", "1")], now()).await;
    service.place(Duration::from_secs(5)).await.unwrap();
    let options = SqliteConnectOptions::new().filename(service.directory.path().join("log.db"));
    let mut holder = sqlx::SqliteConnection::connect_with(&options)
        .await
        .unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut holder)
        .await
        .unwrap();
    let (registry, work) = (service.registry.clone(), service.order());
    let deadline = Instant::now() + Duration::from_secs(10);
    let working =
        tokio::spawn(async move { registry.execute(&Service::store(), work, deadline).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        service.ask("hongdae").await.unwrap_err().reason,
        Reason::Overloaded
    );
    sqlx::query("ROLLBACK").execute(&mut holder).await.unwrap();
    assert_eq!(ticket(&working.await.unwrap()), 2);
    service.ask("hongdae").await.unwrap();
}

/// The catalog with one store's cutoff moved to some minutes after midnight.
fn with_cutoff(minutes: u32) -> Catalog {
    let mut catalog = catalog::default_catalog().unwrap();
    let store = catalog.stores.get_mut(&Service::store());
    Arc::make_mut(store.unwrap()).cutoff_minutes = minutes;
    catalog
}

fn at_seoul(local: &str) -> Timestamp {
    format!("{local}+09:00").parse().unwrap()
}

#[tokio::test]
async fn the_sweep_closes_a_day_an_hour_after_its_cutoff_if_the_clocks_agree() {
    let clock = Clock::manual(at_seoul("2026-03-02T10:00"));
    let service = Service::with_catalog(with_cutoff(240), &[], clock.clone()).await;
    service.place(Duration::from_secs(5)).await.unwrap();
    let mut seen = BTreeMap::new();
    service.registry.sweep_once(&mut seen).await;
    assert_eq!(service.revision().await, 1);
    // A clock that jumps ahead closes nothing; nor does what the sweep saw by it keep it from looking later.
    clock.jump(SignedDuration::from_hours(48));
    service.registry.sweep_once(&mut seen).await;
    assert_eq!(service.revision().await, 1);
    clock.jump(SignedDuration::from_hours(-48));
    // Half an hour into a new day the one before is left for a close by hand.
    clock.set(at_seoul("2026-03-03T04:30"));
    service.registry.sweep_once(&mut seen).await;
    assert_eq!(service.revision().await, 1);
    clock.set(at_seoul("2026-03-03T05:00"));
    service.registry.sweep_once(&mut seen).await;
    assert_eq!(service.revision().await, 2);
    service.registry.sweep_once(&mut seen).await;
    assert_eq!(service.revision().await, 2);
}

#[tokio::test]
async fn the_sweep_goes_by_the_open_days_own_end() {
    let clock = Clock::manual(at_seoul("2026-03-02T10:00"));
    let service = Service::with_catalog(with_cutoff(240), &[], clock.clone()).await;
    service.place(Duration::from_secs(5)).await.unwrap();
    // The cutoff moves to two in the morning; the day that is open still lasts until four.
    let service = service.restarted(with_cutoff(120), &[]).await;
    let mut seen = BTreeMap::new();
    for (local, revision) in [
        ("2026-03-02T11:00", 1),
        ("2026-03-03T03:10", 1),
        ("2026-03-03T04:59", 1),
        ("2026-03-03T05:01", 2),
    ] {
        clock.set(at_seoul(local));
        service.registry.sweep_once(&mut seen).await;
        assert_eq!(service.revision().await, revision, "{local}");
    }
    // And the other way round: a cutoff that moved to noon does not keep a day open that ended at two.
    service.place(Duration::from_secs(5)).await.unwrap();
    let service = service.restarted(with_cutoff(720), &[]).await;
    clock.set(at_seoul("2026-03-04T03:01"));
    service.registry.sweep_once(&mut BTreeMap::new()).await;
    assert_eq!(service.revision().await, 4);
}

#[tokio::test]
async fn a_sweep_loads_no_store_that_has_nothing_to_close() {
    let clock = Clock::manual(at_seoul("2026-03-02T10:00"));
    let flags = [("ordering.max_stores", "1")];
    let service = Service::with_catalog(with_cutoff(240), &flags, clock.clone()).await;
    service.place(Duration::from_secs(5)).await.unwrap();
    let mut seen = BTreeMap::new();
    service.registry.sweep_once(&mut seen).await;
    // All other stores have no ledger.
    assert_eq!(service.registry.in_memory(), ["gangnam"]);
    service.ask("hongdae").await.unwrap();
    clock.advance(SignedDuration::from_hours(2));
    service.registry.sweep_once(&mut seen).await;
    assert_eq!(service.registry.in_memory(), ["hongdae"]);
    // The day that is open is closed when it is due, although its store has left memory and the limit is reached.
    clock.set(at_seoul("2026-03-03T05:00"));
    service.registry.sweep_once(&mut seen).await;
    assert_eq!(service.revision().await, 2);
    service.ask("hongdae").await.unwrap();
    // A ledger that ends with a close has nothing open, whoever looks at it.
    service.registry.sweep_once(&mut BTreeMap::new()).await;
    assert_eq!(service.registry.in_memory(), ["hongdae"]);
}

#[tokio::test]
async fn a_changed_catalog_is_taken_up_and_one_with_mistakes_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.toml");
    let text = |price: i64| {
        format!(
            "[[tax_classes]]\nid = \"std\"\nkind = \"zero\"\n[[menus]]\nid = \"m\"\ncurrency = \"KRW\"\n\
             categories = [{{ id = \"c\", name = {{ en = \"C\" }} }}]\n\
             items = [{{ sku = \"tea\", name = {{ en = \"Tea\" }}, category = \"c\", price = {price}, tax = \"std\" }}]\n\
             [[stores]]\nid = \"s\"\nname = {{ en = \"S\" }}\nmenu = \"m\"\ntime_zone = \"Asia/Seoul\"\ncurrency = \"KRW\"\n"
        )
    };
    let write = |path: &Path, text: String| std::fs::write(path, text).unwrap();
    write(&path, text(100));
    let (source, following) = catalog::open(Some(&path), Clock::system()).unwrap();
    let following = tokio::spawn(following);
    let price = || {
        source
            .current()
            .stores
            .values()
            .next()
            .map(|store| store.menu.items.values().next().unwrap().price.minor())
    };
    assert_eq!(price(), Some(100));
    write(&path, text(-1));
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    assert_eq!(price(), Some(100));
    write(&path, text(200));
    let deadline = Instant::now() + Duration::from_secs(20);
    while price() != Some(200) {
        assert!(
            Instant::now() < deadline,
            "the changed catalog was never taken up"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    following.abort();
}
