//! A chain whose every store sells alike, with all services on embedded engines and a clock that the test moves.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use contract::api::member::{Member, RegisterMemberRequest, Tier};
use contract::api::ordering::ordering_service_client::OrderingServiceClient;
use contract::api::ordering::{self as api, PlaceOrderRequest, PlaceOrderResponse};
use contract::api::types::{Money, TenderKind};
use contract::timestamp_to_proto;
use doppio::clients::{Clients, call};
use doppio::data_dir::DataDir;
use doppio::exit::Failure;
use doppio::system::{Plan, System};
use event_log::EventLog;
use event_log::sqlite::SqliteLog;
use jiff::{SignedDuration, Timestamp};
use ordering::catalog::{self, CatalogSource};
use ordering::ledger::CommandIndex;
use runtime::config::Settings;
use runtime::{Clock, Shutdown};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::transport::Channel;
use uuid::Uuid;

/// Where nobody listens.
pub const NOWHERE: &str = "http://127.0.0.1:1";

const CARD_KEYS: &str = "test:ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

const MENU: &str = r#"
[[tax_classes]]
id = "std"
kind = "standard"
rates = [{ from = "1977-07-01", rate_bp = 1000 }]
[[tax_classes]]
id = "young"
kind = "standard"
rates = [{ from = "YESTERDAY", rate_bp = 1000 }]
[[menus]]
id = "cafe"
currency = "KRW"
categories = [{ id = "coffee", name = { en = "Coffee" } }]
options = [{ id = "shot", name = { en = "Shot" }, price_delta = 500, max_quantity = 4 }, WORDY_OPTIONS]
items = [
    { sku = "americano", name = { en = "Americano" }, category = "coffee", price = 4500, options = ["shot"], tax = "std" },
    { sku = "candy", name = { en = "Candy" }, category = "coffee", price = 333, tax = "std" },
    { sku = "cake", name = { en = "Cake" }, category = "coffee", price = 6500, tax = "std", sold_out = true },
    { sku = "novelty", name = { en = "Novelty" }, category = "coffee", price = 1000, tax = "young" },
    { sku = "wordy", name = { en = "Wordy" }, category = "coffee", price = 1000, options = [WORDY_IDS], tax = "std" },
]
promotions = [
    { id = "members", name = { en = "Members" }, kind = "line", percent_bp = 1000, items = ["americano"], members_only = true },
    { id = "free", name = { en = "Free" }, kind = "coupon", percent_bp = 10000 },
]
"#;

/// The catalog of these stores. "novelty" is taxed since yesterday only; "wordy" has twenty options with the longest of names.
pub fn catalog(stores: &[String]) -> String {
    let yesterday = (Clock::system().now() - SignedDuration::from_hours(24)).to_string();
    let wordy = 0..20;
    let name = "w".repeat(200);
    let options = wordy.clone().map(|index| {
        format!(r#"{{ id = "w{index}", name = {{ en = "{name}" }}, price_delta = 0, max_quantity = 1 }}"#)
    });
    let ids = wordy.map(|index| format!(r#""w{index}""#));
    let menu = MENU
        .replace("YESTERDAY", &yesterday[..10])
        .replace("WORDY_OPTIONS", &options.collect::<Vec<_>>().join(", "))
        .replace("WORDY_IDS", &ids.collect::<Vec<_>>().join(", "));
    let stores = stores.iter().map(|id| {
        format!(
            "[[stores]]\nid = \"{id}\"\nname = {{ en = \"Store\" }}\nmenu = \"cafe\"\n\
             time_zone = \"Asia/Seoul\"\ncurrency = \"KRW\"\ndiscount_step = 10\n"
        )
    });
    menu + &stores.collect::<String>()
}

fn plain(failure: Failure) -> anyhow::Error {
    failure.error
}

/// All services of a chain.
pub struct Shop {
    pub system: System,
    pub clients: Clients,
    /// Stands still at ten in the morning three days ago, until it is moved.
    pub clock: Clock,
    _directory: TempDir,
}

impl Shop {
    pub async fn open(stores: &[String]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("catalog.toml");
        std::fs::write(&path, catalog(stores))?;
        let clock = Clock::manual(morning()?);
        let data = DataDir::hold(&directory.path().join("data")).map_err(plain)?;
        let plan = Plan {
            catalog: Some(path),
            clock: clock.clone(),
            settings: Settings::load(
                None,
                &[("ordering.member_deadline_ms", Some("2000".into()))],
            ),
            ..Plan::embedded(data).map_err(plain)?
        };
        let system = System::start(plan).await.map_err(plain)?;
        Ok(Self {
            clients: Clients::of(&system.addresses).map_err(plain)?,
            system,
            clock,
            _directory: directory,
        })
    }

    /// A request with an id of its own, made now by the till's clock.
    pub fn request(
        &self,
        store: &str,
        lines: Vec<api::DraftLine>,
        tenders: Vec<api::Tender>,
    ) -> PlaceOrderRequest {
        request(store, lines, tenders, self.clock.now())
    }

    pub async fn place(&self, request: PlaceOrderRequest) -> Result<PlaceOrderResponse> {
        let mut ordering = self.clients.ordering.clone();
        Ok(ordering.place_order(call(request)).await?.into_inner())
    }

    /// Sells an americano by card.
    pub async fn sell(&self, store: &str) -> Result<Sold> {
        let request = self.request(store, vec![line("americano", 1)], vec![card(4_500)]);
        Sold::of(self.place(request).await?)
    }

    pub async fn register(&self, phone: &str, cards: &[&str]) -> Result<Member> {
        let mut client = self.clients.member.clone();
        let answer = client
            .register_member(call(registration(phone, cards)))
            .await?;
        answer.into_inner().member.context("a member")
    }

    pub fn now(&self) -> Option<prost_types::Timestamp> {
        Some(timestamp_to_proto(self.clock.now()))
    }
}

fn morning() -> Result<Timestamp> {
    let three_days_ago = Clock::system().now() - SignedDuration::from_hours(72);
    let local = three_days_ago.in_tz("Asia/Seoul")?;
    Ok(local
        .with()
        .hour(10)
        .minute(0)
        .second(0)
        .build()?
        .timestamp())
}

/// An order that was placed.
pub struct Sold {
    pub order: api::Order,
    pub token: String,
}

impl Sold {
    pub fn of(answer: PlaceOrderResponse) -> Result<Self> {
        Ok(Self {
            order: answer.order.context("an order")?,
            token: answer.consistency_token,
        })
    }
}

/// An ordering service alone, on a log of the test's choice.
pub struct Lone {
    pub ordering: OrderingServiceClient<Channel>,
    pub clock: Clock,
    pub directory: TempDir,
    _shutdown: Shutdown,
}

impl Lone {
    /// On an embedded log of its own, in [`Self::directory`].
    pub async fn embedded(store: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let log = SqliteLog::create(&directory.path().join("log.db")).await?;
        Self::start(Arc::new(log), directory, store, settings).await
    }

    pub async fn on(log: Arc<dyn EventLog>, store: &str) -> Result<Self> {
        Self::start(log, tempfile::tempdir()?, store, &[]).await
    }

    /// `directory`: with the index, if there is one already.
    pub async fn start(
        log: Arc<dyn EventLog>,
        directory: TempDir,
        store: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let text = catalog(&[store.to_owned()]);
        Self::with_catalog(log, directory, &text, settings).await
    }

    pub async fn with_catalog(
        log: Arc<dyn EventLog>,
        directory: TempDir,
        text: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let own = [("ordering.member_url", NOWHERE), ("card_keys", CARD_KEYS)];
        let settings = [&own, settings].concat();
        let settings: Vec<(&str, Option<String>)> = settings
            .into_iter()
            .map(|(key, value)| (key, Some(value.to_owned())))
            .collect();
        let config = ordering::Config::from(&mut Settings::load(None, &settings))
            .context("the settings are legal")?;
        let index = CommandIndex::open(&directory.path().join("index.db")).await?;
        let catalog = CatalogSource::fixed(catalog::parse(text)?);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (shutdown, clock) = (Shutdown::new(), Clock::manual(morning()?));
        tokio::spawn(ordering::run(
            config,
            log,
            index,
            catalog,
            listener,
            shutdown.clone(),
            clock.clone(),
        ));
        Ok(Self {
            ordering: OrderingServiceClient::new(runtime::channel::connect_lazy(&url)?),
            clock,
            directory,
            _shutdown: shutdown,
        })
    }

    /// An americano by card.
    pub fn americano(&self, store: &str) -> PlaceOrderRequest {
        let lines = vec![line("americano", 1)];
        request(store, lines, vec![card(4_500)], self.clock.now())
    }

    pub async fn sell(&self, store: &str) -> Result<Sold> {
        let mut ordering = self.ordering.clone();
        Sold::of(
            ordering
                .place_order(call(self.americano(store)))
                .await?
                .into_inner(),
        )
    }
}

pub fn request(
    store: &str,
    lines: Vec<api::DraftLine>,
    tenders: Vec<api::Tender>,
    at: Timestamp,
) -> PlaceOrderRequest {
    let draft = api::OrderDraft {
        store_id: store.into(),
        terminal_id: "till-1".into(),
        lines,
        ..api::OrderDraft::default()
    };
    PlaceOrderRequest {
        order_id: new_id(),
        draft: Some(draft),
        tenders,
        client_time: Some(timestamp_to_proto(at)),
        ..PlaceOrderRequest::default()
    }
}

pub fn registration(phone: &str, cards: &[&str]) -> RegisterMemberRequest {
    RegisterMemberRequest {
        request_id: new_id(),
        display_name: "Kim Minseo".into(),
        phone_number: phone.into(),
        tier: Tier::Gold.into(),
        card_tokens: cards.iter().map(|card| (*card).to_owned()).collect(),
    }
}

pub fn new_id() -> String {
    Uuid::now_v7().to_string()
}

pub fn won(amount_minor: i64) -> Option<Money> {
    Some(Money {
        currency_code: "KRW".into(),
        amount_minor,
    })
}

pub fn line(sku: &str, quantity: i32) -> api::DraftLine {
    api::DraftLine {
        line_id: "l1".into(),
        sku: sku.into(),
        quantity,
        ..api::DraftLine::default()
    }
}

/// A line that a till has sold at a price of its own.
pub fn sold(sku: &str, unit_price: i64) -> api::DraftLine {
    api::DraftLine {
        till_unit_price: won(unit_price),
        ..line(sku, 1)
    }
}

pub fn card(amount: i64) -> api::Tender {
    tender("card", TenderKind::Card, amount)
}

pub fn cash(tendered: i64) -> api::Tender {
    tender("cash", TenderKind::Cash, tendered)
}

fn tender(id: &str, kind: TenderKind, tendered: i64) -> api::Tender {
    api::Tender {
        tender_id: id.into(),
        kind: kind.into(),
        tendered: won(tendered),
        ..api::Tender::default()
    }
}

/// How long something that takes a moment may take.
pub const PATIENCE: Duration = Duration::from_secs(20);
