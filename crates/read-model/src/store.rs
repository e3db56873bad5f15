//! Stores as the projection knows them.

use std::collections::BTreeMap;

use contract::{BusinessDate, Currency, Money, StoreId};
use event_log::{ChainState, LogEpoch, RecordHash, Revision, StreamIndex};
use jiff::Timestamp;

/// Why and since when a store's projection stands still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    pub reason: String,
    /// The first record that was not applied.
    pub revision: Revision,
    pub at: Timestamp,
    /// Later records of the store, not applied either.
    pub skipped: u64,
}

/// What the projection knows of a store. Its chain is the last record applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreRow {
    pub store: StoreId,
    pub stream: StreamIndex,
    /// `None` before the first record.
    pub chain: Option<ChainState>,
    pub currency: Option<Currency>,
    pub time_zone: String,
    /// Minutes after local midnight at which a business day begins.
    pub cutoff_minutes: u32,
    pub name: BTreeMap<String, String>,
    pub latest_date: Option<BusinessDate>,
    /// Whether `latest_date` is open.
    pub day_open: bool,
    /// Of the last closed day; 0 before the first.
    pub z_number: i64,
    /// Of the record of the last Z; [`RecordHash::NONE`] before the first.
    pub z_hash: RecordHash,
    /// The last one given out; 0 before the first.
    pub document_number: i64,
    /// Orders neither completed nor cancelled.
    pub open_orders: i64,
    /// Orders completed since the last close while no day was open.
    pub completed_between: i64,
    /// As of the last closed day, like `grand_total_returns`.
    pub grand_total_sales: Money,
    pub grand_total_returns: Money,
    pub quarantine: Option<Quarantine>,
}

impl StoreRow {
    /// A store whose ledger has not been seen yet.
    #[must_use]
    pub fn new(store: StoreId, stream: StreamIndex) -> Self {
        Self {
            store,
            stream,
            chain: None,
            currency: None,
            time_zone: String::new(),
            cutoff_minutes: 0,
            name: BTreeMap::new(),
            latest_date: None,
            day_open: false,
            z_number: 0,
            z_hash: RecordHash::NONE,
            document_number: 0,
            open_orders: 0,
            completed_between: 0,
            grand_total_sales: Money::ZERO,
            grand_total_returns: Money::ZERO,
            quarantine: None,
        }
    }

    #[must_use]
    pub fn revision(&self) -> Revision {
        self.chain.map_or(Revision::NONE, |chain| chain.revision)
    }

    /// When the last record applied was recorded.
    #[must_use]
    pub fn recorded_at(&self) -> Option<Timestamp> {
        self.chain
            .and_then(|chain| Timestamp::from_microsecond(chain.recorded_at_us).ok())
    }
}

/// A store's row together with what was asked of it, read at one instant.
#[derive(Debug, Clone)]
pub struct Seen<T> {
    pub store: StoreRow,
    pub epoch: Option<LogEpoch>,
    pub found: T,
}
