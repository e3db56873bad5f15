//! Random histories of a store, decided by two real ledgers on the embedded log and judged by an auditor that shares no code with them.
//! A failure names its seed; `DOPPIO_TEST_SEED` runs one alone.

mod commands;
mod history;
mod menus;
mod restated;
mod rival;
mod tally;
mod till;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contract::event::OrderPlaced;
use contract::event::event::Event;
use contract::{ConsistencyToken, OrderId, decode_payload};
use doppio::audit;
use doppio::clients::Clients;
use doppio::data_dir::DataDir;
use doppio::system::{Plan, System};
use event_log::{ChainState, EventLog, LedgerName};

use self::history::History;
use self::restated::restated;
use self::tally::{Reader, Tally};

const SEEDS: u64 = 16;

/// The auditor and the projection each recompute everything by themselves.
async fn judge(mut history: History) -> Result<Tally> {
    let store = history.store_id();
    let log: Arc<dyn EventLog> = history.log();
    let audited = audit::ledger(&log, &store)
        .await
        .map_err(|failure| failure.error)?;
    ensure!(audited.problems.is_empty(), "{:#?}", audited.problems);
    ensure!(
        audited.verified_reports > 0,
        "a history without a single close"
    );
    for owed in history.owed().await? {
        ensure!(
            BTreeSet::from_iter(owed) == audited.owed,
            "an instance does not know who is owed an answer: {:?}",
            audited.owed
        );
    }
    read(&*log, &mut history).await?;
    let data = tempfile::tempdir()?;
    let held = DataDir::hold(data.path()).map_err(|failure| failure.error)?;
    let mut plan = Plan::embedded(held).map_err(|failure| failure.error)?;
    plan.log = event_log::LogLocation::sqlite(&history.directory.path().join("log.db"));
    plan.init_log = false;
    let system = System::start(plan).await.map_err(|failure| failure.error)?;
    let clients = Clients::of(&system.addresses).map_err(|failure| failure.error)?;
    let epoch = log.epoch();
    let token = ConsistencyToken {
        log_id: epoch.log_id,
        epoch: epoch.epoch,
        store: store.clone(),
        revision: audited.records,
    };
    let (differences, _) = audited
        .compare(&clients, &store, &[token.to_string()])
        .await
        .map_err(|failure| failure.error)?;
    restated(&clients, &store, &token).await?;
    system
        .stop(Duration::from_secs(5))
        .await
        .map_err(|failure| failure.error)?;
    ensure!(differences.is_empty(), "{differences:#?}");
    Ok(history.tally)
}

/// Counts what happened, and finds each promise of a quote kept.
async fn read(log: &dyn EventLog, history: &mut History) -> Result<()> {
    let name = LedgerName::new(history.store_id().as_str())?;
    let mut chain: Option<ChainState> = None;
    let (mut reader, mut promised) = (Reader::default(), std::mem::take(&mut history.promised));
    let mut ids = BTreeSet::new();
    loop {
        let records = log.read(&name, chain.as_ref(), 1_000).await?;
        let Some(last) = records.last() else { break };
        chain = Some(ChainState::after(last));
        for record in &records {
            let payload = decode_payload(record.payload())?;
            reader.take(&payload, &mut history.tally);
            for command in &payload.commands {
                let id = command.request_id.clone();
                ensure!(
                    id.is_empty() || ids.insert(id.to_vec()),
                    "a command is recorded twice: {command:?}"
                );
            }
            let events = payload.commands.iter().flat_map(|command| &command.events);
            for event in events.filter_map(|event| event.event.as_ref()) {
                if let Event::OrderPlaced(placed) = event {
                    kept(placed, &mut promised)?;
                }
            }
        }
    }
    ensure!(
        promised.is_empty(),
        "promised and never placed: {promised:?}"
    );
    Ok(())
}

fn kept(placed: &OrderPlaced, promised: &mut BTreeMap<OrderId, OrderPlaced>) -> Result<()> {
    let Some(promise) = promised.remove(&OrderId::from_slice(&placed.order_id)?) else {
        return Ok(());
    };
    ensure!(
        placed.lines == promise.lines
            && placed.discounts == promise.discounts
            && placed.taxes == promise.taxes
            && placed.membership == promise.membership
            && (placed.gross, placed.discount, placed.net)
                == (promise.gross, promise.discount, promise.net)
            && placed.menu_version == promise.menu_version,
        "{placed:?} was promised as {promise:?}"
    );
    Ok(())
}

async fn one(seed: u64) -> Result<Tally> {
    let mut history = History::begin(seed).await?;
    history.run().await?;
    judge(history).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_history_adds_up() -> Result<()> {
    #[expect(
        clippy::disallowed_methods,
        reason = "which seed to run is a matter of whoever runs the test"
    )]
    let alone = std::env::var("DOPPIO_TEST_SEED");
    if let Ok(seed) = alone {
        let tally = one(seed.parse()?)
            .await
            .with_context(|| format!("seed {seed}"))?;
        println!("{tally:#?}");
        return Ok(());
    }
    let mut all = Tally::default();
    for seed in 0..SEEDS {
        all.merge(one(seed).await.with_context(|| format!("seed {seed}"))?);
    }
    println!("{all:#?}");
    all.check()
}
