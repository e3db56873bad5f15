//! The gRPC shell around the ledgers.

mod config;
#[cfg(test)]
mod content_tests;
mod grpc;
mod membership;
mod menu;
mod parse;
mod quote;
mod registry;
mod resolution;
mod store_task;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use contract::api::ordering::ordering_service_server::OrderingServiceServer;
use contract::{DESCRIPTORS, Reason};
use event_log::EventLog;
use runtime::{Clock, ServeError, ServeOptions, Shutdown};
use tokio::net::TcpListener;
use tonic::service::Routes;

pub use config::Config;
pub use membership::Membership;

use crate::catalog::CatalogSource;
use crate::ledger::{CommandIndex, IndexError};
use registry::Registry;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// Largest request, in bytes.
const MAX_REQUEST_BYTES: usize = 256 * 1024;

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
    let membership = Membership::new(&config);
    let quote_key = match &config.quote_key {
        Some(key) => key.clone().into_bytes(),
        None => index.secret("quote").await?,
    };
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
    registry.sweep();
    let service = grpc::Ordering::new(
        log,
        registry,
        catalog,
        membership,
        quote::QuoteKey::new(quote_key),
        clock,
    );
    let options = ServeOptions {
        descriptors: DESCRIPTORS,
        call_timeout: config.longest_call,
        describe: |status| contract::describe(status, Reason::OutcomeUnknown),
        http1: false,
    };
    // The registry goes with the service, and with it the last sender to each store's task: that ends them.
    runtime::serve(
        listener,
        move |reporter| {
            let health = reporter;
            tokio::spawn(async move {
                health
                    .set_serving::<OrderingServiceServer<grpc::Ordering>>()
                    .await;
            });
            Routes::new(
                OrderingServiceServer::new(service).max_decoding_message_size(MAX_REQUEST_BYTES),
            )
        },
        options,
        &shutdown,
    )
    .await?;
    Ok(())
}
