use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::shutdown::Shutdown;
use crate::trace::CallLayer;

/// Concurrent calls of one connection.
const STREAMS_PER_CONNECTION: u32 = 1_024;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the reflection service cannot be built: {0}")]
    Reflection(String),
    #[error("serving failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

pub struct ServeOptions {
    /// File descriptor set for reflection.
    pub descriptors: &'static [u8],
    /// Longest that any unary call may take; a caller's shorter `grpc-timeout` wins.
    pub call_timeout: Duration,
    /// Gives a failure that comes from tonic itself its machine-readable details.
    pub describe: fn(&Status) -> Option<Status>,
    /// Whether there are routes for HTTP/1.1 beside gRPC.
    pub http1: bool,
}

/// Serves `routes` with health and reflection on a socket that the caller owns, until the soft stop; calls that are under way are
/// finished. `routes` gets the reporter with which a service says whether it is ready.
pub async fn serve(
    listener: TcpListener,
    routes: impl FnOnce(tonic_health::server::HealthReporter) -> Routes,
    options: ServeOptions,
    shutdown: &Shutdown,
) -> Result<(), ServeError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection =
        |error: tonic_reflection::server::Error| ServeError::Reflection(error.to_string());
    let v1 = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(options.descriptors)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(reflection)?;
    // Many stock clients still ask by the older name.
    let v1alpha = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(options.descriptors)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1alpha()
        .map_err(reflection)?;
    let routes = routes(reporter.clone())
        .add_service(health)
        .add_service(v1)
        .add_service(v1alpha);
    // tonic's own accept loop leaves Nagle's algorithm on, which costs a lone call 40 ms.
    let incoming = TcpListenerStream::new(listener)
        .map(|accepted| accepted.and_then(|stream| stream.set_nodelay(true).map(|()| stream)));
    let soft = shutdown.soft();
    let stopping = async move {
        soft.cancelled().await;
        reporter
            .set_service_status("", tonic_health::ServingStatus::NotServing)
            .await;
    };
    let server = Server::builder()
        .accept_http1(options.http1)
        .concurrency_limit_per_connection(STREAMS_PER_CONNECTION as usize)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_INTERVAL))
        .layer(CallLayer {
            describe: options.describe,
            limit: options.call_timeout,
        })
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stopping);
    let hard = shutdown.hard();
    tokio::select! {
        served = server => Ok(served?),
        () = hard.cancelled() => Ok(()),
    }
}
