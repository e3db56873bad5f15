//! The log as one of two instances sees it: what it loses to the other is counted.

use std::sync::atomic::{AtomicUsize, Ordering};

use event_log::sqlite::SqliteLog;
use event_log::{
    ChainState, Checkpoint, EventLog, Expectation, LedgerName, LogEpoch, LogError, Outcome, Place,
    Placed, Record, Revision, StreamHead, StreamIndex, Subscription, Tip,
};
use jiff::Timestamp;
use tokio::time::Instant;

pub struct Contested {
    log: SqliteLog,
    lost: AtomicUsize,
}

impl Contested {
    pub fn new(log: SqliteLog) -> Self {
        Self {
            log,
            lost: AtomicUsize::new(0),
        }
    }

    /// Appends that came too late.
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }
}

#[async_trait::async_trait]
impl EventLog for Contested {
    async fn append(
        &self,
        record: &Record,
        expectation: &Expectation,
        deadline: Instant,
    ) -> Result<Outcome, LogError> {
        let outcome = self.log.append(record, expectation, deadline).await;
        if matches!(outcome, Ok(Outcome::Conflict)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    fn epoch(&self) -> LogEpoch {
        self.log.epoch()
    }

    fn streams(&self) -> u16 {
        self.log.streams()
    }

    fn stream_of(&self, ledger: &LedgerName) -> StreamIndex {
        self.log.stream_of(ledger)
    }

    async fn tip(&self, ledger: &LedgerName) -> Result<Option<Tip>, LogError> {
        self.log.tip(ledger).await
    }

    async fn read_placed(
        &self,
        ledger: &LedgerName,
        after: Option<&ChainState>,
        max: usize,
    ) -> Result<Vec<Placed>, LogError> {
        self.log.read_placed(ledger, after, max).await
    }

    async fn read_at(
        &self,
        ledger: &LedgerName,
        place: &Place,
    ) -> Result<Option<Record>, LogError> {
        self.log.read_at(ledger, place).await
    }

    async fn read_one(
        &self,
        ledger: &LedgerName,
        revision: Revision,
    ) -> Result<Option<Record>, LogError> {
        self.log.read_one(ledger, revision).await
    }

    async fn ledgers(&self) -> Result<Vec<LedgerName>, LogError> {
        self.log.ledgers().await
    }

    async fn head(&self, stream: StreamIndex) -> Result<StreamHead, LogError> {
        self.log.head(stream).await
    }

    async fn subscribe(
        &self,
        stream: StreamIndex,
        after: Option<&Checkpoint>,
    ) -> Result<Box<dyn Subscription>, LogError> {
        self.log.subscribe(stream, after).await
    }

    async fn server_time(&self) -> Result<Timestamp, LogError> {
        self.log.server_time().await
    }

    fn shares_clock(&self) -> bool {
        self.log.shares_clock()
    }

    async fn ping(&self) -> Result<(), LogError> {
        self.log.ping().await
    }

    fn distrust(&self, detail: String) -> LogError {
        self.log.distrust(detail)
    }
}
