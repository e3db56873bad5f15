//! Serving gRPC, and HTTP where a service has routes for it, on a socket that the caller owns.

mod accept;
mod call;
mod connection;
mod health;
mod in_process;
mod origin;
mod port;
mod room;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tonic::Status;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthReporter;

pub use in_process::InProcess;
pub use origin::{Origin, OriginError, Pages};
pub use room::Room;

use crate::shutdown::Shutdown;
use call::Calls;
use connection::Connections;
use health::StoppingHealth;
use port::Port;

/// Largest request to health and reflection: a name.
const NAME_BYTES: usize = 16 * 1024;
/// How long a new connection may take until it has said what it speaks.
const HANDSHAKE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the reflection service cannot be built: {0}")]
    Reflection(String),
    #[error("what is served over HTTP cannot be built: {0}")]
    Http(String),
}

pub struct ServeOptions {
    /// File descriptor set for reflection.
    pub descriptors: &'static [u8],
    /// Longest that any unary call may take; a caller's shorter `grpc-timeout` wins.
    pub call_timeout: Duration,
    /// Gives a failure that comes from the machinery its machine-readable details.
    pub describe: fn(&Status) -> Option<Status>,
    /// Where there are routes for HTTP beside gRPC: the pages that may call them. `None`: gRPC alone.
    pub pages: Option<Pages>,
    pub connections: ConnectionLimits,
}

/// What connections may take.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Shared by all that serve in it: a connection without a call gives way to a new one when it is full.
    pub room: Room,
    /// A connection that has not said by then what it speaks is closed; so is one over HTTP/1 that is idle for as long.
    pub handshake: Duration,
}

impl Default for ConnectionLimits {
    /// The room of this process.
    fn default() -> Self {
        Self {
            room: Room::of_process(),
            handshake: HANDSHAKE,
        }
    }
}

/// Serves `routes` with health and reflection until the soft stop; calls that are under way are finished, health's watchers are told
/// first, and connections without a call are closed. `routes` gets the reporter with which a service says whether it is ready.
pub async fn serve(
    listener: TcpListener,
    routes: impl FnOnce(HealthReporter) -> Routes,
    options: ServeOptions,
    shutdown: &Shutdown,
) -> Result<(), ServeError> {
    let reporter = HealthReporter::new();
    let health = StoppingHealth::new(reporter.clone(), shutdown.soft());
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
    let routes = routes(reporter)
        .add_service(
            HealthServer::new(health)
                .accept_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Zstd)
                .max_decoding_message_size(NAME_BYTES),
        )
        .add_service(
            v1.accept_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Zstd)
                .max_decoding_message_size(NAME_BYTES),
        )
        .add_service(
            v1alpha
                .accept_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Zstd)
                .max_decoding_message_size(NAME_BYTES),
        );
    let calls = Calls {
        routes: routes.prepare(),
        describe: options.describe,
        limit: options.call_timeout,
        soft: shutdown.soft(),
    };
    let port = Arc::new(Port::new(calls, options.pages));
    let mut connections = Connections::new(port, options.connections, shutdown.soft());
    let hard = shutdown.hard();
    let served = async {
        accept::accept(listener, &mut connections).await;
        connections.drain().await;
    };
    tokio::select! {
        () = served => {}
        () = hard.cancelled() => {}
    }
    Ok(())
}
