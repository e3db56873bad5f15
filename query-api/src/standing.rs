//! Whether reads can be answered at all, looked at also while nobody reads: what the service's health says.

use std::sync::Arc;
use std::time::Duration;

use read_model::{ProjectionReader, ReadModelError};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::SERVICES;
use crate::wait::Waiters;

/// How often the read model is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long it has to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why nothing can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The read model was not looked at yet.
    NotYetSeen,
    /// Its database is away, or is not what this build reads.
    Unreadable(String),
    /// The log is not the one that it was built from.
    LogChanged,
}

/// Looks at the read model for ever, and keeps `trouble` true.
pub(crate) async fn watch(
    projection: Arc<dyn ProjectionReader>,
    waiters: Waiters,
    trouble: watch::Sender<Option<Trouble>>,
) {
    let mut log_changed = waiters.log_changed();
    loop {
        let seen = match timeout(PATIENCE, look(&*projection)).await {
            Ok(Ok(changed)) => {
                waiters.say(changed);
                log_changed
                    .borrow_and_update()
                    .is_some()
                    .then_some(Trouble::LogChanged)
            }
            // A busy database is not one that is away.
            Ok(Err(ReadModelError::TooLong(_))) => trouble.borrow().clone(),
            Ok(Err(error)) => Some(Trouble::Unreadable(error.to_string())),
            Err(_) => {
                let seconds = PATIENCE.as_secs();
                let reason = format!("its database did not answer within {seconds} s");
                Some(Trouble::Unreadable(reason))
            }
        };
        say(&trouble, seen);
        tokio::select! {
            () = sleep(LOOK) => {}
            // Whoever waits for a token may see it first.
            _ = log_changed.changed() => {}
        }
    }
}

/// Why the log is not the one that the read model was built from.
async fn look(projection: &dyn ProjectionReader) -> Result<Option<String>, ReadModelError> {
    projection.check().await?;
    Ok(projection.progress(&[]).await?.log_changed)
}

/// Logs that reads cannot be answered, and that they can again, once each; a changed log is told where it is noticed.
fn say(trouble: &watch::Sender<Option<Trouble>>, seen: Option<Trouble>) {
    trouble.send_if_modified(|told| {
        match (&seen, &told) {
            // The details of one outage may vary from look to look; that it goes on is no news.
            (Some(Trouble::Unreadable(_)), Some(Trouble::Unreadable(_))) => {}
            (Some(Trouble::Unreadable(reason)), Some(Trouble::NotYetSeen)) => {
                tracing::warn!(reason, "the read model cannot be read yet");
            }
            (Some(Trouble::Unreadable(reason)), _) => {
                tracing::error!(reason, "not serving: the read model cannot be read");
            }
            (None, Some(Trouble::Unreadable(_))) => {
                tracing::info!("serving again: the read model can be read");
            }
            _ => {}
        }
        let news = *told != seen;
        *told = seen;
        news
    });
}

/// Keeps the health report true. Runs for ever.
pub(crate) async fn report(
    reporter: &HealthReporter,
    mut trouble: watch::Receiver<Option<Trouble>>,
) {
    loop {
        let status = match &*trouble.borrow_and_update() {
            None => ServingStatus::Serving,
            Some(_) => ServingStatus::NotServing,
        };
        for service in SERVICES {
            reporter.set_service_status(service, status).await;
        }
        reporter.set_service_status("", status).await;
        if trouble.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}
