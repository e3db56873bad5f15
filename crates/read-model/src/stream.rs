//! What a projector writes of a stream, and what it must believe of it to do so.

use event_log::{Checkpoint, LogEpoch, Position, RecordHash, StreamIndex};
use jiff::Timestamp;

use crate::day::DayRow;
use crate::facts::Facts;
use crate::generation::Generation;
use crate::order::OrderRow;
use crate::store::StoreRow;

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
