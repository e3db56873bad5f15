//! Calls that the routes over HTTP make of the services beside them.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, Version};
use tower::Service;

use super::call::Calls;

/// The way from a request over HTTP, in whose extensions this is, to the services of the same port: a call made through it has the same
/// limits, deadline, trace and refusals as one that came over gRPC. It serves any client that is made of a `tower` service.
#[derive(Clone)]
pub struct InProcess {
    calls: Arc<Calls>,
    /// Why none of the request's calls is made.
    refusal: Option<Status>,
}

impl InProcess {
    pub(crate) fn new(calls: Arc<Calls>, refusal: Option<Status>) -> Self {
        Self { calls, refusal }
    }

    /// Cancelled when the service is told to stop: what would go on for ever then ends.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.calls.soft.clone()
    }
}

impl Service<Request<Body>> for InProcess {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        *request.version_mut() = Version::HTTP_2;
        let Self { calls, refusal } = self.clone();
        async move {
            Ok(match refusal {
                Some(refusal) => calls.described(refusal.into_http()),
                None => calls.grpc(request).await,
            })
        }
        .boxed()
    }
}
