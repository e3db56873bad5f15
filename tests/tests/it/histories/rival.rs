//! The log as one of two instances sees it: what it loses to the other is counted.

use std::sync::atomic::{AtomicUsize, Ordering};

use event_log::disturbed::Disturbance;
use event_log::{AppendOutcome, EventLog, Expectation, LogError, Record};
use tokio::time::Instant;

#[derive(Default)]
pub struct Contested {
    lost: AtomicUsize,
}

impl Contested {
    /// Appends that came too late.
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }
}

#[async_trait::async_trait]
impl Disturbance for Contested {
    async fn append(
        &self,
        log: &dyn EventLog,
        record: &Record,
        expectation: &Expectation,
        deadline: Instant,
    ) -> Result<AppendOutcome, LogError> {
        let outcome = log.append(record, expectation, deadline).await;
        if matches!(outcome, Ok(AppendOutcome::Conflict)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }
}
