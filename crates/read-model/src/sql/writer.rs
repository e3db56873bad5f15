//! The projector's side.

use std::sync::Arc;

use contract::{BusinessDate, OrderId, StoreId};
use event_log::{LogEpoch, Position, RecordHash, StreamIndex};
use runtime::database::{Engine, Transaction};
use sqlx::FromRow;
use uuid::Uuid;

use super::columns::{
    Day, List, Store, Stream, day_columns, list_amounts, store_columns, stream_columns,
};
use super::generations::GenerationStore;
use super::tables::{
    CASH, CHANGED_ORDERS, COMPLETIONS, DAYS, DISCOUNTS, FACTS, LINES, LISTS, PLACED_ORDERS, STORES,
    TENDERS, Table,
};
use super::values::{signed, store_id};
use super::{postgres, words, write_postgres, write_sqlite};
use crate::day::DayRow;
use crate::error::ReadModelError;
use crate::generation::Generation;
use crate::list::ListRow;
use crate::store::StoreRow;
use crate::stream::{Batch, Fence, Heartbeat, StreamRow};
use crate::traits::ReadModelWriter;

const STREAM: &str = concat!(
    "SELECT ",
    stream_columns!(),
    " FROM checkpoints WHERE stream = $1"
);
const ADD_STREAM: &str = "INSERT INTO checkpoints (stream, log_id, epoch, position, hash, head, lag_us, orphans, owner, term, beat, \
     updated_at_us) VALUES ($1, $2, $3, 0, $4, 0, 0, 0, '', 0, 0, 0) ON CONFLICT DO NOTHING";
const CLAIM: &str = "UPDATE checkpoints SET owner = $1, term = term + 1, beat = beat + 1, log_id = $2, epoch = $3 \
     WHERE stream = $4 AND position = $5 AND term = $6 AND beat = $7";
const RELEASE: &str = "UPDATE checkpoints SET owner = '', beat = beat + 1 WHERE stream = $1 AND position = $2 AND term = $3";
/// A head that was seen from another position than the stream's own says nothing of it.
const BEAT: &str = "UPDATE checkpoints SET head = CASE WHEN position = $5 THEN $1 ELSE head END, \
     lag_us = CASE WHEN position = $5 THEN $2 ELSE lag_us END, updated_at_us = $3, beat = beat + 1, looks = looks + $7, log_changed = $8 \
     WHERE stream = $4 AND term = $6";
/// What every batch begins with. It takes the stream's row, so that a successor's claim waits, and fences whoever believes in another
/// position or term.
const MOVE_ON: &str = "UPDATE checkpoints SET position = $1, hash = $2, head = $3, lag_us = $4, orphans = orphans + $5, beat = beat + 1, \
     updated_at_us = $6, log_id = $7, epoch = $8 WHERE stream = $9 AND position = $10 AND term = $11";
const STORES_BY_KEY: &str = concat!(
    "SELECT ",
    store_columns!(),
    " FROM EACH_OF($1) k CROSS JOIN stores s WHERE s.store_id = k.value ->> 0"
);
// The cross joins keep the keys outside in SQLite: one look into the index for each.
const ORDERS_BY_KEY: &str = "SELECT o.store_id, o.order_id, o.body FROM EACH_OF($1) k CROSS JOIN orders o \
     WHERE o.store_id = k.value ->> 0 AND o.order_id = UUID_OF(k.value ->> 1)";
const DAYS_BY_KEY: &str = concat!(
    "SELECT ",
    day_columns!(),
    " FROM EACH_OF($1) k CROSS JOIN business_days d \
     WHERE d.store_id = k.value ->> 0 AND d.business_date = k.value ->> 1"
);
const LISTS_BY_DAY: &str = concat!(
    "SELECT ",
    list_amounts!(),
    " FROM EACH_OF($1) k CROSS JOIN day_lists l \
     WHERE l.store_id = k.value ->> 0 AND l.business_date = k.value ->> 1 \
     ORDER BY l.store_id, l.business_date, l.list, l.list_key"
);

/// Writes whatever generation it is told to.
pub(crate) struct Writer {
    pub generations: Arc<GenerationStore>,
}

#[derive(FromRow)]
struct StoredOrder {
    store_id: String,
    order_id: Uuid,
    body: Vec<u8>,
}

fn fenced(fence: &Fence) -> ReadModelError {
    ReadModelError::Fenced {
        stream: fence.stream,
        position: fence.position,
        term: fence.term,
    }
}

/// A statement that changes the stream's row changes nothing where the fence does not hold.
fn if_ours(changed: u64, fence: &Fence) -> Result<(), ReadModelError> {
    if changed == 0 {
        Err(fenced(fence))
    } else {
        Ok(())
    }
}

#[async_trait::async_trait]
impl ReadModelWriter for Writer {
    async fn prepare(&self) -> Result<Generation, ReadModelError> {
        self.generations.prepare().await
    }

    async fn written(&self) -> Result<Vec<Generation>, ReadModelError> {
        self.generations.written().await
    }

    async fn take_over(&self, generation: Generation) -> Result<bool, ReadModelError> {
        self.generations.take_over(generation).await
    }

    async fn stream(
        &self,
        generation: Generation,
        stream: StreamIndex,
        epoch: LogEpoch,
    ) -> Result<StreamRow, ReadModelError> {
        let database = self.generations.database(generation);
        let mut signs = database.signs().await?;
        let index = i64::from(stream.0);
        let read = signs.query(STREAM).bind(index);
        if let Some(found) = read.optional::<Stream>().await? {
            return found.row(generation);
        }
        signs
            .query(ADD_STREAM)
            .bind(index)
            .bind(epoch.log_id)
            .bind(i64::from(epoch.epoch))
            .bind(&RecordHash::NONE.0[..])
            .execute()
            .await?;
        let read = signs.query(STREAM).bind(index);
        read.one::<Stream>().await?.row(generation)
    }

    async fn claim(
        &self,
        seen: &StreamRow,
        owner: &str,
        epoch: LogEpoch,
    ) -> Result<Option<StreamRow>, ReadModelError> {
        let database = self.generations.database(seen.generation);
        let epoch = if seen.position == Position(0) {
            epoch
        } else {
            seen.epoch
        };
        let mut signs = database.signs().await?;
        let claimed = signs
            .query(CLAIM)
            .bind(owner)
            .bind(epoch.log_id)
            .bind(i64::from(epoch.epoch))
            .bind(i64::from(seen.stream.0))
            .bind(signed(seen.position.0))
            .bind(signed(seen.term))
            .bind(signed(seen.beat))
            .execute()
            .await?;
        Ok((claimed > 0).then(|| StreamRow {
            owner: owner.to_owned(),
            term: seen.term + 1,
            beat: seen.beat + 1,
            epoch,
            ..seen.clone()
        }))
    }

    async fn release(&self, fence: &Fence) -> Result<(), ReadModelError> {
        let database = self.generations.database(fence.generation);
        let mut signs = database.signs().await?;
        let released = signs
            .query(RELEASE)
            .bind(i64::from(fence.stream.0))
            .bind(signed(fence.position.0))
            .bind(signed(fence.term))
            .execute()
            .await?;
        if_ours(released, fence)
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), ReadModelError> {
        let database = self.generations.database(heartbeat.fence.generation);
        let fence = &heartbeat.fence;
        let mut signs = database.signs().await?;
        let beaten = signs
            .query(BEAT)
            .bind(signed(heartbeat.head.0))
            .bind(heartbeat.lag_us)
            .bind(heartbeat.at.as_microsecond())
            .bind(i64::from(fence.stream.0))
            .bind(signed(fence.position.0))
            .bind(signed(fence.term))
            .bind(i64::from(heartbeat.looked))
            .bind(&heartbeat.log_changed)
            .execute()
            .await?;
        if_ours(beaten, fence)
    }

    async fn stores(
        &self,
        generation: Generation,
        stores: &[StoreId],
    ) -> Result<Vec<StoreRow>, ReadModelError> {
        let database = self.generations.database(generation);
        if stores.is_empty() {
            return Ok(Vec::new());
        }
        let mut turn = database.reading_for_batch().await?;
        let query = turn.connection.query(database.words(STORES_BY_KEY));
        let query = query.bind(words::stores(stores));
        let found: Vec<Store> = query.all().await?;
        found.into_iter().map(Store::row).collect()
    }

    async fn orders(
        &self,
        generation: Generation,
        orders: &[(StoreId, OrderId)],
    ) -> Result<Vec<(StoreId, OrderId, Vec<u8>)>, ReadModelError> {
        let database = self.generations.database(generation);
        if orders.is_empty() {
            return Ok(Vec::new());
        }
        let mut turn = database.reading_for_batch().await?;
        let query = turn.connection.query(database.words(ORDERS_BY_KEY));
        let query = query.bind(words::orders(orders));
        let found: Vec<StoredOrder> = query.all().await?;
        let order = |row: StoredOrder| {
            let store = store_id(&row.store_id)?;
            Ok((store, OrderId::from_uuid(row.order_id), row.body))
        };
        found.into_iter().map(order).collect()
    }

    async fn days(
        &self,
        generation: Generation,
        days: &[(StoreId, BusinessDate)],
    ) -> Result<Vec<DayRow>, ReadModelError> {
        let database = self.generations.database(generation);
        if days.is_empty() {
            return Ok(Vec::new());
        }
        let mut turn = database.reading_for_batch().await?;
        let query = turn.connection.query(database.words(DAYS_BY_KEY));
        let query = query.bind(words::days(days));
        let found: Vec<Day> = query.all().await?;
        found.into_iter().map(Day::row).collect()
    }

    async fn day_lists(
        &self,
        generation: Generation,
        days: &[(StoreId, BusinessDate)],
    ) -> Result<Vec<ListRow>, ReadModelError> {
        let database = self.generations.database(generation);
        if days.is_empty() {
            return Ok(Vec::new());
        }
        let mut turn = database.reading_for_batch().await?;
        let query = turn.connection.query(database.words(LISTS_BY_DAY));
        let query = query.bind(words::days(days));
        let found: Vec<List> = query.all().await?;
        found.into_iter().map(List::row).collect()
    }

    async fn commit(&self, batch: &Batch) -> Result<(), ReadModelError> {
        let database = self.generations.database(batch.fence.generation);
        let fence = &batch.fence;
        let mut turn = database.batch().await?;
        let moved = turn
            .connection
            .query(MOVE_ON)
            .bind(signed(batch.checkpoint.position.0))
            .bind(&batch.checkpoint.hash.0[..])
            .bind(signed(batch.head.0))
            .bind(batch.lag_us)
            .bind(signed(batch.orphans))
            .bind(batch.at.as_microsecond())
            .bind(batch.checkpoint.epoch.log_id)
            .bind(i64::from(batch.checkpoint.epoch.epoch))
            .bind(i64::from(fence.stream.0))
            .bind(signed(fence.position.0))
            .bind(signed(fence.term))
            .execute()
            .await?;
        if moved == 0 {
            turn.connection.rollback().await?;
            return Err(fenced(fence));
        }
        write_rows(&mut turn.connection, batch).await?;
        if database.engine() == Engine::Postgres {
            let notify = turn.connection.query(postgres::NOTIFY);
            notify.bind(fence.stream.0.to_string()).execute().await?;
        }
        turn.connection.commit().await?;
        database.committed();
        Ok(())
    }
}

async fn write_rows(
    transaction: &mut Transaction<'static>,
    batch: &Batch,
) -> Result<(), ReadModelError> {
    let facts = &batch.facts;
    write(transaction, &STORES, &batch.stores).await?;
    write(transaction, &PLACED_ORDERS, &batch.placed).await?;
    write(transaction, &CHANGED_ORDERS, &batch.orders).await?;
    write(transaction, &DAYS, &batch.days).await?;
    write(transaction, &FACTS, &facts.facts).await?;
    write(transaction, &LINES, &facts.lines).await?;
    write(transaction, &DISCOUNTS, &facts.discounts).await?;
    write(transaction, &TENDERS, &facts.tenders).await?;
    write(transaction, &COMPLETIONS, &facts.completions).await?;
    write(transaction, &CASH, &facts.cash).await?;
    write(transaction, &LISTS, &facts.lists).await
}

async fn write<R: Sync>(
    transaction: &mut Transaction<'static>,
    table: &Table<R>,
    rows: &[R],
) -> Result<(), ReadModelError> {
    match transaction {
        Transaction::Postgres(transaction) => write_postgres::write(transaction, table, rows).await,
        Transaction::Sqlite(transaction) => write_sqlite::write(transaction, table, rows).await,
    }
}
