use contract::api::ordering::Order;
use contract::api::query::query_service_server::QueryService;
use contract::api::query::{
    GetDailySalesRequest, GetDailySalesResponse, GetOrderRequest, GetOrderResponse,
    ListOrdersRequest, ListOrdersResponse, ListStoresRequest, ListStoresResponse, StoreSummary,
};
use contract::{
    BusinessDate, Currency, Fields, Reason, Rejection, StoreId, readmodel, stored_order,
    timestamp_to_proto,
};
use prost::Message as _;
use read_model::{OrderPage, ReportKey, ReportQuery, StoreRow};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::error::QueryError;
use crate::lists::ROWS_IN_A_REPORT;
use crate::page;
use crate::queries::Queries;
use crate::request::{answer_by, by, date, freshness, known, no_such_day, statuses, tokens};
use crate::sales::daily_sales;

/// A page ends before its orders exceed this many bytes: a stock client takes answers of 4 MiB.
const MAX_PAGE_BYTES: usize = 3 * 1024 * 1024;

#[tonic::async_trait]
impl QueryService for Queries {
    async fn get_order(
        &self,
        request: Request<GetOrderRequest>,
    ) -> Result<Response<GetOrderResponse>, Status> {
        let deadline = answer_by(request.metadata());
        Ok(Response::new(
            self.order(request.into_inner(), deadline).await?,
        ))
    }

    async fn list_orders(
        &self,
        request: Request<ListOrdersRequest>,
    ) -> Result<Response<ListOrdersResponse>, Status> {
        let deadline = answer_by(request.metadata());
        Ok(Response::new(
            self.orders(request.into_inner(), deadline).await?,
        ))
    }

    async fn get_daily_sales(
        &self,
        request: Request<GetDailySalesRequest>,
    ) -> Result<Response<GetDailySalesResponse>, Status> {
        let deadline = answer_by(request.metadata());
        Ok(Response::new(
            self.sales(request.into_inner(), deadline).await?,
        ))
    }

    async fn list_stores(
        &self,
        request: Request<ListStoresRequest>,
    ) -> Result<Response<ListStoresResponse>, Status> {
        let deadline = answer_by(request.metadata());
        Ok(Response::new(
            self.stores(request.into_inner(), deadline).await?,
        ))
    }
}

impl Queries {
    async fn order(
        &self,
        request: GetOrderRequest,
        deadline: Instant,
    ) -> Result<GetOrderResponse, QueryError> {
        let (store, order) = Fields::read(|fields| {
            let store = fields.store_id(&request.store_id);
            let order = fields.order_id(&request.order_id);
            store.zip(order)
        })?;
        self.waiters
            .reflect(tokens(&request.at_least)?, deadline)
            .await?;
        let seen = by(deadline, self.orders.order(&store, order)).await?;
        let seen = self.seen(seen, &store, deadline).await?;
        let currency = known(&seen.store)?;
        let body = seen.found.ok_or_else(|| {
            Rejection::new(
                Reason::UnknownOrder,
                format!("Store {store} has no order {order}."),
            )
            .with("order_id", order)
        })?;
        Ok(GetOrderResponse {
            order: Some(order_view(&body, &store, currency)?),
            freshness: freshness(&seen.store, seen.epoch),
        })
    }

    async fn orders(
        &self,
        request: ListOrdersRequest,
        deadline: Instant,
    ) -> Result<ListOrdersResponse, QueryError> {
        let (store, date, size) = Fields::read(|fields| {
            let store = fields.store_id(&request.store_id);
            let date = date(fields, "business_date", &request.business_date);
            statuses(fields, &request.statuses);
            let size = page::page_size(
                fields,
                request.page_size,
                page::DEFAULT_PAGE,
                page::LONGEST_PAGE,
            );
            Some((store?, date, size?))
        })?;
        let statuses = request.statuses;
        let mut sorted = statuses.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let filter: Vec<u8> = sorted
            .iter()
            .flat_map(|status| status.to_be_bytes())
            .collect();
        let size_bytes = request.page_size.to_be_bytes();
        let bound: [&[u8]; 5] = [
            b"orders",
            store.as_str().as_bytes(),
            request.business_date.as_bytes(),
            &filter,
            &size_bytes,
        ];
        // A token names the date too: a page of "the latest" must not become another day's in the middle.
        let (date, after_ticket) = match request.page_token.as_str() {
            "" => (date, 0),
            token => {
                let last = OrderCursor::read(&page::read(&bound, token)?)?;
                (Some(last.date), last.ticket)
            }
        };
        self.waiters
            .reflect(tokens(&request.at_least)?, deadline)
            .await?;
        let page = OrderPage {
            store: store.clone(),
            date,
            statuses: sorted,
            after_ticket,
            limit: size + 1,
        };
        let seen = by(deadline, self.orders.orders_page(&page)).await?;
        let seen = self.seen(seen, &store, deadline).await?;
        let currency = known(&seen.store)?;
        let date = date
            .or(seen.store.latest_date)
            .ok_or_else(|| no_such_day(&store))?;
        let (mut orders, mut bytes, mut last) = (Vec::new(), 0, after_ticket);
        let mut more = false;
        for found in &seen.found {
            let order = order_view(&found.body, &store, currency)?;
            bytes += order.encoded_len();
            if orders.len() == size as usize || (bytes > MAX_PAGE_BYTES && !orders.is_empty()) {
                more = true;
                break;
            }
            orders.push(order);
            last = found.ticket_number;
        }
        let next_page_token = if more {
            let last = OrderCursor { date, ticket: last };
            page::write(&bound, &last.bytes())
        } else {
            String::new()
        };
        Ok(ListOrdersResponse {
            orders,
            next_page_token,
            freshness: freshness(&seen.store, seen.epoch),
        })
    }

    async fn sales(
        &self,
        request: GetDailySalesRequest,
        deadline: Instant,
    ) -> Result<GetDailySalesResponse, QueryError> {
        let (store, date) = Fields::read(|fields| {
            let store = fields.store_id(&request.store_id);
            let date = date(fields, "business_date", &request.business_date);
            Some((store?, date))
        })?;
        self.waiters
            .reflect(tokens(&request.at_least)?, deadline)
            .await?;
        let query = ReportQuery {
            store: store.clone(),
            key: date.map_or(ReportKey::Latest, ReportKey::Date),
            rows: ROWS_IN_A_REPORT,
            digests: false,
        };
        let seen = by(deadline, self.settlement.report(&query)).await?;
        let seen = self.seen(seen, &store, deadline).await?;
        let currency = known(&seen.store)?;
        let date = date
            .or(seen.store.latest_date)
            .ok_or_else(|| no_such_day(&store))?;
        if seen.found.is_none()
            && let Some(rejection) = self.not_begun(&seen.store, date)
        {
            return Err(rejection.into());
        }
        let sales = daily_sales(
            currency,
            store.to_string(),
            date.to_string(),
            seen.found.as_ref(),
            self.clock.now(),
        )?;
        Ok(GetDailySalesResponse {
            freshness: freshness(&seen.store, seen.epoch),
            ..sales
        })
    }

    async fn stores(
        &self,
        request: ListStoresRequest,
        deadline: Instant,
    ) -> Result<ListStoresResponse, QueryError> {
        let size = Fields::read(|fields| {
            page::page_size(
                fields,
                request.page_size,
                page::DEFAULT_PAGE,
                page::LONGEST_PAGE,
            )
        })?;
        let size_bytes = request.page_size.to_be_bytes();
        let bound: [&[u8]; 2] = [b"stores", &size_bytes];
        let after = match request.page_token.as_str() {
            "" => None,
            token => {
                let last = page::read(&bound, token)?;
                std::str::from_utf8(&last)
                    .ok()
                    .and_then(|store| StoreId::new(store).ok())
            }
        };
        let mut rows = by(deadline, self.orders.stores_after(after.as_ref(), size + 1)).await?;
        let more = rows.len() > size as usize;
        rows.truncate(size as usize);
        let next_page_token = match rows.last() {
            Some(last) if more => page::write(&bound, last.store.as_str().as_bytes()),
            _ => String::new(),
        };
        Ok(ListStoresResponse {
            stores: rows.iter().map(summary).collect(),
            next_page_token,
        })
    }
}

/// A stored order as the API shows it.
fn order_view(body: &[u8], store: &StoreId, currency: Currency) -> Result<Order, QueryError> {
    let stored = readmodel::Order::decode(body).map_err(|cause| QueryError::Stored {
        what: "order",
        cause,
    })?;
    Ok(stored_order::view(&stored, store.as_str(), currency)?)
}

/// A page's last order.
struct OrderCursor {
    date: BusinessDate,
    ticket: i64,
}

impl OrderCursor {
    fn read(bytes: &[u8]) -> Result<Self, Rejection> {
        let read = || {
            let (date, ticket) = bytes.split_last_chunk::<8>()?;
            let date = BusinessDate::parse(std::str::from_utf8(date).ok()?).ok()?;
            Some(Self {
                date,
                ticket: i64::from_be_bytes(*ticket),
            })
        };
        read().ok_or_else(page::foreign_token)
    }

    fn bytes(&self) -> Vec<u8> {
        [self.date.to_string().as_bytes(), &self.ticket.to_be_bytes()].concat()
    }
}

fn summary(row: &StoreRow) -> StoreSummary {
    StoreSummary {
        store_id: row.store.to_string(),
        currency_code: row
            .currency
            .map(|currency| currency.to_string())
            .unwrap_or_default(),
        time_zone: row.time_zone.clone(),
        latest_business_date: row
            .latest_date
            .map(|date| date.to_string())
            .unwrap_or_default(),
        revision: i64::try_from(row.revision().0).unwrap_or(i64::MAX),
        as_of: row.recorded_at().map(timestamp_to_proto),
        quarantine_reason: row
            .quarantine
            .as_ref()
            .map(|quarantine| quarantine.reason.clone())
            .unwrap_or_default(),
    }
}
