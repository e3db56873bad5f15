//! What head office settles with.

use contract::api::query::settlement_service_server::SettlementService;
use contract::api::query::{
    ExplainFigureRequest, ExplainFigureResponse, ExportSalesRequest, FigureFact, GetSalesRequest,
    GetSalesResponse, GetXReportRequest, GetXReportResponse, GetZReportRequest, GetZReportResponse,
    ListDayRowsRequest, ListDayRowsResponse, ListZReportsRequest, ListZReportsResponse,
    get_z_report_request::Key,
};
use contract::api::types::{DayReport, DifferingDay, DrawerSales};
use contract::event::{self, BusinessDayClosed};
use contract::{
    BusinessDate, Currency, Fields, Reason, Rejection, StoreId, report_view, timestamp_to_proto,
};
use event_log::Revision;
use prost::Message as _;
use read_model::{
    DayRow, DayState, EventPlace, FigureQuery, ReportKey, ReportQuery, Reported, StoreRow, ZPage,
};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::error::QueryError;
use crate::export::Rows;
use crate::figure;
use crate::lists::{ROWS_IN_A_REPORT, day_lists};
use crate::page;
use crate::queries::Queries;
use crate::request::{answer_by, by, date, freshness, known, no_such_day, tokens};
use crate::sales::{differences, state};

const DEFAULT_REPORTS: u32 = 20;
const LONGEST_REPORTS: u32 = 100;
const DEFAULT_FACTS: u32 = 100;
const LONGEST_FACTS: u32 = 1_000;
/// A page ends before its reports exceed this many bytes: a stock client takes answers of 4 MiB.
const MAX_PAGE_BYTES: usize = 3 * 1024 * 1024;

/// How a Z report is named.
#[derive(Clone, Copy)]
enum ZKey {
    Number(i64),
    Date(BusinessDate),
}

#[tonic::async_trait]
impl SettlementService for Queries {
    async fn get_x_report(
        &self,
        request: Request<GetXReportRequest>,
    ) -> Result<Response<GetXReportResponse>, Status> {
        let deadline = answer_by(request.metadata());
        Ok(Response::new(
            self.x_report(request.into_inner(), deadline).await?,
        ))
    }

    async fn get_z_report(
        &self,
        request: Request<GetZReportRequest>,
    ) -> Result<Response<GetZReportResponse>, Status> {
        let deadline = answer_by(request.metadata());
        Ok(Response::new(
            self.z_report(request.into_inner(), deadline).await?,
        ))
    }

    async fn list_z_reports(
        &self,
        request: Request<ListZReportsRequest>,
    ) -> Result<Response<ListZReportsResponse>, Status> {
        let deadline = answer_by(request.metadata());
        Ok(Response::new(
            self.z_reports(request.into_inner(), deadline).await?,
        ))
    }

    async fn get_sales(
        &self,
        request: Request<GetSalesRequest>,
    ) -> Result<Response<GetSalesResponse>, Status> {
        let deadline = answer_by(request.metadata());
        Ok(Response::new(
            self.sales_of(request.into_inner(), deadline).await?,
        ))
    }

    async fn explain_figure(
        &self,
        request: Request<ExplainFigureRequest>,
    ) -> Result<Response<ExplainFigureResponse>, Status> {
        let deadline = answer_by(request.metadata());
        Ok(Response::new(
            self.explain(request.into_inner(), deadline).await?,
        ))
    }

    async fn list_day_rows(
        &self,
        request: Request<ListDayRowsRequest>,
    ) -> Result<Response<ListDayRowsResponse>, Status> {
        let deadline = answer_by(request.metadata());
        Ok(Response::new(
            self.day_rows(request.into_inner(), deadline).await?,
        ))
    }

    type ExportSalesStream = Rows;

    async fn export_sales(
        &self,
        request: Request<ExportSalesRequest>,
    ) -> Result<Response<Rows>, Status> {
        let deadline = answer_by(request.metadata());
        Ok(Response::new(
            self.export_rows(request.get_ref(), deadline).await?,
        ))
    }
}

impl Queries {
    async fn x_report(
        &self,
        request: GetXReportRequest,
        deadline: Instant,
    ) -> Result<GetXReportResponse, QueryError> {
        let store = Fields::read(|fields| fields.store_id(&request.store_id))?;
        self.waiters
            .reflect(tokens(&request.at_least)?, deadline)
            .await?;
        let query = ReportQuery {
            store: store.clone(),
            key: ReportKey::Latest,
            rows: ROWS_IN_A_REPORT,
            digests: true,
        };
        let seen = by(deadline, self.settlement.report(&query)).await?;
        let seen = self.seen(seen, &store, deadline).await?;
        let currency = known(&seen.store)?;
        let found = seen.found.ok_or_else(|| no_such_day(&store))?;
        let day = &found.day;
        if day.state == DayState::Closed {
            let message = format!(
                "Store {store} has no open business day: {} is closed. GetZReport has its report.",
                day.date
            );
            return Err(Rejection::new(Reason::NoSuchDay, message)
                .with("store_id", &store)
                .into());
        }
        let digests = found.digests.clone().unwrap_or_default();
        let body = event::DayReport {
            items: Some(digests.items),
            categories: Some(digests.categories),
            discounts: Some(digests.discounts),
            ..decode_report(&day.body)?
        };
        let report = DayReport {
            store_id: store.to_string(),
            business_date: day.date.to_string(),
            state: state(Some(day), self.clock.now()).into(),
            start_time: Some(timestamp_to_proto(day.start)),
            end_time: Some(timestamp_to_proto(day.end)),
            last_revision: revision(seen.store.revision()),
            last_hash: seen
                .store
                .chain
                .map(|chain| chain.hash.0.to_vec())
                .unwrap_or_default(),
            ..report_view::report(&body, currency)
        };
        Ok(GetXReportResponse {
            report: Some(report),
            freshness: freshness(&seen.store, seen.epoch),
            lists: Some(day_lists(&found.rows, found.more, currency).0),
        })
    }

    async fn z_report(
        &self,
        request: GetZReportRequest,
        deadline: Instant,
    ) -> Result<GetZReportResponse, QueryError> {
        let (store, key) = Fields::read(|fields| {
            let store = fields.store_id(&request.store_id);
            let key = match &request.key {
                Some(Key::ZNumber(number)) if *number >= 1 => Some(ZKey::Number(*number)),
                Some(Key::ZNumber(_)) => {
                    fields.note("z_number", "Z reports are numbered from 1");
                    None
                }
                Some(Key::BusinessDate(date)) => fields.business_date(date).map(ZKey::Date),
                None => {
                    fields.note("business_date", "name a business date or a z_number");
                    None
                }
            };
            Some((store?, key?))
        })?;
        self.waiters
            .reflect(tokens(&request.at_least)?, deadline)
            .await?;
        let query = ReportQuery {
            store: store.clone(),
            key: match key {
                ZKey::Number(number) => ReportKey::Number(number),
                ZKey::Date(date) => ReportKey::Date(date),
            },
            rows: ROWS_IN_A_REPORT,
            digests: false,
        };
        let seen = by(deadline, self.settlement.report(&query)).await?;
        let seen = self.seen(seen, &store, deadline).await?;
        let currency = known(&seen.store)?;
        let found = match (seen.found, key) {
            (Some(found), _) if found.day.state == DayState::Closed => found,
            (Some(Reported { day, .. }), _) => {
                let message = format!(
                    "Business day {} of store {store} is still open, so it has no Z report. GetXReport has it so far.",
                    day.date
                );
                return Err(Rejection::new(Reason::NoSuchDay, message)
                    .with("store_id", &store)
                    .into());
            }
            (None, ZKey::Number(number)) => {
                let message = format!(
                    "Store {store} has no Z report {number}: its last one is number {}.",
                    seen.store.z_number
                );
                return Err(Rejection::new(Reason::NoSuchDay, message)
                    .with("store_id", &store)
                    .into());
            }
            (None, ZKey::Date(date)) => return Err(self.without_day(&seen.store, date).into()),
        };
        let day = &found.day;
        Ok(GetZReportResponse {
            report: Some(closed_report(&store, day, currency)?),
            differences: differences(day),
            freshness: freshness(&seen.store, seen.epoch),
            late_counts: late_counts(day, currency)?,
            lists: Some(day_lists(&found.rows, found.more, currency).0),
        })
    }

    async fn z_reports(
        &self,
        request: ListZReportsRequest,
        deadline: Instant,
    ) -> Result<ListZReportsResponse, QueryError> {
        let (store, first, last, size) = Fields::read(|fields| {
            let store = fields.store_id(&request.store_id);
            let first = date(fields, "first_business_date", &request.first_business_date);
            let last = date(fields, "last_business_date", &request.last_business_date);
            let size = page::page_size(fields, request.page_size, DEFAULT_REPORTS, LONGEST_REPORTS);
            Some((store?, first, last, size?))
        })?;
        let size_bytes = request.page_size.to_be_bytes();
        let bound: [&[u8]; 5] = [
            b"z-reports",
            store.as_str().as_bytes(),
            request.first_business_date.as_bytes(),
            request.last_business_date.as_bytes(),
            &size_bytes,
        ];
        let after_number = match request.page_token.as_str() {
            "" => 0,
            token => i64::from_be_bytes(
                page::read(&bound, token)?
                    .try_into()
                    .map_err(|_| page::foreign_token())?,
            ),
        };
        self.waiters
            .reflect(tokens(&request.at_least)?, deadline)
            .await?;
        let page = ZPage {
            store: store.clone(),
            first,
            last,
            after_number,
            limit: size + 1,
        };
        let seen = by(deadline, self.settlement.z_reports(&page)).await?;
        let seen = self.seen(seen, &store, deadline).await?;
        let currency = known(&seen.store)?;
        let (mut reports, mut bytes, mut after, mut more) = (Vec::new(), 0, after_number, false);
        let mut differing_days = Vec::new();
        for day in &seen.found {
            let report = closed_report(&store, day, currency)?;
            bytes += report.encoded_len();
            if reports.len() == size as usize || (bytes > MAX_PAGE_BYTES && !reports.is_empty()) {
                more = true;
                break;
            }
            after = report.z_number;
            reports.push(report);
            if !day.differences.is_empty() {
                let (store_id, business_date) = (store.to_string(), day.date.to_string());
                differing_days.push(DifferingDay {
                    store_id,
                    business_date,
                    z_number: day.z_number,
                    differences: differences(day),
                });
            }
        }
        let next_page_token = if more {
            page::write(&bound, &after.to_be_bytes())
        } else {
            String::new()
        };
        Ok(ListZReportsResponse {
            reports,
            next_page_token,
            freshness: freshness(&seen.store, seen.epoch),
            differing_days,
        })
    }

    async fn explain(
        &self,
        request: ExplainFigureRequest,
        deadline: Instant,
    ) -> Result<ExplainFigureResponse, QueryError> {
        let (store, date, figure, size) = Fields::read(|fields| {
            let store = fields.store_id(&request.store_id);
            let date = fields.business_date(&request.business_date);
            let figure = fields.take("figure", figure::parse(&request.figure));
            let size = page::page_size(fields, request.page_size, DEFAULT_FACTS, LONGEST_FACTS);
            Some((store?, date?, figure?, size?))
        })?;
        let size_bytes = request.page_size.to_be_bytes();
        let bound: [&[u8]; 5] = [
            b"figure",
            store.as_str().as_bytes(),
            request.business_date.as_bytes(),
            request.figure.as_bytes(),
            &size_bytes,
        ];
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(read_cursor(&page::read(&bound, token)?)?),
        };
        self.waiters
            .reflect(tokens(&request.at_least)?, deadline)
            .await?;
        let query = FigureQuery {
            store: store.clone(),
            date,
            figure,
            after,
            limit: size + 1,
        };
        let seen = by(deadline, self.settlement.explain(&query)).await?;
        let seen = self.seen(seen, &store, deadline).await?;
        known(&seen.store)?;
        let day = seen
            .found
            .day
            .clone()
            .ok_or_else(|| self.without_day(&seen.store, date))?;
        let report = match day.state {
            DayState::Closed => decode_closed(&day)?.report.unwrap_or_default(),
            DayState::Open => decode_report(&day.body)?,
        };
        let (value, facts_total) = figure::answer(&query.figure, &report, &day, &seen.found);
        let more = seen.found.facts.len() > size as usize;
        let facts: Vec<_> = seen.found.facts.into_iter().take(size as usize).collect();
        let next_page_token = match facts.last() {
            Some(last) if more => page::write(
                &bound,
                &[
                    &last.place.revision.0.to_be_bytes()[..],
                    &last.place.index.to_be_bytes(),
                ]
                .concat(),
            ),
            _ => String::new(),
        };
        Ok(ExplainFigureResponse {
            value,
            facts: facts.iter().map(figure_fact).collect(),
            next_page_token,
            freshness: freshness(&seen.store, seen.epoch),
            facts_total,
        })
    }

    /// Why a store has no day of this date: it has not begun, or nothing was sold on it.
    pub(crate) fn without_day(&self, store: &StoreRow, date: BusinessDate) -> Rejection {
        self.not_begun(store, date).unwrap_or_else(|| {
            let message = format!(
                "Store {} did not trade on {date}, so there is no report of that day.",
                store.store
            );
            Rejection::new(Reason::NoSuchDay, message)
                .with("store_id", &store.store)
                .with("business_date", date)
        })
    }
}

/// The Z report of a closed day, as it was recorded.
fn closed_report(
    store: &StoreId,
    day: &DayRow,
    currency: Currency,
) -> Result<DayReport, QueryError> {
    Ok(report_view::z_report(
        store.as_str(),
        &decode_closed(day)?,
        currency,
    ))
}

/// Drawers that were left uncounted by the close and counted since.
fn late_counts(day: &DayRow, currency: Currency) -> Result<Vec<DrawerSales>, QueryError> {
    let recorded = decode_closed(day)?.report.unwrap_or_default();
    let mut now = decode_report(&day.body)?;
    let uncounted = |drawer: &str| {
        recorded
            .drawers
            .iter()
            .all(|row| row.drawer_id != drawer || row.counted.is_none())
    };
    now.drawers
        .retain(|row| row.counted.is_some() && uncounted(&row.drawer_id));
    Ok(report_view::report(&now, currency).drawers)
}

fn decode_closed(day: &DayRow) -> Result<BusinessDayClosed, QueryError> {
    BusinessDayClosed::decode(day.recorded.as_slice()).map_err(|cause| QueryError::Stored {
        what: "Z report",
        cause,
    })
}

fn decode_report(body: &[u8]) -> Result<event::DayReport, QueryError> {
    event::DayReport::decode(body).map_err(|cause| QueryError::Stored {
        what: "day report",
        cause,
    })
}

fn figure_fact(fact: &read_model::FigureFact) -> FigureFact {
    FigureFact {
        revision: revision(fact.place.revision),
        index: i32::try_from(fact.place.index).unwrap_or(i32::MAX),
        event_type: fact.event_type.to_owned(),
        order_id: fact
            .order_id
            .map(|order| order.to_string())
            .unwrap_or_default(),
        record_time: Some(timestamp_to_proto(fact.recorded_at)),
        amount: fact.amount,
    }
}

fn revision(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

/// A page's last fact.
fn read_cursor(bytes: &[u8]) -> Result<EventPlace, Rejection> {
    let (revision, index) = bytes
        .split_first_chunk::<8>()
        .ok_or_else(page::foreign_token)?;
    let index = index.try_into().map_err(|_| page::foreign_token())?;
    Ok(EventPlace {
        revision: Revision(u64::from_be_bytes(*revision)),
        index: u32::from_be_bytes(index),
    })
}
