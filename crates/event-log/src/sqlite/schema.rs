use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, Row, SqliteConnection, SqlitePool};
use uuid::Uuid;

use crate::error::LogError;
use crate::log::LogEpoch;

/// How long a statement waits for another process's write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that read.
const MAX_READERS: u32 = 4;
/// How long a read waits for one of them.
const READER_WAIT: Duration = Duration::from_secs(5);
/// The layout that this build reads and writes.
const LAYOUT: &str = "1";

const TABLES: &str = "
    CREATE TABLE metadata (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE records (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        ledger TEXT NOT NULL,
        revision INTEGER NOT NULL,
        appended_at INTEGER NOT NULL, -- microseconds since the Unix epoch
        body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX records_of_ledger ON records (ledger, revision);
";

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
}

/// Makes the file with its tables and a fresh identity, in one transaction: a half-made log has no metadata and is refused.
pub(super) async fn create(path: &Path) -> Result<(), LogError> {
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path);
    made.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => LogError::Unusable(format!(
            "{} exists already; open it, or name another file for a new log",
            path.display()
        )),
        _ => LogError::Unusable(format!("{} cannot be created: {error}", path.display())),
    })?;
    let mut connection = SqliteConnection::connect_with(&options(path))
        .await
        .map_err(unavailable)?;
    let mut transaction = connection.begin().await.map_err(unavailable)?;
    sqlx::raw_sql(TABLES)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    sqlx::query(
        "INSERT INTO metadata (key, value) VALUES ('layout', ?1), ('log_id', ?2), ('epoch', '1')",
    )
    .bind(LAYOUT)
    .bind(Uuid::new_v4().to_string())
    .execute(&mut *transaction)
    .await
    .map_err(unavailable)?;
    transaction.commit().await.map_err(unavailable)?;
    connection.close().await.map_err(unavailable)
}

/// Connects to a log that is there; a missing file is never made (law: logs are opened, not conjured).
pub(super) async fn connect(path: &Path) -> Result<SqliteConnection, LogError> {
    if !path.is_file() {
        return Err(LogError::Unusable(format!(
            "there is no log at {}; make one with `doppio log init`, or name the file of the one to open",
            path.display()
        )));
    }
    SqliteConnection::connect_with(&options(path))
        .await
        .map_err(|error| {
            LogError::Unusable(format!(
                "{} cannot be opened as a log: {error}",
                path.display()
            ))
        })
}

pub(super) async fn reader_pool(path: &Path) -> Result<SqlitePool, LogError> {
    SqlitePoolOptions::new()
        .max_connections(MAX_READERS)
        .acquire_timeout(READER_WAIT)
        .connect_with(options(path))
        .await
        .map_err(unavailable)
}

pub(super) async fn epoch(connection: &mut SqliteConnection) -> Result<LogEpoch, LogError> {
    let rows = sqlx::query("SELECT key, value FROM metadata").fetch_all(connection).await.map_err(|error| {
        LogError::Unusable(format!("the file is not a log of Doppio ({error}); name another file, or make a log with `doppio log init`"))
    })?;
    let (mut layout, mut log_id, mut epoch) = (None, None, None);
    for row in rows {
        let (key, value): (String, String) = (column(&row, 0)?, column(&row, 1)?);
        match key.as_str() {
            "layout" => layout = Some(value),
            "log_id" => log_id = Uuid::parse_str(&value).ok(),
            "epoch" => epoch = value.parse().ok(),
            _ => {}
        }
    }
    if layout.as_deref() != Some(LAYOUT) {
        let found = layout.as_deref().unwrap_or("none");
        return Err(LogError::Unusable(format!(
            "the log has layout {found}, this build reads {LAYOUT}; use the build that made it"
        )));
    }
    match (log_id, epoch) {
        (Some(log_id), Some(epoch)) => Ok(LogEpoch { log_id, epoch }),
        _ => Err(LogError::Unusable(
            "the log's metadata has no log id or no epoch; restore the file from a backup"
                .to_owned(),
        )),
    }
}

pub(super) async fn raise_epoch(connection: &mut SqliteConnection) -> Result<LogEpoch, LogError> {
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(unavailable)?;
    let before = epoch(&mut transaction).await?;
    let raised = LogEpoch {
        epoch: before.epoch.saturating_add(1),
        ..before
    };
    sqlx::query("UPDATE metadata SET value = ?1 WHERE key = 'epoch'")
        .bind(raised.epoch.to_string())
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    transaction.commit().await.map_err(unavailable)?;
    Ok(raised)
}

pub(super) fn column<'r, T>(row: &'r sqlx::sqlite::SqliteRow, index: usize) -> Result<T, LogError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(index).map_err(|error| {
        LogError::Unusable(format!(
            "the log's file has a column that cannot be read: {error}"
        ))
    })
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "used as the argument of map_err"
)]
pub(super) fn unavailable(error: sqlx::Error) -> LogError {
    LogError::Unavailable(format!("the log's file: {error}"))
}
