use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use crate::chain::ChainState;
use crate::error::LogError;
use crate::record::{CorruptRecord, LedgerName, Record, RecordHash, Revision};

/// Which log, and which life of it. Taking up a restored backup raises the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogEpoch {
    pub log_id: Uuid,
    pub epoch: u32,
}

impl fmt::Display for LogEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.log_id, self.epoch)
    }
}

/// One of the log's physical streams, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamIndex(pub u16);

/// A place in one stream; grows with every record, with gaps. Means nothing outside this log's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

/// The last record of a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    pub chain: ChainState,
    /// Where a reader may start folding; see [`crate::Header::fold_from`].
    pub fold_from: Revision,
    /// Position of the last message of the ledger, orphans included: what a compare-and-append compares.
    pub position: Position,
}

/// Where a record lies: a hint that saves the search for it, and the hash that tells whether it is still right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub revision: Revision,
    pub position: Position,
    pub hash: RecordHash,
}

impl Place {
    /// Whether this is the record that was noted.
    pub(crate) fn is_of(&self, ledger: &LedgerName, record: &Record) -> bool {
        record.header().ledger == *ledger
            && record.revision() == self.revision
            && record.hash() == self.hash
    }
}

/// A record that has to be found again where it was: a log without it has changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Landmark {
    pub position: Position,
    pub hash: RecordHash,
}

/// A record as it lies in its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub position: Position,
    pub record: Record,
}

impl Placed {
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            revision: self.record.revision(),
            position: self.position,
            hash: self.record.hash(),
        }
    }
}

/// What an append expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// No record at all: legal only for a ledger's first record.
    Empty,
    /// Exactly this record at the end.
    Tip(Tip),
}

/// Proof that a record is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub tip: Tip,
}

/// What became of an append. There is no "failed": as long as the outcome is unknown the record may still land.
#[derive(Debug)]
pub enum AppendOutcome {
    /// The record is on disk.
    Stored(Appended),
    /// Another record stands at this revision: this one can never land. Reload, decide again.
    Conflict,
    /// Neither. Append the same record at the same expectation again; build no other on it.
    Unknown(String),
}

/// A record as a subscription hands it over. One that cannot be read is handed over too: its ledger stands still, the others go on.
#[derive(Debug, Clone)]
pub struct Delivered {
    pub position: Position,
    pub ledger: LedgerName,
    pub record: Result<Record, CorruptRecord>,
    /// Hash of the stored bytes, also of those that cannot be read.
    pub hash: RecordHash,
}

impl Delivered {
    pub(crate) fn of(position: Position, ledger: LedgerName, bytes: &Bytes) -> Self {
        let record = Record::parse(bytes.clone());
        // Hashing costs more than all the rest of reading: a record that can be read has been hashed already.
        let hash = match &record {
            Ok(record) => record.hash(),
            Err(_) => RecordHash::of(bytes),
        };
        Self {
            position,
            ledger,
            record,
            hash,
        }
    }
}

/// Where a reader of a stream has come to, and the proof that it was this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    pub epoch: LogEpoch,
    pub position: Position,
    pub hash: RecordHash,
}

/// The end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamHead {
    pub position: Position,
    /// When the stream's last record arrived; `None` when it is empty.
    pub appended_at: Option<Timestamp>,
}

/// Records of one stream in order, without gap or repetition, from a checkpoint on, and then live for ever.
/// Survives restarts of the server: `next` reconnects by itself and reports what it cannot mend.
#[async_trait::async_trait]
pub trait Subscription: Send {
    /// The next 1..=`max` records as soon as there are any; none when `wait` has passed. After [`LogError::Unavailable`] it may be
    /// called again and goes on where it stood.
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivered>, LogError>;
}

/// The event log.
///
/// Laws, which the conformance suite holds every backend to:
///
/// 1. *Atomic*: a record is stored whole or not at all.
/// 2. *Durable*: [`AppendOutcome::Stored`] is said after the record is on disk (where the server can be told to; see `jetstream`).
/// 3. *Compare-and-append*: of all records ever appended on one expectation exactly one is stored, whoever sends them and however
///    often. [`AppendOutcome::Conflict`] is said only when another record is known to stand there, so that this one never will.
/// 4. *Idempotent*: appending the same record on the same expectation again says `Stored` again if it was stored, even if
///    others follow it by now.
/// 5. *Unknown is neither*: after [`AppendOutcome::Unknown`] the record may land at any later time. Reading the ledger without finding it proves nothing.
/// 6. *Chain*: readers get a ledger's records checked by [`crate::check_link`], orphans skipped; a gap or altered byte is
///    [`LogError::Broken`] for that ledger alone.
/// 7. *Order*: a subscription delivers the records of a ledger in the order of their revisions, and everything that is in its
///    stream exactly once.
/// 8. *Bounded*: every call returns by its deadline; nothing is queued without bound.
/// 9. *Changed for good*: an instance that has found that the log is not the one that it opened (recreated, replaced, put back to an
///    earlier state, adopted), or was told so by a witness ([`Self::distrust`]), answers every later call with [`LogError::Changed`].
/// 10. *Mends itself*: a write that failed, for want of room or otherwise, leaves nothing behind that keeps the next one from succeeding.
#[async_trait::async_trait]
pub trait EventLog: Send + Sync + 'static {
    fn epoch(&self) -> LogEpoch;

    /// How many streams there are; fixed when the log was made.
    fn streams(&self) -> u16;

    /// The stream that holds a ledger.
    fn stream_of(&self, ledger: &LedgerName) -> StreamIndex;

    /// Appends `record` if the ledger ends as expected. Sends again by itself until `deadline`; then [`AppendOutcome::Unknown`].
    /// `Err` only when nothing was sent: the log cannot be reached at all, has changed or is unusable.
    async fn append(
        &self,
        record: &Record,
        expectation: &Expectation,
        deadline: Instant,
    ) -> Result<AppendOutcome, LogError>;

    /// The ledger's last record as its leader knows it, `None` for a ledger without any. Checks nothing before it.
    async fn tip(&self, ledger: &LedgerName) -> Result<Option<Tip>, LogError>;

    /// Up to `max` records of a ledger from revision `after.revision + 1` on (from 1 when `None`), in order and chain-checked; fewer where
    /// they are large. An empty answer: there are none yet.
    async fn read(
        &self,
        ledger: &LedgerName,
        after: Option<&ChainState>,
        max: usize,
    ) -> Result<Vec<Record>, LogError> {
        let placed = self.read_placed(ledger, after, max).await?;
        Ok(placed.into_iter().map(|placed| placed.record).collect())
    }

    /// As [`Self::read`], with where each record lies.
    async fn read_placed(
        &self,
        ledger: &LedgerName,
        after: Option<&ChainState>,
        max: usize,
    ) -> Result<Vec<Placed>, LogError>;

    /// The record at a place that was noted before: one look, where [`Self::read_one`] may have to search. `None` when another record lies
    /// there, or none, as in another life of the log: the place was wrong, which says nothing of the record.
    async fn read_at(&self, ledger: &LedgerName, place: &Place)
    -> Result<Option<Record>, LogError>;

    /// The one record at `revision`, `None` when the ledger is shorter. Its place in the chain is not checked.
    async fn read_one(
        &self,
        ledger: &LedgerName,
        revision: Revision,
    ) -> Result<Option<Record>, LogError>;

    /// Every ledger that has a record, by name.
    async fn ledgers(&self) -> Result<Vec<LedgerName>, LogError>;

    /// The end of a stream.
    async fn head(&self, stream: StreamIndex) -> Result<StreamHead, LogError>;

    /// Subscribes to a stream after a checkpoint (from its beginning when `None`). The record at the checkpoint must exist with the
    /// checkpoint's hash and the epoch must be this log's: otherwise [`LogError::Changed`].
    async fn subscribe(
        &self,
        stream: StreamIndex,
        after: Option<&Checkpoint>,
    ) -> Result<Box<dyn Subscription>, LogError>;

    /// The clock of the log's server: a second opinion on what time it is. Embedded, it is this machine's.
    async fn server_time(&self) -> Result<Timestamp, LogError>;

    /// Whether the clock of the log's server is this machine's, because the log is embedded: then it is no second opinion.
    fn shares_clock(&self) -> bool;

    /// Whether the log answers now, is the one that was opened and, where the last append failed for a reason of the log's own, whether
    /// it can be written again.
    async fn ping(&self) -> Result<(), LogError>;

    /// Notes that a witness outside of the log proves it changed: a record that was acknowledged is not in it. From now on every call
    /// is [`LogError::Changed`], for every ledger. Returns that error.
    fn distrust(&self, detail: String) -> LogError;
}
