use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use contract::{Reason, Rejection, StoreId};
use event_log::EventLog;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use runtime::{Clock, TraceContext};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::call::{
    CommandOutcome, OutcomeQuestion, Request, Requests, Swept, Waiting, refuse_all, unknown_store,
};
use super::currencies::Currencies;
use super::membership::Membership;
use super::presence::Presence;
use super::resolution::{Resolution, Resolved};
use crate::catalog::{CatalogSource, Store};
use crate::domain::{
    Actor, CloseBusinessDay, Command, CommandId, MemberStanding, Principal, ResolveMembership,
};
use crate::ledger::{
    CommandIndex, Executed, Fetched, Ledger, LedgerError, MAX_COMMANDS_PER_RECORD, SecondClock,
    Verdict, Work,
};

/// Calls of one store that wait at once for the member service or an order to be read, and when one more may come back.
const MAX_SEARCHES: usize = 1_024;
const SEARCH_DELAY: Duration = Duration::from_millis(200);
/// A ledger that could not be opened is not tried again before this has passed.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);
/// How long past its cutoff a day is left for a close by hand.
pub const SWEEP_DELAY: SignedDuration = SignedDuration::from_hours(1);

/// What a call has waited for outside of its store's task.
enum Found {
    Standing(MemberStanding),
    Order(Result<Fetched, LedgerError>),
}

/// A call for which something has been found out.
struct Searched {
    waiting: Waiting,
    found: Found,
}

type Search = BoxFuture<'static, Searched>;

/// A ledger that could not be opened.
struct FailedOpening {
    at: Instant,
    rejection: Rejection,
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
    /// Why the ledger is not open.
    failed: Option<FailedOpening>,
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
            presence.set_resolving(!self.resolution.is_idle());
            // Whoever waits for the member service or for an order is being served.
            presence.set_busy(!self.searches.is_empty());
            tokio::select! {
                biased;
                Some(searched) = self.searches.next(), if !self.searches.is_empty() => {
                    presence.set_busy(true);
                    self.carry_on(searched).await;
                }
                resolved = self.resolution.next(&self.ground.membership) => {
                    presence.set_busy(true);
                    self.resolve(resolved).await;
                }
                received = tokio::time::timeout(self.ground.idle, requests.recv_many(&mut batch, MAX_COMMANDS_PER_RECORD)) => match received {
                    Ok(0) => break,
                    Ok(_) => {
                        presence.set_busy(true);
                        self.carry_out(Requests::of(batch.drain(..))).await;
                    }
                    Err(_) if self.resolution.is_idle() && self.searches.is_empty() && leave(&mut requests) => break,
                    Err(_) => {}
                },
                // Memberships that are owed an answer are asked for again by whoever loads the store next.
                () = presence.asked_to_leave() => if self.searches.is_empty() && leave(&mut requests) {
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

    /// Serves all that has queued up.
    async fn carry_out(&mut self, requests: Requests) {
        if let Err(rejection) = self.ledger().await {
            return requests.refuse(&rejection);
        }
        let Requests {
            calls,
            questions,
            sweeps,
        } = requests;
        if !sweeps.is_empty() {
            self.sweep(sweeps).await;
        }
        for question in questions {
            self.answer(question).await;
        }
        let calls = self.fetch_first(calls);
        let calls = self.ask_first(calls).await;
        self.decide(calls).await;
    }

    /// Closes the open day if it has been over for an hour, and says how the store stands then.
    async fn sweep(&mut self, replies: Vec<oneshot::Sender<Swept>>) {
        // Another instance may have closed it.
        if let Some(ledger) = &mut self.ledger
            && let Err(error) = ledger.look().await
        {
            tracing::warn!(store = %self.store_id, %error, "the sweep could not look at the ledger");
            return self.leave_broken(&error);
        }
        if let Some(work) = self.overdue_close()
            && let Some(Err(rejection)) = self.execute(&[work]).await.pop()
        {
            tracing::error!(store = %self.store_id, %rejection, "an overdue day could not be closed");
            return;
        }
        let Some(ledger) = &self.ledger else { return };
        let (revision, due) = (ledger.revision(), self.due());
        for reply in replies {
            let _ = reply.send(Swept { revision, due });
        }
    }

    async fn answer(&mut self, question: OutcomeQuestion) {
        let OutcomeQuestion {
            id,
            hash,
            now,
            reply,
        } = question;
        let outcome = match self.ledger().await {
            Ok(ledger) => {
                let verdict = if now {
                    ledger.outcome_now(id, hash).await
                } else {
                    ledger.outcome(id, hash).await
                };
                let revision = ledger.revision();
                self.told(verdict)
                    .map(|verdict| CommandOutcome { verdict, revision })
            }
            Err(rejection) => Err(rejection),
        };
        let _ = reply.send(outcome);
    }

    /// Reads the orders that commands need and that are not in memory, while the store goes on. Gives back the calls that need none.
    fn fetch_first(&mut self, calls: Vec<Waiting>) -> Vec<Waiting> {
        let mut ready = Vec::with_capacity(calls.len());
        for waiting in calls {
            let order = waiting.call.command.existing_order();
            let ledger = self.ledger.as_ref();
            match order.zip(ledger).and_then(|(id, ledger)| ledger.fetch(id)) {
                Some(fetch) if waiting.call.membership.is_none() => {
                    self.search(waiting, async move { Found::Order(fetch.run().await) });
                }
                _ => ready.push(waiting),
            }
        }
        ready
    }

    /// Asks for the memberships that have to be known before a command is decided, unless it is recorded already. Gives back the calls
    /// that need not wait.
    async fn ask_first(&mut self, calls: Vec<Waiting>) -> Vec<Waiting> {
        let ids: Vec<CommandId> = calls
            .iter()
            .filter(|waiting| waiting.call.membership.is_some())
            .filter_map(|waiting| waiting.call.command.id())
            .collect();
        if ids.is_empty() {
            return calls;
        }
        let known = match self.known(&ids).await {
            Ok(known) => known,
            Err(rejection) => {
                refuse_all(calls, &rejection);
                return Vec::new();
            }
        };
        let mut ready = Vec::with_capacity(calls.len());
        for mut waiting in calls {
            let call = &mut waiting.call;
            let is_known = call.command.id().is_some_and(|id| known.contains(&id));
            match call.membership.take() {
                Some(question) if !is_known && call.refusal.is_none() => {
                    let membership = self.ground.membership.clone();
                    self.search(waiting, async move {
                        let standing = membership.check(&question.presented, question.trace);
                        Found::Standing(standing.await)
                    });
                }
                _ => ready.push(waiting),
            }
        }
        ready
    }

    /// Which of these commands are recorded.
    async fn known(&mut self, ids: &[CommandId]) -> Result<HashSet<CommandId>, Rejection> {
        let known = self.ledger().await?.known(ids).await;
        self.told(known)
    }

    fn search(&mut self, waiting: Waiting, found: impl Future<Output = Found> + Send + 'static) {
        if self.searches.len() >= MAX_SEARCHES {
            let message = "too many commands of this store wait for something to be found out";
            let refusal = Rejection::new(Reason::Overloaded, message);
            return waiting.refuse(refusal.retry_after(SEARCH_DELAY));
        }
        let search = async move {
            let found = found.await;
            Searched { waiting, found }
        };
        self.searches.push(search.boxed());
    }

    /// Carries out what was only waiting for something to be found out: this, and what else is ready by now.
    async fn carry_on(&mut self, first: Searched) {
        let mut calls = Vec::new();
        let mut next = Some(first);
        while let Some(searched) = next {
            calls.extend(self.take_in(searched));
            next = if calls.len() < MAX_COMMANDS_PER_RECORD {
                self.searches.next().now_or_never().flatten()
            } else {
                None
            };
        }
        self.decide(calls).await;
    }

    /// Takes in what was found out for a call. `None`: it is answered, or nobody waits for it any more.
    fn take_in(&mut self, searched: Searched) -> Option<Waiting> {
        let Searched { mut waiting, found } = searched;
        match found {
            _ if waiting.is_abandoned() => return None,
            Found::Standing(standing) => waiting.call.take_answer(standing),
            Found::Order(fetched) => match self.told(fetched) {
                Ok(fetched) => {
                    if let Some(ledger) = &mut self.ledger {
                        ledger.hold(fetched);
                    }
                }
                Err(rejection) => {
                    waiting.refuse(rejection);
                    return None;
                }
            },
        }
        Some(waiting)
    }

    /// Has the ledger carry out calls that wait for nothing else, and tells the callers.
    async fn decide(&mut self, calls: Vec<Waiting>) {
        if calls.is_empty() {
            return;
        }
        // Where a store has left the catalog, its ledger knows how it was configured.
        let has_left = calls.iter().any(|waiting| waiting.call.store.is_none());
        let left = match self.ledger().await {
            Ok(ledger) if has_left => ledger.as_it_was_configured(),
            Ok(_) => None,
            Err(rejection) => return refuse_all(calls, &rejection),
        };
        let mut works = Vec::with_capacity(calls.len());
        let mut replies = Vec::with_capacity(calls.len());
        for Waiting { call, reply, .. } in calls {
            match call.into_work(left.as_ref()) {
                Some(work) => {
                    works.push(work);
                    replies.push(reply);
                }
                None => {
                    let _ = reply.send(Err(unknown_store(&self.store_id)));
                }
            }
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
        let store = self.configured()?;
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
        let Executed { verdicts, ended } = ledger.execute(works, &clock).await;
        if let Err(error) = ended {
            self.leave_broken(&error);
        }
        self.note_currency();
        verdicts
    }

    /// What the ledger came to, as callers are told. One that has failed for good is let go.
    fn told<T>(&mut self, result: Result<T, LedgerError>) -> Result<T, Rejection> {
        result.map_err(|error| {
            self.leave_broken(&error);
            error.rejection()
        })
    }

    /// Lets go of a ledger that cannot be trusted any more; it is opened again by the next command. What only does not answer now is kept.
    fn leave_broken(&mut self, error: &LedgerError) {
        if error.is_lasting() {
            tracing::error!(store = %self.store_id, %error, "the ledger is opened again");
            self.ledger = None;
        }
    }

    /// The ledger, which is opened if it is not open.
    async fn ledger(&mut self) -> Result<&mut Ledger, Rejection> {
        if self.ledger.is_none() {
            let ledger = self.open().await?;
            self.ledger = Some(ledger);
            self.note_currency();
        }
        self.ledger
            .as_mut()
            .ok_or_else(|| Rejection::new(Reason::Internal, "the ledger is not open"))
    }

    /// Opens the ledger, unless that has just failed.
    async fn open(&mut self) -> Result<Ledger, Rejection> {
        if let Some(failed) = &self.failed
            && failed.at.elapsed() < REOPEN_PAUSE
        {
            return Err(failed.rejection.clone());
        }
        let (log, index) = (self.ground.log.clone(), self.ground.index.clone());
        match Ledger::open(log, index, self.store_id.clone()).await {
            Ok(mut ledger) => {
                ledger.set_second_clock(self.ground.second_clock.clone());
                self.failed = None;
                Ok(ledger)
            }
            Err(error) => {
                tracing::error!(store = %self.store_id, %error, "the ledger cannot be opened");
                let rejection = error.rejection();
                self.failed = Some(FailedOpening {
                    at: Instant::now(),
                    rejection: rejection.clone(),
                });
                Err(rejection)
            }
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
    async fn resolve(&mut self, resolved: Vec<Resolved>) {
        let Some(store) = self.configured() else {
            for Resolved { order_id, .. } in resolved {
                self.resolution.again(order_id);
            }
            return;
        };
        let works: Vec<Work> = resolved
            .iter()
            .map(|resolved| {
                let command = Command::ResolveMembership(ResolveMembership {
                    order_id: resolved.order_id,
                    standing: resolved.standing.clone(),
                });
                self.own_work(command, store.clone())
            })
            .collect();
        let verdicts = self.execute(&works).await;
        for (Resolved { order_id, .. }, verdict) in resolved.into_iter().zip(verdicts) {
            if let Err(rejection) = verdict {
                tracing::warn!(store = %self.store_id, order = %order_id, %rejection, "a membership could not be resolved yet");
                self.resolution.again(order_id);
            }
        }
    }

    /// The store as the catalog has it now.
    fn configured(&self) -> Option<Arc<Store>> {
        let catalog = self.ground.catalog.current();
        catalog.stores.get(&self.store_id).cloned()
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
