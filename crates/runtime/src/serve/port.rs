//! What a port answers: gRPC, and where it serves HTTP too, gRPC-Web and whatever routes there are beside.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header,
};
use tower::{Layer as _, Service as _, service_fn};
use tower_http::cors::CorsLayer;
use tracing::Instrument as _;

use super::call::{AFTER_DEADLINE, Calls};
use super::in_process::InProcess;
use super::origin::Pages;
use super::room::CallUnderWay;
use crate::trace::TraceContext;

const NOT_GRPC: &str = "This port speaks gRPC: HTTP/2 with the content-type application/grpc, which this request is not.\n\
    Ask it what it offers by server reflection, such as: grpcurl -plaintext HOST:PORT list\n\
    Refusals are explained in docs/ERRORS.md.\n";
const GRPC_OVER_HTTP1: &str = "gRPC needs HTTP/2, and this request came over HTTP/1. A proxy in between has to pass HTTP/2 on.\n";
const TOO_LATE: &str = "The server's time for this request ran out.\n";

pub(crate) struct Port {
    calls: Arc<Calls>,
    /// `None`: gRPC alone.
    http: Option<Http>,
}

struct Http {
    pages: Pages,
    cors: Option<CorsLayer>,
}

impl Port {
    pub(crate) fn new(calls: Calls, pages: Option<Pages>) -> Self {
        Self {
            calls: Arc::new(calls),
            http: pages.map(|pages| Http {
                cors: pages.cors(),
                pages,
            }),
        }
    }

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
            // Apart, so that what HTTP needs takes no room in each gRPC call.
            Box::pin(self.other(request)).instrument(span).await
        };
        response.map(|body| Body::new(Kept { body, _call: call }))
    }

    async fn grpc(&self, request: Request<Body>) -> Response<Body> {
        if request.version() < Version::HTTP_2 {
            return text(StatusCode::HTTP_VERSION_NOT_SUPPORTED, GRPC_OVER_HTTP1);
        }
        self.calls.grpc(request).await
    }

    async fn other(&self, request: Request<Body>) -> Response<Body> {
        let Some(http) = &self.http else {
            return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, NOT_GRPC);
        };
        let Some(cors) = &http.cors else {
            return self.over_http(request, &http.pages).await;
        };
        let answer =
            |request| async { Ok::<_, Infallible>(self.over_http(request, &http.pages).await) };
        let Ok(response) = cors.layer(service_fn(answer)).call(request).await;
        response
    }

    async fn over_http(&self, mut request: Request<Body>, pages: &Pages) -> Response<Body> {
        let calls = InProcess::new(self.calls.clone(), pages.refusal(&request));
        if is_grpc_web(request.headers()) {
            let Ok(response) = tonic_web::GrpcWebLayer::new()
                .layer(calls)
                .call(request)
                .await;
            return response;
        }
        if names_a_method(request.uri().path()) {
            return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, NOT_GRPC);
        }
        request.extensions_mut().insert(calls);
        // The calls that the routes make have the same time, and say better that it ran out.
        let limit = self.calls.limit + AFTER_DEADLINE;
        match tokio::time::timeout(limit, self.calls.route(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something went wrong inside the server; its log has the details.\n",
            ),
            Err(_) => text(StatusCode::GATEWAY_TIMEOUT, TOO_LATE),
        }
    }
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

/// In any of its four forms.
fn is_grpc_web(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc-web"))
}

/// Such as `/doppio.query.v1.QueryService/GetOrder`.
fn names_a_method(path: &str) -> bool {
    path.strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .is_some_and(|(service, method)| {
            service.contains('.') && !method.is_empty() && !method.contains('/')
        })
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
