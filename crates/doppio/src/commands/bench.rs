//! What is measured and how it is asked for: see `docs/performance.md`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use runtime::telemetry;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::bench::chart::Chart;
use crate::bench::load::{Arrival, interrupted};
use crate::bench::report::{Report, curve};
use crate::bench::run::{How, Run};
use crate::bench::sales::Habits;
use crate::bench::scenarios;
use crate::bench::subject::{Engines, Subject};
use crate::clients::Target;
use crate::exit::{ExitCode, Failure};
use crate::output::Format;

/// Shortest time over which anything is measured, in seconds.
const SHORTEST: f64 = 0.01;

#[derive(Subcommand)]
pub enum Bench {
    /// Place orders: by so many callers, or so many a second.
    Place(Selling),
    /// Place every order and make it: start, ready, complete. Figures are commands a second.
    Kitchen(Selling),
    /// Members, repeats, kitchens, reads by token and the day's sales, over several stores.
    Mixed(Selling),
    /// Orders at so many stores that not all of them fit into memory.
    ManyStores(Selling),
    /// A lone till and many callers, while more and more orders are open.
    OpenOrders(OpenOrders),
    /// How long after its start ordering takes the first order, with open orders behind it.
    ColdStart(ColdStart),
    /// How far the read model is behind under load.
    Lag(Selling),
    /// How fast a projector fills an empty read model.
    CatchUp(CatchUp),
    /// A long load, and then everything checked against the log.
    Soak(Selling),
}

/// A scenario in which tills sell.
#[derive(Args)]
pub struct Selling {
    #[command(flatten)]
    engines: Engines,
    #[command(flatten)]
    measure: Measure,
    #[command(flatten)]
    arrivals: Arrivals,
    #[command(flatten)]
    tills: TillArgs,
}

/// What tills do. Each scenario has its own defaults.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Tills")]
struct TillArgs {
    /// Stores that sell [default: 1; mixed and soak: 20; many-stores: 10000].
    #[arg(long, value_name = "N")]
    stores: Option<usize>,
    /// How unequal the stores are: the exponent of Zipf's law, 0 for all alike [default: 1; many-stores: 0].
    #[arg(long, value_name = "S", value_parser = skew)]
    skew: Option<f64>,
    /// Share of the orders that are by members [default: 0; mixed and soak: 0.3].
    #[arg(long, value_name = "SHARE", value_parser = share)]
    members: Option<f64>,
    /// Share of the orders that are sent twice with the same id [default: 0; mixed and soak: 0.05].
    #[arg(long, value_name = "SHARE", value_parser = share)]
    retries: Option<f64>,
    /// A kitchen makes every order, as it does in kitchen, mixed and soak.
    #[arg(long)]
    kitchen: bool,
    /// Share of the orders that are read by their last token [default: 0; mixed and soak: 0.2].
    #[arg(long, value_name = "SHARE", value_parser = share)]
    reads: Option<f64>,
    /// Share of the orders after which the day's sales are asked for [default: 0; mixed and soak: 0.02].
    #[arg(long, value_name = "SHARE", value_parser = share)]
    sales: Option<f64>,
}

#[derive(Args)]
pub struct OpenOrders {
    #[command(flatten)]
    engines: Engines,
    #[command(flatten)]
    measure: Measure,
    /// How many orders are open when a lone till is measured.
    #[arg(long, help_heading = "Scenario", value_delimiter = ',', value_name = "N,…", default_values_t = [0, 10_000, 20_000, 50_000, 100_000])]
    open: Vec<u64>,
    /// Callers who open them.
    #[arg(long, help_heading = "Scenario", default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    callers: u32,
}

#[derive(Args)]
pub struct ColdStart {
    #[command(flatten)]
    engines: Engines,
    #[command(flatten)]
    measure: Measure,
    /// How many orders are open behind the start.
    #[arg(
        long,
        help_heading = "Scenario",
        default_value_t = 50_000,
        value_name = "N"
    )]
    open: u64,
    /// How often it is started, with its local files and without.
    #[arg(long, help_heading = "Scenario", default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    starts: u32,
    /// Callers who open the orders.
    #[arg(long, help_heading = "Scenario", default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    callers: u32,
}

#[derive(Args)]
pub struct CatchUp {
    #[command(flatten)]
    engines: Engines,
    #[command(flatten)]
    measure: Measure,
    /// How many orders are put into the log first.
    #[arg(
        long,
        help_heading = "Scenario",
        default_value_t = 50_000,
        value_name = "N"
    )]
    orders: u64,
    /// Stores that sell them.
    #[arg(long, help_heading = "Scenario", default_value_t = 1, value_name = "N")]
    stores: usize,
    /// Callers who place them; the fewer, the smaller the records.
    #[arg(long, help_heading = "Scenario", default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    callers: u32,
    /// A kitchen makes every order.
    #[arg(long, help_heading = "Scenario")]
    kitchen: bool,
    /// The read model that is filled, which must be empty: postgres://…, or sqlite:PATH [default: a new file].
    #[arg(long, help_heading = "Scenario", value_name = "URL")]
    into: Option<String>,
    /// Another empty read model of the same kind: the rows that were projected are loaded into it as fast as its database can [default:
    /// a new file; needed where --into is in PostgreSQL].
    #[arg(long, help_heading = "Scenario", value_name = "URL")]
    bulk_into: Option<String>,
}

/// How it is measured.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Measuring")]
struct Measure {
    /// How long each load is measured.
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,
    /// How long each load runs before it is measured.
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS", value_parser = seconds)]
    warm_up: f64,
    /// HTTP/2 connections of the load.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    connections: u16,
    /// Threads of the load.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    load_threads: u16,
    /// Measure no ceilings: what is found is compared with nothing.
    #[arg(long)]
    no_ceilings: bool,
    /// Draw latency over throughput, or over open orders, as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// How callers come.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Callers")]
struct Arrivals {
    /// Closed loop: numbers of callers, each of whom calls again when it is answered, one load after the other [default: 1,16,64,256;
    /// lag and many-stores: 256; soak: 64].
    #[arg(long, value_delimiter = ',', value_name = "N,…", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    callers: Vec<u32>,
    /// Open loop instead: customers a second, who come whether those before them are served or not. Latency counts from when they came.
    #[arg(long, value_delimiter = ',', value_name = "N,…", conflicts_with = "callers", value_parser = rate)]
    rate: Vec<f64>,
}

fn number(text: &str, from: f64, to: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (from..=to).contains(&number) => Ok(number),
        _ => Err(format!("must be {from} to {to}")),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, 0.0, 86_400.0)
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, 0.1, 1_000_000.0)
}

fn skew(text: &str) -> Result<f64, String> {
    number(text, 0.0, 10.0)
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1.0)
}

/// Which scenario of tills it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    Place,
    Kitchen,
    Mixed,
    ManyStores,
    Lag,
    Soak,
}

impl Scenario {
    fn name(self) -> &'static str {
        match self {
            Self::Place => "place",
            Self::Kitchen => "kitchen",
            Self::Mixed => "mixed",
            Self::ManyStores => "many-stores",
            Self::Lag => "lag",
            Self::Soak => "soak",
        }
    }
}

impl Bench {
    pub async fn run(self, target: &Target, format: Format) -> Result<(), Failure> {
        telemetry::start(Some("warn"));
        let stop = CancellationToken::new();
        stop_when_told(&stop)?;
        let at = At {
            target,
            format,
            stop: &stop,
        };
        match self {
            Self::Place(selling) => selling.run(Scenario::Place, at).await,
            Self::Kitchen(selling) => selling.run(Scenario::Kitchen, at).await,
            Self::Mixed(selling) => selling.run(Scenario::Mixed, at).await,
            Self::ManyStores(selling) => selling.run(Scenario::ManyStores, at).await,
            Self::Lag(selling) => selling.run(Scenario::Lag, at).await,
            Self::Soak(selling) => selling.run(Scenario::Soak, at).await,
            Self::OpenOrders(open) => open.run(at).await,
            Self::ColdStart(cold) => cold.run(at).await,
            Self::CatchUp(catch_up) => catch_up.run(at).await,
        }
    }
}

/// Ends the run in order at Ctrl-C or SIGTERM: what was started for it is stopped.
fn stop_when_told(stop: &CancellationToken) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

/// Where a bench runs, how it is shown and what stops it.
#[derive(Clone, Copy)]
struct At<'a> {
    target: &'a Target,
    format: Format,
    stop: &'a CancellationToken,
}

impl At<'_> {
    /// Starts what is measured, unless the run is stopped before it is up.
    async fn start(&self, engines: &Engines, stores: usize) -> Result<Subject, Failure> {
        tokio::select! {
            started = Subject::start(engines, self.target, stores) => started,
            () = self.stop.cancelled() => Err(interrupted()),
        }
    }
}

impl Arrivals {
    fn of(&self, scenario: Scenario) -> Vec<Arrival> {
        if !self.rate.is_empty() {
            let open = |rate: &f64| Arrival::Open { per_second: *rate };
            return self.rate.iter().map(open).collect();
        }
        let callers: &[u32] = match scenario {
            _ if !self.callers.is_empty() => &self.callers,
            Scenario::Lag | Scenario::ManyStores => &[256],
            Scenario::Soak => &[64],
            Scenario::Place | Scenario::Kitchen | Scenario::Mixed => &[1, 16, 64, 256],
        };
        callers.iter().copied().map(closed).collect()
    }
}

fn closed(callers: u32) -> Arrival {
    Arrival::Closed {
        callers: count(callers),
    }
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Measure {
    fn how(&self) -> How {
        How {
            warm_up: Duration::from_secs_f64(self.warm_up),
            measured: Duration::from_secs_f64(self.seconds.max(SHORTEST)),
            connections: self.connections.into(),
            threads: self.load_threads.into(),
            ceilings: !self.no_ceilings,
        }
    }

    fn report(&self, scenario: &'static str, subject: &Subject) -> Report {
        let mut report = Report::new(scenario, subject);
        report.settings.extend([
            ("seconds", self.seconds.to_string()),
            ("warm-up", self.warm_up.to_string()),
            ("connections", self.connections.to_string()),
            ("load-threads", self.load_threads.to_string()),
        ]);
        report
    }

    fn draw(&self, chart: impl FnOnce() -> Chart) -> Result<(), Failure> {
        let Some(path) = &self.svg else {
            return Ok(());
        };
        std::fs::write(path, chart().to_svg())
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }
}

impl TillArgs {
    fn stores(&self, scenario: Scenario) -> usize {
        self.stores.unwrap_or(match scenario {
            Scenario::Mixed | Scenario::Soak => 20,
            Scenario::ManyStores => 10_000,
            _ => 1,
        })
    }

    fn habits(&self, scenario: Scenario) -> Habits {
        let is_mixed = matches!(scenario, Scenario::Mixed | Scenario::Soak);
        let mixed =
            |own: Option<f64>, mixed: f64| own.unwrap_or(if is_mixed { mixed } else { 0.0 });
        let skew = if scenario == Scenario::ManyStores {
            0.0
        } else {
            1.0
        };
        Habits {
            skew: self.skew.unwrap_or(skew),
            members: mixed(self.members, 0.3),
            repeats: mixed(self.retries, 0.05),
            kitchen: self.kitchen || is_mixed || scenario == Scenario::Kitchen,
            reads: mixed(self.reads, 0.2),
            sales: mixed(self.sales, 0.02),
        }
    }
}

impl Selling {
    async fn run(self, scenario: Scenario, at: At<'_>) -> Result<(), Failure> {
        let how = self.measure.how();
        let stores = self.tills.stores(scenario);
        let subject = at.start(&self.engines, stores).await?;
        let habits = self.tills.habits(scenario);
        let mut report = self.measure.report(scenario.name(), &subject);
        report.settings.extend([
            ("stores", subject.offers.len().to_string()),
            ("skew", habits.skew.to_string()),
            ("members", habits.members.to_string()),
            ("retries", habits.repeats.to_string()),
            ("kitchen", habits.kitchen.to_string()),
            ("reads", habits.reads.to_string()),
            ("sales", habits.sales.to_string()),
        ]);
        let run = Run {
            subject: &subject,
            how: &how,
            stop: at.stop,
        };
        let report = self.scenario(scenario, &run, habits, report).await;
        subject.stop().await?;
        let report = report?;
        self.measure.draw(|| curve(&report))?;
        report.print(at.format)
    }

    async fn scenario(
        &self,
        scenario: Scenario,
        run: &Run<'_>,
        habits: Habits,
        report: Report,
    ) -> Result<Report, Failure> {
        let arrivals = self.arrivals.of(scenario);
        match scenario {
            Scenario::Lag => scenarios::lag::run(run, &arrivals, habits, report).await,
            Scenario::Soak => scenarios::soak::run(run, &arrivals, habits, report).await,
            _ => scenarios::place::run(run, &arrivals, habits, report).await,
        }
    }
}

impl OpenOrders {
    async fn run(self, at: At<'_>) -> Result<(), Failure> {
        if !self.open.is_sorted() {
            return Err(Failure::new(ExitCode::Usage, "--open only grows"));
        }
        let how = self.measure.how();
        let subject = at.start(&self.engines, 1).await?;
        let report = self.measure.report("open-orders", &subject);
        let run = Run {
            subject: &subject,
            how: &how,
            stop: at.stop,
        };
        let done = scenarios::open_orders::run(&run, &self.open, count(self.callers), report).await;
        subject.stop().await?;
        let (report, steps) = done?;
        self.measure
            .draw(|| scenarios::open_orders::chart(&report, &steps))?;
        report.print(at.format)
    }
}

impl ColdStart {
    async fn run(self, at: At<'_>) -> Result<(), Failure> {
        let how = self.measure.how();
        let mut subject = at.start(&self.engines, 1).await?;
        let mut report = self.measure.report("cold-start", &subject);
        let run = Run {
            subject: &subject,
            how: &how,
            stop: at.stop,
        };
        let callers = count(self.callers);
        let filled = scenarios::cold_start::fill(&run, self.open, callers, &mut report).await;
        let done = match filled {
            Ok(()) => {
                scenarios::cold_start::starts(&mut subject, self.starts, at.stop, &mut report).await
            }
            failed => failed,
        };
        subject.stop().await?;
        done?;
        report.print(at.format)
    }
}

impl CatchUp {
    async fn run(self, at: At<'_>) -> Result<(), Failure> {
        let how = self.measure.how();
        let directory = tempfile::Builder::new().prefix("doppio-bench-").tempdir()?;
        let models = scenarios::catch_up::ReadModels::of(
            self.into.as_deref(),
            self.bulk_into.as_deref(),
            how.ceilings,
            directory.path(),
        )?;
        let subject = at.start(&self.engines, self.stores).await?;
        let report = self.measure.report("catch-up", &subject);
        let run = Run {
            subject: &subject,
            how: &how,
            stop: at.stop,
        };
        let habits = Habits {
            kitchen: self.kitchen,
            ..Habits::default()
        };
        let filling = scenarios::catch_up::Filling {
            orders: self.orders,
            callers: count(self.callers),
            habits,
        };
        let done = scenarios::catch_up::run(&run, filling, &models, report).await;
        subject.stop().await?;
        done?.print(at.format)
    }
}
