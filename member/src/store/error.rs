use contract::Rejection;
use runtime::database::{Fault, fault};

use crate::config::Database;

/// Why an operation on the members was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// No connection came free in time.
    #[error("all connections to the database are in use")]
    Overloaded,
    /// The database does not answer; whether a change was made is not known.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// The database answered, with something that it should not have.
    #[error("the database failed")]
    Failed(#[source] sqlx::Error),
    #[error("the database holds {0}")]
    Corrupt(&'static str),
    /// Another transaction was there first; worth trying again from the start.
    #[error("others kept changing the same members")]
    Conflict,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(cause) = &error
            && cause.is_unique_violation()
        {
            return Self::Conflict;
        }
        match fault(&error) {
            Fault::Away | Fault::TooLong => Self::Unavailable(error.to_string()),
            Fault::OutOfRange | Fault::Refused | Fault::Unusable => Self::Failed(error),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the members' database {database} cannot be opened: {cause}")]
    Unreachable {
        database: Database,
        cause: sqlx::Error,
    },
    #[error(
        "the members' database file {path} cannot be created: {cause}. Its directory must exist and be writable"
    )]
    File {
        path: std::path::PathBuf,
        cause: std::io::Error,
    },
    #[error("the members' database {database} cannot be brought to this version's schema: {cause}")]
    Migration {
        database: Database,
        cause: sqlx::migrate::MigrateError,
    },
    #[error("the cards in the members' database {database} cannot be keyed: {cause}")]
    Cards {
        database: Database,
        cause: StoreError,
    },
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection as _, SqliteConnection};

    use super::*;

    #[tokio::test]
    async fn what_trying_again_does_not_mend_is_no_outage() {
        let mut database = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let mut error_of = async |sql: &'static str| {
            let failed = sqlx::query(sql).execute(&mut database).await;
            StoreError::from(failed.unwrap_err())
        };
        let wrong = error_of("SELECT nothing FROM nowhere").await;
        assert!(matches!(wrong, StoreError::Failed(_)), "{wrong:?}");
        let large = error_of("SELECT abs(-9223372036854775808)").await;
        assert!(matches!(large, StoreError::Failed(_)), "{large:?}");
        let away = StoreError::from(sqlx::Error::PoolTimedOut);
        assert!(matches!(away, StoreError::Unavailable(_)), "{away:?}");
    }
}
