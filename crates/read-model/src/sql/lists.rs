//! A day's report and its lists.

use contract::StoreId;
use runtime::database::Transaction;
use sqlx::FromRow;

use super::columns::{
    List, SeenDay, SeenStore, day_columns, list_amounts, list_columns, seen_columns, seen_stores,
};
use super::database::Database;
use crate::error::ReadModelError;
use crate::list::{Digests, ListPage, ListRow, ReportKey, ReportQuery, Reported};
use crate::store::Seen;

/// Store `$1` with its day `$2`; with its latest one if that is empty.
pub(crate) const DAY_BY_DATE: &str = concat!(
    "SELECT ",
    seen_columns!(),
    ", ",
    day_columns!(),
    seen_stores!(),
    "LEFT JOIN business_days d ON d.store_id = s.store_id \
     AND d.business_date = (CASE WHEN $2 = '' THEN s.latest_date ELSE $2 END) WHERE s.store_id = $1"
);
/// Store `$1` with its closed day of number `$2`.
pub(crate) const DAY_BY_NUMBER: &str = concat!(
    "SELECT ",
    seen_columns!(),
    ", ",
    day_columns!(),
    seen_stores!(),
    "LEFT JOIN business_days d ON d.store_id = s.store_id AND d.z_number = $2 AND d.state = 2 \
     WHERE s.store_id = $1"
);
/// Store `$1`, and whether it has a day `$2`.
const HAS_DAY: &str = concat!(
    "SELECT ",
    seen_columns!(),
    ", CAST(CASE WHEN d.business_date IS NULL THEN 0 ELSE 1 END AS BIGINT) AS days",
    seen_stores!(),
    "LEFT JOIN business_days d ON d.store_id = s.store_id AND d.business_date = $2 \
     WHERE s.store_id = $1"
);
/// All rows of the day `$2` of store `$1`.
const AMOUNTS: &str = concat!(
    "SELECT ",
    list_amounts!(),
    " FROM day_lists l WHERE l.store_id = $1 AND l.business_date = $2 ORDER BY l.list, l.list_key"
);
/// At most `$3` rows of each list of the day `$2` of store `$1`, each with the length of its list.
const FIRST_ROWS: &str = concat!(
    "SELECT * FROM (SELECT ",
    list_columns!(),
    ", ROW_NUMBER() OVER (PARTITION BY l.list ORDER BY l.list_key) AS place, \
     CAST(COUNT(*) OVER (PARTITION BY l.list) AS BIGINT) AS of_list FROM day_lists l WHERE l.store_id = $1 AND l.business_date = $2) w WHERE place <= $3 ORDER BY list, list_key"
);
/// At most `$5` rows after key `$4` of list `$3`.
const PAGE: &str = concat!(
    "SELECT ",
    list_columns!(),
    " FROM day_lists l WHERE l.store_id = $1 AND l.business_date = $2 AND l.list = $3 AND l.list_key > $4 ORDER BY l.list_key LIMIT $5"
);

#[derive(FromRow)]
struct FirstRow {
    #[sqlx(flatten)]
    row: List,
    of_list: i64,
}

#[derive(FromRow)]
struct HasDay {
    #[sqlx(flatten)]
    store: SeenStore,
    days: i64,
}

impl Database {
    pub(super) async fn read_report(
        &self,
        query: &ReportQuery,
    ) -> Result<Option<Seen<Option<Reported>>>, ReadModelError> {
        let store = query.store.as_str();
        let mut snapshot = self.snapshot().await?;
        let found = match query.key {
            ReportKey::Latest => snapshot.query(DAY_BY_DATE).bind(store).bind(""),
            ReportKey::Date(date) => {
                let query = snapshot.query(DAY_BY_DATE);
                query.bind(store).bind(date.to_string())
            }
            ReportKey::Number(number) => snapshot.query(DAY_BY_NUMBER).bind(store).bind(number),
        };
        let Some(found) = found.optional::<SeenDay>().await? else {
            return Ok(None);
        };
        let Some(day) = found.day.row()? else {
            return found.store.with(None).map(Some);
        };
        let date = day.date.to_string();
        let rows = snapshot.query(FIRST_ROWS).bind(store).bind(&date);
        let rows: Vec<FirstRow> = rows.bind(i64::from(query.rows)).all().await?;
        let more = rows.iter().any(|row| row.of_list > i64::from(query.rows));
        let rows = rows.into_iter().map(|first| first.row.row());
        let rows = rows.collect::<Result<_, _>>()?;
        let digests = match query.digests {
            true => Some(digests(&mut snapshot, &query.store, &date).await?),
            false => None,
        };
        snapshot.rollback().await?;
        let report = Reported {
            day,
            rows,
            more,
            digests,
        };
        found.store.with(Some(report)).map(Some)
    }

    pub(super) async fn read_list(
        &self,
        page: &ListPage,
    ) -> Result<Option<Seen<Option<Vec<ListRow>>>>, ReadModelError> {
        let (store, date) = (page.store.as_str(), page.date.to_string());
        let mut snapshot = self.snapshot().await?;
        let day = snapshot.query(HAS_DAY).bind(store).bind(&date);
        let Some(found) = day.optional::<HasDay>().await? else {
            return Ok(None);
        };
        if found.days == 0 {
            return found.store.with(None).map(Some);
        }
        let rows = snapshot.query(PAGE).bind(store).bind(&date);
        let rows = rows.bind(page.list as i64).bind(&page.after);
        let rows: Vec<List> = rows.bind(i64::from(page.limit)).all().await?;
        snapshot.rollback().await?;
        let rows = rows.into_iter().map(List::row).collect::<Result<_, _>>()?;
        found.store.with(Some(rows)).map(Some)
    }
}

/// The digests of a day's lists as they are now.
pub(super) async fn digests(
    snapshot: &mut Transaction<'static>,
    store: &StoreId,
    date: &str,
) -> Result<Digests, ReadModelError> {
    let rows = snapshot.query(AMOUNTS).bind(store.as_str()).bind(date);
    let rows: Vec<List> = rows.all().await?;
    let rows: Vec<ListRow> = rows.into_iter().map(List::row).collect::<Result<_, _>>()?;
    Digests::of(&rows).ok_or_else(|| {
        let problem = format!("the lists of {store} on {date} do not fit into 64 bits");
        ReadModelError::Corrupt(problem)
    })
}
