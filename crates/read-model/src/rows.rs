use std::collections::BTreeMap;

use bytes::Bytes;
use contract::{BusinessDate, Currency, Money, OrderId, StoreId};
use event_log::{ChainState, Checkpoint, LogEpoch, Position, RecordHash, Revision, StreamIndex};
use jiff::Timestamp;

use crate::facts::Facts;
use crate::settlement::DifferingDay;

/// The name of the one projection that there is.
pub const PROJECTION: &str = "sales";

/// Numbers the rebuilds of a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub i64);

/// How far a stream has been projected, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRow {
    pub generation: Generation,
    pub stream: StreamIndex,
    pub epoch: LogEpoch,
    /// Position of the last record whose effects are committed; 0 before the first.
    pub position: Position,
    pub hash: RecordHash,
    /// Position of the log's last record when the projector last looked.
    pub head: Position,
    /// Age of the oldest record not yet projected, in microseconds.
    pub lag_us: i64,
    pub orphans: u64,
    /// The instance that projects the stream; empty when it has let go.
    pub owner: String,
    /// Grows whenever another instance takes over.
    pub term: u64,
    /// Grows with every write of the owner.
    pub beat: u64,
    /// How often the owner has looked where the log ends.
    pub looks: u64,
    /// Why the log is not the one that the rows were projected from; empty while it is.
    pub log_changed: String,
    pub updated_at: Timestamp,
}

impl StreamRow {
    /// Where to subscribe; `None` before the first record.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        (self.position > Position(0)).then_some(Checkpoint {
            epoch: self.epoch,
            position: self.position,
            hash: self.hash,
        })
    }
}

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

/// An order as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRow {
    pub store: StoreId,
    pub order_id: OrderId,
    pub business_date: BusinessDate,
    pub ticket_number: i64,
    /// As `doppio.type.v1.OrderStatus` numbers them.
    pub status: i32,
    /// As `doppio.type.v1.MembershipOutcome` numbers them: what is known of it today.
    pub membership: i32,
    pub placed_at: Timestamp,
    pub updated_at: Timestamp,
    pub revision: Revision,
    /// `doppio.ordering.v1.Order`, encoded.
    pub body: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DayState {
    Open,
    Closed,
}

/// A figure that the projection computes otherwise than the Z recorded it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FigureDifference {
    pub figure: String,
    pub recorded: i64,
    pub projected: i64,
}

/// A business day with its figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayRow {
    pub store: StoreId,
    pub date: BusinessDate,
    pub state: DayState,
    pub time_zone: String,
    pub start: Timestamp,
    /// Exclusive.
    pub end: Timestamp,
    pub closed_at: Option<Timestamp>,
    /// 0 until the day is closed.
    pub z_number: i64,
    pub revision: Revision,
    /// `doppio.event.v1.DayReport` as the projection computes it, encoded; the digests of its lists are there once the day is closed.
    pub body: Vec<u8>,
    /// `doppio.event.v1.BusinessDayClosed` as it was recorded, encoded, without its `carry_over`; empty until the day is closed.
    pub recorded: Vec<u8>,
    pub differences: Vec<FigureDifference>,
    /// The recorded figures by name, for analysts; empty until the day is closed.
    pub figures: BTreeMap<String, i64>,
}

/// The effects of a run of records of one stream: all or nothing.
#[derive(Debug, Clone)]
pub struct Batch {
    pub fence: Fence,
    /// The last record of the run.
    pub checkpoint: Checkpoint,
    pub head: Position,
    pub lag_us: i64,
    /// Orphans in the run.
    pub orphans: u64,
    pub at: Timestamp,
    pub stores: Vec<StoreRow>,
    /// Orders that are new.
    pub placed: Vec<OrderRow>,
    /// Orders that have changed.
    pub orders: Vec<OrderRow>,
    pub facts: Facts,
    pub days: Vec<DayRow>,
}

/// What a writer believes of a stream: nothing is written unless it is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    pub generation: Generation,
    pub stream: StreamIndex,
    pub term: u64,
    pub position: Position,
}

/// A sign of life between batches.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    pub fence: Fence,
    pub head: Position,
    /// Whether `head` was asked of the log just now.
    pub looked: bool,
    /// Why the log is not the one that the rows were projected from; empty while it is.
    pub log_changed: String,
    pub lag_us: i64,
    pub at: Timestamp,
}

/// How far a store has been projected, for those who wait for a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreProgress {
    pub revision: Revision,
    pub quarantined: bool,
}

/// How far a stream has been projected, for those who wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSight {
    pub stream: StreamIndex,
    /// Whether everything is projected that was in the log when the projector last looked.
    pub level: bool,
    /// How often it has looked.
    pub looks: u64,
}

/// What has been projected of the stores asked for.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Seen before the stores were.
    pub streams: Vec<StreamSight>,
    /// Why the log is not the one that the read model was built from, where the projector found that.
    pub log_changed: Option<String>,
    /// The log that the read model was built from; `None` while nothing has been projected.
    pub epoch: Option<LogEpoch>,
    pub stores: BTreeMap<StoreId, StoreProgress>,
}

/// A store's row together with what was asked of it, read at one instant.
#[derive(Debug, Clone)]
pub struct Seen<T> {
    pub store: StoreRow,
    pub epoch: Option<LogEpoch>,
    pub found: T,
}

/// Which orders of a date: those after a ticket, of the statuses given.
#[derive(Debug, Clone)]
pub struct OrderPage {
    pub store: StoreId,
    /// `None`: the store's latest date.
    pub date: Option<BusinessDate>,
    /// As `doppio.type.v1.OrderStatus` numbers them; empty: any.
    pub statuses: Vec<i32>,
    /// 0 to begin with.
    pub after_ticket: i64,
    pub limit: u32,
}

/// Encoded `doppio.ordering.v1.Order`s by ticket number, with that number.
pub type Orders = Vec<(i64, Vec<u8>)>;

/// All that an operator asks.
#[derive(Debug, Clone)]
pub struct ProjectionStatus {
    pub streams: Vec<StreamRow>,
    pub quarantined: Vec<StoreRow>,
    /// At most 1,000.
    pub differing: Vec<DifferingDay>,
}
