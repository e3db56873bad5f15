use std::time::Duration;

use contract::Reason;
use contract::api::member::member_service_server::{MemberServiceServer, SERVICE_NAME};
use runtime::{Clock, ConnectionLimits, ServeError, ServeOptions, Shutdown};
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::config::Config;
use crate::service::Service;
use crate::store::{Members, StoreError};

/// Longer than a connection's wait, its opening and an operation together, so that every call ends with its own reason.
const CALL_TIMEOUT: Duration = Duration::from_millis(10_000);
/// No request of this service comes near it.
const MESSAGE_BYTES: usize = 64 * 1024;
const PROBE_INTERVAL: Duration = Duration::from_millis(1_000);

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Serves members on a socket that the caller owns until the soft stop, then closes the database. Reports itself not serving while the
/// database does not answer, and recovers by itself.
pub async fn run(
    config: Config,
    members: Members,
    listener: TcpListener,
    shutdown: Shutdown,
    clock: Clock,
) -> Result<(), RunError> {
    let options = ServeOptions {
        descriptors: contract::DESCRIPTORS,
        call_timeout: CALL_TIMEOUT,
        describe: |status| contract::describe(status, Reason::OutcomeUnknown),
        pages: None,
        connections: ConnectionLimits::default(),
    };
    let service = Service {
        members: members.clone(),
        benefits: config.benefits,
        clock,
    };
    let routes = |health: HealthReporter| {
        let soft = shutdown.soft();
        let watched = members.clone();
        shutdown.spawn_for_good("the watch over the members' database", async move {
            tokio::select! {
                () = watch(watched, health.clone()) => {}
                () = soft.cancelled() => health.set_service_status(SERVICE_NAME, ServingStatus::NotServing).await,
            }
        });
        Routes::new(
            MemberServiceServer::new(service)
                .accept_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Zstd)
                .max_decoding_message_size(MESSAGE_BYTES),
        )
    };
    let served = runtime::serve(listener, routes, options, &shutdown).await;
    members.close().await;
    Ok(served?)
}

/// Keeps the health report true, and finishes erasing what a withdrawal could not.
async fn watch(members: Members, health: HealthReporter) {
    let mut tick = tokio::time::interval(PROBE_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_serving = None;
    loop {
        tick.tick().await;
        let probed = members.probe().await;
        // A busy database is not a dead one.
        let serving = matches!(probed, Ok(()) | Err(StoreError::Overloaded));
        if was_serving != Some(serving) {
            let status = if serving {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            };
            for name in ["", SERVICE_NAME] {
                health.set_service_status(name, status).await;
            }
            match (&probed, was_serving) {
                (Err(error), _) if !serving => {
                    tracing::error!(%error, "not serving: the database does not answer");
                }
                (_, Some(false)) => tracing::info!("serving again: the database answers"),
                _ => {}
            }
            was_serving = Some(serving);
        }
        if let Err(error) = members.finish_erasing().await {
            tracing::debug!(%error, "the write-ahead log is emptied later");
        }
    }
}
