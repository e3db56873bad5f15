//! Reads that must reflect what a token stands for wait here. One task looks at the read model for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::{ConsistencyToken, Reason, Rejection, StoreId};
use event_log::{LogEpoch, StreamIndex};
use read_model::{Progress, ReadModelError, StreamSight};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::error::QueryError;

/// How often the task looks by itself while anybody waits: notifications are hints, and a hot standby has none.
const LOOK: Duration = Duration::from_millis(50);
/// Reads that may wait at once.
const MAX_WAITING: usize = 10_000;
const OVERLOAD_RETRY: Duration = Duration::from_millis(500);
/// How long a token must look as if it were from beyond the log's end until that is believed: a new leader of the log may lag.
const BEYOND_PATIENCE: Duration = Duration::from_secs(3);
/// Looks at the log's end after which at least one was begun after a read arrived.
const LOOKS_AFTER_ARRIVAL: u64 = 2;
const STALE_RETRY: Duration = Duration::from_millis(200);

#[derive(Debug)]
enum Verdict {
    Reached,
    /// The token is of another log than this one.
    LogChanged(LogEpoch),
    /// All of the log is projected, and what the token stands for is not in it.
    Beyond(ConsistencyToken),
    Quarantined(StoreId),
    Away(String),
    /// The read model cannot be read, and will not be by waiting.
    Failed(String),
}

struct Waiting {
    tokens: Vec<ConsistencyToken>,
    arrived: Instant,
    /// How often the projector had looked at each stream's end when this was first looked at.
    looks: Option<BTreeMap<StreamIndex, u64>>,
    answer: oneshot::Sender<Verdict>,
}

/// Those who wait.
#[derive(Clone, Default)]
pub(crate) struct Waiters {
    waiting: Arc<Mutex<Vec<Waiting>>>,
    arrived: Arc<Notify>,
    /// Why the log is not the one that the read model was built from.
    log_changed: Arc<watch::Sender<Option<String>>>,
}

impl Waiters {
    /// Returns when the read model reflects all tokens; refuses when it never will, or not by `deadline`.
    pub async fn reflect(
        &self,
        tokens: Vec<ConsistencyToken>,
        deadline: Instant,
    ) -> Result<(), QueryError> {
        if let Some(detail) = &*self.log_changed.borrow() {
            return Err(changed(detail).into());
        }
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
            waiting.push(Waiting {
                tokens,
                arrived: Instant::now(),
                looks: None,
                answer,
            });
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
            Ok(Ok(Verdict::Beyond(token))) => Err(Rejection::new(
                Reason::LogChanged,
                format!(
                    "The token stands for revision {} of store {}, which is not in the log: the log was put back to an earlier state. {}",
                    token.revision,
                    token.store,
                    Reason::LogChanged.meaning()
                ),
            )
            .into()),
            Ok(Ok(Verdict::Quarantined(store))) => Err(quarantined(&store).into()),
            Ok(Ok(Verdict::Away(reason))) => Err(QueryError::Away(reason)),
            Ok(Ok(Verdict::Failed(reason))) => Err(QueryError::Failed(reason)),
            Ok(Err(_)) => Err(QueryError::Away("the server is stopping".into())),
            Err(_) => Err(Rejection::new(Reason::TooStale, Reason::TooStale.meaning())
                .retry_after(STALE_RETRY)
                .into()),
        }
    }

    /// Looks at the read model while anybody waits; until the soft stop, and then for those who wait still. `look` reads its progress.
    pub async fn watch<L>(
        &self,
        look: impl Fn(Vec<StoreId>) -> L,
        mut hint: watch::Receiver<u64>,
        stop: CancellationToken,
    ) where
        L: Future<Output = Result<Progress, ReadModelError>>,
    {
        // Whoever listens for news stops listening at the soft stop; a channel that is closed would be news for ever.
        let mut listening = true;
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
            match look(stores).await {
                Ok(progress) => {
                    self.say(progress.log_changed.clone());
                    self.settle(|one| {
                        one.look(&progress);
                        one.judge_all(|token| judge(&progress, one, token))
                    });
                }
                // A projector that is only starting has not made the tables yet: nothing is projected.
                Err(ReadModelError::Schema(_)) => {}
                Err(error @ (ReadModelError::Unavailable(_) | ReadModelError::TooLong(_))) => {
                    self.settle(|_| Judged::Said(Verdict::Away(error.to_string())));
                }
                Err(error) => self.settle(|_| Judged::Said(Verdict::Failed(error.to_string()))),
            }
            tokio::select! {
                () = self.arrived.notified() => {}
                news = hint.changed(), if listening => listening = news.is_ok(),
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

    /// Why the log is not the one that the read model was built from, whenever that changes.
    pub fn log_changed(&self) -> watch::Receiver<Option<String>> {
        self.log_changed.subscribe()
    }

    /// Takes note of why the log is not the right one, or that it is.
    pub fn say(&self, log_changed: Option<String>) {
        self.log_changed.send_if_modified(|said| {
            let news = *said != log_changed;
            if news {
                match &log_changed {
                    Some(detail) => tracing::error!(
                        detail,
                        "reads are refused: the log is not the one that the read model was built from"
                    ),
                    None => tracing::info!("reads are answered: the log is the right one again"),
                }
                *said = log_changed;
            }
            news
        });
    }

    /// Answers all who are judged; the others go on waiting.
    fn settle(&self, mut judge: impl FnMut(&mut Waiting) -> Judged) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for mut one in std::mem::take(&mut *waiting) {
            match judge(&mut one) {
                // Who has stopped listening needs no answer.
                Judged::Said(verdict) => drop(one.answer.send(verdict)),
                Judged::NotYet => waiting.push(one),
            }
        }
    }
}

enum Judged {
    Said(Verdict),
    NotYet,
}

impl Waiting {
    fn look(&mut self, progress: &Progress) {
        self.looks.get_or_insert_with(|| {
            let streams = progress.streams.iter();
            streams.map(|sight| (sight.stream, sight.looks)).collect()
        });
    }

    /// All tokens judged well, or one of them badly.
    fn judge_all(&self, judge: impl Fn(&ConsistencyToken) -> Option<Verdict>) -> Judged {
        let verdicts: Vec<Option<Verdict>> = self.tokens.iter().map(judge).collect();
        let pending = verdicts.iter().any(Option::is_none);
        let bad = verdicts
            .into_iter()
            .flatten()
            .find(|verdict| !matches!(verdict, Verdict::Reached));
        match bad {
            Some(bad) => Judged::Said(bad),
            None if pending => Judged::NotYet,
            None => Judged::Said(Verdict::Reached),
        }
    }

    /// Whether everything is projected that was in the log when this read arrived, and so all that its tokens may stand for.
    fn has_seen_all(&self, progress: &Progress) -> bool {
        let Some(before) = &self.looks else {
            return false;
        };
        let after_arrival = |sight: &StreamSight| {
            let looks = before.get(&sight.stream).copied().unwrap_or_default();
            sight.level && sight.looks >= looks + LOOKS_AFTER_ARRIVAL
        };
        self.arrived.elapsed() >= BEYOND_PATIENCE
            && !progress.streams.is_empty()
            && progress.streams.iter().all(after_arrival)
    }
}

fn changed(detail: &str) -> Rejection {
    let message = format!("{} {detail}", Reason::LogChanged.meaning());
    Rejection::new(Reason::LogChanged, message)
}

pub(crate) fn quarantined(store: &StoreId) -> Rejection {
    Rejection::new(
        Reason::ProjectionQuarantined,
        Reason::ProjectionQuarantined.meaning(),
    )
    .with("store_id", store)
}

/// What the read model's progress means to one token; `None`: not yet.
fn judge(progress: &Progress, one: &Waiting, token: &ConsistencyToken) -> Option<Verdict> {
    let epoch = progress.epoch?;
    if (epoch.log_id, epoch.epoch) != (token.log_id, token.epoch) {
        return Some(Verdict::LogChanged(epoch));
    }
    let store = progress.stores.get(&token.store);
    match store {
        Some(store) if store.revision.0 >= token.revision => Some(Verdict::Reached),
        Some(store) if store.quarantined => Some(Verdict::Quarantined(token.store.clone())),
        _ if one.has_seen_all(progress) => Some(Verdict::Beyond(token.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use event_log::Revision;
    use read_model::StoreProgress;
    use uuid::Uuid;

    const LOG: LogEpoch = LogEpoch {
        log_id: Uuid::from_u128(1),
        epoch: 1,
    };

    fn progress(revision: u64, level: bool, looks: u64) -> Progress {
        let store = StoreProgress {
            revision: Revision(revision),
            quarantined: false,
        };
        Progress {
            epoch: Some(LOG),
            stores: BTreeMap::from([(StoreId::new("gangnam").unwrap(), store)]),
            streams: vec![StreamSight {
                stream: StreamIndex(0),
                level,
                looks,
            }],
            ..Progress::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_beyond_a_log_that_is_projected_to_its_end_is_of_another() {
        let token = ConsistencyToken {
            log_id: LOG.log_id,
            epoch: LOG.epoch,
            store: StoreId::new("gangnam").unwrap(),
            revision: 4,
        };
        let mut one = Waiting {
            tokens: vec![token.clone()],
            arrived: Instant::now(),
            looks: None,
            answer: oneshot::channel().0,
        };
        one.look(&progress(3, true, 7));
        let verdict = |one: &Waiting, progress: &Progress| judge(progress, one, &token);
        assert!(
            verdict(&one, &progress(3, true, 9)).is_none(),
            "a leader may lag"
        );
        tokio::time::advance(BEYOND_PATIENCE).await;
        assert!(
            verdict(&one, &progress(3, true, 8)).is_none(),
            "that look may have begun before"
        );
        assert!(
            verdict(&one, &progress(3, false, 9)).is_none(),
            "it is on its way"
        );
        let beyond = verdict(&one, &progress(3, true, 9));
        assert!(matches!(beyond, Some(Verdict::Beyond(_))), "{beyond:?}");
        let reached = verdict(&one, &progress(4, true, 9));
        assert!(matches!(reached, Some(Verdict::Reached)), "{reached:?}");
    }

    fn token() -> ConsistencyToken {
        ConsistencyToken {
            log_id: uuid::Uuid::nil(),
            epoch: 1,
            store: StoreId::new("gangnam").unwrap(),
            revision: 7,
        }
    }

    #[tokio::test]
    async fn whoever_waits_at_a_stop_is_looked_for_at_leisure() {
        let waiters = Waiters::default();
        let looks = Arc::new(AtomicU32::new(0));
        let (hint, hinted) = watch::channel(0);
        let stop = CancellationToken::new();
        let watching = {
            let (waiters, looks, stop) = (waiters.clone(), looks.clone(), stop.clone());
            let look = move |_| {
                looks.fetch_add(1, Ordering::Relaxed);
                async { Ok(Progress::default()) }
            };
            tokio::spawn(async move { waiters.watch(look, hinted, stop).await })
        };
        // The stop: nobody listens for news any more, and one read waits.
        stop.cancel();
        drop(hint);
        let deadline = Instant::now() + Duration::from_millis(500);
        let waited = waiters.reflect(vec![token()], deadline).await;
        assert!(
            matches!(&waited, Err(QueryError::Refused(rejection)) if rejection.reason == Reason::TooStale),
            "{waited:?}"
        );
        tokio::time::timeout(Duration::from_secs(1), watching)
            .await
            .unwrap()
            .unwrap();
        assert!(
            (2..=20).contains(&looks.load(Ordering::Relaxed)),
            "{looks:?}"
        );
    }

    #[tokio::test]
    async fn whoever_waits_for_a_model_that_cannot_be_read_is_not_told_to_try_again() {
        let waiters = Waiters::default();
        let (_hint, hinted) = watch::channel(0);
        let stop = CancellationToken::new();
        let watching = {
            let (waiters, stop) = (waiters.clone(), stop.clone());
            let look =
                |_| async { Err(ReadModelError::Corrupt("hash has 3 bytes, not 32".into())) };
            tokio::spawn(async move { waiters.watch(look, hinted, stop).await })
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        let status = tonic::Status::from(
            waiters
                .reflect(vec![token()], deadline)
                .await
                .expect_err("nothing to read"),
        );
        assert_eq!(status.code(), tonic::Code::Internal);
        stop.cancel();
        watching.await.unwrap();
    }
}
