//! Snapshots of ordering's stores on real engines: a start from one, and from none.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use contract::event::{self, Pricing};
use contract::{OrderId, Slug, StoreId};
use event_log::EventLog;
use event_log::jetstream::JetStreamLog;
use event_log::sqlite::SqliteLog;
use integration_tests::Nats;
use ordering::catalog::{self, Store};
use ordering::domain::{Actor, Command, Draft, DraftLine, DraftTender, PlaceOrder, Principal};
use ordering::ledger::{CommandIndex, Ledger, Work};
use runtime::Clock;
use uuid::Uuid;

use super::shop;

const STORE: &str = "gangnam";
/// What a store takes at once, and so one record.
const AT_ONCE: usize = 256;

fn store() -> Result<Arc<Store>> {
    let catalog = catalog::parse(&shop::catalog(&[STORE.to_owned()]))?;
    let store = catalog.stores.get(&StoreId::new(STORE)?);
    store.cloned().context("the store")
}

fn order(id: OrderId) -> Result<Command> {
    let line = DraftLine {
        line_id: Slug::new("l1")?,
        sku: Slug::new("americano")?,
        quantity: 1,
        options: vec![],
        service_mode: None,
        discounts: vec![],
        till_unit_price: None,
        till_item: None,
    };
    let tender = DraftTender {
        tender_id: Slug::new("t1")?,
        kind: event::TenderKind::Card,
        scheme: String::new(),
        amount: None,
        tendered: Some(contract::Money::new(4_500)),
        change: None,
        external_reference: String::new(),
        drawer_id: None,
    };
    Ok(Command::PlaceOrder(Box::new(PlaceOrder {
        order_id: id,
        draft: Draft {
            store_id: StoreId::new(STORE)?,
            terminal_id: Slug::new("till-1")?,
            terminal_seq: 0,
            staff_id: None,
            channel: event::Channel::Counter,
            service_mode: event::ServiceMode::EatIn,
            lines: vec![line],
            order_discounts: vec![],
            promotion_codes: vec![],
            member: None,
            pricing: Pricing::Server,
        },
        tenders: vec![tender],
        expected_total: None,
        membership: None,
        quoted: None,
    })))
}

async fn open(log: &Arc<dyn EventLog>, index: &Path) -> Result<Ledger> {
    let index = CommandIndex::open(index).await?;
    Ok(Ledger::open(log.clone(), index, StoreId::new(STORE)?).await?)
}

/// Sells so many orders, as many at once as go into a record.
async fn sell(ledger: &mut Ledger, orders: usize) -> Result<Vec<OrderId>> {
    let (store, clock) = (store()?, Clock::system());
    let ids: Vec<OrderId> = (0..orders)
        .map(|_| OrderId::from_uuid(Uuid::now_v7()))
        .collect();
    for ids in ids.chunks(AT_ONCE) {
        let actor = || Actor {
            principal: Principal::TILL,
            client_time: Some(clock.now()),
            ..Actor::default()
        };
        let works: Vec<Work> = ids
            .iter()
            .map(|id| Ok(Work::new(order(*id)?, actor(), store.clone())))
            .collect::<Result<_>>()?;
        let (verdicts, ended) = ledger.execute(&works, &clock).await;
        ended?;
        for verdict in verdicts {
            verdict?;
        }
    }
    Ok(ids)
}

async fn goes_on_from_its_snapshot(log: Arc<dyn EventLog>) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (own, other) = (
        directory.path().join("index.db"),
        directory.path().join("other.db"),
    );
    let mut ledger = open(&log, &own).await?;
    let mut ids = sell(&mut ledger, 20 * AT_ONCE).await?;
    ensure!(ledger.snapshot().await, "no snapshot");
    ids.extend(sell(&mut ledger, 3).await?);
    let before = ledger.state().clone();
    // Another instance, with files of its own, has to read everything, and sells meanwhile.
    let mut rival = open(&log, &other).await?;
    ensure!(rival.folded() == 21, "{}", rival.folded());
    ensure!(*rival.state() == before, "another state from the log");
    ledger = open(&log, &own).await?;
    ensure!(ledger.folded() == 1, "{}", ledger.folded());
    ensure!(*ledger.state() == before, "another state from the snapshot");
    ids.extend(sell(&mut rival, 2).await?);
    ids.extend(sell(&mut ledger, 2).await?);
    ensure!(ledger.snapshot().await, "no snapshot");
    let (revision, before) = (ledger.revision(), ledger.state().clone());
    ledger = open(&log, &own).await?;
    ensure!(ledger.folded() == 0, "{}", ledger.folded());
    ensure!((ledger.revision(), ledger.state()) == (revision, &before));
    // Whatever was sold before and after is known, to each of them.
    for ledger in [&mut ledger, &mut rival] {
        ledger.look().await?;
        for id in [ids[0], ids[ids.len() / 2], ids[ids.len() - 1]] {
            let found = ledger.outcome(id.into(), None).await?;
            let answer = found.context("an order is not known any more")??;
            let view = answer.view(&StoreId::new(STORE)?).context("the order")?;
            ensure!(view.order_id == id.to_string());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_goes_on_from_its_snapshot_on_the_embedded_log() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let log = SqliteLog::create(&directory.path().join("log.db")).await?;
    goes_on_from_its_snapshot(Arc::new(log)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_goes_on_from_its_snapshot_on_nats() -> Result<()> {
    let nats = Nats::single().await?;
    let log = JetStreamLog::init(&nats.config()).await?;
    goes_on_from_its_snapshot(Arc::new(log)).await
}
