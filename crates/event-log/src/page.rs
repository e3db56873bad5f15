use bytes::Bytes;

use crate::chain::{ChainState, Link, check_link};
use crate::error::LogError;
use crate::log::{Placed, Position};
use crate::record::{LedgerName, Record, RecordHash, Revision};

/// A page of full records would take tens of megabytes; those who read a whole ledger hold one or two at a time.
const HEAVY_BYTES: usize = 4 * 1024 * 1024;

/// Collects a ledger's records from stored bytes in the order of the log, checking the chain and skipping orphans.
/// Stops at the first record that may not be read: what came before it is good and is handed out first.
pub(crate) struct Page<'a> {
    ledger: &'a LedgerName,
    max: usize,
    last: Option<ChainState>,
    /// The record to read after, while it has not been passed: what is up to it may be no orphan.
    before: Option<RecordHash>,
    records: Vec<Placed>,
    bytes: usize,
    stopped: Option<LogError>,
}

impl<'a> Page<'a> {
    pub(crate) fn new(ledger: &'a LedgerName, after: Option<&ChainState>, max: usize) -> Self {
        Self {
            ledger,
            max,
            last: after.copied(),
            before: None,
            records: Vec::new(),
            bytes: 0,
            stopped: None,
        }
    }

    /// A page whose bytes begin at or before the record that it is to be read after.
    pub(crate) fn starting_before(mut self) -> Self {
        self.before = self.last.map(|last| last.hash);
        self
    }

    /// Whether no more is wanted.
    pub(crate) fn is_done(&self) -> bool {
        self.stopped.is_some() || self.records.len() >= self.max
    }

    /// Whether it holds so much that the rest is left for the next one.
    pub(crate) fn is_heavy(&self) -> bool {
        self.bytes >= HEAVY_BYTES
    }

    /// How many records are wanted yet.
    pub(crate) fn missing(&self) -> usize {
        self.max.saturating_sub(self.records.len())
    }

    /// The revision that has to come next.
    fn next_revision(&self) -> Revision {
        self.last
            .map_or(Revision::NONE, |state| state.revision)
            .next()
    }

    pub(crate) fn last(&self) -> Option<&ChainState> {
        self.last.as_ref()
    }

    pub(crate) fn push(&mut self, position: Position, bytes: Bytes) {
        if self.is_done() {
            return;
        }
        let revision = self.next_revision();
        let broken = |detail: String| LogError::Broken {
            ledger: self.ledger.clone(),
            revision,
            detail,
        };
        let record = match Record::parse(bytes) {
            Ok(record) => record,
            Err(corrupt) => {
                self.stopped = Some(broken(corrupt.to_string()));
                return;
            }
        };
        let link = check_link(self.last.as_ref(), &record);
        if matches!(link, Link::Next) && record.header().ledger != *self.ledger {
            self.stopped = Some(broken(format!(
                "the record belongs to ledger {}",
                record.header().ledger
            )));
            return;
        }
        match link {
            Link::Next => {
                self.last = Some(ChainState::after(&record));
                self.before = None;
                self.bytes += record.bytes().len();
                self.records.push(Placed { position, record });
            }
            Link::Orphan if self.before.is_some() => {
                self.before.take_if(|hash| *hash == record.hash());
            }
            Link::Orphan => {
                tracing::warn!(ledger = %self.ledger, revision = %record.revision(), hash = %record.hash(), "skipped an orphan record");
            }
            Link::UpgradeRequired { min_reader } => {
                self.stopped = Some(LogError::UpgradeRequired {
                    ledger: self.ledger.clone(),
                    revision,
                    min_reader,
                });
            }
            Link::Broken(detail) => self.stopped = Some(broken(detail)),
        }
    }

    /// Whether the record that it stopped at looked broken, so that a backend with several copies may look at another one.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.stopped, Some(LogError::Broken { .. }))
    }

    /// Forgets why it stopped, to go on from the last good record with bytes of a better source.
    pub(crate) fn resume(&mut self) {
        self.stopped = None;
    }

    pub(crate) fn finish(self) -> Result<Vec<Placed>, LogError> {
        match self.stopped {
            Some(error) if self.records.is_empty() => Err(error),
            _ => Ok(self.records),
        }
    }
}
