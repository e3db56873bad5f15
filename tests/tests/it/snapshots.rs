//! Snapshots of ordering's stores on real engines: a start from one, from none, and from whatever a kill leaves.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contract::api::ordering::{self as api, ordering_service_client::OrderingServiceClient};
use contract::api::types::{Channel, Money, ServiceMode, TenderKind};
use contract::event::event::Event;
use contract::event::{self, Pricing};
use contract::{OrderId, Slug, StoreId, decode_payload, timestamp_to_proto};
use doppio::clients::call;
use event_log::jetstream::JetStreamLog;
use event_log::sqlite::SqliteLog;
use event_log::{ChainState, EventLog, LedgerName};
use futures::future::ready;
use futures::{StreamExt as _, stream};
use integration_tests::{Engines, Nats};
use ordering::catalog::{self, Store};
use ordering::domain::{
    Actor, Command, CommandId, Draft, DraftLine, DraftTender, PlaceOrder, Principal,
};
use ordering::ledger::{CommandIndex, Executed, Ledger, Work};
use runtime::Clock;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::shop;

const STORE: &str = "gangnam";
/// What a store takes at once, and so one record.
const AT_ONCE: usize = 256;
const KILLS: usize = 6;
/// Many more than are sold before a snapshot is begun.
const ORDERS_A_ROUND: usize = 20_000;
/// After fewer no snapshot is begun.
const ORDERS_A_SNAPSHOT: usize = 1_000;
/// On a slow machine a writer of snapshots rests long: then the kill comes at some other moment.
const PATIENCE: Duration = Duration::from_secs(15);

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
        let Executed { verdicts, ended } = ledger.execute(&works, &clock).await;
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

/// Tills of one service that place orders until it answers no more; what was acknowledged.
async fn until_killed(url: String, due: Money) -> Result<Vec<OrderId>> {
    let client = OrderingServiceClient::connect(url).await?;
    let placings = (0..ORDERS_A_ROUND).map(|_| {
        let (mut client, due) = (client.clone(), due.clone());
        async move {
            let id = OrderId::from_uuid(Uuid::now_v7());
            let answer = client.place_order(call(request(id, due))).await;
            answer.ok().map(|_| id)
        }
    });
    let placed = stream::iter(placings).buffer_unordered(AT_ONCE);
    let acknowledged = placed.take_while(|id| ready(id.is_some()));
    Ok(acknowledged.filter_map(ready).collect().await)
}

fn draft() -> api::OrderDraft {
    api::OrderDraft {
        store_id: STORE.to_owned(),
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
    }
}

fn request(id: OrderId, due: Money) -> api::PlaceOrderRequest {
    api::PlaceOrderRequest {
        order_id: id.to_string(),
        draft: Some(draft()),
        tenders: vec![api::Tender {
            tender_id: "t1".into(),
            kind: TenderKind::Card.into(),
            amount: Some(due),
            ..api::Tender::default()
        }],
        client_time: Some(timestamp_to_proto(Clock::system().now())),
        ..api::PlaceOrderRequest::default()
    }
}

async fn price(url: &str) -> Result<Money> {
    let mut client = OrderingServiceClient::connect(url.to_owned()).await?;
    let quote = api::QuoteOrderRequest {
        draft: Some(draft()),
    };
    let quote = client.quote_order(call(quote)).await?.into_inner();
    quote
        .priced
        .and_then(|priced| priced.amount_due)
        .context("a price")
}

/// How long a store's snapshot is, and one that is being written to take its place.
#[derive(Debug)]
struct Lengths {
    snapshot: Option<u64>,
    fresh: Option<u64>,
}

fn lengths(snapshots: &Path) -> Lengths {
    let length = |kind: &str| {
        let file = snapshots.join(format!("{STORE}.{kind}"));
        Some(std::fs::metadata(file).ok()?.len())
    };
    Lengths {
        snapshot: length("snapshot"),
        fresh: length("new"),
    }
}

/// The index file with all that belongs to it, elsewhere: what reads the copy changes nothing of what was left.
fn copy_files(index: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to.join("index.db-snapshots"))?;
    let directory = index.parent().context("a directory")?;
    for from in [directory.to_owned(), directory.join("index.db-snapshots")] {
        let to = to.join(from.strip_prefix(directory)?);
        let Ok(files) = std::fs::read_dir(&from) else {
            continue;
        };
        for file in files {
            let file = file?;
            if file.file_type()?.is_file() {
                std::fs::copy(file.path(), to.join(file.file_name()))?;
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_writes_a_snapshot_it_starts_from_a_whole_one() -> Result<()> {
    let nats = Nats::single().await?;
    let log: Arc<dyn EventLog> = Arc::new(JetStreamLog::init(&nats.config()).await?);
    let engines = Engines::new(&nats, "postgres://127.0.0.1:1/nowhere")?;
    let (directory, aside) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let index = directory.path().join("index.db");
    let snapshots = directory.path().join("index.db-snapshots");
    let member = engines.member().await?;
    let settings = [("ORDERING__INDEX", index.to_str().context("a path")?)];
    let service = engines.ordering("ordering", &member, &settings).await?;
    let due = price(&service.url()).await?;
    let mut acknowledged = BTreeSet::new();
    let mut from_snapshots = 0;
    for round in 0..KILLS {
        let selling = tokio::spawn(until_killed(service.url(), due.clone()));
        let seen = async |wanted: &dyn Fn(&Lengths) -> bool| -> Lengths {
            let limit = Instant::now() + PATIENCE;
            loop {
                let lengths = lengths(&snapshots);
                if wanted(&lengths) || selling.is_finished() || Instant::now() >= limit {
                    return lengths;
                }
                sleep(Duration::from_micros(200)).await;
            }
        };
        seen(&|now| now.fresh.is_some()).await;
        if round % 2 == 1 {
            // Not while the first one is written, but once that is whole and something is added to it.
            let whole = seen(&|now| now.fresh.is_none() && now.snapshot.is_some()).await;
            seen(&|now| now.fresh.is_none() && now.snapshot > whole.snapshot).await;
        }
        service.kill9();
        let sold = selling.await??;
        // A ledger that goes on from what the kill left, and one that has the log alone.
        let copy = aside.path().join(format!("left-{round}"));
        copy_files(&index, &copy)?;
        let left = open(&log, &copy.join("index.db")).await?;
        let none = aside.path().join(format!("none-{round}.db"));
        let folded = open(&log, &none).await?;
        ensure!(left.revision() == folded.revision());
        ensure!(left.state() == folded.state(), "another state was left");
        let ids: Vec<CommandId> = sold.iter().map(|id| (*id).into()).collect();
        let known = left.known(&ids).await?;
        ensure!(
            known.len() == ids.len(),
            "{} of {} orders are known",
            known.len(),
            ids.len()
        );
        from_snapshots += usize::from(left.folded() < folded.folded());
        acknowledged.extend(sold);
        drop((left, folded));
        service.restart().await?;
    }
    ensure!(from_snapshots >= KILLS / 2, "{from_snapshots} of {KILLS}");
    let sold = acknowledged.len();
    let recorded = placed(&log, &mut acknowledged).await?;
    ensure!(
        sold > 0 && recorded >= KILLS / 2 * ORDERS_A_SNAPSHOT,
        "{sold} orders, {recorded} in the log"
    );
    ensure!(acknowledged.is_empty(), "{acknowledged:?} are lost");
    Ok(())
}

/// Strikes what the log has from what was acknowledged, and finds each order once, with the next ticket. How many there are.
async fn placed(log: &Arc<dyn EventLog>, acknowledged: &mut BTreeSet<OrderId>) -> Result<usize> {
    let (name, mut chain) = (LedgerName::new(STORE)?, None);
    let mut seen = BTreeSet::new();
    loop {
        let records = log.read(&name, chain.as_ref(), 256).await?;
        let Some(last) = records.last() else {
            return Ok(seen.len());
        };
        chain = Some(ChainState::after(last));
        for record in &records {
            let commands = decode_payload(record.payload())?.commands;
            let events = commands.into_iter().flat_map(|command| command.events);
            for event in events.filter_map(|event| event.event) {
                if let Event::OrderPlaced(placed) = event {
                    let id = OrderId::from_slice(&placed.order_id)?;
                    ensure!(seen.insert(id), "order {id} is recorded twice");
                    ensure!(usize::try_from(placed.ticket_number)? == seen.len());
                    acknowledged.remove(&id);
                }
            }
        }
    }
}
