//! A real log that is disturbed on purpose, for the tests of those who stand on one.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    AppendOutcome, ChainState, Checkpoint, EventLog, Expectation, LedgerName, LogEpoch, LogError,
    Place, Placed, Record, Revision, StreamHead, StreamIndex, Subscription, Tip,
};

/// What is done to the calls of a log. By itself each call is passed on to it.
#[async_trait::async_trait]
pub trait Disturbance: Send + Sync + 'static {
    async fn append(
        &self,
        log: &dyn EventLog,
        record: &Record,
        expectation: &Expectation,
        deadline: Instant,
    ) -> Result<AppendOutcome, LogError> {
        log.append(record, expectation, deadline).await
    }

    async fn read_placed(
        &self,
        log: &dyn EventLog,
        ledger: &LedgerName,
        after: Option<&ChainState>,
        max: usize,
    ) -> Result<Vec<Placed>, LogError> {
        log.read_placed(ledger, after, max).await
    }

    async fn read_at(
        &self,
        log: &dyn EventLog,
        ledger: &LedgerName,
        place: &Place,
    ) -> Result<Option<Record>, LogError> {
        log.read_at(ledger, place).await
    }

    async fn read_one(
        &self,
        log: &dyn EventLog,
        ledger: &LedgerName,
        revision: Revision,
    ) -> Result<Option<Record>, LogError> {
        log.read_one(ledger, revision).await
    }

    async fn server_time(&self, log: &dyn EventLog) -> Result<Timestamp, LogError> {
        log.server_time().await
    }

    fn shares_clock(&self, log: &dyn EventLog) -> bool {
        log.shares_clock()
    }
}

pub struct Disturbed<D> {
    log: Arc<dyn EventLog>,
    pub disturbance: D,
}

impl<D: Disturbance> Disturbed<D> {
    pub fn new(log: Arc<dyn EventLog>, disturbance: D) -> Arc<Self> {
        Arc::new(Self { log, disturbance })
    }
}

#[async_trait::async_trait]
impl<D: Disturbance> EventLog for Disturbed<D> {
    async fn append(
        &self,
        record: &Record,
        expectation: &Expectation,
        deadline: Instant,
    ) -> Result<AppendOutcome, LogError> {
        self.disturbance
            .append(&*self.log, record, expectation, deadline)
            .await
    }

    async fn read_placed(
        &self,
        ledger: &LedgerName,
        after: Option<&ChainState>,
        max: usize,
    ) -> Result<Vec<Placed>, LogError> {
        self.disturbance
            .read_placed(&*self.log, ledger, after, max)
            .await
    }

    async fn read_at(
        &self,
        ledger: &LedgerName,
        place: &Place,
    ) -> Result<Option<Record>, LogError> {
        self.disturbance.read_at(&*self.log, ledger, place).await
    }

    async fn read_one(
        &self,
        ledger: &LedgerName,
        revision: Revision,
    ) -> Result<Option<Record>, LogError> {
        self.disturbance
            .read_one(&*self.log, ledger, revision)
            .await
    }

    async fn server_time(&self) -> Result<Timestamp, LogError> {
        self.disturbance.server_time(&*self.log).await
    }

    fn shares_clock(&self) -> bool {
        self.disturbance.shares_clock(&*self.log)
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

    async fn ping(&self) -> Result<(), LogError> {
        self.log.ping().await
    }

    fn distrust(&self, detail: String) -> LogError {
        self.log.distrust(detail)
    }
}
