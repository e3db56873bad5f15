use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contract::{OrderId, Reason, Rejection, StoreId};
use event_log::EventLog;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use runtime::{Clock, TraceContext};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::currencies::Currencies;
use super::membership::{Membership, Presented};
use super::resolution::Resolution;
use crate::catalog::{CatalogSource, Store};
use crate::domain::{
    Actor, CloseBusinessDay, Command, CommandId, ContentHash, MemberStanding, Principal,
    ResolveMembership,
};
use crate::ledger::{
    CommandIndex, Fetched, Ledger, LedgerError, MAX_COMMANDS_PER_RECORD, SecondClock, Stated,
    Verdict, Work,
};

/// Calls of one store that wait at once for the member service or an order to be read, and when one more may come back.
const MAX_SEARCHES: usize = 1_024;
const SEARCH_DELAY: Duration = Duration::from_millis(200);
/// A ledger that could not be opened is not tried again before this has passed.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);
/// How long past its cutoff a day is left for a close by hand.
pub const SWEEP_DELAY: SignedDuration = SignedDuration::from_hours(1);

/// What a caller wants of a store.
pub struct Call {
    pub command: Command,
    pub actor: Actor,
    /// `None`: the store is not in the catalog.
    pub store: Option<Arc<Store>>,
    pub stated: Option<Stated>,
    /// Why the command cannot be carried out; told only if it is not recorded already.
    pub refusal: Option<Rejection>,
    /// Has to be asked for before the command is decided, unless it is recorded already.
    pub question: Option<(Presented, TraceContext)>,
}

impl From<Work> for Call {
    fn from(work: Work) -> Self {
        Self {
            command: work.command,
            actor: work.actor,
            store: Some(work.store),
            stated: work.stated,
            refusal: work.refusal,
            question: None,
        }
    }
}

/// A call with whoever waits for its verdict.
pub struct Waiting {
    pub call: Box<Call>,
    pub deadline: Instant,
    pub reply: oneshot::Sender<Verdict>,
}

impl Waiting {
    /// Whoever has stopped waiting was told that the outcome is unknown; doing nothing is a legal outcome.
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed() || self.deadline <= Instant::now()
    }

    fn refuse(self, rejection: Rejection) {
        let _ = self.reply.send(Err(rejection));
    }
}

/// What a call has waited for outside of its store's task.
enum Found {
    Standing(MemberStanding),
    Order(Result<Fetched, LedgerError>),
}

type Search = BoxFuture<'static, (Waiting, Found)>;

pub enum Request {
    Execute(Waiting),
    /// Closes the open day if it has been over for an hour; answers with the last revision, and when the day that is open then is due.
    Sweep {
        reply: oneshot::Sender<(u64, Option<Timestamp>)>,
    },
    /// `now`: other instances' records included.
    Outcome {
        id: CommandId,
        hash: Option<ContentHash>,
        now: bool,
        reply: oneshot::Sender<Result<CommandOutcome, Rejection>>,
    },
}

/// What became of a command.
pub struct CommandOutcome {
    /// `None`: it is not recorded.
    pub verdict: Option<Verdict>,
    /// Up to which revision that is known.
    pub revision: u64,
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

/// What the registry sees of a store's task, and says to it.
#[derive(Default)]
pub struct Presence {
    busy: AtomicBool,
    resolving: AtomicBool,
    leave: Notify,
}

impl Presence {
    /// Whether commands are being carried out.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// Whether answers about members are awaited.
    pub fn is_resolving(&self) -> bool {
        self.resolving.load(Ordering::Acquire)
    }

    /// The task leaves memory as soon as nothing is queued.
    pub fn ask_to_leave(&self) {
        self.leave.notify_one();
    }
}

/// What all stores' tasks stand on.
#[derive(Clone)]
pub struct Ground {
    pub log: Arc<dyn EventLog>,
    pub index: CommandIndex,
    pub catalog: CatalogSource,
    pub clock: Clock,
    pub second_clock: SecondClock,
    pub membership: Membership,
    pub currencies: Currencies,
    /// After how long without a command a store leaves memory.
    pub idle: Duration,
}

/// Owns one store's ledger: takes all commands that have queued up, carries them out as one record, answers. While one append is in
/// flight the next batch gathers.
pub struct StoreTask {
    store_id: StoreId,
    ground: Ground,
    ledger: Option<Ledger>,
    /// Why the ledger could not be opened, and when.
    failed: Option<(Instant, Rejection)>,
    resolution: Resolution,
    /// Calls that wait for the member service, or for an order to be read.
    searches: FuturesUnordered<Search>,
    presence: Arc<Presence>,
}

impl StoreTask {
    pub fn new(store_id: StoreId, ground: Ground, presence: Arc<Presence>) -> Self {
        Self {
            store_id,
            ground,
            ledger: None,
            failed: None,
            resolution: Resolution::default(),
            searches: FuturesUnordered::new(),
            presence,
        }
    }

    /// Runs until nobody can call any more, or until `leave` agrees: after an idle while, or when asked to make room.
    pub async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        leave: impl Fn(&mut mpsc::Receiver<Request>) -> bool,
    ) {
        let mut batch = Vec::with_capacity(MAX_COMMANDS_PER_RECORD);
        let presence = self.presence.clone();
        loop {
            presence
                .resolving
                .store(!self.resolution.is_idle(), Ordering::Release);
            // Whoever waits for the member service or for an order is being served.
            presence
                .busy
                .store(!self.searches.is_empty(), Ordering::Release);
            tokio::select! {
                biased;
                Some(found) = self.searches.next(), if !self.searches.is_empty() => {
                    presence.busy.store(true, Ordering::Release);
                    self.carry_on(found).await;
                }
                standings = self.resolution.next(&self.ground.membership) => {
                    presence.busy.store(true, Ordering::Release);
                    self.resolve(standings).await;
                }
                received = tokio::time::timeout(self.ground.idle, requests.recv_many(&mut batch, MAX_COMMANDS_PER_RECORD)) => match received {
                    Ok(0) => break,
                    Ok(_) => {
                        presence.busy.store(true, Ordering::Release);
                        self.carry_out(batch.drain(..)).await;
                    }
                    Err(_) if self.resolution.is_idle() && self.searches.is_empty() && leave(&mut requests) => break,
                    Err(_) => {}
                },
                // Memberships that are owed an answer are asked for again by whoever loads the store next.
                () = presence.leave.notified() => if self.searches.is_empty() && leave(&mut requests) {
                    break;
                },
            }
            // Only a live ledger asks: nothing is asked while replaying.
            if let Some(ledger) = &self.ledger {
                self.resolution.follow(&ledger.state().unresolved);
            }
        }
        if let Some(ledger) = &mut self.ledger {
            ledger.leave().await;
        }
    }

    async fn carry_out(&mut self, requests: impl Iterator<Item = Request>) {
        let mut calls = Vec::new();
        let mut questions = Vec::new();
        let mut sweeps = Vec::new();
        for request in requests {
            match request {
                Request::Execute(call) if call.is_abandoned() => {}
                Request::Execute(call) => calls.push(call),
                Request::Outcome {
                    id,
                    hash,
                    now,
                    reply,
                } => questions.push((id, hash, now, reply)),
                Request::Sweep { reply } => sweeps.push(reply),
            }
        }
        if let Err(rejection) = self.ledger().await {
            for call in calls {
                call.refuse(rejection.clone());
            }
            for (_, _, _, reply) in questions {
                let _ = reply.send(Err(rejection.clone()));
            }
            return;
        }
        if !sweeps.is_empty() {
            if let Some(ledger) = &mut self.ledger
                && let Err(error) = ledger.look().await
            {
                tracing::warn!(store = %self.store_id, %error, "the sweep could not look at the ledger");
                sweeps.clear();
                self.leave_broken(&error);
            }
            let swept = match self.overdue_close() {
                Some(work) => self
                    .execute(&[work])
                    .await
                    .pop()
                    .unwrap_or_else(|| Err(Rejection::new(Reason::Internal, "nothing was decided")))
                    .map(|_| ()),
                None => Ok(()),
            };
            match (swept, &self.ledger) {
                (Ok(()), Some(ledger)) => {
                    let seen = (ledger.revision(), self.due());
                    sweeps.into_iter().for_each(|reply| {
                        let _ = reply.send(seen);
                    });
                }
                // Without an answer it is tried again.
                (Ok(()), None) => {}
                (Err(rejection), _) => {
                    tracing::error!(store = %self.store_id, %rejection, "an overdue day could not be closed");
                }
            }
        }
        for (id, hash, now, reply) in questions {
            let outcome = match self.ledger().await {
                Ok(ledger) => {
                    let outcome = if now {
                        ledger.outcome_now(id, hash).await
                    } else {
                        ledger.outcome(id, hash).await
                    };
                    let revision = ledger.revision();
                    if let Err(error) = &outcome {
                        self.leave_broken(error);
                    }
                    outcome
                        .map(|verdict| CommandOutcome { verdict, revision })
                        .map_err(|error| error.rejection())
                }
                Err(rejection) => Err(rejection),
            };
            let _ = reply.send(outcome);
        }
        let calls = self.ask_first(calls).await;
        self.decide(calls).await;
    }

    /// Asks for the memberships that have to be known before a command is decided, unless it is recorded already. Gives back the calls
    /// that need not wait.
    async fn ask_first(&mut self, calls: Vec<Waiting>) -> Vec<Waiting> {
        let calls = self.fetch_first(calls);
        let ids: Vec<CommandId> = calls
            .iter()
            .filter(|waiting| waiting.call.question.is_some())
            .filter_map(|waiting| waiting.call.command.id())
            .collect();
        if ids.is_empty() {
            return calls;
        }
        let known = match self.ledger().await {
            Ok(ledger) => ledger
                .known(&ids)
                .await
                .map_err(|error| (error.rejection(), Some(error))),
            Err(rejection) => Err((rejection, None)),
        };
        let known = match known {
            Ok(known) => known,
            Err((rejection, error)) => {
                if let Some(error) = error {
                    self.leave_broken(&error);
                }
                for call in calls {
                    call.refuse(rejection.clone());
                }
                return Vec::new();
            }
        };
        let mut ready = Vec::with_capacity(calls.len());
        for mut waiting in calls {
            let is_known = waiting
                .call
                .command
                .id()
                .is_some_and(|id| known.contains(&id));
            match waiting.call.question.take() {
                Some((presented, trace)) if !is_known && waiting.call.refusal.is_none() => {
                    let membership = self.ground.membership.clone();
                    self.search(waiting, async move {
                        Found::Standing(membership.check(&presented, trace).await)
                    });
                }
                _ => ready.push(waiting),
            }
        }
        ready
    }

    /// Reads the orders that commands need and that are not in memory, while the store goes on. Gives back the calls that need none.
    fn fetch_first(&mut self, calls: Vec<Waiting>) -> Vec<Waiting> {
        let mut ready = Vec::with_capacity(calls.len());
        for waiting in calls {
            let order = waiting.call.command.existing_order();
            let ledger = self.ledger.as_ref();
            match order.zip(ledger).and_then(|(id, ledger)| ledger.fetch(id)) {
                Some(fetch) if waiting.call.question.is_none() => {
                    self.search(waiting, async move { Found::Order(fetch.run().await) });
                }
                _ => ready.push(waiting),
            }
        }
        ready
    }

    fn search(&mut self, waiting: Waiting, found: impl Future<Output = Found> + Send + 'static) {
        if self.searches.len() >= MAX_SEARCHES {
            let message = "too many commands of this store wait for something to be found out";
            let refusal = Rejection::new(Reason::Overloaded, message);
            return waiting.refuse(refusal.retry_after(SEARCH_DELAY));
        }
        self.searches
            .push(async move { (waiting, found.await) }.boxed());
    }

    /// Carries out what was only waiting for something to be found out.
    async fn carry_on(&mut self, first: (Waiting, Found)) {
        let mut calls = Vec::new();
        let mut next = Some(first);
        while let Some((mut waiting, found)) = next {
            match found {
                _ if waiting.is_abandoned() => {}
                Found::Standing(standing) => {
                    waiting.call.take_answer(standing);
                    calls.push(waiting);
                }
                Found::Order(Ok(fetched)) => {
                    if let Some(ledger) = &mut self.ledger {
                        ledger.hold(fetched);
                    }
                    calls.push(waiting);
                }
                Found::Order(Err(error)) => {
                    self.leave_broken(&error);
                    waiting.refuse(error.rejection());
                }
            }
            next = if calls.len() < MAX_COMMANDS_PER_RECORD {
                self.searches.next().now_or_never().flatten()
            } else {
                None
            };
        }
        self.decide(calls).await;
    }

    async fn decide(&mut self, calls: Vec<Waiting>) {
        if calls.is_empty() {
            return;
        }
        // Where a store has left the catalog, its ledger knows how it was configured.
        let has_left = calls.iter().any(|waiting| waiting.call.store.is_none());
        let left = match self.ledger().await {
            Ok(ledger) if has_left => ledger.as_it_was_configured(),
            Ok(_) => None,
            Err(rejection) => {
                for call in calls {
                    call.refuse(rejection.clone());
                }
                return;
            }
        };
        let mut works = Vec::with_capacity(calls.len());
        let mut replies = Vec::with_capacity(calls.len());
        for waiting in calls {
            let call = *waiting.call;
            let Some(store) = call.store.or_else(|| left.clone()) else {
                let _ = waiting.reply.send(Err(unknown_store(&self.store_id)));
                continue;
            };
            works.push(Work {
                command: call.command,
                actor: call.actor,
                store,
                stated: call.stated,
                refusal: call.refusal,
            });
            replies.push(waiting.reply);
        }
        let verdicts = self.execute(&works).await;
        for (reply, verdict) in replies.into_iter().zip(verdicts) {
            let _ = reply.send(verdict);
        }
    }

    /// When the open day has been over for an hour.
    fn due(&self) -> Option<Timestamp> {
        let day = self.ledger.as_ref()?.state().day.as_ref()?;
        Some(day.end.saturating_add(SWEEP_DELAY).unwrap_or(day.end))
    }

    /// The command that closes the open day, if nobody has closed it by hand for too long.
    fn overdue_close(&self) -> Option<Work> {
        let due = self.due()?;
        let day = self.ledger.as_ref()?.state().day.as_ref()?;
        let store = self
            .ground
            .catalog
            .current()
            .stores
            .get(&self.store_id)?
            .clone();
        let command = Command::CloseBusinessDay(CloseBusinessDay {
            business_date: day.date,
            manual: None,
        });
        (self.ground.clock.now() >= due).then(|| self.own_work(command, store))
    }

    async fn execute(&mut self, works: &[Work]) -> Vec<Verdict> {
        let clock = self.ground.clock.clone();
        let ledger = match self.ledger().await {
            Ok(ledger) => ledger,
            Err(rejection) => return works.iter().map(|_| Err(rejection.clone())).collect(),
        };
        let (verdicts, ended) = ledger.execute(works, &clock).await;
        if let Err(error) = ended {
            self.leave_broken(&error);
        }
        self.note_currency();
        verdicts
    }

    /// Lets go of a ledger that cannot be trusted any more; it is opened again by the next command. What only does not answer now is kept.
    fn leave_broken(&mut self, error: &LedgerError) {
        if error.is_lasting() {
            tracing::error!(store = %self.store_id, %error, "the ledger is opened again");
            self.ledger = None;
        }
    }

    async fn ledger(&mut self) -> Result<&mut Ledger, Rejection> {
        if self.ledger.is_none() {
            if let Some((at, rejection)) = &self.failed
                && at.elapsed() < REOPEN_PAUSE
            {
                return Err(rejection.clone());
            }
            match Ledger::open(
                self.ground.log.clone(),
                self.ground.index.clone(),
                self.store_id.clone(),
            )
            .await
            {
                Ok(mut ledger) => {
                    ledger.set_second_clock(self.ground.second_clock.clone());
                    self.failed = None;
                    self.ledger = Some(ledger);
                    self.note_currency();
                }
                Err(error) => {
                    tracing::error!(store = %self.store_id, %error, "the ledger cannot be opened");
                    self.failed = Some((Instant::now(), error.rejection()));
                }
            }
        }
        match (&mut self.ledger, &self.failed) {
            (Some(ledger), _) => Ok(ledger),
            (None, Some((_, rejection))) => Err(rejection.clone()),
            (None, None) => Err(Rejection::new(Reason::Internal, "the ledger is not open")),
        }
    }

    /// A ledger has a currency from its first sale on.
    fn note_currency(&self) {
        if let Some(currency) = self.ledger.as_ref().and_then(Ledger::currency)
            && self.ground.currencies.of(&self.store_id).is_none()
        {
            let catalog = self.ground.catalog.current();
            self.ground
                .currencies
                .note(&self.store_id, currency, &catalog);
        }
    }

    /// Records what the member service has answered late.
    async fn resolve(&mut self, standings: Vec<(OrderId, MemberStanding)>) {
        let Some(store) = self
            .ground
            .catalog
            .current()
            .stores
            .get(&self.store_id)
            .cloned()
        else {
            for (order_id, _) in standings {
                self.resolution.again(order_id);
            }
            return;
        };
        let (orders, works): (Vec<OrderId>, Vec<Work>) = standings
            .into_iter()
            .map(|(order_id, standing)| {
                let command = Command::ResolveMembership(ResolveMembership { order_id, standing });
                (order_id, self.own_work(command, store.clone()))
            })
            .unzip();
        for (order_id, verdict) in orders.into_iter().zip(self.execute(&works).await) {
            if let Err(rejection) = verdict {
                tracing::warn!(store = %self.store_id, order = %order_id, %rejection, "a membership could not be resolved yet");
                self.resolution.again(order_id);
            }
        }
    }

    /// What the system decides by itself.
    fn own_work(&self, command: Command, store: Arc<Store>) -> Work {
        let actor = Actor {
            principal: Principal::SYSTEM,
            traceparent: TraceContext::new_trace().to_string(),
            ..Actor::default()
        };
        Work::new(command, actor, store)
    }
}

/// No such store, neither in the catalog nor in the log; or one that has left the catalog and sells nothing any more.
pub fn unknown_store(id: &StoreId) -> Rejection {
    Rejection::new(Reason::UnknownStore, format!("there is no store {id}")).with("store_id", id)
}

impl Call {
    /// What the member service has said of whom the command names.
    fn take_answer(&mut self, standing: MemberStanding) {
        match (&mut self.command, standing) {
            (Command::PlaceOrder(order), standing) => order.membership = Some(standing),
            (
                Command::AttachMember(command),
                MemberStanding::Member {
                    tier,
                    points_rate_bp,
                    ..
                },
            ) => {
                command.tier = tier;
                command.points_rate_bp = points_rate_bp;
            }
            (Command::AttachMember(command), MemberStanding::NotMember) => {
                let member_id = command.member_id;
                let message = format!("there is no member {member_id}");
                let refusal = Rejection::field(Reason::UnknownMember, "member_id", message)
                    .with("member_id", member_id);
                self.refusal = Some(refusal);
            }
            (Command::AttachMember(_), MemberStanding::Unverified(_)) => {
                self.refusal = Some(Rejection::new(
                    Reason::MemberUnavailable,
                    Reason::MemberUnavailable.meaning(),
                ));
            }
            _ => {}
        }
    }
}
