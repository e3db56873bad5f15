use std::collections::HashSet;
use std::time::Duration;

use contract::event::RecordPayload;
use contract::{OrderId, Reason, Rejection};
use event_log::{ChainState, Expectation, LogError, Outcome, Record, Tip};
use runtime::Clock;
use tokio::time::Instant;

use super::batch::{Batch, Decided};
use super::notes::Notes;
use super::{Answer, Ledger, LedgerError, Verdict, Work, fold, other_content};
use crate::domain::{Command, CommandId, ContentHash, StoreState};

/// How long one attempt at an append may take before it is tried again with the same bytes.
const ATTEMPT: Duration = Duration::from_secs(2);
/// First and longest pause between two attempts, and while something is waited for that must come.
const PAUSE_BETWEEN_ATTEMPTS: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often it is said again that an outcome is still unknown: a log of words may be on the disk that is full.
const SAID_AGAIN: Duration = Duration::from_secs(30);
/// How long a log that cannot be reached at all is tried before the commands are refused: nothing was sent.
const UNREACHABLE_PATIENCE: Duration = Duration::from_secs(3);
/// Compare-and-appends that may be lost to other instances in a row.
const MAX_CONFLICTS: u32 = 5;
const CONFLICT_PAUSE_MS: u64 = 4;
/// How often a tail that must be there is looked for.
const TAIL_LOOKS: u32 = 40;

/// A command on its way through rounds of deciding and appending.
enum Progress {
    Waiting,
    Recorded { last_event: u32 },
    Done(Box<Verdict>),
}

/// What an append came to.
enum Landed {
    Stored(Tip),
    Lost,
    /// Nothing was sent.
    Unreachable(LedgerError),
    /// It was sent, and now the log cannot tell: whoever asked has to ask again.
    Unclear(LedgerError),
}

impl Ledger {
    /// Carries out commands, in as few records as possible. Returns one verdict for each, in their order, once all that is told as
    /// recorded is durable. May take as long as an append's outcome is unknown; callers with a deadline do not wait for it.
    ///
    /// `Err`: the ledger is of no use any more and has to be opened again; the verdicts say what to tell. When the log or the index only
    /// does not answer, the commands are refused and the ledger goes on.
    pub async fn execute(
        &mut self,
        works: &[Work],
        clock: &Clock,
    ) -> (Vec<Verdict>, Result<(), LedgerError>) {
        let mut progress: Vec<Progress> = works.iter().map(|_| Progress::Waiting).collect();
        let mut conflicts = 0;
        let ended = loop {
            match self.round(works, &mut progress, clock).await {
                Ok(Round::Done) => break Ok(()),
                Ok(Round::More) => conflicts = 0,
                Ok(Round::Conflict) => {
                    conflicts += 1;
                    if conflicts >= MAX_CONFLICTS {
                        settle(
                            &mut progress,
                            &Rejection::new(
                                Reason::TooManyConflicts,
                                Reason::TooManyConflicts.meaning(),
                            ),
                        );
                        break Ok(());
                    }
                    let spread = rand::random_range(0..CONFLICT_PAUSE_MS << conflicts);
                    tokio::time::sleep(Duration::from_millis(spread)).await;
                }
                Err((rejection, error)) => {
                    settle(&mut progress, &rejection);
                    if error.is_lasting() {
                        break Err(error);
                    }
                    tracing::warn!(ledger = %self.name, %error, "commands were refused");
                    break Ok(());
                }
            }
        };
        self.state.forget_touched();
        let verdicts = progress
            .into_iter()
            .map(|progress| match progress {
                Progress::Done(verdict) => *verdict,
                Progress::Waiting | Progress::Recorded { .. } => Err(Rejection::new(
                    Reason::Internal,
                    "a command was left undecided",
                )),
            })
            .collect();
        (verdicts, ended)
    }

    /// One record: repeats answered, orders fetched, the rest decided and appended.
    async fn round(
        &mut self,
        works: &[Work],
        progress: &mut [Progress],
        clock: &Clock,
    ) -> Result<Round, (Rejection, LedgerError)> {
        let refuse = |error: LedgerError| (error.rejection(), error);
        if self.is_behind {
            self.catch_up().await.map_err(refuse)?;
        }
        let waiting: Vec<usize> = (0..works.len())
            .filter(|&index| matches!(progress[index], Progress::Waiting))
            .collect();
        let ids: Vec<CommandId> = waiting
            .iter()
            .filter_map(|&index| works[index].command.id())
            .collect();
        let found = self.find(&ids).await.map_err(refuse)?;
        let placed: HashSet<OrderId> = waiting
            .iter()
            .filter_map(|&index| works[index].command.new_order())
            .filter(|id| !found.contains_key(&(*id).into()))
            .collect();
        for index in waiting {
            let command = &works[index].command;
            if let Some((id, entry)) = command.id().and_then(|id| Some((id, *found.get(&id)?))) {
                let verdict = if self.states_another_currency(&works[index]) {
                    Err(other_content(id))
                } else {
                    self.first_answer(id, ContentHash::of(command), entry)
                        .await
                        .map_err(refuse)?
                };
                progress[index] = done(verdict);
                continue;
            }
            if let Some(id) = command.existing_order()
                && self.state.order(id).is_none()
                && !placed.contains(&id)
                && let Some(order) = self.order(id).await.map_err(refuse)?
            {
                self.state.hold(id, order);
            }
        }
        if progress
            .iter()
            .all(|progress| matches!(progress, Progress::Done(_)))
        {
            return Ok(Round::Done);
        }
        let terminals = works.iter().filter_map(|work| work.actor.client_time);
        let reading = match self.second_clock.read(clock, terminals).await {
            Ok(reading) => reading,
            Err(error) => {
                // Nothing is recorded by one clock alone; the ledger is as good as before.
                settle(progress, &LedgerError::from(error).rejection());
                return Ok(Round::Done);
            }
        };
        let mut batch = Batch::begin(self.state.clone(), self.tip, &self.name, reading);
        // While a day is overdue, a money command has to come first: its record begins with the close.
        let overdue = batch.is_overdue();
        let mut order: Vec<usize> = (0..works.len())
            .filter(|&index| matches!(progress[index], Progress::Waiting))
            .collect();
        if overdue {
            order.sort_by_key(|&index| match &works[index].command {
                // A close by hand, with its counts, goes before the one that a sale would cause.
                Command::CloseBusinessDay(_) => 0,
                command if command.moves_money() => 1,
                _ => 2,
            });
        }
        // A refusal is no append, so nothing guards it against a state that another instance has moved on: it counts once this state is
        // known to be the ledger's.
        let mut refusals = Vec::new();
        for index in order {
            match batch.decide(&works[index]) {
                Decided::Recorded { last_event } => {
                    progress[index] = Progress::Recorded { last_event }
                }
                Decided::Nothing => {
                    progress[index] = done(Ok(Answer {
                        order: None,
                        fact: None,
                        revision: self.revision(),
                        currency: self.currency(),
                        replayed: false,
                    }));
                }
                Decided::Rejected(rejection) => refusals.push((index, rejection)),
                Decided::Poisoned(rejection) => {
                    wait_again(progress);
                    progress[index] = done(Err(rejection));
                    return Ok(Round::More);
                }
                Decided::Later => {}
            }
        }
        let sealed = batch
            .seal()
            .map_err(|rejection| (rejection.clone(), self.corrupt(&rejection)))?;
        let Some((record, payload, state)) = sealed else {
            if !refusals.is_empty() {
                if !self.is_current().await.map_err(refuse)? {
                    self.catch_up().await.map_err(refuse)?;
                    return Ok(Round::Conflict);
                }
                refuse_all(progress, refusals);
            }
            let waiting = progress
                .iter()
                .any(|progress| matches!(progress, Progress::Waiting));
            // Nothing was decided and nothing is in the way of what waits: that would go on for ever.
            return if waiting {
                Err((
                    Rejection::new(Reason::Internal, "nothing could be decided"),
                    self.corrupt(&"a round without progress"),
                ))
            } else {
                Ok(Round::Done)
            };
        };
        match self.append(&record).await {
            Landed::Stored(tip) => {
                self.stored(&record, &payload, state, tip);
                self.answer(works, progress, &record, &payload);
                refuse_all(progress, refusals);
                Ok(Round::More)
            }
            Landed::Lost => {
                wait_again(progress);
                self.see_tail().await.map_err(refuse)?;
                Ok(Round::Conflict)
            }
            Landed::Unreachable(error) => Err(refuse(error)),
            Landed::Unclear(error) => Err((
                Rejection::new(Reason::OutcomeUnknown, Reason::OutcomeUnknown.meaning()),
                error,
            )),
        }
    }

    /// Amounts in another currency are other content, whatever their numbers.
    fn states_another_currency(&self, work: &Work) -> bool {
        let stated = work.stated.as_ref().map(|stated| stated.currency);
        stated.is_some() && self.currency().is_some() && stated != self.currency()
    }

    fn corrupt(&self, detail: &dyn std::fmt::Display) -> LedgerError {
        LedgerError::Corrupt {
            ledger: self.name.clone(),
            detail: detail.to_string(),
        }
    }

    /// Appends a frozen record until it is known what became of it.
    async fn append(&self, record: &Record) -> Landed {
        let expectation = self.tip.map_or(Expectation::Empty, Expectation::Tip);
        let began = Instant::now();
        let mut sent = false;
        let mut pause = PAUSE_BETWEEN_ATTEMPTS;
        let mut said: Option<Instant> = None;
        loop {
            match self
                .log
                .append(record, &expectation, Instant::now() + ATTEMPT)
                .await
            {
                Ok(Outcome::Stored(appended)) => return Landed::Stored(appended.tip),
                Ok(Outcome::Conflict) => return Landed::Lost,
                Ok(Outcome::Unknown(cause)) => {
                    sent = true;
                    if said.is_none_or(|said| said.elapsed() >= SAID_AGAIN) {
                        said = Some(Instant::now());
                        tracing::warn!(ledger = %self.name, revision = %record.revision(), cause, "append: outcome unknown, sending the same again");
                    }
                }
                Err(LogError::Unavailable(cause)) => {
                    if !sent && began.elapsed() >= UNREACHABLE_PATIENCE {
                        return Landed::Unreachable(LogError::Unavailable(cause).into());
                    }
                }
                Err(error) if sent => return Landed::Unclear(error.into()),
                Err(error) => return Landed::Unreachable(error.into()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn stored(&mut self, record: &Record, payload: &RecordPayload, state: StoreState, tip: Tip) {
        self.state = state;
        self.tip = Some(tip);
        let chain = ChainState::after(record);
        self.note(record, Notes::of(payload, chain, tip.position));
        self.index.witnesses.saw(&self.store_id, &chain);
    }

    fn answer(
        &self,
        works: &[Work],
        progress: &mut [Progress],
        record: &Record,
        payload: &RecordPayload,
    ) {
        let revision = record.revision().0;
        for (work, progress) in works.iter().zip(progress.iter_mut()) {
            let Progress::Recorded { last_event } = *progress else {
                continue;
            };
            let id = work
                .command
                .new_order()
                .or_else(|| work.command.existing_order());
            let order = id
                .and_then(|id| self.state.order(id))
                .and_then(|order| self.order_at(order.clone(), (revision, last_event)));
            let fact = if id.is_none() {
                fold::event_at(payload, last_event).map(Box::new)
            } else {
                None
            };
            *progress = done(Ok(Answer {
                order,
                fact,
                revision,
                currency: self.currency(),
                replayed: false,
            }));
        }
    }

    /// After a lost compare-and-append somebody else's record is there, or an orphan; it is seen before anything is decided again.
    async fn see_tail(&mut self) -> Result<(), LedgerError> {
        let before = self.tip.map(|tip| tip.position);
        for _ in 0..TAIL_LOOKS {
            if self.catch_up().await? > 0 || self.tip.map(|tip| tip.position) != before {
                return Ok(());
            }
            tokio::time::sleep(PAUSE_BETWEEN_ATTEMPTS).await;
        }
        Err(LogError::Unavailable(format!(
            "the record that stands at the end of ledger {} cannot be read",
            self.name
        ))
        .into())
    }
}

enum Round {
    Done,
    More,
    Conflict,
}

fn refuse_all(progress: &mut [Progress], refusals: Vec<(usize, Rejection)>) {
    for (index, rejection) in refusals {
        progress[index] = done(Err(rejection));
    }
}

/// What was decided for a record that did not land has to be decided again.
fn wait_again(progress: &mut [Progress]) {
    for progress in progress
        .iter_mut()
        .filter(|progress| matches!(progress, Progress::Recorded { .. }))
    {
        *progress = Progress::Waiting;
    }
}

fn done(verdict: Verdict) -> Progress {
    Progress::Done(Box::new(verdict))
}

fn settle(progress: &mut [Progress], rejection: &Rejection) {
    for progress in progress
        .iter_mut()
        .filter(|progress| !matches!(progress, Progress::Done(_)))
    {
        *progress = done(Err(rejection.clone()));
    }
}
