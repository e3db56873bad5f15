//! Exports over HTTP: `GET /v1/export/orders.parquet?store=gangnam&from=2026-03-01&to=2026-03-31`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use contract::api::query::{ExportSalesRequest, ExportTable as Table};
use contract::{Reason, Rejection, timestamp_from_proto};
use read_model::{ColumnKind, ExportRow, ExportTable};
use serde_json::json;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tonic_types::{FieldViolation, StatusExt as _};

use super::{EncodeError, Encoder, Format, Parts, quarantined};
use crate::error::QueryError;
use crate::queries::Queries;
use crate::request::answer_by;

/// The files' addresses.
pub(crate) fn router(queries: Arc<Queries>) -> Router {
    Router::new()
        .route("/v1/export", get(index))
        .route("/v1/export/{file}", get(export))
        .with_state(queries)
}

/// Every table with its columns.
async fn index() -> Response {
    let kind = |kind: ColumnKind| match kind {
        ColumnKind::Integer => "integer",
        ColumnKind::Text => "text",
        ColumnKind::Date => "date",
        ColumnKind::Instant => "timestamp",
    };
    let tables = ExportTable::ALL.map(|table| {
        let columns: Vec<_> = table
            .columns()
            .iter()
            .map(|column| json!({ "name": column.name, "type": kind(column.kind), "nullable": column.nullable }))
            .collect();
        let files = Format::ALL.map(|format| format!("/v1/export/{}.{}", table.name(), format.extension()));
        json!({ "table": table.name(), "files": files, "columns": columns })
    });
    let parameters = json!({
        "store": "a store; repeatable; all stores when absent",
        "from": "first business date, YYYY-MM-DD",
        "to": "last business date, inclusive",
        "at_least": "a consistency token; repeatable: nothing older is shown",
    });
    document(
        StatusCode::OK,
        &json!({ "tables": tables, "parameters": parameters }),
    )
}

async fn export(
    State(queries): State<Arc<Queries>>,
    Path(file): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    match answer(&queries, &file, query.as_deref().unwrap_or_default()).await {
        Ok(response) => response,
        Err(error) => failed(&Status::from(error)),
    }
}

async fn answer(queries: &Queries, file: &str, query: &str) -> Result<Response, QueryError> {
    let (table, format) = named(file).ok_or_else(|| {
        let message = format!("There is no export {file:?}. GET /v1/export lists them: a table, then .csv or .parquet.");
        Rejection::new(Reason::NotFound, message)
    })?;
    let request = request(table, query)?;
    let begun = queries
        .begin_export(&request, answer_by(&MetadataMap::new()))
        .await?;
    let mut headers = HeaderMap::new();
    let content_type = match format {
        Format::Csv => "text/csv; charset=utf-8; header=present",
        Format::Parquet => "application/vnd.apache.parquet",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let mut put = |name, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    let quarantined = begun
        .freshness
        .as_ref()
        .map(quarantined)
        .unwrap_or_default();
    put(
        header::CONTENT_DISPOSITION,
        format!(
            "attachment; filename=\"{}\"",
            file_name(&request, table, format, !quarantined.is_empty())
        ),
    );
    if !quarantined.is_empty() {
        put(
            header::HeaderName::from_static("doppio-quarantined"),
            quarantined.clone(),
        );
    }
    if let Some(freshness) = &begun.freshness {
        if let Some(as_of) = freshness.as_of.as_ref().and_then(timestamp_from_proto) {
            put(
                header::HeaderName::from_static("doppio-as-of"),
                as_of.to_string(),
            );
        }
        if !freshness.consistency_token.is_empty() {
            put(
                header::HeaderName::from_static("doppio-consistency-token"),
                freshness.consistency_token.clone(),
            );
        }
    }
    let mut encoder = Encoder::new(table, format)?;
    if let Some(freshness) = &begun.freshness {
        encoder.mark(freshness);
    }
    // An error in the middle breaks the transfer off: what was received is then known to be incomplete.
    Ok((
        headers,
        Body::from_stream(queries.stream(begun, Bits(encoder))),
    )
        .into_response())
}

struct Bits(Encoder);

impl Parts for Bits {
    type Part = Bytes;

    fn page(&mut self, page: Vec<ExportRow>) -> Result<Vec<Bytes>, EncodeError> {
        self.0.page(&page).map(bits)
    }

    fn end(&mut self) -> Result<Vec<Bytes>, EncodeError> {
        self.0.end().map(bits)
    }
}

fn bits(bytes: Vec<u8>) -> Vec<Bytes> {
    if bytes.is_empty() {
        Vec::new()
    } else {
        vec![bytes.into()]
    }
}

fn named(file: &str) -> Option<(ExportTable, Format)> {
    let (table, format) = file.split_once('.')?;
    let table = ExportTable::ALL
        .into_iter()
        .find(|own| own.name() == table)?;
    Some((
        table,
        Format::ALL
            .into_iter()
            .find(|own| own.extension() == format)?,
    ))
}

fn request(table: ExportTable, query: &str) -> Result<ExportSalesRequest, Rejection> {
    let table = match table {
        ExportTable::Orders => Table::Orders,
        ExportTable::OrderLines => Table::OrderLines,
        ExportTable::Refunds => Table::Refunds,
        ExportTable::RefundLines => Table::RefundLines,
        ExportTable::Tenders => Table::Tenders,
        ExportTable::ZReports => Table::ZReports,
    };
    let mut request = ExportSalesRequest {
        table: table.into(),
        ..ExportSalesRequest::default()
    };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let value = value.into_owned();
        match name.as_ref() {
            "store" => request.store_ids.push(value),
            "from" => request.first_business_date = value,
            "to" => request.last_business_date = value,
            "at_least" => request.at_least.push(value),
            other => {
                return Err(Rejection::field(
                    Reason::InvalidArgument,
                    other,
                    "is no parameter: store, from, to and at_least are",
                ));
            }
        }
    }
    Ok(request)
}

/// Such as `orders_gangnam_2026-03-01_2026-03-31.csv`; made of nothing but what was checked. A CSV file has no room for a remark that
/// every reader would skip: its name says that something is missing.
fn file_name(
    request: &ExportSalesRequest,
    table: ExportTable,
    format: Format,
    incomplete: bool,
) -> String {
    let mut name = table.name().to_owned();
    if let [store] = request.store_ids.as_slice() {
        name += &format!("_{store}");
    }
    for date in [&request.first_business_date, &request.last_business_date] {
        if !date.is_empty() {
            name += &format!("_{date}");
        }
    }
    if incomplete {
        name += "_incomplete";
    }
    format!("{name}.{}", format.extension())
}

/// A refusal that names the parameters of the address, where the call has fields.
fn failed(status: &Status) -> Response {
    let mut details = status.get_error_details();
    let violations = details.bad_request().map(|bad| {
        let violations = bad.field_violations.iter();
        let renamed =
            violations.map(|one| FieldViolation::new(parameter(&one.field), &one.description));
        renamed.collect::<Vec<_>>()
    });
    let Some(violations) = violations else {
        return web::refusal(status);
    };
    details.set_bad_request(violations);
    web::refusal(&Status::with_error_details(
        status.code(),
        status.message(),
        details,
    ))
}

/// The parameter that a field of the request comes from.
fn parameter(field: &str) -> String {
    field
        .replace("first_business_date", "from")
        .replace("last_business_date", "to")
        .replace("store_ids", "store")
}

fn document(code: StatusCode, body: &serde_json::Value) -> Response {
    (
        code,
        [(header::CONTENT_TYPE, "application/json")],
        format!("{body}\n"),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_parameters() {
        assert_eq!(
            named("order_lines.parquet"),
            Some((ExportTable::OrderLines, Format::Parquet))
        );
        for unknown in ["orders", "orders.xls", "facts.csv", ".csv", ""] {
            assert_eq!(named(unknown), None, "{unknown}");
        }
        let request = request(
            ExportTable::Orders,
            "store=a&store=b%2Dc&from=2026-03-01&to=",
        )
        .unwrap();
        assert_eq!(
            (
                request.store_ids.as_slice(),
                request.first_business_date.as_str()
            ),
            (&["a".into(), "b-c".into()][..], "2026-03-01")
        );
        assert_eq!(
            file_name(&request, ExportTable::Orders, Format::Csv, false),
            "orders_2026-03-01.csv"
        );
        assert_eq!(
            file_name(&request, ExportTable::Orders, Format::Csv, true),
            "orders_2026-03-01_incomplete.csv"
        );
        let rejection = super::request(ExportTable::Orders, "stores=a").unwrap_err();
        assert_eq!(rejection.reason, Reason::InvalidArgument);
    }
}
