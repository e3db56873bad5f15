//! The service as a program: its command line, its settings, its signals.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::Config;
use anyhow::Context as _;
use clap::Parser;
use event_log::{EventLog, LogError, LogLocation};
use read_model::ReadModel;
use runtime::config::Settings;
use runtime::{Clock, Shutdown, telemetry};
use tokio::net::TcpListener;

const DEFAULT_LISTEN: &str = "127.0.0.1:7404";
const DEFAULT_READ_MODEL: &str = "sqlite:doppio-read-model.db";
const DEFAULT_GRACE_MS: u64 = 10_000;
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// Doppio's projector: builds the read model from the event log. Settings come from these flags, then from DOPPIO_* in the environment,
/// then from doppio.toml.
#[derive(Parser)]
#[command(name = "status-projector", version)]
pub struct Arguments {
    /// A settings file to read instead of doppio.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to serve health, as address:port.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The event log: nats://host:port[,host:port…], or sqlite:PATH.
    #[arg(long, value_name = "URL")]
    log: Option<String>,
    /// The read model: postgres://user:password@host/database, or sqlite:PATH.
    #[arg(long, value_name = "URL")]
    read_model: Option<String>,
    /// Name of this instance.
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// What is logged, as in RUST_LOG.
    #[arg(long, value_name = "FILTER")]
    log_filter: Option<String>,
}

/// Runs the service until it is told to stop.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let flags = [
        ("projector.listen", arguments.listen),
        ("log", arguments.log),
        ("read_model", arguments.read_model),
        ("projector.instance", arguments.instance),
        ("log_filter", arguments.log_filter),
    ];
    let mut settings = Settings::load(arguments.config.as_deref(), &flags);
    let listen = settings.get("projector.listen", DEFAULT_LISTEN.to_owned());
    let config = Config::from_settings(&mut settings);
    let location = LogLocation::from_settings(|key| settings.find(key))
        .map_err(|(key, problem)| settings.problem(key, problem))
        .ok();
    let address = settings.get("read_model", DEFAULT_READ_MODEL.to_owned());
    let log_filter = settings.find::<String>("log_filter");
    let grace = Duration::from_millis(settings.get("shutdown_grace_ms", DEFAULT_GRACE_MS));
    let model = ReadModel::open(&address)
        .map_err(|error| settings.problem("read_model", error))
        .ok();
    settings.finish()?;
    let (location, model) = location.zip(model).context("the settings cannot be used")?;
    telemetry::start(log_filter.as_deref());

    let listener = TcpListener::bind(&listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    let shutdown = Shutdown::new();
    shutdown.listen_for_signals()?;
    let Some(log) = open(&location, &shutdown)
        .await
        .with_context(|| format!("the event log {location}"))?
    else {
        return Ok(());
    };
    tracing::info!(listen = %listener.local_addr()?, log = %location, instance = config.instance, "projecting orders");
    let serving = crate::run(
        config,
        log,
        model.writer,
        listener,
        shutdown.clone(),
        Clock::system(),
    );
    Ok(shutdown.host(grace, serving).await?)
}

/// Waits for a log that does not answer yet; `None` when told to stop meanwhile.
async fn open(
    location: &LogLocation,
    shutdown: &Shutdown,
) -> Result<Option<Arc<dyn EventLog>>, LogError> {
    let mut said = false;
    loop {
        match location.open().await {
            Ok(log) => return Ok(Some(log)),
            Err(LogError::Unavailable(reason)) => {
                if !said {
                    tracing::warn!(reason, "the event log does not answer; trying again");
                    said = true;
                }
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = tokio::time::sleep(OPEN_AGAIN) => {}
            () = shutdown.soft().cancelled_owned() => return Ok(None),
        }
    }
}
