use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use sqlx::{Row, SqlitePool};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::file::LogFile;
use super::reader::head;
use super::schema::{column, epoch, unavailable};
use crate::error::LogError;
use crate::log::{Checkpoint, Delivered, LogEpoch, Position, Subscription};
use crate::record::{LedgerName, RecordHash};
use crate::standing::Standing;

/// How often the file is looked at for commits of other processes, which nothing else tells of.
const POLL: Duration = Duration::from_millis(200);
/// Rows handed over at once, whatever the caller allows.
const MAX_ROWS: usize = 8192;
/// Bytes after which a delivery is cut, so that a page of large records stays small in memory.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The open log that a subscription reads.
pub(super) struct Source {
    pub(super) readers: SqlitePool,
    pub(super) file: LogFile,
    pub(super) epoch: LogEpoch,
    pub(super) standing: Arc<Standing>,
}

pub(super) struct SqliteSubscription {
    source: Source,
    committed: watch::Receiver<u64>,
    position: Position,
}

impl SqliteSubscription {
    pub(super) async fn start(
        source: Source,
        committed: watch::Receiver<u64>,
        after: Option<&Checkpoint>,
    ) -> Result<Self, LogError> {
        if let Some(checkpoint) = after {
            check(&source, checkpoint).await?;
        }
        let position = after.map_or(Position(0), |checkpoint| checkpoint.position);
        Ok(Self {
            source,
            committed,
            position,
        })
    }

    async fn fetch(&mut self, max: usize) -> Result<Vec<Delivered>, LogError> {
        let mut rows = sqlx::query("SELECT position, ledger, body FROM records WHERE position > ?1 ORDER BY position LIMIT ?2")
            .bind(self.position.0.cast_signed())
            .bind(i64::try_from(max.min(MAX_ROWS)).unwrap_or(i64::MAX))
            .fetch(&self.source.readers);
        let (mut delivered, mut bytes) = (Vec::new(), 0);
        while bytes < MAX_BYTES
            && let Some(row) = rows.try_next().await.map_err(unavailable)?
        {
            let position: i64 = column(&row, 0)?;
            let ledger: &str = row.try_get(1).map_err(unavailable)?;
            let ledger = LedgerName::new(ledger)
                .map_err(|error| LogError::Unusable(format!("a row of the log: {error}")))?;
            let body = Bytes::from(column::<Vec<u8>>(&row, 2)?);
            bytes += body.len();
            let position = Position(position.cast_unsigned());
            delivered.push(Delivered::of(position, ledger, &body));
        }
        drop(rows);
        if let Some(last) = delivered.last() {
            self.position = last.position;
        }
        Ok(delivered)
    }

    /// Notices a file that was put back to an earlier state, or adopted, under a reader.
    async fn still_this_log(&self) -> Result<(), LogError> {
        let looked = async {
            self.source.file.check()?;
            let head = head(&self.source.readers).await?;
            if head.position < self.position {
                return Err(LogError::Changed(format!(
                    "it ends at position {}, before {}, which was read from it",
                    head.position.0, self.position.0
                )));
            }
            same_epoch(&self.source.readers, self.source.epoch).await
        };
        looked.await.map_err(|error| match error {
            LogError::Changed(detail) => self.source.standing.distrust(detail),
            other => other,
        })
    }
}

#[async_trait::async_trait]
impl Subscription for SqliteSubscription {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivered>, LogError> {
        let deadline = Instant::now() + wait;
        loop {
            self.source.standing.sound()?;
            // Marked as seen before the look, so that a commit during it wakes the next wait.
            self.committed.borrow_and_update();
            let delivered = self.fetch(max.max(1)).await?;
            if !delivered.is_empty() {
                return Ok(delivered);
            }
            let poll = Instant::now() + POLL;
            // A writer that has gone away wakes nobody: then the poll alone has to do.
            if let Ok(Err(_)) = timeout_at(poll.min(deadline), self.committed.changed()).await {
                tokio::time::sleep_until(poll.min(deadline)).await;
            }
            if Instant::now() >= poll {
                self.still_this_log().await?;
            }
            if Instant::now() >= deadline {
                return self.fetch(max.max(1)).await;
            }
        }
    }
}

pub(super) async fn same_epoch(readers: &SqlitePool, expected: LogEpoch) -> Result<(), LogError> {
    let mut connection = readers.acquire().await.map_err(unavailable)?;
    let found = epoch(&mut connection).await?;
    if found == expected {
        Ok(())
    } else {
        Err(LogError::Changed(format!(
            "it was {expected} and is {found} now"
        )))
    }
}

/// A checkpoint of another log, or of an earlier life of this one, is its owner's trouble; one of this very life that is not in the
/// log proves that records were lost.
async fn check(source: &Source, checkpoint: &Checkpoint) -> Result<(), LogError> {
    let log = source.epoch;
    if checkpoint.epoch != log {
        return Err(LogError::Changed(format!(
            "the checkpoint is of log {}, this is {log}",
            checkpoint.epoch
        )));
    }
    let body: Option<Vec<u8>> = sqlx::query_scalar("SELECT body FROM records WHERE position = ?1")
        .bind(checkpoint.position.0.cast_signed())
        .fetch_optional(&source.readers)
        .await
        .map_err(unavailable)?;
    let holds = match body {
        Some(body) if RecordHash::of(&body) == checkpoint.hash => return Ok(()),
        Some(_) => "another record than the checkpoint's",
        None => "no record, and the checkpoint names one",
    };
    let detail = format!("position {} holds {holds}", checkpoint.position.0);
    Err(source.standing.distrust(detail))
}
