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
    pub(crate) fn invalid(violations: Vec<Violation>) -> Option<Self> {
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

/// How prost and tonic begin their messages about bytes that are not a message; whoever sent them has to know, not the server's log.
const UNREADABLE: [&str; 5] = [
    "failed to decode Protobuf message",
    "Error decompressing",
    "protocol error: received message with",
    "Unexpected EOF decoding stream",
    "Missing request message",
];
const UNKNOWN_ENCODING: &str = "Content is compressed with";
const DECOMPRESSED_TOO_LARGE: &str = "Error decompressing: size limit";

/// Gives a failure that the server's own machinery answered with the details that all others have. `None`: it has no reason of ours.
///
/// `OUT_OF_RANGE` is a request larger than the server takes, `RESOURCE_EXHAUSTED` one that is so once it is decompressed, or metadata;
/// `INTERNAL` with one of the known beginnings is one that cannot be read. `UNIMPLEMENTED` is a call that is not there, or a compression;
/// `PERMISSION_DENIED` is a page's, which may not call. `NOT_FOUND` is health's word for a service. `CANCELLED` and `DEADLINE_EXCEEDED` are the server's own time limit, for which the service
/// names the reason.
#[must_use]
pub fn describe(status: &Status, out_of_time: Reason) -> Option<Status> {
    let message = status.message();
    let own = |reason: Reason| Rejection::new(reason, reason.meaning());
    let rejection = match status.code() {
        Code::OutOfRange => Rejection::new(Reason::MessageTooLarge, message),
        Code::ResourceExhausted if message.starts_with(DECOMPRESSED_TOO_LARGE) => {
            Rejection::new(Reason::MessageTooLarge, message)
        }
        Code::ResourceExhausted => Rejection::new(Reason::MetadataTooLarge, message),
        Code::Internal if UNREADABLE.iter().any(|known| message.starts_with(known)) => {
            Rejection::new(
                Reason::InvalidArgument,
                "the bytes are not a message of this call",
            )
        }
        Code::Internal => own(Reason::Internal),
        Code::Unimplemented if message.starts_with(UNKNOWN_ENCODING) => {
            own(Reason::UnsupportedCompression)
        }
        Code::Unimplemented => own(Reason::UnknownMethod),
        Code::PermissionDenied => Rejection::new(Reason::OriginNotAllowed, message),
        Code::NotFound => own(Reason::UnknownService),
        Code::Cancelled | Code::DeadlineExceeded => own(out_of_time),
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
        let unreadable = "failed to decode Protobuf message: buffer underflow";
        let compressed = "Content is compressed with `deflate` which isn't supported";
        let bomb = "Error decompressing: size limit, of 262144 bytes, exceeded while decompressing message";
        for (status, code, expected) in [
            (
                Status::out_of_range("5 MiB"),
                Code::OutOfRange,
                "MESSAGE_TOO_LARGE",
            ),
            (
                Status::resource_exhausted(bomb),
                Code::OutOfRange,
                "MESSAGE_TOO_LARGE",
            ),
            (
                Status::resource_exhausted("the call's metadata"),
                Code::OutOfRange,
                "METADATA_TOO_LARGE",
            ),
            (
                Status::internal(unreadable),
                Code::InvalidArgument,
                "INVALID_ARGUMENT",
            ),
            (
                Status::internal("Missing request message."),
                Code::InvalidArgument,
                "INVALID_ARGUMENT",
            ),
            (Status::internal("panic"), Code::Internal, "INTERNAL"),
            (
                Status::unimplemented(compressed),
                Code::Unimplemented,
                "UNSUPPORTED_COMPRESSION",
            ),
            (
                Status::unimplemented(""),
                Code::Unimplemented,
                "UNKNOWN_METHOD",
            ),
            (
                Status::not_found("service not registered"),
                Code::NotFound,
                "UNKNOWN_SERVICE",
            ),
            (
                Status::permission_denied("pages of \"null\" may not call"),
                Code::PermissionDenied,
                "ORIGIN_NOT_ALLOWED",
            ),
            (
                Status::cancelled("Timeout expired"),
                Code::Unavailable,
                "OUTCOME_UNKNOWN",
            ),
        ] {
            let found = reason(status.clone());
            assert_eq!(found, Some((code, expected.to_owned())), "{status:?}");
        }
        assert_eq!(reason(Status::unauthenticated("")), None);
    }
}
