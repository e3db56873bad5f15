//! Clients of the services, of a running system or of a data directory that is opened for one command.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use contract::api::admin::admin_service_client::AdminServiceClient;
use contract::api::member::member_service_client::MemberServiceClient;
use contract::api::ordering::ordering_service_client::OrderingServiceClient;
use contract::api::ordering::{OrderDraft, QuoteOrderRequest};
use contract::api::query::ListStoresRequest;
use contract::api::query::query_service_client::QueryServiceClient;
use contract::api::query::settlement_service_client::SettlementServiceClient;
use contract::api::query::{DayList, ListDayRowsRequest};
use contract::api::types::{DayLists, Money};
use contract::{Reason, timestamp_to_proto};
use jiff::tz::TimeZone;
use runtime::{Clock, TraceContext};
use tonic::Status;
use tonic::transport::{Channel, Uri};
use uuid::Uuid;

use crate::data_dir::DataDir;
use crate::exit::{ExitCode, Failure};
use crate::pages::{PAGE_SIZE, whole};
use crate::system::{Addresses, Plan, System};

/// How long a command waits for an answer.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);
const STOP_GRACE: Duration = Duration::from_secs(5);
const ROWS_A_PAGE: i32 = 1_000;
const DEFAULT_SERVER: &str = "http://127.0.0.1:7400";

/// Which system a command works on.
#[derive(Args, Debug, Clone)]
pub struct Target {
    /// Base address of a running system: member at its port + 1, ordering + 2, query + 3 [default: http://127.0.0.1:7400].
    #[arg(long, global = true, value_name = "URL", conflicts_with = "data")]
    pub server: Option<String>,
    /// Open this embedded data directory instead; no server may hold it.
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address of the member service, where it is not at --server.
    #[arg(long, global = true, value_name = "URL")]
    pub member_server: Option<String>,
    /// Address of the ordering service, where it is not at --server.
    #[arg(long, global = true, value_name = "URL")]
    pub ordering_server: Option<String>,
    /// Address of the query service, where it is not at --server.
    #[arg(long, global = true, value_name = "URL")]
    pub query_server: Option<String>,
}

/// A client of each service.
#[derive(Clone)]
pub struct Clients {
    pub member: MemberServiceClient<Channel>,
    pub ordering: OrderingServiceClient<Channel>,
    pub query: QueryServiceClient<Channel>,
    pub settlement: SettlementServiceClient<Channel>,
    pub admin: AdminServiceClient<Channel>,
}

impl Clients {
    pub fn of(addresses: &Addresses) -> Result<Self, Failure> {
        let url = |address: &std::net::SocketAddr| format!("http://{address}");
        Self::connect(
            &url(&addresses.member),
            &url(&addresses.ordering),
            &url(&addresses.query),
        )
    }

    pub fn connect(member: &str, ordering: &str, query: &str) -> Result<Self, Failure> {
        let channel = |url: &str| {
            runtime::channel::connect_lazy(url)
                .map_err(|error| Failure::new(ExitCode::Usage, error))
        };
        let query = channel(query)?;
        Ok(Self {
            member: MemberServiceClient::new(channel(member)?),
            ordering: OrderingServiceClient::new(channel(ordering)?),
            query: QueryServiceClient::new(query.clone()),
            settlement: SettlementServiceClient::new(query.clone()),
            admin: AdminServiceClient::new(query),
        })
    }
}

impl Clients {
    /// All rows of a day's lists, of which an answer held the first.
    pub async fn all_rows(
        &self,
        store: &str,
        date: &str,
        at_least: Vec<String>,
        first: DayLists,
    ) -> Result<DayLists, Failure> {
        if !first.more {
            return Ok(first);
        }
        let mut all = DayLists::default();
        for list in [DayList::Items, DayList::Categories, DayList::Discounts] {
            let mut request = ListDayRowsRequest {
                store_id: store.to_owned(),
                business_date: date.to_owned(),
                list: list.into(),
                page_size: ROWS_A_PAGE,
                page_token: String::new(),
                at_least: at_least.clone(),
            };
            loop {
                let mut client = self.settlement.clone();
                let answer = client.list_day_rows(call(request.clone())).await?;
                let answer = answer.into_inner();
                let rows = answer.rows.unwrap_or_default();
                all.items.extend(rows.items);
                all.categories.extend(rows.categories);
                all.discounts.extend(rows.discounts);
                if answer.next_page_token.is_empty() {
                    break;
                }
                request.page_token = answer.next_page_token;
            }
        }
        Ok(all)
    }
}

impl Clients {
    /// What is due for a draft, as ordering prices it now.
    pub async fn amount_due(&self, draft: OrderDraft) -> Result<Money, Status> {
        let request = QuoteOrderRequest { draft: Some(draft) };
        let quote = self.ordering.clone().quote_order(call(request)).await?;
        let priced = quote.into_inner().priced.unwrap_or_default();
        Ok(priced.amount_due.unwrap_or_default())
    }
}

/// The id that was given for a command, or a new one.
pub fn new_id(given: Option<String>) -> String {
    given.unwrap_or_else(|| Uuid::now_v7().to_string())
}

/// The clock of this machine, as a till's.
pub fn client_time() -> Option<prost_types::Timestamp> {
    Some(timestamp_to_proto(Clock::system().now()))
}

/// A call with the command line's deadline and a trace of its own.
pub fn call<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_DEADLINE);
    TraceContext::new_trace().inject(&mut request);
    request
}

impl Target {
    /// The URLs of member, ordering and query.
    pub fn urls(&self) -> Result<[String; 3], Failure> {
        let server = self.server.as_deref().unwrap_or(DEFAULT_SERVER);
        let wrong = || {
            Failure::new(
                ExitCode::Usage,
                format!("--server {server:?} is not an address like http://host:7400"),
            )
        };
        let uri: Uri = server.parse().map_err(|_| wrong())?;
        let (Some(host), Some(port)) = (uri.host(), uri.port_u16()) else {
            return Err(wrong());
        };
        let scheme = uri.scheme_str().unwrap_or("http");
        let at = |own: &Option<String>, offset: u16| -> Result<String, Failure> {
            match own {
                Some(url) => Ok(url.clone()),
                None => Ok(format!(
                    "{scheme}://{host}:{}",
                    port.checked_add(offset).ok_or_else(wrong)?
                )),
            }
        };
        Ok([
            at(&self.member_server, 1)?,
            at(&self.ordering_server, 2)?,
            at(&self.query_server, 3)?,
        ])
    }

    /// Runs a command against the system, opening and closing the data directory around it if there is one.
    pub async fn with<F, O, T>(&self, command: F) -> Result<T, Failure>
    where
        F: FnOnce(Clients) -> O,
        O: Future<Output = Result<T, Failure>>,
    {
        let Some(path) = &self.data else {
            let [member, ordering, query] = self.urls()?;
            return command(Clients::connect(&member, &ordering, &query)?).await;
        };
        let system = System::start(Plan::embedded(DataDir::hold_existing(path)?)?).await?;
        if let Some(detail) = &system.log_changed {
            let message = format!("LOG_CHANGED: {detail}\n{}", Reason::LogChanged.meaning());
            system.stop(STOP_GRACE).await?;
            return Err(Failure::new(ExitCode::Refused, message));
        }
        let outcome = command(Clients::of(&system.addresses)?).await;
        system.stop(STOP_GRACE).await?;
        outcome
    }
}

/// A store's clock, for showing instants to people.
pub struct StoreZone {
    /// IANA name.
    pub name: String,
    pub zone: TimeZone,
}

impl Clients {
    /// The clock of a store that the read model knows; UTC, and named so, of any other.
    pub async fn zone(&self, store: &str) -> Result<StoreZone, Failure> {
        let stores = whole(None, |page_token| {
            let mut query = self.query.clone();
            let request = ListStoresRequest {
                page_size: PAGE_SIZE,
                page_token,
            };
            async move { query.list_stores(call(request)).await }
        })
        .await?;
        let known = stores
            .stores
            .into_iter()
            .find(|summary| summary.store_id == store)
            .and_then(|summary| {
                let zone = TimeZone::get(&summary.time_zone).ok()?;
                Some(StoreZone {
                    name: summary.time_zone,
                    zone,
                })
            });
        Ok(known.unwrap_or_else(|| StoreZone {
            name: "UTC".to_owned(),
            zone: TimeZone::UTC,
        }))
    }
}
