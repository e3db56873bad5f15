//! A projector that begins from nothing: how long until the read model has everything, and how long a bulk load of the same rows takes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use event_log::{EventLog, Position, StreamIndex};
use read_model::{ReadModel, ReadModelWriter};
use runtime::{Clock, Shutdown};
use tokio::time::{Instant, sleep};

use crate::bench::load::{Arrival, interrupted};
use crate::bench::report::{Finding, Report};
use crate::bench::run::Run;
use crate::bench::sales::Habits;
use crate::exit::{ExitCode, Failure};

const LIMIT: Duration = Duration::from_secs(600);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const STOP_GRACE: Duration = Duration::from_secs(10);
const BULK_LOAD: &str = "bulk load";
const SPEED_OF_BULK_LOAD: &str = "speed of the bulk load";

/// What the log is filled with first.
pub struct Filling {
    pub orders: u64,
    pub callers: usize,
    pub habits: Habits,
}

/// Two empty read models of one kind.
pub struct ReadModels {
    /// What the projector fills.
    into: String,
    /// What the same rows are then loaded into; `None`: that is not measured.
    bulk: Option<String>,
}

impl ReadModels {
    /// Those that the options name, or new files in a directory of the run's own.
    pub fn of(
        into: Option<&str>,
        bulk: Option<&str>,
        ceilings: bool,
        directory: &Path,
    ) -> Result<Self, Failure> {
        let file = |name: &str| format!("sqlite:{}", directory.join(name).display());
        let into = into.map_or_else(|| file("read-model.db"), plain);
        let is_file = |url: &str| url.starts_with("sqlite:");
        let bulk = match bulk.map(plain) {
            _ if !ceilings => None,
            Some(bulk) if is_file(&bulk) == is_file(&into) => Some(bulk),
            None if is_file(&into) => Some(file("bulk.db")),
            Some(_) | None => {
                return Err(Failure::new(
                    ExitCode::Usage,
                    "a catch-up is compared with a bulk load of the same rows: name another empty read model of the same kind as --into with \
                     --bulk-into, or measure no ceilings with --no-ceilings",
                ));
            }
        };
        if bulk.as_ref() == Some(&into) {
            return Err(Failure::new(
                ExitCode::Usage,
                "--into and --bulk-into have to name two read models",
            ));
        }
        Ok(Self { into, bulk })
    }
}

/// The same address without the slashes that may stand before a file.
fn plain(url: &str) -> String {
    match url.strip_prefix("sqlite://") {
        Some(path) => format!("sqlite:{path}"),
        None => url.to_owned(),
    }
}

/// Fills the log, then projects all of it into an empty read model, and loads the rows that came of it into another.
pub async fn run(
    run: &Run<'_>,
    filling: Filling,
    models: &ReadModels,
    mut report: Report,
) -> Result<Report, Failure> {
    let Filling {
        orders,
        callers,
        habits,
    } = filling;
    let Some(log) = run.subject.log.clone() else {
        return Err(Failure::new(
            ExitCode::Usage,
            "a catch-up reads the log: name the log of these services with --log",
        ));
    };
    let before = positions(&heads(&log).await?);
    let tills = run.tills(habits).await?;
    let load = run.load(&run.subject.ordering_url, Arrival::Closed { callers });
    let filled = load.fill(&tills, orders, run.stop).await?;
    if filled.book.failed() > 0 {
        return Err(Failure::new(
            ExitCode::CheckFailed,
            format!(
                "{} calls failed while the log was filled",
                filled.book.failed()
            ),
        ));
    }
    run.settle().await?;
    let model = empty(&models.into, "--into").await?;
    if let Some(bulk) = &models.bulk {
        empty(bulk, "--bulk-into").await?;
    }
    let shutdown = Shutdown::new();
    let began = Instant::now();
    let config = status_projector::Config::default();
    let _health = status_projector::start(config, &log, &model.writer, &shutdown, &Clock::system());
    let level = until_level(run, &log, &*model.writer).await;
    let took = began.elapsed();
    shutdown.finish(STOP_GRACE).await;
    let records = level?;
    let per_second = |count: u64| as_float(count) / took.as_secs_f64().max(f64::EPSILON);
    report.findings.push(Finding {
        what: "caught up".to_owned(),
        value: took.as_secs_f64() * 1_000.0,
        unit: "ms",
        note: format!("{records} records with {orders} orders of this run among them"),
    });
    report.findings.push(Finding {
        what: "projected".to_owned(),
        value: per_second(records),
        unit: "records/s",
        note: String::new(),
    });
    // What others put into the log is projected too: their orders are not counted here.
    if before == 0 {
        report.findings.push(Finding {
            what: "projected".to_owned(),
            value: per_second(orders),
            unit: "orders/s",
            note: String::new(),
        });
    }
    if let Some(bulk) = &models.bulk {
        let load = read_model::bulk_load(&models.into, bulk).await?;
        report.findings.push(Finding {
            what: BULK_LOAD.to_owned(),
            value: load.took.as_secs_f64() * 1_000.0,
            unit: "ms",
            note: format!("{} rows, the same as were projected", load.rows),
        });
        report.findings.push(Finding {
            what: SPEED_OF_BULK_LOAD.to_owned(),
            value: 100.0 * load.took.as_secs_f64() / took.as_secs_f64().max(f64::EPSILON),
            unit: "%",
            note: "how fast the projector was, where the bulk load is 100 %".to_owned(),
        });
    }
    Ok(report)
}

/// A read model with the schema and no rows.
async fn empty(url: &str, option: &str) -> Result<ReadModel, Failure> {
    let model = ReadModel::open(url)?;
    model.writer.prepare().await?;
    if !model.reader.projection.status().await?.streams.is_empty() {
        return Err(Failure::new(
            ExitCode::Usage,
            format!("{option} has to name a new read model: there are rows in this one"),
        ));
    }
    Ok(model)
}

/// Waits until the read model is level with the log as it is now. Returns how many positions that are.
async fn until_level(
    run: &Run<'_>,
    log: &Arc<dyn EventLog>,
    writer: &dyn ReadModelWriter,
) -> Result<u64, Failure> {
    let heads = heads(log).await?;
    let limit = Instant::now() + LIMIT;
    let generation = writer.prepare().await?;
    for (stream, head) in &heads {
        loop {
            let row = writer.stream(generation, *stream, log.epoch()).await?;
            if row.position >= *head {
                break;
            }
            if run.stop.is_cancelled() {
                return Err(interrupted());
            }
            if Instant::now() > limit {
                return Err(Failure::new(
                    ExitCode::Unavailable,
                    format!("the read model was not level with the log after {LIMIT:?}"),
                ));
            }
            sleep(LOOK_AGAIN).await;
        }
    }
    Ok(positions(&heads))
}

type Heads = Vec<(StreamIndex, Position)>;

/// Where each stream ends.
async fn heads(log: &Arc<dyn EventLog>) -> Result<Heads, Failure> {
    let mut heads = Vec::new();
    for index in 0..log.streams() {
        let stream = StreamIndex(index);
        heads.push((stream, log.head(stream).await?.position));
    }
    Ok(heads)
}

fn positions(heads: &Heads) -> u64 {
    heads.iter().map(|(_, head)| head.0).sum()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "there are fewer than 2^52 records"
)]
fn as_float(number: u64) -> f64 {
    number as f64
}
