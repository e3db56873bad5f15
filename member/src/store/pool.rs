use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool};
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
    engine: Engine,
    waiting: Semaphore,
    connections: Semaphore,
    /// SQLite has one writer: waiting here is fair, polling for its file lock is not.
    writers: Semaphore,
    /// Whether the last write could not be carried out.
    failing: AtomicBool,
}

enum Engine {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Read,
    Write,
}

pub(super) enum Connection {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
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
        let engine = loop {
            let opened = match database {
                Database::Sqlite(path) => open_sqlite(path).await.map(Engine::Sqlite),
                Database::Postgres(options) => open_postgres(options).await.map(Engine::Postgres),
            };
            match opened {
                Ok(engine) => break engine,
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
        migrate(&engine, database)
            .await
            .map_err(|cause| OpenError::Migration {
                database: database.clone(),
                cause,
            })?;
        let (connections, writers) = match &engine {
            Engine::Sqlite(_) => (SQLITE_CONNECTIONS, 1),
            Engine::Postgres(_) => (POSTGRES_CONNECTIONS, POSTGRES_CONNECTIONS),
        };
        Ok(Self {
            engine,
            waiting: Semaphore::new(WAITING_CALLS),
            connections: Semaphore::new(connections as usize),
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
                (self.connections.acquire().await, writer)
            })
            .await
        };
        let (Ok(connection), Ok(writer)) = (match permits {
            Ok((connection, writer)) => (connection, writer.transpose()),
            Err(_) => return Err(StoreError::Overloaded),
        }) else {
            return Err(StoreError::Unavailable("the pool is closed".into()));
        };
        // A permit is held, so a connection that does not come is the database's doing, not the load's.
        let leased = match &self.engine {
            Engine::Sqlite(pool) => Connection::Sqlite(pool.acquire().await?),
            Engine::Postgres(pool) => Connection::Postgres(pool.acquire().await?),
        };
        Ok(Lease {
            connection: leased,
            settled: false,
            writes: (purpose == Purpose::Write).then_some(&self.failing),
            _permits: (connection, writer),
        })
    }

    /// Whether the last write could not be carried out, for want of room or otherwise.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(self.engine, Engine::Sqlite(_))
    }

    /// Waits for what is under way and closes the connections.
    pub async fn close(&self) {
        match &self.engine {
            Engine::Sqlite(pool) => pool.close().await,
            Engine::Postgres(pool) => pool.close().await,
        }
    }
}

impl Lease<'_> {
    pub fn session(&mut self) -> Session<'_> {
        match &mut self.connection {
            Connection::Sqlite(connection) => Session::Sqlite(connection),
            Connection::Postgres(connection) => Session::Postgres(connection),
        }
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
            match &mut self.connection {
                Connection::Sqlite(connection) => connection.close_on_drop(),
                Connection::Postgres(connection) => connection.close_on_drop(),
            }
        }
    }
}

/// A connection in use, inside a transaction or not.
pub(super) enum Session<'a> {
    Sqlite(&'a mut SqliteConnection),
    Postgres(&'a mut PgConnection),
}

impl Session<'_> {
    /// The same connection for one more statement.
    pub fn again(&mut self) -> Session<'_> {
        match self {
            Self::Sqlite(connection) => Session::Sqlite(connection),
            Self::Postgres(connection) => Session::Postgres(connection),
        }
    }
}

/// The same statement for either database: both take `$1` for the first parameter.
macro_rules! on_either {
    ($session:expr, $connection:ident => $statement:expr) => {
        match $session {
            $crate::store::pool::Session::Sqlite($connection) => $statement,
            $crate::store::pool::Session::Postgres($connection) => $statement,
        }
    };
}
pub(super) use on_either;

pub(super) enum Transaction<'a> {
    Sqlite(sqlx::Transaction<'a, Sqlite>),
    Postgres(sqlx::Transaction<'a, Postgres>),
}

impl<'a> Transaction<'a> {
    /// Begins a transaction that will write.
    pub async fn begin(session: Session<'a>) -> Result<Self, StoreError> {
        Ok(match session {
            // The lock is taken at once: one that is taken after a read can fail for good.
            Session::Sqlite(connection) => {
                Self::Sqlite(connection.begin_with("BEGIN IMMEDIATE").await?)
            }
            Session::Postgres(connection) => Self::Postgres(connection.begin().await?),
        })
    }

    pub fn session(&mut self) -> Session<'_> {
        match self {
            Self::Sqlite(transaction) => Session::Sqlite(transaction),
            Self::Postgres(transaction) => Session::Postgres(transaction),
        }
    }

    pub async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await?,
            Self::Postgres(transaction) => transaction.commit().await?,
        }
        Ok(())
    }
}

async fn migrate(engine: &Engine, database: &Database) -> Result<(), MigrateError> {
    match (engine, database) {
        // A connection of its own, since a migration may take longer than the statements of a call.
        (Engine::Postgres(_), Database::Postgres(options)) => {
            let mut connection = PgConnection::connect_with(options).await?;
            POSTGRES_MIGRATIONS.run(&mut connection).await?;
            connection.close().await?;
        }
        (Engine::Postgres(pool), _) => POSTGRES_MIGRATIONS.run(pool).await?,
        (Engine::Sqlite(pool), _) => SQLITE_MIGRATIONS.run(pool).await?,
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
