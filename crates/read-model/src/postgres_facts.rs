//! Facts, written in bulk to PostgreSQL: one array a column. A fact that is there already is refused: it would be projected twice.

use sqlx::{Postgres, Transaction};

use crate::error::ReadModelError;
use crate::facts::{CashRow, CompletionRow, DiscountRow, FactRow, Facts, LineRow, TenderRow};
use crate::lists::ListRow;
use crate::postgres::{column, text};
use crate::rows::Generation;
use crate::shared::{json, signed};

pub(crate) async fn write_facts(
    transaction: &mut Transaction<'_, Postgres>,
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
    transaction: &mut Transaction<'_, Postgres>,
    generation: Generation,
    rows: &[FactRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO facts (generation, store_id, revision, event_index, kind, block, business_date, sale_business_date, order_id, \
         recorded_at_us, hour, document_number, reason_code, gross, discount, net, vat, hour_repeated) \
         SELECT $1, * FROM UNNEST($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::uuid[], \
         $10::bigint[], $11::text[], $12::bigint[], $13::text[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[])",
    )
    .bind(generation.0)
    .bind(rows.iter().map(|row| row.store.as_str()).collect::<Vec<_>>())
    .bind(column(rows, |row| signed(row.place.revision.0)))
    .bind(column(rows, |row| i64::from(row.place.index)))
    .bind(column(rows, |row| row.kind as i64))
    .bind(column(rows, |row| row.block as i64))
    .bind(column(rows, |row| row.business_date.to_string()))
    .bind(column(rows, |row| row.sale_business_date.to_string()))
    .bind(column(rows, |row| row.order_id.uuid()))
    .bind(column(rows, |row| row.recorded_at.as_microsecond()))
    .bind(rows.iter().map(|row| row.hour.as_str()).collect::<Vec<_>>())
    .bind(column(rows, |row| row.document_number))
    .bind(column(rows, |row| text(&row.reason_code)))
    .bind(column(rows, |row| row.gross.minor()))
    .bind(column(rows, |row| row.discount.minor()))
    .bind(column(rows, |row| row.net.minor()))
    .bind(column(rows, |row| row.vat.minor()))
    .bind(column(rows, |row| i64::from(row.hour_repeated)))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn write_lines(
    transaction: &mut Transaction<'_, Postgres>,
    generation: Generation,
    rows: &[LineRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO fact_lines (generation, store_id, revision, event_index, position, line_index, sku, category, quantity, gross, \
         discount, net, vat, tax_class, tax_rate_bp) \
         SELECT $1, * FROM UNNEST($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::bigint[], \
         $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::bigint[])",
    )
    .bind(generation.0)
    .bind(rows.iter().map(|row| row.store.as_str()).collect::<Vec<_>>())
    .bind(column(rows, |row| signed(row.place.revision.0)))
    .bind(column(rows, |row| i64::from(row.place.index)))
    .bind(column(rows, |row| i64::from(row.position)))
    .bind(column(rows, |row| i64::from(row.line_index)))
    .bind(column(rows, |row| text(&row.sku)))
    .bind(column(rows, |row| text(&row.category)))
    .bind(column(rows, |row| i64::from(row.quantity)))
    .bind(column(rows, |row| row.gross.minor()))
    .bind(column(rows, |row| row.discount.minor()))
    .bind(column(rows, |row| row.net.minor()))
    .bind(column(rows, |row| row.vat.minor()))
    .bind(column(rows, |row| text(&row.tax_class)))
    .bind(column(rows, |row| i64::from(row.tax_rate_bp)))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn write_tenders(
    transaction: &mut Transaction<'_, Postgres>,
    generation: Generation,
    rows: &[TenderRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO fact_tenders (generation, store_id, revision, event_index, position, tender_id, kind, drawer_id, tendered, change, \
         taken, returned) \
         SELECT $1, * FROM UNNEST($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[], $8::text[], $9::bigint[], \
         $10::bigint[], $11::bigint[], $12::bigint[])",
    )
    .bind(generation.0)
    .bind(rows.iter().map(|row| row.store.as_str()).collect::<Vec<_>>())
    .bind(column(rows, |row| signed(row.place.revision.0)))
    .bind(column(rows, |row| i64::from(row.place.index)))
    .bind(column(rows, |row| i64::from(row.position)))
    .bind(column(rows, |row| text(&row.tender_id)))
    .bind(column(rows, |row| i64::from(row.kind)))
    .bind(column(rows, |row| text(&row.drawer_id)))
    .bind(column(rows, |row| row.tendered.minor()))
    .bind(column(rows, |row| row.change.minor()))
    .bind(column(rows, |row| row.taken.minor()))
    .bind(column(rows, |row| row.returned.minor()))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn write_discounts(
    transaction: &mut Transaction<'_, Postgres>,
    generation: Generation,
    rows: &[DiscountRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO fact_discounts (generation, store_id, revision, event_index, position, source, discount_id, amount) \
         SELECT $1, * FROM UNNEST($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::bigint[])",
    )
    .bind(generation.0)
    .bind(rows.iter().map(|row| row.store.as_str()).collect::<Vec<_>>())
    .bind(column(rows, |row| signed(row.place.revision.0)))
    .bind(column(rows, |row| i64::from(row.place.index)))
    .bind(column(rows, |row| i64::from(row.position)))
    .bind(column(rows, |row| i64::from(row.source)))
    .bind(column(rows, |row| text(&row.discount_id)))
    .bind(column(rows, |row| row.amount.minor()))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn write_completions(
    transaction: &mut Transaction<'_, Postgres>,
    generation: Generation,
    rows: &[CompletionRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO completions (generation, store_id, revision, event_index, z_number, order_id, recorded_at_us) \
         SELECT $1, * FROM UNNEST($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::uuid[], $7::bigint[])",
    )
    .bind(generation.0)
    .bind(rows.iter().map(|row| row.store.as_str()).collect::<Vec<_>>())
    .bind(column(rows, |row| signed(row.place.revision.0)))
    .bind(column(rows, |row| i64::from(row.place.index)))
    .bind(column(rows, |row| row.z_number))
    .bind(column(rows, |row| row.order_id.uuid()))
    .bind(column(rows, |row| row.recorded_at.as_microsecond()))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn write_cash(
    transaction: &mut Transaction<'_, Postgres>,
    generation: Generation,
    rows: &[CashRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO cash_movements (generation, store_id, revision, event_index, position, kind, business_date, recorded_at_us, drawer_id, \
         amount, effect, reason_code) \
         SELECT $1, * FROM UNNEST($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::bigint[], $9::text[], \
         $10::bigint[], $11::bigint[], $12::text[])",
    )
    .bind(generation.0)
    .bind(rows.iter().map(|row| row.store.as_str()).collect::<Vec<_>>())
    .bind(column(rows, |row| signed(row.place.revision.0)))
    .bind(column(rows, |row| i64::from(row.place.index)))
    .bind(column(rows, |row| i64::from(row.position)))
    .bind(column(rows, |row| row.kind as i64))
    .bind(column(rows, |row| row.business_date.to_string()))
    .bind(column(rows, |row| row.recorded_at.as_microsecond()))
    .bind(column(rows, |row| text(&row.drawer_id)))
    .bind(column(rows, |row| row.amount.minor()))
    .bind(column(rows, |row| row.effect.minor()))
    .bind(column(rows, |row| text(&row.reason_code)))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Adds to the rows that are there; the batch's fence makes sure that it happens once.
async fn write_lists(
    transaction: &mut Transaction<'_, Postgres>,
    generation: Generation,
    rows: &[ListRow],
) -> Result<(), ReadModelError> {
    if rows.is_empty() {
        return Ok(());
    }
    let names = rows
        .iter()
        .map(|row| Ok(text(&json(&row.name)?)))
        .collect::<Result<Vec<String>, ReadModelError>>()?;
    sqlx::query(
        "INSERT INTO day_lists (generation, store_id, business_date, list, list_key, category, name, units, gross, discount, net) \
         SELECT $1, * FROM UNNEST($2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], \
         $10::bigint[], $11::bigint[]) \
         ON CONFLICT (generation, store_id, business_date, list, list_key) DO UPDATE SET category = excluded.category, \
         name = excluded.name, units = day_lists.units + excluded.units, gross = day_lists.gross + excluded.gross, \
         discount = day_lists.discount + excluded.discount, net = day_lists.net + excluded.net",
    )
    .bind(generation.0)
    .bind(rows.iter().map(|row| row.store.as_str()).collect::<Vec<_>>())
    .bind(column(rows, |row| row.date.to_string()))
    .bind(column(rows, |row| row.list as i64))
    .bind(column(rows, |row| text(&row.key)))
    .bind(column(rows, |row| text(&row.category)))
    .bind(names)
    .bind(column(rows, |row| row.amounts.count))
    .bind(column(rows, |row| row.amounts.gross))
    .bind(column(rows, |row| row.amounts.discount))
    .bind(column(rows, |row| row.amounts.net))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
