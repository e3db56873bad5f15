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

/// Why no connection came about or held, down to its cause, if that is what a status says.
#[must_use]
pub fn unreachable(status: &Status) -> Option<String> {
    let error = std::error::Error::source(status).filter(|_| status.code() == Code::Unavailable)?;
    let mut text = status.message().to_owned();
    let mut cause = Some(error);
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(&format!(": {words}"));
        }
        cause = error.source();
    }
    Some(text)
}

/// A refusal for people: reason, message, fields, what to do. Nothing is said twice.
fn explain(status: &Status) -> String {
    let details = status.get_error_details();
    let Some(info) = details.error_info() else {
        return match unreachable(status) {
            Some(why) => format!(
                "no service answers: {why}. Is a system running? `doppio up` starts one, --server names another"
            ),
            None => format!("{:?}: {}", status.code(), status.message()),
        };
    };
    let mut text = format!("{}: {}", info.reason, status.message());
    for violation in details
        .bad_request()
        .map(|bad| bad.field_violations.as_slice())
        .unwrap_or_default()
    {
        let violation = format!("{}: {}", violation.field, violation.description);
        if !text.contains(&violation) {
            text.push_str(&format!("\n  {violation}"));
        }
    }
    let mut metadata: Vec<_> = info.metadata.iter().collect();
    metadata.sort();
    for (key, value) in metadata {
        text.push_str(&format!("\n  {key} = {value}"));
    }
    if let Some(reason) = Reason::ALL
        .iter()
        .find(|reason| reason.as_str() == info.reason)
        && !status.message().contains(reason.meaning())
    {
        text.push_str(&format!("\n{}", reason.meaning()));
    }
    text
}

#[cfg(test)]
mod tests {
    use contract::Rejection;

    use super::*;

    #[test]
    fn a_sentence_is_said_once() {
        let meaning = Reason::LogChanged.meaning();
        let with_detail = format!("{meaning} ledger gangnam had revision 3");
        let refusal = Rejection::new(Reason::LogChanged, with_detail.clone());
        assert_eq!(
            explain(&refusal.to_status()),
            format!("LOG_CHANGED: {with_detail}")
        );
        let refusal = Rejection::field(Reason::InvalidArgument, "figure", "must be one of: a, b");
        assert_eq!(
            explain(&refusal.to_status()),
            format!(
                "INVALID_ARGUMENT: figure: must be one of: a, b\n{}",
                Reason::InvalidArgument.meaning()
            )
        );
        let refusal = Rejection::new(Reason::DayClosed, "2026-03-02 is closed");
        assert_eq!(
            explain(&refusal.to_status()),
            format!(
                "DAY_CLOSED: 2026-03-02 is closed\n{}",
                Reason::DayClosed.meaning()
            )
        );
    }

    #[tokio::test]
    async fn a_system_that_is_not_there_is_told_with_the_cause_and_what_to_do() {
        // Bound and let go: nobody listens there.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let channel = runtime::channel::connect_lazy(&format!("http://{address}")).unwrap();
        let mut client = tonic_health::pb::health_client::HealthClient::new(channel);
        let request = tonic_health::pb::HealthCheckRequest::default();
        let failure = Failure::from(client.check(request).await.unwrap_err());
        assert_eq!(failure.code, ExitCode::Unavailable);
        let told = failure.to_string();
        assert!(
            told.contains("Connection refused") && told.contains("`doppio up`"),
            "{told}"
        );
    }
}
