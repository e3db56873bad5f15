//! From a run of records to the rows that they change: reads the rows touched in one query each, folds in memory.

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use contract::event::{RecordPayload, event::Event};
use contract::order_view::order_of;
use contract::{BusinessDate, OrderId, StoreId};
use event_log::{Delivered, StreamIndex};
use jiff::Timestamp;
use read_model::{
    DayRow, Facts, Generation, ListRow, OrderRow, ReadModelError, ReadModelWriter, StoreRow,
};

use crate::fold::{Entry, StoreInput, StoreOutput};

/// From so many records on the fold leaves the thread that serves others.
const OFFLOAD_FROM: usize = 32;

/// Folds a run of one store's records into its rows.
pub(crate) type Fold = fn(&StoreInput, &[Entry], Timestamp) -> StoreOutput;

#[derive(Debug)]
pub(crate) enum EffectsError {
    ReadModel(ReadModelError),
    /// Some record of the run makes the fold panic.
    Panicked(String),
}

impl From<ReadModelError> for EffectsError {
    fn from(error: ReadModelError) -> Self {
        Self::ReadModel(error)
    }
}

/// The effects of a run of records of one stream.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub stores: Vec<StoreRow>,
    pub orders: Vec<OrderRow>,
    pub facts: Facts,
    pub days: Vec<DayRow>,
    pub orphans: u64,
    pub events: u64,
}

struct StoreRun {
    store: StoreId,
    records: Vec<Delivered>,
}

struct Decoded {
    row: StoreRow,
    entries: Vec<Entry>,
    orders: Vec<OrderId>,
    days: Vec<BusinessDate>,
    /// The open day, if the run closes it.
    closes: Option<BusinessDate>,
}

pub(crate) async fn effects(
    model: &dyn ReadModelWriter,
    (stream, generation): (StreamIndex, Generation),
    project: Fold,
    delivered: Vec<Delivered>,
    at: Timestamp,
) -> Result<Effects, EffectsError> {
    let records = delivered.len();
    let runs = by_store(delivered);
    let ids: Vec<StoreId> = runs.iter().map(|run| run.store.clone()).collect();
    let mut rows: HashMap<StoreId, StoreRow> = model
        .stores(generation, &ids)
        .await?
        .into_iter()
        .map(|row| (row.store.clone(), row))
        .collect();
    let mut effects = Effects::default();
    let mut going = Vec::with_capacity(runs.len());
    for run in runs {
        let row = rows
            .remove(&run.store)
            .unwrap_or_else(|| StoreRow::new(run.store.clone(), stream));
        if row.quarantine.is_some() {
            effects.add(StoreOutput::skip(row, run.records.len()));
        } else {
            going.push((row, run.records));
        }
    }
    let decoded = offload(records, move || {
        going
            .into_iter()
            .map(|(row, records)| decode(row, records))
            .collect::<Vec<_>>()
    })
    .await?;
    let order_keys: Vec<(StoreId, OrderId)> = decoded
        .iter()
        .flat_map(|run| {
            run.orders
                .iter()
                .map(|order| (run.row.store.clone(), *order))
        })
        .collect();
    let day_keys: Vec<(StoreId, BusinessDate)> = decoded
        .iter()
        .flat_map(|run| run.days.iter().map(|date| (run.row.store.clone(), *date)))
        .collect();
    let list_keys: Vec<(StoreId, BusinessDate)> = decoded
        .iter()
        .filter_map(|run| Some((run.row.store.clone(), run.closes?)))
        .collect();
    let mut lists: HashMap<StoreId, Vec<ListRow>> = HashMap::new();
    for row in model.day_lists(generation, &list_keys).await? {
        lists.entry(row.store.clone()).or_default().push(row);
    }
    let mut orders: HashMap<StoreId, Vec<(OrderId, Bytes)>> = HashMap::new();
    for (store, order, body) in model.orders(generation, &order_keys).await? {
        orders.entry(store).or_default().push((order, body.into()));
    }
    let mut days: HashMap<StoreId, Vec<DayRow>> = HashMap::new();
    for row in model.days(generation, &day_keys).await? {
        days.entry(row.store.clone()).or_default().push(row);
    }
    let outputs = offload(records, move || {
        let fold = |run: Decoded| {
            let orders = orders.remove(&run.row.store).unwrap_or_default();
            let days = days.remove(&run.row.store).unwrap_or_default();
            let lists = lists.remove(&run.row.store).unwrap_or_default();
            project(
                &StoreInput {
                    row: run.row,
                    orders,
                    days,
                    lists,
                },
                &run.entries,
                at,
            )
        };
        decoded.into_iter().map(fold).collect::<Vec<_>>()
    })
    .await?;
    for output in outputs {
        effects.add(output);
    }
    Ok(effects)
}

impl Effects {
    fn add(&mut self, output: StoreOutput) {
        self.stores.push(output.row);
        self.orders.extend(output.orders);
        self.facts.append(output.facts);
        self.days.extend(output.days);
        self.orphans += output.orphans;
        self.events += output.events;
    }
}

fn by_store(delivered: Vec<Delivered>) -> Vec<StoreRun> {
    let mut index: HashMap<event_log::LedgerName, usize> = HashMap::new();
    let mut runs: Vec<StoreRun> = Vec::new();
    for record in delivered {
        if let Some(at) = index.get(&record.ledger) {
            runs[*at].records.push(record);
            continue;
        }
        // Both names follow the same rule.
        let Ok(store) = StoreId::new(record.ledger.as_str()) else {
            continue;
        };
        index.insert(record.ledger.clone(), runs.len());
        runs.push(StoreRun {
            store,
            records: vec![record],
        });
    }
    runs
}

/// Decodes a store's records and finds the rows that they touch. Orders that are placed are asked for too: there must be none.
fn decode(row: StoreRow, records: Vec<Delivered>) -> Decoded {
    let mut days: BTreeSet<BusinessDate> = row
        .latest_date
        .filter(|_| row.day_open)
        .into_iter()
        .collect();
    let mut orders = BTreeSet::new();
    let mut closes = false;
    let entries: Vec<Entry> = records
        .into_iter()
        .map(|delivered| Entry::of(delivered.record))
        .collect();
    for entry in &entries {
        if let Entry::Record {
            payload: Ok(payload),
            ..
        } = entry
        {
            closes |= touched(payload, &mut orders, &mut days);
        }
    }
    let closes = row.latest_date.filter(|_| row.day_open && closes);
    Decoded {
        closes,
        row,
        entries,
        orders: orders.into_iter().collect(),
        days: days.into_iter().collect(),
    }
}

/// Whether a day is closed.
fn touched(
    payload: &RecordPayload,
    orders: &mut BTreeSet<OrderId>,
    days: &mut BTreeSet<BusinessDate>,
) -> bool {
    let mut closes = false;
    for event in payload
        .commands
        .iter()
        .flat_map(|command| &command.events)
        .filter_map(|event| event.event.as_ref())
    {
        orders.extend(order_of(event));
        match event {
            Event::DrawerCounted(event) => days.extend(BusinessDate::parse(&event.business_date)),
            // It must not be there yet.
            Event::BusinessDayOpened(event) => {
                days.extend(BusinessDate::parse(&event.business_date));
            }
            _ => {}
        }
        closes |= matches!(event, Event::BusinessDayClosed(_));
    }
    closes
}

/// Runs `work` where it does not hold up others, if there is enough of it. It is pure: after a panic nothing is half done.
async fn offload<T: Send + 'static>(
    records: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EffectsError> {
    let work = move || {
        catch_unwind(AssertUnwindSafe(work))
            .map_err(|panic| EffectsError::Panicked(runtime::said(&*panic)))
    };
    if records < OFFLOAD_FROM {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // The process is ending.
        Err(_) => std::future::pending().await,
    }
}
