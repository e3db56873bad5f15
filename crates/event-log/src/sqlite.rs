//! The embedded log: one SQLite file, written by one task that commits all waiting appends together.
//!
//! There is one stream, index 0. What is stored is on disk before it is acknowledged (WAL, `synchronous=FULL`). The table has no
//! unique constraint on (ledger, revision): the chain decides, here as in every backend, and the compare happens inside the
//! transaction, under SQLite's one write lock, so several processes may append to one file.

mod reader;
mod schema;
mod subscription;
mod writer;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sqlx::SqlitePool;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::admission::admit;
use crate::chain::ChainState;
use crate::error::LogError;
use crate::info::{LogInfo, StreamSummary};
use crate::log::{
    Checkpoint, EventLog, Expectation, LogEpoch, Outcome, StreamHead, StreamIndex, Subscription,
    Tip,
};
use crate::record::{LedgerName, Record, Revision};

/// Appends that may wait for the writer.
const MAX_WAITING_APPENDS: usize = 1024;

/// An open embedded log.
#[derive(Debug)]
pub struct SqliteLog {
    path: PathBuf,
    epoch: LogEpoch,
    readers: SqlitePool,
    appends: mpsc::Sender<writer::Waiting>,
    committed: watch::Receiver<u64>,
}

impl SqliteLog {
    /// Makes a new log with a random id and epoch 1, and opens it. Refuses a file that is already there.
    pub async fn create(path: &Path) -> Result<Self, LogError> {
        schema::create(path).await?;
        Self::open(path).await
    }

    /// Opens a log that exists.
    pub async fn open(path: &Path) -> Result<Self, LogError> {
        let mut connection = schema::connect(path).await?;
        let epoch = schema::epoch(&mut connection).await?;
        let readers = schema::reader_pool(path).await?;
        let head = reader::head(&readers).await?;
        let (appends, waiting) = mpsc::channel(MAX_WAITING_APPENDS);
        let (committed_to, committed) = watch::channel(head.position.0);
        tokio::spawn(writer::Writer::new(connection, epoch, committed_to).run(waiting));
        Ok(Self {
            path: path.to_owned(),
            epoch,
            readers,
            appends,
            committed,
        })
    }

    /// Takes up a file that was restored from a backup: raises the epoch, so that every checkpoint and token of before is refused.
    pub async fn adopt(path: &Path) -> Result<LogEpoch, LogError> {
        let mut connection = schema::connect(path).await?;
        schema::raise_epoch(&mut connection).await
    }

    pub async fn info(&self) -> Result<LogInfo, LogError> {
        let head = reader::head(&self.readers).await?;
        let (records, bytes) = reader::size(&self.readers).await?;
        let name = self.path.display().to_string();
        let stream = StreamSummary {
            index: StreamIndex(0),
            name,
            records,
            bytes,
            replicas: 1,
            head,
        };
        Ok(LogInfo {
            epoch: self.epoch,
            streams: vec![stream],
        })
    }
}

#[async_trait::async_trait]
impl EventLog for SqliteLog {
    fn epoch(&self) -> LogEpoch {
        self.epoch
    }

    fn streams(&self) -> u16 {
        1
    }

    fn stream_of(&self, _ledger: &LedgerName) -> StreamIndex {
        StreamIndex(0)
    }

    async fn append(
        &self,
        record: &Record,
        expectation: &Expectation,
        deadline: Instant,
    ) -> Result<Outcome, LogError> {
        admit(record, expectation)?;
        let Ok(place) = timeout_at(deadline, self.appends.reserve()).await else {
            return Err(LogError::Unavailable(format!(
                "{MAX_WAITING_APPENDS} appends are waiting already"
            )));
        };
        let place =
            place.map_err(|_| LogError::Unavailable("the log's writer has stopped".to_owned()))?;
        let (answer, answered) = oneshot::channel();
        place.send(writer::Waiting {
            record: record.clone(),
            expectation: *expectation,
            answer,
        });
        match timeout_at(deadline, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Ok(Outcome::Unknown(
                "the log's writer stopped before it answered".to_owned(),
            )),
            Err(_) => Ok(Outcome::Unknown(
                "the deadline passed before the commit".to_owned(),
            )),
        }
    }

    async fn tip(&self, ledger: &LedgerName) -> Result<Option<Tip>, LogError> {
        let mut connection = self.readers.acquire().await.map_err(schema::unavailable)?;
        reader::tip(&mut connection, ledger).await
    }

    async fn read(
        &self,
        ledger: &LedgerName,
        after: Option<&ChainState>,
        max: usize,
    ) -> Result<Vec<Record>, LogError> {
        reader::read(&self.readers, ledger, after, max).await
    }

    async fn read_one(
        &self,
        ledger: &LedgerName,
        revision: Revision,
    ) -> Result<Option<Record>, LogError> {
        let mut connection = self.readers.acquire().await.map_err(schema::unavailable)?;
        let found = reader::record_at(&mut connection, ledger, revision).await?;
        Ok(found.map(|(_, record)| record))
    }

    async fn ledgers(&self) -> Result<Vec<LedgerName>, LogError> {
        reader::ledgers(&self.readers).await
    }

    async fn head(&self, stream: StreamIndex) -> Result<StreamHead, LogError> {
        only_stream(stream)?;
        reader::head(&self.readers).await
    }

    async fn subscribe(
        &self,
        stream: StreamIndex,
        after: Option<&Checkpoint>,
    ) -> Result<Box<dyn Subscription>, LogError> {
        only_stream(stream)?;
        let subscription = subscription::SqliteSubscription::start(
            self.readers.clone(),
            self.epoch,
            self.committed.clone(),
            after,
        )
        .await?;
        Ok(Box::new(subscription))
    }

    async fn server_time(&self) -> Result<Timestamp, LogError> {
        reader::now(&self.readers).await
    }

    async fn ping(&self) -> Result<(), LogError> {
        if self.appends.is_closed() {
            return Err(LogError::Unavailable(
                "the log's writer has stopped".to_owned(),
            ));
        }
        reader::head(&self.readers).await.map(|_| ())
    }
}

fn only_stream(stream: StreamIndex) -> Result<(), LogError> {
    if stream == StreamIndex(0) {
        Ok(())
    } else {
        Err(LogError::Unusable(format!(
            "an embedded log has stream 0 only, not {}",
            stream.0
        )))
    }
}
