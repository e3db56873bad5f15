use std::sync::Arc;

use contract::StoreId;
use contract::event::event::Event;
use event_log::{ChainState, EventLog, LedgerName, LogError, Placed, Record, Revision, Tip};
use tokio::sync::OnceCell;

use super::behind::Behind;
use super::notes::Notes;
use super::recents::Recents;
use super::snapshot::Keeper;
use super::witness::confirm;
use super::witnesses::Witness;
use super::{CommandIndex, Ledger, LedgerError, SecondClock, fold, payload};
use crate::domain::StoreState;

/// Records read at once.
const PAGE: usize = 512;
/// Commands gathered before they are written to the index.
const INDEX_BATCH: usize = 20_000;

/// A ledger as seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resting {
    /// The last one; 0 without any.
    pub revision: u64,
    /// Whether it is sure that no business day is open.
    pub nothing_open: bool,
}

impl Ledger {
    /// Loads a store's ledger: folds on from its snapshot, or from its last close after bringing the index up to there.
    pub async fn open(
        log: Arc<dyn EventLog>,
        index: CommandIndex,
        store_id: StoreId,
    ) -> Result<Self, LedgerError> {
        let name = LedgerName::new(store_id.as_str())
            .map_err(|error| LogError::Unusable(error.to_string()))?;
        let mut ledger = Self {
            log,
            index,
            store_id,
            name,
            state: StoreState::default(),
            tip: None,
            recents: Recents::default(),
            behind: Behind::default(),
            keeper: Keeper::default(),
            folded: 0,
            has_history: false,
            newest: OnceCell::new(),
            is_behind: false,
            second_clock: SecondClock::none(),
        };
        // What was seen in the ledger must be in it still: the index is a witness like any other.
        let indexed = ledger.index.stamp(&ledger.store_id).await?;
        let seen = ledger.index.witness(&ledger.store_id).await?;
        for witness in [seen, indexed.as_ref().map(Witness::from)]
            .into_iter()
            .flatten()
        {
            confirm(&*ledger.log, &ledger.store_id, witness).await?;
        }
        let Some(tip) = ledger.log.tip(&ledger.name).await? else {
            return Ok(ledger);
        };
        let begun = match ledger.take_up_snapshot(&tip, indexed.as_ref()).await? {
            Some(chain) => {
                ledger.has_history = true;
                ledger.behind = Behind::from(indexed);
                Some(chain)
            }
            None => ledger.begin_at_close(tip.fold_from).await?,
        };
        let last = ledger.fold_on(begun).await?;
        if last.map(|chain| chain.revision) < Some(tip.chain.revision) {
            return Err(LogError::Unavailable(format!(
                "ledger {} could not be read to its end",
                ledger.name
            ))
            .into());
        }
        ledger.refresh_tip().await?;
        ledger.keep_snapshot();
        Ok(ledger)
    }

    /// Makes ready for folding from the last close: all before it is in the index then. Returns the place in the chain before it.
    async fn begin_at_close(
        &mut self,
        fold_from: Revision,
    ) -> Result<Option<ChainState>, LedgerError> {
        let chain = self.index_up_to(fold_from).await?;
        self.has_history = chain.is_some();
        self.behind = Behind::from(self.index.stamp(&self.store_id).await?);
        // Up to the stamp; what the records after it say is folded in.
        let unresolved = self.index.unresolved(&self.store_id).await?;
        self.state.unresolved = unresolved.into_iter().collect();
        Ok(chain)
    }

    /// Folds all records after a place in the chain, each page while the next is being read. Returns the last one. An error leaves the
    /// ledger of no use.
    async fn fold_on(
        &mut self,
        mut chain: Option<ChainState>,
    ) -> Result<Option<ChainState>, LedgerError> {
        let mut page = self
            .log
            .read_placed(&self.name, chain.as_ref(), PAGE)
            .await?;
        while let Some(last) = page.last() {
            chain = Some(ChainState::after(&last.record));
            let state = std::mem::take(&mut self.state);
            let folding = tokio::task::spawn_blocking(move || fold_page(state, page));
            let reading = self.log.read_placed(&self.name, chain.as_ref(), PAGE);
            let (folded, next) = tokio::join!(folding, reading);
            let folded = folded.map_err(|error| LedgerError::Corrupt {
                ledger: self.name.clone(),
                detail: error.to_string(),
            })??;
            self.state = folded.state;
            self.folded += folded.records.len();
            for Noted { record, notes } in folded.records {
                self.take_over(&record);
                self.take_notes(&record, notes);
            }
            page = next?;
        }
        Ok(chain)
    }

    /// What can be told of a store's ledger without loading it, by one look at its end or two.
    pub async fn resting(log: &dyn EventLog, store_id: &StoreId) -> Result<Resting, LedgerError> {
        let name = LedgerName::new(store_id.as_str())
            .map_err(|error| LogError::Unusable(error.to_string()))?;
        let Some(tip) = log.tip(&name).await? else {
            return Ok(Resting {
                revision: 0,
                nothing_open: true,
            });
        };
        let revision = tip.chain.revision;
        // Nothing is open if a close was the last that happened.
        let nothing_open = tip.fold_from == revision
            && match log.read_one(&name, revision).await? {
                Some(record) => payload::decode(&record)?
                    .commands
                    .iter()
                    .flat_map(|command| &command.events)
                    .filter_map(|event| event.event.as_ref())
                    .all(|event| !matches!(event, Event::BusinessDayOpened(_))),
                None => false,
            };
        Ok(Resting {
            revision: revision.0,
            nothing_open,
        })
    }

    /// Reads what other instances have appended. One that fails half-way has taken in whole records and is continued before anything
    /// else is decided.
    pub(super) async fn catch_up(&mut self) -> Result<usize, LedgerError> {
        self.is_behind = true;
        let mut count = 0;
        loop {
            let chain = self.tip.map(|tip| tip.chain);
            let records = self
                .log
                .read_placed(&self.name, chain.as_ref(), PAGE)
                .await?;
            if records.is_empty() {
                break;
            }
            count += records.len();
            for placed in &records {
                self.take_in(placed)?;
            }
        }
        self.refresh_tip().await?;
        self.is_behind = false;
        self.keep_snapshot();
        Ok(count)
    }

    /// Whether the ledger still ends where this state does.
    pub(super) async fn is_current(&self) -> Result<bool, LedgerError> {
        let tip = self.log.tip(&self.name).await?;
        Ok(tip.map(|tip| tip.chain) == self.tip.map(|tip| tip.chain))
    }

    fn take_in(&mut self, placed: &Placed) -> Result<(), LedgerError> {
        let record = &placed.record;
        let payload = payload::decode(record)?;
        let mut state = self.state.clone();
        fold::fold_record(&mut state, record, &payload)?;
        state.forget_touched();
        self.state = state;
        self.take_over(record);
        let notes = Notes::of(&payload, ChainState::after(record), placed.position);
        self.take_notes(record, notes);
        Ok(())
    }

    /// Notes that a record is the last one that this state reflects. Its position is the log's to say.
    fn take_over(&mut self, record: &Record) {
        self.tip = Some(Tip {
            chain: ChainState::after(record),
            fold_from: record.header().fold_from,
            position: self.tip.map(|tip| tip.position).unwrap_or_default(),
        });
    }

    /// Notes what a record says that was appended.
    pub(super) fn note(&mut self, record: &Record, notes: Notes) {
        self.take_notes(record, notes);
        self.keep_snapshot();
    }

    /// Notes what a record says, in memory and, some time, in the index.
    fn take_notes(&mut self, record: &Record, notes: Notes) {
        let revision = record.revision();
        let closes = record.header().fold_from == revision && revision > Revision::NONE.next();
        if closes {
            self.recents.close(Revision(revision.0 - 1));
            self.has_history = true;
        }
        self.recents.take(&notes);
        self.keeper.count(notes.commands.len());
        self.behind.note(notes);
        self.behind.go_on(&self.index, &self.store_id, closes);
        let left = self.recents.leave(self.behind.written());
        if !left.is_empty() {
            self.newest = OnceCell::new();
            // A whole day's commands: freeing them takes long enough to be felt.
            tokio::task::spawn_blocking(move || drop(left));
        }
    }

    /// The log's own word on the last record; only it knows the position that an append is compared with.
    async fn refresh_tip(&mut self) -> Result<(), LedgerError> {
        let tip = self.log.tip(&self.name).await?;
        let own = self.tip.map(|tip| tip.chain.revision).unwrap_or_default();
        match tip {
            Some(tip) if self.tip.is_some_and(|own| own.chain == tip.chain) => {
                self.tip = Some(tip);
                self.index.witnesses.saw(&self.store_id, &tip.chain);
                Ok(())
            }
            // Somebody has gone on appending meanwhile: the next append will say so.
            Some(tip) if tip.chain.revision > own => Ok(()),
            None if self.tip.is_none() => Ok(()),
            _ => Err(LogError::Changed(format!(
                "ledger {} had revision {own} and no longer ends with it",
                self.name
            ))
            .into()),
        }
    }

    /// Indexes the records before `fold_from` that are not indexed yet. Returns the place in the chain before `fold_from`.
    async fn index_up_to(
        &mut self,
        fold_from: Revision,
    ) -> Result<Option<ChainState>, LedgerError> {
        let before = Revision(fold_from.0.saturating_sub(1));
        let mut chain = self.index.stamp(&self.store_id).await?;
        if before == Revision::NONE {
            return Ok(None);
        }
        if chain.is_some_and(|chain| chain.revision >= before) {
            // Indexed beyond the close that is folded from: the place in the chain is read from the record itself.
            let record = self.log.read_one(&self.name, before).await?;
            let record = record.ok_or_else(|| {
                LogError::Changed(format!(
                    "ledger {} no longer has revision {before}",
                    self.name
                ))
            })?;
            return Ok(Some(ChainState::after(&record)));
        }
        let mut notes = Notes::default();
        while chain.map_or(Revision::NONE, |chain| chain.revision) < before {
            let records = self
                .log
                .read_placed(&self.name, chain.as_ref(), PAGE)
                .await?;
            if records.is_empty() {
                return Err(LogError::Unavailable(format!(
                    "ledger {} could not be read up to revision {before}",
                    self.name
                ))
                .into());
            }
            for placed in records
                .iter()
                .take_while(|placed| placed.record.revision() <= before)
            {
                let after = ChainState::after(&placed.record);
                let payload = payload::decode(&placed.record)?;
                notes.append(Notes::of(&payload, after, placed.position));
                chain = Some(after);
            }
            let complete = chain.is_some_and(|chain| chain.revision == before);
            if notes.commands.len() >= INDEX_BATCH || complete {
                self.index
                    .add(&self.store_id, &std::mem::take(&mut notes))
                    .await?;
            }
        }
        Ok(chain)
    }
}

/// A record, and what it says.
struct Noted {
    record: Record,
    notes: Notes,
}

/// A state into which records have been folded.
struct FoldedPage {
    state: StoreState,
    records: Vec<Noted>,
}

/// Folds records into a state.
fn fold_page(mut state: StoreState, page: Vec<Placed>) -> Result<FoldedPage, LedgerError> {
    let mut records = Vec::with_capacity(page.len());
    for Placed { position, record } in page {
        let payload = payload::decode(&record)?;
        fold::fold_record(&mut state, &record, &payload)?;
        state.forget_touched();
        let notes = Notes::of(&payload, ChainState::after(&record), position);
        records.push(Noted { record, notes });
    }
    Ok(FoldedPage { state, records })
}
