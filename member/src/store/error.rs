use contract::Rejection;

use crate::config::Database;

/// What SQLite says when the file, the disk or the lock is the trouble and not the statement: BUSY, LOCKED, READONLY, IOERR, FULL and
/// CANTOPEN, primary codes of <https://sqlite.org/rescode.html>.
const SQLITE_UNAVAILABLE: [u32; 6] = [5, 6, 8, 10, 13, 14];
/// SQLSTATE classes of a server that cannot serve now: connection (08), transaction rolled back (40), resources (53), object or lock
/// not available (55), operator intervention, which statement timeouts belong to (57), system (58).
const POSTGRES_UNAVAILABLE: [&str; 6] = ["08", "40", "53", "55", "57", "58"];
/// A standby that refuses writes, after a failover.
const POSTGRES_READ_ONLY: &str = "25006";

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
        match &error {
            sqlx::Error::Database(cause) if cause.is_unique_violation() => Self::Conflict,
            sqlx::Error::Database(cause)
                if cause.code().is_some_and(|code| is_unavailable(&code)) =>
            {
                Self::Unavailable(error.to_string())
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error.to_string()),
            _ => Self::Failed(error),
        }
    }
}

/// SQLSTATEs have five characters; SQLite's extended codes are numbers whose low byte is the primary code.
fn is_unavailable(code: &str) -> bool {
    if code.len() == 5 {
        return code == POSTGRES_READ_ONLY
            || POSTGRES_UNAVAILABLE
                .iter()
                .any(|class| code.starts_with(class));
    }
    code.parse::<u32>()
        .is_ok_and(|code| SQLITE_UNAVAILABLE.contains(&(code & 0xff)))
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
    use super::*;

    #[test]
    fn codes_of_a_database_that_cannot_serve_now() {
        for code in [
            "5", "261", "10", "266", "13", "14", "57P01", "57014", "08006", "53300", "40001",
            "25006",
        ] {
            assert!(is_unavailable(code), "{code}");
        }
        for code in ["1", "19", "2067", "23505", "42P01", "XX000", ""] {
            assert!(!is_unavailable(code), "{code}");
        }
    }
}
