//! The lists of a day: what was sold by item and by category, and discounts as they were applied. A row a key, to which every batch adds,
//! so that a day may sell as many different things as it likes. A Z proves them by digests.

use std::collections::BTreeMap;

use contract::event::ListDigest;
use contract::list_digest::{self, ListAmounts};
use contract::{BusinessDate, StoreId};

use crate::day::DayRow;

/// Which list a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DayList {
    Items = 1,
    Categories = 2,
    Discounts = 3,
}

impl DayList {
    pub const ALL: [Self; 3] = [Self::Items, Self::Categories, Self::Discounts];

    pub(crate) fn of(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|list| *list as i64 == number)
    }
}

/// A row of a list. Written, its amounts are added to those that are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRow {
    pub store: StoreId,
    pub date: BusinessDate,
    pub list: DayList,
    /// The sku, the category, or [`list_digest::discount_key`].
    pub key: String,
    /// Of an item, as its last sale had it; empty in other lists, like `name`.
    pub category: String,
    pub name: BTreeMap<String, String>,
    pub amounts: ListAmounts,
}

/// Which day's report is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportKey {
    /// The store's latest date.
    Latest,
    Date(BusinessDate),
    /// A closed day by its Z's number.
    Number(i64),
}

#[derive(Debug, Clone)]
pub struct ReportQuery {
    pub store: StoreId,
    pub key: ReportKey,
    /// Of each list, at most so many rows.
    pub rows: u32,
    /// Whether the digests of the lists as they are now are asked for, which reads every row.
    pub digests: bool,
}

/// A day with the first rows of its lists, read at one instant.
#[derive(Debug, Clone)]
pub struct Reported {
    pub day: DayRow,
    /// By list, then by key.
    pub rows: Vec<ListRow>,
    /// A list has more rows than were asked for.
    pub more: bool,
    /// If they were asked for: items, categories, discounts.
    pub digests: Option<Digests>,
}

/// The digests of a day's lists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Digests {
    pub items: ListDigest,
    pub categories: ListDigest,
    pub discounts: ListDigest,
}

impl Digests {
    /// Of all rows of a day, by list and then by key. `None`: a sum does not fit into 64 bits.
    #[must_use]
    pub fn of(rows: &[ListRow]) -> Option<Self> {
        let digest = |list| {
            let own = rows.iter().filter(|row| row.list == list);
            list_digest::digest(own.map(|row| (row.key.as_str(), row.amounts)))
        };
        Some(Self {
            items: digest(DayList::Items)?,
            categories: digest(DayList::Categories)?,
            discounts: digest(DayList::Discounts)?,
        })
    }

    #[must_use]
    pub fn get(&self, list: DayList) -> &ListDigest {
        match list {
            DayList::Items => &self.items,
            DayList::Categories => &self.categories,
            DayList::Discounts => &self.discounts,
        }
    }
}

/// A page of a day's list.
#[derive(Debug, Clone)]
pub struct ListPage {
    pub store: StoreId,
    pub date: BusinessDate,
    pub list: DayList,
    /// Empty to begin with.
    pub after: String,
    pub limit: u32,
}
