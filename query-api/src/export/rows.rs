//! Rows of an export as the API's messages say them, and back: fields are columns of the same names, in the same order.

use contract::api::query::{
    ExportSalesResponse, ExportedOrder, ExportedOrderLine, ExportedRefund, ExportedRefundLine,
    ExportedTender, ExportedZReport,
};
use contract::{timestamp_from_proto, timestamp_to_proto};
use prost_types::Timestamp;
use read_model::{ExportRow, ExportTable, Value};

use crate::error::EncodeError;

/// Some rows of a table as one message.
pub(super) fn message(
    table: ExportTable,
    rows: Vec<ExportRow>,
) -> Result<ExportSalesResponse, EncodeError> {
    let rows = rows.into_iter().map(|row| Cells(row.into_iter()));
    let mut message = ExportSalesResponse::default();
    match table {
        ExportTable::Orders => message.orders = rows.map(order).collect::<Result<_, _>>()?,
        ExportTable::OrderLines => {
            message.order_lines = rows.map(order_line).collect::<Result<_, _>>()?;
        }
        ExportTable::Refunds => message.refunds = rows.map(refund).collect::<Result<_, _>>()?,
        ExportTable::RefundLines => {
            message.refund_lines = rows.map(refund_line).collect::<Result<_, _>>()?;
        }
        ExportTable::Tenders => message.tenders = rows.map(tender).collect::<Result<_, _>>()?,
        ExportTable::ZReports => {
            message.z_reports = rows.map(z_report).collect::<Result<_, _>>()?;
        }
    }
    Ok(message)
}

/// The rows of a message.
#[must_use]
pub fn rows(message: &ExportSalesResponse) -> Vec<ExportRow> {
    let mut rows = Vec::new();
    rows.extend(message.orders.iter().map(order_row));
    rows.extend(message.order_lines.iter().map(order_line_row));
    rows.extend(message.refunds.iter().map(refund_row));
    rows.extend(message.refund_lines.iter().map(refund_line_row));
    rows.extend(message.tenders.iter().map(tender_row));
    rows.extend(message.z_reports.iter().map(z_report_row));
    rows
}

/// The values of a row that are still to be taken.
struct Cells(std::vec::IntoIter<Value>);

impl Cells {
    fn text(&mut self, column: &'static str) -> Result<String, EncodeError> {
        match self.0.next() {
            Some(Value::Text(text)) => Ok(text),
            other => Err(wrong(column, &other)),
        }
    }

    fn optional(&mut self, column: &'static str) -> Result<Option<String>, EncodeError> {
        match self.0.next() {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            other => Err(wrong(column, &other)),
        }
    }

    fn integer(&mut self, column: &'static str) -> Result<i64, EncodeError> {
        match self.0.next() {
            Some(Value::Integer(number)) => Ok(number),
            other => Err(wrong(column, &other)),
        }
    }

    fn instant(&mut self, column: &'static str) -> Result<Option<Timestamp>, EncodeError> {
        match self.0.next() {
            Some(Value::Instant(instant)) => Ok(Some(timestamp_to_proto(instant))),
            Some(Value::Null) => Ok(None),
            other => Err(wrong(column, &other)),
        }
    }
}

fn wrong(column: &'static str, value: &Option<Value>) -> EncodeError {
    EncodeError::Value {
        column,
        value: format!("{value:?}"),
    }
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn optional(value: Option<&String>) -> Value {
    value.map_or(Value::Null, |text| Value::Text(text.clone()))
}

fn instant(value: Option<&Timestamp>) -> Value {
    value
        .and_then(timestamp_from_proto)
        .map_or(Value::Null, Value::Instant)
}

fn order(mut row: Cells) -> Result<ExportedOrder, EncodeError> {
    Ok(ExportedOrder {
        store_id: row.text("store_id")?,
        order_id: row.text("order_id")?,
        business_date: row.text("business_date")?,
        ticket_number: row.integer("ticket_number")?,
        document_number: row.integer("document_number")?,
        status: row.text("status")?,
        membership: row.text("membership")?,
        placed_at: row.instant("placed_at")?,
        updated_at: row.instant("updated_at")?,
        local_hour: row.integer("local_hour")?,
        currency: row.text("currency")?,
        gross: row.integer("gross")?,
        discount: row.integer("discount")?,
        net: row.integer("net")?,
        vat: row.integer("vat")?,
        hour: row.text("hour")?,
        currency_decimals: row.integer("currency_decimals")?,
    })
}

fn order_row(message: &ExportedOrder) -> ExportRow {
    vec![
        text(&message.store_id),
        text(&message.order_id),
        text(&message.business_date),
        Value::Integer(message.ticket_number),
        Value::Integer(message.document_number),
        text(&message.status),
        text(&message.membership),
        instant(message.placed_at.as_ref()),
        instant(message.updated_at.as_ref()),
        Value::Integer(message.local_hour),
        text(&message.currency),
        Value::Integer(message.gross),
        Value::Integer(message.discount),
        Value::Integer(message.net),
        Value::Integer(message.vat),
        text(&message.hour),
        Value::Integer(message.currency_decimals),
    ]
}

fn order_line(mut row: Cells) -> Result<ExportedOrderLine, EncodeError> {
    Ok(ExportedOrderLine {
        store_id: row.text("store_id")?,
        order_id: row.text("order_id")?,
        business_date: row.text("business_date")?,
        line_index: row.integer("line_index")?,
        sku: row.text("sku")?,
        category: row.text("category")?,
        quantity: row.integer("quantity")?,
        currency: row.text("currency")?,
        gross: row.integer("gross")?,
        discount: row.integer("discount")?,
        net: row.integer("net")?,
        vat: row.integer("vat")?,
        tax_class: row.text("tax_class")?,
        tax_rate_bp: row.integer("tax_rate_bp")?,
        currency_decimals: row.integer("currency_decimals")?,
    })
}

fn order_line_row(message: &ExportedOrderLine) -> ExportRow {
    vec![
        text(&message.store_id),
        text(&message.order_id),
        text(&message.business_date),
        Value::Integer(message.line_index),
        text(&message.sku),
        text(&message.category),
        Value::Integer(message.quantity),
        text(&message.currency),
        Value::Integer(message.gross),
        Value::Integer(message.discount),
        Value::Integer(message.net),
        Value::Integer(message.vat),
        text(&message.tax_class),
        Value::Integer(message.tax_rate_bp),
        Value::Integer(message.currency_decimals),
    ]
}

fn refund(mut row: Cells) -> Result<ExportedRefund, EncodeError> {
    Ok(ExportedRefund {
        store_id: row.text("store_id")?,
        order_id: row.text("order_id")?,
        kind: row.text("kind")?,
        business_date: row.text("business_date")?,
        sale_business_date: row.text("sale_business_date")?,
        document_number: row.integer("document_number")?,
        reason_code: row.text("reason_code")?,
        recorded_at: row.instant("recorded_at")?,
        currency: row.text("currency")?,
        gross: row.integer("gross")?,
        discount: row.integer("discount")?,
        net: row.integer("net")?,
        vat: row.integer("vat")?,
        currency_decimals: row.integer("currency_decimals")?,
    })
}

fn refund_row(message: &ExportedRefund) -> ExportRow {
    vec![
        text(&message.store_id),
        text(&message.order_id),
        text(&message.kind),
        text(&message.business_date),
        text(&message.sale_business_date),
        Value::Integer(message.document_number),
        text(&message.reason_code),
        instant(message.recorded_at.as_ref()),
        text(&message.currency),
        Value::Integer(message.gross),
        Value::Integer(message.discount),
        Value::Integer(message.net),
        Value::Integer(message.vat),
        Value::Integer(message.currency_decimals),
    ]
}

fn refund_line(mut row: Cells) -> Result<ExportedRefundLine, EncodeError> {
    Ok(ExportedRefundLine {
        store_id: row.text("store_id")?,
        order_id: row.text("order_id")?,
        kind: row.text("kind")?,
        business_date: row.text("business_date")?,
        sale_business_date: row.text("sale_business_date")?,
        document_number: row.integer("document_number")?,
        line_index: row.integer("line_index")?,
        sku: row.text("sku")?,
        category: row.text("category")?,
        quantity: row.integer("quantity")?,
        currency: row.text("currency")?,
        gross: row.integer("gross")?,
        discount: row.integer("discount")?,
        net: row.integer("net")?,
        vat: row.integer("vat")?,
        tax_class: row.text("tax_class")?,
        tax_rate_bp: row.integer("tax_rate_bp")?,
        currency_decimals: row.integer("currency_decimals")?,
    })
}

fn refund_line_row(message: &ExportedRefundLine) -> ExportRow {
    vec![
        text(&message.store_id),
        text(&message.order_id),
        text(&message.kind),
        text(&message.business_date),
        text(&message.sale_business_date),
        Value::Integer(message.document_number),
        Value::Integer(message.line_index),
        text(&message.sku),
        text(&message.category),
        Value::Integer(message.quantity),
        text(&message.currency),
        Value::Integer(message.gross),
        Value::Integer(message.discount),
        Value::Integer(message.net),
        Value::Integer(message.vat),
        text(&message.tax_class),
        Value::Integer(message.tax_rate_bp),
        Value::Integer(message.currency_decimals),
    ]
}

fn tender(mut row: Cells) -> Result<ExportedTender, EncodeError> {
    Ok(ExportedTender {
        store_id: row.text("store_id")?,
        order_id: row.text("order_id")?,
        business_date: row.text("business_date")?,
        sale_business_date: row.text("sale_business_date")?,
        tender_id: row.text("tender_id")?,
        kind: row.text("kind")?,
        drawer_id: row.optional("drawer_id")?,
        recorded_at: row.instant("recorded_at")?,
        currency: row.text("currency")?,
        tendered: row.integer("tendered")?,
        change_given: row.integer("change_given")?,
        taken: row.integer("taken")?,
        returned: row.integer("returned")?,
        currency_decimals: row.integer("currency_decimals")?,
    })
}

fn tender_row(message: &ExportedTender) -> ExportRow {
    vec![
        text(&message.store_id),
        text(&message.order_id),
        text(&message.business_date),
        text(&message.sale_business_date),
        text(&message.tender_id),
        text(&message.kind),
        optional(message.drawer_id.as_ref()),
        instant(message.recorded_at.as_ref()),
        text(&message.currency),
        Value::Integer(message.tendered),
        Value::Integer(message.change_given),
        Value::Integer(message.taken),
        Value::Integer(message.returned),
        Value::Integer(message.currency_decimals),
    ]
}

fn z_report(mut row: Cells) -> Result<ExportedZReport, EncodeError> {
    Ok(ExportedZReport {
        store_id: row.text("store_id")?,
        z_number: row.integer("z_number")?,
        business_date: row.text("business_date")?,
        started_at: row.instant("started_at")?,
        ended_at: row.instant("ended_at")?,
        closed_at: row.instant("closed_at")?,
        currency: row.text("currency")?,
        sales_count: row.integer("sales_count")?,
        sales_gross: row.integer("sales_gross")?,
        sales_discount: row.integer("sales_discount")?,
        sales_net: row.integer("sales_net")?,
        sales_vat: row.integer("sales_vat")?,
        voids_net: row.integer("voids_net")?,
        refunds_same_day_net: row.integer("refunds_same_day_net")?,
        refunds_prior_days_net: row.integer("refunds_prior_days_net")?,
        turnover_gross: row.integer("turnover_gross")?,
        turnover_net: row.integer("turnover_net")?,
        turnover_vat: row.integer("turnover_vat")?,
        grand_total_sales: row.integer("grand_total_sales")?,
        grand_total_returns: row.integer("grand_total_returns")?,
        figures: row.text("figures")?,
        differences: row.text("differences")?,
        currency_decimals: row.integer("currency_decimals")?,
    })
}

fn z_report_row(message: &ExportedZReport) -> ExportRow {
    vec![
        text(&message.store_id),
        Value::Integer(message.z_number),
        text(&message.business_date),
        instant(message.started_at.as_ref()),
        instant(message.ended_at.as_ref()),
        instant(message.closed_at.as_ref()),
        text(&message.currency),
        Value::Integer(message.sales_count),
        Value::Integer(message.sales_gross),
        Value::Integer(message.sales_discount),
        Value::Integer(message.sales_net),
        Value::Integer(message.sales_vat),
        Value::Integer(message.voids_net),
        Value::Integer(message.refunds_same_day_net),
        Value::Integer(message.refunds_prior_days_net),
        Value::Integer(message.turnover_gross),
        Value::Integer(message.turnover_net),
        Value::Integer(message.turnover_vat),
        Value::Integer(message.grand_total_sales),
        Value::Integer(message.grand_total_returns),
        text(&message.figures),
        text(&message.differences),
        Value::Integer(message.currency_decimals),
    ]
}

#[cfg(test)]
mod tests {
    use read_model::ColumnKind;

    use super::*;

    /// A row with another value in each column.
    fn row(table: ExportTable) -> ExportRow {
        let columns = table.columns().iter().enumerate();
        let value = |(number, column): (usize, &read_model::Column)| match column.kind {
            ColumnKind::Integer => Value::Integer(i64::try_from(number).unwrap()),
            ColumnKind::Text | ColumnKind::Date => Value::Text(column.name.to_owned()),
            ColumnKind::Instant => {
                let second = i64::try_from(number).unwrap();
                Value::Instant(jiff::Timestamp::from_second(second).unwrap())
            }
        };
        columns.map(value).collect()
    }

    #[test]
    fn every_table_has_a_message_of_the_same_columns() {
        for table in ExportTable::ALL {
            let row = row(table);
            let said = message(table, vec![row.clone(), row.clone()]).unwrap();
            assert_eq!(rows(&said), [row.clone(), row], "{table:?}");
        }
    }

    #[test]
    fn a_row_of_another_table_is_refused() {
        let said = message(ExportTable::Tenders, vec![row(ExportTable::ZReports)]);
        assert!(matches!(said, Err(EncodeError::Value { .. })), "{said:?}");
    }
}
