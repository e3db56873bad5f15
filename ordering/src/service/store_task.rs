use std::sync::Arc;
use std::time::Duration;

use contract::{OrderId, Reason, Rejection, StoreId};
use event_log::EventLog;
use jiff::SignedDuration;
use runtime::{Clock, TraceContext};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::membership::Membership;
use super::registry::Outcome;
use super::resolution::Resolution;
use crate::catalog::{CatalogSource, Store};
use crate::domain::{
    Actor, CloseBusinessDay, Command, CommandId, ContentHash, MemberStanding, ResolveMembership,
};
use crate::ledger::{CommandIndex, Ledger, LedgerError, MAX_COMMANDS_PER_RECORD, Verdict, Work};

/// A ledger that could not be opened is not tried again before this has passed.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);
/// How long past its cutoff a day is left for a close by hand.
pub const SWEEP_DELAY: SignedDuration = SignedDuration::from_hours(1);

pub enum Request {
    Execute {
        work: Box<Work>,
        deadline: Instant,
        reply: oneshot::Sender<Verdict>,
    },
    /// Closes the open day if it has been over for an hour.
    Sweep { reply: oneshot::Sender<()> },
    /// `now`: other instances' records included.
    Outcome {
        id: CommandId,
        hash: Option<ContentHash>,
        now: bool,
        reply: oneshot::Sender<Result<Outcome, Rejection>>,
    },
}

/// Owns one store's ledger: takes all commands that have queued up, carries them out as one record, answers. While one append is in
/// flight the next batch gathers.
pub struct StoreTask {
    store_id: StoreId,
    log: Arc<dyn EventLog>,
    index: CommandIndex,
    clock: Clock,
    membership: Membership,
    idle: Duration,
    ledger: Option<Ledger>,
    /// Why the ledger could not be opened, and when.
    failed: Option<(Instant, Rejection)>,
    catalog: CatalogSource,
    resolution: Resolution,
}

impl StoreTask {
    pub fn new(
        store_id: StoreId,
        log: Arc<dyn EventLog>,
        index: CommandIndex,
        catalog: CatalogSource,
        clock: Clock,
        membership: Membership,
        idle: Duration,
    ) -> Self {
        Self {
            store_id,
            log,
            index,
            clock,
            membership,
            idle,
            ledger: None,
            failed: None,
            catalog,
            resolution: Resolution::default(),
        }
    }

    /// Runs until nobody can call any more, or until `leave` agrees after an idle while.
    pub async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        leave: impl Fn(&mut mpsc::Receiver<Request>) -> bool,
    ) {
        let mut batch = Vec::with_capacity(MAX_COMMANDS_PER_RECORD);
        loop {
            tokio::select! {
                biased;
                standings = self.resolution.next(&self.membership) => self.resolve(standings).await,
                received = tokio::time::timeout(self.idle, requests.recv_many(&mut batch, MAX_COMMANDS_PER_RECORD)) => match received {
                    Ok(0) => return,
                    Ok(_) => self.carry_out(batch.drain(..)).await,
                    Err(_) if self.resolution.is_idle() && leave(&mut requests) => return,
                    Err(_) => {}
                },
            }
            // Only a live ledger asks: nothing is asked while replaying.
            if let Some(ledger) = &self.ledger {
                self.resolution.follow(&ledger.state().unresolved);
            }
        }
    }

    async fn carry_out(&mut self, requests: impl Iterator<Item = Request>) {
        let mut works = Vec::new();
        let mut replies = Vec::new();
        let mut questions = Vec::new();
        let mut sweeps = Vec::new();
        for request in requests {
            match request {
                // Whoever has stopped waiting was told that the outcome is unknown; doing nothing is a legal outcome.
                Request::Execute {
                    reply, deadline, ..
                } if reply.is_closed() || deadline <= Instant::now() => {}
                Request::Execute { work, reply, .. } => {
                    works.push(*work);
                    replies.push(reply);
                }
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
            for reply in replies {
                let _ = reply.send(Err(rejection.clone()));
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
                // Over, but not for an hour: asked again in a minute.
                None if self.is_overdue() => {
                    sweeps.clear();
                    Ok(())
                }
                None => Ok(()),
            };
            match swept {
                Ok(()) => sweeps.into_iter().for_each(|reply| {
                    let _ = reply.send(());
                }),
                // Without an answer it is tried again.
                Err(rejection) => {
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
                        .map(|verdict| (verdict, revision))
                        .map_err(|error| error.rejection())
                }
                Err(rejection) => Err(rejection),
            };
            let _ = reply.send(outcome);
        }
        if !works.is_empty() {
            let verdicts = self.execute(&works).await;
            for (reply, verdict) in replies.into_iter().zip(verdicts) {
                let _ = reply.send(verdict);
            }
        }
    }

    fn is_overdue(&self) -> bool {
        let day = self
            .ledger
            .as_ref()
            .and_then(|ledger| ledger.state().day.as_ref());
        day.is_some_and(|day| self.clock.now() >= day.end)
    }

    /// The command that closes the open day, if nobody has closed it by hand for too long.
    fn overdue_close(&self) -> Option<Work> {
        let day = self.ledger.as_ref()?.state().day.as_ref()?;
        let due = day.end.saturating_add(SWEEP_DELAY).ok()?;
        let store = self.catalog.current().stores.get(&self.store_id)?.clone();
        let command = Command::CloseBusinessDay(CloseBusinessDay {
            business_date: day.date,
            manual: None,
        });
        (self.clock.now() >= due).then(|| self.own_work(command, store))
    }

    async fn execute(&mut self, works: &[Work]) -> Vec<Verdict> {
        let clock = self.clock.clone();
        let ledger = match self.ledger().await {
            Ok(ledger) => ledger,
            Err(rejection) => return works.iter().map(|_| Err(rejection.clone())).collect(),
        };
        let (verdicts, ended) = ledger.execute(works, &clock).await;
        if let Err(error) = ended {
            self.leave_broken(&error);
        }
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
            match Ledger::open(self.log.clone(), self.index.clone(), self.store_id.clone()).await {
                Ok(ledger) => {
                    self.failed = None;
                    self.ledger = Some(ledger);
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

    /// Records what the member service has answered late.
    async fn resolve(&mut self, standings: Vec<(OrderId, MemberStanding)>) {
        let Some(store) = self.catalog.current().stores.get(&self.store_id).cloned() else {
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
            principal: "system",
            traceparent: TraceContext::new_trace().to_string(),
            ..Actor::default()
        };
        Work {
            command,
            actor,
            store,
        }
    }
}
