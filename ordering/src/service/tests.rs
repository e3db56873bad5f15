//! The registry of stores: overload, leaving memory, the sweep; and the catalog's file.

#[path = "repeat_tests.rs"]
mod repeats;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contract::event::{Channel, Pricing, ServiceMode, TenderKind};
use contract::{Money, OrderId, Reason, Slug, StoreId};
use event_log::sqlite::SqliteLog;
use jiff::SignedDuration;
use runtime::config::Settings;
use runtime::{Clock, Shutdown};
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::time::Instant;
use uuid::Uuid;

use super::config::Config;
use super::membership::Membership;
use super::registry::Registry;
use crate::catalog::{self, Catalog, CatalogSource};
use crate::domain::{Actor, Command, CommandId, Draft, DraftLine, DraftTender, PlaceOrder};
use crate::ledger::{Answer, CommandIndex, Verdict, Work};

struct Service {
    directory: tempfile::TempDir,
    registry: Registry,
    catalog: CatalogSource,
    clock: Clock,
    config: Config,
    log: Arc<SqliteLog>,
    _shutdown: Shutdown,
}

impl Service {
    async fn start(flags: &[(&str, &str)], clock: Clock) -> Self {
        Self::with_catalog(catalog::default_catalog().unwrap(), flags, clock).await
    }

    async fn with_catalog(catalog: Catalog, flags: &[(&str, &str)], clock: Clock) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let flags: Vec<(&str, Option<String>)> = flags
            .iter()
            .map(|(key, value)| (*key, Some((*value).to_owned())))
            .collect();
        let mut settings = Settings::load(None, &flags);
        let config = Config::from(&mut settings).unwrap();
        settings.finish().unwrap();
        let log = Arc::new(
            SqliteLog::create(&directory.path().join("log.db"))
                .await
                .unwrap(),
        );
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
            registry,
            catalog,
            clock,
            config,
            log,
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
            principal: "till",
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
        asked.unwrap().1
    }
}

fn now() -> Clock {
    Clock::system()
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
    let service = Service::start(
        &[("ordering.idle_ms", "20"), ("ordering.max_stores", "1")],
        now(),
    )
    .await;
    let ticket = |answer: &Answer| answer.view(&Service::store()).unwrap().ticket_number;
    let first = service.place(Duration::from_secs(5)).await.unwrap();
    assert_eq!(ticket(&first), 1);
    let other = StoreId::new("hongdae").unwrap();
    let ask = || {
        service.registry.outcome(
            &other,
            CommandId(Uuid::nil()),
            None,
            true,
            Instant::now() + Duration::from_secs(5),
        )
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    // There is room for one: the other store gets in once the first has left.
    while let Err(rejection) = ask().await {
        assert_eq!(rejection.reason, Reason::Overloaded);
        assert!(
            Instant::now() < deadline,
            "the idle store never left memory"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    loop {
        match service.place(Duration::from_secs(5)).await {
            Ok(answer) => break assert_eq!(ticket(&answer), 2),
            Err(rejection) => assert_eq!(rejection.reason, Reason::Overloaded),
        }
        assert!(
            Instant::now() < deadline,
            "the idle store never left memory"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_sweep_closes_a_day_an_hour_after_its_cutoff_if_the_clocks_agree() {
    // The embedded log's own clock is this machine's. The store's day began three hours ago, whatever the time is now.
    let real = Clock::system().now();
    let mut catalog = catalog::default_catalog().unwrap();
    let store = catalog
        .stores
        .get_mut(&Service::store())
        .map(Arc::make_mut)
        .unwrap();
    let local = store.zone.to_datetime(real);
    let minutes =
        u32::from(local.hour().unsigned_abs()) * 60 + u32::from(local.minute().unsigned_abs());
    store.cutoff_minutes = (minutes + 21 * 60) % (24 * 60);
    let clock = Clock::manual(real - SignedDuration::from_hours(24 * 7));
    let service = Service::with_catalog(catalog, &[], clock.clone()).await;
    service.place(Duration::from_secs(5)).await.unwrap();
    let mut swept = BTreeMap::new();
    // Five days behind the log's clock nothing is closed, although the day has been over for one.
    clock.advance(SignedDuration::from_hours(48));
    service.registry.sweep_once(&mut swept).await;
    assert_eq!(service.revision().await, 1);
    clock.set(real);
    service.registry.sweep_once(&mut swept).await;
    assert_eq!(service.revision().await, 2);
    service.registry.sweep_once(&mut swept).await;
    assert_eq!(service.revision().await, 2);
    // Half an hour into a new day the one before is left for a close by hand.
    service.place(Duration::from_secs(5)).await.unwrap();
    clock.advance(SignedDuration::from_hours(24) - SignedDuration::from_mins(150));
    service.registry.sweep_once(&mut BTreeMap::new()).await;
    assert_eq!(service.revision().await, 3);
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
