//! Rows written in bulk to SQLite: many by one statement with their values, which SQLite compiles once for each number of rows.

use std::sync::Arc;

use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, Sqlite, Transaction};

use super::tables::{Cell, Column, Table};
use crate::error::ReadModelError;

/// Rows of one statement: as many of the first as there are, then of the next. Few numbers, so that statements stay compiled.
const ROWS: [usize; 3] = [64, 8, 1];

pub(crate) async fn write<R: Sync>(
    transaction: &mut Transaction<'_, Sqlite>,
    table: &Table<R>,
    rows: &[R],
) -> Result<(), ReadModelError> {
    let mut texts: Vec<Arc<str>> = table.columns.iter().map(|_| Arc::default()).collect();
    let mut rest = rows;
    for count in ROWS {
        if rest.len() < count {
            continue;
        }
        let statement: Arc<str> = statement(table, count).into();
        while let Some((now, later)) = rest.split_at_checked(count) {
            let mut values = SqliteArguments::default();
            values.reserve(count * table.columns.len(), 0);
            for row in now {
                for (column, text) in table.columns.iter().zip(&mut texts) {
                    add(&mut values, column, text, row)?;
                }
            }
            sqlx::query_with(AssertSqlSafe(statement.clone()), values)
                .execute(&mut **transaction)
                .await?;
            rest = later;
        }
    }
    Ok(())
}

fn statement<R>(table: &Table<R>, rows: usize) -> String {
    let row = format!("({})", vec!["?"; table.columns.len()].join(", "));
    let values = vec![row; rows].join(", ");
    format!(
        "INSERT INTO {} ({}) VALUES {values} {}",
        table.name,
        table.columns(),
        table.on_conflict
    )
}

/// `last`: the text that the row before had in this column, which most rows repeat.
fn add<R>(
    values: &mut SqliteArguments,
    column: &Column<R>,
    last: &mut Arc<str>,
    row: &R,
) -> Result<(), ReadModelError> {
    let mut shared = |text: &str| {
        if **last != *text {
            *last = text.into();
        }
        last.clone()
    };
    let added = match column.cell {
        Cell::Integer(of) => values.add(of(row)),
        Cell::Text(of) => values.add(shared(of(row))),
        Cell::Date(of) => {
            let date = of(row).map(|date| date.to_string()).unwrap_or_default();
            values.add(shared(&date))
        }
        Cell::Json(of) => values.add(shared(&of(row)?)),
        Cell::Uuid(of) => values.add(of(row)),
        Cell::Bytes(of) => values.add(of(row).into_owned()),
    };
    Ok(added.map_err(sqlx::Error::Encode)?)
}
