//! Answers what tills, status screens and analysts ask, from the read model alone.
//!
//! gRPC, and on the same port HTTP: the same calls as JSON, and tables that people fetch as files.
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
mod standing;
mod turnover;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use contract::api::admin::admin_service_server::AdminServiceServer;
use contract::api::query::query_service_server::QueryServiceServer;
use contract::api::query::settlement_service_server::SettlementServiceServer;
use contract::{Reason, StoreId};
use read_model::Readers;
use runtime::{Clock, ConnectionLimits, Pages, ServeError, ServeOptions, Shutdown};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use web::{About, Api};

use queries::Queries;
use standing::Trouble;
use wait::Waiters;

/// A little longer than the longest deadline: the answer that says so comes from the service.
const CALL_TIMEOUT: Duration = Duration::from_secs(31);
/// Largest request, in bytes: store ids and tokens, a few hundred of each.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;
/// How the services are described over HTTP.
const ABOUT: About = About {
    name: "query-api",
    summary: "Reads: orders, daily sales, X and Z reports, sales over dates and stores, and whether the read model keeps up.",
    body_bytes: MAX_REQUEST_BYTES,
    others: &[
        (
            "/v1/export",
            "The tables that there are as files, with their columns and the parameters that they take.",
        ),
        (
            "/v1/export/{file}",
            "A whole table as a file: its name, then .csv or .parquet.",
        ),
    ],
};
/// The full names of the services, for health.
pub const SERVICES: [&str; 3] = [
    "doppio.query.v1.QueryService",
    "doppio.query.v1.SettlementService",
    "doppio.admin.v1.AdminService",
];

/// Starts the tasks behind the services. Their routes, and what keeps them from answering; the tasks end with `shutdown`.
fn start(
    readers: Readers,
    shutdown: &Shutdown,
    clock: Clock,
    api: Api,
) -> (Routes, watch::Receiver<Option<Trouble>>) {
    let Readers {
        projection,
        orders,
        settlement,
        tables,
    } = readers;
    let waiters = Waiters::default();
    let (hint, hinted) = watch::channel(0);
    let soft = shutdown.soft();
    let listening = (projection.clone(), soft.clone());
    shutdown.spawn_for_good("listening for news of the read model", async move {
        let (projection, soft) = listening;
        tokio::select! {
            () = projection.listen(&hint) => {}
            () = soft.cancelled() => {}
        }
    });
    let watching = (projection.clone(), waiters.clone(), soft.clone());
    shutdown.spawn_for_good("the watch for those who wait", async move {
        let (projection, waiters, soft) = watching;
        let look = |stores: Vec<StoreId>| {
            let projection = projection.clone();
            async move { projection.progress(&stores).await }
        };
        waiters.watch(look, hinted, soft).await;
    });
    let (tell, trouble) = watch::channel(Some(Trouble::NotYetSeen));
    let looking = (projection.clone(), waiters.clone());
    shutdown.spawn_for_good("the watch over the read model", async move {
        let (projection, waiters) = looking;
        tokio::select! {
            () = standing::watch(projection, waiters, tell) => {}
            () = soft.cancelled() => {}
        }
    });
    let exports = export::room();
    let queries = Arc::new(Queries {
        orders,
        settlement,
        tables,
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
        AdminServiceServer::new(admin::Admin { projection })
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(MAX_REQUEST_BYTES),
    );
    let routes = services
        .into_axum_router()
        .merge(export::http::router(queries));
    (api.beside(routes).into(), trouble)
}

/// Serves queries on `listener` until the soft stop.
pub async fn run(
    readers: Readers,
    listener: TcpListener,
    shutdown: Shutdown,
    clock: Clock,
) -> Result<(), ServeError> {
    let api = Api::new(&ABOUT, &SERVICES).map_err(|error| ServeError::Http(error.to_string()))?;
    let options = ServeOptions {
        descriptors: contract::DESCRIPTORS,
        call_timeout: CALL_TIMEOUT,
        describe: |status| contract::describe(status, Reason::TooStale),
        pages: Some(Pages {
            own: true,
            origin: None,
        }),
        connections: ConnectionLimits::default(),
    };
    let soft = shutdown.soft();
    let served = |reporter: HealthReporter| {
        let (routes, trouble) = start(readers, &shutdown, clock, api);
        shutdown.spawn_for_good("the health report", async move {
            tokio::select! {
                () = standing::report(&reporter, trouble) => {}
                () = soft.cancelled() => {}
            }
            for service in SERVICES {
                let stopping = ServingStatus::NotServing;
                reporter.set_service_status(service, stopping).await;
            }
        });
        routes
    };
    runtime::serve(listener, served, options, &shutdown).await
}
