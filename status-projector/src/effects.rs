//! From a run of records to the rows that they change: finds the rows that it touches, in memory or by one query a kind, and folds.

use std::collections::HashMap;

use bytes::Bytes;
use contract::{BusinessDate, OrderId, StoreId};
use event_log::StreamIndex;
use jiff::Timestamp;
use read_model::{
    DayRow, Facts, Generation, ListRow, OrderRow, ReadModelError, ReadModelWriter, StoreRow,
};

use crate::fold::{Entry, StoreInput, StoreOutput};
use crate::kept::Kept;
use crate::run::{Panicked, StoreRun, offload};

/// Folds a run of one store's records into its rows.
pub(crate) type Fold = fn(&StoreInput, &[Entry], Timestamp) -> StoreOutput;

/// The effects of a run of records of one stream.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub stores: Vec<StoreRow>,
    pub placed: Vec<OrderRow>,
    pub orders: Vec<OrderRow>,
    pub facts: Facts,
    pub days: Vec<DayRow>,
    pub orphans: u64,
    pub events: u64,
    /// Whether a store stands still from this run on.
    pub poisoned: bool,
}

/// A store's records with the rows that they touch, as far as these are found.
pub(crate) struct Search {
    run: StoreRun,
    row: Option<StoreRow>,
    days: Vec<DayRow>,
    lists: Vec<ListRow>,
    orders: Vec<(OrderId, Bytes)>,
    missing: Missing,
}

#[derive(Default)]
struct Missing {
    days: Vec<BusinessDate>,
    orders: Vec<OrderId>,
    /// The open day, if the run closes it. Its lists are as long as it sold different things, so they are in no memory.
    lists: Option<BusinessDate>,
}

/// Looks for the rows in memory. `strictly`: orders that are placed are looked for too. There must be none, which the database says anyway
/// when they are written, but not of which record.
pub(crate) fn search(runs: Vec<StoreRun>, kept: &mut Kept, strictly: bool) -> Vec<Search> {
    let begin = |run: StoreRun| {
        let row = kept.store(&run.store).map(|kept| kept.row.clone());
        let mut search = Search {
            run,
            row,
            days: Vec::new(),
            lists: Vec::new(),
            orders: Vec::new(),
            missing: Missing::default(),
        };
        search.look(kept, strictly);
        search
    };
    runs.into_iter().map(begin).collect()
}

impl Search {
    /// Goes on once the store's row is known.
    fn look(&mut self, kept: &mut Kept, strictly: bool) {
        let Some(row) = self.row.as_ref().filter(|row| row.quarantine.is_none()) else {
            return;
        };
        let open = row.latest_date.filter(|_| row.day_open);
        let mut days = self.run.days.clone();
        days.extend(open);
        let own = kept
            .store(&self.run.store)
            .and_then(|kept| kept.day.clone());
        for date in days {
            match &own {
                Some(day) if day.date == date => self.days.push(day.clone()),
                _ => self.missing.days.push(date),
            }
        }
        self.missing.lists = open.filter(|_| self.run.closes);
        let placed = self.run.placed.iter().filter(|_| strictly);
        let said = self.run.changed.iter();
        // What is said of an order that is placed in the same run needs no row, as a rule.
        let said = said.filter(|order| strictly || !self.run.placed.contains(order));
        for order in placed.chain(said) {
            match kept.order(&self.run.store, *order) {
                Some(body) => self.orders.push((*order, body)),
                None => self.missing.orders.push(*order),
            }
        }
        if strictly {
            self.missing.orders.sort_unstable();
            self.missing.orders.dedup();
        }
    }

    pub fn is_complete(&self) -> bool {
        let Missing {
            days,
            orders,
            lists,
        } = &self.missing;
        self.row.is_some() && days.is_empty() && orders.is_empty() && lists.is_none()
    }

    fn keys<T>(&self, of: impl IntoIterator<Item = T>) -> impl Iterator<Item = (StoreId, T)> {
        of.into_iter().map(|key| (self.run.store.clone(), key))
    }
}

/// Reads what was not in memory. Nothing that the run builds on may be under way to the database.
pub(crate) async fn fetch(
    model: &dyn ReadModelWriter,
    (stream, generation): (StreamIndex, Generation),
    searches: &mut [Search],
    kept: &mut Kept,
    strictly: bool,
) -> Result<(), ReadModelError> {
    let unknown = searches.iter().filter(|search| search.row.is_none());
    let unknown: Vec<StoreId> = unknown.map(|search| search.run.store.clone()).collect();
    if !unknown.is_empty() {
        let found = model.stores(generation, &unknown).await?;
        let mut found: HashMap<StoreId, StoreRow> = found
            .into_iter()
            .map(|row| (row.store.clone(), row))
            .collect();
        for search in searches.iter_mut().filter(|search| search.row.is_none()) {
            let store = &search.run.store;
            let row = found.remove(store);
            search.row = Some(row.unwrap_or_else(|| StoreRow::new(store.clone(), stream)));
            search.look(kept, strictly);
        }
    }
    let all = || searches.iter();
    let lists: Vec<_> = all().flat_map(|one| one.keys(one.missing.lists)).collect();
    let days: Vec<_> = all()
        .flat_map(|one| one.keys(one.missing.days.clone()))
        .collect();
    let orders: Vec<_> = all()
        .flat_map(|one| one.keys(one.missing.orders.clone()))
        .collect();
    let mut by_store: HashMap<StoreId, &mut Search> = searches
        .iter_mut()
        .map(|search| (search.run.store.clone(), search))
        .collect();
    if !lists.is_empty() {
        for row in model.day_lists(generation, &lists).await? {
            if let Some(search) = by_store.get_mut(&row.store) {
                search.lists.push(row);
            }
        }
    }
    if !orders.is_empty() {
        for (store, order, body) in model.orders(generation, &orders).await? {
            if let Some(search) = by_store.get_mut(&store) {
                search.orders.push((order, body.into()));
            }
        }
    }
    if !days.is_empty() {
        for row in model.days(generation, &days).await? {
            if let Some(search) = by_store.get_mut(&row.store) {
                search.days.push(row);
            }
        }
    }
    for search in searches {
        search.missing = Missing::default();
    }
    Ok(())
}

/// Folds every store's records into its rows, which are kept in memory as they are now.
pub(crate) async fn fold(
    searches: Vec<Search>,
    project: Fold,
    kept: &mut Kept,
    at: Timestamp,
) -> Result<Effects, Panicked> {
    let mut effects = Effects::default();
    let mut going = Vec::with_capacity(searches.len());
    let mut records = 0;
    for search in searches {
        let run = search.run;
        let row = search
            .row
            .unwrap_or_else(|| StoreRow::new(run.store.clone(), StreamIndex(0)));
        if row.quarantine.is_some() {
            let output = StoreOutput::skip(row, run.entries.len());
            kept.learn(&output, None);
            effects.add(output);
            continue;
        }
        records += run.entries.len();
        let input = StoreInput {
            row,
            orders: search.orders,
            days: search.days,
            lists: search.lists,
        };
        going.push((input, run.entries));
    }
    let outputs = offload(records, move || {
        let fold = |(input, entries): (StoreInput, Vec<Entry>)| {
            let output = project(&input, &entries, at);
            let open = input
                .days
                .into_iter()
                .find(|day| output.row.day_open && Some(day.date) == output.row.latest_date);
            (output, open)
        };
        going.into_iter().map(fold).collect::<Vec<_>>()
    })
    .await?;
    for (output, open) in outputs {
        effects.poisoned |= output.row.quarantine.is_some();
        kept.learn(&output, open);
        effects.add(output);
    }
    Ok(effects)
}

impl Effects {
    fn add(&mut self, output: StoreOutput) {
        self.stores.push(output.row);
        self.placed.extend(output.placed);
        self.orders.extend(output.orders);
        self.facts.append(output.facts);
        self.days.extend(output.days);
        self.orphans += output.orphans;
        self.events += output.events;
    }
}
