//! What only SQLite is asked.
//!
//! Write-ahead log with `synchronous = NORMAL`: a power cut may take the last transactions, but always whole ones, each a batch's rows
//! together with its checkpoint. The projector then finds the earlier checkpoint and projects the tail again from the event log, which
//! is synchronous. Nothing that was acknowledged to a till lives only here.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use runtime::database::{Pool, Transaction};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, SqliteConnection};

use super::pools::Pools;
use crate::error::ReadModelError;
use crate::generation::Generation;

const HAS_TABLE: &str = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = $1";
const TABLES: &str = include_str!("../../tables/sqlite.sql");
/// What is left of the tables of before there were generations.
const EARLIER_TABLES: &str = "_sqlx_migrations";
/// Of the files of a database.
const ENDINGS: [&str; 3] = ["", "-wal", "-shm"];
const READERS: u32 = 4;
const REPORTERS: u32 = 4;
/// SQLite has one writer.
const WRITERS: u32 = 1;
const CONTROLLERS: u32 = 2;
/// SQLite's steps between two looks at the time: a look costs nanoseconds, and this many steps take less than a millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// Pages of the database held in memory by each connection, in KiB (negative, as SQLite wants it).
const CACHE_KIB: &str = "-16384";

/// How long a connection may be used each time that it is taken: SQLite itself would go on for as long as a statement takes, even when
/// nobody waits for its answer any more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    read: Duration,
    /// Of an export: of each of its pages.
    report: Duration,
}

pub(crate) const LIMITS: Limits = Limits {
    read: Duration::from_secs(5),
    report: Duration::from_secs(15),
};

/// The file of a generation. The first one's is that of the tables of before there were generations.
pub(crate) fn file(path: &Path, generation: Generation) -> PathBuf {
    match generation {
        Generation(1) => path.to_owned(),
        Generation(number) => with_ending(path, &format!(".{number}")),
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(false)
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // SQLite may have ended a transaction that failed by itself; then the library counts it as open for ever.
        .after_release(|connection, _| {
            Box::pin(async move {
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
}

/// To write and read which generations there are: in a file beside theirs.
pub(crate) fn control(path: &Path) -> Pool {
    let options = options(&with_ending(path, ".generations")).create_if_missing(true);
    Pool::Sqlite(pool(CONTROLLERS).connect_lazy_with(options))
}

/// A generation whose file is missing is not made by whoever opens it.
pub(crate) fn open(path: &Path, limits: Limits) -> Pools {
    let options = options(path).pragma("cache_size", CACHE_KIB);
    let reader = |connections, limit| {
        let pool = pool(connections)
            .after_connect(move |connection, _| Box::pin(bound(connection, limit)))
            .before_acquire(move |connection, _| {
                Box::pin(async move { bound(connection, limit).await.map(|()| true) })
            });
        Pool::Sqlite(pool.connect_lazy_with(options.clone()))
    };
    let writer = Pool::Sqlite(pool(WRITERS).connect_lazy_with(options.clone()));
    Pools {
        reads: reader(READERS, limits.read),
        reports: reader(REPORTERS, limits.report),
        batches: writer.clone(),
        batches_at_once: WRITERS as usize,
        signs: writer,
    }
}

pub(crate) async fn has_earlier_tables(path: &Path) -> Result<bool, ReadModelError> {
    if !path.exists() {
        return Ok(false);
    }
    let mut connection = SqliteConnection::connect_with(&options(path)).await?;
    let there = has_table(&mut connection, EARLIER_TABLES).await?;
    connection.close().await?;
    Ok(there)
}

async fn has_table(connection: &mut SqliteConnection, table: &str) -> Result<bool, sqlx::Error> {
    let found: i64 = sqlx::query_scalar(HAS_TABLE)
        .bind(table)
        .fetch_one(connection)
        .await?;
    Ok(found > 0)
}

/// Makes a generation's file and tables where they are missing. Whoever does so has the one right to change what generations there are.
pub(crate) async fn make_tables(path: &Path) -> Result<(), ReadModelError> {
    let options = options(path).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    if !has_table(&mut connection, "checkpoints").await? {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::raw_sql(TABLES).execute(&mut *transaction).await?;
        transaction.commit().await?;
    }
    Ok(connection.close().await?)
}

/// Whoever has it open reads on.
pub(crate) fn remove_files(path: &Path) -> Result<(), ReadModelError> {
    for ending in ENDINGS {
        match std::fs::remove_file(with_ending(path, ending)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(sqlx::Error::Io(error).into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Ends whatever the connection is doing when the time is over.
async fn bound(connection: &mut SqliteConnection, limit: Duration) -> Result<(), sqlx::Error> {
    let until = Instant::now() + limit;
    connection
        .lock_handle()
        .await?
        .set_progress_handler(STEPS_BETWEEN_LOOKS, move || Instant::now() < until);
    Ok(())
}

/// Gives a report that goes on for longer the time for one more page. PostgreSQL's own limit is of each statement anyway.
pub(crate) async fn grant_a_page(snapshot: &mut Transaction<'static>) -> Result<(), sqlx::Error> {
    match snapshot {
        Transaction::Sqlite(connection) => bound(connection, LIMITS.report).await,
        Transaction::Postgres(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use sqlx::SqlitePool;

    use super::*;

    /// Goes on until it is ended.
    const ENDLESS: &str = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) \
                           SELECT count(*) FROM c";
    const STORES: &str = "SELECT count(*) FROM stores";

    async fn tables(limits: Limits) -> (Pools, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("read-model.db");
        make_tables(&path).await.unwrap();
        (open(&path, limits), directory)
    }

    fn of(pool: &Pool) -> &SqlitePool {
        match pool {
            Pool::Sqlite(pool) => pool,
            Pool::Postgres(_) => panic!("these are SQLite's"),
        }
    }

    async fn can_be_read(pools: &Pools) {
        let stores: i64 = sqlx::query_scalar(STORES)
            .fetch_one(of(&pools.reads))
            .await
            .unwrap();
        assert_eq!(stores, 0);
    }

    #[tokio::test]
    async fn a_read_is_ended_when_its_time_is_over() {
        let limits = Limits {
            read: Duration::from_millis(200),
            report: Duration::from_millis(400),
        };
        let (pools, _directory) = tables(limits).await;
        // Twice: on a connection that was just made, and on one that was used before.
        for _ in 0..2 {
            for pool in [&pools.reads, &pools.reports] {
                let begun = Instant::now();
                let ended = tokio::time::timeout(
                    Duration::from_secs(5),
                    sqlx::query(ENDLESS).fetch_all(of(pool)),
                );
                let error = ended.await.unwrap().map(|_| ()).unwrap_err();
                assert!(
                    matches!(ReadModelError::from(error), ReadModelError::TooLong(_)),
                    "after {:?}",
                    begun.elapsed()
                );
            }
        }
        can_be_read(&pools).await;
    }

    #[tokio::test]
    async fn tables_that_are_still_being_made_are_waited_for() {
        let (pools, _directory) = tables(LIMITS).await;
        for missing in ["SELECT later FROM stores", "SELECT 1 FROM later"] {
            let error = sqlx::query(missing).fetch_all(of(&pools.reads)).await;
            let error = ReadModelError::from(error.map(|_| ()).unwrap_err());
            assert!(matches!(error, ReadModelError::Schema(_)), "{error}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn reports_that_nobody_waits_for_leave_orders_alone() {
        let (pools, _directory) = tables(Limits {
            report: Duration::from_secs(2),
            ..LIMITS
        })
        .await;
        for _ in 0..2 * REPORTERS {
            let abandoned = sqlx::query(ENDLESS).fetch_all(of(&pools.reports));
            drop(tokio::time::timeout(Duration::from_millis(20), abandoned).await);
        }
        let begun = Instant::now();
        can_be_read(&pools).await;
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
        // And they end by themselves.
        tokio::time::sleep(Duration::from_secs(3)).await;
        pools.reports.snapshot().await.unwrap();
    }
}
