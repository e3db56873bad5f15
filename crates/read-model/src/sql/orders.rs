//! What tills, screens and operators ask.

use contract::{BusinessDate, OrderId, StoreId};
use event_log::Revision;
use sqlx::FromRow;
use tokio::sync::watch;
use uuid::Uuid;

use super::columns::{
    Epoch, SeenDay, SeenStore, Store, Stream, seen_columns, seen_stores, store_columns,
    stream_columns,
};
use super::lists::DAY_BY_DATE;
use super::reader::Reader;
use super::settlement::differing_days;
use super::values::{date_range, signed, store_id, stream_index, unsigned};
use super::words;
use crate::day::DayRow;
use crate::error::ReadModelError;
use crate::order::{ChangedPage, ListedOrder, OrderPage};
use crate::progress::{Progress, ProjectionStatus, StoreProgress, StreamSight};
use crate::store::{Seen, StoreRow};
use crate::traits::{OrderReader, ProjectionReader};

const ANY_STORE: &str = "SELECT store_id FROM stores LIMIT 1";
const SIGHTS: &str =
    "SELECT stream, position, head, looks, log_changed FROM checkpoints ORDER BY stream";
/// Of stores `$1`, each with the log that was projected furthest; that log alone if there is none of them.
const PROGRESS: &str = "SELECT c.log_id, c.epoch, s.store_id, s.revision, s.quarantine_reason FROM \
     (SELECT log_id, epoch FROM checkpoints ORDER BY position DESC LIMIT 1) c LEFT JOIN stores s ON s.store_id IN (SELECT k.value ->> 0 FROM EACH_OF($1) k)";
const STORE: &str = concat!(
    "SELECT ",
    seen_columns!(),
    seen_stores!(),
    "WHERE s.store_id = $1"
);
const STORES_AFTER: &str = concat!(
    "SELECT ",
    store_columns!(),
    " FROM stores s WHERE s.store_id > $1 ORDER BY s.store_id LIMIT $2"
);
const ORDER: &str = concat!(
    "SELECT ",
    seen_columns!(),
    ", o.body AS o_body",
    seen_stores!(),
    "LEFT JOIN orders o ON o.store_id = s.store_id AND o.order_id = $2 \
     WHERE s.store_id = $1"
);
/// Of [`SeenListed`], from orders as `o`.
macro_rules! listed_columns {
    () => {
        concat!(
            seen_columns!(),
            ", o.order_id AS o_id, o.ticket_number AS o_ticket, o.revision AS o_revision, o.body AS o_body"
        )
    };
}

/// Of store `$1` and date `$2`, after ticket `$3`, at most `$5`. Statuses are bits of `$4`.
const ORDERS: &str = concat!(
    "SELECT ",
    listed_columns!(),
    seen_stores!(),
    "LEFT JOIN (SELECT store_id, order_id, ticket_number, revision, body FROM orders WHERE store_id = $1 AND business_date = (CASE WHEN $2 = '' THEN (SELECT latest_date FROM stores WHERE store_id = $1) ELSE $2 END) AND ticket_number > $3 AND (($4 >> CAST(status AS INTEGER)) & 1) = 1 \
     ORDER BY ticket_number LIMIT $5) o ON o.store_id = s.store_id WHERE s.store_id = $1 ORDER BY o.ticket_number"
);
/// Of store `$1`, after order `$3` of revision `$2`, at most `$4`.
const CHANGED_ORDERS: &str = concat!(
    "SELECT ",
    listed_columns!(),
    seen_stores!(),
    "LEFT JOIN (SELECT store_id, order_id, ticket_number, revision, body FROM orders WHERE store_id = $1 AND (revision, order_id) > ($2, $3) ORDER BY revision, order_id LIMIT $4) o ON o.store_id = s.store_id \
     WHERE s.store_id = $1 ORDER BY o.revision, o.order_id"
);
const STREAMS: &str = concat!(
    "SELECT ",
    stream_columns!(),
    " FROM checkpoints ORDER BY stream"
);
const QUARANTINED: &str = concat!(
    "SELECT ",
    store_columns!(),
    " FROM stores s WHERE s.quarantine_reason <> '' ORDER BY s.store_id LIMIT 1000"
);

#[derive(FromRow)]
struct Sight {
    stream: i64,
    position: i64,
    head: i64,
    looks: i64,
    log_changed: String,
}

#[derive(FromRow)]
struct ProgressOfStore {
    #[sqlx(flatten)]
    epoch: Epoch,
    store_id: Option<String>,
    revision: Option<i64>,
    quarantine_reason: Option<String>,
}

/// A store with an order of it, which an outer join may not have found.
#[derive(FromRow)]
struct SeenOrder {
    #[sqlx(flatten)]
    store: SeenStore,
    o_body: Option<Vec<u8>>,
}

#[derive(FromRow)]
struct SeenListed {
    #[sqlx(flatten)]
    store: SeenStore,
    o_id: Option<Uuid>,
    o_ticket: Option<i64>,
    o_revision: Option<i64>,
    o_body: Option<Vec<u8>>,
}

#[async_trait::async_trait]
impl ProjectionReader for Reader {
    async fn check(&self) -> Result<(), ReadModelError> {
        let database = self.database().await?;
        let mut reads = database.reads().await?;
        let _: Option<(String,)> = reads.query(ANY_STORE).optional().await?;
        Ok(())
    }

    async fn listen(&self, hint: &watch::Sender<u64>) {
        self.generations.listen(hint).await;
    }

    async fn progress(&self, stores: &[StoreId]) -> Result<Progress, ReadModelError> {
        let database = self.database().await?;
        let mut reads = database.reads().await?;
        // Before the stores: what was projected by then is in their rows.
        let sights: Vec<Sight> = reads.query(SIGHTS).all().await?;
        let mut progress = Progress::default();
        for sight in sights {
            progress.streams.push(StreamSight {
                stream: stream_index(sight.stream)?,
                level: sight.position >= sight.head,
                looks: unsigned(sight.looks, "looks")?,
            });
            if !sight.log_changed.is_empty() {
                progress.log_changed.get_or_insert(sight.log_changed);
            }
        }
        let query = reads
            .query(database.words(PROGRESS))
            .bind(words::stores(stores));
        let found: Vec<ProgressOfStore> = query.all().await?;
        for row in found {
            progress.epoch = row.epoch.value()?;
            let (Some(store), Some(revision), Some(reason)) =
                (row.store_id, row.revision, row.quarantine_reason)
            else {
                continue;
            };
            let of_store = StoreProgress {
                revision: Revision(unsigned(revision, "revision")?),
                quarantined: !reason.is_empty(),
            };
            progress.stores.insert(store_id(&store)?, of_store);
        }
        Ok(progress)
    }

    async fn status(&self) -> Result<ProjectionStatus, ReadModelError> {
        let database = self.database().await?;
        // Operators look at it now and then, and each row is true by itself.
        let mut reads = database.reads().await?;
        let streams: Vec<Stream> = reads.query(STREAMS).all().await?;
        let quarantined: Vec<Store> = reads.query(QUARANTINED).all().await?;
        drop(reads);
        let mut snapshot = database.long_snapshot().await?;
        let differing = differing_days(&mut snapshot, &[], &date_range(None, None)).await?;
        snapshot.rollback().await?;
        Ok(ProjectionStatus {
            differing,
            streams: streams
                .into_iter()
                .map(|stream| stream.row(database.generation()))
                .collect::<Result<_, _>>()?,
            quarantined: quarantined
                .into_iter()
                .map(Store::row)
                .collect::<Result<_, _>>()?,
        })
    }
}

#[async_trait::async_trait]
impl OrderReader for Reader {
    async fn store(&self, store: &StoreId) -> Result<Option<Seen<()>>, ReadModelError> {
        let database = self.database().await?;
        let mut reads = database.reads().await?;
        let query = reads.query(STORE).bind(store.as_str());
        let found: Option<SeenStore> = query.optional().await?;
        found.map(|found| found.with(())).transpose()
    }

    async fn stores_after(
        &self,
        after: Option<&StoreId>,
        limit: u32,
    ) -> Result<Vec<StoreRow>, ReadModelError> {
        let database = self.database().await?;
        let mut reads = database.reads().await?;
        let query = reads.query(STORES_AFTER);
        let query = query
            .bind(after.map_or("", StoreId::as_str))
            .bind(i64::from(limit));
        let found: Vec<Store> = query.all().await?;
        found.into_iter().map(Store::row).collect()
    }

    async fn order(
        &self,
        store: &StoreId,
        order: OrderId,
    ) -> Result<Option<Seen<Option<Vec<u8>>>>, ReadModelError> {
        let database = self.database().await?;
        let mut reads = database.reads().await?;
        let query = reads.query(ORDER).bind(store.as_str()).bind(order.uuid());
        let found: Option<SeenOrder> = query.optional().await?;
        found
            .map(|found| found.store.with(found.o_body))
            .transpose()
    }

    async fn orders_page(
        &self,
        page: &OrderPage,
    ) -> Result<Option<Seen<Vec<ListedOrder>>>, ReadModelError> {
        let database = self.database().await?;
        let wanted = match page.statuses.is_empty() {
            true => i64::MAX,
            false => status_bits(&page.statuses),
        };
        let mut reads = database.reads().await?;
        let query = reads
            .query(ORDERS)
            .bind(page.store.as_str())
            .bind(page.date.map(|date| date.to_string()).unwrap_or_default())
            .bind(page.after_ticket)
            .bind(wanted)
            .bind(i64::from(page.limit));
        listed(query.all().await?)
    }

    async fn changed_orders(
        &self,
        page: &ChangedPage,
    ) -> Result<Option<Seen<Vec<ListedOrder>>>, ReadModelError> {
        let database = self.database().await?;
        let after = page.after.order.map_or(Uuid::max(), OrderId::uuid);
        let mut reads = database.reads().await?;
        let query = reads.query(CHANGED_ORDERS).bind(page.store.as_str());
        let query = query.bind(signed(page.after.revision.0)).bind(after);
        listed(query.bind(i64::from(page.limit)).all().await?)
    }

    async fn day(
        &self,
        store: &StoreId,
        date: Option<BusinessDate>,
    ) -> Result<Option<Seen<Option<DayRow>>>, ReadModelError> {
        let database = self.database().await?;
        let date = date.map(|date| date.to_string()).unwrap_or_default();
        let mut reads = database.reads().await?;
        let query = reads.query(DAY_BY_DATE).bind(store.as_str()).bind(date);
        let found: Option<SeenDay> = query.optional().await?;
        found.map(SeenDay::seen).transpose()
    }
}

/// A store with its orders, of which there is one in each row, if there is any.
fn listed(rows: Vec<SeenListed>) -> Result<Option<Seen<Vec<ListedOrder>>>, ReadModelError> {
    let mut store = None;
    let mut orders = Vec::with_capacity(rows.len());
    for row in rows {
        if let (Some(id), Some(ticket_number), Some(revision), Some(body)) =
            (row.o_id, row.o_ticket, row.o_revision, row.o_body)
        {
            orders.push(ListedOrder {
                order_id: OrderId::from_uuid(id),
                ticket_number,
                revision: Revision(unsigned(revision, "revision")?),
                body,
            });
        }
        store.get_or_insert(row.store);
    }
    store.map(|store| store.with(orders)).transpose()
}

/// A bit for each status, at its number.
fn status_bits(statuses: &[i32]) -> i64 {
    let numbers = statuses.iter().filter(|status| (0..63).contains(*status));
    numbers.fold(0, |bits, status| bits | 1 << status)
}
