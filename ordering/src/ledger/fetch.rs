use std::sync::Arc;

use contract::{OrderId, StoreId};
use event_log::{EventLog, LedgerName, LogError, Place, Record, Revision};

use super::{CommandIndex, Ledger, LedgerError, fold};
use crate::domain::OrderState;

/// The reading of an order that is not in memory, from the records that speak of it. Needs nothing of the ledger once it is begun, so
/// that a store's other commands need not wait for it.
pub struct Fetch {
    log: Arc<dyn EventLog>,
    index: CommandIndex,
    store_id: StoreId,
    name: LedgerName,
    id: OrderId,
    /// Revisions that speak of the order and may not be indexed yet.
    mentions: Vec<u64>,
    /// Where those lie that are known to lie somewhere.
    places: Vec<Place>,
    has_history: bool,
    as_of: AsOf,
}

/// What a reading reflects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AsOf {
    revision: u64,
    /// How many spans had left memory for the index.
    spans_left: u64,
}

/// An order as of the moment at which its reading was begun; `None`: the ledger has no such order.
pub struct Fetched {
    id: OrderId,
    order: Option<Arc<OrderState>>,
    as_of: AsOf,
}

impl Fetch {
    pub async fn run(self) -> Result<Fetched, LedgerError> {
        let mut revisions = if self.has_history {
            self.index.order_records(&self.store_id, self.id).await?
        } else {
            Vec::new()
        };
        revisions.extend(&self.mentions);
        revisions.sort_unstable();
        revisions.dedup();
        // An index beyond this ledger's fold knows records that are not ours to see yet.
        revisions.retain(|revision| *revision <= self.as_of.revision);
        let mut places = self.places.clone();
        places.extend(self.index.places(&self.store_id, &revisions).await?);
        let mut order = None;
        for revision in revisions {
            let revision = Revision(revision);
            let place = places.iter().find(|place| place.revision == revision);
            let record = record(&*self.log, &self.name, revision, place).await?;
            order = fold::fold_order(order, self.id, &record)?;
        }
        Ok(Fetched {
            id: self.id,
            order: order.map(Arc::new),
            as_of: self.as_of,
        })
    }
}

/// A record that has to be there: at its place, or else wherever it is.
async fn record(
    log: &dyn EventLog,
    name: &LedgerName,
    revision: Revision,
    place: Option<&Place>,
) -> Result<Record, LedgerError> {
    if let Some(place) = place
        && let Some(record) = log.read_at(name, place).await?
    {
        return Ok(record);
    }
    let record = log.read_one(name, revision).await?;
    record.ok_or_else(|| {
        LogError::Changed(format!("ledger {name} no longer has revision {revision}")).into()
    })
}

impl Ledger {
    /// The reading of an order, `None` when it is in memory or cannot be anywhere.
    #[must_use]
    pub fn fetch(&self, id: OrderId) -> Option<Fetch> {
        if self.state.order(id).is_some() {
            return None;
        }
        let mentions: Vec<u64> = self.recents.mentions(&id).collect();
        if mentions.is_empty() && !self.has_history {
            return None;
        }
        let places = mentions
            .iter()
            .filter_map(|revision| self.recents.place(*revision));
        Some(Fetch {
            log: self.log.clone(),
            index: self.index.clone(),
            store_id: self.store_id.clone(),
            name: self.name.clone(),
            id,
            places: places.collect(),
            mentions,
            has_history: self.has_history,
            as_of: self.as_of(),
        })
    }

    fn as_of(&self) -> AsOf {
        AsOf {
            revision: self.revision(),
            spans_left: self.recents.spans_left(),
        }
    }

    /// Takes in an order that was read, unless something was recorded of it since: then it is read again by whoever needs it.
    pub fn hold(&mut self, fetched: Fetched) {
        let Fetched { id, order, as_of } = fetched;
        let is_last = as_of.spans_left == self.recents.spans_left()
            && self
                .recents
                .mentions(&id)
                .all(|revision| revision <= as_of.revision);
        if let Some(order) = order
            && is_last
            && self.state.order(id).is_none()
        {
            self.state.hold(id, order);
        }
    }

    /// An order, from memory or folded from the records that speak of it. `None`: the ledger has no such order.
    pub(super) async fn order(&self, id: OrderId) -> Result<Option<Arc<OrderState>>, LedgerError> {
        match self.fetch(id) {
            None => Ok(self.state.order(id).cloned()),
            Some(fetch) => Ok(fetch.run().await?.order),
        }
    }

    /// A record of this ledger.
    pub(super) async fn record(&self, revision: u64) -> Result<Record, LedgerError> {
        let place = match self.recents.place(revision) {
            Some(place) => Some(place),
            None => self.index.places(&self.store_id, &[revision]).await?.pop(),
        };
        record(&*self.log, &self.name, Revision(revision), place.as_ref()).await
    }
}
