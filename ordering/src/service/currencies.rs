use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use contract::{Currency, StoreId};

use crate::catalog::Catalog;

/// The currencies of the ledgers that this instance has seen: a ledger's is the same for ever, whatever a catalog says by now.
#[derive(Clone, Default)]
pub struct Currencies(Arc<RwLock<HashMap<StoreId, Currency>>>);

impl Currencies {
    /// Notes a ledger's currency. Says so loudly when the catalog has another.
    pub fn note(&self, store: &StoreId, currency: Currency, catalog: &Catalog) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.insert(store.clone(), currency).is_none()
            && let Some(configured) = catalog.stores.get(store)
            && let Err(refusal) = configured.refuse_other_currency(currency)
        {
            tracing::error!(%store, %refusal, "this store sells nothing until its catalog is corrected");
        }
    }

    #[must_use]
    pub fn of(&self, store: &StoreId) -> Option<Currency> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(store).copied()
    }

    /// Says of every ledger that is known whether a new catalog has another currency for it.
    pub fn compare(&self, catalog: &Catalog) {
        for store in catalog.stores.values() {
            if let Some(currency) = self.of(&store.id)
                && let Err(refusal) = store.refuse_other_currency(currency)
            {
                tracing::error!(store = %store.id, %refusal, "this store sells nothing until its catalog is corrected");
            }
        }
    }
}
