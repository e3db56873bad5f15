use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contract::event::Membership;
use contract::{OrderId, StoreId};
use event_log::{ChainState, Place, Position, RecordHash, Revision};
use prost::Message as _;
use runtime::database::{Fault, fault};
use serde_json::json;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Connection as _, Row as _, SqliteConnection};
use uuid::Uuid;

use super::Entry;
use super::newest::{HELD, Newest};
use super::notes::Notes;
use super::snapshot::Snapshots;
use super::witnesses::Witnesses;
use crate::domain::CommandId;

const CONNECTIONS: u32 = 4;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Rows written by one statement.
const ROWS_PER_STATEMENT: usize = 5_000;
/// About what a row takes as JSON.
const COMMAND_BYTES: usize = 160;
const ORDER_BYTES: usize = 48;
const PLACE_BYTES: usize = 96;
const HEX: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
];

#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("the command index failed: {0}; it may be deleted, the log has everything")]
    Database(#[from] sqlx::Error),
    #[error("the command index cannot be opened: {0}; it may be deleted, the log has everything")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error("the command index has a malformed row")]
    Malformed,
}

impl IndexError {
    /// Whether the same may succeed later. What the index refuses, and what is wrong in it, stays as it is.
    #[must_use]
    pub fn is_away(&self) -> bool {
        match self {
            Self::Database(error) => {
                matches!(fault(error), Fault::Away | Fault::TooLong)
            }
            Self::Migration(_) | Self::Malformed => false,
        }
    }
}

/// Local index of the commands and orders of each ledger up to its stamp. Derived from the log and disposable.
#[derive(Clone)]
pub struct CommandIndex {
    pub(super) pool: SqlitePool,
    pub(super) witnesses: Arc<Witnesses>,
    pub(super) snapshots: Arc<Snapshots>,
}

impl CommandIndex {
    /// Opens the index file, or makes it.
    pub async fn open(path: &Path) -> Result<Self, IndexError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What a crash takes from it is read from the log again.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(BUSY_TIMEOUT)
            // SQLite may have ended a transaction that failed by itself; then the library counts it as open for ever.
            .after_release(|connection, _| {
                Box::pin(async move {
                    connection.ping().await?;
                    Ok(!connection.is_in_transaction())
                })
            })
            .connect_with(options)
            .await?;
        sqlx::migrate!("./migrations").run(&pool).await?;
        Ok(Self {
            pool,
            witnesses: Arc::default(),
            snapshots: Arc::new(Snapshots::beside(path)),
        })
    }

    /// A key of this name, made at random when it is asked for the first time.
    pub async fn secret(&self, name: &str) -> Result<Vec<u8>, IndexError> {
        let fresh: [u8; 32] = rand::random();
        sqlx::query("INSERT OR IGNORE INTO secrets (name, value) VALUES (?1, ?2)")
            .bind(name)
            .bind(fresh.as_slice())
            .execute(&self.pool)
            .await?;
        let row = sqlx::query("SELECT value FROM secrets WHERE name = ?1")
            .bind(name)
            .fetch_one(&self.pool)
            .await?;
        Ok(row.try_get(0)?)
    }

    /// The indexed ones among these commands.
    pub(super) async fn commands(
        &self,
        store: &StoreId,
        ids: &[CommandId],
    ) -> Result<HashMap<CommandId, Entry>, IndexError> {
        let wanted: Vec<String> = ids.iter().map(|id| hex::encode(id.0.as_bytes())).collect();
        let rows = sqlx::query(
            "SELECT command_id, content_hash, revision, event_index, order_id, content_hash_version FROM commands
             WHERE store_id = ?1 AND command_id IN (SELECT unhex(value) FROM json_each(?2))",
        )
        .bind(store.as_str())
        .bind(json!(wanted).to_string())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(entry).collect()
    }

    /// The newest commands that are indexed.
    pub(super) async fn newest(&self, store: &StoreId) -> Result<Newest, IndexError> {
        let rows = sqlx::query(
            "SELECT command_id FROM commands WHERE store_id = ?1 ORDER BY command_id DESC LIMIT ?2",
        )
        .bind(store.as_str())
        .bind(i64::try_from(HELD).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?;
        let id = |row: &SqliteRow| {
            let id: Vec<u8> = row.try_get(0)?;
            Uuid::from_slice(&id).map_err(|_| IndexError::Malformed)
        };
        let ids = rows.iter().map(id).collect::<Result<_, IndexError>>()?;
        Ok(Newest::of(ids))
    }

    /// Revisions of the indexed records that speak of an order, ascending.
    pub(super) async fn order_records(
        &self,
        store: &StoreId,
        order: OrderId,
    ) -> Result<Vec<u64>, IndexError> {
        let rows = sqlx::query("SELECT revision FROM order_records WHERE store_id = ?1 AND order_id = ?2 ORDER BY revision")
            .bind(store.as_str())
            .bind(order.uuid().as_bytes().as_slice())
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| unsigned(row.try_get(0)?)).collect()
    }

    /// How far a ledger is indexed.
    pub(super) async fn stamp(&self, store: &StoreId) -> Result<Option<ChainState>, IndexError> {
        let row = sqlx::query(
            "SELECT ledger_id, revision, hash, recorded_at_us FROM stamps WHERE store_id = ?1",
        )
        .bind(store.as_str())
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let ledger_id: Vec<u8> = row.try_get(0)?;
        let hash: Vec<u8> = row.try_get(2)?;
        Ok(Some(ChainState {
            ledger_id: Uuid::from_slice(&ledger_id).map_err(|_| IndexError::Malformed)?,
            revision: Revision(unsigned(row.try_get(1)?)?),
            hash: RecordHash(hash.try_into().map_err(|_| IndexError::Malformed)?),
            recorded_at_us: row.try_get(3)?,
        }))
    }

    /// Orders whose membership is not settled as of the stamp.
    pub(super) async fn unresolved(
        &self,
        store: &StoreId,
    ) -> Result<Vec<(OrderId, Arc<Membership>)>, IndexError> {
        let rows = sqlx::query("SELECT order_id, membership FROM unresolved WHERE store_id = ?1")
            .bind(store.as_str())
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| {
                let (id, membership): (Vec<u8>, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
                let id = OrderId::from_slice(&id).map_err(|_| IndexError::Malformed)?;
                let membership =
                    Membership::decode(&*membership).map_err(|_| IndexError::Malformed)?;
                Ok((id, Arc::new(membership)))
            })
            .collect()
    }

    /// Where records lie, as far as that was noted.
    pub(super) async fn places(
        &self,
        store: &StoreId,
        revisions: &[u64],
    ) -> Result<Vec<Place>, IndexError> {
        let rows = sqlx::query(
            "SELECT revision, position, hash FROM places
             WHERE store_id = ?1 AND revision IN (SELECT value FROM json_each(?2)) ORDER BY revision",
        )
        .bind(store.as_str())
        .bind(json!(revisions).to_string())
        .fetch_all(&self.pool)
        .await?;
        let place = |row: &SqliteRow| {
            let hash: Vec<u8> = row.try_get(2)?;
            Ok(Place {
                revision: Revision(unsigned(row.try_get(0)?)?),
                position: Position(unsigned(row.try_get(1)?)?),
                hash: RecordHash(hash.try_into().map_err(|_| IndexError::Malformed)?),
            })
        };
        rows.iter().map(place).collect()
    }

    /// Adds what records say, and with it, in one transaction, how far the ledger is indexed now. What is there already is left.
    pub(super) async fn add(&self, store: &StoreId, notes: &Notes) -> Result<(), IndexError> {
        let Some(stamp) = &notes.through else {
            return Ok(());
        };
        let through = signed(stamp.revision.0)?;
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let indexed: Option<i64> =
            sqlx::query_scalar("SELECT revision FROM stamps WHERE store_id = ?1")
                .bind(store.as_str())
                .fetch_optional(&mut *transaction)
                .await?;
        if indexed.is_some_and(|revision| revision >= through) {
            return Ok(());
        }
        let mut commands = Rows::of(notes.commands.len(), COMMAND_BYTES);
        for (id, entry) in &notes.commands {
            commands
                .row()
                .bytes(id.as_bytes())
                .bytes(&entry.content_hash)
                .number(entry.revision)
                .number(entry.event_index.into())
                .optional_bytes(entry.order_id.map(|order| order.uuid().into_bytes()))
                .number(entry.content_hash_version.into());
        }
        write(
            &mut transaction,
            store,
            &commands,
            "INSERT OR IGNORE INTO commands (store_id, command_id, content_hash, revision, event_index, order_id, content_hash_version)
             SELECT ?1, unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, unhex(value ->> 4), value ->> 5
             FROM json_each(?2)",
        )
        .await?;
        let mut orders = Rows::of(notes.orders.len(), ORDER_BYTES);
        for mention in &notes.orders {
            orders
                .row()
                .bytes(mention.order.uuid().as_bytes())
                .number(mention.revision);
        }
        write(
            &mut transaction,
            store,
            &orders,
            "INSERT OR IGNORE INTO order_records (store_id, order_id, revision)
             SELECT ?1, unhex(value ->> 0), value ->> 1 FROM json_each(?2)",
        )
        .await?;
        let mut places = Rows::of(notes.places.len(), PLACE_BYTES);
        for place in &notes.places {
            places
                .row()
                .number(place.revision.0)
                .number(place.position.0)
                .bytes(&place.hash.0);
        }
        write(
            &mut transaction,
            store,
            &places,
            "INSERT OR REPLACE INTO places (store_id, revision, position, hash)
             SELECT ?1, value ->> 0, value ->> 1, unhex(value ->> 2) FROM json_each(?2)",
        )
        .await?;
        // Of each order the last word counts.
        let owed: HashMap<OrderId, Option<&Membership>> = notes
            .owed
            .iter()
            .map(|owed| (owed.order, owed.membership.as_deref()))
            .collect();
        let (mut due, mut settled) = (Rows::default(), Rows::default());
        for (order, membership) in owed {
            match membership {
                Some(membership) => {
                    due.row()
                        .bytes(order.uuid().as_bytes())
                        .bytes(&membership.encode_to_vec());
                }
                None => {
                    settled.row().bytes(order.uuid().as_bytes());
                }
            }
        }
        write(
            &mut transaction,
            store,
            &due,
            "INSERT OR REPLACE INTO unresolved (store_id, order_id, membership)
             SELECT ?1, unhex(value ->> 0), unhex(value ->> 1) FROM json_each(?2)",
        )
        .await?;
        write(
            &mut transaction,
            store,
            &settled,
            "DELETE FROM unresolved WHERE store_id = ?1 AND order_id IN (SELECT unhex(value ->> 0) FROM json_each(?2))",
        )
        .await?;
        sqlx::query("INSERT OR REPLACE INTO stamps (store_id, ledger_id, revision, hash, recorded_at_us) VALUES (?1, ?2, ?3, ?4, ?5)")
            .bind(store.as_str())
            .bind(stamp.ledger_id.as_bytes().as_slice())
            .bind(through)
            .bind(stamp.hash.0.as_slice())
            .bind(stamp.recorded_at_us)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Rows of one statement as a JSON array of arrays: numbers and hex digits, so that nothing needs escaping. Written by hand, because a
/// tree of JSON values costs more than all the rest of writing the index.
#[derive(Default)]
struct Rows {
    json: String,
    starts: Vec<usize>,
}

impl Rows {
    fn of(rows: usize, bytes_a_row: usize) -> Self {
        Self {
            json: String::with_capacity(rows * bytes_a_row),
            starts: Vec::with_capacity(rows),
        }
    }

    /// Begins the next row.
    fn row(&mut self) -> Row<'_> {
        self.starts.push(self.json.len());
        Row {
            json: &mut self.json,
            separator: '[',
        }
    }

    /// JSON arrays of at most so many rows each.
    fn chunks(&self, rows: usize) -> impl Iterator<Item = String> {
        (0..self.starts.len()).step_by(rows).map(move |first| {
            let end = self.starts.get(first + rows).copied();
            let slice = &self.json[self.starts[first]..end.unwrap_or(self.json.len())];
            format!("[{}]", slice.trim_end_matches(','))
        })
    }
}

/// A row in the making; it ends when this is dropped.
struct Row<'a> {
    json: &'a mut String,
    separator: char,
}

impl Row<'_> {
    fn next(&mut self) {
        self.json.push(std::mem::replace(&mut self.separator, ','));
    }

    fn number(mut self, number: u64) -> Self {
        self.next();
        // Writing to a string does not fail.
        let _ = write!(self.json, "{number}");
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.next();
        self.json.push('"');
        for byte in bytes {
            self.json.push(HEX[usize::from(byte >> 4)]);
            self.json.push(HEX[usize::from(byte & 15)]);
        }
        self.json.push('"');
        self
    }

    fn optional_bytes(mut self, bytes: Option<[u8; 16]>) -> Self {
        match bytes {
            Some(bytes) => self.bytes(&bytes),
            None => {
                self.next();
                self.json.push_str("null");
                self
            }
        }
    }
}

impl Drop for Row<'_> {
    fn drop(&mut self) {
        self.json.push_str("],");
    }
}

/// Runs a statement that takes the store and a JSON array of rows.
async fn write(
    connection: &mut SqliteConnection,
    store: &StoreId,
    rows: &Rows,
    statement: &'static str,
) -> Result<(), sqlx::Error> {
    for chunk in rows.chunks(ROWS_PER_STATEMENT) {
        sqlx::query(statement)
            .bind(store.as_str())
            .bind(chunk)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

fn entry(row: &SqliteRow) -> Result<(CommandId, Entry), IndexError> {
    let id: Vec<u8> = row.try_get(0)?;
    let content_hash: Vec<u8> = row.try_get(1)?;
    let order_id: Option<Vec<u8>> = row.try_get(4)?;
    let entry = Entry {
        content_hash: content_hash.try_into().map_err(|_| IndexError::Malformed)?,
        content_hash_version: row.try_get::<u32, _>(5)?,
        revision: unsigned(row.try_get(2)?)?,
        event_index: row.try_get::<u32, _>(3)?,
        order_id: order_id
            .map(|bytes| OrderId::from_slice(&bytes))
            .transpose()
            .map_err(|_| IndexError::Malformed)?,
    };
    Ok((
        CommandId(Uuid::from_slice(&id).map_err(|_| IndexError::Malformed)?),
        entry,
    ))
}

pub(super) fn unsigned(number: i64) -> Result<u64, IndexError> {
    u64::try_from(number).map_err(|_| IndexError::Malformed)
}

fn signed(number: u64) -> Result<i64, IndexError> {
    i64::try_from(number).map_err(|_| IndexError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_json_in_chunks() {
        let mut rows = Rows::of(3, 20);
        rows.row().number(1).bytes(&[0, 255]);
        rows.row().number(2).optional_bytes(None);
        rows.row().optional_bytes(Some([10; 16])).number(3);
        let parsed: Vec<serde_json::Value> = rows
            .chunks(2)
            .map(|chunk| serde_json::from_str(&chunk).unwrap())
            .collect();
        assert_eq!(
            parsed,
            [
                json!([[1, "00ff"], [2, null]]),
                json!([["0a".repeat(16), 3]])
            ]
        );
        assert_eq!(Rows::default().chunks(2).count(), 0);
    }

    #[tokio::test]
    async fn what_the_index_refuses_for_good_is_not_called_away() {
        assert!(IndexError::Database(sqlx::Error::PoolTimedOut).is_away());
        assert!(!IndexError::Malformed.is_away());
        let directory = tempfile::tempdir().unwrap();
        let index = CommandIndex::open(&directory.path().join("index.db"))
            .await
            .unwrap();
        let wrong = sqlx::query("SELECT nothing FROM nowhere")
            .execute(&index.pool)
            .await
            .unwrap_err();
        assert!(!IndexError::Database(wrong).is_away());
    }
}
