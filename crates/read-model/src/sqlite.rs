//! The embedded backend.
//!
//! Write-ahead log with `synchronous = NORMAL`: a power cut may take the last transactions, but always whole ones, each a batch's rows
//! together with its checkpoint. The projector then finds the earlier checkpoint and projects the tail again from the event log, which
//! is synchronous. Nothing that was acknowledged to a till lives only here.

use std::path::Path;
use std::time::{Duration, Instant};

use contract::api::query::ExportSalesResponse;
use contract::list_digest::ListAmounts;
use contract::{BusinessDate, Currency, Money, OrderId, StoreId};
use event_log::{ChainState, LogEpoch, Position, RecordHash, Revision, StreamIndex};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Connection as _, Row as _, Sqlite, SqliteConnection, Transaction};
use tokio::sync::watch;
use uuid::Uuid;

use crate::error::ReadModelError;
use crate::export::{
    Export, ExportQuery, ExportTable, FACTS_A_PAGE, FromRow, REPORTS_A_PAGE, exporting, facts_sql,
    z_report,
};
use crate::facts::EventPlace;
use crate::figure::{Explained, Figure, FigureFact, FigureQuery};
use crate::lists::{
    AMOUNTS, DayList, Digests, FIRST_ROWS, ListPage, ListRow, ONE_ROW, PAGE, ReportKey,
    ReportQuery, Reported, lists,
};
use crate::rows::{
    Batch, DayRow, DayState, Fence, Generation, Heartbeat, OrderPage, Orders, Progress,
    ProjectionStatus, Quarantine, Seen, StoreProgress, StoreRow, StreamRow, StreamSight,
};
use crate::settlement::{DifferingDay, Sales, SalesQuery, SalesStore, SalesSum, ZPage, settlement};
use crate::shared::{
    backend, corrupt, day_columns, hash, instant, json, live, signed, store_and_epoch,
    store_columns, stream_columns, unsigned,
};
use crate::sqlite_write::write_rows;
use crate::traits::{ExportReader, ReadModelReader, ReadModelWriter, SettlementReader};

/// Connections for what tills and screens ask: one row, or one page. Nothing else may take them.
const READERS: u32 = 4;
/// For sums, Z reports and exports, which may take long; an export holds one as long as it lasts.
const REPORTERS: u32 = 4;
/// SQLite's steps between two looks at the time: a look costs nanoseconds, and this many steps take less than a millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
const MIGRATION_TRIES: u32 = 5;
const BETWEEN_MIGRATIONS: Duration = Duration::from_millis(100);
/// Pages of the database held in memory by each connection, in KiB (negative, as SQLite wants it).
const CACHE_KIB: &str = "-16384";

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// How long a connection may be used each time that it is taken: SQLite itself would go on for as long as a statement takes, even when
/// nobody waits for its answer any more.
#[derive(Debug, Clone, Copy)]
struct Limits {
    read: Duration,
    /// Of an export: of each of its pages.
    report: Duration,
}

const LIMITS: Limits = Limits {
    read: Duration::from_secs(5),
    report: Duration::from_secs(15),
};

pub(crate) struct SqliteModel {
    reads: SqlitePool,
    reports: SqlitePool,
    writes: SqlitePool,
    commits: watch::Sender<u64>,
}

impl SqliteModel {
    pub fn open(path: &Path) -> Self {
        Self::limited(path, LIMITS)
    }

    fn limited(path: &Path, limits: Limits) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(false)
            .pragma("cache_size", CACHE_KIB);
        let pool = |connections| {
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
        };
        let reader = |connections, limit| {
            pool(connections)
                .after_connect(move |connection, _| Box::pin(bound(connection, limit)))
                .before_acquire(move |connection, _| {
                    Box::pin(async move { bound(connection, limit).await.map(|()| true) })
                })
                .connect_lazy_with(options.clone())
        };
        Self {
            reads: reader(READERS, limits.read),
            reports: reader(REPORTERS, limits.report),
            writes: pool(1).connect_lazy_with(options.clone()),
            commits: watch::Sender::new(0),
        }
    }

    fn newest_migration() -> i64 {
        MIGRATIONS
            .iter()
            .map(|migration| migration.version)
            .max()
            .unwrap_or(0)
    }

    async fn run_migrations(&self) -> Result<(), ReadModelError> {
        // SQLite has no lock around migrations: who comes second finds the tables made half-way through its own try, and looks again.
        let mut tries = 1;
        loop {
            match MIGRATIONS.run(&self.writes).await {
                Ok(()) => return Ok(()),
                Err(MigrateError::ExecuteMigration(..)) if tries < MIGRATION_TRIES => tries += 1,
                Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                    return Err(error.into());
                }
                Err(other) => return Err(ReadModelError::Schema(other.to_string())),
            }
            tokio::time::sleep(BETWEEN_MIGRATIONS).await;
        }
    }

    async fn migrated_to(&self) -> Result<Option<i64>, ReadModelError> {
        let known = sqlx::query(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'",
        );
        if known.fetch_optional(&self.reads).await?.is_none() {
            return Ok(None);
        }
        let row = sqlx::query("SELECT max(version) AS version FROM _sqlx_migrations WHERE success")
            .fetch_one(&self.reads)
            .await?;
        Ok(row.try_get("version")?)
    }

    async fn told(&self, hint: &watch::Sender<u64>) {
        let mut commits = self.commits.subscribe();
        while commits.changed().await.is_ok() {
            hint.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    async fn day_snapshot(&self) -> Result<Transaction<'static, Sqlite>, ReadModelError> {
        Ok(self.reads.begin().await?)
    }

    async fn snapshot(&self) -> Result<Transaction<'static, Sqlite>, ReadModelError> {
        Ok(self.reports.begin().await?)
    }

    async fn stored_orders(
        &self,
        generation: Generation,
        orders: &[(StoreId, OrderId)],
    ) -> Result<Vec<SqliteRow>, ReadModelError> {
        let keys: Vec<_> = orders
            .iter()
            .map(|(store, order)| (store.as_str(), order.uuid().simple().to_string()))
            .collect();
        // The cross join keeps the keys outside: one look into the index for each.
        let query = "SELECT o.store_id, o.order_id, o.body FROM json_each($2) k CROSS JOIN orders o \
                     ON o.generation = $1 AND o.store_id = k.value ->> 0 AND o.order_id = unhex(k.value ->> 1)";
        Ok(sqlx::query(query)
            .bind(generation.0)
            .bind(json(&keys)?)
            .fetch_all(&self.writes)
            .await?)
    }

    async fn stored_days(
        &self,
        generation: Generation,
        days: &[(StoreId, BusinessDate)],
    ) -> Result<Vec<SqliteRow>, ReadModelError> {
        let keys: Vec<_> = days
            .iter()
            .map(|(store, date)| (store.as_str(), date.to_string()))
            .collect();
        let query = sqlx::query(concat!(
            "SELECT ",
            day_columns!(),
            " FROM json_each($2) k CROSS JOIN business_days d \
             ON d.generation = $1 AND d.store_id = k.value ->> 0 AND d.business_date = k.value ->> 1"
        ));
        Ok(query
            .bind(generation.0)
            .bind(json(&keys)?)
            .fetch_all(&self.writes)
            .await?)
    }

    async fn stored_lists(
        &self,
        generation: Generation,
        days: &[(StoreId, BusinessDate)],
    ) -> Result<Vec<SqliteRow>, ReadModelError> {
        let keys: Vec<_> = days
            .iter()
            .map(|(store, date)| (store.as_str(), date.to_string()))
            .collect();
        let query = "SELECT l.store_id, l.business_date, l.list, l.list_key, '' AS category, '{}' AS name, l.units, l.gross, l.discount, \
                     l.net FROM json_each($2) k CROSS JOIN day_lists l ON l.generation = $1 AND l.store_id = k.value ->> 0 \
                     AND l.business_date = k.value ->> 1 ORDER BY l.store_id, l.business_date, l.list, l.list_key";
        Ok(sqlx::query(query)
            .bind(generation.0)
            .bind(json(&keys)?)
            .fetch_all(&self.writes)
            .await?)
    }

    async fn commit_batch(&self, batch: &Batch) -> Result<(), ReadModelError> {
        let fence = &batch.fence;
        let mut transaction = self.writes.begin_with("BEGIN IMMEDIATE").await?;
        let moved = sqlx::query(
            "UPDATE checkpoints SET position = $1, hash = $2, head = $3, lag_us = $4, orphans = orphans + $5, beat = beat + 1, \
             updated_at_us = $6, log_id = $7, epoch = $8 \
             WHERE projection = 'sales' AND generation = $9 AND stream = $10 AND position = $11 AND term = $12",
        )
        .bind(signed(batch.checkpoint.position.0))
        .bind(&batch.checkpoint.hash.0[..])
        .bind(signed(batch.head.0))
        .bind(batch.lag_us)
        .bind(signed(batch.orphans))
        .bind(batch.at.as_microsecond())
        .bind(batch.checkpoint.epoch.log_id)
        .bind(i64::from(batch.checkpoint.epoch.epoch))
        .bind(fence.generation.0)
        .bind(i64::from(fence.stream.0))
        .bind(signed(fence.position.0))
        .bind(signed(fence.term))
        .execute(&mut *transaction)
        .await?;
        if moved.rows_affected() == 0 {
            transaction.rollback().await?;
            return Err(fenced(fence));
        }
        write_rows(&mut transaction, batch).await?;
        transaction.commit().await?;
        self.commits
            .send_modify(|count| *count = count.wrapping_add(1));
        Ok(())
    }
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

/// An export holds its connection for longer than a page may take.
async fn bound_page(snapshot: &mut Transaction<'static, Sqlite>) -> Result<(), ReadModelError> {
    Ok(bound(snapshot, LIMITS.report).await?)
}

lists!(SqliteModel, SqliteRow, Sqlite);

backend!(
    SqliteModel,
    SqliteRow,
    "(SELECT value FROM json_each($1))",
    "(SELECT value FROM json_each($2))"
);

settlement!(
    SqliteModel,
    SqliteRow,
    Sqlite,
    "(SELECT value FROM json_each($1))"
);

exporting!(SqliteModel, SqliteRow, Sqlite);

#[cfg(test)]
mod tests {
    use super::*;

    /// Goes on until it is ended.
    const ENDLESS: &str = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) \
                           SELECT count(*) FROM c";

    async fn model(limits: Limits) -> (SqliteModel, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let model = SqliteModel::limited(&directory.path().join("read-model.db"), limits);
        model.migrate().await.unwrap();
        (model, directory)
    }

    #[tokio::test]
    async fn a_read_is_ended_when_its_time_is_over() {
        let limits = Limits {
            read: Duration::from_millis(200),
            report: Duration::from_millis(400),
        };
        let (model, _directory) = model(limits).await;
        // Twice: on a connection that was just made, and on one that was used before.
        for _ in 0..2 {
            for pool in [&model.reads, &model.reports] {
                let begun = Instant::now();
                let ended = tokio::time::timeout(
                    Duration::from_secs(5),
                    sqlx::query(ENDLESS).fetch_all(pool),
                );
                let error = ended.await.unwrap().map(|_| ()).unwrap_err();
                assert!(
                    matches!(ReadModelError::from(error), ReadModelError::TooLong(_)),
                    "after {:?}",
                    begun.elapsed()
                );
            }
        }
        assert!(model.stores_after(None, 1).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn tables_that_are_still_being_made_are_waited_for() {
        let (model, _directory) = model(LIMITS).await;
        for missing in ["SELECT later FROM stores", "SELECT 1 FROM later"] {
            let error = sqlx::query(missing).fetch_all(&model.reads).await;
            let error = ReadModelError::from(error.map(|_| ()).unwrap_err());
            assert!(matches!(error, ReadModelError::Schema(_)), "{error}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn reports_that_nobody_waits_for_leave_orders_alone() {
        let (model, _directory) = model(Limits {
            report: Duration::from_secs(2),
            ..LIMITS
        })
        .await;
        for _ in 0..2 * REPORTERS {
            let abandoned = sqlx::query(ENDLESS).fetch_all(&model.reports);
            drop(tokio::time::timeout(Duration::from_millis(20), abandoned).await);
        }
        let begun = Instant::now();
        assert!(model.stores_after(None, 1).await.unwrap().is_empty());
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
        // And they end by themselves.
        tokio::time::sleep(Duration::from_secs(3)).await;
        model.snapshot().await.unwrap();
    }
}
