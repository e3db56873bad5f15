use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use contract::event::MembershipOutcome;
use contract::{OrderId, Reason, Rejection, StoreId};
use event_log::EventLog;
use futures::FutureExt as _;
use jiff::SignedDuration;
use runtime::{Clock, TraceContext};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use super::membership::{Membership, Presented};
use super::registry::Outcome;
use crate::catalog::CatalogSource;
use crate::domain::{
    Actor, CloseBusinessDay, Command, CommandId, ContentHash, MemberKey, MemberStanding,
    ResolveMembership,
};
use crate::ledger::{CommandIndex, Ledger, MAX_COMMANDS_PER_RECORD, Verdict, Work};

/// A ledger that could not be opened is not tried again before this has passed.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);
/// Orders whose membership is asked for at once, and how long to wait between the attempts.
const RESOLVE_BATCH: usize = 16;
const RESOLVE_FIRST_PAUSE: Duration = Duration::from_secs(1);
const RESOLVE_LONGEST_PAUSE: Duration = Duration::from_secs(30);

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

type Resolutions = Pin<Box<dyn Future<Output = Vec<(OrderId, MemberStanding)>> + Send>>;

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
    resolving: Option<Resolutions>,
    resolve_pause: Duration,
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
            resolving: None,
            resolve_pause: RESOLVE_FIRST_PAUSE,
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
            let resolved = async {
                match &mut self.resolving {
                    Some(resolving) => resolving.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                standings = resolved => {
                    self.resolving = None;
                    self.resolve(standings).await;
                }
                received = tokio::time::timeout(self.idle, requests.recv_many(&mut batch, MAX_COMMANDS_PER_RECORD)) => match received {
                    Ok(0) => return,
                    Ok(_) => self.carry_out(batch.drain(..)).await,
                    Err(_) if self.resolving.is_none() && leave(&mut requests) => return,
                    Err(_) => {}
                },
            }
            self.plan_resolution().await;
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
                    outcome
                        .map(|verdict| (verdict, ledger.revision()))
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
        (self.clock.now() >= due).then(|| Work {
            command: Command::CloseBusinessDay(CloseBusinessDay {
                business_date: day.date,
                manual: None,
            }),
            actor: Actor {
                principal: "system",
                traceparent: TraceContext::new_trace().to_string(),
                ..Actor::default()
            },
            store,
        })
    }

    async fn execute(&mut self, works: &[Work]) -> Vec<Verdict> {
        let clock = self.clock.clone();
        let ledger = match self.ledger().await {
            Ok(ledger) => ledger,
            Err(rejection) => return works.iter().map(|_| Err(rejection.clone())).collect(),
        };
        let (verdicts, ended) = ledger.execute(works, &clock).await;
        if let Err(error) = ended {
            tracing::error!(store = %self.store_id, %error, "the ledger is opened again");
            self.ledger = None;
        }
        verdicts
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

    /// Plans to ask for memberships that were not answered in time. Only a live ledger does: nothing is asked while replaying.
    async fn plan_resolution(&mut self) {
        if self.resolving.is_some() {
            return;
        }
        let Some(ledger) = &mut self.ledger else {
            return;
        };
        let mut questions = Vec::new();
        for (order_id, key) in ledger.unresolved(RESOLVE_BATCH).await {
            questions.push((order_id, Presented::from(key)));
        }
        if questions.is_empty() {
            self.resolve_pause = RESOLVE_FIRST_PAUSE;
            return;
        }
        let (membership, pause) = (self.membership.clone(), self.resolve_pause);
        self.resolving = Some(
            async move {
                tokio::time::sleep(pause).await;
                let mut standings = Vec::with_capacity(questions.len());
                for (order_id, presented) in questions {
                    standings.push((
                        order_id,
                        membership
                            .check(&presented, TraceContext::new_trace())
                            .await,
                    ));
                }
                standings
            }
            .boxed(),
        );
    }

    async fn resolve(&mut self, standings: Vec<(OrderId, MemberStanding)>) {
        let Some(store) = self.catalog.current().stores.get(&self.store_id).cloned() else {
            return;
        };
        let works: Vec<Work> = standings
            .into_iter()
            .filter(|(_, standing)| !matches!(standing, MemberStanding::Unverified(_)))
            .map(|(order_id, standing)| Work {
                command: Command::ResolveMembership(ResolveMembership { order_id, standing }),
                actor: Actor {
                    principal: "system",
                    traceparent: TraceContext::new_trace().to_string(),
                    ..Actor::default()
                },
                store: store.clone(),
            })
            .collect();
        if works.is_empty() {
            self.resolve_pause = (self.resolve_pause * 2).min(RESOLVE_LONGEST_PAUSE);
            return;
        }
        self.resolve_pause = RESOLVE_FIRST_PAUSE;
        for rejection in self
            .execute(&works)
            .await
            .into_iter()
            .filter_map(Result::err)
        {
            tracing::warn!(store = %self.store_id, %rejection, "a membership could not be resolved yet");
        }
    }
}

impl Ledger {
    /// Orders accepted without an answer of the member service, with what the till presented.
    pub(crate) async fn unresolved(&mut self, most: usize) -> Vec<(OrderId, MemberKey)> {
        let ids: Vec<OrderId> = self.state().unresolved.keys().take(most).copied().collect();
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            let order = match self.existing(id).await {
                Ok(order) => order,
                Err(error) => {
                    tracing::warn!(%error, order = %id, "an unresolved order cannot be read");
                    continue;
                }
            };
            let membership = order
                .and_then(|order| order.sale().ok())
                .and_then(|sale| sale.placed.membership);
            let Some(membership) = membership else {
                continue;
            };
            if membership.outcome() != MembershipOutcome::Unverified {
                continue;
            }
            let key = match <[u8; 32]>::try_from(membership.card_token_sha256.as_ref()) {
                Ok(hash) => Some(MemberKey::CardSha256(hash)),
                Err(_) => Uuid::try_parse(&membership.member_id)
                    .ok()
                    .map(MemberKey::MemberId),
            };
            found.extend(key.map(|key| (id, key)));
        }
        found
    }
}
