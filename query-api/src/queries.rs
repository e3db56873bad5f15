use std::sync::Arc;

use contract::{BusinessDate, DayRule, Reason, Rejection, StoreId};
use jiff::tz::TimeZone;
use read_model::{ExportReader, OrderReader, Seen, SettlementReader, StoreRow};
use runtime::{Clock, Shutdown};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::error::QueryError;
use crate::request::unknown_store;
use crate::wait::Waiters;

/// What all reads stand on.
pub(crate) struct Queries {
    pub orders: Arc<dyn OrderReader>,
    pub settlement: Arc<dyn SettlementReader>,
    pub tables: Arc<dyn ExportReader>,
    pub waiters: Waiters,
    pub clock: Clock,
    /// Where exports that are under way run.
    pub shutdown: Shutdown,
    pub exports: Arc<Semaphore>,
}

impl Queries {
    /// What was read of a store; refuses when there is no such store, or nothing at all.
    pub async fn seen<T>(
        &self,
        found: Option<Seen<T>>,
        store: &StoreId,
        deadline: Instant,
    ) -> Result<Seen<T>, QueryError> {
        match found {
            Some(seen) => Ok(seen),
            None => Err(unknown_store(&*self.orders, store, deadline).await),
        }
    }

    /// Refuses a date whose business day has not begun by the store's clock and cutoff.
    pub fn not_begun(&self, store: &StoreRow, date: BusinessDate) -> Option<Rejection> {
        let zone = TimeZone::get(&store.time_zone).unwrap_or(TimeZone::UTC);
        let today = DayRule::new(zone, store.cutoff_minutes)
            .and_then(|rule| rule.date_of(self.clock.now()))
            .ok()?;
        (date > today).then(|| {
            let message = format!(
                "Business day {date} of store {} has not begun: today is {today}.",
                store.store
            );
            Rejection::new(Reason::DayNotBegun, message)
                .with("store_id", &store.store)
                .with("business_date", date)
        })
    }
}
