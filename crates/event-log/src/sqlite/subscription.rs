use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use sqlx::{Row, SqlitePool};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::reader::head;
use super::schema::{column, epoch, unavailable};
use crate::error::LogError;
use crate::log::{Checkpoint, Delivered, LogEpoch, Position, Subscription};
use crate::record::{LedgerName, Record, RecordHash};

/// How often the file is looked at for commits of other processes, which nothing else tells of.
const POLL: Duration = Duration::from_millis(200);
/// Rows handed over at once, whatever the caller allows.
const MAX_ROWS: usize = 8192;
/// Bytes after which a delivery is cut, so that a page of large records stays small in memory.
const MAX_BYTES: usize = 16 * 1024 * 1024;

pub(super) struct SqliteSubscription {
    readers: SqlitePool,
    epoch: LogEpoch,
    committed: watch::Receiver<u64>,
    position: Position,
}

impl SqliteSubscription {
    pub(super) async fn start(
        readers: SqlitePool,
        log: LogEpoch,
        committed: watch::Receiver<u64>,
        after: Option<&Checkpoint>,
    ) -> Result<Self, LogError> {
        if let Some(checkpoint) = after {
            check(&readers, log, checkpoint).await?;
        }
        let position = after.map_or(Position(0), |checkpoint| checkpoint.position);
        Ok(Self {
            readers,
            epoch: log,
            committed,
            position,
        })
    }

    async fn fetch(&mut self, max: usize) -> Result<Vec<Delivered>, LogError> {
        let mut rows = sqlx::query("SELECT position, ledger, body FROM records WHERE position > ?1 ORDER BY position LIMIT ?2")
            .bind(self.position.0.cast_signed())
            .bind(i64::try_from(max.min(MAX_ROWS)).unwrap_or(i64::MAX))
            .fetch(&self.readers);
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
            let hash = RecordHash::of(&body);
            delivered.push(Delivered {
                position: Position(position.cast_unsigned()),
                ledger,
                record: Record::parse(body),
                hash,
            });
        }
        drop(rows);
        if let Some(last) = delivered.last() {
            self.position = last.position;
        }
        Ok(delivered)
    }

    /// Notices a file that was put back to an earlier state, or adopted, under a reader.
    async fn still_this_log(&self) -> Result<(), LogError> {
        let head = head(&self.readers).await?;
        if head.position < self.position {
            let detail = format!(
                "it ends at position {}, before {}, which was read from it",
                head.position.0, self.position.0
            );
            return Err(LogError::Changed(detail));
        }
        same_epoch(&self.readers, self.epoch).await
    }
}

#[async_trait::async_trait]
impl Subscription for SqliteSubscription {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivered>, LogError> {
        let deadline = Instant::now() + wait;
        loop {
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

async fn same_epoch(readers: &SqlitePool, expected: LogEpoch) -> Result<(), LogError> {
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

async fn check(
    readers: &SqlitePool,
    log: LogEpoch,
    checkpoint: &Checkpoint,
) -> Result<(), LogError> {
    if checkpoint.epoch != log {
        return Err(LogError::Changed(format!(
            "the checkpoint is of log {}, this is {log}",
            checkpoint.epoch
        )));
    }
    let body: Option<Vec<u8>> = sqlx::query_scalar("SELECT body FROM records WHERE position = ?1")
        .bind(checkpoint.position.0.cast_signed())
        .fetch_optional(readers)
        .await
        .map_err(unavailable)?;
    match body {
        Some(body) if RecordHash::of(&body) == checkpoint.hash => Ok(()),
        Some(_) => Err(LogError::Changed(format!(
            "position {} holds another record than the checkpoint's",
            checkpoint.position.0
        ))),
        None => Err(LogError::Changed(format!(
            "position {}, the checkpoint's, holds no record",
            checkpoint.position.0
        ))),
    }
}
