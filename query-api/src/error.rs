use std::time::Duration;

use contract::stored_order::StoredOrderError;
use contract::{Reason, Rejection};
use read_model::ReadModelError;
use tonic::Status;

/// When to try again after the read model's database was away.
const DATABASE_RETRY: Duration = Duration::from_secs(1);

/// Why a row of an export cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("the Parquet file cannot be written: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    #[error("column {column} holds {value:?}, which is not of its kind")]
    Value { column: &'static str, value: String },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    #[error(transparent)]
    Refused(#[from] Rejection),
    #[error(transparent)]
    ReadModel(#[from] ReadModelError),
    /// What is stored is not what this build reads.
    #[error("a stored {what} cannot be decoded: {cause}")]
    Stored {
        what: &'static str,
        cause: prost::DecodeError,
    },
    #[error("a stored order cannot be read: {0}")]
    StoredOrder(#[from] StoredOrderError),
    #[error("the read model's database did not answer in time")]
    Slow,
    #[error("a sum does not fit into 64 bits")]
    Overflow,
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("the export was cut off: {0}")]
    Cut(&'static str),
    /// Said by the one task that looks for all who wait.
    #[error("the read model's database is not available: {0}")]
    Away(String),
    /// Said by it too: waiting does not help.
    #[error("the read model cannot be read: {0}")]
    Failed(String),
}

impl From<QueryError> for Status {
    fn from(error: QueryError) -> Self {
        let away = |error: &QueryError| {
            let rejection = Rejection::new(
                Reason::ReadModelUnavailable,
                Reason::ReadModelUnavailable.meaning(),
            );
            tracing::debug!(
                error = error as &dyn std::error::Error,
                "the read model's database is away"
            );
            rejection.retry_after(DATABASE_RETRY).to_status()
        };
        match &error {
            QueryError::Refused(rejection) => rejection.to_status(),
            QueryError::Slow
            | QueryError::Away(_)
            | QueryError::ReadModel(ReadModelError::Unavailable(_)) => away(&error),
            QueryError::ReadModel(ReadModelError::Schema(problem)) => {
                let message = format!("The read model cannot be read: {problem}.");
                Rejection::new(Reason::ReadModelUnavailable, message)
                    .retry_after(DATABASE_RETRY)
                    .to_status()
            }
            QueryError::Cut(why) => {
                let message = format!(
                    "The export was cut off: {why}. What was received is not complete; ask again."
                );
                Rejection::new(Reason::ReadModelUnavailable, message)
                    .retry_after(DATABASE_RETRY)
                    .to_status()
            }
            QueryError::ReadModel(ReadModelError::OutOfRange(_)) | QueryError::Overflow => {
                let message = "A sum does not fit into 64 bits. Name fewer days or stores.";
                Rejection::new(Reason::AmountOutOfRange, message).to_status()
            }
            QueryError::ReadModel(error @ ReadModelError::TooLong(_)) => {
                tracing::warn!(error = error as &dyn std::error::Error, "a read was ended");
                Rejection::new(Reason::ReadTooLong, Reason::ReadTooLong.meaning()).to_status()
            }
            QueryError::ReadModel(_)
            | QueryError::Failed(_)
            | QueryError::Stored { .. }
            | QueryError::StoredOrder(_)
            | QueryError::Encode(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a query failed");
                Rejection::new(Reason::Internal, Reason::Internal.meaning()).to_status()
            }
        }
    }
}
