use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use event_log::StreamIndex;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// What keeps a stream from being projected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Will pass: the log or the database is away. Tried again by itself.
    Waiting(String),
    /// Will not pass by itself; an operator has to act. Tried again slowly.
    Stopped(String),
}

/// The troubles of all streams. Logs each change of state once, and reports NOT_SERVING while any stream is not projected.
#[derive(Clone, Default)]
pub struct Health {
    troubles: Arc<Mutex<BTreeMap<StreamIndex, Trouble>>>,
    reporter: Arc<OnceLock<HealthReporter>>,
}

impl Health {
    /// The trouble of each stream that has any.
    #[must_use]
    pub fn troubles(&self) -> BTreeMap<StreamIndex, Trouble> {
        self.troubles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn report_to(&self, reporter: HealthReporter) {
        // There is one server for each projector.
        let _ = self.reporter.set(reporter);
    }

    pub(crate) async fn well(&self, stream: StreamIndex) {
        let before = self
            .troubles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&stream);
        if before.is_some() {
            tracing::info!(stream = stream.0, "projecting again");
            self.publish().await;
        }
    }

    pub(crate) async fn troubled(&self, stream: StreamIndex, trouble: Trouble) {
        let before = self
            .troubles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(stream, trouble.clone());
        // The details of one outage may vary from try to try; that it goes on is no news.
        match (&trouble, &before) {
            (Trouble::Waiting(_), Some(Trouble::Waiting(_))) => {}
            (Trouble::Stopped(now), Some(Trouble::Stopped(before))) if now == before => {}
            (Trouble::Waiting(reason), _) => {
                tracing::warn!(stream = stream.0, reason, "not projecting; trying again");
            }
            (Trouble::Stopped(reason), _) => tracing::error!(
                stream = stream.0,
                reason,
                "not projecting until somebody acts"
            ),
        }
        if before.as_ref() != Some(&trouble) {
            self.publish().await;
        }
    }

    pub(crate) async fn publish(&self) {
        let troubled = !self
            .troubles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty();
        if let Some(reporter) = self.reporter.get() {
            let status = if troubled {
                ServingStatus::NotServing
            } else {
                ServingStatus::Serving
            };
            reporter.set_service_status("", status).await;
        }
    }
}
