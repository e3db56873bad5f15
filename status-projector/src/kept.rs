//! Rows that stay in memory while the stream is ours: as they will stand once what is under way is committed.
//!
//! They are those of the log up to the last record folded, which may be ahead of what is stored by one batch. So they are right only as long
//! as every commit succeeds: whoever keeps them forgets them all when one does not.

use std::collections::HashMap;
use std::hash::Hash;

use bytes::Bytes;
use contract::api::types::OrderStatus;
use contract::{OrderId, StoreId};
use read_model::{DayRow, OrderRow, StoreRow};

use crate::fold::StoreOutput;

/// Bytes of stores with their open days.
const STORE_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of open orders: about a hundred thousand.
const ORDER_BYTES: usize = 64 * 1024 * 1024;
/// What an entry takes beside its row.
const ENTRY_BYTES: usize = 160;
const STORE_ROW_BYTES: usize = 512;

/// A store with its open day, if it has one.
#[derive(Debug, Clone)]
pub(crate) struct KeptStore {
    pub row: StoreRow,
    pub day: Option<DayRow>,
}

pub(crate) struct Kept {
    stores: Recent<StoreId, KeptStore>,
    /// Orders that are neither completed nor cancelled: others rarely change again.
    orders: Recent<(StoreId, OrderId), Bytes>,
}

impl Default for Kept {
    fn default() -> Self {
        Self::bounded(STORE_BYTES, ORDER_BYTES)
    }
}

impl Kept {
    fn bounded(store_bytes: usize, order_bytes: usize) -> Self {
        Self {
            stores: Recent::new(store_bytes),
            orders: Recent::new(order_bytes),
        }
    }

    pub fn store(&mut self, store: &StoreId) -> Option<&KeptStore> {
        self.stores.get(store)
    }

    pub fn order(&mut self, store: &StoreId, order: OrderId) -> Option<Bytes> {
        self.orders.get(&(store.clone(), order)).cloned()
    }

    /// The rows as they stand after a fold. `open`: the store's open day, where the fold did not change it.
    pub fn learn(&mut self, output: &StoreOutput, open: Option<DayRow>) {
        let row = &output.row;
        let of_open = |day: &DayRow| row.day_open && Some(day.date) == row.latest_date;
        let changed = output.days.iter().find(|day| of_open(day)).cloned();
        let day = changed.or(open.filter(of_open));
        let bytes = STORE_ROW_BYTES + day.as_ref().map_or(0, |day| day.body.len());
        let kept = KeptStore {
            row: row.clone(),
            day,
        };
        self.stores.put(row.store.clone(), kept, bytes);
        for order in output.placed.iter().chain(&output.orders) {
            let key = (order.store.clone(), order.order_id);
            if is_done(order) {
                self.orders.remove(&key);
            } else {
                self.orders.put(key, order.body.clone(), order.body.len());
            }
        }
    }

    /// Whatever was kept may be wrong.
    pub fn forget(&mut self) {
        *self = Self::bounded(self.stores.limit, self.orders.limit);
    }
}

fn is_done(order: &OrderRow) -> bool {
    matches!(
        OrderStatus::try_from(order.status),
        Ok(OrderStatus::Completed | OrderStatus::Cancelled)
    )
}

/// Up to a number of bytes of what was used last: a half that fills up, and the half that was filled before it, of which what is used again
/// moves over and the rest goes when the first half is full.
struct Recent<K, V> {
    limit: usize,
    now: HashMap<K, Entry<V>>,
    before: HashMap<K, Entry<V>>,
    /// Of `now`.
    bytes: usize,
}

struct Entry<V> {
    value: V,
    bytes: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            now: HashMap::new(),
            before: HashMap::new(),
            bytes: 0,
        }
    }

    fn get(&mut self, key: &K) -> Option<&V> {
        if let Some((key, entry)) = self.before.remove_entry(key) {
            self.insert(key, entry);
        }
        self.now.get(key).map(|entry| &entry.value)
    }

    /// Each key is in one half only.
    fn put(&mut self, key: K, value: V, bytes: usize) {
        self.remove(&key);
        let bytes = bytes + ENTRY_BYTES;
        self.insert(key, Entry { value, bytes });
    }

    fn insert(&mut self, key: K, entry: Entry<V>) {
        if self.bytes + entry.bytes > self.limit / 2 && !self.now.is_empty() {
            self.before = std::mem::take(&mut self.now);
            self.bytes = 0;
        }
        self.bytes += entry.bytes;
        self.now.insert(key, entry);
    }

    fn remove(&mut self, key: &K) {
        self.before.remove(key);
        if let Some(entry) = self.now.remove(key) {
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<K: Eq + Hash, V>(recent: &Recent<K, V>) -> usize {
        let halves = recent.now.values().chain(recent.before.values());
        halves.map(|entry| entry.bytes).sum()
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_used_stays() {
        let limit = 100 * (ENTRY_BYTES + 1_000);
        let mut recent = Recent::new(limit);
        for key in 0..10_000 {
            recent.put(key, key, 1_000);
            assert_eq!(recent.get(&0), Some(&0), "used all the time");
            assert!(bytes(&recent) <= limit);
        }
        assert_eq!(recent.get(&9_999), Some(&9_999));
        assert_eq!(recent.get(&5_000), None);
        // What is put again counts once and replaces what was there, and what is removed is gone.
        for value in 0..1_000 {
            recent.put(0, value, 1_000);
            recent.put(20_000 + value, value, 1_000);
            assert_eq!(recent.get(&0), Some(&value));
        }
        recent.remove(&0);
        assert_eq!(recent.get(&0), None);
        for key in 0..30_000 {
            recent.remove(&key);
        }
        assert_eq!((recent.bytes, bytes(&recent)), (0, 0));
    }

    #[test]
    fn an_entry_larger_than_the_limit_does_not_stay_for_ever() {
        let mut recent = Recent::new(1_000);
        recent.put(1, (), 5_000);
        recent.put(2, (), 100);
        recent.put(3, (), 5_000);
        recent.put(4, (), 5_000);
        assert!(recent.get(&1).is_none() && recent.get(&2).is_none());
    }
}
