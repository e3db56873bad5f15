//! Builds the read model from the event log. The only writer of the read model.
//!
//! Each stream of the log is projected by one instance at a time ([`run`]); others stand by. Records are pulled in batches, folded in
//! memory ([`fold`], pure) and written in bulk, rows and checkpoint in one transaction: whatever is killed whenever, every record's
//! effects are in the read model once.

mod batch;
mod effects;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixture;
pub mod fold;
mod health;
mod kept;
pub mod program;
mod projector;
mod reader;
mod run;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::Reason;
use event_log::EventLog;
use read_model::ReadModelWriter;
use runtime::config::Settings;
use runtime::{Clock, ConnectionLimits, ServeError, ServeOptions, Shutdown};
use tokio::net::TcpListener;
use tonic::service::Routes;

pub use health::{Health, Trouble};
use projector::Projector;

/// Records per transaction, unless configured.
pub const DEFAULT_BATCH: usize = 5_000;
/// More records in one transaction are no faster, and all of them are in memory at once.
pub const MAX_BATCH: usize = 50_000;
const MAX_INSTANCE_BYTES: usize = 100;
/// Health and reflection only: nothing takes long.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct Config {
    /// Names this instance to operators. An instance that restarts under its old name takes its streams back at once.
    pub instance: String,
    /// Most records of one transaction.
    pub batch: usize,
}

impl Config {
    /// Reads `projector.instance` and `projector.batch`; what is wrong is noted there.
    pub fn from_settings(settings: &mut Settings) -> Self {
        let defaults = Self::default();
        let instance = settings.get("projector.instance", defaults.instance);
        if instance.is_empty()
            || instance.len() > MAX_INSTANCE_BYTES
            || instance.contains(char::is_control)
        {
            settings.problem(
                "projector.instance",
                format!("must be a name of 1 to {MAX_INSTANCE_BYTES} bytes"),
            );
        }
        let batch: usize = settings.get("projector.batch", defaults.batch);
        if !(1..=MAX_BATCH).contains(&batch) {
            settings.problem("projector.batch", format!("must be 1 to {MAX_BATCH}"));
        }
        Self {
            instance,
            batch: batch.clamp(1, MAX_BATCH),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            instance: "projector".into(),
            batch: DEFAULT_BATCH,
        }
    }
}

/// Starts projecting every stream of the log; ends with `shutdown`, which the tasks are part of.
///
/// Every generation with tables of this build is kept up to date. If the live one is of another version, one is built beside it, which
/// becomes the live one as soon as it has every store at least as far.
#[must_use]
pub fn start(
    config: Config,
    log: &Arc<dyn EventLog>,
    model: &Arc<dyn ReadModelWriter>,
    shutdown: &Shutdown,
    clock: &Clock,
) -> Health {
    let health = Health::default();
    let projector = Projector {
        config: Arc::new(config),
        log: log.clone(),
        model: model.clone(),
        shutdown: shutdown.clone(),
        clock: clock.clone(),
        health: health.clone(),
        under_way: BTreeMap::new(),
    };
    let soft = shutdown.soft();
    shutdown.spawn_for_good("the projection", projector.run(soft));
    health
}

/// Projects, and serves health and reflection on `listener`, until the soft stop. The batch under way is finished by the tasks, which
/// [`Shutdown::finish`] waits for.
pub async fn run(
    config: Config,
    log: Arc<dyn EventLog>,
    model: Arc<dyn ReadModelWriter>,
    listener: TcpListener,
    shutdown: Shutdown,
    clock: Clock,
) -> Result<(), ServeError> {
    let health = start(config, &log, &model, &shutdown, &clock);
    let telling = shutdown.clone();
    let routes = move |reporter| {
        health.report_to(reporter);
        // What came up before there was anybody to tell.
        telling.spawn(async move { health.publish().await });
        Routes::default()
    };
    let options = ServeOptions {
        descriptors: contract::DESCRIPTORS,
        call_timeout: CALL_TIMEOUT,
        describe: |status| contract::describe(status, Reason::Overloaded),
        pages: None,
        connections: ConnectionLimits::default(),
    };
    runtime::serve(listener, routes, options, &shutdown).await
}
