use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::reason::Reason;

/// `domain` of every `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "doppio";

/// A field that is wrong, by its path in the request ("draft.lines[3].quantity"), and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub field: String,
    pub description: String,
}

/// A refusal, with all that a client needs to act on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub reason: Reason,
    pub message: String,
    pub metadata: Vec<(&'static str, String)>,
    pub violations: Vec<Violation>,
    pub retry_after: Option<Duration>,
}

impl Rejection {
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            metadata: Vec::new(),
            violations: Vec::new(),
            retry_after: None,
        }
    }

    /// One field that is wrong, for the reason given.
    #[must_use]
    pub fn field(reason: Reason, field: impl Into<String>, description: impl Into<String>) -> Self {
        let (field, description) = (field.into(), description.into());
        let mut rejection = Self::new(reason, format!("{field}: {description}"));
        rejection.violations.push(Violation { field, description });
        rejection
    }

    /// Several malformed fields at once. `None` when there is nothing wrong.
    #[must_use]
    pub fn invalid(violations: Vec<Violation>) -> Option<Self> {
        let first = violations.first()?;
        let more = if violations.len() > 1 {
            format!(" (and {} more)", violations.len() - 1)
        } else {
            String::new()
        };
        let message = format!("{}: {}{more}", first.field, first.description);
        Some(Self {
            violations,
            ..Self::new(Reason::InvalidArgument, message)
        })
    }

    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.metadata.push((key, value.to_string()));
        self
    }

    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    #[must_use]
    pub fn to_status(&self) -> Status {
        let metadata: HashMap<String, String> = self
            .metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        let mut details = ErrorDetails::with_error_info(self.reason.as_str(), DOMAIN, metadata);
        for violation in &self.violations {
            details.add_bad_request_violation(&violation.field, &violation.description);
        }
        if let Some(delay) = self.retry_after {
            details.set_retry_info(Some(delay));
        }
        Status::with_error_details(self.reason.code(), &self.message, details)
    }
}

/// How prost begins every message about bytes that it cannot decode.
const UNDECODABLE: &str = "failed to decode Protobuf message";

/// Gives a failure that the server's own machinery answered with the details that all others have. `None`: it has no reason of ours.
///
/// `OUT_OF_RANGE` is a request larger than the server takes, `INTERNAL` with prost's words one that cannot be decoded; `CANCELLED` and
/// `DEADLINE_EXCEEDED` are the server's own time limit, for which the service names the reason.
#[must_use]
pub fn describe(status: &Status, out_of_time: Reason) -> Option<Status> {
    let rejection = match status.code() {
        Code::OutOfRange => Rejection::new(Reason::MessageTooLarge, status.message()),
        Code::Internal if status.message().starts_with(UNDECODABLE) => Rejection::new(
            Reason::InvalidArgument,
            "the bytes are not a message of this call",
        ),
        Code::Internal => Rejection::new(Reason::Internal, Reason::Internal.meaning()),
        Code::Cancelled | Code::DeadlineExceeded => {
            Rejection::new(out_of_time, out_of_time.meaning())
        }
        _ => return None,
    };
    Some(rejection.to_status())
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

impl std::error::Error for Rejection {}

impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Self {
        rejection.to_status()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_the_machinery_get_a_reason() {
        let reason = |status: Status| {
            let described = describe(&status, Reason::OutcomeUnknown)?;
            Some((described.code(), described.get_details_error_info()?.reason))
        };
        assert_eq!(
            reason(Status::out_of_range("5 MiB")),
            Some((Code::OutOfRange, "MESSAGE_TOO_LARGE".into()))
        );
        let undecodable = "failed to decode Protobuf message: buffer underflow";
        assert_eq!(
            reason(Status::internal(undecodable)),
            Some((Code::InvalidArgument, "INVALID_ARGUMENT".into()))
        );
        assert_eq!(
            reason(Status::internal("panic")),
            Some((Code::Internal, "INTERNAL".into()))
        );
        assert_eq!(
            reason(Status::cancelled("Timeout expired")),
            Some((Code::Unavailable, "OUTCOME_UNKNOWN".into()))
        );
        assert_eq!(reason(Status::unimplemented("")), None);
    }
}
