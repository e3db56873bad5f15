use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use contract::StoreId;
use contract::api::ordering::GetMenuRequest;
use contract::api::query::GetDailySalesResponse;
use indicatif::{ProgressBar, ProgressStyle};
use runtime::{Clock, telemetry};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::audit;
use crate::clients::{Clients, Target, call};
use crate::data_dir::DataDir;
use crate::exit::{ExitCode, Failure};
use crate::output::say;
use crate::row;
use crate::system::{Plan, System, listen_from};
use crate::table::{Column, Table};
use crate::tills::{Tally, Till, register_members};

const MEMBERS: u32 = 24;
const TILLS_PER_STORE: usize = 4;
/// Orders that the tills have under way at once; when all are busy, the next customer waits.
const CONCURRENT_ORDERS: usize = 256;
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
const STOP_GRACE: Duration = Duration::from_secs(10);
/// What to try on running services: one command a line.
pub(super) const NEXT: &str =
    "  doppio order place --store gangnam --item americano:2+shot --pay cash:10000
  doppio order list --store gangnam --limit 5
  doppio sales day --store gangnam
  doppio settle x --store gangnam
  doppio export orders --store gangnam --format csv";

/// Starts everything embedded, in a temporary directory unless --data names one, and sells.
#[derive(Args)]
pub struct Demo {
    /// How long the tills sell.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Orders a second over all stores.
    #[arg(long, default_value_t = 40.0)]
    orders_per_second: f64,
    /// Leave the services up afterwards, at the usual ports.
    #[arg(long)]
    stay: bool,
}

impl Demo {
    pub async fn run(self, target: &Target) -> Result<(), Failure> {
        if !(self.orders_per_second > 0.0 && self.orders_per_second <= 100_000.0) {
            return Err(Failure::new(
                ExitCode::Usage,
                "--orders-per-second is more than 0 and at most 100000",
            ));
        }
        telemetry::start(Some("warn"));
        let (directory, temporary) = directory(target)?;
        let mut plan = Plan::embedded(DataDir::hold(&directory)?)?;
        if self.stay {
            plan.listen = listen_from(std::net::SocketAddr::from(([127, 0, 0, 1], 7400)))?;
        }
        say(format_args!(
            "Doppio demo: member, ordering, status-projector and query-api in one process,\ndata in {}",
            directory.display()
        ))?;
        let system = System::start(plan).await?;
        let outcome = self.sell(&system).await;
        if !self.stay && outcome.is_ok() {
            say(format_args!(
                "\nNext: `doppio demo --stay` leaves the services up; then, in another terminal:\n{NEXT}"
            ))?;
        }
        if self.stay && outcome.is_ok() {
            let addresses = system.addresses;
            say(format_args!(
                "\nThe services stay up: member {}, ordering {}, query {}. Ctrl-C stops them.\nIn another terminal:\n{NEXT}",
                addresses.member, addresses.ordering, addresses.query
            ))?;
            system.shutdown.listen_for_signals()?;
            system.shutdown.soft().cancelled().await;
        }
        system.stop(STOP_GRACE).await?;
        drop(temporary);
        outcome
    }

    async fn sell(&self, system: &System) -> Result<(), Failure> {
        let clients = Clients::of(&system.addresses)?;
        let members = Arc::new(register_members(&clients, MEMBERS).await?);
        say(format_args!("{} members registered", members.len()))?;
        let tally = Arc::new(Tally::default());
        let tills = open_tills(&clients, &members, &tally).await?;
        let stores: BTreeSet<String> = tills
            .iter()
            .map(|till| till.menu.store_id.clone())
            .collect();
        self.run_tills(&tills, &tally).await?;
        report(&tally)?;
        let tokens: Vec<String> = tally.tokens.lock().await.values().cloned().collect();
        let mut problems = std::mem::take(&mut *tally.wrong.lock().await);
        let mut days = Vec::new();
        let mut logged = BTreeSet::new();
        for store in &stores {
            let store = StoreId::new(store)?;
            let ledger = audit::ledger(&system.log, &store).await?;
            problems.extend(
                ledger
                    .problems
                    .iter()
                    .map(|problem| format!("{store}: {problem}")),
            );
            let own: Vec<String> = tokens
                .iter()
                .filter(|token| {
                    contract::ConsistencyToken::parse(token).is_ok_and(|token| token.store == store)
                })
                .cloned()
                .collect();
            let (differences, answers) = ledger.compare(&clients, &store, &own).await?;
            problems.extend(differences);
            days.extend(answers.into_iter().map(|answer| (answer, ledger.records)));
            logged.extend(
                ledger
                    .orders
                    .iter()
                    .map(|order| (store.to_string(), *order)),
            );
        }
        for acknowledged in tally.acknowledged.lock().await.iter() {
            if !logged.contains(acknowledged) {
                problems.push(format!(
                    "order {} was acknowledged and is not in the log",
                    acknowledged.1
                ));
            }
        }
        show(&days)?;
        if problems.is_empty() {
            say(format_args!(
                "The read model equals the log: every acknowledged order is in both once;\ntickets and document numbers have no gap."
            ))?;
            return Ok(());
        }
        Err(Failure::new(
            ExitCode::CheckFailed,
            format!(
                "the read model differs from the log:\n  {}",
                problems.join("\n  ")
            ),
        ))
    }

    async fn run_tills(&self, tills: &[Arc<Till>], tally: &Arc<Tally>) -> Result<(), Failure> {
        let progress = ProgressBar::new(self.seconds);
        if let Ok(style) = ProgressStyle::with_template("{spinner} [{elapsed}/{len}s] {msg}") {
            progress.set_style(style);
        }
        let limit = Arc::new(Semaphore::new(CONCURRENT_ORDERS));
        let mut under_way: JoinSet<Result<(), Failure>> = JoinSet::new();
        let mut customers =
            tokio::time::interval(Duration::from_secs_f64(1.0 / self.orders_per_second));
        customers.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut look = tokio::time::interval(PROGRESS_INTERVAL);
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let mut next = 0;
        let began = Instant::now();
        while Instant::now() < end {
            tokio::select! {
                biased;
                _ = look.tick() => {
                    progress.set_position(began.elapsed().as_secs());
                    progress.set_message(line(tally));
                }
                _ = customers.tick() => {
                    let slot = limit.clone().acquire_owned().await?;
                    let till = tills[next % tills.len()].clone();
                    next += 1;
                    under_way.spawn(async move {
                        let sold = till.sell().await;
                        drop(slot);
                        sold
                    });
                }
                Some(ended) = under_way.join_next(), if !under_way.is_empty() => ended??,
            }
        }
        while let Some(ended) = under_way.join_next().await {
            ended??;
        }
        progress.set_message(line(tally));
        progress.finish();
        Ok(())
    }
}

fn directory(target: &Target) -> Result<(PathBuf, Option<tempfile::TempDir>), Failure> {
    match &target.data {
        Some(path) => Ok((path.clone(), None)),
        None => {
            let temporary = tempfile::Builder::new().prefix("doppio-demo-").tempdir()?;
            Ok((temporary.path().to_owned(), Some(temporary)))
        }
    }
}

async fn open_tills(
    clients: &Clients,
    members: &Arc<Vec<String>>,
    tally: &Arc<Tally>,
) -> Result<Vec<Arc<Till>>, Failure> {
    let mut tills = Vec::new();
    for store in ordering::catalog::default_catalog()?.stores.keys() {
        let menu = clients
            .ordering
            .clone()
            .get_menu(call(GetMenuRequest {
                store_id: store.to_string(),
            }))
            .await?
            .into_inner()
            .menu;
        let menu = Arc::new(menu.ok_or_else(|| anyhow::anyhow!("store {store} has no menu"))?);
        for number in 1..=TILLS_PER_STORE {
            tills.push(Arc::new(Till {
                clients: clients.clone(),
                menu: menu.clone(),
                terminal_id: format!("till-{number}"),
                members: members.clone(),
                tally: tally.clone(),
                clock: Clock::system(),
                keep_acknowledged: true,
            }));
        }
    }
    Ok(tills)
}

fn line(tally: &Tally) -> String {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    format!(
        "{} orders, {} of members, {} completed, {} cancelled, {} sent twice",
        count(&tally.placed),
        count(&tally.members),
        count(&tally.completed),
        count(&tally.cancelled),
        count(&tally.retries)
    )
}

fn report(tally: &Tally) -> Result<(), Failure> {
    say(line(tally))?;
    let Ok(mut micros) = tally.micros.try_lock() else {
        return Ok(());
    };
    if micros.is_empty() {
        return Ok(());
    }
    micros.sort_unstable();
    let at = |permille: usize| Duration::from_micros(micros[(micros.len() - 1) * permille / 1_000]);
    say(format_args!(
        "placing an order, durable: p50 {:.1?}, p99 {:.1?}, max {:.1?}",
        at(500),
        at(990),
        at(1_000)
    ))
}

fn show(days: &[(GetDailySalesResponse, u64)]) -> Result<(), Failure> {
    let rows = days.iter().map(|(day, records)| {
        let voids = day
            .voids
            .as_ref()
            .and_then(|block| block.count)
            .unwrap_or(0);
        let turnover = day.turnover.as_ref().and_then(|block| block.net.clone());
        row![
            &day.store_id,
            &day.business_date,
            day.orders,
            voids,
            &day.gross,
            &day.discount,
            &day.net,
            &day.vat,
            &turnover,
            *records,
        ]
    });
    let columns = [
        Column::id("store"),
        Column::id("business date"),
        Column::number("orders"),
        Column::number("voids").spare(2),
        Column::money("gross").spare(1),
        Column::money("discount").spare(3),
        Column::money("net sales"),
        Column::money("VAT"),
        Column::money("turnover"),
        Column::number("records").spare(4),
    ];
    say(Table::new(columns, rows))
}
