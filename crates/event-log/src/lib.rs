//! The append-only log of ledgers.
//!
//! A *ledger* is one store's sequence of *records*; a record is one append. Two backends keep them: `jetstream` (NATS JetStream, a
//! feature of the same name, without which this crate links no NATS client) and [`sqlite`] (embedded). Both run the suite in `conformance`.

mod admission;
mod chain;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "disturbed")]
pub mod disturbed;
mod error;
#[cfg(test)]
mod frozen_tests;
mod info;
#[cfg(feature = "jetstream")]
pub mod jetstream;
#[cfg(feature = "jetstream")]
mod location;
mod log;
mod page;
mod partition;
mod record;
pub mod sqlite;
mod standing;

pub use chain::{ChainState, Link, check_link};
pub use error::LogError;
pub use info::{LogInfo, StreamSummary};
#[cfg(feature = "jetstream")]
pub use location::{LocationError, LogLocation};
pub use log::{
    AppendOutcome, Appended, Checkpoint, Delivered, EventLog, Expectation, LogEpoch, Place, Placed,
    Position, StreamHead, StreamIndex, Subscription, Tip,
};
pub use partition::{PARTITIONS, partition_of};
pub use record::{
    CorruptRecord, Header, LedgerName, MAX_PAYLOAD_BYTES, MAX_RECORD_BYTES, NameError,
    READER_VERSION, Record, RecordHash, Revision, SealError,
};
