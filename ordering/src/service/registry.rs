use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::{Reason, Rejection, StoreId};
use event_log::{EventLog, LedgerName};
use jiff::{SignedDuration, Timestamp};
use runtime::{Clock, Shutdown};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::call::{Call, CommandOutcome, OutcomeQuestion, Request, Swept, Waiting};
use super::config::Config;
use super::currencies::Currencies;
use super::membership::Membership;
use super::presence::Presence;
use super::store_task::{Ground, StoreTask};
use crate::catalog::{CatalogSource, Store};
use crate::domain::{CommandId, ContentHash};
use crate::ledger::{CommandIndex, Ledger, LedgerError, SecondClock, Verdict};

/// When a refused caller may come back.
const OVERLOAD_DELAY: Duration = Duration::from_millis(200);
/// What an answer needs to travel before the caller's deadline.
const ANSWER_MARGIN: Duration = Duration::from_millis(30);
/// Times that a store is called up anew because it was just leaving memory.
const CALL_UPS: u32 = 3;
/// How long a menu or a quote waits for its store's ledger.
const CURRENCY_PATIENCE: Duration = Duration::from_secs(1);
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How long the sweep believes what it saw of a store: a day that is opened meanwhile lasts longer than this.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// How long a call waits for an idle store to make room in memory.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);
const ROOM_LOOK: Duration = Duration::from_millis(20);
/// Stores loaded at start are at most this share of those that fit in memory.
const WARM_SHARE: usize = 2;

type Tasks = Arc<Mutex<HashMap<StoreId, Seat>>>;

/// A store in memory.
struct Seat {
    sender: mpsc::Sender<Request>,
    presence: Arc<Presence>,
    /// When somebody last called.
    used: Instant,
}

/// Whether there is a place for a store in memory.
enum Admission {
    In(mpsc::Sender<Request>),
    /// An idle store has been asked to leave.
    Soon,
    /// All stores in memory are at work.
    Full,
}

/// What the sweep found of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The ledger's last revision then.
    pub revision: u64,
    /// When the open day has been over for an hour; `None`: no day is open.
    pub due: Option<Timestamp>,
    /// When to look again.
    pub again: Timestamp,
}

/// The stores that are in memory: a task each, started by the first call and ended when idle.
#[derive(Clone)]
pub struct Registry {
    currencies: Currencies,
    tasks: Tasks,
    /// Told whenever a store has left memory.
    left: Arc<Notify>,
    config: Config,
    log: Arc<dyn EventLog>,
    index: CommandIndex,
    catalog: CatalogSource,
    clock: Clock,
    second_clock: SecondClock,
    membership: Membership,
    shutdown: Shutdown,
    /// Store tasks that panicked since the start.
    broken: Arc<AtomicU64>,
}

impl Registry {
    pub fn new(
        config: Config,
        log: Arc<dyn EventLog>,
        index: CommandIndex,
        catalog: CatalogSource,
        clock: Clock,
        membership: Membership,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            tasks: Tasks::default(),
            left: Arc::default(),
            config,
            second_clock: SecondClock::of(log.clone(), &clock),
            log,
            index,
            catalog,
            clock,
            membership,
            shutdown,
            broken: Arc::default(),
            currencies: Currencies::default(),
        }
    }

    /// Store tasks that panicked since the start.
    #[cfg(test)]
    pub fn broken_tasks(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }

    /// Refuses what a catalog says of a store whose ledger has another currency. A ledger that cannot be read at the moment is no reason:
    /// whatever is sold is held against it again.
    pub async fn refuse_other_currency(
        &self,
        store: &Store,
        deadline: Instant,
    ) -> Result<(), Rejection> {
        if self.currencies.of(&store.id).is_none() {
            let look = Instant::now() + CURRENCY_PATIENCE;
            let nobody = CommandId(uuid::Uuid::nil());
            let loaded = self
                .outcome(&store.id, nobody, None, false, deadline.min(look))
                .await;
            if let Err(rejection) = loaded {
                tracing::debug!(store = %store.id, %rejection, "its currency is not known yet");
            }
        }
        match self.currencies.of(&store.id) {
            Some(ledger) => store.refuse_other_currency(ledger),
            None => Ok(()),
        }
    }

    /// Says of each new catalog which stores' ledgers have another currency.
    pub fn compare_catalogs(&self) {
        let (currencies, mut catalog) = (self.currencies.clone(), self.catalog.clone());
        self.shutdown.spawn_until_stop(async move {
            loop {
                catalog.changed().await;
                currencies.compare(&catalog.current());
            }
        });
    }

    /// Carries out a command; `OUTCOME_UNKNOWN` when the deadline comes first.
    pub async fn execute(
        &self,
        store: &StoreId,
        call: impl Into<Call>,
        deadline: Instant,
    ) -> Verdict {
        let (reply, answer) = oneshot::channel();
        self.send(
            store,
            Request::Execute(Waiting {
                call: Box::new(call.into()),
                deadline,
                reply,
            }),
            deadline,
        )
        .await?;
        self.wait(answer, deadline).await?
    }

    /// Whether there is anything to be known of a store: it is in the catalog, or has left it and has a ledger.
    pub async fn knows(&self, store: &StoreId) -> Result<bool, Rejection> {
        if self.catalog.current().stores.contains_key(store) || self.lock().contains_key(store) {
            return Ok(true);
        }
        let name = LedgerName::new(store.as_str()).map_err(|error| {
            Rejection::field(Reason::InvalidArgument, "store_id", error.to_string())
        })?;
        let tip = self.log.tip(&name).await;
        Ok(tip
            .map_err(|error| LedgerError::from(error).rejection())?
            .is_some())
    }

    /// What became of a command.
    pub async fn outcome(
        &self,
        store: &StoreId,
        id: CommandId,
        hash: Option<ContentHash>,
        now: bool,
        deadline: Instant,
    ) -> Result<CommandOutcome, Rejection> {
        let (reply, answer) = oneshot::channel();
        self.send(
            store,
            Request::Outcome(OutcomeQuestion {
                id,
                hash,
                now,
                reply,
            }),
            deadline,
        )
        .await?;
        self.wait(answer, deadline).await?
    }

    async fn wait<T>(
        &self,
        answer: oneshot::Receiver<T>,
        deadline: Instant,
    ) -> Result<T, Rejection> {
        let until = deadline.checked_sub(ANSWER_MARGIN).unwrap_or(deadline);
        match tokio::time::timeout_at(until, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            // Too late, or the task ended with the command in hand: either way it may have been recorded.
            Ok(Err(_)) | Err(_) => Err(Rejection::new(
                Reason::OutcomeUnknown,
                Reason::OutcomeUnknown.meaning(),
            )
            .retry_after(OVERLOAD_DELAY)),
        }
    }

    async fn send(
        &self,
        store: &StoreId,
        mut request: Request,
        deadline: Instant,
    ) -> Result<(), Rejection> {
        let overloaded =
            |what: &str| Rejection::new(Reason::Overloaded, what).retry_after(OVERLOAD_DELAY);
        let patience = (Instant::now() + ROOM_PATIENCE).min(deadline);
        let counts = !matches!(request, Request::Sweep { .. });
        let mut calls = 0;
        while calls < CALL_UPS {
            let sender = match self.admit(store, counts) {
                Admission::In(sender) => sender,
                Admission::Soon if Instant::now() < patience => {
                    // Woken by whoever leaves; looking now and then finds what others took or left.
                    let _ = tokio::time::timeout(ROOM_LOOK, self.left.notified()).await;
                    continue;
                }
                Admission::Soon | Admission::Full => {
                    return Err(overloaded("too many stores are in memory, all at work"));
                }
            };
            calls += 1;
            match sender.try_send(request) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) => {
                    return Err(overloaded("too many commands are waiting for this store"));
                }
                Err(mpsc::error::TrySendError::Closed(returned)) => request = returned,
            }
            self.lock().retain(|_, seat| !seat.sender.is_closed());
        }
        Err(overloaded("the store is leaving memory"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<StoreId, Seat>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub fn in_memory(&self) -> Vec<String> {
        let mut stores: Vec<String> = self.lock().keys().map(ToString::to_string).collect();
        stores.sort();
        stores
    }

    /// The way to a store's task, which is started if there is room. Without room the store that was called least recently, of those
    /// that are idle, is asked to leave. `counts`: as a call, which the sweep's look is not.
    fn admit(&self, store: &StoreId, counts: bool) -> Admission {
        let mut tasks = self.lock();
        if let Some(seat) = tasks.get_mut(store) {
            if counts {
                seat.used = Instant::now();
            }
            return Admission::In(seat.sender.clone());
        }
        if tasks.len() >= self.config.max_stores {
            let idle = tasks
                .values()
                .filter(|seat| !seat.presence.is_busy())
                // One that waits for answers about members goes only when no other can.
                .min_by_key(|seat| (seat.presence.is_resolving(), seat.used));
            return match idle {
                Some(seat) => {
                    seat.presence.ask_to_leave();
                    Admission::Soon
                }
                None => Admission::Full,
            };
        }
        let (sender, receiver) = mpsc::channel(self.config.queue);
        let presence = Arc::new(Presence::default());
        tasks.insert(
            store.clone(),
            Seat {
                sender: sender.clone(),
                presence: presence.clone(),
                used: Instant::now(),
            },
        );
        let leave = {
            let (tasks, store) = (Arc::downgrade(&self.tasks), store.clone());
            let left = self.left.clone();
            // Leaving is decided under the lock that calls for stores take: nobody is sent to a task that has gone.
            move |receiver: &mut mpsc::Receiver<Request>| {
                let Some(tasks) = tasks.upgrade() else {
                    return true;
                };
                let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
                let idle = receiver.is_empty();
                if idle {
                    receiver.close();
                    tasks.remove(&store);
                    left.notify_one();
                }
                idle
            }
        };
        let ground = Ground {
            log: self.log.clone(),
            index: self.index.clone(),
            catalog: self.catalog.clone(),
            clock: self.clock.clone(),
            second_clock: self.second_clock.clone(),
            membership: self.membership.clone(),
            currencies: self.currencies.clone(),
            idle: self.config.idle,
        };
        let task = StoreTask::new(store.clone(), ground, presence);
        let index = self.index.clone();
        let task = async move {
            task.run(receiver, leave).await;
            if let Err(error) = index.write_witnesses().await {
                tracing::warn!(%error, "the last records seen are not written");
            }
        };
        let (store, broken) = (store.clone(), self.broken.clone());
        // Whoever waits for this task hears that the outcome is unknown, and the next call opens the store again.
        self.shutdown.run_apart(task, move |panic| {
            let times = broken.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::error!(%store, panic, times, "a store's task panicked; the store is opened again");
        });
        Admission::In(sender)
    }

    /// Closes days that nobody closed, an hour after their cutoff, for ever.
    pub fn sweep(&self) {
        let registry = self.clone();
        let soft = self.shutdown.soft();
        self.shutdown
            .spawn_for_good("the sweep of overdue days", async move {
                let mut swept = BTreeMap::new();
                let sweeping = async {
                    loop {
                        registry.sweep_once(&mut swept).await;
                        tokio::time::sleep(SWEEP_INTERVAL).await;
                    }
                };
                tokio::select! {
                    () = sweeping => {}
                    () = soft.cancelled() => {}
                }
            });
    }

    /// Closes every open day that has been over for an hour by its own end, whatever the catalog says by now. `seen` remembers what was
    /// found of each store, so that one that has nothing to close is neither asked nor loaded.
    pub async fn sweep_once(&self, seen: &mut BTreeMap<StoreId, Look>) {
        let stores: Vec<StoreId> = self.catalog.current().stores.keys().cloned().collect();
        for store in stores {
            let now = self.clock.now();
            if seen
                .get(&store)
                .is_some_and(|look| now < look.again && look.again <= again(now, look.due))
            {
                continue;
            }
            match self.look(&store, now, seen.get(&store)).await {
                Ok(look) => {
                    seen.insert(store, look);
                }
                Err(rejection) => tracing::warn!(%store, %rejection, "swept again later"),
            }
        }
    }

    /// What there is to close in a store, after closing what is due. Loads it only if that cannot be told otherwise.
    async fn look(
        &self,
        store: &StoreId,
        now: Timestamp,
        before: Option<&Look>,
    ) -> Result<Look, Rejection> {
        let deadline = Instant::now() + self.config.longest_call;
        if !self.lock().contains_key(store) {
            let resting = Ledger::resting(&*self.log, store)
                .await
                .map_err(|error: LedgerError| error.rejection())?;
            let due = match before {
                _ if resting.nothing_open => Some(None),
                // Nothing was recorded since.
                Some(look) if look.revision == resting.revision => Some(look.due),
                _ => None,
            };
            if let Some(due) = due.filter(|due| due.is_none_or(|due| now < due)) {
                let (revision, again) = (resting.revision, again(now, due));
                return Ok(Look {
                    revision,
                    due,
                    again,
                });
            }
        }
        let (reply, answer) = oneshot::channel();
        self.send(store, Request::Sweep { reply }, deadline).await?;
        let Swept { revision, due } = self.wait(answer, deadline).await?;
        Ok(Look {
            revision,
            due,
            again: again(now, due),
        })
    }

    /// Loads the configured stores one after another, so that their first order does not wait and memberships left unresolved by an
    /// earlier run are settled.
    pub fn warm(&self) {
        let registry = self.clone();
        self.shutdown.spawn_until_stop(async move {
            for store in registry
                .catalog
                .current()
                .stores
                .keys()
                .take(registry.config.max_stores / WARM_SHARE)
            {
                let deadline = Instant::now() + registry.config.longest_call;
                let asked = registry
                    .outcome(store, CommandId(uuid::Uuid::nil()), None, false, deadline)
                    .await;
                if let Err(rejection) = asked {
                    tracing::warn!(%store, %rejection, "the store could not be loaded ahead");
                }
            }
        });
    }
}

/// When to look at a store again: once its open day is due, and now and then in any case.
fn again(now: Timestamp, due: Option<Timestamp>) -> Timestamp {
    let latest = now.saturating_add(LOOK_AGAIN).unwrap_or(now);
    due.map_or(latest, |due| due.min(latest))
}
