//! Facts, written in bulk to SQLite: one JSON array a table. A fact that is there already is refused: it would be projected twice.

use sqlx::{Sqlite, Transaction};

use crate::error::ReadModelError;
use crate::facts::{CashRow, CompletionRow, DiscountRow, FactRow, Facts, LineRow, TenderRow};
use crate::lists::ListRow;
use crate::rows::Generation;
use crate::shared::json;
use crate::sqlite::Blobs;

pub(crate) async fn write_facts(
    transaction: &mut Transaction<'_, Sqlite>,
    generation: Generation,
    facts: &Facts,
) -> Result<(), ReadModelError> {
    write_orders_facts(transaction, generation, &facts.facts).await?;
    write_lines(transaction, generation, &facts.lines).await?;
    write_discounts(transaction, generation, &facts.discounts).await?;
    write_tenders(transaction, generation, &facts.tenders).await?;
    write_completions(transaction, generation, &facts.completions).await?;
    write_cash(transaction, generation, &facts.cash).await?;
    write_lists(transaction, generation, &facts.lists).await
}

async fn write_orders_facts(
    transaction: &mut Transaction<'_, Sqlite>,
    generation: Generation,
    rows: &[FactRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut blobs = Blobs::default();
    let values: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.store.as_str(),
                row.place.revision.0,
                row.place.index,
                row.kind as i64,
                row.block as i64,
                row.business_date.to_string(),
                row.sale_business_date.to_string(),
                blobs.push(row.order_id.uuid().as_bytes()),
                row.recorded_at.as_microsecond(),
                &row.hour,
                row.document_number,
                &row.reason_code,
                row.gross.minor(),
                row.discount.minor(),
                row.net.minor(),
                (row.vat.minor(), i64::from(row.hour_repeated)),
            )
        })
        .collect();
    sqlx::query(
        "INSERT INTO facts (generation, store_id, revision, event_index, kind, block, business_date, sale_business_date, \
         order_id, recorded_at_us, hour, document_number, reason_code, gross, discount, net, vat, hour_repeated) \
         SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, \
         substr($3, value ->> 7, 16), value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14, \
         value ->> '$[15][0]', value ->> '$[15][1]' FROM json_each($2)",
    )
    .bind(generation.0)
    .bind(json(&values)?)
    .bind(blobs.0)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn write_lines(
    transaction: &mut Transaction<'_, Sqlite>,
    generation: Generation,
    rows: &[LineRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    let values: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.store.as_str(),
                row.place.revision.0,
                row.place.index,
                row.position,
                row.line_index,
                &row.sku,
                &row.category,
                row.quantity,
                row.gross.minor(),
                row.discount.minor(),
                row.net.minor(),
                row.vat.minor(),
                &row.tax_class,
                row.tax_rate_bp,
            )
        })
        .collect();
    sqlx::query(
        "INSERT INTO fact_lines (generation, store_id, revision, event_index, position, line_index, sku, category, quantity, \
         gross, discount, net, vat, tax_class, tax_rate_bp) \
         SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, \
         value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13 FROM json_each($2)",
    )
    .bind(generation.0)
    .bind(json(&values)?)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn write_tenders(
    transaction: &mut Transaction<'_, Sqlite>,
    generation: Generation,
    rows: &[TenderRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    let values: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.store.as_str(),
                row.place.revision.0,
                row.place.index,
                row.position,
                &row.tender_id,
                row.kind,
                &row.drawer_id,
                row.tendered.minor(),
                row.change.minor(),
                row.taken.minor(),
                row.returned.minor(),
            )
        })
        .collect();
    sqlx::query(
        "INSERT INTO fact_tenders (generation, store_id, revision, event_index, position, tender_id, kind, drawer_id, tendered, \
         change, taken, returned) \
         SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, \
         value ->> 9, value ->> 10 FROM json_each($2)",
    )
    .bind(generation.0)
    .bind(json(&values)?)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn write_discounts(
    transaction: &mut Transaction<'_, Sqlite>,
    generation: Generation,
    rows: &[DiscountRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    let values: Vec<_> = rows
        .iter()
        .map(|row| {
            let (revision, index) = (row.place.revision.0, row.place.index);
            (
                row.store.as_str(),
                revision,
                index,
                row.position,
                row.source,
                &row.discount_id,
                row.amount.minor(),
            )
        })
        .collect();
    sqlx::query(
        "INSERT INTO fact_discounts (generation, store_id, revision, event_index, position, source, discount_id, amount) \
         SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6 FROM json_each($2)",
    )
    .bind(generation.0)
    .bind(json(&values)?)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn write_completions(
    transaction: &mut Transaction<'_, Sqlite>,
    generation: Generation,
    rows: &[CompletionRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut blobs = Blobs::default();
    let values: Vec<_> = rows
        .iter()
        .map(|row| {
            let (revision, index) = (row.place.revision.0, row.place.index);
            let order = blobs.push(row.order_id.uuid().as_bytes());
            (
                row.store.as_str(),
                revision,
                index,
                row.z_number,
                order,
                row.recorded_at.as_microsecond(),
            )
        })
        .collect();
    sqlx::query(
        "INSERT INTO completions (generation, store_id, revision, event_index, z_number, order_id, recorded_at_us) \
         SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, substr($3, value ->> 4, 16), value ->> 5 FROM json_each($2)",
    )
    .bind(generation.0)
    .bind(json(&values)?)
    .bind(blobs.0)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn write_cash(
    transaction: &mut Transaction<'_, Sqlite>,
    generation: Generation,
    rows: &[CashRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    let values: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.store.as_str(),
                row.place.revision.0,
                row.place.index,
                row.position,
                row.kind as i64,
                row.business_date.to_string(),
                row.recorded_at.as_microsecond(),
                &row.drawer_id,
                row.amount.minor(),
                row.effect.minor(),
                &row.reason_code,
            )
        })
        .collect();
    sqlx::query(
        "INSERT INTO cash_movements (generation, store_id, revision, event_index, position, kind, business_date, recorded_at_us, \
         drawer_id, amount, effect, reason_code) \
         SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, \
         value ->> 9, value ->> 10 FROM json_each($2)",
    )
    .bind(generation.0)
    .bind(json(&values)?)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Adds to the rows that are there; the batch's fence makes sure that it happens once.
async fn write_lists(
    transaction: &mut Transaction<'_, Sqlite>,
    generation: Generation,
    rows: &[ListRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        values.push((
            row.store.as_str(),
            row.date.to_string(),
            row.list as i64,
            &row.key,
            &row.category,
            json(&row.name)?,
            row.amounts.count,
            row.amounts.gross,
            row.amounts.discount,
            row.amounts.net,
        ));
    }
    sqlx::query(
        "INSERT INTO day_lists (generation, store_id, business_date, list, list_key, category, name, units, gross, discount, net) \
         SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, \
         value ->> 9 FROM json_each($2) WHERE true \
         ON CONFLICT (generation, store_id, business_date, list, list_key) DO UPDATE SET category = excluded.category, \
         name = excluded.name, units = day_lists.units + excluded.units, gross = day_lists.gross + excluded.gross, \
         discount = day_lists.discount + excluded.discount, net = day_lists.net + excluded.net",
    )
    .bind(generation.0)
    .bind(json(&values)?)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
