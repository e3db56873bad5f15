//! The lists of a day: what was sold by item and by category, and discounts as they were applied. A row a key, to which every batch adds,
//! so that a day may sell as many different things as it likes. A Z proves them by digests.

use std::collections::BTreeMap;

use contract::event::ListDigest;
use contract::list_digest::{self, ListAmounts};
use contract::{BusinessDate, StoreId};

use crate::rows::DayRow;

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

/// All rows of the day `$2` of store `$1`, without names: what a digest is made of.
pub(crate) const AMOUNTS: &str = "SELECT l.store_id, l.business_date, l.list, l.list_key, '' AS category, '{}' AS name, l.units, l.gross, l.discount, \
                                  l.net FROM day_lists l WHERE l.generation = \
                                  (SELECT generation FROM live_generations WHERE projection = 'sales') AND l.store_id = $1 AND \
                                  l.business_date = $2 ORDER BY l.list, l.list_key";
/// At most `$3` rows of each list of the day `$2` of store `$1`, each with the length of its list.
pub(crate) const FIRST_ROWS: &str = "SELECT * FROM (SELECT l.store_id, l.business_date, l.list, l.list_key, l.category, l.name, l.units, l.gross, \
                                     l.discount, l.net, ROW_NUMBER() OVER (PARTITION BY l.list ORDER BY l.list_key) AS place, \
                                     CAST(COUNT(*) OVER (PARTITION BY l.list) AS BIGINT) AS of_list FROM day_lists l WHERE l.generation = \
                                     (SELECT generation FROM live_generations WHERE projection = 'sales') AND l.store_id = $1 AND \
                                     l.business_date = $2) w WHERE place <= $3 ORDER BY list, list_key";
/// At most `$5` rows after key `$4` of list `$3`.
pub(crate) const PAGE: &str = "SELECT l.store_id, l.business_date, l.list, l.list_key, l.category, l.name, l.units, l.gross, l.discount, l.net \
                               FROM day_lists l WHERE l.generation = \
                               (SELECT generation FROM live_generations WHERE projection = 'sales') AND l.store_id = $1 AND \
                               l.business_date = $2 AND l.list = $3 AND l.list_key > $4 ORDER BY l.list_key LIMIT $5";

/// The row of key `$4` in list `$3`.
pub(crate) const ONE_ROW: &str = "SELECT l.store_id, l.business_date, l.list, l.list_key, '' AS category, '{}' AS name, l.units, l.gross, l.discount, \
                                  l.net FROM day_lists l WHERE l.generation = \
                                  (SELECT generation FROM live_generations WHERE projection = 'sales') AND l.store_id = $1 AND \
                                  l.business_date = $2 AND l.list = $3 AND l.list_key = $4";

/// Reading a day's lists, for a backend with a method `day_snapshot`, which is not kept waiting by sums and exports.
macro_rules! lists {
    ($model:ident, $row:ty, $database:ty) => {
        fn list_row(row: &$row) -> Result<ListRow, ReadModelError> {
            let list: i64 = row.try_get("list")?;
            Ok(ListRow {
                store: StoreId::new(row.try_get("store_id")?).map_err(|error| corrupt("store_id")(&error))?,
                date: date(row.try_get("business_date")?)?.ok_or_else(|| ReadModelError::Corrupt("business_date is empty".into()))?,
                list: DayList::of(list).ok_or_else(|| ReadModelError::Corrupt(format!("list {list} is unknown")))?,
                key: row.try_get("list_key")?,
                category: row.try_get("category")?,
                name: serde_json::from_str(row.try_get("name")?).map_err(|error| corrupt("name")(&error))?,
                amounts: ListAmounts {
                    count: row.try_get("units")?,
                    gross: row.try_get("gross")?,
                    discount: row.try_get("discount")?,
                    net: row.try_get("net")?,
                },
            })
        }

        /// The digests of a day's lists as they are now.
        async fn list_digests(
            snapshot: &mut Transaction<'static, $database>,
            store: &StoreId,
            date: &str,
        ) -> Result<Digests, ReadModelError> {
            let rows = sqlx::query(AMOUNTS).bind(store.as_str()).bind(date).fetch_all(&mut **snapshot).await?;
            let rows = rows.iter().map(list_row).collect::<Result<Vec<_>, _>>()?;
            Digests::of(&rows)
                .ok_or_else(|| ReadModelError::Corrupt(format!("the lists of {store} on {date} do not fit into 64 bits")))
        }

        impl $model {
            async fn read_report(&self, query: &ReportQuery) -> Result<Option<Seen<Option<Reported>>>, ReadModelError> {
                const DAY: &str = concat!(
                    "SELECT ",
                    store_columns!(),
                    ", c.log_id, c.epoch, ",
                    day_columns!(),
                    store_and_epoch!(),
                    "LEFT JOIN business_days d ON d.generation = s.generation AND d.store_id = s.store_id \
                     AND d.business_date = (CASE WHEN $2 = '' THEN s.latest_date ELSE $2 END) WHERE s.store_id = $1 AND s.generation = ",
                    live!()
                );
                const NUMBER: &str = concat!(
                    "SELECT ",
                    store_columns!(),
                    ", c.log_id, c.epoch, ",
                    day_columns!(),
                    store_and_epoch!(),
                    "LEFT JOIN business_days d ON d.generation = s.generation AND d.store_id = s.store_id AND d.z_number = $2 \
                     AND d.state = 2 WHERE s.store_id = $1 AND s.generation = ",
                    live!()
                );
                let store = query.store.as_str();
                let mut snapshot = self.day_snapshot().await?;
                let row = match query.key {
                    ReportKey::Latest => sqlx::query(DAY).bind(store).bind(String::new()),
                    ReportKey::Date(date) => sqlx::query(DAY).bind(store).bind(date.to_string()),
                    ReportKey::Number(number) => sqlx::query(NUMBER).bind(store).bind(number),
                };
                let Some(row) = row.fetch_optional(&mut *snapshot).await? else { return Ok(None) };
                let (seen, epoch) = (store_row(&row)?, epoch(&row)?);
                let Some(day) = day_row(&row)? else { return Ok(Some(Seen { store: seen, epoch, found: None })) };
                let date = day.date.to_string();
                let rows = sqlx::query(FIRST_ROWS).bind(store).bind(&date).bind(i64::from(query.rows)).fetch_all(&mut *snapshot).await?;
                let mut more = false;
                for row in &rows {
                    more |= row.try_get::<i64, _>("of_list")? > i64::from(query.rows);
                }
                let rows = rows.iter().map(list_row).collect::<Result<_, _>>()?;
                let digests = match query.digests {
                    true => Some(list_digests(&mut snapshot, &query.store, &date).await?),
                    false => None,
                };
                snapshot.rollback().await?;
                Ok(Some(Seen { store: seen, epoch, found: Some(Reported { day, rows, more, digests }) }))
            }

            async fn read_list(&self, page: &ListPage) -> Result<Option<Seen<Option<Vec<ListRow>>>>, ReadModelError> {
                const DAY: &str = concat!(
                    "SELECT ",
                    store_columns!(),
                    ", c.log_id, c.epoch, d.business_date AS d_date",
                    store_and_epoch!(),
                    "LEFT JOIN business_days d ON d.generation = s.generation AND d.store_id = s.store_id AND d.business_date = $2 \
                     WHERE s.store_id = $1 AND s.generation = ",
                    live!()
                );
                let (store, date) = (page.store.as_str(), page.date.to_string());
                let mut snapshot = self.day_snapshot().await?;
                let Some(row) = sqlx::query(DAY).bind(store).bind(&date).fetch_optional(&mut *snapshot).await? else { return Ok(None) };
                let (seen, epoch) = (store_row(&row)?, epoch(&row)?);
                if row.try_get::<Option<String>, _>("d_date")?.is_none() {
                    return Ok(Some(Seen { store: seen, epoch, found: None }));
                }
                let rows = sqlx::query(PAGE)
                    .bind(store)
                    .bind(&date)
                    .bind(page.list as i64)
                    .bind(&page.after)
                    .bind(i64::from(page.limit))
                    .fetch_all(&mut *snapshot)
                    .await?;
                snapshot.rollback().await?;
                let rows = rows.iter().map(list_row).collect::<Result<_, _>>()?;
                Ok(Some(Seen { store: seen, epoch, found: Some(rows) }))
            }
        }
    };
}

pub(crate) use lists;
