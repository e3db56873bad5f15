//! The embedded log: one SQLite file, written by one task that commits all waiting appends together.
//!
//! There is one stream, index 0. What is stored is on disk before it is acknowledged (WAL, `synchronous=FULL`). The table has no
//! unique constraint on (ledger, revision): the chain decides, here as in every backend, and the compare happens inside the
//! transaction, under SQLite's one write lock, so several processes may append to one file.

mod file;
mod reader;
mod schema;
mod subscription;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::SqlitePool;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::admission::admit;
use crate::chain::ChainState;
use crate::error::LogError;
use crate::info::{LogInfo, StreamSummary};
use crate::log::{
    AppendOutcome, Checkpoint, EventLog, Expectation, LogEpoch, Place, Placed, StreamHead,
    StreamIndex, Subscription, Tip,
};
use crate::record::{LedgerName, Record, Revision};
use crate::standing::Standing;
use file::LogFile;

/// Appends that may wait for the writer.
const MAX_WAITING_APPENDS: usize = 1024;
/// How long a test write may take.
const PROBE_LIMIT: Duration = Duration::from_secs(6);

/// An open embedded log.
#[derive(Debug)]
pub struct SqliteLog {
    file: LogFile,
    epoch: LogEpoch,
    readers: SqlitePool,
    writes: mpsc::Sender<writer::Request>,
    committed: watch::Receiver<u64>,
    standing: Arc<Standing>,
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
        let file = LogFile::at(path)?;
        let epoch = schema::epoch(&mut connection).await?;
        let readers = schema::reader_pool(path).await?;
        let head = reader::head(&readers).await?;
        let (writes, waiting) = mpsc::channel(MAX_WAITING_APPENDS);
        let (committed_to, committed) = watch::channel(head.position.0);
        let standing = Arc::new(Standing::default());
        let writer = writer::Writer::new(
            connection,
            file.clone(),
            epoch,
            committed_to,
            standing.clone(),
        );
        tokio::spawn(writer.run(waiting));
        Ok(Self {
            file,
            epoch,
            readers,
            writes,
            committed,
            standing,
        })
    }

    /// Writes something that no reader looks at, to see whether a record could be written now.
    pub async fn probe(&self) -> Result<(), LogError> {
        self.standing.sound()?;
        let stopped = || LogError::Unavailable("the log's writer has stopped".to_owned());
        let (answer, answered) = oneshot::channel();
        let probed = async {
            self.writes
                .send(writer::Request::Probe(answer))
                .await
                .map_err(|_| stopped())?;
            answered.await.map_err(|_| stopped())?
        };
        timeout(PROBE_LIMIT, probed).await.unwrap_or_else(|_| {
            Err(LogError::Unavailable(format!(
                "the log's file could not be written within {} s",
                PROBE_LIMIT.as_secs()
            )))
        })
    }

    /// Notices a file that was replaced, put back to an earlier state or adopted since it was opened.
    async fn still_this_log(&self) -> Result<(), LogError> {
        // Read before the look: the file may only grow.
        let committed = *self.committed.borrow();
        let looked = async {
            self.file.check()?;
            let head = reader::head(&self.readers).await?;
            if head.position.0 < committed {
                return Err(LogError::Changed(format!(
                    "it ends at position {}, before {committed}, which was in it",
                    head.position.0
                )));
            }
            subscription::same_epoch(&self.readers, self.epoch).await
        };
        self.keep(looked.await)
    }

    /// Notes for good when a result says that the log has changed.
    fn keep<T>(&self, result: Result<T, LogError>) -> Result<T, LogError> {
        result.map_err(|error| match error {
            LogError::Changed(detail) => self.standing.distrust(detail),
            other => other,
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
        let name = self.file.path().display().to_string();
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
    ) -> Result<AppendOutcome, LogError> {
        self.standing.sound()?;
        admit(record, expectation)?;
        let Ok(place) = timeout_at(deadline, self.writes.reserve()).await else {
            return Err(LogError::Unavailable(format!(
                "{MAX_WAITING_APPENDS} appends are waiting already"
            )));
        };
        let place =
            place.map_err(|_| LogError::Unavailable("the log's writer has stopped".to_owned()))?;
        let (answer, answered) = oneshot::channel();
        place.send(writer::Request::Append(Box::new(writer::Waiting {
            record: record.clone(),
            expectation: *expectation,
            answer,
        })));
        match timeout_at(deadline, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Ok(AppendOutcome::Unknown(
                "the log's writer stopped before it answered".to_owned(),
            )),
            Err(_) => Ok(AppendOutcome::Unknown(
                "the deadline passed before the commit".to_owned(),
            )),
        }
    }

    async fn tip(&self, ledger: &LedgerName) -> Result<Option<Tip>, LogError> {
        self.standing.sound()?;
        let mut connection = self.readers.acquire().await.map_err(schema::unavailable)?;
        reader::tip(&mut connection, ledger).await
    }

    async fn read_placed(
        &self,
        ledger: &LedgerName,
        after: Option<&ChainState>,
        max: usize,
    ) -> Result<Vec<Placed>, LogError> {
        self.standing.sound()?;
        reader::read(&self.readers, ledger, after, max).await
    }

    async fn read_at(
        &self,
        ledger: &LedgerName,
        place: &Place,
    ) -> Result<Option<Record>, LogError> {
        self.standing.sound()?;
        let found = reader::at(&self.readers, place.position).await?;
        Ok(found.filter(|record| place.is_of(ledger, record)))
    }

    async fn read_one(
        &self,
        ledger: &LedgerName,
        revision: Revision,
    ) -> Result<Option<Record>, LogError> {
        self.standing.sound()?;
        let mut connection = self.readers.acquire().await.map_err(schema::unavailable)?;
        let found = reader::record_at(&mut connection, ledger, revision).await?;
        Ok(found.map(|(_, record)| record))
    }

    async fn ledgers(&self) -> Result<Vec<LedgerName>, LogError> {
        self.standing.sound()?;
        reader::ledgers(&self.readers).await
    }

    async fn head(&self, stream: StreamIndex) -> Result<StreamHead, LogError> {
        self.standing.sound()?;
        only_stream(stream)?;
        reader::head(&self.readers).await
    }

    async fn subscribe(
        &self,
        stream: StreamIndex,
        after: Option<&Checkpoint>,
    ) -> Result<Box<dyn Subscription>, LogError> {
        self.standing.sound()?;
        only_stream(stream)?;
        let source = subscription::Source {
            readers: self.readers.clone(),
            file: self.file.clone(),
            epoch: self.epoch,
            standing: self.standing.clone(),
        };
        let subscription =
            subscription::SqliteSubscription::start(source, self.committed.clone(), after).await?;
        Ok(Box::new(subscription))
    }

    async fn server_time(&self) -> Result<Timestamp, LogError> {
        reader::now(&self.readers).await
    }

    fn shares_clock(&self) -> bool {
        true
    }

    async fn ping(&self) -> Result<(), LogError> {
        self.standing.sound()?;
        if self.writes.is_closed() {
            return Err(LogError::Unavailable(
                "the log's writer has stopped".to_owned(),
            ));
        }
        self.still_this_log().await?;
        // Nobody may be selling while nothing can be recorded: whether there is room again is found out here.
        if self.standing.failing().is_some() {
            return self.probe().await;
        }
        Ok(())
    }

    fn distrust(&self, detail: String) -> LogError {
        self.standing.distrust(detail)
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
