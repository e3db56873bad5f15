//! The projection itself: records of one store, folded into that store's rows. Pure: no I/O, no clock.

mod balance;
mod compare;
mod facts;
mod figures;
mod lists;
mod order;
mod poison;
mod store;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use contract::OrderId;
use contract::event::RecordPayload;
use event_log::{ChainState, CorruptRecord, Link, Record, check_link};
use jiff::Timestamp;
use read_model::{DayRow, Facts, ListRow, OrderRow, Quarantine, StoreRow};

pub use poison::Poison;
use store::StoreFold;

/// A record as the log handed it over, with its payload decoded ahead (which tells the rows that it touches).
#[derive(Debug)]
pub enum Entry {
    Record {
        record: Box<Record>,
        payload: Result<RecordPayload, String>,
    },
    Unreadable(CorruptRecord),
}

impl Entry {
    #[must_use]
    pub fn of(record: Result<Record, CorruptRecord>) -> Self {
        match record {
            Ok(record) => {
                let payload =
                    contract::decode_payload(record.payload()).map_err(|error| error.to_string());
                Self::Record {
                    record: Box::new(record),
                    payload,
                }
            }
            Err(corrupt) => Self::Unreadable(corrupt),
        }
    }
}

/// The rows of a store that a run of records may touch, as they stand before it.
#[derive(Debug, Clone)]
pub struct StoreInput {
    pub row: StoreRow,
    pub orders: Vec<(OrderId, Bytes)>,
    pub days: Vec<DayRow>,
    /// Rows of the open day's lists; needed where the day is closed in the run.
    pub lists: Vec<ListRow>,
}

/// The rows that changed.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreOutput {
    pub row: StoreRow,
    /// Orders that are new, in the order of placing.
    pub placed: Vec<OrderRow>,
    /// Orders that were there before.
    pub orders: Vec<OrderRow>,
    pub facts: Facts,
    pub days: Vec<DayRow>,
    /// Records that repeat an occupied revision, skipped.
    pub orphans: u64,
    /// Events applied.
    pub events: u64,
}

/// Folds a run of one store's records. A record that cannot be applied leaves no effect: the store is quarantined at the record before it,
/// and later records are counted. `at`: when a quarantine is said to have begun.
#[must_use]
pub fn project(input: &StoreInput, entries: &[Entry], at: Timestamp) -> StoreOutput {
    match fold(input, entries, entries.len()) {
        Ok(output) => output,
        Err((failed, poison)) => {
            // A record is applied whole or not at all. As the fold is pure, folding what came before it once more is the way back.
            let (mut output, applied) = match fold(input, entries, failed) {
                Ok(output) => (output, failed),
                Err(_) => (StoreOutput::unchanged(input.row.clone()), 0),
            };
            let revision = match entries.get(applied) {
                Some(Entry::Record { record, .. }) => record.revision(),
                _ => output.row.revision().next(),
            };
            let skipped =
                u64::try_from(entries.len().saturating_sub(applied + 1)).unwrap_or(u64::MAX);
            output.row.quarantine = Some(Quarantine {
                reason: format!("revision {revision}: {poison}"),
                revision,
                at,
                skipped,
            });
            output
        }
    }
}

impl StoreOutput {
    fn unchanged(row: StoreRow) -> Self {
        Self {
            row,
            placed: Vec::new(),
            orders: Vec::new(),
            facts: Facts::default(),
            days: Vec::new(),
            orphans: 0,
            events: 0,
        }
    }

    /// A store that stands still: its records are counted.
    #[must_use]
    pub fn skip(mut row: StoreRow, records: usize) -> Self {
        if let Some(quarantine) = &mut row.quarantine {
            quarantine.skipped = quarantine
                .skipped
                .saturating_add(u64::try_from(records).unwrap_or(u64::MAX));
        }
        Self::unchanged(row)
    }
}

/// The first `count` entries; the index of the first that cannot be applied, and why.
fn fold(
    input: &StoreInput,
    entries: &[Entry],
    count: usize,
) -> Result<StoreOutput, (usize, Poison)> {
    let mut orphans = 0;
    let mut store = StoreFold::new(input).map_err(|poison| (0, poison))?;
    for (index, entry) in entries.iter().take(count).enumerate() {
        let failed = |poison| (index, poison);
        let (record, payload) = match entry {
            Entry::Unreadable(corrupt) => {
                return Err(failed(Poison::Unreadable(corrupt.to_string())));
            }
            Entry::Record { record, payload } => (record, payload),
        };
        if record.header().ledger.as_str() != store.row.store.as_str() {
            return Err(failed(Poison::Broken(format!(
                "a record of ledger {} stands in it",
                record.header().ledger
            ))));
        }
        match check_link(store.row.chain.as_ref(), record) {
            Link::Orphan => {
                orphans += 1;
                continue;
            }
            Link::UpgradeRequired { min_reader } => {
                return Err(failed(Poison::UpgradeRequired(min_reader)));
            }
            Link::Broken(detail) => return Err(failed(Poison::Broken(detail))),
            Link::Next => {}
        }
        let payload = payload
            .as_ref()
            .map_err(|error| failed(Poison::Unreadable(error.clone())))?;
        store.apply(record, payload).map_err(failed)?;
        store.row.chain = Some(ChainState::after(record));
    }
    let last = count.saturating_sub(1);
    let mut output = store.finish().map_err(|poison| (last, poison))?;
    output.orphans = orphans;
    Ok(output)
}
