//! The last record that was seen of each ledger, in memory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use contract::StoreId;
use event_log::{ChainState, RecordHash, Revision};

/// A record that was in a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Witness {
    pub revision: Revision,
    pub hash: RecordHash,
}

impl From<&ChainState> for Witness {
    fn from(chain: &ChainState) -> Self {
        Self {
            revision: chain.revision,
            hash: chain.hash,
        }
    }
}

/// The last records seen in this process, and which of them are yet to be written.
#[derive(Debug, Default)]
pub(super) struct Witnesses(Mutex<HashMap<StoreId, Seen>>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    witness: Witness,
    written: bool,
}

impl Witnesses {
    /// Notes a ledger's last record, stored or read.
    pub fn saw(&self, store: &StoreId, chain: &ChainState) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let witness = Witness::from(chain);
        match seen.get_mut(store) {
            Some(before) if before.witness.revision >= witness.revision => {}
            Some(before) => {
                *before = Seen {
                    witness,
                    written: false,
                };
            }
            None => {
                let written = false;
                seen.insert(store.clone(), Seen { witness, written });
            }
        }
    }

    pub fn of(&self, store: &StoreId) -> Option<Witness> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(store).map(|seen| seen.witness)
    }

    pub fn unwritten(&self) -> Vec<(StoreId, Witness)> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter()
            .filter(|(_, seen)| !seen.written)
            .map(|(store, seen)| (store.clone(), seen.witness))
            .collect()
    }

    pub fn set_written(&self, written: &[(StoreId, Witness)]) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (store, witness) in written {
            if let Some(seen) = seen.get_mut(store).filter(|seen| seen.witness == *witness) {
                seen.written = true;
            }
        }
    }
}
