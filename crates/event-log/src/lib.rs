//! The append-only log of ledgers.
//!
//! A *ledger* is one store's sequence of *records*; a record is one append. Two backends keep them: [`jetstream`] (NATS JetStream)
//! and [`sqlite`] (embedded). Both run the suite in [`conformance`].

mod chain;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
pub mod jetstream;
mod log;
mod partition;
mod record;
pub mod sqlite;

pub use chain::{ChainState, Link, check_link};
pub use error::LogError;
pub use log::{
    Appended, Checkpoint, Delivered, EventLog, Expectation, LogEpoch, Outcome, Position, StreamHead, StreamIndex, Subscription, Tip,
};
pub use partition::{PARTITIONS, partition_of};
pub use record::{
    CorruptRecord, Header, LedgerName, MAX_PAYLOAD_BYTES, NameError, READER_VERSION, Record, RecordHash, Revision, SealError,
};
