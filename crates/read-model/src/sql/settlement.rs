//! What head office asks.

use contract::{Currency, OrderId, StoreId};
use event_log::Revision;
use runtime::database::Transaction;
use sqlx::FromRow;
use uuid::Uuid;

use super::columns::{
    List, SeenDay, SeenStore, day_columns, list_amounts, seen_columns, seen_stores,
};
use super::figures::entries;
use super::lists::{DAY_BY_DATE, DAY_BY_NUMBER, digests};
use super::reader::Reader;
use super::sales::sums;
use super::values::{
    corrupt, date, date_range, from_json, instant, signed, small, store_id, unsigned,
};
use super::words::{self, in_words_of};
use crate::day::{DayRow, DifferingDay};
use crate::error::ReadModelError;
use crate::facts::EventPlace;
use crate::figure::{Explained, Figure, FigureFact, FigureQuery};
use crate::list::{ListPage, ListRow, ReportQuery, Reported};
use crate::settlement::{Sales, SalesQuery, SalesStore, SalesSum, ZPage};
use crate::store::Seen;
use crate::traits::SettlementReader;

/// Days that differ between dates `$2` and `$3`: of stores `$1` unless `$4` is 0.
const DIFFERING_DAYS: &str = "SELECT d.store_id, d.business_date, d.z_number, d.differences FROM business_days d WHERE d.differences <> '[]' AND d.business_date BETWEEN $2 AND $3 \
     AND (CAST($4 AS BIGINT) = 0 OR d.store_id IN (SELECT k.value ->> 0 FROM EACH_OF($1) k)) \
     ORDER BY d.store_id, d.business_date LIMIT 1000";
/// Stores `$1`, or all if `$2` is 0.
const STORES_ASKED: &str = concat!(
    "SELECT ",
    seen_columns!(),
    ", c.position AS c_position, c.head AS c_head",
    seen_stores!(),
    "WHERE (CAST($2 AS BIGINT) = 0 OR s.store_id IN (SELECT k.value ->> 0 FROM EACH_OF($1) k)) ORDER BY s.store_id"
);
/// In the order of numbers, which is that of dates too, but for days that a clock had opened too early.
const Z_REPORTS: &str = concat!(
    "SELECT ",
    seen_columns!(),
    ", ",
    day_columns!(),
    seen_stores!(),
    "LEFT JOIN (SELECT * FROM business_days WHERE store_id = $1 AND state = 2 AND z_number > $2 AND business_date BETWEEN $3 AND $4 ORDER BY z_number LIMIT $5) d \
     ON d.store_id = s.store_id WHERE s.store_id = $1 ORDER BY d.z_number"
);
/// The row of key `$4` in list `$3` of the day `$2` of store `$1`.
const LIST_ROW: &str = concat!(
    "SELECT ",
    list_amounts!(),
    " FROM day_lists l WHERE l.store_id = $1 AND l.business_date = $2 AND l.list = $3 AND l.list_key = $4"
);

#[derive(FromRow)]
struct Differing {
    store_id: String,
    business_date: String,
    z_number: i64,
    differences: String,
}

impl Differing {
    fn day(self) -> Result<DifferingDay, ReadModelError> {
        Ok(DifferingDay {
            store: store_id(&self.store_id)?,
            date: date(&self.business_date)?,
            z_number: self.z_number,
            differences: from_json(&self.differences, "differences")?,
        })
    }
}

#[derive(FromRow)]
struct AskedStore {
    #[sqlx(flatten)]
    store: SeenStore,
    c_position: Option<i64>,
    c_head: Option<i64>,
}

impl AskedStore {
    fn store(self) -> Result<SalesStore, ReadModelError> {
        let Seen { store, epoch, .. } = self.store.with(())?;
        Ok(SalesStore {
            stream: store.stream,
            revision: store.revision(),
            recorded_at: store.recorded_at(),
            epoch,
            behind: self.c_position < self.c_head,
            store: store.store,
            quarantine: store.quarantine,
        })
    }
}

#[derive(FromRow)]
struct Sum {
    currency: String,
    sales_key: String,
    placed: i64,
    sales_net: i64,
    returns_net: i64,
    turnover_vat: Option<i64>,
}

impl Sum {
    fn sum(self) -> Result<SalesSum, ReadModelError> {
        Ok(SalesSum {
            currency: Currency::new(&self.currency).map_err(|error| corrupt("currency")(&error))?,
            key: self.sales_key,
            count: self.placed,
            sales_net: self.sales_net,
            returns_net: self.returns_net,
            turnover_vat: self.turnover_vat,
        })
    }
}

#[derive(FromRow)]
struct Entry {
    revision: i64,
    event_index: i64,
    kind: i64,
    order_id: Option<Uuid>,
    recorded_at_us: i64,
    amount: i64,
}

impl Entry {
    fn fact(self) -> Result<FigureFact, ReadModelError> {
        let event_type = match self.kind {
            1 => "OrderPlaced",
            2 => "OrderCancelled",
            3 => "OrderRefunded",
            4 => "BusinessDayOpened",
            5..=7 => "CashMoved",
            8 => "BusinessDayClosed",
            9 => "DrawerCounted",
            10 => "OrderCompleted",
            kind => return Err(corrupt("kind")(&format!("{kind} is no kind of fact"))),
        };
        Ok(FigureFact {
            place: EventPlace {
                revision: Revision(unsigned(self.revision, "revision")?),
                index: small(self.event_index, "event_index")?,
            },
            event_type,
            order_id: self.order_id.map(OrderId::from_uuid),
            recorded_at: instant(self.recorded_at_us, "recorded_at_us")?,
            amount: self.amount,
        })
    }
}

/// Days of the stores named, or of all if none is, between two dates.
pub(super) async fn differing_days(
    snapshot: &mut Transaction<'static>,
    named: &[StoreId],
    [first, last]: &[String; 2],
) -> Result<Vec<DifferingDay>, ReadModelError> {
    let statement = in_words_of(snapshot.engine(), DIFFERING_DAYS);
    let query = snapshot.query(statement).bind(words::stores(named));
    let query = query
        .bind(first)
        .bind(last)
        .bind(signed(named.len() as u64));
    let days: Vec<Differing> = query.all().await?;
    days.into_iter().map(Differing::day).collect()
}

/// Of the stores named, or of all if none is, those that there are.
pub(super) async fn stores_asked(
    snapshot: &mut Transaction<'static>,
    named: &[StoreId],
) -> Result<Vec<SalesStore>, ReadModelError> {
    let statement = in_words_of(snapshot.engine(), STORES_ASKED);
    let query = snapshot.query(statement).bind(words::stores(named));
    let stores: Vec<AskedStore> = query.bind(signed(named.len() as u64)).all().await?;
    stores.into_iter().map(AskedStore::store).collect()
}

#[async_trait::async_trait]
impl SettlementReader for Reader {
    async fn z_report(
        &self,
        store: &StoreId,
        number: i64,
    ) -> Result<Option<Seen<Option<DayRow>>>, ReadModelError> {
        let database = self.database().await?;
        let mut reports = database.reports().await?;
        let query = reports
            .query(DAY_BY_NUMBER)
            .bind(store.as_str())
            .bind(number);
        let found: Option<SeenDay> = query.optional().await?;
        found.map(SeenDay::seen).transpose()
    }

    async fn report(
        &self,
        query: &ReportQuery,
    ) -> Result<Option<Seen<Option<Reported>>>, ReadModelError> {
        let database = self.database().await?;
        database.read_report(query).await
    }

    async fn list(
        &self,
        page: &ListPage,
    ) -> Result<Option<Seen<Option<Vec<ListRow>>>>, ReadModelError> {
        let database = self.database().await?;
        database.read_list(page).await
    }

    async fn z_reports(&self, page: &ZPage) -> Result<Option<Seen<Vec<DayRow>>>, ReadModelError> {
        let database = self.database().await?;
        let [first, last] = date_range(page.first, page.last);
        let mut reports = database.reports().await?;
        let query = reports.query(Z_REPORTS).bind(page.store.as_str());
        let query = query.bind(page.after_number).bind(first).bind(last);
        let rows: Vec<SeenDay> = query.bind(i64::from(page.limit)).all().await?;
        let mut store = None;
        let mut days = Vec::with_capacity(rows.len());
        for row in rows {
            days.extend(row.day.row()?);
            store.get_or_insert(row.store);
        }
        store.map(|store| store.with(days)).transpose()
    }

    async fn sales(&self, query: &SalesQuery) -> Result<Sales, ReadModelError> {
        let database = self.database().await?;
        let dates = date_range(Some(query.first), Some(query.last));
        let mut snapshot = database.long_snapshot().await?;
        let mut sales = Sales {
            stores: stores_asked(&mut snapshot, &query.stores).await?,
            ..Sales::default()
        };
        for total in [false, true] {
            let statement = database.words(&sums(query, total));
            let rows = snapshot.query(statement).bind(words::stores(&query.stores));
            let rows = rows.bind(&dates[0]).bind(&dates[1]);
            let rows: Vec<Sum> = rows.bind(signed(query.stores.len() as u64)).all().await?;
            let rows = rows.into_iter().map(Sum::sum).collect::<Result<_, _>>()?;
            if total {
                sales.totals = rows;
            } else {
                sales.rows = rows;
            }
        }
        sales.differing = differing_days(&mut snapshot, &query.stores, &dates).await?;
        snapshot.rollback().await?;
        Ok(sales)
    }

    async fn explain(
        &self,
        query: &FigureQuery,
    ) -> Result<Option<Seen<Explained>>, ReadModelError> {
        let database = self.database().await?;
        let (store, date) = (query.store.as_str(), query.date.to_string());
        let (entries, key) = (entries(&query.figure), query.figure.key());
        let mut snapshot = database.long_snapshot().await?;
        let day = snapshot.query(DAY_BY_DATE).bind(store).bind(&date);
        let Some(found) = day.optional::<SeenDay>().await? else {
            return Ok(None);
        };
        let total = database.words(&format!(
            "SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) AS total FROM ({entries}) e"
        ));
        let total = snapshot.query(total).bind(store).bind(&date).bind(&key);
        let (total,) = total.one().await?;
        let after = query.after.map_or((-1, -1), |after| {
            (signed(after.revision.0), i64::from(after.index))
        });
        let page = database.words(&format!(
            "SELECT revision, event_index, kind, order_id, recorded_at_us, CAST(SUM(amount) AS BIGINT) AS amount FROM ({entries}) e \
             WHERE amount <> 0 AND (revision > $4 OR (revision = $4 AND event_index > $5)) \
             GROUP BY revision, event_index, kind, order_id, recorded_at_us ORDER BY revision, event_index LIMIT $6"
        ));
        let page = snapshot.query(page).bind(store).bind(&date).bind(&key);
        let page = page
            .bind(after.0)
            .bind(after.1)
            .bind(i64::from(query.limit));
        let facts: Vec<Entry> = page.all().await?;
        let listed = match query.figure.list_key() {
            Some((list, key)) => {
                let row = snapshot.query(LIST_ROW).bind(store).bind(&date);
                let row = row.bind(list as i64).bind(&key).optional::<List>().await?;
                row.map(List::row).transpose()?.map(|row| row.amounts)
            }
            None => None,
        };
        let digest = match &query.figure {
            Figure::List(list, _) => {
                let digests = digests(&mut snapshot, &query.store, &date).await?;
                Some(digests.get(*list).clone())
            }
            _ => None,
        };
        snapshot.rollback().await?;
        let explained = Explained {
            day: found.day.row()?,
            total,
            facts: facts
                .into_iter()
                .map(Entry::fact)
                .collect::<Result<_, _>>()?,
            listed,
            digest,
        };
        found.store.with(explained).map(Some)
    }
}
