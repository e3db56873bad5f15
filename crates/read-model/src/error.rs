use event_log::{Position, StreamIndex};
use runtime::database::{Fault, fault};

use crate::generation::Generation;

/// Why the read model could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadModelError {
    #[error(
        "{0:?} is not the address of a read model: write postgres://user:password@host/database or sqlite:PATH"
    )]
    Address(String),
    /// The database could not be reached or cannot serve now. Trying again may help.
    #[error("the read model's database is not available: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// What was asked took longer than it may. Asking for less may help.
    #[error("the read model's database takes too long: {0}")]
    TooLong(#[source] sqlx::Error),
    /// A sum does not fit into 64 bits. Nothing helps but asking for less.
    #[error("a number does not fit: {0}")]
    OutOfRange(#[source] sqlx::Error),
    /// The database will not store what it was given, such as a fact that it has already. It will refuse it again.
    #[error("the read model's database refuses a row: {0}")]
    Refused(#[source] sqlx::Error),
    /// The database cannot do what it was asked: rights, schema, file or statement are wrong. Somebody has to act.
    #[error("the read model's database cannot be used: {0}")]
    Unusable(#[source] sqlx::Error),
    /// The database has no schema, or not the one that this build needs. Says what to do.
    #[error("the read model cannot be used: {0}")]
    Schema(String),
    /// Another projector instance has the stream, or has moved it on. Nothing was written.
    #[error("stream {} is projected by another instance: it is not at position {} in term {term} any more", .stream.0, .position.0)]
    Fenced {
        stream: StreamIndex,
        position: Position,
        term: u64,
    },
    #[error("there is no generation {}", .0.0)]
    NoGeneration(Generation),
    #[error("generation {} is the live one: switch to another one first", .0.0)]
    Live(Generation),
    #[error("generation {} is not the live one any more", .0.0)]
    NotLive(Generation),
    #[error("there is no generation to go back to")]
    NothingToGoBackTo,
    /// A stored row is not what this build writes.
    #[error("a row of the read model cannot be read: {0}")]
    Corrupt(String),
}

impl From<sqlx::Error> for ReadModelError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                return Self::Corrupt(error.to_string());
            }
            sqlx::Error::Database(cause) if is_missing(&**cause) => {
                return Self::Schema(
                    "it has no tables yet, or not those of this version: start status-projector of this version, which makes them"
                        .into(),
                );
            }
            _ => {}
        }
        match fault(&error) {
            Fault::Away => Self::Unavailable(error),
            Fault::TooLong => Self::TooLong(error),
            Fault::OutOfRange => Self::OutOfRange(error),
            Fault::Refused => Self::Refused(error),
            Fault::Unusable => Self::Unusable(error),
        }
    }
}

/// Of a table or a column that is not there, as before and in the middle of the migrations.
fn is_missing(error: &dyn sqlx::error::DatabaseError) -> bool {
    /// PostgreSQL's "undefined table", "undefined column" and "invalid schema name".
    const UNDEFINED: [&str; 3] = ["42P01", "42703", "3F000"];
    let said = error.message();
    error.code().is_some_and(|code| UNDEFINED.contains(&&*code))
        || said.starts_with("no such table")
        || said.starts_with("no such column")
}
