//! One call: its trace, its time, and an answer that says what is wrong, whoever found it.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, StreamBody};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header,
};
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service as _;
use tracing::Instrument as _;

use super::room::CallUnderWay;
use crate::deadline::named_timeout;
use crate::trace::TraceContext;

/// Metadata of a call, counted as HTTP/2 counts it.
const METADATA_BYTES: usize = 16 * 1024;
/// What HTTP/2 counts for each header beside its name and value.
const HEADER_OVERHEAD: usize = 32;
/// The service's own answer to a deadline is the better one: this comes a little later.
const AFTER_DEADLINE: Duration = Duration::from_millis(50);
/// Streams here live as long as somebody listens; they end with the service.
const LISTENED_TO: &str = "/grpc.reflection.";
const ACCEPTED_ENCODINGS: &str = "grpc-accept-encoding";
const NOT_GRPC: &str = "This port speaks gRPC: HTTP/2 with the content-type application/grpc, which this request is not.\n\
    Ask it what it offers by server reflection, such as: grpcurl -plaintext HOST:PORT list\n\
    Refusals are explained in docs/ERRORS.md.\n";
const GRPC_OVER_HTTP1: &str = "gRPC needs HTTP/2, and this request came over HTTP/1. A proxy in between has to pass HTTP/2 on.\n";
const TOO_LATE: &str = "The server's time for this request ran out.\n";

/// What answers calls, whatever connection they come from.
pub(crate) struct Calls {
    pub routes: Routes,
    pub describe: fn(&Status) -> Option<Status>,
    /// Longest that a call may take.
    pub limit: Duration,
    /// Whether there are routes for HTTP beside gRPC.
    pub http: bool,
    pub soft: CancellationToken,
}

impl Calls {
    pub(crate) async fn answer(
        &self,
        mut request: Request<Body>,
        call: CallUnderWay,
    ) -> Response<Body> {
        let context = TraceContext::from_headers(request.headers());
        let span = tracing::info_span!("call", method = %request.uri().path(), trace = %context.trace_id());
        request.extensions_mut().insert(context);
        let response = if is_grpc(request.headers()) {
            self.grpc(request).instrument(span).await
        } else {
            self.other(request).instrument(span).await
        };
        response.map(|body| Body::new(Kept { body, _call: call }))
    }

    async fn grpc(&self, request: Request<Body>) -> Response<Body> {
        if request.version() < Version::HTTP_2 {
            return text(StatusCode::HTTP_VERSION_NOT_SUPPORTED, GRPC_OVER_HTTP1);
        }
        let metadata = metadata_bytes(request.headers());
        if metadata > METADATA_BYTES {
            return self.described(too_much_metadata(metadata).into_http());
        }
        let named = named_timeout(request.headers()).map(|named| named + AFTER_DEADLINE);
        let limit = named.unwrap_or(self.limit).min(self.limit);
        let request = if request.uri().path().starts_with(LISTENED_TO) {
            request.map(|body| until(body, self.soft.clone()))
        } else {
            request
        };
        let response = match tokio::time::timeout(limit, self.route(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => Status::internal("panicked").into_http(),
            Err(_) => {
                Status::deadline_exceeded("the server's time for this call ran out").into_http()
            }
        };
        self.described(response)
    }

    async fn other(&self, request: Request<Body>) -> Response<Body> {
        if !self.http || names_a_method(request.uri().path()) {
            return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, NOT_GRPC);
        }
        match tokio::time::timeout(self.limit, self.route(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something went wrong inside the server; its log has the details.\n",
            ),
            Err(_) => text(StatusCode::GATEWAY_TIMEOUT, TOO_LATE),
        }
    }

    /// A panic ends the call that it happened in, with a word in the log, and nothing else.
    async fn route(&self, request: Request<Body>) -> Result<Response<Body>, ()> {
        let answered = AssertUnwindSafe(self.routes.clone().call(request))
            .catch_unwind()
            .await;
        match answered {
            Ok(Ok(response)) => Ok(response),
            Err(panic) => {
                tracing::error!(panic = said(&*panic), "a call panicked");
                Err(())
            }
        }
    }

    /// Gives a refusal without machine-readable details the ones it should have.
    fn described(&self, response: Response<Body>) -> Response<Body> {
        let Some(status) = Status::from_header_map(response.headers()) else {
            return response;
        };
        if status.code() == Code::Ok {
            return response;
        }
        tracing::debug!(code = ?status.code(), message = status.message(), "refused");
        if !status.details().is_empty() {
            return response;
        }
        let Some(described) = (self.describe)(&status) else {
            return response;
        };
        if described.code() == Code::Internal {
            tracing::error!(message = status.message(), "a call failed");
        }
        let mut better = described.into_http();
        if let Some(accepted) = response.headers().get(ACCEPTED_ENCODINGS) {
            better
                .headers_mut()
                .insert(ACCEPTED_ENCODINGS, accepted.clone());
        }
        better
    }
}

/// gRPC calls this exhausted, as it calls every limit on metadata.
fn too_much_metadata(bytes: usize) -> Status {
    Status::resource_exhausted(format!(
        "the call's metadata takes {bytes} bytes, the limit is {METADATA_BYTES}"
    ))
}

/// As the specification has it: `application/grpc`, alone or with the message's format. gRPC-Web is another protocol.
fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .map_or(&[][..], HeaderValue::as_bytes);
    kind.strip_prefix(b"application/grpc").is_some_and(|rest| {
        matches!(rest.first(), None | Some(b';')) || rest.starts_with(b"+proto")
    })
}

/// Such as `/doppio.query.v1.QueryService/GetOrder`.
fn names_a_method(path: &str) -> bool {
    path.strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .is_some_and(|(service, method)| {
            service.contains('.') && !method.is_empty() && !method.contains('/')
        })
}

fn metadata_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + HEADER_OVERHEAD)
        .sum()
}

fn text(code: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::new(http_body_util::Full::new(Bytes::from_static(
        text.as_bytes(),
    ))));
    *response.status_mut() = code;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// A request's messages, which end early when the service is told to stop.
fn until(body: Body, stop: CancellationToken) -> Body {
    let frames = body
        .into_data_stream()
        .map_ok(Frame::data)
        .take_until(stop.cancelled_owned());
    Body::new(StreamBody::new(frames))
}

fn said(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word")
}

/// An answer's body: the call is under way until it is sent or dropped.
struct Kept {
    body: Body,
    _call: CallUnderWay,
}

impl http_body::Body for Kept {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_grpc() {
        let is = |kind: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            is_grpc(&headers)
        };
        for kind in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;charset=utf-8",
        ] {
            assert!(is(kind), "{kind}");
        }
        for kind in [
            "",
            "application/json",
            "application/grpc-web+proto",
            "application/grpc+json",
            "application/grpcx",
        ] {
            assert!(!is(kind), "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn paths_of_methods() {
        assert!(names_a_method("/doppio.query.v1.QueryService/GetOrder"));
        for path in [
            "/",
            "/favicon.ico",
            "/v1/export",
            "/v1/export/orders.csv",
            "/a.b/",
            "/a.b/c/d",
        ] {
            assert!(!names_a_method(path), "{path}");
        }
    }
}
