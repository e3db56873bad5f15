//! One call: its time, and an answer that says what is wrong, whoever found it.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service as _;

use crate::deadline::named_timeout;

/// Metadata of a call, counted as HTTP/2 counts it.
const METADATA_BYTES: usize = 16 * 1024;
/// What HTTP/2 counts for each header beside its name and value.
const HEADER_OVERHEAD: usize = 32;
/// The service's own answer to a deadline is the better one: this comes a little later.
pub(crate) const AFTER_DEADLINE: Duration = Duration::from_millis(50);
/// Streams here live as long as somebody listens; they end with the service.
const LISTENED_TO: &str = "/grpc.reflection.";
const ACCEPTED_ENCODINGS: &str = "grpc-accept-encoding";

/// What answers calls, whatever connection they come from.
pub(crate) struct Calls {
    pub routes: Routes,
    pub describe: fn(&Status) -> Option<Status>,
    /// Longest that a call may take.
    pub limit: Duration,
    pub soft: CancellationToken,
}

impl Calls {
    /// A gRPC call, whichever way its request came.
    pub(crate) async fn grpc(&self, request: Request<Body>) -> Response<Body> {
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

    /// A panic ends the call that it happened in, with a word in the log, and nothing else.
    pub(crate) async fn route(&self, request: Request<Body>) -> Result<Response<Body>, ()> {
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
    pub(crate) fn described(&self, response: Response<Body>) -> Response<Body> {
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

fn metadata_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + HEADER_OVERHEAD)
        .sum()
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
