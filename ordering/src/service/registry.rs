use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::{BusinessDate, Reason, Rejection, StoreId};
use event_log::{EventLog, LedgerName};
use runtime::{Clock, Shutdown};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::config::Config;
use super::membership::Membership;
use super::store_task::{Call, Request, SWEEP_DELAY, StoreTask, Waiting};
use crate::catalog::CatalogSource;
use crate::domain::business_day::CLOCK_TOLERANCE;
use crate::domain::{CommandId, ContentHash};
use crate::ledger::{CommandIndex, LedgerError, Verdict};

/// When a refused caller may come back.
const OVERLOAD_DELAY: Duration = Duration::from_millis(200);
/// What an answer needs to travel before the caller's deadline.
const ANSWER_MARGIN: Duration = Duration::from_millis(30);
/// Times that a store is called up anew because it was just leaving memory.
const CALL_UPS: u32 = 3;
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Stores loaded at start are at most this share of those that fit in memory.
const WARM_SHARE: usize = 2;

/// What became of a command id: its verdict if it is recorded, and the revision up to which that is known.
pub type Outcome = (Option<Verdict>, u64);

type Tasks = Arc<Mutex<HashMap<StoreId, mpsc::Sender<Request>>>>;

/// The stores that are in memory: a task each, started by the first call and ended when idle.
#[derive(Clone)]
pub struct Registry {
    tasks: Tasks,
    config: Config,
    log: Arc<dyn EventLog>,
    index: CommandIndex,
    catalog: CatalogSource,
    clock: Clock,
    membership: Membership,
    shutdown: Shutdown,
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
            config,
            log,
            index,
            catalog,
            clock,
            membership,
            shutdown,
        }
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
        )?;
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
    ) -> Result<Outcome, Rejection> {
        let (reply, answer) = oneshot::channel();
        self.send(
            store,
            Request::Outcome {
                id,
                hash,
                now,
                reply,
            },
        )?;
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

    fn send(&self, store: &StoreId, mut request: Request) -> Result<(), Rejection> {
        let overloaded =
            |what: &str| Rejection::new(Reason::Overloaded, what).retry_after(OVERLOAD_DELAY);
        for _ in 0..CALL_UPS {
            let sender = self
                .sender(store)
                .ok_or_else(|| overloaded("too many stores are in memory"))?;
            match sender.try_send(request) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) => {
                    return Err(overloaded("too many commands are waiting for this store"));
                }
                Err(mpsc::error::TrySendError::Closed(returned)) => request = returned,
            }
            self.lock().retain(|_, sender| !sender.is_closed());
        }
        Err(overloaded("the store is leaving memory"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<StoreId, mpsc::Sender<Request>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sender(&self, store: &StoreId) -> Option<mpsc::Sender<Request>> {
        let mut tasks = self.lock();
        if let Some(sender) = tasks.get(store) {
            return Some(sender.clone());
        }
        if tasks.len() >= self.config.max_stores {
            return None;
        }
        let (sender, receiver) = mpsc::channel(self.config.queue);
        tasks.insert(store.clone(), sender.clone());
        let leave = {
            let (tasks, store) = (Arc::downgrade(&self.tasks), store.clone());
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
                }
                idle
            }
        };
        let task = StoreTask::new(
            store.clone(),
            self.log.clone(),
            self.index.clone(),
            self.catalog.clone(),
            self.clock.clone(),
            self.membership.clone(),
            self.config.idle,
        );
        let index = self.index.clone();
        self.shutdown.spawn(async move {
            task.run(receiver, leave).await;
            if let Err(error) = index.write_witnesses().await {
                tracing::warn!(%error, "the last records seen are not written");
            }
        });
        Some(sender)
    }

    /// Closes days that nobody closed, an hour after their cutoff, for ever.
    pub fn sweep(&self) {
        let registry = self.clone();
        let soft = self.shutdown.soft();
        tokio::spawn(async move {
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

    /// Has each store look once for every business date, an hour after it began, whether the one before is still open. Takes two clocks
    /// that agree: this machine's and the log server's.
    pub async fn sweep_once(&self, swept: &mut BTreeMap<StoreId, BusinessDate>) {
        let now = self.clock.now();
        let due: Vec<(StoreId, BusinessDate)> = self
            .catalog
            .current()
            .stores
            .values()
            .filter_map(|store| {
                let rule = store.day_rule()?;
                let date = rule.date_of(now).ok()?;
                let since = rule.start(date).ok()?.saturating_add(SWEEP_DELAY).ok()?;
                (now >= since && swept.get(&store.id) != Some(&date))
                    .then(|| (store.id.clone(), date))
            })
            .collect();
        if due.is_empty() {
            return;
        }
        match self.log.server_time().await {
            Ok(time) if time.duration_since(now).abs() <= CLOCK_TOLERANCE => {}
            Ok(time) => {
                return tracing::error!(log_server = %time, here = %now, "overdue days are not closed: the clocks differ");
            }
            Err(error) => {
                return tracing::warn!(%error, "overdue days are not closed: the log server does not tell its time");
            }
        }
        for (store, date) in due {
            let (reply, answer) = oneshot::channel();
            let answered = match self.send(&store, Request::Sweep { reply }) {
                Ok(()) => {
                    self.wait(answer, Instant::now() + self.config.longest_call)
                        .await
                }
                Err(rejection) => Err(rejection),
            };
            match answered {
                Ok(()) => {
                    swept.insert(store, date);
                }
                Err(rejection) => tracing::warn!(%store, %rejection, "swept again later"),
            }
        }
    }

    /// Loads the configured stores one after another, so that their first order does not wait and memberships left unresolved by an
    /// earlier run are settled.
    pub fn warm(&self) {
        let registry = self.clone();
        let soft = self.shutdown.soft();
        tokio::spawn(async move {
            let warm = async {
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
            };
            tokio::select! {
                () = warm => {}
                () = soft.cancelled() => {}
            }
        });
    }
}
