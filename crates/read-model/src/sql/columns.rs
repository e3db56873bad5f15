//! The columns that statements ask for, each list beside the row that reads it.

use std::collections::BTreeMap;

use contract::list_digest::ListAmounts;
use contract::{Currency, Money};
use event_log::{ChainState, LogEpoch, Position, Revision};
use sqlx::{ColumnIndex, Database, Decode, FromRow, Row, Type};
use uuid::Uuid;

use super::values::{
    corrupt, date, from_json, hash, instant, optional_date, small, store_id, stream_index, unsigned,
};
use crate::day::{DayRow, DayState};
use crate::error::ReadModelError;
use crate::generation::Generation;
use crate::list::{DayList, ListRow};
use crate::store::{Quarantine, Seen, StoreRow};
use crate::stream::StreamRow;

/// Of [`Store`], from `stores s`.
macro_rules! store_columns {
    () => {
        "s.store_id, s.stream, s.ledger_id, s.revision, s.hash, s.recorded_at_us, s.currency, s.time_zone, s.cutoff_minutes, s.name, \
         s.latest_date, s.day_open, s.z_number, s.z_hash, s.document_number, s.open_orders, s.completed_between, s.grand_total_sales, \
         s.grand_total_returns, s.quarantine_reason, s.quarantine_revision, s.quarantined_at_us, s.skipped_records"
    };
}

/// Of [`SeenStore`], from [`seen_stores!`].
macro_rules! seen_columns {
    () => {
        concat!(
            $crate::sql::columns::store_columns!(),
            ", c.log_id, c.epoch"
        )
    };
}

/// Stores, each with the checkpoint of its stream.
macro_rules! seen_stores {
    () => {
        " FROM stores s LEFT JOIN checkpoints c ON c.stream = s.stream "
    };
}

/// Of [`Day`], from `business_days d`.
macro_rules! day_columns {
    () => {
        "d.store_id AS d_store_id, d.business_date AS d_date, d.state AS d_state, d.time_zone AS d_time_zone, d.start_at_us AS d_start, \
         d.end_at_us AS d_end, d.closed_at_us AS d_closed, d.z_number AS d_z_number, d.revision AS d_revision, d.body AS d_body, \
         d.recorded AS d_recorded, d.differences AS d_differences, d.figures AS d_figures"
    };
}

/// Of [`Stream`], from `checkpoints`.
macro_rules! stream_columns {
    () => {
        "stream, log_id, epoch, position, hash, head, lag_us, orphans, owner, term, beat, looks, log_changed, updated_at_us"
    };
}

/// Of [`List`] without names, from `day_lists l`: what a digest is made of.
macro_rules! list_amounts {
    () => {
        "l.store_id, l.business_date, l.list, l.list_key, '' AS category, '{}' AS name, l.units, l.gross, l.discount, l.net"
    };
}

/// Of [`List`], from `day_lists l`.
macro_rules! list_columns {
    () => {
        "l.store_id, l.business_date, l.list, l.list_key, l.category, l.name, l.units, l.gross, l.discount, l.net"
    };
}

pub(crate) use {
    day_columns, list_amounts, list_columns, seen_columns, seen_stores, store_columns,
    stream_columns,
};

#[derive(FromRow)]
pub(crate) struct Stream {
    stream: i64,
    log_id: Uuid,
    epoch: i64,
    position: i64,
    hash: Vec<u8>,
    head: i64,
    lag_us: i64,
    orphans: i64,
    owner: String,
    term: i64,
    beat: i64,
    looks: i64,
    log_changed: String,
    updated_at_us: i64,
}

impl Stream {
    pub fn row(self, generation: Generation) -> Result<StreamRow, ReadModelError> {
        Ok(StreamRow {
            generation,
            stream: stream_index(self.stream)?,
            epoch: LogEpoch {
                log_id: self.log_id,
                epoch: small(self.epoch, "epoch")?,
            },
            position: Position(unsigned(self.position, "position")?),
            hash: hash(&self.hash, "hash")?,
            head: Position(unsigned(self.head, "head")?),
            lag_us: self.lag_us,
            orphans: unsigned(self.orphans, "orphans")?,
            owner: self.owner,
            term: unsigned(self.term, "term")?,
            beat: unsigned(self.beat, "beat")?,
            looks: unsigned(self.looks, "looks")?,
            log_changed: self.log_changed,
            updated_at: instant(self.updated_at_us, "updated_at_us")?,
        })
    }
}

#[derive(FromRow)]
pub(crate) struct Store {
    store_id: String,
    stream: i64,
    ledger_id: Option<Uuid>,
    revision: i64,
    hash: Vec<u8>,
    recorded_at_us: i64,
    currency: String,
    time_zone: String,
    cutoff_minutes: i64,
    name: String,
    latest_date: String,
    day_open: i64,
    z_number: i64,
    z_hash: Vec<u8>,
    document_number: i64,
    open_orders: i64,
    completed_between: i64,
    grand_total_sales: i64,
    grand_total_returns: i64,
    quarantine_reason: String,
    quarantine_revision: i64,
    quarantined_at_us: i64,
    skipped_records: i64,
}

impl Store {
    pub fn row(self) -> Result<StoreRow, ReadModelError> {
        let chain = match self.ledger_id {
            Some(ledger_id) => Some(ChainState {
                ledger_id,
                revision: Revision(unsigned(self.revision, "revision")?),
                hash: hash(&self.hash, "hash")?,
                recorded_at_us: self.recorded_at_us,
            }),
            None => None,
        };
        let currency = match self.currency.as_str() {
            "" => None,
            code => Some(Currency::new(code).map_err(|error| corrupt("currency")(&error))?),
        };
        let quarantine = match self.quarantine_reason.is_empty() {
            true => None,
            false => Some(Quarantine {
                reason: self.quarantine_reason,
                revision: Revision(unsigned(self.quarantine_revision, "quarantine_revision")?),
                at: instant(self.quarantined_at_us, "quarantined_at_us")?,
                skipped: unsigned(self.skipped_records, "skipped_records")?,
            }),
        };
        Ok(StoreRow {
            store: store_id(&self.store_id)?,
            stream: stream_index(self.stream)?,
            chain,
            currency,
            time_zone: self.time_zone,
            cutoff_minutes: small(self.cutoff_minutes, "cutoff_minutes")?,
            name: from_json(&self.name, "name")?,
            latest_date: optional_date(&self.latest_date)?,
            day_open: self.day_open != 0,
            z_number: self.z_number,
            z_hash: hash(&self.z_hash, "z_hash")?,
            document_number: self.document_number,
            open_orders: self.open_orders,
            completed_between: self.completed_between,
            grand_total_sales: Money::new(self.grand_total_sales),
            grand_total_returns: Money::new(self.grand_total_returns),
            quarantine,
        })
    }
}

/// The log that rows were projected from, if anything has been.
#[derive(FromRow)]
pub(crate) struct Epoch {
    log_id: Option<Uuid>,
    epoch: Option<i64>,
}

impl Epoch {
    pub fn value(&self) -> Result<Option<LogEpoch>, ReadModelError> {
        let (Some(log_id), Some(epoch)) = (self.log_id, self.epoch) else {
            return Ok(None);
        };
        let epoch = small(epoch, "epoch")?;
        Ok(Some(LogEpoch { log_id, epoch }))
    }
}

/// A store with its log's epoch.
#[derive(FromRow)]
pub(crate) struct SeenStore {
    #[sqlx(flatten)]
    store: Store,
    #[sqlx(flatten)]
    epoch: Epoch,
}

impl SeenStore {
    /// Together with what was asked of it.
    pub fn with<T>(self, found: T) -> Result<Seen<T>, ReadModelError> {
        Ok(Seen {
            epoch: self.epoch.value()?,
            store: self.store.row()?,
            found,
        })
    }
}

#[derive(FromRow)]
pub(crate) struct Day {
    d_store_id: String,
    d_date: String,
    d_state: i64,
    d_time_zone: String,
    d_start: i64,
    d_end: i64,
    d_closed: i64,
    d_z_number: i64,
    d_revision: i64,
    d_body: Vec<u8>,
    d_recorded: Vec<u8>,
    d_differences: String,
    d_figures: String,
}

impl Day {
    pub fn date(&self) -> &str {
        &self.d_date
    }

    pub fn row(self) -> Result<DayRow, ReadModelError> {
        let closed = self.d_state == DayState::Closed as i64;
        Ok(DayRow {
            store: store_id(&self.d_store_id)?,
            date: date(&self.d_date)?,
            state: if closed {
                DayState::Closed
            } else {
                DayState::Open
            },
            time_zone: self.d_time_zone,
            start: instant(self.d_start, "start_at_us")?,
            end: instant(self.d_end, "end_at_us")?,
            closed_at: match closed {
                true => Some(instant(self.d_closed, "closed_at_us")?),
                false => None,
            },
            z_number: self.d_z_number,
            revision: Revision(unsigned(self.d_revision, "revision")?),
            body: self.d_body,
            recorded: self.d_recorded,
            differences: from_json(&self.d_differences, "differences")?,
            figures: from_json::<BTreeMap<String, i64>>(&self.d_figures, "figures")?,
        })
    }
}

/// A store with a day of it, which an outer join may not have found.
#[derive(FromRow)]
pub(crate) struct SeenDay {
    #[sqlx(flatten)]
    pub store: SeenStore,
    #[sqlx(flatten)]
    pub day: MaybeDay,
}

impl SeenDay {
    pub fn seen(self) -> Result<Seen<Option<DayRow>>, ReadModelError> {
        let day = self.day.row()?;
        self.store.with(day)
    }
}

pub(crate) struct MaybeDay(Option<Day>);

impl MaybeDay {
    pub fn row(self) -> Result<Option<DayRow>, ReadModelError> {
        self.0.map(Day::row).transpose()
    }
}

/// All of a day's columns are null where there is no day.
impl<'r, R: Row> FromRow<'r, R> for MaybeDay
where
    Day: FromRow<'r, R>,
    &'static str: ColumnIndex<R>,
    Option<String>: Decode<'r, R::Database> + Type<R::Database>,
    R::Database: Database,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        match row.try_get::<Option<String>, _>("d_store_id")? {
            Some(_) => Day::from_row(row).map(Some).map(Self),
            None => Ok(Self(None)),
        }
    }
}

#[derive(FromRow)]
pub(crate) struct List {
    store_id: String,
    business_date: String,
    list: i64,
    list_key: String,
    category: String,
    name: String,
    units: i64,
    gross: i64,
    discount: i64,
    net: i64,
}

impl List {
    pub fn row(self) -> Result<ListRow, ReadModelError> {
        let list = DayList::of(self.list)
            .ok_or_else(|| corrupt("list")(&format!("{} is unknown", self.list)))?;
        Ok(ListRow {
            store: store_id(&self.store_id)?,
            date: date(&self.business_date)?,
            list,
            key: self.list_key,
            category: self.category,
            name: from_json(&self.name, "name")?,
            amounts: ListAmounts {
                count: self.units,
                gross: self.gross,
                discount: self.discount,
                net: self.net,
            },
        })
    }
}
