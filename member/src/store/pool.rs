use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runtime::database::{self, Connection, Engine, Session};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, PgConnection, PgPool, SqlitePool};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout};

use super::error::{OpenError, StoreError};
use crate::config::Database;

const SQLITE_CONNECTIONS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 16;
/// Calls that may wait for a connection at once; the next one is refused without waiting.
const WAITING_CALLS: usize = 1_024;
/// How long a call waits for a connection that others hold.
const CONNECTION_WAIT: Duration = Duration::from_millis(250);
/// How long opening a connection may take.
const CONNECT_DEADLINE: Duration = Duration::from_millis(1_000);
/// How long all statements of one operation may take.
pub(super) const OPERATION_DEADLINE: Duration = Duration::from_millis(2_000);
/// A little shorter, so that PostgreSQL itself ends what nobody waits for any more.
const POSTGRES_STATEMENT_TIMEOUT_MS: &str = "1900";
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long to wait at the start for a database that does not answer yet, and how often to look.
const START_PATIENCE: Duration = Duration::from_secs(15);
const START_INTERVAL: Duration = Duration::from_millis(250);

static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES_MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// Connections to the database, handed out to a bounded number of callers.
pub(super) struct Pool {
    connections: database::Pool,
    waiting: Semaphore,
    /// One for each connection.
    turns: Semaphore,
    /// SQLite has one writer: waiting here is fair, polling for its file lock is not.
    writers: Semaphore,
    /// Whether the last write could not be carried out.
    failing: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Read,
    Write,
}

/// One connection, and the right to use it.
pub(super) struct Lease<'a> {
    connection: Connection,
    /// Whether the connection is known to be at rest: a caller who goes away leaves it in the middle of something.
    settled: bool,
    /// Where to note how a write went; `None` for a read.
    writes: Option<&'a AtomicBool>,
    _permits: (SemaphorePermit<'a>, Option<SemaphorePermit<'a>>),
}

impl Pool {
    /// Opens the database, waits a while for one that does not answer yet, and brings it to this version's schema.
    pub async fn open(database: &Database) -> Result<Self, OpenError> {
        let patience = Instant::now() + START_PATIENCE;
        let connections = loop {
            let opened = match database {
                Database::Sqlite(path) => open_sqlite(path).await.map(database::Pool::Sqlite),
                Database::Postgres(options) => {
                    let opened = open_postgres(options).await;
                    opened.map(database::Pool::Postgres)
                }
            };
            match opened {
                Ok(connections) => break connections,
                Err(StartError::Database(cause))
                    if is_worth_waiting(&cause) && Instant::now() < patience =>
                {
                    sleep(START_INTERVAL).await;
                }
                Err(StartError::Database(cause)) => {
                    return Err(OpenError::Unreachable {
                        database: database.clone(),
                        cause,
                    });
                }
                Err(StartError::File(path, cause)) => return Err(OpenError::File { path, cause }),
            }
        };
        migrate(&connections, database)
            .await
            .map_err(|cause| OpenError::Migration {
                database: database.clone(),
                cause,
            })?;
        let (turns, writers) = match connections.engine() {
            Engine::Sqlite => (SQLITE_CONNECTIONS, 1),
            Engine::Postgres => (POSTGRES_CONNECTIONS, POSTGRES_CONNECTIONS),
        };
        Ok(Self {
            connections,
            waiting: Semaphore::new(WAITING_CALLS),
            turns: Semaphore::new(turns as usize),
            writers: Semaphore::new(writers as usize),
            failing: AtomicBool::new(false),
        })
    }

    pub async fn lease(&self, purpose: Purpose) -> Result<Lease<'_>, StoreError> {
        let permits = {
            let _place = self
                .waiting
                .try_acquire()
                .map_err(|_| StoreError::Overloaded)?;
            timeout(CONNECTION_WAIT, async {
                let writer = if purpose == Purpose::Write {
                    Some(self.writers.acquire().await)
                } else {
                    None
                };
                (self.turns.acquire().await, writer)
            })
            .await
        };
        let (Ok(turn), Ok(writer)) = (match permits {
            Ok((turn, writer)) => (turn, writer.transpose()),
            Err(_) => return Err(StoreError::Overloaded),
        }) else {
            return Err(StoreError::Unavailable("the pool is closed".into()));
        };
        // A permit is held, so a connection that does not come is the database's doing, not the load's.
        Ok(Lease {
            connection: self.connections.acquire().await?,
            settled: false,
            writes: (purpose == Purpose::Write).then_some(&self.failing),
            _permits: (turn, writer),
        })
    }

    /// Whether the last write could not be carried out, for want of room or otherwise.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }

    pub fn is_sqlite(&self) -> bool {
        self.connections.engine() == Engine::Sqlite
    }

    /// Waits for what is under way and closes the connections.
    pub async fn close(&self) {
        self.connections.close().await;
    }
}

impl Lease<'_> {
    pub fn session(&mut self) -> Session<'_> {
        self.connection.session()
    }

    /// Takes the outcome of an operation that ran within [`OPERATION_DEADLINE`].
    pub fn settle<T>(
        mut self,
        outcome: Result<Result<T, StoreError>, Elapsed>,
    ) -> Result<T, StoreError> {
        let outcome = outcome.unwrap_or_else(|_| {
            Err(StoreError::Unavailable(format!(
                "no answer in {} ms",
                OPERATION_DEADLINE.as_millis()
            )))
        });
        // Where the database itself failed it may have ended the transaction, or not: the connection cannot tell.
        let failed = matches!(
            outcome,
            Err(StoreError::Unavailable(_) | StoreError::Failed(_) | StoreError::Corrupt(_))
        );
        self.settled = !failed;
        if let Some(failing) = self.writes
            && (failed || outcome.is_ok())
        {
            failing.store(failed, Ordering::Release);
        }
        outcome
    }
}

/// A connection that did not come to rest is closed instead of used again, since it may never answer.
impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.connection.close_on_drop();
        }
    }
}

async fn migrate(connections: &database::Pool, database: &Database) -> Result<(), MigrateError> {
    match (connections, database) {
        // A connection of its own, since a migration may take longer than the statements of a call.
        (database::Pool::Postgres(_), Database::Postgres(options)) => {
            let mut connection = PgConnection::connect_with(options).await?;
            POSTGRES_MIGRATIONS.run(&mut connection).await?;
            connection.close().await?;
        }
        (database::Pool::Postgres(pool), _) => POSTGRES_MIGRATIONS.run(pool).await?,
        (database::Pool::Sqlite(pool), _) => SQLITE_MIGRATIONS.run(pool).await?,
    }
    Ok(())
}

enum StartError {
    File(PathBuf, std::io::Error),
    Database(sqlx::Error),
}

impl From<sqlx::Error> for StartError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

async fn open_sqlite(path: &Path) -> Result<SqlitePool, StartError> {
    // Made here, so that only its owner can read it; SQLite gives its side files the same rights.
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(|cause| StartError::File(path.to_owned(), cause))?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
        // Overwrites what is deleted, so that a withdrawn member's data is not left in free pages.
        .pragma("secure_delete", "ON");
    let pool = SqlitePoolOptions::new()
        .max_connections(SQLITE_CONNECTIONS)
        .acquire_timeout(CONNECT_DEADLINE)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options)
        .await?;
    Ok(pool)
}

async fn open_postgres(options: &PgConnectOptions) -> Result<PgPool, StartError> {
    let limits = [
        ("statement_timeout", POSTGRES_STATEMENT_TIMEOUT_MS),
        ("lock_timeout", POSTGRES_STATEMENT_TIMEOUT_MS),
    ];
    let pool = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .acquire_timeout(CONNECT_DEADLINE)
        .after_release(|connection, _| Box::pin(runtime::database::is_at_rest(connection)))
        .connect_with(
            options
                .clone()
                .application_name("doppio member")
                .options(limits),
        )
        .await?;
    Ok(pool)
}

/// Not there yet, as when both are started together; a wrong password or database does not mend itself.
fn is_worth_waiting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Database(cause) => cause
            .code()
            .is_some_and(|code| code.starts_with("57P") || code == "5"),
        _ => false,
    }
}
