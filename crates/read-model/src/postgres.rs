//! The PostgreSQL backend. Everything is in the schema `doppio_read`, so that the database may be shared with other services.

use std::str::FromStr as _;
use std::time::Duration;

use contract::api::query::ExportSalesResponse;
use contract::list_digest::ListAmounts;
use contract::{BusinessDate, Currency, Money, OrderId, StoreId};
use event_log::{ChainState, LogEpoch, Position, RecordHash, Revision, StreamIndex};
use jiff::Timestamp;
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
use crate::postgres_facts::write_facts;
use crate::rows::{
    Batch, DayRow, DayState, Fence, Generation, Heartbeat, OrderPage, OrderRow, Orders, Progress,
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

/// PostgreSQL's text takes every character but one.
pub(crate) fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

impl PostgresModel {
    pub fn open(url: &str) -> Result<Self, sqlx::Error> {
        let options = PgConnectOptions::from_str(url)?
            .application_name("doppio")
            .options([("search_path", SCHEMA)]);
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
        write_stores(&mut transaction, fence.generation, &batch.stores).await?;
        write_orders(&mut transaction, fence.generation, &batch.orders).await?;
        write_days(&mut transaction, fence.generation, &batch.days).await?;
        write_facts(&mut transaction, fence.generation, &batch.facts).await?;
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

/// One column of all rows.
pub(crate) fn column<T, R>(rows: &[R], value: impl FnMut(&R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

async fn write_stores(
    transaction: &mut Transaction<'_, Postgres>,
    generation: Generation,
    rows: &[StoreRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    let names = rows
        .iter()
        .map(|row| Ok(text(&json(&row.name)?)))
        .collect::<Result<Vec<String>, ReadModelError>>()?;
    sqlx::query(
        "INSERT INTO stores (generation, store_id, stream, ledger_id, revision, hash, recorded_at_us, currency, time_zone, name, latest_date, \
         day_open, z_number, z_hash, document_number, open_orders, completed_between, grand_total_sales, grand_total_returns, quarantine_reason, \
         quarantine_revision, quarantined_at_us, skipped_records, cutoff_minutes) \
         SELECT $1, * FROM UNNEST($2::text[], $3::bigint[], $4::uuid[], $5::bigint[], $6::bytea[], $7::bigint[], $8::text[], $9::text[], \
         $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::bytea[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], \
         $19::bigint[], $20::text[], $21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[]) \
         ON CONFLICT (generation, store_id) DO UPDATE SET stream = excluded.stream, ledger_id = excluded.ledger_id, \
         revision = excluded.revision, hash = excluded.hash, recorded_at_us = excluded.recorded_at_us, currency = excluded.currency, \
         time_zone = excluded.time_zone, name = excluded.name, latest_date = excluded.latest_date, day_open = excluded.day_open, \
         z_number = excluded.z_number, z_hash = excluded.z_hash, document_number = excluded.document_number, \
         open_orders = excluded.open_orders, completed_between = excluded.completed_between, grand_total_sales = excluded.grand_total_sales, \
         grand_total_returns = excluded.grand_total_returns, quarantine_reason = excluded.quarantine_reason, \
         quarantine_revision = excluded.quarantine_revision, quarantined_at_us = excluded.quarantined_at_us, \
         skipped_records = excluded.skipped_records, cutoff_minutes = excluded.cutoff_minutes",
    )
    .bind(generation.0)
    .bind(column(rows, |row| row.store.to_string()))
    .bind(column(rows, |row| i64::from(row.stream.0)))
    .bind(column(rows, |row| row.chain.map(|chain| chain.ledger_id)))
    .bind(column(rows, |row| signed(row.revision().0)))
    .bind(column(rows, |row| row.chain.map_or(RecordHash::NONE, |chain| chain.hash).0.to_vec()))
    .bind(column(rows, |row| row.chain.map_or(0, |chain| chain.recorded_at_us)))
    .bind(column(rows, |row| row.currency.map(|currency| currency.to_string()).unwrap_or_default()))
    .bind(column(rows, |row| text(&row.time_zone)))
    .bind(names)
    .bind(column(rows, |row| row.latest_date.map(|date| date.to_string()).unwrap_or_default()))
    .bind(column(rows, |row| i64::from(row.day_open)))
    .bind(column(rows, |row| row.z_number))
    .bind(column(rows, |row| row.z_hash.0.to_vec()))
    .bind(column(rows, |row| row.document_number))
    .bind(column(rows, |row| row.open_orders))
    .bind(column(rows, |row| row.completed_between))
    .bind(column(rows, |row| row.grand_total_sales.minor()))
    .bind(column(rows, |row| row.grand_total_returns.minor()))
    .bind(column(rows, |row| row.quarantine.as_ref().map(|quarantine| text(&quarantine.reason)).unwrap_or_default()))
    .bind(column(rows, |row| row.quarantine.as_ref().map_or(0, |quarantine| signed(quarantine.revision.0))))
    .bind(column(rows, |row| row.quarantine.as_ref().map_or(0, |quarantine| quarantine.at.as_microsecond())))
    .bind(column(rows, |row| row.quarantine.as_ref().map_or(0, |quarantine| signed(quarantine.skipped))))
    .bind(column(rows, |row| i64::from(row.cutoff_minutes)))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn write_orders(
    transaction: &mut Transaction<'_, Postgres>,
    generation: Generation,
    rows: &[OrderRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO orders (generation, store_id, order_id, business_date, ticket_number, status, membership, placed_at_us, updated_at_us, revision, \
         body) \
         SELECT $1, * FROM UNNEST($2::text[], $3::uuid[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], \
         $10::bigint[], $11::bytea[]) \
         ON CONFLICT (generation, store_id, order_id) DO UPDATE SET status = excluded.status, \
         membership = excluded.membership, updated_at_us = excluded.updated_at_us, \
         revision = excluded.revision, body = excluded.body",
    )
    .bind(generation.0)
    .bind(rows.iter().map(|row| row.store.as_str()).collect::<Vec<_>>())
    .bind(column(rows, |row| row.order_id.uuid()))
    .bind(column(rows, |row| row.business_date.to_string()))
    .bind(column(rows, |row| row.ticket_number))
    .bind(column(rows, |row| i64::from(row.status)))
    .bind(column(rows, |row| i64::from(row.membership)))
    .bind(column(rows, |row| row.placed_at.as_microsecond()))
    .bind(column(rows, |row| row.updated_at.as_microsecond()))
    .bind(column(rows, |row| signed(row.revision.0)))
    .bind(rows.iter().map(|row| row.body.as_slice()).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn write_days(
    transaction: &mut Transaction<'_, Postgres>,
    generation: Generation,
    rows: &[DayRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    let differences = rows
        .iter()
        .map(|row| Ok(text(&json(&row.differences)?)))
        .collect::<Result<Vec<String>, ReadModelError>>()?;
    let figures = rows
        .iter()
        .map(|row| Ok(text(&json(&row.figures)?)))
        .collect::<Result<Vec<String>, ReadModelError>>()?;
    sqlx::query(
        "INSERT INTO business_days (generation, store_id, business_date, state, time_zone, start_at_us, end_at_us, closed_at_us, z_number, \
         revision, body, recorded, differences, figures) \
         SELECT $1, * FROM UNNEST($2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], \
         $10::bigint[], $11::bytea[], $12::bytea[], $13::text[], $14::text[]) \
         ON CONFLICT (generation, store_id, business_date) DO UPDATE SET state = excluded.state, time_zone = excluded.time_zone, \
         start_at_us = excluded.start_at_us, end_at_us = excluded.end_at_us, closed_at_us = excluded.closed_at_us, \
         z_number = excluded.z_number, revision = excluded.revision, body = excluded.body, recorded = excluded.recorded, \
         differences = excluded.differences, figures = excluded.figures",
    )
    .bind(generation.0)
    .bind(rows.iter().map(|row| row.store.as_str()).collect::<Vec<_>>())
    .bind(column(rows, |row| row.date.to_string()))
    .bind(column(rows, |row| if row.state == DayState::Open { 1_i64 } else { 2 }))
    .bind(column(rows, |row| text(&row.time_zone)))
    .bind(column(rows, |row| row.start.as_microsecond()))
    .bind(column(rows, |row| row.end.as_microsecond()))
    .bind(column(rows, |row| row.closed_at.map_or(0, Timestamp::as_microsecond)))
    .bind(column(rows, |row| row.z_number))
    .bind(column(rows, |row| signed(row.revision.0)))
    .bind(rows.iter().map(|row| row.body.as_slice()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.recorded.as_slice()).collect::<Vec<_>>())
    .bind(differences)
    .bind(figures)
    .execute(&mut **transaction)
    .await?;
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
