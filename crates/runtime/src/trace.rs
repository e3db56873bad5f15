use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderValue, Request, Response};
use tower::{Layer, Service};
use tracing::Instrument as _;

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

/// Gives every call a span with its trace, and failures that tonic itself answers with (oversized, undecodable, too late) the
/// machine-readable details that all others have.
#[derive(Clone, Copy)]
pub(crate) struct CallLayer {
    pub describe: fn(&Status) -> Option<Status>,
    /// Longest that a call may take. Set here and not in tonic's server, whose answer would come without details.
    pub limit: Duration,
}

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CallService {
            inner,
            describe: self.describe,
            limit: self.limit,
        }
    }
}

#[derive(Clone)]
pub(crate) struct CallService<S> {
    inner: S,
    describe: fn(&Status) -> Option<Status>,
    limit: Duration,
}

impl<S> Service<Request<Body>> for CallService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let context = request
            .headers()
            .get(HEADER)
            .and_then(|value: &HeaderValue| value.to_str().ok())
            .and_then(TraceContext::parse)
            .map_or_else(TraceContext::new_trace, TraceContext::child);
        let span = tracing::info_span!("call", method = %request.uri().path(), trace = %format_args!("{:032x}", context.trace_id));
        request.extensions_mut().insert(context);
        let (describe, limit) = (self.describe, self.limit);
        let call = self.inner.call(request);
        let answer = async move {
            let Ok(answered) = tokio::time::timeout(limit, call).await else {
                let late = Status::cancelled("the server's time for this call ran out");
                return Ok(describe(&late).unwrap_or(late).into_http());
            };
            let response = answered?;
            let Some(status) = Status::from_header_map(response.headers()) else {
                return Ok(response);
            };
            tracing::debug!(code = ?status.code(), message = status.message(), "refused");
            match describe(&status) {
                Some(described) if status.details().is_empty() => Ok(described.into_http()),
                _ => Ok(response),
            }
        };
        Box::pin(answer.instrument(span))
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
