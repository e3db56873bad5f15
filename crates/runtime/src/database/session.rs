//! PostgreSQL and SQLite behind one type, for a service that keeps its data in either. Both take `$1` for a statement's first value, and a
//! row that derives [`FromRow`] is read from both, so that a statement is written once. Where the two differ, [`Engine`] says which it is.

use sqlx::error::BoxDynError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{
    Arguments as _, Connection as _, Decode, Encode, FromRow, PgConnection, PgPool, Postgres,
    Row as _, SqlSafeStr, SqlStr, Sqlite, SqliteConnection, SqlitePool, Type,
};

/// A transaction of PostgreSQL whose statements all see the database as it is at the first of them.
const POSTGRES_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// SQLite's lock is taken at once: one that is taken after a read can fail for good.
const SQLITE_WRITE: &str = "BEGIN IMMEDIATE";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Postgres,
    Sqlite,
}

/// What a row of either database is read into: whatever derives [`FromRow`], and tuples.
pub trait FromEither:
    for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin
{
}

impl<T> FromEither for T where
    T: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin
{
}

/// A value that either database takes.
pub trait Bind<'v>:
    Encode<'v, Postgres> + Type<Postgres> + Encode<'v, Sqlite> + Type<Sqlite>
{
}

impl<'v, T> Bind<'v> for T where
    T: Encode<'v, Postgres> + Type<Postgres> + Encode<'v, Sqlite> + Type<Sqlite>
{
}

/// Connections to a database.
#[derive(Debug, Clone)]
pub enum Pool {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

impl Pool {
    #[must_use]
    pub fn engine(&self) -> Engine {
        match self {
            Self::Postgres(_) => Engine::Postgres,
            Self::Sqlite(_) => Engine::Sqlite,
        }
    }

    pub async fn acquire(&self) -> Result<Connection, sqlx::Error> {
        Ok(match self {
            Self::Postgres(pool) => Connection::Postgres(pool.acquire().await?),
            Self::Sqlite(pool) => Connection::Sqlite(pool.acquire().await?),
        })
    }

    /// Begins a transaction that will write.
    pub async fn begin(&self) -> Result<Transaction<'static>, sqlx::Error> {
        Ok(match self {
            Self::Postgres(pool) => Transaction::Postgres(pool.begin().await?),
            Self::Sqlite(pool) => Transaction::Sqlite(pool.begin_with(SQLITE_WRITE).await?),
        })
    }

    /// Begins a transaction that reads everything as it is at one instant.
    pub async fn snapshot(&self) -> Result<Transaction<'static>, sqlx::Error> {
        Ok(match self {
            Self::Postgres(pool) => {
                Transaction::Postgres(pool.begin_with(POSTGRES_SNAPSHOT).await?)
            }
            Self::Sqlite(pool) => Transaction::Sqlite(pool.begin().await?),
        })
    }

    /// Waits for what is under way and closes the connections.
    pub async fn close(&self) {
        match self {
            Self::Postgres(pool) => pool.close().await,
            Self::Sqlite(pool) => pool.close().await,
        }
    }
}

/// A connection that goes back to its pool when it is dropped.
#[derive(Debug)]
pub enum Connection {
    Postgres(PoolConnection<Postgres>),
    Sqlite(PoolConnection<Sqlite>),
}

impl Connection {
    pub fn session(&mut self) -> Session<'_> {
        match self {
            Self::Postgres(connection) => Session::Postgres(connection),
            Self::Sqlite(connection) => Session::Sqlite(connection),
        }
    }

    pub fn query(&mut self, sql: impl SqlSafeStr) -> Query<'_> {
        self.session().query(sql)
    }

    /// Has the connection closed, in place of going back to its pool.
    pub fn close_on_drop(&mut self) {
        match self {
            Self::Postgres(connection) => connection.close_on_drop(),
            Self::Sqlite(connection) => connection.close_on_drop(),
        }
    }
}

/// Statements until the commit; dropped, it has changed nothing.
#[derive(Debug)]
pub enum Transaction<'c> {
    Postgres(sqlx::Transaction<'c, Postgres>),
    Sqlite(sqlx::Transaction<'c, Sqlite>),
}

impl Transaction<'_> {
    #[must_use]
    pub fn engine(&self) -> Engine {
        match self {
            Self::Postgres(_) => Engine::Postgres,
            Self::Sqlite(_) => Engine::Sqlite,
        }
    }

    pub fn session(&mut self) -> Session<'_> {
        match self {
            Self::Postgres(transaction) => Session::Postgres(transaction),
            Self::Sqlite(transaction) => Session::Sqlite(transaction),
        }
    }

    pub fn query(&mut self, sql: impl SqlSafeStr) -> Query<'_> {
        self.session().query(sql)
    }

    pub async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Postgres(transaction) => transaction.commit().await,
            Self::Sqlite(transaction) => transaction.commit().await,
        }
    }

    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Postgres(transaction) => transaction.rollback().await,
            Self::Sqlite(transaction) => transaction.rollback().await,
        }
    }
}

/// A connection in use, inside a transaction or not.
#[derive(Debug)]
pub enum Session<'c> {
    Postgres(&'c mut PgConnection),
    Sqlite(&'c mut SqliteConnection),
}

impl<'c> Session<'c> {
    /// The same connection for one more statement.
    pub fn again(&mut self) -> Session<'_> {
        match self {
            Self::Postgres(connection) => Session::Postgres(connection),
            Self::Sqlite(connection) => Session::Sqlite(connection),
        }
    }

    /// Begins a transaction that will write.
    pub async fn begin(self) -> Result<Transaction<'c>, sqlx::Error> {
        Ok(match self {
            Self::Postgres(connection) => Transaction::Postgres(connection.begin().await?),
            Self::Sqlite(connection) => {
                Transaction::Sqlite(connection.begin_with(SQLITE_WRITE).await?)
            }
        })
    }

    /// Carries out statements that take no values, one after another.
    pub async fn script(self, sql: impl SqlSafeStr) -> Result<(), sqlx::Error> {
        match self {
            Self::Postgres(connection) => {
                sqlx::raw_sql(sql).execute(connection).await?;
            }
            Self::Sqlite(connection) => {
                sqlx::raw_sql(sql).execute(connection).await?;
            }
        }
        Ok(())
    }

    pub fn query(self, sql: impl SqlSafeStr) -> Query<'c> {
        Query {
            sql: sql.into_sql_str(),
            bound: match self {
                Self::Postgres(connection) => Bound::Postgres(connection, PgArguments::default()),
                Self::Sqlite(connection) => Bound::Sqlite(connection, SqliteArguments::default()),
            },
            unfit: None,
        }
    }
}

/// A statement on its way, with the values bound so far.
#[must_use = "a statement does nothing until it is awaited"]
pub struct Query<'c> {
    sql: SqlStr,
    bound: Bound<'c>,
    /// Why a value cannot be sent.
    unfit: Option<BoxDynError>,
}

enum Bound<'c> {
    Postgres(&'c mut PgConnection, PgArguments),
    Sqlite(&'c mut SqliteConnection, SqliteArguments),
}

impl<'c> Query<'c> {
    /// The next value: the first one is `$1`.
    pub fn bind<'v>(mut self, value: impl Bind<'v>) -> Self {
        let added = match &mut self.bound {
            Bound::Postgres(_, values) => values.add(value),
            Bound::Sqlite(_, values) => values.add(value),
        };
        if let Err(error) = added {
            self.unfit.get_or_insert(error);
        }
        self
    }

    fn ready(self) -> Result<(SqlStr, Bound<'c>), sqlx::Error> {
        match self.unfit {
            Some(error) => Err(sqlx::Error::Encode(error)),
            None => Ok((self.sql, self.bound)),
        }
    }

    /// Every row.
    pub async fn all<T: FromEither>(self) -> Result<Vec<T>, sqlx::Error> {
        match self.ready()? {
            (sql, Bound::Postgres(connection, values)) => {
                sqlx::query_as_with(sql, values).fetch_all(connection).await
            }
            (sql, Bound::Sqlite(connection, values)) => {
                sqlx::query_as_with(sql, values).fetch_all(connection).await
            }
        }
    }

    /// The first row, if there is one.
    pub async fn optional<T: FromEither>(self) -> Result<Option<T>, sqlx::Error> {
        match self.ready()? {
            (sql, Bound::Postgres(connection, values)) => {
                let query = sqlx::query_as_with(sql, values);
                query.fetch_optional(connection).await
            }
            (sql, Bound::Sqlite(connection, values)) => {
                let query = sqlx::query_as_with(sql, values);
                query.fetch_optional(connection).await
            }
        }
    }

    /// The first row, of a statement that always gives one.
    pub async fn one<T: FromEither>(self) -> Result<T, sqlx::Error> {
        self.optional().await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// Every row as it came, for a reader that learns only as it goes what the columns are.
    pub async fn raw(self) -> Result<Vec<RawRow>, sqlx::Error> {
        match self.ready()? {
            (sql, Bound::Postgres(connection, values)) => {
                let rows = sqlx::query_with(sql, values).fetch_all(connection).await?;
                Ok(rows.into_iter().map(RawRow::Postgres).collect())
            }
            (sql, Bound::Sqlite(connection, values)) => {
                let rows = sqlx::query_with(sql, values).fetch_all(connection).await?;
                Ok(rows.into_iter().map(RawRow::Sqlite).collect())
            }
        }
    }

    /// Carries the statement out; returns how many rows it changed.
    pub async fn execute(self) -> Result<u64, sqlx::Error> {
        match self.ready()? {
            (sql, Bound::Postgres(connection, values)) => {
                let done = sqlx::query_with(sql, values).execute(connection).await?;
                Ok(done.rows_affected())
            }
            (sql, Bound::Sqlite(connection, values)) => {
                let done = sqlx::query_with(sql, values).execute(connection).await?;
                Ok(done.rows_affected())
            }
        }
    }
}

/// A row whose columns are read one by one, by their places from 0.
pub enum RawRow {
    Postgres(PgRow),
    Sqlite(SqliteRow),
}

impl RawRow {
    pub fn get<'r, T>(&'r self, column: usize) -> Result<T, sqlx::Error>
    where
        T: Decode<'r, Postgres> + Type<Postgres> + Decode<'r, Sqlite> + Type<Sqlite>,
    {
        match self {
            Self::Postgres(row) => row.try_get(column),
            Self::Sqlite(row) => row.try_get(column),
        }
    }
}
