//! What ordering and query-api say over HTTP is what they say over gRPC.

mod both;
mod calls;
mod limits;
mod reference;
mod web;

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use contract::api::ordering::{self as api, PlaceOrderResponse};
use contract::timestamp_to_proto;
use doppio::clients::{Clients, call};
use doppio::data_dir::DataDir;
use doppio::exit::Failure;
use doppio::system::{Plan, System};
use member::Database;
use runtime::Clock;
use runtime::config::Settings;
use tempfile::TempDir;

use crate::shop::{card, line};

const STORE: &str = "gangnam";
/// The page that may send commands to ordering.
const PAGE: &str = "http://pages.example:7403";

fn plain(failure: Failure) -> anyhow::Error {
    failure.error
}

/// All services, asked over HTTP.
struct Stand {
    system: System,
    clients: Clients,
    ordering: SocketAddr,
    query: SocketAddr,
    _directory: TempDir,
}

impl Stand {
    async fn embedded() -> Result<Self> {
        Self::on(Ok).await
    }

    /// `engines`: puts others in the place of the embedded ones.
    async fn on(engines: impl FnOnce(Plan) -> Result<Plan>) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let data = DataDir::hold(&directory.path().join("data")).map_err(plain)?;
        let page = Some(PAGE.to_owned());
        let plan = Plan {
            settings: Settings::load(None, &[("ordering.page_origin", page)]),
            ..Plan::embedded(data).map_err(plain)?
        };
        let system = System::start(engines(plan)?).await.map_err(plain)?;
        Ok(Self {
            clients: Clients::of(&system.addresses).map_err(plain)?,
            ordering: system.addresses.ordering,
            query: system.addresses.query,
            system,
            _directory: directory,
        })
    }

    /// An americano by card, placed over gRPC.
    async fn sell(&self) -> Result<PlaceOrderResponse> {
        let request = api::PlaceOrderRequest {
            client_time: Some(timestamp_to_proto(Clock::system().now())),
            ..crate::shop::request(
                STORE,
                vec![line("americano", 1)],
                vec![card(4_500)],
                Clock::system().now(),
            )
        };
        let mut ordering = self.clients.ordering.clone();
        Ok(ordering.place_order(call(request)).await?.into_inner())
    }
}

/// The text at a path such as "order.businessDate".
fn text(value: &serde_json::Value, path: &str) -> Result<String> {
    let found = path.split('.').fold(value, |value, name| &value[name]);
    let text = found
        .as_str()
        .with_context(|| format!("{path} in {value}"))?;
    Ok(text.to_owned())
}

fn member_database(url: &str) -> Result<Database> {
    Ok(Database::parse(url)?)
}
