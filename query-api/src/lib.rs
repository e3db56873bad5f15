//! Answers what tills, status screens and analysts ask, from the read model alone.
//!
//! gRPC, and on the same port HTTP/1.1 for what people fetch as files.
//!
//! A read may name consistency tokens (`at_least`): it waits until the read model reflects them. One task of the process looks at the
//! read model for all who wait, called by notifications and every 50 ms by itself.

mod admin;
mod error;
pub mod export;
mod figure;
mod lists;
mod page;
pub mod program;
mod queries;
mod request;
mod sales;
mod service;
mod settlement;
mod turnover;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use contract::api::admin::admin_service_server::AdminServiceServer;
use contract::api::query::query_service_server::QueryServiceServer;
use contract::api::query::settlement_service_server::SettlementServiceServer;
use contract::{Reason, StoreId};
use read_model::ReadModelReader;
use runtime::{Clock, ConnectionLimits, ServeError, ServeOptions, Shutdown};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use queries::Queries;
use wait::Waiters;

/// A little longer than the longest deadline: the answer that says so comes from the service.
const CALL_TIMEOUT: Duration = Duration::from_secs(31);
/// Largest request, in bytes: store ids and tokens, a few hundred of each.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;
const CHECK_AGAIN: Duration = Duration::from_secs(1);
/// The full names of the services, for health.
pub const SERVICES: [&str; 3] = [
    "doppio.query.v1.QueryService",
    "doppio.query.v1.SettlementService",
    "doppio.admin.v1.AdminService",
];

/// Starts the tasks behind the services and returns the services' routes; ends with `shutdown`.
#[must_use]
pub fn routes(reader: Arc<dyn ReadModelReader>, shutdown: &Shutdown, clock: Clock) -> Routes {
    start(reader, Waiters::default(), shutdown, clock)
}

fn start(
    reader: Arc<dyn ReadModelReader>,
    waiters: Waiters,
    shutdown: &Shutdown,
    clock: Clock,
) -> Routes {
    let (hint, hinted) = watch::channel(0);
    let soft = shutdown.soft();
    let listening = (reader.clone(), soft.clone());
    shutdown.spawn_for_good("listening for news of the read model", async move {
        let (reader, soft) = listening;
        tokio::select! {
            () = reader.listen(&hint) => {}
            () = soft.cancelled() => {}
        }
    });
    let watching = (reader.clone(), waiters.clone(), soft.clone());
    shutdown.spawn_for_good("the watch for those who wait", async move {
        let (reader, waiters, soft) = watching;
        let look = |stores: Vec<StoreId>| {
            let reader = reader.clone();
            async move { reader.progress(&stores).await }
        };
        waiters.watch(look, hinted, soft).await;
    });
    let watching_log = (reader.clone(), waiters.clone(), soft.clone());
    shutdown.spawn_for_good("the watch over the log's identity", async move {
        let (reader, waiters, soft) = watching_log;
        tokio::select! {
            () = waiters.watch_log(reader) => {}
            () = soft.cancelled() => {}
        }
    });
    let checking = reader.clone();
    shutdown.spawn(async move {
        tokio::select! {
            () = check(&*checking) => {}
            () = soft.cancelled() => {}
        }
    });
    let exports = export::room();
    let queries = Arc::new(Queries {
        reader: reader.clone(),
        waiters,
        clock,
        shutdown: shutdown.clone(),
        exports,
    });
    let services = Routes::new(
        QueryServiceServer::from_arc(queries.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(MAX_REQUEST_BYTES),
    )
    .add_service(
        SettlementServiceServer::from_arc(queries.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(MAX_REQUEST_BYTES),
    )
    .add_service(
        AdminServiceServer::new(admin::Admin { reader })
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(MAX_REQUEST_BYTES),
    );
    services
        .into_axum_router()
        .merge(export::http::router(queries))
        .fallback(export::http::not_found)
        .into()
}

/// Serves queries on `listener` until the soft stop.
pub async fn run(
    reader: Arc<dyn ReadModelReader>,
    listener: TcpListener,
    shutdown: Shutdown,
    clock: Clock,
) -> Result<(), ServeError> {
    let options = ServeOptions {
        descriptors: contract::DESCRIPTORS,
        call_timeout: CALL_TIMEOUT,
        describe: |status| contract::describe(status, Reason::TooStale),
        http1: true,
        connections: ConnectionLimits::default(),
    };
    let soft = shutdown.soft();
    let served = |reporter: HealthReporter| {
        let waiters = Waiters::default();
        let log_changed = waiters.log_changed();
        shutdown.spawn_for_good("the health report", async move {
            tokio::select! {
                () = keep_reporting(&reporter, log_changed) => {}
                () = soft.cancelled() => {}
            }
            report(&reporter, ServingStatus::NotServing).await;
        });
        start(reader, waiters, &shutdown, clock)
    };
    runtime::serve(listener, served, options, &shutdown).await
}

/// Not serving while the log is not the one that the read model was built from.
async fn keep_reporting(
    reporter: &HealthReporter,
    mut log_changed: watch::Receiver<Option<String>>,
) {
    loop {
        let status = if log_changed.borrow_and_update().is_some() {
            ServingStatus::NotServing
        } else {
            ServingStatus::Serving
        };
        report(reporter, status).await;
        reporter.set_service_status("", status).await;
        if log_changed.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

async fn report(reporter: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}

/// Says, once for each problem, why nothing can be read, until it can.
async fn check(reader: &dyn ReadModelReader) {
    let mut said = String::new();
    while let Err(error) = reader.check().await {
        let problem = error.to_string();
        if problem != said {
            tracing::warn!(problem, "the read model cannot be read yet");
            said = problem;
        }
        tokio::time::sleep(CHECK_AGAIN).await;
    }
    if !said.is_empty() {
        tracing::info!("the read model can be read");
    }
}
