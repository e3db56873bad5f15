//! A day that sells five thousand different things with long names: sold, seen so far, closed, proven from the log alone, explained, printed.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contract::api::ordering as api;
use contract::api::query::{
    DayList, ExplainFigureRequest, GetDailySalesRequest, GetXReportRequest, GetZReportRequest,
    ListDayRowsRequest, get_z_report_request::Key,
};
use contract::api::types::{DayLists, DayReport, Money, ServiceMode, TenderKind};
use contract::{StoreId, timestamp_to_proto};
use doppio::audit;
use doppio::clients::{Clients, call};
use doppio::commands::till_print::print;
use doppio::data_dir::DataDir;
use doppio::exit::Failure;
use doppio::system::{Plan, System};
use event_log::LogLocation;
use integration_tests::{Nats, Postgres};
use member::Database;
use runtime::Clock;
use uuid::Uuid;

use super::settlement::minor;

const STOP_GRACE: Duration = Duration::from_secs(10);
const STORE: &str = "seoul";
const DATE: &str = "2026-03-02";
const ITEMS: usize = 5_000;
const LINES: usize = 100;
const PRICE: i64 = 1_500;
const LANGUAGES: [(&str, char); 4] = [("en", 'a'), ("ko", '라'), ("ja", 'ラ'), ("zh", '拿')];

fn plain(failure: Failure) -> anyhow::Error {
    failure.error
}

fn won(amount_minor: i64) -> Option<Money> {
    Some(Money {
        currency_code: "KRW".into(),
        amount_minor,
    })
}

fn sku(number: usize) -> String {
    format!("item-{number:04}")
}

/// A name of 64 characters.
fn name(letter: char, number: usize) -> String {
    let letters: String = std::iter::repeat_n(letter, 60).collect();
    format!("{letters}{number:04}")
}

fn catalog() -> String {
    let mut items = String::new();
    for number in 0..ITEMS {
        let names: Vec<String> = LANGUAGES
            .iter()
            .map(|(language, letter)| format!("{language} = \"{}\"", name(*letter, number)))
            .collect();
        // A category for every ten items.
        items += &format!(
            "{{ sku = \"{}\", name = {{ {} }}, category = \"shelf-{:03}\", price = {PRICE}, tax = \"std\" }},\n",
            sku(number),
            names.join(", "),
            number / 10
        );
    }
    let categories: Vec<String> = (0..ITEMS / 10)
        .map(|number| format!("{{ id = \"shelf-{number:03}\", name = {{ en = \"Shelf\" }} }}"))
        .collect();
    format!(
        r#"
[[tax_classes]]
id = "std"
kind = "standard"
rates = [{{ from = "1977-07-01", rate_bp = 1000 }}]
[[menus]]
id = "market"
currency = "KRW"
categories = [{}]
items = [
{items}]
[[stores]]
id = "seoul"
name = {{ en = "Seoul" }}
menu = "market"
time_zone = "Asia/Seoul"
cutoff = "04:00"
currency = "KRW"
"#,
        categories.join(", ")
    )
}

async fn sell(clients: &Clients, clock: &Clock, first: usize) -> Result<String> {
    let lines = (first..first + LINES).map(|number| api::DraftLine {
        line_id: sku(number),
        sku: sku(number),
        quantity: 1,
        ..api::DraftLine::default()
    });
    let draft = api::OrderDraft {
        store_id: STORE.into(),
        terminal_id: "till-1".into(),
        service_mode: ServiceMode::EatIn.into(),
        channel: contract::api::types::Channel::Counter.into(),
        lines: lines.collect(),
        ..api::OrderDraft::default()
    };
    let tender = api::Tender {
        tender_id: "cash".into(),
        kind: TenderKind::Cash.into(),
        tendered: won(PRICE * i64::try_from(LINES)?),
        ..api::Tender::default()
    };
    let request = api::PlaceOrderRequest {
        order_id: Uuid::now_v7().to_string(),
        draft: Some(draft),
        tenders: vec![tender],
        client_time: Some(timestamp_to_proto(clock.now())),
        ..api::PlaceOrderRequest::default()
    };
    let mut client = clients.ordering.clone();
    Ok(client
        .place_order(call(request))
        .await?
        .into_inner()
        .consistency_token)
}

/// The value, and the total of the facts.
async fn explain(clients: &Clients, figure: &str, at_least: &[String]) -> Result<(i64, i64)> {
    let request = ExplainFigureRequest {
        store_id: STORE.into(),
        business_date: DATE.into(),
        figure: figure.into(),
        at_least: at_least.to_vec(),
        ..ExplainFigureRequest::default()
    };
    let mut client = clients.settlement.clone();
    let answer = client.explain_figure(call(request)).await?.into_inner();
    ensure!(!answer.facts.is_empty(), "{figure} has no facts");
    Ok((answer.value, answer.facts_total))
}

/// What a report says of its lists, and the lists themselves.
async fn listed(
    clients: &Clients,
    report: &DayReport,
    first: DayLists,
    at_least: &[String],
) -> Result<DayLists> {
    let sold = i64::try_from(ITEMS)?;
    let items = report.items.clone().context("a digest")?;
    ensure!(
        (items.rows, items.count, minor(items.net.as_ref())) == (sold, sold, sold * PRICE),
        "{items:?}"
    );
    ensure!(
        report
            .categories
            .as_ref()
            .is_some_and(|list| list.rows == sold / 10)
    );
    ensure!(first.more && first.items.len() <= 1_000 && first.categories.len() == ITEMS / 10);
    let all = clients
        .all_rows(STORE, DATE, at_least.to_vec(), first)
        .await
        .map_err(plain)?;
    ensure!(all.items.len() == ITEMS && all.categories.len() == ITEMS / 10);
    for (number, item) in all.items.iter().enumerate() {
        let names = item.name.clone().unwrap_or_default().text;
        ensure!(item.sku == sku(number) && item.units == 1, "{item:?}");
        for (language, letter) in LANGUAGES {
            ensure!(
                names.get(language) == Some(&name(letter, number)),
                "{item:?}"
            );
        }
    }
    Ok(all)
}

async fn large_day(system: &System, clients: &Clients, clock: &Clock) -> Result<()> {
    let mut token = String::new();
    for order in 0..ITEMS / LINES {
        token = sell(clients, clock, order * LINES).await?;
    }
    let at_least = vec![token];
    let mut client = clients.settlement.clone();
    let request = GetXReportRequest {
        store_id: STORE.into(),
        at_least: at_least.clone(),
    };
    let answer = client.get_x_report(call(request)).await?.into_inner();
    let (x, lists) = answer.report.zip(answer.lists).context("an X report")?;
    let so_far = listed(clients, &x, lists, &at_least).await?;

    let request = api::CloseBusinessDayRequest {
        store_id: STORE.into(),
        business_date: DATE.into(),
        request_id: Uuid::now_v7().to_string(),
        client_time: Some(timestamp_to_proto(clock.now())),
        carry_over_all: true,
        ..api::CloseBusinessDayRequest::default()
    };
    let mut ordering = clients.ordering.clone();
    let closed = ordering.close_business_day(call(request.clone())).await?;
    let closed = closed.into_inner();
    let z = closed.z_report.context("a Z report")?;
    let again = ordering
        .close_business_day(call(request))
        .await?
        .into_inner();
    ensure!(again.replayed && again.z_report.as_ref() == Some(&z));
    let at_least = vec![closed.consistency_token];

    let request = GetZReportRequest {
        store_id: STORE.into(),
        key: Some(Key::ZNumber(1)),
        at_least: at_least.clone(),
    };
    let answer = client.get_z_report(call(request)).await?.into_inner();
    ensure!(answer.differences.is_empty(), "{:?}", answer.differences);
    ensure!(answer.report.as_ref() == Some(&z));
    let lists = answer.lists.context("lists")?;
    let all = listed(clients, &z, lists, &at_least).await?;
    ensure!(all == so_far && z.items == x.items && z.categories == x.categories);

    let request = GetDailySalesRequest {
        store_id: STORE.into(),
        business_date: DATE.into(),
        at_least: at_least.clone(),
    };
    let mut query = clients.query.clone();
    let sales = query.get_daily_sales(call(request)).await?.into_inner();
    ensure!(sales.more_rows && sales.orders == 50, "{}", sales.orders);

    // A token of a page belongs to its list.
    let mut request = ListDayRowsRequest {
        store_id: STORE.into(),
        business_date: DATE.into(),
        list: DayList::Items.into(),
        page_size: 3,
        at_least: at_least.clone(),
        ..ListDayRowsRequest::default()
    };
    let page = client
        .list_day_rows(call(request.clone()))
        .await?
        .into_inner();
    ensure!(page.rows.is_some_and(|rows| rows.items.len() == 3));
    request.page_token = page.next_page_token;
    request.list = DayList::Categories.into();
    ensure!(client.list_day_rows(call(request)).await.is_err());

    for (figure, value) in [
        ("items.item-4999.net", PRICE),
        ("items.item-0000.units", 1),
        ("categories.shelf-042.gross", PRICE * 10),
        ("items.rows", 5_000),
        ("items.net", PRICE * 5_000),
        ("categories.rows", 500),
    ] {
        let explained = explain(clients, figure, &at_least).await?;
        ensure!(explained == (value, value), "{figure}: {explained:?}");
    }
    let (recorded, projected) = explain(clients, "items.digest", &at_least).await?;
    ensure!(recorded == projected && recorded != 0);

    let paper = print(&z, &all, &[]);
    // A name that is wider than the paper is wrapped.
    let printed: String = paper.split_whitespace().collect();
    for number in [0, 2_500, ITEMS - 1] {
        let line = format!("{}x1", name('a', number));
        ensure!(printed.contains(&line), "{line} is not on the paper");
    }
    ensure!(paper.lines().count() > ITEMS + ITEMS / 10);

    // From the log alone.
    let store = StoreId::new(STORE)?;
    let audited = audit::ledger(&system.log, &store).await.map_err(plain)?;
    ensure!(
        audited.problems.is_empty() && audited.verified_reports == 1,
        "{:#?}",
        audited.problems
    );
    let compared = audited.compare(clients, &store, &at_least).await;
    let (differences, _) = compared.map_err(plain)?;
    ensure!(differences.is_empty(), "{differences:#?}");
    Ok(())
}

async fn on(plan: impl FnOnce(Plan) -> Result<Plan>) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("catalog.toml");
    std::fs::write(&path, catalog())?;
    let clock = Clock::manual("2026-03-02T10:00:00+09:00".parse()?);
    let embedded = Plan::embedded(DataDir::hold(&directory.path().join("data")).map_err(plain)?)
        .map_err(plain)?;
    let system = System::start(plan(Plan {
        catalog: Some(path),
        clock: clock.clone(),
        ..embedded
    })?)
    .await
    .map_err(plain)?;
    let clients = Clients::of(&system.addresses).map_err(plain)?;
    large_day(&system, &clients, &clock).await?;
    system.stop(STOP_GRACE).await.map_err(plain)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_of_five_thousand_items_on_embedded_engines() -> Result<()> {
    on(Ok).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_of_five_thousand_items_on_nats_and_postgresql() -> Result<()> {
    let nats = Nats::single().await?;
    let postgres = Postgres::shared().await?;
    let (read_model, members) = (
        postgres.fresh_database().await?.url,
        postgres.fresh_database().await?.url,
    );
    on(|plan| {
        let log = LogLocation::JetStream(nats.config());
        Ok(Plan {
            log,
            read_model,
            member_db: Database::parse(&members)?,
            init_log: true,
            ..plan
        })
    })
    .await
}
