//! Rows written in bulk to PostgreSQL: few by one statement with an array a column, many by `COPY` in the binary format.

use std::borrow::Cow;

use sqlx::{AssertSqlSafe, Postgres, Transaction};
use uuid::Uuid;

use super::tables::{Cell, Table};
use crate::error::ReadModelError;

/// From so many rows on a `COPY` is quicker. It ends with a few bytes in a packet of their own, which the client's TCP holds back until the
/// server's has acknowledged the rows, up to 40 ms later (Nagle's algorithm against delayed acknowledgements; sqlx leaves both on). A batch
/// of few rows would take five times as long for it.
const COPY_FROM_ROWS: usize = 4_096;
/// Bytes of a `COPY` that are sent at once: while the server works on them the next ones are put together.
pub(crate) const COPY_PIECE: usize = 64 * 1024;
/// What the binary format begins with: its mark, no flags, no extension.
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// In place of the number of columns: no more rows.
const COPY_END: i16 = -1;
/// In place of a length.
const COPY_NULL: i32 = -1;

pub(crate) async fn write<R: Sync>(
    transaction: &mut Transaction<'_, Postgres>,
    table: &Table<R>,
    rows: &[R],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        Ok(())
    } else if rows.len() < COPY_FROM_ROWS || !table.on_conflict.is_empty() {
        insert(transaction, table, rows).await
    } else {
        copy(transaction, table, rows).await
    }
}

/// One statement with an array a column.
async fn insert<R>(
    transaction: &mut Transaction<'_, Postgres>,
    table: &Table<R>,
    rows: &[R],
) -> Result<(), ReadModelError> {
    let mut arrays = String::new();
    for (column, parameter) in table.columns.iter().zip(1..) {
        let kind = match column.cell {
            Cell::Integer(_) => "bigint",
            Cell::Text(_) | Cell::Date(_) | Cell::Json(_) => "text",
            Cell::Uuid(_) => "uuid",
            Cell::Bytes(_) => "bytea",
        };
        let separator = if parameter == 1 { "" } else { ", " };
        arrays.push_str(&format!("{separator}${parameter}::{kind}[]"));
    }
    let statement = format!(
        "INSERT INTO {} ({}) SELECT * FROM UNNEST({arrays}) {}",
        table.name,
        table.columns(),
        table.on_conflict
    );
    let mut query = sqlx::query(AssertSqlSafe(statement));
    for column in table.columns {
        query = match column.cell {
            Cell::Integer(of) => query.bind(rows.iter().map(of).collect::<Vec<i64>>()),
            Cell::Text(of) => {
                let texts: Vec<_> = rows.iter().map(|row| text(of(row))).collect();
                query.bind(texts.iter().map(AsRef::as_ref).collect::<Vec<&str>>())
            }
            Cell::Date(of) => query.bind(
                rows.iter()
                    .map(|row| of(row).map(|date| date.to_string()).unwrap_or_default())
                    .collect::<Vec<String>>(),
            ),
            Cell::Json(of) => {
                let texts = rows.iter().map(|row| Ok(text(&of(row)?).into_owned()));
                query.bind(texts.collect::<Result<Vec<String>, ReadModelError>>()?)
            }
            Cell::Uuid(of) => query.bind(rows.iter().map(of).collect::<Vec<Option<Uuid>>>()),
            Cell::Bytes(of) => {
                let bytes: Vec<_> = rows.iter().map(of).collect();
                query.bind(bytes.iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>())
            }
        };
    }
    query.execute(&mut **transaction).await?;
    Ok(())
}

async fn copy<R>(
    transaction: &mut Transaction<'_, Postgres>,
    table: &Table<R>,
    rows: &[R],
) -> Result<(), ReadModelError> {
    let (name, columns) = (table.name, table.columns());
    let statement = format!("COPY {name} ({columns}) FROM STDIN (FORMAT BINARY)");
    let mut copy = transaction.copy_in_raw(&statement).await?;
    let mut piece = Piece::default();
    piece.0.extend_from_slice(COPY_HEADER);
    for row in rows {
        piece.row(table, row)?;
        if piece.0.len() >= COPY_PIECE {
            copy.send(piece.0.as_slice()).await?;
            piece.0.clear();
        }
    }
    piece.0.extend_from_slice(&COPY_END.to_be_bytes());
    copy.send(piece.0.as_slice()).await?;
    copy.finish().await?;
    Ok(())
}

/// Rows in the binary format of `COPY`: the number of columns, and then the length of each with its bytes, as the type's `recv` takes them.
#[derive(Default)]
struct Piece(Vec<u8>);

impl Piece {
    fn row<R>(&mut self, table: &Table<R>, row: &R) -> Result<(), ReadModelError> {
        let columns = i16::try_from(table.columns.len()).unwrap_or(i16::MAX);
        self.0.extend_from_slice(&columns.to_be_bytes());
        for column in table.columns {
            match column.cell {
                Cell::Integer(of) => self.field(&of(row).to_be_bytes()),
                Cell::Text(of) => self.field(text(of(row)).as_bytes()),
                Cell::Date(of) => match of(row) {
                    Some(date) => self.field(date.to_string().as_bytes()),
                    None => self.field(&[]),
                },
                Cell::Json(of) => self.field(text(&of(row)?).as_bytes()),
                Cell::Uuid(of) => match of(row) {
                    Some(id) => self.field(id.as_bytes()),
                    None => self.0.extend_from_slice(&COPY_NULL.to_be_bytes()),
                },
                Cell::Bytes(of) => self.field(&of(row)),
            }
        }
        Ok(())
    }

    fn field(&mut self, bytes: &[u8]) {
        let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes);
    }
}

/// PostgreSQL's text takes every character but one.
fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}
