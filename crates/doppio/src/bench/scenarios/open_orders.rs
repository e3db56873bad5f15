//! What an order costs while more and more others are open: none of them is ever completed.

use crate::bench::book::Kind;
use crate::bench::chart::{Axis, Chart, Line, Point};
use crate::bench::load::{Arrival, Load};
use crate::bench::report::{Report, Row};
use crate::bench::run::Run;
use crate::bench::sales::Habits;
use crate::exit::Failure;

/// How many orders are open, and what a lone till and many callers got then.
pub struct Step {
    pub open: u64,
    pub lone_p50_ms: f64,
    pub lone_p99_ms: f64,
    /// Of the load that opened the orders up to the next step; `None` for the last.
    pub many_per_second: Option<f64>,
}

/// `open`: numbers of open orders, ascending. `callers`: how many open them.
pub async fn run(
    run: &Run<'_>,
    open: &[u64],
    callers: usize,
    mut report: Report,
) -> Result<(Report, Vec<Step>), Failure> {
    let tills = run.tills(Habits::default()).await?;
    let lone = run.load(&run.subject.ordering_url, Arrival::Closed { callers: 1 });
    let many = run.load(&run.subject.ordering_url, Arrival::Closed { callers });
    let mut placed = 0;
    let mut steps: Vec<Step> = Vec::new();
    for goal in open {
        let missing = goal.saturating_sub(placed);
        if missing > 0 {
            let filled = fill(run, &many, &tills, missing, placed, &mut report).await?;
            placed += filled.done;
            if let Some(step) = steps.last_mut() {
                step.many_per_second = Some(filled.per_second);
            }
        }
        run.settle().await?;
        let mut row = run.row("place", Kind::Place, &lone, &tills).await?;
        row.what = format!("a lone till, {placed} open");
        let latency = |permille: f64| {
            let tally = row.book.of(Kind::Place);
            tally.map_or(0.0, |tally| tally.at(permille).as_secs_f64() * 1_000.0)
        };
        steps.push(Step {
            open: placed,
            lone_p50_ms: latency(500.0),
            lone_p99_ms: latency(990.0),
            many_per_second: None,
        });
        placed += row.all();
        report.results.push(row);
    }
    let lone = [Arrival::Closed { callers: 1 }];
    run.ceilings(&lone, &mut report).await?;
    Ok((report, steps))
}

struct Opened {
    done: u64,
    per_second: f64,
}

async fn fill(
    run: &Run<'_>,
    load: &Load,
    tills: &std::sync::Arc<crate::bench::sales::Tills>,
    orders: u64,
    open: u64,
    report: &mut Report,
) -> Result<Opened, Failure> {
    let filled = load.fill(tills, orders, run.stop).await?;
    let row = Row {
        what: format!("from {open} to {} open", open + orders),
        arrival: load.arrival,
        kind: Kind::Place,
        measured: filled.took,
        book: filled.book,
        ratios: Vec::new(),
        uses: run.look(),
    };
    let opened = Opened {
        done: row.all(),
        per_second: row.rate(),
    };
    report.results.push(row);
    Ok(opened)
}

/// Latency of a lone till over open orders.
#[must_use]
pub fn chart(report: &Report, steps: &[Step]) -> Chart {
    let line = |name: &str, value: fn(&Step) -> f64| Line {
        name: name.to_owned(),
        points: steps
            .iter()
            .map(|step| Point {
                x: as_float(step.open),
                y: value(step),
            })
            .collect(),
    };
    Chart {
        title: format!("doppio bench {}: {}", report.scenario, report.subject),
        x: Axis {
            label: "open orders".to_owned(),
            is_logarithmic: false,
        },
        y: Axis {
            label: "latency of a lone till in ms".to_owned(),
            is_logarithmic: true,
        },
        lines: vec![
            line("p50", |step| step.lone_p50_ms),
            line("p99", |step| step.lone_p99_ms),
        ],
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "there are fewer than 2^52 orders"
)]
fn as_float(number: u64) -> f64 {
    number as f64
}
