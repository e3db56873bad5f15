use contract::{Reason, Rejection};
use tonic::{Code, Status};

/// How prost begins every message about bytes that it cannot decode.
const UNDECODABLE: &str = "failed to decode Protobuf message";

/// Gives a failure that tonic itself answered with the machine-readable details that all others have. `None`: it has no reason of ours.
///
/// - `OUT_OF_RANGE` (the request is larger than the server takes): `MESSAGE_TOO_LARGE`;
/// - `INTERNAL` for bytes that are not the call's message: `INVALID_ARGUMENT`, since it is the caller's to mend;
/// - `CANCELLED` and `DEADLINE_EXCEEDED` (the server's own time limit): `OUTCOME_UNKNOWN`, since what was begun may yet be recorded;
/// - any other `INTERNAL`: `INTERNAL`.
#[must_use]
pub fn describe(status: &Status) -> Option<Status> {
    let rejection = match status.code() {
        Code::OutOfRange => Rejection::new(Reason::MessageTooLarge, status.message()),
        Code::Internal if status.message().starts_with(UNDECODABLE) => {
            Rejection::new(Reason::InvalidArgument, "the bytes are not a message of this call")
        }
        Code::Internal => Rejection::new(Reason::Internal, "internal error"),
        Code::Cancelled | Code::DeadlineExceeded => {
            Rejection::new(Reason::OutcomeUnknown, "the server's time for this call ran out; repeat it with the same id")
        }
        _ => return None,
    };
    Some(rejection.to_status())
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    #[test]
    fn failures_of_tonic_get_a_reason() {
        let reason = |status: Status| describe(&status).map(|status| (status.code(), status.get_details_error_info().unwrap().reason));
        let undecodable = "failed to decode Protobuf message: buffer underflow";
        assert_eq!(reason(Status::out_of_range("5 MiB")), Some((Code::OutOfRange, "MESSAGE_TOO_LARGE".into())));
        assert_eq!(reason(Status::internal(undecodable)), Some((Code::InvalidArgument, "INVALID_ARGUMENT".into())));
        assert_eq!(reason(Status::internal("panic")), Some((Code::Internal, "INTERNAL".into())));
        assert_eq!(reason(Status::cancelled("Timeout expired")), Some((Code::Unavailable, "OUTCOME_UNKNOWN".into())));
        assert_eq!(reason(Status::unimplemented("")), None);
    }
}
