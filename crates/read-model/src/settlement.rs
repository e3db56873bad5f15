//! What head office asks, in words that both backends understand.

use std::fmt::Write as _;

use contract::{BusinessDate, Currency, StoreId};
use event_log::{LogEpoch, Revision, StreamIndex};
use jiff::Timestamp;

use crate::rows::{FigureDifference, Quarantine};

/// More rows than this are not read of one question: an answer must fit into a message.
pub const MAX_SALES_ROWS: usize = 10_000;

// The expressions on the right keep PostgreSQL from reading all rows of the store for each fact, which it takes for a good plan before it
// has statistics: only the whole key can be looked up.
pub(crate) const JOIN_LINES: &str = "JOIN fact_lines l ON l.generation = f.generation + 0 AND l.store_id = f.store_id || '' \
                                     AND l.revision = f.revision AND l.event_index = f.event_index";
pub(crate) const JOIN_TENDERS: &str = "JOIN fact_tenders t ON t.generation = f.generation + 0 AND t.store_id = f.store_id || '' \
                                       AND t.revision = f.revision AND t.event_index = f.event_index";
pub(crate) const JOIN_DISCOUNTS: &str = "JOIN fact_discounts x ON x.generation = f.generation + 0 AND x.store_id = f.store_id || '' \
                                         AND x.revision = f.revision AND x.event_index = f.event_index";
pub(crate) const JOIN_ORDERS: &str = "JOIN orders o ON o.generation = f.generation + 0 AND o.store_id = f.store_id || '' AND o.order_id = f.order_id";

/// Z reports of a store by number.
#[derive(Debug, Clone)]
pub struct ZPage {
    pub store: StoreId,
    /// Both inclusive.
    pub first: Option<BusinessDate>,
    pub last: Option<BusinessDate>,
    /// 0 to begin with.
    pub after_number: i64,
    pub limit: u32,
}

/// Which day something given back counts in: that of the fact or that of its sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SalesBasis {
    AsClosed,
    AsRestated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SalesGrouping {
    Day,
    Store,
    Item,
    Category,
    /// The local hour of the fact, "00" to "23"; the second of two that a clock set back makes is "01 repeated".
    Hour,
    /// Keys are kinds as `doppio.type.v1.TenderKind` numbers them; their rows have no VAT.
    Tender,
    /// Keys are outcomes as `doppio.type.v1.MembershipOutcome` numbers them: what is known of the order today.
    Membership,
}

#[derive(Debug, Clone)]
pub struct SalesQuery {
    /// Empty: all.
    pub stores: Vec<StoreId>,
    /// Both inclusive.
    pub first: BusinessDate,
    pub last: BusinessDate,
    pub grouping: SalesGrouping,
    pub basis: SalesBasis,
}

/// How far a store that was asked of has been projected.
#[derive(Debug, Clone)]
pub struct SalesStore {
    pub store: StoreId,
    /// The stream of the log that its ledger is in.
    pub stream: StreamIndex,
    pub revision: Revision,
    /// `None` before the first record.
    pub recorded_at: Option<Timestamp>,
    pub epoch: Option<LogEpoch>,
    /// Why it stands still, if it does.
    pub quarantine: Option<Quarantine>,
    /// Whether its stream had records that were not projected yet when its owner last looked.
    pub behind: bool,
}

/// Sums in minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SalesSum {
    pub currency: Currency,
    /// Empty in a total.
    pub key: String,
    /// Orders placed; by item and category units sold.
    pub count: i64,
    pub sales_net: i64,
    pub returns_net: i64,
    /// Of sales less what was given back; `None` by tender, which pays net and VAT at once.
    pub turnover_vat: Option<i64>,
}

/// A closed day of which the projection computes figures otherwise than they were recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DifferingDay {
    pub store: StoreId,
    pub date: BusinessDate,
    pub z_number: i64,
    pub differences: Vec<FigureDifference>,
}

#[derive(Debug, Clone, Default)]
pub struct Sales {
    /// Of those asked for, the ones that there are.
    pub stores: Vec<SalesStore>,
    /// At most [`MAX_SALES_ROWS`] and one more, which says that there are too many.
    pub rows: Vec<SalesSum>,
    /// One row a currency.
    pub totals: Vec<SalesSum>,
    /// Of the days asked for; at most 1,000.
    pub differing: Vec<DifferingDay>,
}

impl SalesQuery {
    /// The rows' query: stores `$1` (a JSON array, read by `list`) unless `$4` is 0, dates `$2` to `$3`. Made of nothing but the texts of
    /// this module. `total` leaves out the grouping.
    pub(crate) fn sql(&self, list: &str, total: bool) -> String {
        let date = match self.basis {
            SalesBasis::AsClosed => "business_date",
            SalesBasis::AsRestated => "sale_business_date",
        };
        let orders_placed = "SUM(CASE WHEN f.kind = 1 THEN 1 ELSE 0 END)";
        let (key, join, count, amounts) = match self.grouping {
            _ if total => ("''", "", orders_placed, "f"),
            SalesGrouping::Day => (
                if date == "business_date" {
                    "f.business_date"
                } else {
                    "f.sale_business_date"
                },
                "",
                orders_placed,
                "f",
            ),
            SalesGrouping::Store => ("f.store_id", "", orders_placed, "f"),
            SalesGrouping::Hour => (
                "substr(f.hour, 12, 2) || CASE f.hour_repeated WHEN 0 THEN '' ELSE ' repeated' END",
                "",
                orders_placed,
                "f",
            ),
            SalesGrouping::Item => (
                "l.sku",
                JOIN_LINES,
                "SUM(CASE WHEN f.kind = 1 THEN l.quantity ELSE 0 END)",
                "l",
            ),
            SalesGrouping::Category => (
                "l.category",
                JOIN_LINES,
                "SUM(CASE WHEN f.kind = 1 THEN l.quantity ELSE 0 END)",
                "l",
            ),
            SalesGrouping::Membership => (
                "CAST(o.membership AS TEXT)",
                JOIN_ORDERS,
                orders_placed,
                "f",
            ),
            // An order may be paid with two cards.
            SalesGrouping::Tender => (
                "CAST(t.kind AS TEXT)",
                JOIN_TENDERS,
                "COUNT(DISTINCT CASE WHEN f.kind = 1 THEN f.order_id END)",
                "t",
            ),
        };
        let mut sql = format!(
            "SELECT s.currency AS currency, {key} AS sales_key, CAST({count} AS BIGINT) AS placed, "
        );
        // Writing to a string does not fail.
        let _ = match amounts {
            "t" => write!(
                sql,
                "CAST(SUM(t.taken) AS BIGINT) AS sales_net, CAST(SUM(t.returned) AS BIGINT) AS returns_net, \
                 CAST(NULL AS BIGINT) AS turnover_vat"
            ),
            of => write!(
                sql,
                "CAST(SUM(CASE WHEN f.kind = 1 THEN {of}.net ELSE 0 END) AS BIGINT) AS sales_net, \
                 CAST(SUM(CASE WHEN f.kind = 1 THEN 0 ELSE {of}.net END) AS BIGINT) AS returns_net, \
                 CAST(SUM(CASE WHEN f.kind = 1 THEN {of}.vat ELSE -{of}.vat END) AS BIGINT) AS turnover_vat"
            ),
        };
        let _ = write!(
            sql,
            " FROM stores s JOIN facts f ON f.generation = s.generation AND f.store_id = s.store_id AND f.{date} BETWEEN $2 AND $3 {join} \
             WHERE s.generation = (SELECT generation FROM live_generations WHERE projection = 'sales') AND s.currency <> '' \
             AND (CAST($4 AS BIGINT) = 0 OR s.store_id IN {list}) GROUP BY 1, 2 ORDER BY 1, 2 LIMIT {}",
            MAX_SALES_ROWS + 1
        );
        sql
    }
}

/// [`crate::SettlementReader`] for a backend with a method `snapshot`, which begins a transaction that reads at one instant.
/// `$list` turns the JSON array in `$1` into rows.
macro_rules! settlement {
    ($model:ident, $row:ty, $database:ty, $list:literal) => {
        fn sales_sum(row: &$row) -> Result<SalesSum, ReadModelError> {
            Ok(SalesSum {
                currency: Currency::new(row.try_get("currency")?).map_err(|error| corrupt("currency")(&error))?,
                key: row.try_get("sales_key")?,
                count: row.try_get("placed")?,
                sales_net: row.try_get("sales_net")?,
                returns_net: row.try_get("returns_net")?,
                turnover_vat: row.try_get("turnover_vat")?,
            })
        }

        /// Days of the stores named, or of all if none is, between two dates.
        async fn differing_days(
            snapshot: &mut Transaction<'static, $database>,
            named: &[StoreId],
            [first, last]: [&str; 2],
        ) -> Result<Vec<DifferingDay>, ReadModelError> {
            const DAYS: &str = concat!(
                "SELECT d.store_id, d.business_date, d.z_number, d.differences FROM business_days d WHERE d.generation = ",
                live!(),
                " AND d.differences <> '[]' AND d.business_date BETWEEN $2 AND $3 AND (CAST($4 AS BIGINT) = 0 OR d.store_id IN ",
                $list,
                ") ORDER BY d.store_id, d.business_date LIMIT 1000"
            );
            let ids: Vec<&str> = named.iter().map(StoreId::as_str).collect();
            let days = sqlx::query(DAYS).bind(json(&ids)?).bind(first).bind(last).bind(signed(ids.len() as u64));
            let day = |row: &$row| {
                Ok(DifferingDay {
                    store: StoreId::new(row.try_get("store_id")?).map_err(|error| corrupt("store_id")(&error))?,
                    date: date(row.try_get("business_date")?)?.ok_or_else(|| ReadModelError::Corrupt("business_date is empty".into()))?,
                    z_number: row.try_get("z_number")?,
                    differences: serde_json::from_str(row.try_get("differences")?).map_err(|error| corrupt("differences")(&error))?,
                })
            };
            days.fetch_all(&mut **snapshot).await?.iter().map(day).collect()
        }

        /// Of the stores named, or of all if none is, those that there are.
        async fn stores_asked(snapshot: &mut Transaction<'static, $database>, named: &[StoreId]) -> Result<Vec<SalesStore>, ReadModelError> {
            const STORES: &str = concat!(
                "SELECT ",
                store_columns!(),
                ", c.log_id, c.epoch, c.position AS c_position, c.head AS c_head ",
                store_and_epoch!(),
                "WHERE s.generation = ",
                live!(),
                " AND (CAST($2 AS BIGINT) = 0 OR s.store_id IN ",
                $list,
                ") ORDER BY s.store_id"
            );
            let ids: Vec<&str> = named.iter().map(StoreId::as_str).collect();
            let rows = sqlx::query(STORES).bind(json(&ids)?).bind(signed(ids.len() as u64)).fetch_all(&mut **snapshot).await?;
            let store = |row| {
                let store: StoreRow = store_row(row)?;
                let (revision, recorded_at) = (store.revision(), store.recorded_at());
                let place: (Option<i64>, Option<i64>) = (row.try_get("c_position")?, row.try_get("c_head")?);
                let behind = place.0 < place.1;
                Ok(SalesStore { stream: store.stream, store: store.store, revision, recorded_at, epoch: epoch(row)?, quarantine: store.quarantine, behind })
            };
            rows.iter().map(store).collect()
        }

        fn figure_fact(row: &$row) -> Result<FigureFact, ReadModelError> {
            let event_type = match row.try_get::<i64, _>("kind")? {
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
                    revision: Revision(unsigned(row.try_get("revision")?, "revision")?),
                    index: u32::try_from(row.try_get::<i64, _>("event_index")?).map_err(|error| corrupt("event_index")(&error))?,
                },
                event_type,
                order_id: row.try_get::<Option<Uuid>, _>("order_id")?.map(OrderId::from_uuid),
                recorded_at: instant(row.try_get("recorded_at_us")?, "recorded_at_us")?,
                amount: row.try_get("amount")?,
            })
        }

        #[async_trait::async_trait]
        impl SettlementReader for $model {
            async fn z_report(&self, store: &StoreId, number: i64) -> Result<Option<Seen<Option<DayRow>>>, ReadModelError> {
                let row = sqlx::query(concat!(
                    "SELECT ",
                    store_columns!(),
                    ", c.log_id, c.epoch, ",
                    day_columns!(),
                    store_and_epoch!(),
                    "LEFT JOIN business_days d ON d.generation = s.generation AND d.store_id = s.store_id AND d.z_number = $2 \
                     AND d.state = 2 WHERE s.store_id = $1 AND s.generation = ",
                    live!()
                ))
                .bind(store.as_str())
                .bind(number)
                .fetch_optional(&self.reports)
                .await?;
                row.map(|row| Ok(Seen { store: store_row(&row)?, epoch: epoch(&row)?, found: day_row(&row)? })).transpose()
            }

            async fn report(&self, query: &ReportQuery) -> Result<Option<Seen<Option<Reported>>>, ReadModelError> {
                self.read_report(query).await
            }

            async fn list(&self, page: &ListPage) -> Result<Option<Seen<Option<Vec<ListRow>>>>, ReadModelError> {
                self.read_list(page).await
            }

            async fn z_reports(&self, page: &ZPage) -> Result<Option<Seen<Vec<DayRow>>>, ReadModelError> {
                // In the order of numbers, which is that of dates too, but for days that a clock had opened too early.
                let rows = sqlx::query(concat!(
                    "SELECT ",
                    store_columns!(),
                    ", c.log_id, c.epoch, ",
                    day_columns!(),
                    store_and_epoch!(),
                    "LEFT JOIN (SELECT * FROM business_days WHERE generation = ",
                    live!(),
                    " AND store_id = $1 AND state = 2 AND z_number > $2 AND business_date BETWEEN $3 AND $4 ORDER BY z_number LIMIT $5) d \
                     ON d.store_id = s.store_id WHERE s.store_id = $1 AND s.generation = ",
                    live!(),
                    " ORDER BY d.z_number"
                ))
                .bind(page.store.as_str())
                .bind(page.after_number)
                .bind(page.first.map(|date| date.to_string()).unwrap_or_default())
                .bind(page.last.map_or_else(|| "9999-12-31".to_owned(), |date| date.to_string()))
                .bind(i64::from(page.limit))
                .fetch_all(&self.reports)
                .await?;
                let Some(first) = rows.first() else { return Ok(None) };
                let found = rows.iter().filter_map(|row| day_row(row).transpose()).collect::<Result<_, _>>()?;
                Ok(Some(Seen { store: store_row(first)?, epoch: epoch(first)?, found }))
            }

            async fn sales(&self, query: &SalesQuery) -> Result<Sales, ReadModelError> {
                let ids: Vec<&str> = query.stores.iter().map(StoreId::as_str).collect();
                let (named, ids) = (signed(ids.len() as u64), json(&ids)?);
                let mut snapshot = self.snapshot().await?;
                let mut sales = Sales::default();
                sales.stores = stores_asked(&mut snapshot, &query.stores).await?;
                for total in [false, true] {
                    let sums = sqlx::query(AssertSqlSafe(query.sql($list, total)))
                        .bind(&ids)
                        .bind(query.first.to_string())
                        .bind(query.last.to_string())
                        .bind(named)
                        .fetch_all(&mut *snapshot)
                        .await?;
                    let sums = sums.iter().map(sales_sum).collect::<Result<_, _>>()?;
                    if total { sales.totals = sums } else { sales.rows = sums }
                }
                let dates = [query.first.to_string(), query.last.to_string()];
                sales.differing = differing_days(&mut snapshot, &query.stores, [&dates[0], &dates[1]]).await?;
                snapshot.rollback().await?;
                Ok(sales)
            }

            async fn explain(&self, query: &FigureQuery) -> Result<Option<Seen<Explained>>, ReadModelError> {
                const DAY: &str = concat!(
                    "SELECT ",
                    store_columns!(),
                    ", c.log_id, c.epoch, ",
                    day_columns!(),
                    store_and_epoch!(),
                    "LEFT JOIN business_days d ON d.generation = s.generation AND d.store_id = s.store_id AND d.business_date = $2 \
                     WHERE s.store_id = $1 AND s.generation = ",
                    live!()
                );
                let (store, date, key) = (query.store.as_str(), query.date.to_string(), query.figure.key());
                let entries = query.figure.entries();
                let mut snapshot = self.snapshot().await?;
                let Some(row) = sqlx::query(DAY).bind(store).bind(&date).fetch_optional(&mut *snapshot).await? else { return Ok(None) };
                let total = sqlx::query(AssertSqlSafe(format!(
                    "SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) AS total FROM ({entries}) e"
                )))
                .bind(store)
                .bind(&date)
                .bind(&key)
                .fetch_one(&mut *snapshot)
                .await?;
                let after = query.after.map_or((-1, -1), |after| (signed(after.revision.0), i64::from(after.index)));
                let facts = sqlx::query(AssertSqlSafe(format!(
                    "SELECT revision, event_index, kind, order_id, recorded_at_us, CAST(SUM(amount) AS BIGINT) AS amount FROM ({entries}) e \
                     WHERE amount <> 0 AND (revision > $4 OR (revision = $4 AND event_index > $5)) \
                     GROUP BY revision, event_index, kind, order_id, recorded_at_us ORDER BY revision, event_index LIMIT $6"
                )))
                .bind(store)
                .bind(&date)
                .bind(&key)
                .bind(after.0)
                .bind(after.1)
                .bind(i64::from(query.limit))
                .fetch_all(&mut *snapshot)
                .await?;
                let listed = match query.figure.list_key() {
                    Some((list, key)) => {
                        let row = sqlx::query(ONE_ROW).bind(store).bind(&date).bind(list as i64).bind(&key);
                        let row = row.fetch_optional(&mut *snapshot).await?;
                        row.as_ref().map(list_row).transpose()?.map(|row| row.amounts)
                    }
                    None => None,
                };
                let digest = match &query.figure {
                    Figure::List(list, _) => Some(list_digests(&mut snapshot, &query.store, &date).await?.get(*list).clone()),
                    _ => None,
                };
                snapshot.rollback().await?;
                let facts = facts.iter().map(figure_fact).collect::<Result<_, _>>()?;
                let found = Explained { day: day_row(&row)?, total: total.try_get("total")?, facts, listed, digest };
                Ok(Some(Seen { store: store_row(&row)?, epoch: epoch(&row)?, found }))
            }
        }
    };
}

pub(crate) use settlement;
