//! The gRPC shell around the ledgers.

mod breaker;
mod call;
mod commands;
mod config;
#[cfg(test)]
mod content_tests;
pub(crate) mod currencies;
mod draft;
mod fields;
mod grpc;
mod guard;
mod membership;
mod menu;
mod presence;
mod quote;
mod registry;
mod resolution;
mod store_task;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use contract::api::ordering::ordering_service_server::OrderingServiceServer;
use contract::card::CARD_KEYS_NEEDED;
use contract::{DESCRIPTORS, Reason};
use event_log::EventLog;
use runtime::{Clock, ConnectionLimits, Pages, ServeError, ServeOptions, Shutdown};
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use web::{About, Api};

pub use config::Config;
pub use membership::Membership;
pub use quote::QuoteKey;

use crate::catalog::CatalogSource;
use crate::ledger::{CommandIndex, IndexError, acquaint};
use registry::Registry;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("the setting card_keys {CARD_KEYS_NEEDED}")]
    NoCardKeys,
}

/// How long checking the log against the index may hold up the start.
const ACQUAINTANCE: Duration = Duration::from_secs(20);
/// Largest request, in bytes.
const MAX_REQUEST_BYTES: usize = 256 * 1024;
/// The service's full name.
pub const SERVICE: &str = "doppio.ordering.v1.OrderingService";
/// How the service is described over HTTP.
const ABOUT: About = About {
    name: "ordering",
    summary: "Commands: what tills and kitchens do with orders, drawers and business days. Every one can be repeated with the same id for ever.",
    // JSON takes up to four times the room of a message, which is limited as it is over gRPC.
    body_bytes: 4 * MAX_REQUEST_BYTES,
    others: &[],
};

/// Serves until the soft stop; commands under way are finished.
pub async fn run(
    config: Config,
    log: Arc<dyn EventLog>,
    index: CommandIndex,
    catalog: CatalogSource,
    listener: TcpListener,
    shutdown: Shutdown,
    clock: Clock,
) -> Result<(), RunError> {
    let card_keys = config.card_keys.clone().ok_or(RunError::NoCardKeys)?;
    let membership = Membership::new(&config);
    let quote_key = match &config.quote_key {
        Some(key) => key.expose_secret().as_bytes().to_vec(),
        None => index.secret("quote").await?,
    };
    // Before anything is sold: a log that has lost what it acknowledged is refused for all stores at once.
    match timeout(ACQUAINTANCE, acquaint(&*log, &index)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(%error, "the log could not be checked against the index");
        }
        // Each ledger is checked again when it is opened.
        Err(_) => tracing::warn!("checking the log against the index takes long; going on"),
    }
    shutdown.spawn_for_good("the keeping of witnesses", {
        let (index, soft) = (index.clone(), shutdown.soft());
        async move { index.keep_witnesses(soft).await }
    });
    let registry = Registry::new(
        config.clone(),
        log.clone(),
        index,
        catalog.clone(),
        clock.clone(),
        membership.clone(),
        shutdown.clone(),
    );
    registry.warm();
    registry.compare_catalogs();
    registry.sweep();
    let service = grpc::Ordering::new(
        log.clone(),
        registry,
        catalog,
        membership,
        quote::QuoteKey::new(quote_key),
        card_keys,
        clock,
    );
    let api = Api::new(&ABOUT, &[SERVICE]).map_err(|error| ServeError::Http(error.to_string()))?;
    let options = ServeOptions {
        descriptors: DESCRIPTORS,
        call_timeout: config.longest_call,
        describe: |status| contract::describe(status, Reason::OutcomeUnknown),
        pages: Some(Pages {
            own: false,
            origin: config.page_origin.clone(),
        }),
        connections: ConnectionLimits::default(),
    };
    let watching = shutdown.clone();
    // The registry goes with the service, and with it the last sender to each store's task: that ends them.
    runtime::serve(
        listener,
        move |reporter| {
            let guarding = guard::watch(log, reporter, watching.soft());
            watching.spawn_for_good("the watch over the log", guarding);
            let services = Routes::new(
                OrderingServiceServer::new(service)
                    .accept_compressed(CompressionEncoding::Gzip)
                    .accept_compressed(CompressionEncoding::Zstd)
                    .max_decoding_message_size(MAX_REQUEST_BYTES),
            );
            api.beside(services.into_axum_router()).into()
        },
        options,
        &shutdown,
    )
    .await?;
    Ok(())
}
