//! One store's ledger as ordering holds it: state in memory, the event log behind it, the index of older commands beside it.

mod append;
mod batch;
mod behind;
mod execute;
mod fetch;
mod fold;
mod index;
mod load;
mod lot;
mod newest;
mod notes;
mod payload;
mod recents;
mod second_clock;
mod snapshot;
#[cfg(test)]
mod tests;
mod witness;
mod witnesses;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use contract::api::ordering::Order;
use contract::event::event::Event;
use contract::{Currency, OrderId, Reason, Rejection, StoreId};
use event_log::{EventLog, LedgerName, LogError, Revision, Tip};
use tokio::sync::OnceCell;

use self::behind::Behind;
pub use self::execute::Executed;
pub use self::fetch::{Fetch, Fetched};
pub use self::index::{CommandIndex, IndexError};
use self::newest::Newest;
use self::recents::Recents;
pub use self::second_clock::SecondClock;
use self::snapshot::Keeper;
pub use self::witness::{acquaint, examine};

use crate::catalog::Store;
use crate::domain::{Actor, Command, CommandId, ContentHash, OrderState, StoreState, UnknownForm};

/// Commands of one record.
pub const MAX_COMMANDS_PER_RECORD: usize = 256;

/// The currency of a request's amounts, and the field that states it.
#[derive(Debug, Clone)]
pub struct Stated {
    pub field: String,
    pub currency: Currency,
}

impl Stated {
    /// Of a store that sells in another.
    #[must_use]
    pub fn refusal(&self, currency: Currency) -> Rejection {
        let message = format!("the store sells in {currency}, not in {}", self.currency);
        Rejection::field(Reason::WrongCurrency, self.field.clone(), message)
    }
}

/// A command to be carried out.
#[derive(Debug, Clone)]
pub struct Work {
    pub command: Command,
    pub actor: Actor,
    pub store: Arc<Store>,
    pub stated: Option<Stated>,
    /// Why it cannot be carried out, for whatever reason of the caller's. Told only if it is not recorded already.
    pub refusal: Option<Rejection>,
}

impl Work {
    #[must_use]
    pub fn new(command: Command, actor: Actor, store: Arc<Store>) -> Self {
        Self {
            command,
            actor,
            store,
            stated: None,
            refusal: None,
        }
    }
}

/// What a command came to.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The order right after the command; `None` for commands that concern none.
    pub order: Option<OrderAt>,
    /// The command's last event, for commands that concern no order.
    pub fact: Option<Box<Event>>,
    /// The record that proves it.
    pub revision: u64,
    /// The ledger's, for ever.
    pub currency: Option<Currency>,
    /// The command had been recorded before.
    pub replayed: bool,
}

/// An order as one of its events left it. Shared with the ledger; what a caller sees is made of it by the caller.
#[derive(Debug, Clone)]
pub struct OrderAt {
    order: Arc<OrderState>,
    currency: Currency,
    /// Revision and index of the event.
    up_to: (u64, u32),
}

impl Answer {
    /// The order for the API.
    #[must_use]
    pub fn view(&self, store_id: &StoreId) -> Option<Order> {
        let at = self.order.as_ref()?;
        at.order.view(store_id, at.currency, at.up_to)
    }

    /// The order with everything that the ledger knew of it when it answered, also what came after the command.
    #[must_use]
    pub fn view_now(&self, store_id: &StoreId) -> Option<Order> {
        let at = self.order.as_ref()?;
        at.order.view(store_id, at.currency, (u64::MAX, u32::MAX))
    }
}

pub type Verdict = Result<Answer, Rejection>;

/// Where a command is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub content_hash: [u8; 32],
    /// By which form of the content it was hashed.
    pub content_hash_version: u32,
    pub revision: u64,
    /// Place in the record of the command's last event.
    pub event_index: u32,
    pub order_id: Option<OrderId>,
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("ledger {ledger}, revision {revision}: {form}")]
    UnknownForm {
        ledger: LedgerName,
        revision: Revision,
        form: UnknownForm,
    },
    #[error("ledger {ledger} cannot be folded: {detail}")]
    Corrupt { ledger: LedgerName, detail: String },
}

impl LedgerError {
    /// Whether the ledger in memory cannot be trusted any more. Whatever only does not answer now leaves it as it is: opening all
    /// ledgers again because a disk or a network is slow would make it slower.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        !matches!(self, Self::Log(LogError::Unavailable(_)) | Self::Index(_))
    }

    /// What a caller is told.
    #[must_use]
    pub fn rejection(&self) -> Rejection {
        let reason = match self {
            Self::Log(LogError::Unavailable(_)) => Reason::LogUnavailable,
            Self::Log(LogError::Changed(_)) => Reason::LogChanged,
            Self::Log(LogError::UpgradeRequired { .. }) | Self::UnknownForm { .. } => {
                Reason::UpgradeRequired
            }
            Self::Log(LogError::Broken { .. }) | Self::Corrupt { .. } => Reason::LedgerBroken,
            Self::Log(LogError::Unusable(_)) => Reason::Internal,
            Self::Index(error) if error.is_away() => Reason::DatabaseUnavailable,
            // It would say the same again: somebody has to act.
            Self::Index(_) => Reason::Internal,
        };
        Rejection::new(reason, reason.meaning())
    }
}

/// The ledger of one store. Whoever owns it is the only one in this process to decide for the store.
pub struct Ledger {
    log: Arc<dyn EventLog>,
    index: CommandIndex,
    store_id: StoreId,
    name: LedgerName,
    state: StoreState,
    tip: Option<Tip>,
    recents: Recents,
    behind: Behind,
    keeper: Keeper,
    /// Records that had to be folded when it was opened.
    folded: usize,
    /// Whether there is anything before [`Self::recents`] that has to be looked up in the index: a closed day, or what a snapshot reflects.
    has_history: bool,
    /// Of the index, since something left [`Self::recents`] for it; read when it is needed.
    newest: OnceCell<Newest>,
    /// A catch-up was begun and not completed.
    is_behind: bool,
    second_clock: SecondClock,
}

/// Whether a command is recorded already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    No,
    Yes,
    /// Its id is, with other content.
    OtherContent,
}

fn other_content(id: CommandId) -> Rejection {
    let message = "the id was used before for a command with other content";
    Rejection::new(Reason::IdReused, message).with("id", id.0)
}

impl Ledger {
    /// Gives the ledger a second opinion on what time it is. Without one the caller's clock is taken for right, as of an import.
    pub fn set_second_clock(&mut self, second_clock: SecondClock) {
        self.second_clock = second_clock;
    }

    #[must_use]
    pub fn state(&self) -> &StoreState {
        &self.state
    }

    /// The last revision that this state reflects.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.tip.map_or(0, |tip| tip.chain.revision.0)
    }

    /// How many records had to be folded when it was opened: all since its snapshot, or since its last close.
    #[must_use]
    pub fn folded(&self) -> usize {
        self.folded
    }

    /// When the last record was recorded.
    #[must_use]
    pub fn recorded_at(&self) -> Option<jiff::Timestamp> {
        self.tip
            .and_then(|tip| jiff::Timestamp::from_microsecond(tip.chain.recorded_at_us).ok())
    }

    /// What became of a command: its first answer, or `None` when it is not recorded up to [`Self::revision`], which may be behind. With a content hash, a
    /// command of other content is `ID_REUSED`.
    pub async fn outcome(
        &mut self,
        id: CommandId,
        hash: Option<ContentHash>,
    ) -> Result<Option<Verdict>, LedgerError> {
        let entry = self.find(&[id]).await?.remove(&id);
        match entry {
            Some(entry) => Ok(Some(self.first_answer(id, hash, entry).await?)),
            None => Ok(None),
        }
    }

    /// What became of a command, as of now: other instances' records included.
    pub async fn outcome_now(
        &mut self,
        id: CommandId,
        hash: Option<ContentHash>,
    ) -> Result<Option<Verdict>, LedgerError> {
        if let Some(verdict) = self.outcome(id, hash).await? {
            return Ok(Some(verdict));
        }
        self.look().await?;
        self.outcome(id, hash).await
    }

    /// Brings the state up to the ledger's end.
    pub async fn look(&mut self) -> Result<(), LedgerError> {
        if !self.is_current().await? {
            self.catch_up().await?;
        }
        Ok(())
    }

    /// The store by the ledger's own settings, once it is open.
    #[must_use]
    pub fn as_it_was_configured(&self) -> Option<Arc<Store>> {
        let (currency, settings) = (self.currency()?, self.state.settings.as_ref()?);
        Store::of_ledger(self.store_id.clone(), currency, &settings.0).map(Arc::new)
    }

    /// Which of these commands are recorded already, in their order. Cheaper than asking for each outcome.
    pub async fn repeats(&self, commands: &[Command]) -> Result<Vec<Repeat>, LedgerError> {
        let ids: Vec<CommandId> = commands.iter().filter_map(Command::id).collect();
        let found = self.find(&ids).await?;
        commands
            .iter()
            .map(|command| {
                match (
                    command.id().and_then(|id| found.get(&id)),
                    ContentHash::of(command),
                ) {
                    (None, _) => Ok(Repeat::No),
                    (Some(entry), Some(hash)) if self.is_repeat(&hash, entry)? => Ok(Repeat::Yes),
                    (Some(_), _) => Ok(Repeat::OtherContent),
                }
            })
            .collect()
    }

    /// Which of these commands are recorded up to [`Self::revision`].
    pub async fn known(&self, ids: &[CommandId]) -> Result<HashSet<CommandId>, LedgerError> {
        Ok(self.find(ids).await?.into_keys().collect())
    }

    async fn first_answer(
        &mut self,
        id: CommandId,
        hash: Option<ContentHash>,
        entry: Entry,
    ) -> Result<Verdict, LedgerError> {
        if let Some(hash) = hash {
            match self.is_repeat(&hash, &entry) {
                Ok(true) => {}
                Ok(false) => {
                    return Ok(Err(other_content(id)));
                }
                // It concerns this command alone; the ledger is as good as before.
                Err(error) => {
                    return Ok(Err(Rejection::new(
                        error.rejection().reason,
                        error.to_string(),
                    )
                    .with("id", id.0)));
                }
            }
        }
        let (order, fact) = match entry.order_id {
            Some(order_id) => (
                self.order(order_id)
                    .await?
                    .and_then(|order| self.order_at(order, (entry.revision, entry.event_index))),
                None,
            ),
            None => {
                let fact = self.event(entry.revision, entry.event_index).await?;
                (None, fact.map(Box::new))
            }
        };
        Ok(Ok(Answer {
            order,
            fact,
            revision: entry.revision,
            currency: self.currency(),
            replayed: true,
        }))
    }

    /// Whether a command has the content of the one that was recorded, by the form that it was recorded with.
    fn is_repeat(&self, hash: &ContentHash, entry: &Entry) -> Result<bool, LedgerError> {
        hash.is(entry.content_hash_version, &entry.content_hash)
            .map_err(|form| LedgerError::UnknownForm {
                ledger: self.name.clone(),
                revision: Revision(entry.revision),
                form,
            })
    }

    async fn event(&self, revision: u64, index: u32) -> Result<Option<Event>, LedgerError> {
        let record = self.record(revision).await?;
        Ok(payload::event_at(&payload::decode(&record)?, index))
    }

    /// The store's currency, once its ledger is open.
    #[must_use]
    pub fn currency(&self) -> Option<Currency> {
        self.state.identity.map(|identity| identity.currency)
    }

    async fn find(&self, ids: &[CommandId]) -> Result<HashMap<CommandId, Entry>, LedgerError> {
        let mut found = HashMap::new();
        let mut older = Vec::new();
        for id in ids {
            match self.recents.command(&id.0) {
                Some(entry) => {
                    found.insert(*id, entry);
                }
                None => older.push(*id),
            }
        }
        if !self.has_history || older.is_empty() {
            return Ok(found);
        }
        // New commands are not looked up: nearly all are new.
        let newest = || self.index.newest(&self.store_id);
        let newest = self.newest.get_or_try_init(newest).await?;
        older.retain(|id| !newest.rules_out(&id.0));
        if !older.is_empty() {
            found.extend(self.index.commands(&self.store_id, &older).await?);
        }
        Ok(found)
    }

    fn order_at(&self, order: Arc<OrderState>, up_to: (u64, u32)) -> Option<OrderAt> {
        let currency = self.currency()?;
        Some(OrderAt {
            order,
            currency,
            up_to,
        })
    }
}
