//! The way of commands through rounds: each decides what waits, and appends it as one record.

use std::collections::HashSet;
use std::time::Duration;

use contract::event::RecordPayload;
use contract::{OrderId, Reason, Rejection};
use event_log::{ChainState, Record, Tip};
use runtime::Clock;

use super::append::Landed;
use super::batch::{Batch, Decided, Sealed};
use super::lot::{Lot, Refusal};
use super::notes::Notes;
use super::{Answer, Ledger, LedgerError, Verdict, Work, other_content, payload};
use crate::domain::{Command, CommandId, ContentHash, StoreState};

/// Compare-and-appends that may be lost to other instances in a row.
const MAX_CONFLICTS: u32 = 5;
const CONFLICT_PAUSE_MS: u64 = 4;

/// What carrying out commands came to.
#[derive(Debug)]
pub struct Executed {
    /// One for each command, in their order.
    pub verdicts: Vec<Verdict>,
    /// `Err`: the ledger is of no use any more and has to be opened again; the verdicts say what to tell.
    pub ended: Result<(), LedgerError>,
}

/// What one round came to.
enum Round {
    /// Every command has its verdict.
    Done,
    /// There may be more to decide.
    More,
    /// Another instance was faster: what it recorded has been seen, and everything is decided again.
    Conflict,
}

/// Why a round could not be ended.
struct Failed {
    /// What is told to those who still wait.
    rejection: Rejection,
    error: LedgerError,
}

impl From<LedgerError> for Failed {
    fn from(error: LedgerError) -> Self {
        let rejection = error.rejection();
        Self { rejection, error }
    }
}

impl Ledger {
    /// Carries out commands, in as few records as possible. Returns once all that is told as recorded is durable. May take as long as an
    /// append's outcome is unknown; callers with a deadline do not wait for it. When the log or the index only does not answer, the commands
    /// are refused and the ledger goes on.
    pub async fn execute(&mut self, works: &[Work], clock: &Clock) -> Executed {
        let mut lot = Lot::of(works);
        let mut conflicts = 0;
        let ended = loop {
            match self.round(&mut lot, clock).await {
                Ok(Round::Done) => break Ok(()),
                Ok(Round::More) => conflicts = 0,
                Ok(Round::Conflict) => {
                    conflicts += 1;
                    if conflicts >= MAX_CONFLICTS {
                        let reason = Reason::TooManyConflicts;
                        lot.refuse_rest(&Rejection::new(reason, reason.meaning()));
                        break Ok(());
                    }
                    let spread = rand::random_range(0..CONFLICT_PAUSE_MS << conflicts);
                    tokio::time::sleep(Duration::from_millis(spread)).await;
                }
                Err(Failed { rejection, error }) => {
                    lot.refuse_rest(&rejection);
                    if error.is_lasting() {
                        break Err(error);
                    }
                    tracing::warn!(ledger = %self.name, %error, "commands were refused");
                    break Ok(());
                }
            }
        };
        self.state.forget_touched();
        Executed {
            verdicts: lot.verdicts(),
            ended,
        }
    }

    /// One record: repeats answered, orders fetched, the rest decided and appended.
    async fn round(&mut self, lot: &mut Lot<'_>, clock: &Clock) -> Result<Round, Failed> {
        if self.is_behind {
            self.catch_up().await?;
        }
        self.answer_repeats(lot).await?;
        self.hold_orders(lot).await?;
        if lot.is_done() {
            return Ok(Round::Done);
        }
        let terminals = lot.works().iter();
        let terminals = terminals.filter_map(|work| work.actor.client_time);
        let reading = match self.second_clock.read(clock, terminals).await {
            Ok(reading) => reading,
            Err(error) => {
                // Nothing is recorded by one clock alone; the ledger is as good as before.
                lot.refuse_rest(&LedgerError::from(error).rejection());
                return Ok(Round::Done);
            }
        };
        let mut batch = Batch::begin(self.state.clone(), self.tip, &self.name, reading);
        let Some(refusals) = self.decide(&mut batch, lot) else {
            return Ok(Round::More);
        };
        let sealed = batch.seal().map_err(|rejection| Failed {
            error: self.corrupt(&rejection),
            rejection,
        })?;
        match sealed {
            Some(sealed) => self.record_all(lot, sealed, refusals).await,
            None => self.refuse_all(lot, refusals).await,
        }
    }

    /// Whoever repeats a command gets its first answer.
    async fn answer_repeats(&mut self, lot: &mut Lot<'_>) -> Result<(), LedgerError> {
        let ids: Vec<CommandId> = lot
            .waiting()
            .filter_map(|(_, work)| work.command.id())
            .collect();
        let found = self.find(&ids).await?;
        if found.is_empty() {
            return Ok(());
        }
        let waiting: Vec<(usize, &Work)> = lot.waiting().collect();
        for (index, work) in waiting {
            let Some((id, entry)) = work
                .command
                .id()
                .and_then(|id| Some((id, *found.get(&id)?)))
            else {
                continue;
            };
            let verdict = if self.states_another_currency(work) {
                Err(other_content(id))
            } else {
                self.first_answer(id, ContentHash::of(&work.command), entry)
                    .await?
            };
            lot.settle(index, verdict);
        }
        Ok(())
    }

    /// Brings the orders that commands concern into memory, but for those which other commands of the lot place.
    async fn hold_orders(&mut self, lot: &Lot<'_>) -> Result<(), LedgerError> {
        let placed: HashSet<OrderId> = lot
            .waiting()
            .filter_map(|(_, work)| work.command.new_order())
            .collect();
        for (_, work) in lot.waiting() {
            if let Some(id) = work.command.existing_order()
                && self.state.order(id).is_none()
                && !placed.contains(&id)
                && let Some(order) = self.order(id).await?
            {
                self.state.hold(id, order);
            }
        }
        Ok(())
    }

    /// Decides all that waits into a batch, as far as it holds them. Returns the decisions against commands; `None`: a command has spoilt
    /// the batch and is refused, and the others are decided again without it.
    ///
    /// A refusal is no append, so nothing guards it against a state that another instance has moved on: it counts once this state is known
    /// to be the ledger's.
    fn decide(&self, batch: &mut Batch<'_>, lot: &mut Lot<'_>) -> Option<Vec<Refusal>> {
        let mut refusals = Vec::new();
        for index in order_of_deciding(lot, batch.is_overdue()) {
            match batch.decide(&lot.works()[index]) {
                Decided::Added { last_event } => lot.add(index, last_event),
                Decided::Nothing => lot.settle(index, Ok(self.answer_at(self.revision()))),
                Decided::Rejected(rejection) => refusals.push(Refusal { index, rejection }),
                Decided::Poisoned(rejection) => {
                    lot.wait_again();
                    lot.settle(index, Err(rejection));
                    return None;
                }
                Decided::Later => {}
            }
        }
        Some(refusals)
    }

    /// Appends what was decided, and answers once it is stored.
    async fn record_all(
        &mut self,
        lot: &mut Lot<'_>,
        sealed: Sealed,
        refusals: Vec<Refusal>,
    ) -> Result<Round, Failed> {
        let Sealed {
            record,
            payload,
            state,
        } = sealed;
        match self.append(&record).await {
            Landed::Stored(tip) => {
                self.take_stored(&record, &payload, state, tip);
                self.answer_added(lot, &record, &payload);
                lot.refuse(refusals);
                Ok(Round::More)
            }
            Landed::Lost => {
                lot.wait_again();
                self.see_tail().await?;
                Ok(Round::Conflict)
            }
            Landed::Unreachable(error) => Err(error.into()),
            Landed::Unclear(error) => Err(Failed {
                rejection: Rejection::new(Reason::OutcomeUnknown, Reason::OutcomeUnknown.meaning()),
                error,
            }),
        }
    }

    /// Nothing is to be recorded: refusals are told if the state that they were decided by is the ledger's last.
    async fn refuse_all(
        &mut self,
        lot: &mut Lot<'_>,
        refusals: Vec<Refusal>,
    ) -> Result<Round, Failed> {
        if !refusals.is_empty() {
            if !self.is_current().await? {
                self.catch_up().await?;
                return Ok(Round::Conflict);
            }
            lot.refuse(refusals);
        }
        if lot.is_done() {
            return Ok(Round::Done);
        }
        // Nothing was decided and nothing is in the way of what waits: that would go on for ever.
        Err(Failed {
            rejection: Rejection::new(Reason::Internal, "nothing could be decided"),
            error: self.corrupt(&"a round without progress"),
        })
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

    /// A record of this instance is stored: its state is the ledger's.
    fn take_stored(
        &mut self,
        record: &Record,
        payload: &RecordPayload,
        state: StoreState,
        tip: Tip,
    ) {
        self.state = state;
        self.tip = Some(tip);
        let chain = ChainState::after(record);
        self.note(record, Notes::of(payload, chain, tip.position));
        self.index.witnesses.saw(&self.store_id, &chain);
    }

    /// Answers the commands whose events are in a record that is stored.
    fn answer_added(&self, lot: &mut Lot<'_>, record: &Record, payload: &RecordPayload) {
        let revision = record.revision().0;
        for (index, work) in lot.works().iter().enumerate() {
            let Some(last_event) = lot.added(index) else {
                continue;
            };
            let mut answer = self.answer_at(revision);
            let command = &work.command;
            match command.new_order().or_else(|| command.existing_order()) {
                Some(id) => {
                    let order = self.state.order(id).cloned();
                    answer.order =
                        order.and_then(|order| self.order_at(order, (revision, last_event)));
                }
                None => answer.fact = payload::event_at(payload, last_event).map(Box::new),
            }
            lot.settle(index, Ok(answer));
        }
    }

    /// What is answered, but for the order or the event.
    fn answer_at(&self, revision: u64) -> Answer {
        Answer {
            order: None,
            fact: None,
            revision,
            currency: self.currency(),
            replayed: false,
        }
    }
}

/// In which order what waits is decided. While a day is overdue, a money command has to come first: its record begins with the close.
fn order_of_deciding(lot: &Lot<'_>, overdue: bool) -> Vec<usize> {
    let mut order: Vec<usize> = lot.waiting().map(|(index, _)| index).collect();
    if overdue {
        order.sort_by_key(|&index| match &lot.works()[index].command {
            // A close by hand, with its counts, goes before the one that a sale would cause.
            Command::CloseBusinessDay(_) => 0,
            command if command.moves_money() => 1,
            _ => 2,
        });
    }
    order
}
