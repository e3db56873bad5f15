//! The service as a program: its command line, its settings, its signals.

use std::path::PathBuf;
use std::time::Duration;

use crate::{Config, Members};
use anyhow::Context as _;
use clap::Parser;
use contract::card::CARD_KEYS_NEEDED;
use runtime::config::Settings;
use runtime::{Clock, Shutdown, telemetry};
use tokio::net::TcpListener;

const DEFAULT_GRACE_MS: u64 = 10_000;

/// Doppio's membership service. Settings come from these flags, then from DOPPIO_* in the environment, then from doppio.toml.
#[derive(Parser)]
#[command(name = "member", version)]
pub struct Arguments {
    /// A settings file to read instead of doppio.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen, as address:port.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The members' database: postgres://user:password@host/database, or sqlite:PATH.
    #[arg(long, value_name = "URL")]
    member_db: Option<String>,
    /// What is logged, as in RUST_LOG.
    #[arg(long, value_name = "FILTER")]
    log_filter: Option<String>,
}

/// Runs the service until it is told to stop.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let flags = [
        ("member.listen", arguments.listen),
        ("member_db", arguments.member_db),
        ("log_filter", arguments.log_filter),
    ];
    let mut settings = Settings::load(arguments.config.as_deref(), &flags);
    let config = Config::from_settings(&mut settings);
    let keys = config.as_ref().and_then(|config| config.card_keys.clone());
    if config.is_some() && keys.is_none() {
        settings.problem("card_keys", CARD_KEYS_NEEDED);
    }
    let log_filter = settings.find::<String>("log_filter");
    let grace = Duration::from_millis(settings.get("shutdown_grace_ms", DEFAULT_GRACE_MS));
    settings.finish()?;
    let (config, keys) = config.zip(keys).context("the settings cannot be used")?;
    telemetry::start(log_filter.as_deref());

    let members = Members::open(&config.database, keys).await?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let shutdown = Shutdown::new();
    shutdown.listen_for_signals()?;
    tracing::info!(listen = %listener.local_addr()?, database = %config.database, "serving members");

    let serving = crate::run(config, members, listener, shutdown.clone(), Clock::system());
    Ok(shutdown.host(grace, serving).await?)
}
