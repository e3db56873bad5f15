//! What saves a look into the index for commands that are new.

use std::collections::HashSet;

use uuid::Uuid;

/// How many ids are held. As many commands whose time lies far ahead, of tills with wrong clocks, do not spoil it.
pub(super) const HELD: usize = 256;

/// The greatest ids of a store's commands in the index. A greater id than the least of them is in the index only if it is one of them.
///
/// Nothing is said of time: ids are compared as bytes, as the index sorts them, so this holds whatever the clocks were by which ids were
/// made. That ids begin with their time only makes it useful: commands of now are greater than those of before, and an offline sale of
/// yesterday is looked up.
#[derive(Debug)]
pub(super) struct Newest {
    ids: HashSet<Uuid>,
    /// The least of them; `None`: the index has no others.
    least: Option<Uuid>,
}

impl Newest {
    /// `ids`: the [`HELD`] greatest, or all where there are fewer.
    pub fn of(ids: HashSet<Uuid>) -> Self {
        let least = if ids.len() < HELD {
            None
        } else {
            ids.iter().min().copied()
        };
        Self { ids, least }
    }

    /// Whether it is sure that a command is not in the index.
    pub fn rules_out(&self, id: &Uuid) -> bool {
        self.least.is_none_or(|least| *id > least) && !self.ids.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    fn newest(index: &BTreeSet<u128>) -> Newest {
        let greatest = index.iter().rev().take(HELD);
        Newest::of(greatest.copied().map(Uuid::from_u128).collect())
    }

    proptest! {
        /// Ids are drawn from so few that many are there, and many are not.
        #[test]
        fn nothing_that_is_there_is_ruled_out(index in btree_set(0_u128..1_000, 0..700), asked in 0_u128..1_100) {
            let newest = newest(&index);
            let ruled_out = newest.rules_out(&Uuid::from_u128(asked));
            prop_assert!(!(ruled_out && index.contains(&asked)));
            // And it is of use: whatever is newer than all is ruled out.
            if index.last().is_none_or(|last| asked > *last) {
                prop_assert!(ruled_out);
            }
        }
    }

    #[test]
    fn clocks_that_run_ahead_do_not_spoil_it() {
        let ahead = (1 << 100)..(1 << 100) + (HELD as u128 - 1);
        let index: BTreeSet<u128> = (0..10_000).chain(ahead.clone()).collect();
        let newest = newest(&index);
        assert!(newest.rules_out(&Uuid::from_u128(10_000)));
        assert!(!newest.rules_out(&Uuid::from_u128(9_999)));
        assert!(!newest.rules_out(&Uuid::from_u128(ahead.start)));
    }
}
