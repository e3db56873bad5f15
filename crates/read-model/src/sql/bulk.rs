//! The same rows once more, by nothing but the database's own bulk load: what projecting them is measured against.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use super::postgres;
use super::write_postgres::COPY_PIECE;
use crate::error::ReadModelError;
use crate::generation::Generation;

/// Every table that the projector writes.
const TABLES: [&str; 11] = [
    "checkpoints",
    "stores",
    "orders",
    "facts",
    "fact_lines",
    "fact_discounts",
    "fact_tenders",
    "completions",
    "cash_movements",
    "business_days",
    "day_lists",
];

/// What was loaded, and how long that took: from the begin of the one transaction to the end of its commit.
#[derive(Debug, Clone, Copy)]
pub struct BulkLoad {
    pub rows: u64,
    pub took: Duration,
}

/// Copies the rows of one read model's first generation into that of another one of the same kind, which has the same tables and is empty:
/// by `COPY` in PostgreSQL's binary format out of memory, or within SQLite. Reading them is not measured. All rows are in memory at once;
/// this is for benchmarks.
pub async fn bulk_load(from: &str, to: &str) -> Result<BulkLoad, ReadModelError> {
    match (from.strip_prefix("sqlite:"), to.strip_prefix("sqlite:")) {
        (Some(from), Some(to)) => within_sqlite(from.as_ref(), to.as_ref()).await,
        (None, None) => between_postgres(from, to).await,
        _ => Err(ReadModelError::Address("two kinds of read models".into())),
    }
}

async fn between_postgres(from: &str, to: &str) -> Result<BulkLoad, ReadModelError> {
    let connect = async |url: &str| {
        let options: PgConnectOptions = postgres::options(url)?;
        let schema = postgres::schema(Generation(1));
        options.options([("search_path", schema)]).connect().await
    };
    let mut source = connect(from).await?;
    let mut tables = Vec::with_capacity(TABLES.len());
    for table in TABLES {
        let statement = format!("COPY {table} TO STDOUT (FORMAT BINARY)");
        let rows = source.copy_out_raw(&statement).await?;
        let pieces: Vec<bytes::Bytes> = rows.try_collect().await?;
        tables.push((table, pieces.concat()));
    }
    source.close().await?;
    let mut target: PgConnection = connect(to).await?;
    let begun = Instant::now();
    let mut transaction = target.begin().await?;
    let mut rows = 0;
    for (table, data) in &tables {
        let statement = format!("COPY {table} FROM STDIN (FORMAT BINARY)");
        let mut copy = transaction.copy_in_raw(&statement).await?;
        for piece in data.chunks(COPY_PIECE) {
            copy.send(piece).await?;
        }
        rows += copy.finish().await?;
    }
    transaction.commit().await?;
    let took = begun.elapsed();
    target.close().await?;
    Ok(BulkLoad { rows, took })
}

async fn within_sqlite(from: &Path, to: &Path) -> Result<BulkLoad, ReadModelError> {
    let options = SqliteConnectOptions::new()
        .filename(to)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal);
    let mut target: SqliteConnection = options.connect().await?;
    sqlx::query("ATTACH $1 AS source")
        .bind(from.to_string_lossy().into_owned())
        .execute(&mut target)
        .await?;
    let begun = Instant::now();
    let mut transaction = target.begin_with("BEGIN IMMEDIATE").await?;
    let mut rows = 0;
    for table in TABLES {
        let statement = format!("INSERT INTO main.{table} SELECT * FROM source.{table}");
        let loaded = sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction);
        rows += loaded.await?.rows_affected();
    }
    transaction.commit().await?;
    let took = begun.elapsed();
    target.close().await?;
    Ok(BulkLoad { rows, took })
}
