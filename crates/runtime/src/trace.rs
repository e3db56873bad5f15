use std::fmt;

use tonic::codegen::http::HeaderMap;

const HEADER: &str = "traceparent";

/// W3C trace context: which trace a call belongs to. Travels over gRPC as `traceparent` and with each command into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

impl TraceContext {
    /// A new trace.
    #[must_use]
    pub fn new_trace() -> Self {
        Self {
            trace_id: rand::random::<u128>() | 1,
            span_id: rand::random::<u64>() | 1,
            flags: 1,
        }
    }

    /// The same trace, another span.
    #[must_use]
    pub fn child(self) -> Self {
        Self {
            span_id: rand::random::<u64>() | 1,
            ..self
        }
    }

    /// Reads a `traceparent` of version 00; anything else is no context.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lower_hex = |part: &str, length: usize| {
            part.len() == length
                && part
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        if version != "00"
            || parts.next().is_some()
            || !lower_hex(trace, 32)
            || !lower_hex(span, 16)
            || !lower_hex(flags, 2)
        {
            return None;
        }
        let context = Self {
            trace_id: u128::from_str_radix(trace, 16).ok()?,
            span_id: u64::from_str_radix(span, 16).ok()?,
            flags: u8::from_str_radix(flags, 16).ok()?,
        };
        (context.trace_id != 0 && context.span_id != 0).then_some(context)
    }

    /// Adds the context to an outgoing call.
    pub fn inject<T>(self, request: &mut tonic::Request<T>) {
        if let Ok(value) = self.to_string().parse() {
            request.metadata_mut().insert(HEADER, value);
        }
    }

    /// The context that a call's headers bring, or a new one.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        headers
            .get(HEADER)
            .and_then(|value| value.to_str().ok())
            .and_then(Self::parse)
            .map_or_else(Self::new_trace, Self::child)
    }

    /// The trace's id, as it is written.
    pub(crate) fn trace_id(self) -> impl fmt::Display {
        format!("{:032x}", self.trace_id)
    }

    /// The context of an incoming call; the serving layer has made one where the caller sent none.
    #[must_use]
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        request
            .extensions()
            .get::<Self>()
            .copied()
            .unwrap_or_else(Self::new_trace)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace_id, self.span_id, self.flags
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_it_is_written_and_nothing_else_is() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(
            TraceContext::parse(text)
                .map(|context| context.to_string())
                .as_deref(),
            Some(text)
        );
        for malformed in [
            "",
            "00",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(malformed), None, "{malformed}");
        }
    }
}
