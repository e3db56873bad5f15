use contract::{BusinessDate, OrderId, StoreId};
use event_log::{LogEpoch, StreamIndex};
use tokio::sync::watch;

use crate::day::DayRow;
use crate::error::ReadModelError;
use crate::export::{Export, ExportQuery};
use crate::figure::{Explained, FigureQuery};
use crate::generation::{Generation, GenerationRow};
use crate::list::{ListPage, ListRow, ReportQuery, Reported};
use crate::order::{ChangedPage, ListedOrder, OrderPage};
use crate::progress::{Progress, ProjectionStatus};
use crate::settlement::{Sales, SalesQuery, ZPage};
use crate::store::{Seen, StoreRow};
use crate::stream::{Batch, Fence, Heartbeat, StreamRow};

/// The projector's side of the read model.
///
/// Laws, which the conformance suite holds every backend to:
///
/// 1. *Fenced*: [`Self::commit`] and [`Self::release`] change something only if the stream stands at the fence's position in the fence's
///    term; otherwise they change nothing at all and say [`ReadModelError::Fenced`]. So does [`Self::beat`], for which the term alone
///    counts: it is given while a batch is under way, which moves the position.
/// 2. *Exactly once*: a batch's rows and its checkpoint are one transaction. As the checkpoint only moves on, rows read by a writer that
///    believes in a position are those of that position if its commit then succeeds; so rows may be read outside of the transaction.
/// 3. *One owner*: of all claims made on one sight of a stream at most one succeeds, and it fences the owner before.
/// 4. *Loud*: a fact or placed order that is there already is [`ReadModelError::Refused`], with the whole batch. It is never overlooked or replaced.
/// 5. *Told*: after a commit whoever listens ([`ProjectionReader::listen`]) is told, sooner or later; the news is a hint, never proof.
#[async_trait::async_trait]
pub trait ReadModelWriter: Send + Sync + 'static {
    /// Makes the tables that this build writes, if there are none: those of the live generation, if they are of this build's version, and
    /// otherwise those of one beside it, which is built from the beginning while that is read. Any number of instances may do so at once;
    /// they find the same one.
    async fn prepare(&self) -> Result<Generation, ReadModelError>;

    /// All generations with tables of this build's version: what projectors keep up to date.
    async fn written(&self) -> Result<Vec<Generation>, ReadModelError>;

    /// Makes a generation the live one, if it is not, once it has every store at least as far as the live one. False: not yet.
    async fn take_over(&self, generation: Generation) -> Result<bool, ReadModelError>;

    /// The stream's row, made with position 0 and without an owner if there was none.
    async fn stream(
        &self,
        generation: Generation,
        stream: StreamIndex,
        epoch: LogEpoch,
    ) -> Result<StreamRow, ReadModelError>;

    /// Takes the stream over from whoever had it, if nothing has happened to it since `seen` was read; `None` otherwise.
    /// A stream of which nothing has been projected yet changes to the log of `epoch`.
    async fn claim(
        &self,
        seen: &StreamRow,
        owner: &str,
        epoch: LogEpoch,
    ) -> Result<Option<StreamRow>, ReadModelError>;

    /// Lets go of the stream, so that a successor need not wait.
    async fn release(&self, fence: &Fence) -> Result<(), ReadModelError>;

    async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), ReadModelError>;

    async fn stores(
        &self,
        generation: Generation,
        stores: &[StoreId],
    ) -> Result<Vec<StoreRow>, ReadModelError>;

    /// The bodies of those orders that exist.
    async fn orders(
        &self,
        generation: Generation,
        orders: &[(StoreId, OrderId)],
    ) -> Result<Vec<(StoreId, OrderId, Vec<u8>)>, ReadModelError>;

    async fn days(
        &self,
        generation: Generation,
        days: &[(StoreId, BusinessDate)],
    ) -> Result<Vec<DayRow>, ReadModelError>;

    /// All rows of these days' lists, without names, by list and then by key.
    async fn day_lists(
        &self,
        generation: Generation,
        days: &[(StoreId, BusinessDate)],
    ) -> Result<Vec<ListRow>, ReadModelError>;

    async fn commit(&self, batch: &Batch) -> Result<(), ReadModelError>;
}

/// The generations of a read model: each built from the event log by itself, with tables of its own. One is live, and is what readers read.
///
/// Laws:
///
/// 1. *Whole*: a switch is one transaction. Every read begun before it is answered from the generation of before, and every read begun
///    half a second after it from the new one; none fails, and none sees both.
/// 2. *Kept*: the live generation is never dropped; any other one is gone at once, with all its tables.
#[async_trait::async_trait]
pub trait Generations: Send + Sync + 'static {
    /// All of them, by number.
    async fn list(&self) -> Result<Vec<GenerationRow>, ReadModelError>;

    /// Makes an empty one beside the live one, with tables of this build's version. Projectors begin to build it.
    async fn create(&self) -> Result<Generation, ReadModelError>;

    /// Makes `to` live in place of `from`; [`ReadModelError::NotLive`] if that is not live any more.
    async fn switch(&self, from: Generation, to: Generation) -> Result<(), ReadModelError>;

    /// Makes the one live that was before. Done twice, it is as if nothing had been.
    async fn roll_back(&self) -> Result<Generation, ReadModelError>;

    /// Removes a generation; [`ReadModelError::Live`] for the live one. Waits for reads of it that are under way; where they take too long
    /// ([`ReadModelError::Unavailable`]) nobody can begin to read it any more, and it can be removed again.
    async fn remove(&self, generation: Generation) -> Result<(), ReadModelError>;
}

/// How far the projection is, and whether it can be read at all.
#[async_trait::async_trait]
pub trait ProjectionReader: Send + Sync + 'static {
    /// Whether the database answers and has the schema that this build reads.
    async fn check(&self) -> Result<(), ReadModelError>;

    /// Bumps `hint` whenever rows may have changed; runs for ever. Where the database cannot tell (a hot standby), it stays silent:
    /// look at [`Self::progress`] as well.
    async fn listen(&self, hint: &watch::Sender<u64>);

    async fn progress(&self, stores: &[StoreId]) -> Result<Progress, ReadModelError>;

    async fn status(&self) -> Result<ProjectionStatus, ReadModelError>;
}

/// What tills and screens ask. Every answer is read at one instant, from one generation. "Not found" is `None`.
#[async_trait::async_trait]
pub trait OrderReader: Send + Sync + 'static {
    async fn store(&self, store: &StoreId) -> Result<Option<Seen<()>>, ReadModelError>;

    /// Up to `limit` stores by id, after `after`.
    async fn stores_after(
        &self,
        after: Option<&StoreId>,
        limit: u32,
    ) -> Result<Vec<StoreRow>, ReadModelError>;

    /// The order's body.
    async fn order(
        &self,
        store: &StoreId,
        order: OrderId,
    ) -> Result<Option<Seen<Option<Vec<u8>>>>, ReadModelError>;

    /// Orders of a date by ticket number.
    async fn orders_page(
        &self,
        page: &OrderPage,
    ) -> Result<Option<Seen<Vec<ListedOrder>>>, ReadModelError>;

    /// Orders as they stand, by the place of their last change. The store's row says up to where there are no more.
    async fn changed_orders(
        &self,
        page: &ChangedPage,
    ) -> Result<Option<Seen<Vec<ListedOrder>>>, ReadModelError>;

    /// A day's figures; the store's latest date when none is named.
    async fn day(
        &self,
        store: &StoreId,
        date: Option<BusinessDate>,
    ) -> Result<Option<Seen<Option<DayRow>>>, ReadModelError>;
}

/// What head office asks. Every answer is read at one instant, from one generation. An unknown store is `None`.
#[async_trait::async_trait]
pub trait SettlementReader: Send + Sync + 'static {
    /// The closed day of a Z's number.
    async fn z_report(
        &self,
        store: &StoreId,
        number: i64,
    ) -> Result<Option<Seen<Option<DayRow>>>, ReadModelError>;

    /// A day with its lists.
    async fn report(
        &self,
        query: &ReportQuery,
    ) -> Result<Option<Seen<Option<Reported>>>, ReadModelError>;

    /// Rows of a day's list by key; `None` for a day that there is not.
    async fn list(
        &self,
        page: &ListPage,
    ) -> Result<Option<Seen<Option<Vec<ListRow>>>>, ReadModelError>;

    /// Closed days by number.
    async fn z_reports(&self, page: &ZPage) -> Result<Option<Seen<Vec<DayRow>>>, ReadModelError>;

    /// Sums over facts. Stores that are unknown are missing in [`Sales::stores`].
    async fn sales(&self, query: &SalesQuery) -> Result<Sales, ReadModelError>;

    /// The facts behind a figure of a day.
    async fn explain(&self, query: &FigureQuery)
    -> Result<Option<Seen<Explained>>, ReadModelError>;
}

/// Whole tables.
#[async_trait::async_trait]
pub trait ExportReader: Send + Sync + 'static {
    /// Begins to read a table as it is now, and goes on with its generation whatever is switched to meanwhile. Each export that is under way holds one of the few connections: the
    /// caller bounds how many there are, and how long they take.
    async fn export(&self, query: &ExportQuery) -> Result<Box<dyn Export>, ReadModelError>;
}
