//! The databases that services keep: PostgreSQL or SQLite behind one type, and one rule for what their errors mean to whoever gets them.

mod session;

pub use session::{
    Bind, Connection, Engine, FromEither, Pool, Query, RawRow, Session, Transaction,
};

/// Kinds of failure, by what helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The database is away, busy, full or restarting. The same statement may succeed later.
    Away,
    /// The statement was ended because it took longer than it may. A smaller one may succeed.
    TooLong,
    /// A number, such as a sum, does not fit into its type. It never will.
    OutOfRange,
    /// The database took the statement and refused what it says: a constraint, or a value. It will refuse it again.
    Refused,
    /// The schema, the rights, the file or the statement itself is wrong. Nothing helps until somebody acts.
    Unusable,
}

/// How long a connection that goes back to its pool may take to say whether it is at rest; then it is closed.
const AT_REST_DEADLINE: std::time::Duration = std::time::Duration::from_secs(5);

/// Whether a connection that goes back to its pool has no transaction open. Whoever is dropped while BEGIN is on its way leaves one that
/// the library knows nothing of: the next user's statements would be part of it, and its locks held for ever. Asked in one message, where
/// both times are the same unless a transaction had begun before.
pub async fn is_at_rest(connection: &mut sqlx::PgConnection) -> Result<bool, sqlx::Error> {
    let asked = sqlx::raw_sql("SELECT now() = statement_timestamp()").fetch_one(connection);
    // A server that says nothing must not keep the connection's place in the pool.
    let row = tokio::time::timeout(AT_REST_DEADLINE, asked)
        .await
        .map_err(|_| sqlx::Error::PoolTimedOut)??;
    sqlx::Row::try_get(&row, 0)
}

/// SQLSTATE classes of a server that cannot serve now: connection (08), transaction rolled back (40), resources (53), object or lock not
/// available (55), operator intervention (57), system (58).
const POSTGRES_AWAY: [&str; 6] = ["08", "40", "53", "55", "57", "58"];
/// A standby that refuses writes, after a failover; and a transaction that the server ended, or that stands after an error.
const POSTGRES_AWAY_TOO: [&str; 4] = ["25006", "25P02", "25P03", "25P04"];
const POSTGRES_QUERY_CANCELLED: &str = "57014";
const POSTGRES_OUT_OF_RANGE: &str = "22003";
/// Cardinality (21), data (22), constraints (23), views' own checks (44), limits of a row or an index entry (54).
const POSTGRES_REFUSED: [&str; 5] = ["21", "22", "23", "44", "54"];

/// Primary codes of <https://sqlite.org/rescode.html>: ABORT, BUSY, LOCKED, NOMEM, IOERR, FULL, CANTOPEN (also at the limit of open
/// files), PROTOCOL (a race for the write-ahead log) and SCHEMA (changed while a statement was prepared).
const SQLITE_AWAY: [u32; 9] = [4, 5, 6, 7, 10, 13, 14, 15, 17];
/// TOOBIG, CONSTRAINT, MISMATCH.
const SQLITE_REFUSED: [u32; 3] = [18, 19, 20];
const SQLITE_ERROR: u32 = 1;
const SQLITE_INTERRUPT: u32 = 9;
/// SQLite has no code of its own for it.
const SQLITE_OVERFLOW: &str = "integer overflow";

/// Says what an error of PostgreSQL or SQLite means.
#[must_use]
pub fn fault(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Database(cause) => {
            fault_of(cause.code().as_deref().unwrap_or_default(), cause.message())
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::InvalidSavePointStatement
        | sqlx::Error::BeginFailed => Fault::Away,
        _ => Fault::Unusable,
    }
}

/// SQLSTATEs have five characters; SQLite's extended codes are numbers whose low byte is the primary code.
fn fault_of(code: &str, message: &str) -> Fault {
    let one_of = |classes: &[&str]| classes.iter().any(|class| code.starts_with(class));
    if code.len() == 5 {
        return match code {
            POSTGRES_QUERY_CANCELLED => Fault::TooLong,
            POSTGRES_OUT_OF_RANGE => Fault::OutOfRange,
            _ if one_of(&POSTGRES_AWAY) || one_of(&POSTGRES_AWAY_TOO) => Fault::Away,
            _ if one_of(&POSTGRES_REFUSED) => Fault::Refused,
            _ => Fault::Unusable,
        };
    }
    match code.parse::<u32>().map(|code| code & 0xff) {
        Ok(SQLITE_INTERRUPT) => Fault::TooLong,
        Ok(SQLITE_ERROR) if message == SQLITE_OVERFLOW => Fault::OutOfRange,
        Ok(primary) if SQLITE_AWAY.contains(&primary) => Fault::Away,
        Ok(primary) if SQLITE_REFUSED.contains(&primary) => Fault::Refused,
        _ => Fault::Unusable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_what_helps() {
        let all = [
            (
                Fault::Away,
                &[
                    "5", "261", "10", "266", "13", "14", "270", "57P01", "57P03", "08006", "53300",
                    "53100", "40001", "40P01", "55P03", "58030", "25006", "25P03",
                ][..],
            ),
            (Fault::TooLong, &["9", "57014"]),
            (Fault::OutOfRange, &["22003"]),
            (
                Fault::Refused,
                &[
                    "18", "19", "2067", "1555", "20", "23505", "23514", "22021", "54000", "21000",
                ],
            ),
            (
                Fault::Unusable,
                &[
                    "1", "3", "8", "11", "23", "26", "42P01", "42601", "42501", "28P01", "3D000",
                    "XX001", "0A000", "", "nonsense",
                ],
            ),
        ];
        for (fault, codes) in all {
            for code in codes {
                assert_eq!(fault_of(code, "said"), fault, "{code}");
            }
        }
        assert_eq!(fault_of("1", "integer overflow"), Fault::OutOfRange);
    }

    #[test]
    fn what_the_client_says_is_told_apart_too() {
        assert_eq!(fault(&sqlx::Error::PoolTimedOut), Fault::Away);
        assert_eq!(fault(&sqlx::Error::RowNotFound), Fault::Unusable);
        assert_eq!(
            fault(&sqlx::Error::ColumnNotFound("hash".into())),
            Fault::Unusable
        );
    }
}
