//! Whole tables, page by page within one snapshot: one long statement would run into its time limit when its reader is slow.

use contract::{Currency, StoreId};
use runtime::database::{RawRow, Transaction};
use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use super::columns::{Day, Store, day_columns, store_columns};
use super::joins;
use super::reader::Reader;
use super::settlement::stores_asked;
use super::sqlite;
use super::values::{date_range, instant};
use crate::error::ReadModelError;
use crate::export::{
    Column, Export, ExportQuery, ExportRow, ExportTable, Source, Stored, Value, decimals_of,
};
use crate::settlement::SalesStore;
use crate::traits::ExportReader;

/// Facts read at once; an order has up to 200 lines.
const FACTS_A_PAGE: i64 = 500;
/// Z reports read at once; one has up to 128 KiB.
const REPORTS_A_PAGE: i64 = 20;
/// Closed days of store `$1`, dates `$2` to `$3`, after date `$4`, at most `$5`.
const REPORTS: &str = concat!(
    "SELECT ",
    store_columns!(),
    ", ",
    day_columns!(),
    " FROM (SELECT * FROM business_days WHERE store_id = $1 AND state = 2 AND business_date BETWEEN $2 AND $3 AND business_date > $4 \
     ORDER BY business_date LIMIT $5) d JOIN stores s ON s.store_id = d.store_id \
     ORDER BY d.business_date"
);

#[derive(FromRow)]
struct Report {
    #[sqlx(flatten)]
    store: Store,
    #[sqlx(flatten)]
    day: Day,
}

/// The last fact of a page.
struct Place {
    date: String,
    revision: i64,
    index: i64,
}

impl Place {
    const fn beginning() -> Self {
        Self {
            date: String::new(),
            revision: -1,
            index: -1,
        }
    }
}

struct Exporting {
    snapshot: Transaction<'static>,
    query: ExportQuery,
    stores: Vec<SalesStore>,
    /// Index of the store that is read, and its last fact that has been.
    store: usize,
    after: Place,
}

/// A page's facts: of store `$1`, dates `$2` to `$3`, after date `$4`, revision `$5` and index `$6`, at most `$7`. Behind the columns stand
/// the fact's date, revision and index, and the position of the row within the fact: none of a fact without lines or tenders, which gives
/// one row all the same, so that the page's end is known. `None` for Z reports, which are no facts.
fn facts(table: ExportTable) -> Option<String> {
    let (kinds, join, position) = match table {
        ExportTable::Orders => ("= 1", joins::ORDERS.to_owned(), "CAST(0 AS BIGINT)"),
        ExportTable::OrderLines => ("= 1", format!("LEFT {}", joins::LINES), "l.position"),
        ExportTable::Refunds => ("IN (2, 3)", String::new(), "CAST(0 AS BIGINT)"),
        ExportTable::RefundLines => ("IN (2, 3)", format!("LEFT {}", joins::LINES), "l.position"),
        ExportTable::Tenders => (
            "IN (1, 2, 3)",
            format!("LEFT {}", joins::TENDERS),
            "t.position",
        ),
        ExportTable::ZReports => return None,
    };
    let columns: Vec<&str> = table.columns().iter().filter_map(expression).collect();
    Some(format!(
        "SELECT {columns}, f.business_date, f.revision, f.event_index, {position} AS k_position FROM (SELECT * FROM facts f \
         WHERE f.store_id = $1 AND f.business_date BETWEEN $2 AND $3 AND f.kind {kinds} \
         AND (f.business_date, f.revision, f.event_index) > ($4, $5, $6) ORDER BY f.business_date, f.revision, f.event_index LIMIT $7) f \
         JOIN stores s ON s.store_id = f.store_id {join} \
         ORDER BY f.business_date, f.revision, f.event_index, k_position",
        columns = columns.join(", ")
    ))
}

fn expression(column: &Column) -> Option<&'static str> {
    match column.source {
        Source::Fact(sql, _) => Some(sql),
        Source::Day(_) => None,
    }
}

/// `None`: the fact has no such row.
fn fact_row(row: &RawRow, columns: &[Column]) -> Result<Option<ExportRow>, ReadModelError> {
    let position = columns.len() + 3;
    if row.get::<Option<i64>>(position)?.is_none() {
        return Ok(None);
    }
    let values = columns.iter().enumerate();
    let values = values.map(|(place, column)| value(row, place, column));
    values.collect::<Result<_, _>>().map(Some)
}

fn value(row: &RawRow, place: usize, column: &Column) -> Result<Value, ReadModelError> {
    let Source::Fact(_, stored) = column.source else {
        return Ok(Value::Null);
    };
    Ok(match stored {
        Stored::Integer => Value::Integer(row.get(place)?),
        Stored::Text => row
            .get::<Option<String>>(place)?
            .map_or(Value::Null, Value::Text),
        Stored::Uuid => Value::Text(row.get::<Uuid>(place)?.to_string()),
        Stored::Instant => Value::Instant(instant(row.get(place)?, column.name)?),
        Stored::Currency => Value::Integer(decimals_of(Currency::new(row.get(place)?).ok())),
    })
}

fn report_row(report: Report, columns: &[Column]) -> Result<ExportRow, ReadModelError> {
    let (currency, day) = (report.store.row()?.currency, report.day.row()?);
    let value = |column: &Column| match column.source {
        Source::Day(of) => of(&day, currency),
        Source::Fact(..) => Ok(Value::Null),
    };
    columns.iter().map(value).collect()
}

impl Exporting {
    /// A page of the store; `None` at its end.
    async fn page(&mut self, store: &StoreId) -> Result<Option<Vec<ExportRow>>, ReadModelError> {
        sqlite::grant_a_page(&mut self.snapshot).await?;
        let dates = date_range(self.query.first, self.query.last);
        match facts(self.query.table) {
            Some(statement) => self.facts(statement, store, &dates).await,
            None => self.reports(store, &dates).await,
        }
    }

    async fn facts(
        &mut self,
        statement: String,
        store: &StoreId,
        [first, last]: &[String; 2],
    ) -> Result<Option<Vec<ExportRow>>, ReadModelError> {
        let query = self.snapshot.query(AssertSqlSafe(statement));
        let query = query.bind(store.as_str()).bind(first).bind(last);
        let query = query.bind(&self.after.date).bind(self.after.revision);
        let rows = query
            .bind(self.after.index)
            .bind(FACTS_A_PAGE)
            .raw()
            .await?;
        let Some(end) = rows.last() else {
            return Ok(None);
        };
        let columns = self.query.table.columns();
        let key = columns.len();
        self.after = Place {
            date: end.get(key)?,
            revision: end.get(key + 1)?,
            index: end.get(key + 2)?,
        };
        let rows = rows
            .iter()
            .filter_map(|row| fact_row(row, columns).transpose());
        rows.collect::<Result<_, _>>().map(Some)
    }

    async fn reports(
        &mut self,
        store: &StoreId,
        [first, last]: &[String; 2],
    ) -> Result<Option<Vec<ExportRow>>, ReadModelError> {
        let query = self.snapshot.query(REPORTS).bind(store.as_str());
        let query = query.bind(first).bind(last).bind(&self.after.date);
        let reports: Vec<Report> = query.bind(REPORTS_A_PAGE).all().await?;
        let Some(end) = reports.last() else {
            return Ok(None);
        };
        self.after.date = end.day.date().to_owned();
        let columns = self.query.table.columns();
        let rows = reports
            .into_iter()
            .map(|report| report_row(report, columns));
        rows.collect::<Result<_, _>>().map(Some)
    }
}

#[async_trait::async_trait]
impl Export for Exporting {
    fn stores(&self) -> &[SalesStore] {
        &self.stores
    }

    async fn next(&mut self) -> Result<Option<Vec<ExportRow>>, ReadModelError> {
        while let Some(store) = self.stores.get(self.store).map(|row| row.store.clone()) {
            if let Some(page) = self.page(&store).await? {
                return Ok(Some(page));
            }
            self.store += 1;
            self.after = Place::beginning();
        }
        Ok(None)
    }
}

#[async_trait::async_trait]
impl ExportReader for Reader {
    async fn export(&self, query: &ExportQuery) -> Result<Box<dyn Export>, ReadModelError> {
        let database = self.database().await?;
        let mut snapshot = database.long_snapshot().await?;
        let stores = stores_asked(&mut snapshot, &query.stores).await?;
        Ok(Box::new(Exporting {
            snapshot,
            query: query.clone(),
            stores,
            store: 0,
            after: Place::beginning(),
        }))
    }
}
