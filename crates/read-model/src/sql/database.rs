//! The database of a generation with its connections, kept apart by what they are for.

use std::time::Duration;

use runtime::database::{Connection, Engine, Pool, Transaction};
use sqlx::SqlStr;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::timeout;

use super::pools::Pools;
use super::words::in_words_of;
use crate::error::ReadModelError;
use crate::generation::Generation;

/// How long a batch waits for its turn among those of other streams.
const TURN_PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Database {
    /// For what tills and screens ask: one row, or one page. Nothing else may take them.
    reads: Pool,
    /// For sums, Z reports and exports, which may take long; an export holds one as long as it lasts.
    reports: Pool,
    /// For batches and for the rows that they build upon.
    batches: Pool,
    /// One for each connection of `batches`: who waits here waits for others, and who has one waits for the database alone.
    turns: Semaphore,
    /// For claims and signs of life, which must not wait for a batch. With SQLite, which has one writer, they are those of `batches`.
    signs: Pool,
    generation: Generation,
    /// Counts this process's commits.
    news: watch::Sender<u64>,
}

/// A connection for a batch, and the turn that it has.
pub(crate) struct Turn<'a, T> {
    pub connection: T,
    _permit: SemaphorePermit<'a>,
}

impl Database {
    pub fn new(generation: Generation, pools: Pools, news: watch::Sender<u64>) -> Self {
        Self {
            reads: pools.reads,
            reports: pools.reports,
            batches: pools.batches,
            turns: Semaphore::new(pools.batches_at_once),
            signs: pools.signs,
            generation,
            news,
        }
    }

    pub fn generation(&self) -> Generation {
        self.generation
    }

    pub fn engine(&self) -> Engine {
        self.reads.engine()
    }

    /// The statement in this database's words.
    pub fn words(&self, statement: &str) -> SqlStr {
        in_words_of(self.engine(), statement)
    }

    pub async fn reads(&self) -> Result<Connection, ReadModelError> {
        Ok(self.reads.acquire().await?)
    }

    pub async fn reports(&self) -> Result<Connection, ReadModelError> {
        Ok(self.reports.acquire().await?)
    }

    pub async fn signs(&self) -> Result<Connection, ReadModelError> {
        Ok(self.signs.acquire().await?)
    }

    /// Everything that is read of it is of one instant. For a day's report, which sums and exports must not keep waiting.
    pub async fn snapshot(&self) -> Result<Transaction<'static>, ReadModelError> {
        Ok(self.reads.snapshot().await?)
    }

    /// The same for what may take long.
    pub async fn long_snapshot(&self) -> Result<Transaction<'static>, ReadModelError> {
        Ok(self.reports.snapshot().await?)
    }

    /// A connection to read what a batch builds upon.
    pub async fn reading_for_batch(&self) -> Result<Turn<'_, Connection>, ReadModelError> {
        let permit = self.turn().await?;
        Ok(Turn {
            connection: self.batches.acquire().await?,
            _permit: permit,
        })
    }

    /// A transaction for a batch.
    pub async fn batch(&self) -> Result<Turn<'_, Transaction<'static>>, ReadModelError> {
        let permit = self.turn().await?;
        Ok(Turn {
            connection: self.batches.begin().await?,
            _permit: permit,
        })
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, ReadModelError> {
        match timeout(TURN_PATIENCE, self.turns.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(sqlx::Error::PoolTimedOut.into()),
        }
    }

    /// Says to this process that something was committed. Others are told by the database, if it can.
    pub fn committed(&self) {
        self.news
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}
