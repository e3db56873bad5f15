use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use contract::api::ordering::Order;
use contract::api::query::query_service_server::QueryService;
use contract::api::query::{
    GetDailySalesRequest, GetDailySalesResponse, GetOrderRequest, GetOrderResponse, ListOrdersRequest, ListOrdersResponse,
    ListStoresRequest, ListStoresResponse, StoreSummary,
};
use contract::api::types::{Freshness, OrderStatus};
use contract::{BusinessDate, ConsistencyToken, Currency, OrderId, Reason, Rejection, StoreId, Violation, timestamp_to_proto};
use event_log::LogEpoch;
use prost::Message as _;
use read_model::{OrderPage, ReadModelReader, StoreRow};
use runtime::{Clock, DeadlineLimits, deadline_of};
use tokio::time::{Instant, timeout_at};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::error::QueryError;
use crate::page;
use crate::sales::daily_sales;
use crate::wait::{Waiters, quarantined};

/// Of a read that names no deadline, and the longest that one may name.
pub(crate) const DEADLINES: DeadlineLimits = DeadlineLimits { default: Duration::from_secs(5), longest: Duration::from_secs(30) };
/// What is kept of a deadline for the answer's way back: a tenth, within these bounds.
const SHORTEST_MARGIN: Duration = Duration::from_millis(10);
const LONGEST_MARGIN: Duration = Duration::from_millis(200);
const MAX_TOKENS: usize = 64;
/// A page ends before its orders exceed this many bytes: a stock client takes answers of 4 MiB.
const MAX_PAGE_BYTES: usize = 3 * 1024 * 1024;

pub(crate) struct Queries {
    pub reader: Arc<dyn ReadModelReader>,
    pub waiters: Waiters,
    pub clock: Clock,
}

#[tonic::async_trait]
impl QueryService for Queries {
    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<GetOrderResponse>, Status> {
        let deadline = answer_by(request.metadata());
        Ok(Response::new(self.order(request.into_inner(), deadline).await?))
    }

    async fn list_orders(&self, request: Request<ListOrdersRequest>) -> Result<Response<ListOrdersResponse>, Status> {
        let deadline = answer_by(request.metadata());
        Ok(Response::new(self.orders(request.into_inner(), deadline).await?))
    }

    async fn get_daily_sales(&self, request: Request<GetDailySalesRequest>) -> Result<Response<GetDailySalesResponse>, Status> {
        let deadline = answer_by(request.metadata());
        Ok(Response::new(self.sales(request.into_inner(), deadline).await?))
    }

    async fn list_stores(&self, request: Request<ListStoresRequest>) -> Result<Response<ListStoresResponse>, Status> {
        let deadline = answer_by(request.metadata());
        Ok(Response::new(self.stores(request.into_inner(), deadline).await?))
    }
}

impl Queries {
    async fn order(&self, request: GetOrderRequest, deadline: Instant) -> Result<GetOrderResponse, QueryError> {
        let mut fields = Fields::default();
        let store = fields.store(&request.store_id);
        let order = fields.take("order_id", OrderId::parse(&request.order_id));
        let (store, order) = fields.all(store.zip(order))?;
        self.waiters.reflect(tokens(&request.at_least)?, deadline).await?;
        let seen = by(deadline, self.reader.order(&store, order)).await?.ok_or_else(|| unknown_store(&store))?;
        known(&seen.store)?;
        let body = seen
            .found
            .ok_or_else(|| Rejection::new(Reason::UnknownOrder, format!("Store {store} has no order {order}.")).with("order_id", order))?;
        Ok(GetOrderResponse { order: Some(decode_order(&body)?), freshness: freshness(&seen.store, seen.epoch) })
    }

    async fn orders(&self, request: ListOrdersRequest, deadline: Instant) -> Result<ListOrdersResponse, QueryError> {
        let mut fields = Fields::default();
        let store = fields.store(&request.store_id);
        let date = fields.date(&request.business_date);
        let statuses = fields.statuses(&request.statuses);
        let size = fields.check(page::page_size(request.page_size));
        let (((store, date), statuses), size) = fields.all(store.zip(date).zip(statuses).zip(size))?;
        let mut sorted = statuses.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let filter: Vec<u8> = sorted.iter().flat_map(|status| status.to_be_bytes()).collect();
        let size_bytes = request.page_size.to_be_bytes();
        let bound: [&[u8]; 5] = [b"orders", store.as_str().as_bytes(), request.business_date.as_bytes(), &filter, &size_bytes];
        // A token names the date too: a page of "the latest" must not become another day's in the middle.
        let (date, after_ticket) = match request.page_token.as_str() {
            "" => (date, 0),
            token => {
                let (date, ticket) = read_place(&page::read(&bound, token)?)?;
                (Some(date), ticket)
            }
        };
        self.waiters.reflect(tokens(&request.at_least)?, deadline).await?;
        let page = OrderPage { store: store.clone(), date, statuses: sorted, after_ticket, limit: size + 1 };
        let seen = by(deadline, self.reader.orders_page(&page)).await?.ok_or_else(|| unknown_store(&store))?;
        known(&seen.store)?;
        let date = date.or(seen.store.latest_date).ok_or_else(|| no_such_day(&store))?;
        let (mut orders, mut bytes, mut last) = (Vec::new(), 0, after_ticket);
        let mut more = false;
        for (ticket, body) in &seen.found {
            bytes += body.len();
            if orders.len() == size as usize || (bytes > MAX_PAGE_BYTES && !orders.is_empty()) {
                more = true;
                break;
            }
            orders.push(decode_order(body)?);
            last = *ticket;
        }
        let next = [date.to_string().as_bytes(), &last.to_be_bytes()].concat();
        let next_page_token = if more { page::write(&bound, &next) } else { String::new() };
        Ok(ListOrdersResponse { orders, next_page_token, freshness: freshness(&seen.store, seen.epoch) })
    }

    async fn sales(&self, request: GetDailySalesRequest, deadline: Instant) -> Result<GetDailySalesResponse, QueryError> {
        let mut fields = Fields::default();
        let store = fields.store(&request.store_id);
        let date = fields.date(&request.business_date);
        let (store, date) = fields.all(store.zip(date))?;
        self.waiters.reflect(tokens(&request.at_least)?, deadline).await?;
        let seen = by(deadline, self.reader.day(&store, date)).await?.ok_or_else(|| unknown_store(&store))?;
        let currency = known(&seen.store)?;
        let date = date.or(seen.store.latest_date).ok_or_else(|| no_such_day(&store))?;
        let sales = daily_sales(currency, store.to_string(), date.to_string(), seen.found.as_ref(), self.clock.now())?;
        Ok(GetDailySalesResponse { freshness: freshness(&seen.store, seen.epoch), ..sales })
    }

    async fn stores(&self, request: ListStoresRequest, deadline: Instant) -> Result<ListStoresResponse, QueryError> {
        let mut fields = Fields::default();
        let size = fields.check(page::page_size(request.page_size));
        let size = fields.all(size)?;
        let size_bytes = request.page_size.to_be_bytes();
        let bound: [&[u8]; 2] = [b"stores", &size_bytes];
        let after = match request.page_token.as_str() {
            "" => None,
            token => {
                let place = page::read(&bound, token)?;
                std::str::from_utf8(&place).ok().and_then(|store| StoreId::new(store).ok())
            }
        };
        let mut rows = by(deadline, self.reader.stores_after(after.as_ref(), size + 1)).await?;
        let more = rows.len() > size as usize;
        rows.truncate(size as usize);
        let next_page_token = match rows.last() {
            Some(last) if more => page::write(&bound, last.store.as_str().as_bytes()),
            _ => String::new(),
        };
        Ok(ListStoresResponse { stores: rows.iter().map(summary).collect(), next_page_token })
    }
}

/// Gathers what is wrong with a request's fields, so that all of it is said at once.
#[derive(Default)]
struct Fields {
    violations: Vec<Violation>,
}

impl Fields {
    fn check<T>(&mut self, field: Result<T, Violation>) -> Option<T> {
        field.map_err(|violation| self.violations.push(violation)).ok()
    }

    fn take<T, E: std::fmt::Display>(&mut self, name: &str, value: Result<T, E>) -> Option<T> {
        self.check(value.map_err(|error| Violation { field: name.to_owned(), description: error.to_string() }))
    }

    fn store(&mut self, text: &str) -> Option<StoreId> {
        self.take("store_id", StoreId::new(text))
    }

    /// `Some(None)`: none is named.
    fn date(&mut self, text: &str) -> Option<Option<BusinessDate>> {
        if text.is_empty() { Some(None) } else { self.take("business_date", BusinessDate::parse(text)).map(Some) }
    }

    fn statuses(&mut self, statuses: &[i32]) -> Option<Vec<i32>> {
        for (index, status) in statuses.iter().enumerate() {
            if !matches!(OrderStatus::try_from(*status), Ok(status) if status != OrderStatus::Unspecified) {
                let description = format!("{status} is not a status of orders");
                self.violations.push(Violation { field: format!("statuses[{index}]"), description });
            }
        }
        Some(statuses.to_vec())
    }

    fn all<T>(self, values: Option<T>) -> Result<T, QueryError> {
        match (Rejection::invalid(self.violations), values) {
            (None, Some(values)) => Ok(values),
            (Some(rejection), _) => Err(rejection.into()),
            (None, None) => Err(Rejection::new(Reason::InvalidArgument, "The request is malformed.").into()),
        }
    }
}

fn tokens(at_least: &[String]) -> Result<Vec<ConsistencyToken>, QueryError> {
    if at_least.len() > MAX_TOKENS {
        let description = format!("at most {MAX_TOKENS} tokens");
        return Err(Rejection::field(Reason::InvalidArgument, "at_least", description).into());
    }
    let parse = |(index, text): (usize, &String)| {
        ConsistencyToken::parse(text)
            .map_err(|error| Rejection::field(Reason::MalformedConsistencyToken, format!("at_least[{index}]"), error.to_string()).into())
    };
    at_least.iter().enumerate().map(parse).collect()
}

/// The instant by which an answer must have left to be there by the caller's deadline.
pub(crate) fn answer_by(metadata: &MetadataMap) -> Instant {
    let deadline = deadline_of(metadata, DEADLINES);
    let margin = (deadline.saturating_duration_since(Instant::now()) / 10).clamp(SHORTEST_MARGIN, LONGEST_MARGIN);
    deadline.checked_sub(margin).unwrap_or(deadline)
}

pub(crate) async fn by<T, E: Into<QueryError>>(deadline: Instant, read: impl Future<Output = Result<T, E>>) -> Result<T, QueryError> {
    timeout_at(deadline, read).await.map_err(|_| QueryError::Slow)?.map_err(Into::into)
}

/// A store without a currency has a ledger of which not even the first record could be applied.
fn known(store: &StoreRow) -> Result<Currency, QueryError> {
    store.currency.ok_or_else(|| quarantined(&store.store).into())
}

fn unknown_store(store: &StoreId) -> Rejection {
    Rejection::new(Reason::UnknownStore, format!("There is no store {store}, or it has not sold anything yet.")).with("store_id", store)
}

fn no_such_day(store: &StoreId) -> Rejection {
    Rejection::new(Reason::NoSuchDay, Reason::NoSuchDay.meaning()).with("store_id", store)
}

fn decode_order(body: &[u8]) -> Result<Order, QueryError> {
    Order::decode(body).map_err(|cause| QueryError::Stored { what: "order", cause })
}

/// Date and ticket number of a page's last order.
fn read_place(place: &[u8]) -> Result<(BusinessDate, i64), QueryError> {
    let parsed = place.split_last_chunk::<8>().and_then(|(date, ticket)| {
        let date = std::str::from_utf8(date).ok().and_then(|date| BusinessDate::parse(date).ok())?;
        Some((date, i64::from_be_bytes(*ticket)))
    });
    parsed.ok_or_else(|| Rejection::field(Reason::MalformedPageToken, "page_token", "was not given out by this server").into())
}

fn freshness(store: &StoreRow, epoch: Option<LogEpoch>) -> Option<Freshness> {
    let epoch = epoch?;
    let token = ConsistencyToken { log_id: epoch.log_id, epoch: epoch.epoch, store: store.store.clone(), revision: store.revision().0 };
    Some(Freshness { consistency_token: token.to_string(), as_of: store.recorded_at().map(timestamp_to_proto) })
}

fn summary(row: &StoreRow) -> StoreSummary {
    StoreSummary {
        store_id: row.store.to_string(),
        currency_code: row.currency.map(|currency| currency.to_string()).unwrap_or_default(),
        time_zone: row.time_zone.clone(),
        latest_business_date: row.latest_date.map(|date| date.to_string()).unwrap_or_default(),
        revision: i64::try_from(row.revision().0).unwrap_or(i64::MAX),
        as_of: row.recorded_at().map(timestamp_to_proto),
        quarantine_reason: row.quarantine.as_ref().map(|quarantine| quarantine.reason.clone()).unwrap_or_default(),
    }
}
