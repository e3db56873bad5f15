//! `doppio import receipts`: the sales of every business date equal what anyone computes from the two CSV files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contract::api::query::{
    ExportSalesRequest, ExportSalesResponse, ExportTable, GetDailySalesRequest,
    GetDailySalesResponse,
};
use contract::api::types::{BusinessDayState, Money};
use contract::{ConsistencyToken, StoreId};
use doppio::clients::{Clients, call};
use doppio::data_dir::DataDir;
use doppio::system::{Plan, System};
use event_log::jetstream::JetStreamLog;
use event_log::{EventLog, LedgerName, LogLocation, Tip};
use integration_tests::services::{clients, doppio};
use integration_tests::{Engines, Nats, Postgres};
use jiff::ToSpan as _;
use jiff::civil::{Date, DateTime, date, time};
use serde_json::Value;

const STORE: &str = "bakery";
const STOP_GRACE: Duration = Duration::from_secs(10);
/// How long the projector may take for the whole history.
const PATIENCE: Duration = Duration::from_secs(60);

/// The two files, and what they come to.
struct History {
    receipts: PathBuf,
    prices: PathBuf,
    days: BTreeMap<Date, Day>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Day {
    orders: i64,
    gross: i64,
    vat: i64,
    units: BTreeMap<String, i64>,
}

impl History {
    /// Computes the sales of each business date without anything of Doppio's.
    fn read(receipts: PathBuf, prices: PathBuf) -> Result<Self> {
        let mut price_list = BTreeMap::new();
        for line in std::fs::read_to_string(&prices)?.lines().skip(1) {
            let [item, minor, _, _, percent] = fields(line)?;
            price_list.insert(item, (minor.parse::<i64>()?, basis_points(&percent)?));
        }
        let mut units: BTreeMap<(DateTime, u64), BTreeMap<String, i64>> = BTreeMap::new();
        for line in std::fs::read_to_string(&receipts)?.lines().skip(1) {
            let [receipt, sold_at, item] = fields(line)?;
            *units
                .entry((sold_at.parse()?, receipt.parse()?))
                .or_default()
                .entry(item)
                .or_default() += 1;
        }
        let mut days = BTreeMap::<Date, Day>::new();
        for ((sold_at, receipt), items) in &units {
            // No clock change is between 04:00 and midnight, so the wall clock alone says which day it was.
            let day = days
                .entry(sold_at.checked_sub(4.hours())?.date())
                .or_default();
            let mut net_by_rate = BTreeMap::<i64, i64>::new();
            for (item, units) in items {
                let (price, rate) = price_list
                    .get(item)
                    .with_context(|| format!("receipt {receipt}: {item} has no price"))?;
                *net_by_rate.entry(*rate).or_default() += price * units;
                *day.units.entry(item.clone()).or_default() += units;
            }
            day.orders += 1;
            day.gross += net_by_rate.values().sum::<i64>();
            // Half up, of each receipt and rate.
            day.vat += net_by_rate
                .iter()
                .map(|(rate, net)| (2 * net * rate + 10_000 + rate) / (2 * (10_000 + rate)))
                .sum::<i64>();
        }
        Ok(Self {
            receipts,
            prices,
            days,
        })
    }

    /// The real one, where it is.
    fn real() -> Result<Option<Self>> {
        let directory = std::env::var_os("DOPPIO_SHARED_DATA").map(PathBuf::from);
        let directory = directory
            .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
        let (receipts, prices) = (
            directory.join("bakery-receipts.csv"),
            directory.join("bakery-prices.csv"),
        );
        if receipts.is_file() && prices.is_file() {
            Self::read(receipts, prices).map(Some)
        } else {
            Ok(None)
        }
    }

    /// A winter in the same form, made the same way each time: both clock changes, nights past midnight, days without trade, a day with one
    /// receipt, an article without a price.
    fn generated(directory: &Path) -> Result<Self> {
        let articles = [
            "Bread,250,GBP,food,0",
            "Coffee,275,GBP,drink,20",
            "Tea,199,GBP,drink,20",
            "Scone,185,GBP,food,5",
        ];
        let more = [
            "Jam,349,GBP,goods,12.5",
            "Farm House,340,GBP,food,0",
            "Tap water,0,GBP,drink,20",
            "Alfajores,177,GBP,food,20",
        ];
        let articles = [articles, more].concat();
        let mut random = 7_u64;
        let mut roll = |sides: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % sides
        };
        let (mut number, mut receipts) = (0, "receipt,sold_at,item\n".to_owned());
        let mut sell = |at: DateTime, units: u64, roll: &mut dyn FnMut(u64) -> u64| -> Result<()> {
            number += 1;
            for _ in 0..=units {
                let article = articles[usize::try_from(roll(articles.len() as u64))?];
                let name = article.split(',').next().unwrap_or_default();
                writeln!(
                    receipts,
                    "{number},{},{name}",
                    at.strftime("%Y-%m-%dT%H:%M")
                )?;
            }
            Ok(())
        };
        let mut day = date(2016, 10, 27);
        while day <= date(2017, 3, 28) {
            let next = day.tomorrow()?;
            // Christmas; and now and then a single receipt.
            let busy = match roll(9) {
                _ if (day.month(), day.day()) == (12, 25) => 0,
                0 => 1,
                _ => 3 + roll(9),
            };
            let mut minutes: Vec<i64> = (0..busy)
                .map(|_| 8 * 60 + i64::try_from(roll(10 * 60)).unwrap_or_default())
                .collect();
            minutes.sort_unstable();
            for minute in minutes {
                sell(
                    day.at(0, 0, 0, 0).checked_add(minute.minutes())?,
                    roll(4),
                    &mut roll,
                )?;
            }
            // A late evening, and the night in which a clock changes: up to the last minute of its business day.
            let changes = [date(2016, 10, 30), date(2017, 3, 26)].contains(&next);
            if changes || day == date(2016, 12, 31) {
                for local in [
                    time(0, 10, 0, 0),
                    time(0, 59, 0, 0),
                    time(2, 5, 0, 0),
                    time(3, 59, 0, 0),
                    time(4, 0, 0, 0),
                ] {
                    sell(next.to_datetime(local), roll(4), &mut roll)?;
                }
            }
            day = next;
        }
        let (receipts_path, prices_path) =
            (directory.join("receipts.csv"), directory.join("prices.csv"));
        std::fs::write(&receipts_path, receipts)?;
        std::fs::write(
            &prices_path,
            format!(
                "item,price_minor,currency,category,vat_percent\n{}\n",
                articles.join("\n")
            ),
        )?;
        Self::read(receipts_path, prices_path)
    }

    fn orders(&self) -> i64 {
        self.days.values().map(|day| day.orders).sum()
    }

    /// Imports through the program itself; returns what it says it did.
    async fn import(&self, to: [&str; 2]) -> Result<Value> {
        let (receipts, prices) = (
            self.receipts.to_string_lossy(),
            self.prices.to_string_lossy(),
        );
        let command = [
            "import",
            "receipts",
            &receipts,
            "--prices",
            &prices,
            "--store",
            STORE,
            "--time-zone",
            "Europe/London",
            "--json",
        ];
        let output = doppio(&[&command[..], &to].concat()).await?;
        let [said, complaints] = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        ensure!(
            output.status.success(),
            "{}: {said}{complaints}",
            output.status
        );
        serde_json::from_str(&said).with_context(|| format!("not one JSON document: {said}"))
    }

    async fn imports_once(&self, to: [&str; 2]) -> Result<()> {
        let first = self.import(to).await?;
        let (receipts, days) = (Value::from(self.orders()), Value::from(self.days.len()));
        ensure!(
            first["imported"] == receipts
                && first["there_already"] == 0
                && first["days_closed"] == days,
            "{first}"
        );
        Ok(())
    }

    async fn changes_nothing_again(&self, to: [&str; 2]) -> Result<()> {
        let again = self.import(to).await?;
        ensure!(
            again["imported"] == 0
                && again["there_already"] == self.orders()
                && again["days_closed"] == 0,
            "{again}"
        );
        Ok(())
    }

    /// Every business date as the query service answers it, and those around them.
    async fn equals_the_sales(&self, clients: &Clients, token: &ConsistencyToken) -> Result<()> {
        let (first, last) = self
            .days
            .keys()
            .next()
            .zip(self.days.keys().last())
            .context("an empty history")?;
        let (mut date, end) = (first.yesterday()?, last.tomorrow()?);
        let mut z_number = 0;
        while date <= end {
            let mut request = call(GetDailySalesRequest {
                store_id: STORE.into(),
                business_date: date.to_string(),
                at_least: vec![token.to_string()],
            });
            request.set_timeout(PATIENCE);
            let sales = clients
                .query
                .clone()
                .get_daily_sales(request)
                .await?
                .into_inner();
            match self.days.get(&date) {
                Some(day) => {
                    z_number += 1;
                    let found = day_of(&sales)?;
                    ensure!(
                        found == *day,
                        "{date}: the files come to {day:?}, the sales to {found:?}"
                    );
                    ensure!(
                        sales.state() == BusinessDayState::Closed,
                        "{date} is {:?}",
                        sales.state()
                    );
                    ensure!(
                        sales.z_number == z_number,
                        "{date}: Z {} where {z_number} is due",
                        sales.z_number
                    );
                    ensure!(
                        sales.net == sales.gross && sales.differences.is_empty(),
                        "{date}: {sales:?}"
                    );
                }
                None => {
                    ensure!(
                        sales.state() == BusinessDayState::NoTrade
                            && sales.orders == 0
                            && sales.z_number == 0,
                        "{date}: {sales:?}"
                    );
                }
            }
            date = date.tomorrow()?;
        }
        Ok(())
    }

    /// All tables, many pages each, in their order and without a gap or repeat.
    async fn equals_the_exports(&self, clients: &Clients, token: &ConsistencyToken) -> Result<()> {
        let export = async |table: ExportTable| -> Result<Vec<ExportSalesResponse>> {
            let request = ExportSalesRequest {
                table: table.into(),
                at_least: vec![token.to_string()],
                ..ExportSalesRequest::default()
            };
            let mut stream = clients
                .settlement
                .clone()
                .export_sales(request)
                .await?
                .into_inner();
            let mut messages = Vec::new();
            while let Some(message) = stream.message().await? {
                messages.push(message);
            }
            let freshness = messages
                .first()
                .and_then(|first| first.freshness.clone())
                .context("no freshness")?;
            ensure!(
                freshness.consistency_token == token.to_string(),
                "{table:?}: {freshness:?}"
            );
            Ok(messages)
        };
        let orders: Vec<_> = export(ExportTable::Orders)
            .await?
            .into_iter()
            .flat_map(|message| message.orders)
            .collect();
        let documents: Vec<_> = orders.iter().map(|order| order.document_number).collect();
        ensure!(
            documents == (1..=self.orders()).collect::<Vec<_>>(),
            "{} orders, {} due",
            orders.len(),
            self.orders()
        );
        let lines: Vec<_> = export(ExportTable::OrderLines)
            .await?
            .into_iter()
            .flat_map(|message| message.order_lines)
            .collect();
        let tenders: Vec<_> = export(ExportTable::Tenders)
            .await?
            .into_iter()
            .flat_map(|message| message.tenders)
            .collect();
        let reports: Vec<_> = export(ExportTable::ZReports)
            .await?
            .into_iter()
            .flat_map(|message| message.z_reports)
            .collect();
        let days: Vec<_> = self.days.keys().map(ToString::to_string).collect();
        ensure!(
            reports.iter().map(|z| &z.business_date).eq(&days)
                && reports
                    .iter()
                    .zip(1..)
                    .all(|(z, number)| z.z_number == number)
        );
        for ((date, day), z) in self.days.iter().zip(&reports) {
            let date = date.to_string();
            let of_day: Vec<_> = orders
                .iter()
                .filter(|order| order.business_date == date)
                .collect();
            let (net, vat) = of_day.iter().fold((0, 0), |(net, vat), order| {
                (net + order.net, vat + order.vat)
            });
            ensure!(
                (of_day.len(), net, vat) == (usize::try_from(day.orders)?, day.gross, day.vat),
                "{date}: {net} {vat}, not {day:?}"
            );
            ensure!(
                (z.sales_count, z.turnover_net, z.turnover_vat) == (day.orders, day.gross, day.vat),
                "{z:?}"
            );
            let of_lines = lines.iter().filter(|line| line.business_date == date);
            let (units, vat) = of_lines.fold((0, 0), |(units, vat), line| {
                (units + line.quantity, vat + line.vat)
            });
            ensure!(
                (units, vat) == (day.units.values().sum::<i64>(), day.vat),
                "{date}: {units} units, {vat} of VAT in lines"
            );
            let taken: i64 = tenders
                .iter()
                .filter(|tender| tender.business_date == date)
                .map(|tender| tender.taken)
                .sum();
            ensure!(taken == day.gross, "{date}: {taken} was taken");
        }
        ensure!(
            export(ExportTable::Refunds)
                .await?
                .iter()
                .all(|message| message.refunds.is_empty())
        );
        Ok(())
    }
}

fn fields<const N: usize>(line: &str) -> Result<[String; N]> {
    let fields: Vec<String> = line.split(',').map(str::to_owned).collect();
    fields
        .try_into()
        .map_err(|fields| anyhow::anyhow!("not {N} fields: {fields:?}"))
}

/// `12.5` percent are 1,250 basis points.
fn basis_points(percent: &str) -> Result<i64> {
    let (whole, rest) = percent.split_once('.').unwrap_or((percent, ""));
    Ok(format!("{whole}{rest:0<2}").parse()?)
}

fn day_of(sales: &GetDailySalesResponse) -> Result<Day> {
    let minor = |money: &Option<Money>| {
        money
            .as_ref()
            .filter(|money| money.currency_code == "GBP")
            .map(|money| money.amount_minor)
    };
    let mut units = BTreeMap::new();
    for item in &sales.items {
        let name = item
            .name
            .as_ref()
            .and_then(|name| name.text.get("en"))
            .context("an item without a name")?;
        ensure!(
            units.insert(name.clone(), item.units).is_none(),
            "{name} is there twice"
        );
    }
    Ok(Day {
        orders: sales.orders,
        gross: minor(&sales.gross).context("no gross in GBP")?,
        vat: minor(&sales.vat).context("no VAT in GBP")?,
        units,
    })
}

async fn tip(log: &dyn EventLog) -> Result<Tip> {
    log.tip(&LedgerName::new(STORE)?)
        .await?
        .context("the store has no ledger")
}

fn token(log: &dyn EventLog, tip: &Tip) -> Result<ConsistencyToken> {
    let epoch = log.epoch();
    Ok(ConsistencyToken {
        log_id: epoch.log_id,
        epoch: epoch.epoch,
        store: StoreId::new(STORE)?,
        revision: tip.chain.revision.0,
    })
}

async fn embedded(history: &History) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let to = ["--data", &data.to_string_lossy()];
    history.imports_once(to).await?;
    let first = tip(&*LogLocation::sqlite(&data.join("log.db")).open().await?).await?;
    history.changes_nothing_again(to).await?;

    let held = DataDir::hold(&data).map_err(|failure| failure.error)?;
    let plan = Plan::embedded(held).map_err(|failure| failure.error)?;
    let system = System::start(plan).await.map_err(|failure| failure.error)?;
    let last = tip(&*system.log).await?;
    ensure!(
        last == first,
        "the second import appended: {first:?} became {last:?}"
    );
    let clients = Clients::of(&system.addresses).map_err(|failure| failure.error)?;
    let token = token(&*system.log, &last)?;
    history.equals_the_sales(&clients, &token).await?;
    history.equals_the_exports(&clients, &token).await?;
    system
        .stop(STOP_GRACE)
        .await
        .map_err(|failure| failure.error)
}

async fn on_servers(history: &History) -> Result<()> {
    let nats = Nats::single().await?;
    let database = Postgres::shared().await?.fresh_database().await?;
    let log = JetStreamLog::init(&nats.config()).await?;
    let engines = Engines::new(&nats, &database.url)?;
    // The import works without member and ordering: nobody else writes to this store.
    let projector = engines.status_projector("projector").await?;
    let query = engines.query_api().await?;
    let clients = clients(&query, &query, &query)?;

    let to = ["--log", engines.log()];
    history.imports_once(to).await?;
    let first = tip(&log).await?;
    history.changes_nothing_again(to).await?;
    let last = tip(&log).await?;
    ensure!(
        last == first,
        "the second import appended: {first:?} became {last:?}"
    );
    let token = token(&log, &last)?;
    let compared = async {
        history.equals_the_sales(&clients, &token).await?;
        history.equals_the_exports(&clients, &token).await
    };
    compared
        .await
        .with_context(|| format!("{}{}", projector.tail(), query.tail()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_winter_equals_its_files_embedded() -> Result<()> {
    let directory = tempfile::tempdir()?;
    embedded(&History::generated(directory.path())?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_winter_equals_its_files_on_nats_and_postgresql() -> Result<()> {
    let directory = tempfile::tempdir()?;
    on_servers(&History::generated(directory.path())?).await
}

fn not_here() -> Result<()> {
    integration_tests::skip(
        "the bakery: its files are not here; DOPPIO_SHARED_DATA names their directory",
    )
}

/// The bakery's files are not part of the repository: where they are absent, the generated winter alone stands for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bakery_equals_its_files_embedded() -> Result<()> {
    match History::real()? {
        Some(history) => embedded(&history).await,
        None => not_here(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bakery_equals_its_files_on_nats_and_postgresql() -> Result<()> {
    match History::real()? {
        Some(history) => on_servers(&history).await,
        None => not_here(),
    }
}
