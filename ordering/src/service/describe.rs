use contract::{Reason, Rejection};
use tonic::{Code, Status};

/// Details for the failures that tonic itself answers with.
pub fn describe(status: &Status) -> Option<Status> {
    let reason = match status.code() {
        Code::OutOfRange => Reason::MessageTooLarge,
        Code::Internal => Reason::InvalidArgument,
        Code::Cancelled | Code::DeadlineExceeded => Reason::OutcomeUnknown,
        _ => return None,
    };
    Some(Rejection::new(reason, status.message()).to_status())
}
