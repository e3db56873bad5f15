//! The service as a program: its command line, its settings, its signals.

use std::path::PathBuf;
use std::time::Duration;

use crate::{Config, catalog, ledger::CommandIndex};
use anyhow::Context as _;
use clap::Parser;
use contract::card::CARD_KEYS_NEEDED;
use event_log::LogLocation;
use runtime::config::Settings;
use runtime::{Clock, Shutdown, telemetry};
use tokio::net::TcpListener;

const DEFAULT_LISTEN: &str = "127.0.0.1:7402";
const DEFAULT_GRACE_MS: u64 = 10_000;

/// Doppio's ordering service. Settings come from these flags, then from DOPPIO_* in the environment, then from doppio.toml.
#[derive(Parser)]
#[command(name = "ordering", version)]
pub struct Arguments {
    /// A settings file to read instead of doppio.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen, as address:port.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The event log: nats://host:port[,host:port…], or sqlite:PATH.
    #[arg(long, value_name = "URL")]
    log: Option<String>,
    /// Where the member service is, as http://host:port.
    #[arg(long, value_name = "URL")]
    member_url: Option<String>,
    /// Stores, menus and taxes.
    #[arg(long, value_name = "FILE")]
    catalog: Option<String>,
    /// What is logged, as in RUST_LOG.
    #[arg(long, value_name = "FILTER")]
    log_filter: Option<String>,
}

/// Runs the service until it is told to stop.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let flags = [
        ("ordering.listen", arguments.listen),
        ("log", arguments.log),
        ("ordering.member_url", arguments.member_url),
        ("ordering.catalog", arguments.catalog),
        ("log_filter", arguments.log_filter),
    ];
    let mut settings = Settings::load(arguments.config.as_deref(), &flags);
    let listen = settings.get("ordering.listen", DEFAULT_LISTEN.to_owned());
    let config = Config::from(&mut settings);
    if config
        .as_ref()
        .is_some_and(|config| config.card_keys.is_none())
    {
        settings.problem("card_keys", CARD_KEYS_NEEDED);
    }
    let location = LogLocation::from_settings(|key| settings.find(key))
        .map_err(|(key, problem)| settings.problem(key, problem))
        .ok();
    let log_filter = settings.find::<String>("log_filter");
    let grace = Duration::from_millis(settings.get("shutdown_grace_ms", DEFAULT_GRACE_MS));
    settings.finish()?;
    let (config, location) = config
        .zip(location)
        .context("the settings cannot be used")?;
    telemetry::start(log_filter.as_deref());

    let (catalog, following) = catalog::open(config.catalog.as_deref(), Clock::system())?;
    let log = location
        .open()
        .await
        .with_context(|| format!("the event log {location}"))?;
    let index = CommandIndex::open(&config.index)
        .await
        .with_context(|| format!("the command index {}", config.index.display()))?;
    let listener = TcpListener::bind(&listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    let shutdown = Shutdown::new();
    shutdown.listen_for_signals()?;
    shutdown.spawn_until_stop(following);
    tracing::info!(listen = %listener.local_addr()?, log = %location, stores = catalog.current().stores.len(), "taking orders");
    let serving = crate::run(
        config,
        log,
        index,
        catalog,
        listener,
        shutdown.clone(),
        Clock::system(),
    );
    Ok(shutdown.host(grace, serving).await?)
}
