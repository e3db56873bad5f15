use bytes::Bytes;
use jiff::Timestamp;
use sqlx::{SqliteConnection, SqlitePool};

use super::schema::{column, unavailable};
use crate::chain::ChainState;
use crate::error::LogError;
use crate::log::{Placed, Position, StreamHead, Tip};
use crate::page::Page;
use crate::record::{LedgerName, Record, Revision};

/// Rows fetched by one statement of `read`; bounds what is in memory beside the answer.
const ROWS_PER_FETCH: usize = 128;

pub(super) async fn head(readers: &SqlitePool) -> Result<StreamHead, LogError> {
    let row =
        sqlx::query("SELECT position, appended_at FROM records ORDER BY position DESC LIMIT 1")
            .fetch_optional(readers)
            .await
            .map_err(unavailable)?;
    let Some(row) = row else {
        return Ok(StreamHead {
            position: Position(0),
            appended_at: None,
        });
    };
    let (position, appended_at): (i64, i64) = (column(&row, 0)?, column(&row, 1)?);
    Ok(StreamHead {
        position: Position(position.cast_unsigned()),
        appended_at: Timestamp::from_microsecond(appended_at).ok(),
    })
}

/// Number of records and bytes of the file.
pub(super) async fn size(readers: &SqlitePool) -> Result<(u64, u64), LogError> {
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM records),
                (SELECT page_count FROM pragma_page_count()) * (SELECT page_size FROM pragma_page_size())",
    )
    .fetch_one(readers)
    .await
    .map_err(unavailable)?;
    let (records, bytes): (i64, i64) = (column(&row, 0)?, column(&row, 1)?);
    Ok((records.cast_unsigned(), bytes.cast_unsigned()))
}

/// The last record: the first row of the highest revision, since whatever repeats a revision later is an orphan.
pub(super) async fn tip(
    connection: &mut SqliteConnection,
    ledger: &LedgerName,
) -> Result<Option<Tip>, LogError> {
    let row = sqlx::query(
        "SELECT position, revision, body FROM records WHERE ledger = ?1
         AND revision = (SELECT max(revision) FROM records WHERE ledger = ?1) ORDER BY position LIMIT 1",
    )
    .bind(ledger.as_str())
    .fetch_optional(connection)
    .await
    .map_err(unavailable)?;
    let Some(row) = row else { return Ok(None) };
    let (position, revision, body): (i64, i64, Vec<u8>) =
        (column(&row, 0)?, column(&row, 1)?, column(&row, 2)?);
    let record = parse(ledger, Revision(revision.cast_unsigned()), body)?;
    Ok(Some(tip_of(&record, Position(position.cast_unsigned()))))
}

pub(super) fn tip_of(record: &Record, position: Position) -> Tip {
    Tip {
        chain: ChainState::after(record),
        fold_from: record.header().fold_from,
        position,
    }
}

pub(super) async fn record_at(
    connection: &mut SqliteConnection,
    ledger: &LedgerName,
    revision: Revision,
) -> Result<Option<(Position, Record)>, LogError> {
    let row = sqlx::query("SELECT position, body FROM records WHERE ledger = ?1 AND revision = ?2 ORDER BY position LIMIT 1")
        .bind(ledger.as_str())
        .bind(revision.0.cast_signed())
        .fetch_optional(connection)
        .await
        .map_err(unavailable)?;
    let Some(row) = row else { return Ok(None) };
    let (position, body): (i64, Vec<u8>) = (column(&row, 0)?, column(&row, 1)?);
    Ok(Some((
        Position(position.cast_unsigned()),
        parse(ledger, revision, body)?,
    )))
}

fn parse(ledger: &LedgerName, revision: Revision, body: Vec<u8>) -> Result<Record, LogError> {
    Record::parse(Bytes::from(body)).map_err(|corrupt| LogError::Broken {
        ledger: ledger.clone(),
        revision,
        detail: corrupt.to_string(),
    })
}

pub(super) async fn read(
    readers: &SqlitePool,
    ledger: &LedgerName,
    after: Option<&ChainState>,
    max: usize,
) -> Result<Vec<Placed>, LogError> {
    let mut page = Page::new(ledger, after, max);
    let (mut revision, mut position) = (
        after.map_or(0, |state| state.revision.0.cast_signed()),
        i64::MAX,
    );
    while !page.is_done() && !page.is_heavy() {
        let rows = sqlx::query(
            "SELECT revision, position, body FROM records WHERE ledger = ?1 AND (revision, position) > (?2, ?3)
             ORDER BY revision, position LIMIT ?4",
        )
        .bind(ledger.as_str())
        .bind(revision)
        .bind(position)
        .bind(i64::try_from(ROWS_PER_FETCH.min(max)).unwrap_or(i64::MAX))
        .fetch_all(readers)
        .await
        .map_err(unavailable)?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            (revision, position) = (column(&row, 0)?, column(&row, 1)?);
            let body = column::<Vec<u8>>(&row, 2)?;
            page.push(Position(position.cast_unsigned()), Bytes::from(body));
        }
    }
    page.finish()
}

/// The record at a position, whichever it is; `None` when none is there or it cannot be read.
pub(super) async fn at(
    readers: &SqlitePool,
    position: Position,
) -> Result<Option<Record>, LogError> {
    let body: Option<Vec<u8>> = sqlx::query_scalar("SELECT body FROM records WHERE position = ?1")
        .bind(position.0.cast_signed())
        .fetch_optional(readers)
        .await
        .map_err(unavailable)?;
    Ok(body.and_then(|body| Record::parse(Bytes::from(body)).ok()))
}

/// SQLite's own idea of the time: that of this machine.
pub(super) async fn now(pool: &SqlitePool) -> Result<Timestamp, LogError> {
    let millis: i64 = sqlx::query_scalar("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)")
        .fetch_one(pool)
        .await
        .map_err(unavailable)?;
    Timestamp::from_millisecond(millis).map_err(|error| LogError::Unavailable(error.to_string()))
}

/// Every ledger that has a record. Skips from name to name through the index.
pub(super) async fn ledgers(pool: &SqlitePool) -> Result<Vec<LedgerName>, LogError> {
    let names: Vec<String> = sqlx::query_scalar(
        "WITH RECURSIVE names(name) AS (
             SELECT min(ledger) FROM records
             UNION ALL
             SELECT (SELECT min(ledger) FROM records WHERE ledger > name) FROM names WHERE name IS NOT NULL
         )
         SELECT name FROM names WHERE name IS NOT NULL",
    )
    .fetch_all(pool)
    .await
    .map_err(unavailable)?;
    names
        .iter()
        .map(|name| LedgerName::new(name).map_err(|error| LogError::Unusable(error.to_string())))
        .collect()
}
