//! A run of records as they were read, decoded by store, with what each store's records ask for.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use contract::event::{RecordPayload, event::Event};
use contract::order_view::order_of;
use contract::{BusinessDate, OrderId, StoreId};
use event_log::Delivered;

use crate::fold::Entry;

/// From so many records on work leaves the thread that serves others.
const OFFLOAD_FROM: usize = 32;

/// Some record of a run makes the code panic.
#[derive(Debug)]
pub(crate) struct Panicked(pub String);

pub(crate) struct Run {
    pub records: Vec<Delivered>,
    pub stores: Result<Vec<StoreRun>, Panicked>,
}

/// The records of one store.
#[derive(Debug)]
pub(crate) struct StoreRun {
    pub store: StoreId,
    pub entries: Vec<Entry>,
    /// Orders that are placed.
    pub placed: HashSet<OrderId>,
    /// Orders of which something else is said.
    pub changed: BTreeSet<OrderId>,
    /// Days that are named, other than as the open one.
    pub days: BTreeSet<BusinessDate>,
    /// Whether a day is closed.
    pub closes: bool,
}

impl Run {
    pub async fn decode(records: Vec<Delivered>) -> Self {
        let copy = records.clone();
        let stores = offload(records.len(), move || by_store(copy)).await;
        Self { records, stores }
    }
}

fn by_store(records: Vec<Delivered>) -> Vec<StoreRun> {
    let mut index: HashMap<event_log::LedgerName, usize> = HashMap::new();
    let mut runs: Vec<StoreRun> = Vec::new();
    for delivered in records {
        let at = match index.get(&delivered.ledger) {
            Some(at) => *at,
            None => {
                // Both names follow the same rule.
                let Ok(store) = StoreId::new(delivered.ledger.as_str()) else {
                    continue;
                };
                index.insert(delivered.ledger.clone(), runs.len());
                runs.push(StoreRun::new(store));
                runs.len() - 1
            }
        };
        runs[at].push(Entry::of(delivered.record));
    }
    runs
}

impl StoreRun {
    fn new(store: StoreId) -> Self {
        Self {
            store,
            entries: Vec::new(),
            placed: HashSet::new(),
            changed: BTreeSet::new(),
            days: BTreeSet::new(),
            closes: false,
        }
    }

    fn push(&mut self, entry: Entry) {
        if let Entry::Record {
            payload: Ok(payload),
            ..
        } = &entry
        {
            self.look(payload);
        }
        self.entries.push(entry);
    }

    fn look(&mut self, payload: &RecordPayload) {
        for event in payload
            .commands
            .iter()
            .flat_map(|command| &command.events)
            .filter_map(|event| event.event.as_ref())
        {
            match event {
                Event::OrderPlaced(_) => self.placed.extend(order_of(event)),
                Event::DrawerCounted(event) => {
                    self.days.extend(BusinessDate::parse(&event.business_date));
                }
                // It must not be there yet.
                Event::BusinessDayOpened(event) => {
                    self.days.extend(BusinessDate::parse(&event.business_date));
                }
                Event::BusinessDayClosed(_) => self.closes = true,
                _ => self.changed.extend(order_of(event)),
            }
        }
    }
}

/// Runs `work` where it does not hold up others, if there is enough of it. It is pure: after a panic nothing is half done.
pub(crate) async fn offload<T: Send + 'static>(
    records: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    let work = move || {
        catch_unwind(AssertUnwindSafe(work)).map_err(|panic| Panicked(runtime::said(&*panic)))
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
