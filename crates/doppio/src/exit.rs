//! What the process ends with.

use std::fmt;

use contract::{CodecError, Reason};
use event_log::LogError;
use ordering::catalog::CatalogError;
use read_model::ReadModelError;
use runtime::config::ConfigError;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Exit codes, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// Something went wrong that is none of the others.
    Failed = 1,
    /// The command line, the settings or an input file is wrong.
    Usage = 2,
    /// The system refused the command; nothing was recorded.
    Refused = 3,
    /// A service cannot be reached, or cannot answer now; repeat with the same id.
    Unavailable = 4,
    /// A check found something wrong.
    CheckFailed = 5,
}

/// An error with the exit code that it means.
#[derive(Debug)]
pub struct Failure {
    pub code: ExitCode,
    pub error: anyhow::Error,
}

impl Failure {
    pub fn new(code: ExitCode, message: impl fmt::Display) -> Self {
        Self {
            code,
            error: anyhow::anyhow!("{message}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error: anyhow::Error = error.into();
        let Some(status) = error.downcast_ref::<Status>() else {
            let code = error.chain().find_map(known);
            return Self {
                code: code.unwrap_or(ExitCode::Failed),
                error,
            };
        };
        Self {
            code: answered(status),
            error: anyhow::anyhow!("{}", explain(status)),
        }
    }
}

/// What a service's answer means.
fn answered(status: &Status) -> ExitCode {
    match status.code() {
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Cancelled => ExitCode::Unavailable,
        _ if is_no_answer(status) => ExitCode::Unavailable,
        Code::Internal | Code::Unknown | Code::DataLoss | Code::Unimplemented => ExitCode::Failed,
        _ => ExitCode::Refused,
    }
}

/// What an error of an engine, of the settings or of a file means; `None` for all others.
fn known(cause: &(dyn std::error::Error + 'static)) -> Option<ExitCode> {
    if let Some(error) = cause.downcast_ref::<LogError>() {
        return Some(match error {
            LogError::Unavailable(_) => ExitCode::Unavailable,
            LogError::Broken { .. } => ExitCode::CheckFailed,
            LogError::Changed(_) | LogError::UpgradeRequired { .. } => ExitCode::Refused,
            // No log is there, or another thing than a log: the wrong place was named.
            LogError::Unusable(_) => ExitCode::Usage,
        });
    }
    if let Some(error) = cause.downcast_ref::<ReadModelError>() {
        return match error {
            ReadModelError::Address(_) => Some(ExitCode::Usage),
            ReadModelError::Unavailable(_) => Some(ExitCode::Unavailable),
            _ => None,
        };
    }
    // Stored bytes that are not what was ever written.
    if cause.is::<CodecError>() {
        return Some(ExitCode::CheckFailed);
    }
    let usage = cause.is::<ConfigError>()
        || cause.is::<CatalogError>()
        || cause.is::<member::DatabaseError>();
    usage.then_some(ExitCode::Usage)
}

/// Whether a status is not the server's: it was made on this side, of a connection that was lost before the answer came. Its code is
/// `Unknown` or `Internal` then, and the outcome is not known.
#[must_use]
pub fn is_no_answer(status: &Status) -> bool {
    matches!(status.code(), Code::Unknown | Code::Internal)
        && std::error::Error::source(status).is_some()
}

/// A refusal for people: reason, message, fields, what to do.
fn explain(status: &Status) -> String {
    let details = status.get_error_details();
    let Some(info) = details.error_info() else {
        return format!("{:?}: {}", status.code(), status.message());
    };
    let mut text = format!("{}: {}", info.reason, status.message());
    for violation in details
        .bad_request()
        .map(|bad| bad.field_violations.as_slice())
        .unwrap_or_default()
    {
        text.push_str(&format!(
            "\n  {}: {}",
            violation.field, violation.description
        ));
    }
    let mut metadata: Vec<_> = info.metadata.iter().collect();
    metadata.sort();
    for (key, value) in metadata {
        text.push_str(&format!("\n  {key} = {value}"));
    }
    if let Some(reason) = Reason::ALL
        .iter()
        .find(|reason| reason.as_str() == info.reason)
        && reason.meaning() != status.message()
    {
        text.push_str(&format!("\n{}", reason.meaning()));
    }
    text
}
