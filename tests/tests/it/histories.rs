//! Random histories of a store, decided by the real ledger on the embedded log and judged by an auditor that shares no code with it.
//! A failure names its seed; `DOPPIO_TEST_SEED` runs one alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contract::api::query::{
    ExplainFigureRequest, GetSalesRequest, GetZReportRequest, ListZReportsRequest, SalesBasis,
    SalesRow, get_z_report_request::Key,
};
use contract::api::types::DayReport;
use contract::event::{CashMovementKind, Channel, Pricing, ServiceMode, TenderKind};
use contract::{ConsistencyToken, Money, OrderId, Reason, RequestId, Slug, StoreId};
use doppio::audit;
use doppio::clients::Clients;
use doppio::data_dir::DataDir;
use doppio::system::{Plan, System};
use event_log::EventLog;
use event_log::sqlite::SqliteLog;
use jiff::{SignedDuration, Timestamp};
use ordering::catalog::{self, DiscountValue, Store};
use ordering::domain::{
    Actor, CancelOrder, CarryOver, ChangeStatus, CloseBusinessDay, Command, CountDrawer, Draft,
    DraftLine, DraftOption, DraftTender, ManualClose, ManualDiscount, NewStatus, PlaceOrder,
    RecordCashMovement, RefundOrder, pricing,
};
use ordering::ledger::{Answer, CommandIndex, Ledger, Work};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use runtime::Clock;
use uuid::Uuid;

use super::settlement::{figures, minor};

const SEEDS: u64 = 12;
const STEPS: usize = 150;
/// London has both clock changes, and a cutoff inside the hour that one of them skips.
const CATALOG: &str = r#"
[[tax_classes]]
id = "std"
kind = "standard"
rates = [{ from = "2011-01-04", rate_bp = 2000 }]
[[tax_classes]]
id = "red"
kind = "reduced"
rates = [{ from = "2011-01-04", rate_bp = 500 }, { from = "2017-03-27", rate_bp = 1000 }]
[[tax_classes]]
id = "zero"
kind = "zero"
[[menus]]
id = "m"
currency = "GBP"
categories = [{ id = "drink", name = { en = "Drink" } }, { id = "food", name = { en = "Food" } }]
options = [{ id = "shot", name = { en = "Shot" }, price_delta = 55, max_quantity = 3 }, { id = "small", name = { en = "Small" }, price_delta = -35 }]
items = [
    { sku = "coffee", name = { en = "Coffee" }, category = "drink", price = 273, options = ["shot", "small"], tax = "std" },
    { sku = "tea", name = { en = "Tea" }, category = "drink", price = 199, options = ["small"], tax = { eat_in = "std", take_away = "red" } },
    { sku = "bread", name = { en = "Bread" }, category = "food", price = 321, tax = { eat_in = "std", take_away = "zero" } },
    { sku = "cake", name = { en = "Cake" }, category = "food", price = 487, tax = "red" },
]
promotions = [
    { id = "cake-deal", name = { en = "Cake" }, kind = "line", percent_bp = 1250, items = ["cake"] },
    { id = "big-order", name = { en = "Big" }, kind = "order", amount = 333, min_gross = 2000 },
    { id = "ten", name = { en = "Ten" }, kind = "coupon", percent_bp = 1000 },
    { id = "free", name = { en = "Free" }, kind = "coupon", percent_bp = 10000, categories = ["drink"] },
]
[[stores]]
id = "london"
name = { en = "London" }
menu = "m"
time_zone = "Europe/London"
cutoff = "01:30"
currency = "GBP"
"#;

struct History {
    seed: u64,
    random: StdRng,
    directory: tempfile::TempDir,
    log: Arc<SqliteLog>,
    /// Two instances that serve the same store.
    ledgers: Vec<Ledger>,
    clock: Clock,
    store: Arc<Store>,
    orders: Vec<(OrderId, Vec<(Slug, i32)>)>,
    /// Everything accepted, with its first answer.
    accepted: Vec<(Work, Answer)>,
    refused: BTreeMap<&'static str, usize>,
}

fn slug(text: &str) -> Result<Slug> {
    Ok(Slug::new(text)?)
}

async fn open(log: &Arc<SqliteLog>, index: &Path) -> Result<Ledger> {
    Ok(Ledger::open(
        log.clone(),
        CommandIndex::open(index).await?,
        StoreId::new("london")?,
    )
    .await?)
}

impl History {
    async fn begin(seed: u64) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let log = Arc::new(SqliteLog::create(&directory.path().join("log.db")).await?);
        let store = catalog::parse(CATALOG)?
            .stores
            .values()
            .next()
            .context("a store")?
            .clone();
        let ledgers = vec![
            open(&log, &directory.path().join("one.db")).await?,
            open(&log, &directory.path().join("two.db")).await?,
        ];
        let mut random = StdRng::seed_from_u64(seed);
        // A few days before a clock change, of which there are two.
        let start: Timestamp = if random.random_bool(0.5) {
            "2017-03-24T09:00:00Z"
        } else {
            "2016-10-28T09:00:00Z"
        }
        .parse()?;
        let (orders, accepted, refused) = (Vec::new(), Vec::new(), BTreeMap::new());
        Ok(Self {
            seed,
            random,
            directory,
            log,
            ledgers,
            clock: Clock::manual(start),
            store,
            orders,
            accepted,
            refused,
        })
    }

    fn id(&mut self) -> Uuid {
        // Of the history's own chance, so that a seed is the same history again.
        let millis = u64::try_from(self.clock.now().as_millisecond()).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &self.random.random()).into_uuid()
    }

    fn request(&mut self) -> RequestId {
        RequestId::from_uuid(self.id())
    }

    /// Any order, rather a late one.
    fn order(&mut self) -> Option<(OrderId, Vec<(Slug, i32)>)> {
        let from = if self.random.random_bool(0.6) {
            self.orders.len().saturating_sub(4)
        } else {
            0
        };
        self.orders[from..].choose(&mut self.random).cloned()
    }

    fn place(&mut self) -> Result<Command> {
        let order_id = OrderId::from_uuid(self.id());
        let count = self.random.random_range(1..=4);
        let mut lines = Vec::new();
        for index in 0..count {
            let sku = *["coffee", "tea", "bread", "cake"]
                .choose(&mut self.random)
                .context("an item")?;
            let mut options = Vec::new();
            if sku == "coffee" && self.random.random_bool(0.4) {
                options.push(DraftOption {
                    option_id: slug("shot")?,
                    quantity: self.random.random_range(1..=3),
                });
            }
            if matches!(sku, "coffee" | "tea") && self.random.random_bool(0.2) {
                options.push(DraftOption {
                    option_id: slug("small")?,
                    quantity: 1,
                });
            }
            let discounts = if self.random.random_bool(0.1) {
                vec![self.discount()?]
            } else {
                vec![]
            };
            let (service_mode, till_unit_price) = (None, None);
            let quantity = self.random.random_range(1..=7);
            lines.push(DraftLine {
                line_id: slug(&format!("l{index}"))?,
                sku: slug(sku)?,
                quantity,
                options,
                service_mode,
                discounts,
                till_unit_price,
                till_item: None,
            });
        }
        let promotion_codes = match self.random.random_range(0..10) {
            0 => vec![slug("ten")?],
            1 => vec![slug("free")?],
            2 => vec![slug("free")?, slug("ten")?],
            _ => vec![],
        };
        let draft = Draft {
            store_id: self.store.id.clone(),
            terminal_id: slug("till-1")?,
            terminal_seq: 0,
            staff_id: None,
            channel: Channel::Counter,
            service_mode: if self.random.random_bool(0.5) {
                ServiceMode::EatIn
            } else {
                ServiceMode::TakeAway
            },
            lines,
            order_discounts: if self.random.random_bool(0.1) {
                vec![self.discount()?]
            } else {
                vec![]
            },
            promotion_codes,
            member: None,
            pricing: Pricing::Server,
        };
        // What it costs is asked first, as a till does; the rate may change between asking and placing, and then it is refused.
        let due = pricing::price(&draft, &self.store, self.clock.now(), false)
            .map_or(0, |priced| priced.net.minor());
        let tenders = self.tenders(due)?;
        Ok(Command::PlaceOrder(Box::new(PlaceOrder {
            order_id,
            draft,
            tenders,
            expected_total: None,
            membership: None,
            quoted: None,
        })))
    }

    fn discount(&mut self) -> Result<ManualDiscount> {
        let value = if self.random.random_bool(0.5) {
            DiscountValue::Percent(self.random.random_range(1..=10_000))
        } else {
            DiscountValue::Fixed(Money::new(self.random.random_range(1..=900)))
        };
        Ok(ManualDiscount {
            discount_id: slug("goodwill")?,
            value,
            reason_code: slug("late")?,
            approver_id: slug("chief")?,
        })
    }

    fn tenders(&mut self, due: i64) -> Result<Vec<DraftTender>> {
        let tender = |id: &str, kind, tendered: i64, drawer: Option<&str>| -> Result<DraftTender> {
            Ok(DraftTender {
                tender_id: slug(id)?,
                kind,
                scheme: String::new(),
                amount: None,
                tendered: Some(Money::new(tendered)),
                change: None,
                external_reference: String::new(),
                drawer_id: drawer.map(slug).transpose()?,
            })
        };
        if due == 0 {
            return Ok(vec![]);
        }
        let drawer = if self.random.random_bool(0.3) {
            Some("second")
        } else {
            None
        };
        Ok(match self.random.random_range(0..4) {
            0 => vec![tender(
                "cash",
                TenderKind::Cash,
                due + self.random.random_range(0..500),
                drawer,
            )?],
            1 if due > 1 => {
                let card = self.random.random_range(1..due);
                vec![
                    tender("card", TenderKind::Card, card, None)?,
                    tender(
                        "cash",
                        TenderKind::Cash,
                        due - card + self.random.random_range(0..300),
                        drawer,
                    )?,
                ]
            }
            2 => vec![tender("mobile", TenderKind::Mobile, due, None)?],
            _ => vec![tender("card", TenderKind::Card, due, None)?],
        })
    }

    fn step(&mut self) -> Result<Option<Command>> {
        let reason = slug("whatever")?;
        let kind = self.random.random_range(0..100);
        Ok(match kind {
            0..=39 => Some(self.place()?),
            40..=59 => self.order().map(|(order_id, _)| {
                let to = *[NewStatus::Preparing, NewStatus::Ready, NewStatus::Completed]
                    .choose(&mut self.random)
                    .unwrap_or(&NewStatus::Preparing);
                Command::ChangeStatus(ChangeStatus {
                    order_id,
                    request_id: self.request(),
                    to,
                })
            }),
            60..=66 => self.order().map(|(order_id, _)| {
                Command::CancelOrder(CancelOrder {
                    order_id,
                    request_id: self.request(),
                    approver_id: Slug::new("chief")
                        .ok()
                        .filter(|_| self.random.random_bool(0.5)),
                    reason_code: reason,
                    tenders: vec![],
                })
            }),
            67..=82 => self.order().map(|(order_id, mut lines)| {
                lines.retain(|_| self.random.random_bool(0.6));
                for (_, units) in &mut lines {
                    *units = self.random.random_range(1..=*units);
                }
                Command::RefundOrder(RefundOrder {
                    order_id,
                    request_id: self.request(),
                    approver_id: Slug::new("chief")
                        .ok()
                        .filter(|_| self.random.random_bool(0.5)),
                    reason_code: reason,
                    lines,
                    tenders: vec![],
                })
            }),
            83..=89 => {
                let kind = *[
                    CashMovementKind::Float,
                    CashMovementKind::PaidIn,
                    CashMovementKind::PaidOut,
                ]
                .choose(&mut self.random)
                .context("a kind")?;
                let business_date = self
                    .store
                    .day_rule()
                    .context("a rule")?
                    .date_of(self.clock.now())?;
                Some(Command::RecordCashMovement(RecordCashMovement {
                    request_id: self.request(),
                    business_date,
                    drawer_id: slug(if self.random.random_bool(0.7) {
                        "main"
                    } else {
                        "second"
                    })?,
                    kind,
                    amount: Money::new(self.random.random_range(0..20_000)),
                    reason_code: reason,
                    approver_id: Some(slug("chief")?),
                }))
            }
            90..=94 => self.ledgers[0]
                .state()
                .day
                .as_ref()
                .map(|day| day.date)
                .map(|business_date| {
                    let counted = Money::new(self.random.random_range(0..50_000));
                    let counts = if self.random.random_bool(0.5) {
                        Slug::new("main")
                            .ok()
                            .map(|drawer| (drawer, counted))
                            .into_iter()
                            .collect()
                    } else {
                        vec![]
                    };
                    let carry_over = if self.random.random_bool(0.8) {
                        CarryOver::All
                    } else {
                        CarryOver::Named(vec![])
                    };
                    let manual = Some(ManualClose {
                        request_id: self.request(),
                        counts,
                        carry_over,
                    });
                    Command::CloseBusinessDay(CloseBusinessDay {
                        business_date,
                        manual,
                    })
                }),
            _ => match self.ledgers[0].state().last_closed {
                Some(business_date) => {
                    let (request_id, drawer_id) = (self.request(), slug("main")?);
                    Some(Command::CountDrawer(CountDrawer {
                        request_id,
                        business_date,
                        drawer_id,
                        counted: Money::new(777),
                    }))
                }
                None => None,
            },
        })
    }

    async fn carry_out(&mut self, command: Command) -> Result<()> {
        let actor = Actor {
            principal: "till",
            client_time: Some(self.clock.now()),
            ..Actor::default()
        };
        let work = Work::new(command, actor, self.store.clone());
        let index = usize::from(self.random.random_bool(0.3));
        let (mut verdicts, ended) = self.ledgers[index]
            .execute(std::slice::from_ref(&work), &self.clock)
            .await;
        ended?;
        match verdicts.remove(0) {
            Ok(answer) => {
                if let Command::PlaceOrder(place) = &work.command {
                    let lines = place
                        .draft
                        .lines
                        .iter()
                        .map(|line| (line.line_id.clone(), line.quantity))
                        .collect();
                    self.orders.push((place.order_id, lines));
                }
                ensure!(!answer.replayed, "a new command was taken for a repeat");
                self.accepted.push((work, answer));
            }
            Err(rejection) => {
                ensure!(
                    rejection.reason != Reason::Internal,
                    "refused as internal: {rejection}"
                );
                *self.refused.entry(rejection.reason.as_str()).or_default() += 1;
            }
        }
        Ok(())
    }

    /// A repeat of anything, at any time, from any instance: the first answer.
    async fn repeat(&mut self) -> Result<()> {
        let Some((work, first)) = self.accepted.choose(&mut self.random).cloned() else {
            return Ok(());
        };
        let index = usize::from(self.random.random_bool(0.5));
        let (mut verdicts, ended) = self.ledgers[index]
            .execute(std::slice::from_ref(&work), &self.clock)
            .await;
        ended?;
        let again = verdicts.remove(0)?;
        ensure!(
            again.replayed,
            "a repeat was recorded again: {:?}",
            work.command
        );
        ensure!(
            again.view(&work.store.id) == first.view(&work.store.id)
                && again.fact == first.fact
                && again.revision == first.revision,
            "a repeat was answered otherwise: {:?}",
            work.command
        );
        Ok(())
    }

    async fn run(&mut self) -> Result<()> {
        for step in 0..STEPS {
            let minutes = if self.random.random_bool(0.08) {
                self.random.random_range(60..1_200)
            } else {
                self.random.random_range(0..40)
            };
            self.clock.advance(SignedDuration::from_mins(minutes));
            match self.random.random_range(0..100) {
                0..=9 => self.repeat().await?,
                10..=12 => {
                    // A restart, with the index that was there or with none.
                    let index = if self.random.random_bool(0.5) {
                        "one.db".to_owned()
                    } else {
                        format!("new-{step}.db")
                    };
                    self.ledgers[0] = open(&self.log, &self.directory.path().join(index)).await?;
                }
                _ => {
                    if let Some(command) = self.step()? {
                        self.carry_out(command).await?;
                    }
                }
            }
        }
        for _ in 0..10 {
            self.repeat().await?;
        }
        // The last day is closed too.
        if let Some((date, end)) = self.ledgers[0]
            .state()
            .day
            .as_ref()
            .map(|day| (day.date, day.end))
        {
            self.clock.set(end.max(self.clock.now()));
            self.carry_out(Command::CloseBusinessDay(CloseBusinessDay {
                business_date: date,
                manual: None,
            }))
            .await?;
        }
        Ok(())
    }

    /// The auditor and the projection each recompute everything by themselves.
    async fn judge(self) -> Result<usize> {
        let data = tempfile::tempdir()?;
        let store = self.store.id.clone();
        let held = DataDir::hold(data.path()).map_err(|failure| failure.error)?;
        let log: Arc<dyn EventLog> = self.log.clone();
        let audited = audit::ledger(&log, &store)
            .await
            .map_err(|failure| failure.error)?;
        ensure!(audited.problems.is_empty(), "{:#?}", audited.problems);
        ensure!(
            audited.verified_reports > 0,
            "a history without a single close"
        );
        let mut plan = Plan::embedded(held).map_err(|failure| failure.error)?;
        plan.log = event_log::LogLocation::sqlite(&self.directory.path().join("log.db"));
        plan.init_log = false;
        let system = System::start(plan).await.map_err(|failure| failure.error)?;
        let clients = Clients::of(&system.addresses).map_err(|failure| failure.error)?;
        let epoch = log.epoch();
        let token = ConsistencyToken {
            log_id: epoch.log_id,
            epoch: epoch.epoch,
            store: store.clone(),
            revision: audited.records,
        };
        let (differences, _) = audited
            .compare(&clients, &store, &[token.to_string()])
            .await
            .map_err(|failure| failure.error)?;
        restated(&clients, &store, &token).await?;
        system
            .stop(Duration::from_secs(5))
            .await
            .map_err(|failure| failure.error)?;
        ensure!(differences.is_empty(), "{differences:#?}");
        Ok(audited.verified_reports)
    }
}

/// By day, and the total's net and VAT.
type Turnover = (Vec<(String, i64)>, i64, i64);

/// Over all days, what was turned over as closed is what was turned over as restated, and what the Zs say; and the figures of a Z are
/// explained by events that sum to them.
async fn restated(clients: &Clients, store: &StoreId, token: &ConsistencyToken) -> Result<()> {
    let mut client = clients.settlement.clone();
    let at_least = vec![token.to_string()];
    let mut reports = Vec::new();
    let mut request = ListZReportsRequest {
        store_id: store.to_string(),
        at_least: at_least.clone(),
        ..ListZReportsRequest::default()
    };
    loop {
        let page = client.list_z_reports(request.clone()).await?.into_inner();
        reports.extend(page.reports);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let net = |report: &DayReport| {
        minor(
            report
                .turnover
                .as_ref()
                .and_then(|block| block.net.as_ref()),
        )
    };
    let vat = |report: &DayReport| {
        minor(
            report
                .turnover
                .as_ref()
                .and_then(|block| block.vat.as_ref()),
        )
    };
    let (first, last) = reports.first().zip(reports.last()).context("a Z report")?;
    let sales = async |basis: SalesBasis| -> Result<Turnover> {
        let request = GetSalesRequest {
            store_ids: vec![store.to_string()],
            first_business_date: first.business_date.clone(),
            last_business_date: last.business_date.clone(),
            basis: basis.into(),
            at_least: at_least.clone(),
            ..GetSalesRequest::default()
        };
        let answer = clients
            .settlement
            .clone()
            .get_sales(request)
            .await?
            .into_inner();
        let of = |row: &SalesRow| {
            (
                minor(row.turnover_net.as_ref()),
                minor(row.turnover_vat.as_ref()),
            )
        };
        let total = answer.totals.first().map(of).unwrap_or_default();
        Ok((
            answer
                .rows
                .iter()
                .map(|row| (row.key.clone(), of(row).0))
                .collect(),
            total.0,
            total.1,
        ))
    };
    let (by_day, closed_net, closed_vat) = sales(SalesBasis::AsClosed).await?;
    let (restated_by_day, restated_net, restated_vat) = sales(SalesBasis::AsRestated).await?;
    let of_reports = (
        reports.iter().map(net).sum::<i64>(),
        reports.iter().map(vat).sum::<i64>(),
    );
    ensure!(
        of_reports == (closed_net, closed_vat) && of_reports == (restated_net, restated_vat),
        "{of_reports:?}, {closed_net}, {restated_net}"
    );
    ensure!(restated_by_day.iter().map(|(_, net)| net).sum::<i64>() == restated_net);
    for report in &reports {
        let day = by_day
            .iter()
            .find(|(date, _)| *date == report.business_date)
            .map_or(0, |(_, net)| *net);
        ensure!(
            day == net(report),
            "{}: {day}, not {}",
            report.business_date,
            net(report)
        );
    }
    for report in [&reports[reports.len() / 2], last] {
        let key = Key::ZNumber(report.z_number);
        let request = GetZReportRequest {
            store_id: store.to_string(),
            key: Some(key),
            at_least: at_least.clone(),
        };
        let lists = client.get_z_report(request).await?.into_inner().lists;
        for (figure, value) in figures(report, &lists.context("lists")?) {
            let request = ExplainFigureRequest {
                store_id: store.to_string(),
                business_date: report.business_date.clone(),
                figure: figure.clone(),
                page_size: 1_000,
                ..ExplainFigureRequest::default()
            };
            let answer = client.explain_figure(request).await?.into_inner();
            let sum: i64 = answer.facts.iter().map(|fact| fact.amount).sum();
            ensure!(
                (answer.value, answer.facts_total, sum) == (value, value, value),
                "{}, {figure}: {value}, {answer:?}",
                report.business_date
            );
        }
    }
    Ok(())
}

async fn one(seed: u64) -> Result<usize> {
    let mut history = History::begin(seed).await?;
    history
        .run()
        .await
        .with_context(|| format!("seed {}", history.seed))?;
    history
        .judge()
        .await
        .with_context(|| format!("seed {seed}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_history_adds_up() -> Result<()> {
    #[expect(
        clippy::disallowed_methods,
        reason = "which seed to run is a matter of whoever runs the test"
    )]
    let seeds = match std::env::var("DOPPIO_TEST_SEED") {
        Ok(seed) => vec![seed.parse()?],
        Err(_) => (0..SEEDS).collect(),
    };
    for seed in seeds {
        one(seed).await?;
    }
    Ok(())
}
