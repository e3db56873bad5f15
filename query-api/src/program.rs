//! The service as a program: its command line, its settings, its signals.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use read_model::ReadModel;
use runtime::config::Settings;
use runtime::{Clock, Shutdown, telemetry};
use tokio::net::TcpListener;

const DEFAULT_LISTEN: &str = "127.0.0.1:7403";
const DEFAULT_READ_MODEL: &str = "sqlite:doppio-read-model.db";
const DEFAULT_GRACE_MS: u64 = 10_000;

/// Doppio's query service: order status and sales, from the read model. Settings come from these flags, then from DOPPIO_* in the
/// environment, then from doppio.toml.
#[derive(Parser)]
#[command(name = "query-api", version)]
pub struct Arguments {
    /// A settings file to read instead of doppio.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen, as address:port.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The read model: postgres://user:password@host/database, or sqlite:PATH.
    #[arg(long, value_name = "URL")]
    read_model: Option<String>,
    /// What is logged, as in RUST_LOG.
    #[arg(long, value_name = "FILTER")]
    log_filter: Option<String>,
}

/// Runs the service until it is told to stop.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let flags = [
        ("query.listen", arguments.listen),
        ("read_model", arguments.read_model),
        ("log_filter", arguments.log_filter),
    ];
    let mut settings = Settings::load(arguments.config.as_deref(), &flags);
    let listen = settings.get("query.listen", DEFAULT_LISTEN.to_owned());
    let address = settings.get("read_model", DEFAULT_READ_MODEL.to_owned());
    let log_filter = settings.find::<String>("log_filter");
    let grace = Duration::from_millis(settings.get("shutdown_grace_ms", DEFAULT_GRACE_MS));
    let model = ReadModel::open(&address)
        .map_err(|error| settings.problem("read_model", error))
        .ok();
    settings.finish()?;
    let model = model.context("the settings cannot be used")?;
    telemetry::start(log_filter.as_deref());

    let listener = TcpListener::bind(&listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    let shutdown = Shutdown::new();
    shutdown.listen_for_signals()?;
    tracing::info!(listen = %listener.local_addr()?, "answering queries");
    let serving = crate::run(model.reader, listener, shutdown.clone(), Clock::system());
    Ok(shutdown.host(grace, serving).await?)
}
