//! The PostgreSQL backend. Everything is in the schema `doppio_read`, so that the database may be shared with other services.

use std::str::FromStr as _;
use std::time::Duration;

use contract::api::query::ExportSalesResponse;
use contract::list_digest::ListAmounts;
use contract::{BusinessDate, Currency, Money, OrderId, StoreId};
use event_log::{ChainState, LogEpoch, Position, RecordHash, Revision, StreamIndex};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Postgres, Row as _, Transaction};
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
use crate::postgres_write::write_rows;
use crate::rows::{
    Batch, DayRow, DayState, Fence, Generation, Heartbeat, OrderPage, Orders, Progress,
    ProjectionStatus, Quarantine, Seen, StoreProgress, StoreRow, StreamRow, StreamSight,
};
use crate::settlement::{DifferingDay, Sales, SalesQuery, SalesStore, SalesSum, ZPage, settlement};
use crate::shared::{
    backend, corrupt, day_columns, hash, instant, json, live, signed, store_and_epoch,
    store_columns, stream_columns, unsigned,
};
use crate::traits::{ExportReader, ReadModelReader, ReadModelWriter, SettlementReader};

const SCHEMA: &str = "doppio_read";
const CHANNEL: &str = "doppio_progress";
/// Connections for what tills and screens ask: one row, or one page. Nothing else may take them.
const READERS: u32 = 8;
const READ_LIMIT_MS: &str = "5000";
/// For sums, Z reports and exports, which may take long; an export holds one as long as it lasts.
const REPORTERS: u32 = 4;
const REPORT_LIMIT_MS: &str = "15000";
/// A batch, heartbeats and migrations of each stream's task take turns.
const WRITERS: u32 = 4;
/// How long to wait for a connection before saying that the database is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

pub(crate) struct PostgresModel {
    reads: PgPool,
    reports: PgPool,
    writes: PgPool,
}

/// How every connection is made.
pub(crate) fn options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(PgConnectOptions::from_str(url)?
        .application_name("doppio")
        .options([("search_path", SCHEMA)]))
}

impl PostgresModel {
    pub fn open(url: &str) -> Result<Self, sqlx::Error> {
        let options = options(url)?;
        // A writer that stopped in the middle of a transaction must not hold its row against its successor.
        let writer = options.clone().options([
            ("idle_in_transaction_session_timeout", "5000"),
            ("statement_timeout", "60000"),
        ]);
        let reader = |limit| {
            options.clone().options([
                ("statement_timeout", limit),
                ("default_transaction_read_only", "on"),
            ])
        };
        let pool = |connections, options| {
            PgPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .after_release(|connection, _| Box::pin(runtime::database::is_at_rest(connection)))
                .connect_lazy_with(options)
        };
        Ok(Self {
            reads: pool(READERS, reader(READ_LIMIT_MS)),
            reports: pool(REPORTERS, reader(REPORT_LIMIT_MS)),
            writes: pool(WRITERS, writer),
        })
    }

    fn newest_migration() -> i64 {
        MIGRATIONS
            .iter()
            .map(|migration| migration.version)
            .max()
            .unwrap_or(0)
    }

    async fn run_migrations(&self) -> Result<(), ReadModelError> {
        // Two instances that make the schema at once collide although "if not exists" is said; the second try finds it.
        const CREATE: &str = "CREATE SCHEMA IF NOT EXISTS doppio_read";
        if sqlx::query(CREATE).execute(&self.writes).await.is_err() {
            sqlx::query(CREATE).execute(&self.writes).await?;
        }
        MIGRATIONS
            .run(&self.writes)
            .await
            .map_err(|error| match error {
                MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                    error.into()
                }
                other => ReadModelError::Schema(other.to_string()),
            })
    }

    async fn migrated_to(&self) -> Result<Option<i64>, ReadModelError> {
        let known =
            sqlx::query("SELECT to_regclass('doppio_read._sqlx_migrations') IS NOT NULL AS known")
                .fetch_one(&self.reads)
                .await?;
        if !known.try_get::<bool, _>("known")? {
            return Ok(None);
        }
        let row = sqlx::query("SELECT max(version) AS version FROM _sqlx_migrations WHERE success")
            .fetch_one(&self.reads)
            .await?;
        Ok(row.try_get("version")?)
    }

    async fn told(&self, hint: &watch::Sender<u64>) {
        loop {
            // Its own connection: it is held for ever.
            if let Ok(mut listener) = PgListener::connect_with(&self.reads).await
                && listener.listen(CHANNEL).await.is_ok()
            {
                while listener.recv().await.is_ok() {
                    hint.send_modify(|count| *count = count.wrapping_add(1));
                }
            }
            tokio::time::sleep(LISTEN_AGAIN).await;
        }
    }

    async fn day_snapshot(&self) -> Result<Transaction<'static, Postgres>, ReadModelError> {
        Ok(self
            .reads
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?)
    }

    async fn snapshot(&self) -> Result<Transaction<'static, Postgres>, ReadModelError> {
        Ok(self
            .reports
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?)
    }

    async fn stored_orders(
        &self,
        generation: Generation,
        orders: &[(StoreId, OrderId)],
    ) -> Result<Vec<PgRow>, ReadModelError> {
        let stores: Vec<&str> = orders.iter().map(|(store, _)| store.as_str()).collect();
        let ids: Vec<Uuid> = orders.iter().map(|(_, order)| order.uuid()).collect();
        let query = "SELECT o.store_id, o.order_id, o.body FROM UNNEST($2::text[], $3::uuid[]) k(store_id, order_id) JOIN orders o \
                     ON o.generation = $1 AND o.store_id = k.store_id AND o.order_id = k.order_id";
        Ok(sqlx::query(query)
            .bind(generation.0)
            .bind(stores)
            .bind(ids)
            .fetch_all(&self.writes)
            .await?)
    }

    async fn stored_days(
        &self,
        generation: Generation,
        days: &[(StoreId, BusinessDate)],
    ) -> Result<Vec<PgRow>, ReadModelError> {
        let stores: Vec<&str> = days.iter().map(|(store, _)| store.as_str()).collect();
        let dates: Vec<String> = days.iter().map(|(_, date)| date.to_string()).collect();
        let query = sqlx::query(concat!(
            "SELECT ",
            day_columns!(),
            " FROM UNNEST($2::text[], $3::text[]) k(store_id, business_date) JOIN business_days d \
             ON d.generation = $1 AND d.store_id = k.store_id AND d.business_date = k.business_date"
        ));
        Ok(query
            .bind(generation.0)
            .bind(stores)
            .bind(dates)
            .fetch_all(&self.writes)
            .await?)
    }

    async fn stored_lists(
        &self,
        generation: Generation,
        days: &[(StoreId, BusinessDate)],
    ) -> Result<Vec<PgRow>, ReadModelError> {
        let stores: Vec<&str> = days.iter().map(|(store, _)| store.as_str()).collect();
        let dates: Vec<String> = days.iter().map(|(_, date)| date.to_string()).collect();
        let query = "SELECT l.store_id, l.business_date, l.list, l.list_key, '' AS category, '{}' AS name, l.units, l.gross, l.discount, \
                     l.net FROM UNNEST($2::text[], $3::text[]) k(store_id, business_date) JOIN day_lists l \
                     ON l.generation = $1 AND l.store_id = k.store_id AND l.business_date = k.business_date \
                     ORDER BY l.store_id, l.business_date, l.list, l.list_key";
        Ok(sqlx::query(query)
            .bind(generation.0)
            .bind(stores)
            .bind(dates)
            .fetch_all(&self.writes)
            .await?)
    }

    async fn commit_batch(&self, batch: &Batch) -> Result<(), ReadModelError> {
        let fence = &batch.fence;
        let mut transaction = self.writes.begin().await?;
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
        sqlx::query("SELECT pg_notify($1, $2)")
            .bind(CHANNEL)
            .bind(fence.stream.0.to_string())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// The server's time limit is of each statement.
async fn bound_page(_: &mut Transaction<'static, Postgres>) -> Result<(), ReadModelError> {
    Ok(())
}

lists!(PostgresModel, PgRow, Postgres);

backend!(
    PostgresModel,
    PgRow,
    "(SELECT jsonb_array_elements_text($1::jsonb))",
    "(SELECT jsonb_array_elements_text($2::jsonb))"
);

settlement!(
    PostgresModel,
    PgRow,
    Postgres,
    "(SELECT jsonb_array_elements_text($1::jsonb))"
);

exporting!(PostgresModel, PgRow, Postgres);
