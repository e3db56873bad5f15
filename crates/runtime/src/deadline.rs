use std::time::Duration;

use tokio::time::Instant;
use tonic::codegen::http::HeaderMap;
use tonic::metadata::MetadataMap;

/// Deadline of a call that names none, and the longest that one may name.
#[derive(Debug, Clone, Copy)]
pub struct DeadlineLimits {
    pub default: Duration,
    pub longest: Duration,
}

/// Until when the caller waits, by its `grpc-timeout` header and the limits.
#[must_use]
pub fn deadline_of(metadata: &MetadataMap, limits: DeadlineLimits) -> Instant {
    let named = named_timeout(metadata.as_ref());
    Instant::now() + named.unwrap_or(limits.default).min(limits.longest)
}

/// How long the caller waits by its `grpc-timeout` header.
pub(crate) fn named_timeout(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok())
        .and_then(parse_timeout)
}

/// At most eight digits and a unit, by the gRPC-over-HTTP/2 specification.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_by_the_specification() {
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(
            parse_timeout("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        for malformed in ["", "m", "1", "1x", "-1S", "123456789m", "1é"] {
            assert_eq!(parse_timeout(malformed), None, "{malformed}");
        }
    }
}
