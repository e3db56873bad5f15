use crate::record::{LedgerName, Revision};

/// Why the log could not be used. What became of an append is never an error: see [`crate::AppendOutcome`].
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log could not be reached or did not answer in time. Trying again may help.
    #[error("the event log is not available: {0}")]
    Unavailable(String),
    /// The log that a checkpoint or an expectation belongs to is not this one, or has lost records since.
    #[error("the event log has changed: {0}")]
    Changed(String),
    /// There is no log, or not one that can be trusted with records. Says what to change.
    #[error("the event log cannot be used: {0}")]
    Unusable(String),
    #[error("ledger {ledger} is broken at revision {revision}: {detail}")]
    Broken {
        ledger: LedgerName,
        revision: Revision,
        detail: String,
    },
    #[error(
        "ledger {ledger} needs reader version {min_reader} from revision {revision} on, this build is {}",
        crate::READER_VERSION
    )]
    UpgradeRequired {
        ledger: LedgerName,
        revision: Revision,
        min_reader: u16,
    },
}
