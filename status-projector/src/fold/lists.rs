//! The lists of one business day while records are folded into them: what is added to the rows that there are, and, where the day is closed,
//! the digests of all.

use std::collections::BTreeMap;

use contract::event::{DayReport, ListDigest, OrderPlaced};
use contract::list_digest::{self, ListAmounts};
use contract::{BusinessDate, StoreId};
use read_model::{DayList, ListRow};

use super::poison::Poison;

#[derive(Debug, Clone, Default)]
struct Added {
    category: String,
    name: BTreeMap<String, String>,
    amounts: ListAmounts,
}

type Rows = BTreeMap<String, Added>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Lists {
    items: Rows,
    categories: Rows,
    discounts: Rows,
    /// The rows that stood before, where they are needed: the day is closed in this run.
    before: BTreeMap<(DayList, String), ListAmounts>,
}

impl Lists {
    /// A day's lists, of which these rows are there.
    pub fn on(rows: impl Iterator<Item = ListRow>) -> Self {
        Self {
            before: rows.map(|row| ((row.list, row.key), row.amounts)).collect(),
            ..Self::default()
        }
    }

    /// An order's sale, already known to balance.
    pub fn sale(&mut self, placed: &OrderPlaced) -> Result<(), Poison> {
        for line in &placed.lines {
            let amounts = ListAmounts {
                count: i64::from(line.quantity),
                gross: line.gross,
                discount: line.discount,
                net: line.net,
            };
            let item = add(&mut self.items, &line.sku, amounts)?;
            if item.name != line.name {
                item.name.clone_from(&line.name);
            }
            if item.category != line.category {
                item.category.clone_from(&line.category);
            }
            add(&mut self.categories, &line.category, amounts)?;
        }
        for discount in &placed.discounts {
            let amounts = ListAmounts {
                count: 1,
                discount: discount.amount,
                ..ListAmounts::default()
            };
            let key = list_digest::discount_key(discount.source, &discount.discount_id);
            add(&mut self.discounts, &key, amounts)?;
        }
        Ok(())
    }

    /// Puts the digests of the whole lists into a report.
    pub fn prove(&self, report: &mut DayReport) -> Result<(), Poison> {
        report.items = Some(self.digest(DayList::Items, &self.items)?);
        report.categories = Some(self.digest(DayList::Categories, &self.categories)?);
        report.discounts = Some(self.digest(DayList::Discounts, &self.discounts)?);
        Ok(())
    }

    fn digest(&self, list: DayList, added: &Rows) -> Result<ListDigest, Poison> {
        let overflow = || Poison::Overflow("a day's list");
        let mut all: BTreeMap<&str, ListAmounts> = self
            .before
            .iter()
            .filter(|((of, _), _)| *of == list)
            .map(|((_, key), amounts)| (key.as_str(), *amounts))
            .collect();
        for (key, row) in added {
            let sum = all.entry(key).or_default();
            *sum = sum.plus(row.amounts).ok_or_else(overflow)?;
        }
        list_digest::digest(all).ok_or_else(overflow)
    }

    /// What is added to the day's rows.
    pub fn rows(self, store: &StoreId, date: BusinessDate) -> impl Iterator<Item = ListRow> {
        let store = store.clone();
        [
            (DayList::Items, self.items),
            (DayList::Categories, self.categories),
            (DayList::Discounts, self.discounts),
        ]
        .into_iter()
        .flat_map(|(list, rows)| rows.into_iter().map(move |row| (list, row)))
        .map(move |(list, (key, row))| ListRow {
            store: store.clone(),
            date,
            list,
            key,
            category: row.category,
            name: row.name,
            amounts: row.amounts,
        })
    }
}

fn add<'a>(rows: &'a mut Rows, key: &str, amounts: ListAmounts) -> Result<&'a mut Added, Poison> {
    if !rows.contains_key(key) {
        rows.insert(key.to_owned(), Added::default());
    }
    let row = rows.get_mut(key).ok_or(Poison::Overflow("a day's list"))?;
    row.amounts = row
        .amounts
        .plus(amounts)
        .ok_or(Poison::Overflow("a day's list"))?;
    Ok(row)
}
