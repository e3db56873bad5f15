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
use jiff::Timestamp;
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
    Batch, DayRow, DayState, Fence, Generation, Heartbeat, OrderPage, OrderRow, Orders, Progress,
    ProjectionStatus, Quarantine, Seen, StoreProgress, StoreRow, StreamRow, StreamSight,
};
use crate::settlement::{DifferingDay, Sales, SalesQuery, SalesStore, SalesSum, ZPage, settlement};
use crate::shared::{
    backend, corrupt, day_columns, hash, instant, json, live, signed, store_and_epoch,
    store_columns, stream_columns, unsigned,
};
use crate::sqlite_facts::write_facts;
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

/// Byte strings of many rows in one parameter: rows name offset and length, and `substr` cuts them out, which spares hexadecimal.
#[derive(Default)]
pub(crate) struct Blobs(pub Vec<u8>);

impl Blobs {
    /// Where the bytes begin, counted from 1 as `substr` does.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let at = self.0.len() + 1;
        self.0.extend_from_slice(bytes);
        at
    }
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
        write_stores(&mut transaction, fence.generation, &batch.stores).await?;
        write_orders(&mut transaction, fence.generation, &batch.orders).await?;
        write_days(&mut transaction, fence.generation, &batch.days).await?;
        write_facts(&mut transaction, fence.generation, &batch.facts).await?;
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

#[derive(serde::Serialize)]
struct StoreJson<'a> {
    store_id: &'a str,
    stream: u16,
    /// Absent before the first record.
    ledger_id: Option<String>,
    revision: u64,
    hash: String,
    recorded_at_us: i64,
    currency: &'a str,
    time_zone: &'a str,
    cutoff_minutes: u32,
    name: String,
    latest_date: String,
    day_open: u8,
    z_number: i64,
    z_hash: String,
    document_number: i64,
    open_orders: i64,
    completed_between: i64,
    grand_total_sales: i64,
    grand_total_returns: i64,
    quarantine_reason: &'a str,
    quarantine_revision: u64,
    quarantined_at_us: i64,
    skipped_records: u64,
}

impl<'a> StoreJson<'a> {
    fn of(row: &'a StoreRow) -> Result<Self, ReadModelError> {
        let quarantine = row.quarantine.as_ref();
        Ok(Self {
            store_id: row.store.as_str(),
            stream: row.stream.0,
            ledger_id: row.chain.map(|chain| chain.ledger_id.simple().to_string()),
            revision: row.revision().0,
            hash: hex::encode(row.chain.map_or(RecordHash::NONE, |chain| chain.hash).0),
            recorded_at_us: row.chain.map_or(0, |chain| chain.recorded_at_us),
            currency: row.currency.as_ref().map_or("", Currency::as_str),
            time_zone: &row.time_zone,
            cutoff_minutes: row.cutoff_minutes,
            name: json(&row.name)?,
            latest_date: row
                .latest_date
                .map(|date| date.to_string())
                .unwrap_or_default(),
            day_open: u8::from(row.day_open),
            z_number: row.z_number,
            z_hash: hex::encode(row.z_hash.0),
            document_number: row.document_number,
            open_orders: row.open_orders,
            completed_between: row.completed_between,
            grand_total_sales: row.grand_total_sales.minor(),
            grand_total_returns: row.grand_total_returns.minor(),
            quarantine_reason: quarantine.map_or("", |quarantine| &quarantine.reason),
            quarantine_revision: quarantine.map_or(0, |quarantine| quarantine.revision.0),
            quarantined_at_us: quarantine.map_or(0, |quarantine| quarantine.at.as_microsecond()),
            skipped_records: quarantine.map_or(0, |quarantine| quarantine.skipped),
        })
    }
}

async fn write_stores(
    transaction: &mut Transaction<'_, Sqlite>,
    generation: Generation,
    rows: &[StoreRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    let values = rows
        .iter()
        .map(StoreJson::of)
        .collect::<Result<Vec<_>, _>>()?;
    sqlx::query(
        "INSERT OR REPLACE INTO stores (generation, store_id, stream, ledger_id, revision, hash, recorded_at_us, currency, time_zone, \
         name, latest_date, day_open, z_number, z_hash, document_number, open_orders, completed_between, grand_total_sales, grand_total_returns, \
         quarantine_reason, quarantine_revision, quarantined_at_us, skipped_records, cutoff_minutes) \
         SELECT $1, value ->> 'store_id', value ->> 'stream', unhex(value ->> 'ledger_id'), value ->> 'revision', unhex(value ->> 'hash'), \
         value ->> 'recorded_at_us', value ->> 'currency', value ->> 'time_zone', value ->> 'name', value ->> 'latest_date', \
         value ->> 'day_open', value ->> 'z_number', unhex(value ->> 'z_hash'), value ->> 'document_number', value ->> 'open_orders', \
         value ->> 'completed_between', \
         value ->> 'grand_total_sales', value ->> 'grand_total_returns', value ->> 'quarantine_reason', \
         value ->> 'quarantine_revision', value ->> 'quarantined_at_us', value ->> 'skipped_records', \
         value ->> 'cutoff_minutes' FROM json_each($2)",
    )
    .bind(generation.0)
    .bind(json(&values)?)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn write_orders(
    transaction: &mut Transaction<'_, Sqlite>,
    generation: Generation,
    rows: &[OrderRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut blobs = Blobs::default();
    let values: Vec<_> = rows
        .iter()
        .map(|row| {
            let id = blobs.push(row.order_id.uuid().as_bytes());
            let body = blobs.push(&row.body);
            (
                row.store.as_str(),
                id,
                row.business_date.to_string(),
                row.ticket_number,
                row.status,
                row.membership,
                row.placed_at.as_microsecond(),
                row.updated_at.as_microsecond(),
                row.revision.0,
                body,
                row.body.len(),
            )
        })
        .collect();
    sqlx::query(
        "INSERT INTO orders (generation, store_id, order_id, business_date, ticket_number, status, membership, placed_at_us, updated_at_us, revision, \
         body) \
         SELECT $1, value ->> 0, substr($3, value ->> 1, 16), value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, \
         value ->> 8, substr($3, value ->> 9, value ->> 10) FROM json_each($2) WHERE true \
         ON CONFLICT (generation, store_id, order_id) DO UPDATE SET status = excluded.status, membership = excluded.membership, updated_at_us = excluded.updated_at_us, \
         revision = excluded.revision, body = excluded.body",
    )
    .bind(generation.0)
    .bind(json(&values)?)
    .bind(blobs.0)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn write_days(
    transaction: &mut Transaction<'_, Sqlite>,
    generation: Generation,
    rows: &[DayRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut blobs = Blobs::default();
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        let (body, recorded) = (blobs.push(&row.body), blobs.push(&row.recorded));
        values.push((
            row.store.as_str(),
            row.date.to_string(),
            if row.state == DayState::Open { 1 } else { 2 },
            &row.time_zone,
            row.start.as_microsecond(),
            row.end.as_microsecond(),
            row.closed_at.map_or(0, Timestamp::as_microsecond),
            row.z_number,
            row.revision.0,
            body,
            row.body.len(),
            recorded,
            row.recorded.len(),
            json(&row.differences)?,
            json(&row.figures)?,
        ));
    }
    sqlx::query(
        "INSERT OR REPLACE INTO business_days (generation, store_id, business_date, state, time_zone, start_at_us, end_at_us, closed_at_us, \
         z_number, revision, body, recorded, differences, figures) \
         SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, \
         substr($3, value ->> 9, value ->> 10), substr($3, value ->> 11, value ->> 12), value ->> 13, value ->> 14 FROM json_each($2)",
    )
    .bind(generation.0)
    .bind(json(&values)?)
    .bind(blobs.0)
    .execute(&mut **transaction)
    .await?;
    Ok(())
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
