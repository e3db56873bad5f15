//! Reads that must reflect what a token stands for wait here. One task looks at the read model for all of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::{ConsistencyToken, Reason, Rejection, StoreId};
use event_log::LogEpoch;
use read_model::{Progress, ReadModelError, ReadModelReader};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::error::QueryError;

/// How often the task looks by itself while anybody waits: notifications are hints, and a hot standby has none.
const LOOK: Duration = Duration::from_millis(50);
/// Reads that may wait at once.
const MAX_WAITING: usize = 10_000;
const OVERLOAD_RETRY: Duration = Duration::from_millis(500);
const STALE_RETRY: Duration = Duration::from_millis(200);

#[derive(Debug)]
enum Verdict {
    Reached,
    LogChanged(LogEpoch),
    Quarantined(StoreId),
    Away(String),
}

struct Waiting {
    tokens: Vec<ConsistencyToken>,
    answer: oneshot::Sender<Verdict>,
}

/// Those who wait.
#[derive(Clone, Default)]
pub(crate) struct Waiters {
    waiting: Arc<Mutex<Vec<Waiting>>>,
    arrived: Arc<Notify>,
}

impl Waiters {
    /// Returns when the read model reflects all tokens; refuses when it never will, or not by `deadline`.
    pub async fn reflect(
        &self,
        tokens: Vec<ConsistencyToken>,
        deadline: Instant,
    ) -> Result<(), QueryError> {
        if tokens.is_empty() {
            return Ok(());
        }
        let (answer, verdict) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() >= MAX_WAITING {
                waiting.retain(|one| !one.answer.is_closed());
            }
            if waiting.len() >= MAX_WAITING {
                let message = "Too many reads are waiting for the read model. Read again later.";
                return Err(Rejection::new(Reason::Overloaded, message)
                    .retry_after(OVERLOAD_RETRY)
                    .into());
            }
            waiting.push(Waiting { tokens, answer });
        }
        self.arrived.notify_one();
        match timeout_at(deadline, verdict).await {
            Ok(Ok(Verdict::Reached)) => Ok(()),
            Ok(Ok(Verdict::LogChanged(epoch))) => Err(Rejection::new(
                Reason::LogChanged,
                Reason::LogChanged.meaning(),
            )
            .with("log_epoch", epoch)
            .into()),
            Ok(Ok(Verdict::Quarantined(store))) => Err(quarantined(&store).into()),
            Ok(Ok(Verdict::Away(reason))) => Err(QueryError::Away(reason)),
            Ok(Err(_)) => Err(QueryError::Away("the server is stopping".into())),
            Err(_) => Err(Rejection::new(Reason::TooStale, Reason::TooStale.meaning())
                .retry_after(STALE_RETRY)
                .into()),
        }
    }

    /// Looks at the read model while anybody waits; until the soft stop, and then for those who wait still.
    pub async fn watch(
        &self,
        reader: Arc<dyn ReadModelReader>,
        mut hint: watch::Receiver<u64>,
        stop: CancellationToken,
    ) {
        loop {
            let stores = self.stores();
            if stores.is_empty() {
                tokio::select! {
                    () = self.arrived.notified() => continue,
                    () = stop.cancelled() => return,
                }
            }
            // Seen before looking: what changes meanwhile is looked at again.
            hint.mark_unchanged();
            match reader.progress(&stores).await {
                Ok(progress) => self.settle(|token| judge(&progress, token)),
                // A projector that is only starting has not made the tables yet: nothing is projected.
                Err(ReadModelError::Schema(_)) => {}
                Err(error) => self.settle(|_| Some(Verdict::Away(error.to_string()))),
            }
            tokio::select! {
                () = self.arrived.notified() => {}
                _ = hint.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// The stores that somebody waits for. Those who have given up are let go.
    fn stores(&self) -> Vec<StoreId> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|one| !one.answer.is_closed());
        let stores: BTreeSet<&StoreId> = waiting
            .iter()
            .flat_map(|one| &one.tokens)
            .map(|token| &token.store)
            .collect();
        stores.into_iter().cloned().collect()
    }

    /// Answers all whose tokens are all judged, or one of them badly. `None`: to be waited for.
    fn settle(&self, judge: impl Fn(&ConsistencyToken) -> Option<Verdict>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for one in std::mem::take(&mut *waiting) {
            let verdicts: Vec<Option<Verdict>> = one.tokens.iter().map(&judge).collect();
            let pending = verdicts.iter().any(Option::is_none);
            let bad = verdicts
                .into_iter()
                .flatten()
                .find(|verdict| !matches!(verdict, Verdict::Reached));
            match bad {
                // Who has stopped listening needs no answer.
                Some(bad) => drop(one.answer.send(bad)),
                None if pending => waiting.push(one),
                None => drop(one.answer.send(Verdict::Reached)),
            }
        }
    }
}

pub(crate) fn quarantined(store: &StoreId) -> Rejection {
    Rejection::new(
        Reason::ProjectionQuarantined,
        Reason::ProjectionQuarantined.meaning(),
    )
    .with("store_id", store)
}

/// What the read model's progress means to one token; `None`: not yet.
fn judge(progress: &Progress, token: &ConsistencyToken) -> Option<Verdict> {
    let epoch = progress.epoch?;
    if (epoch.log_id, epoch.epoch) != (token.log_id, token.epoch) {
        return Some(Verdict::LogChanged(epoch));
    }
    let store = progress.stores.get(&token.store)?;
    if store.revision.0 >= token.revision {
        return Some(Verdict::Reached);
    }
    store
        .quarantined
        .then(|| Verdict::Quarantined(token.store.clone()))
}
