//! What a run found, as tables and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::book::{Book, Kind, Shown, Tally};
use super::chart::{Axis, Chart, Line, Point};
use super::load::Arrival;
use super::process::Use;
use super::subject::Subject;
use crate::exit::{ExitCode, Failure};
use crate::output::{Format, amount, say};
use crate::row;
use crate::table::{Cell, Column, Table};

/// A result as a share or a multiple of a ceiling.
#[derive(Debug, Clone, PartialEq)]
pub struct Ratio {
    /// What of the ceiling: "bare call", "one append a call".
    pub of: &'static str,
    pub ratio: f64,
    /// Whether it compares latencies, of which less is better.
    pub is_latency: bool,
}

/// One measured load.
#[derive(Debug, Clone)]
pub struct Row {
    pub what: String,
    pub arrival: Arrival,
    pub kind: Kind,
    /// How long was measured.
    pub measured: Duration,
    pub book: Book,
    pub ratios: Vec<Ratio>,
    /// Of the watched processes, the load left out where it shares one.
    pub uses: Vec<Use>,
}

impl Row {
    fn tally(&self) -> Option<&Tally> {
        self.book.of(self.kind)
    }

    /// Successful calls of the main kind a second.
    fn per_second(&self) -> f64 {
        per_second(self.tally().map_or(0, |tally| tally.done), self.measured)
    }

    /// Commands a second of all kinds.
    fn commands_per_second(&self) -> f64 {
        let done = self
            .book
            .kinds()
            .filter(|(kind, _)| kind.is_command())
            .map(|(_, tally)| tally.done)
            .sum();
        per_second(done, self.measured)
    }

    /// Whether it is about commands of several kinds.
    fn counts_commands(&self) -> bool {
        self.book
            .kinds()
            .filter(|(kind, _)| kind.is_command())
            .count()
            > 1
    }

    /// What is compared with the ceilings: commands a second where there are several kinds.
    #[must_use]
    pub fn rate(&self) -> f64 {
        if self.counts_commands() {
            self.commands_per_second()
        } else {
            self.per_second()
        }
    }

    #[must_use]
    pub fn p50(&self) -> Option<Duration> {
        self.tally()
            .filter(|tally| !tally.latency.is_empty())
            .map(|tally| tally.at(500.0))
    }

    /// Calls of the main kind that succeeded at whatever time.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.tally().map_or(0, |tally| tally.all)
    }

    fn load_processors(&self) -> f64 {
        self.book.own_processor.as_secs_f64() / self.measured.as_secs_f64().max(f64::EPSILON)
    }

    fn as_json(&self) -> Value {
        let kinds: serde_json::Map<String, Value> = self
            .book
            .kinds()
            .map(|(kind, tally)| {
                let us = |latency: Duration| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                let value = json!({
                    "done": tally.done,
                    "per_second": rounded(per_second(tally.done, self.measured)),
                    "p50_us": us(tally.at(500.0)),
                    "p90_us": us(tally.at(900.0)),
                    "p99_us": us(tally.at(990.0)),
                    "p999_us": us(tally.at(999.0)),
                    "max_us": us(tally.max()),
                });
                (kind.name().to_owned(), value)
            })
            .collect();
        let (callers, rate) = match self.arrival {
            Arrival::Closed { callers } => (Some(callers), None),
            Arrival::Open { per_second } => (None, Some(per_second)),
        };
        let failures: Vec<Value> = self
            .book
            .failures
            .iter()
            .map(|((kind, reason), count)| {
                json!({"call": kind.name(), "reason": reason, "count": count})
            })
            .collect();
        let ratios: Vec<Value> = self
            .ratios
            .iter()
            .map(|ratio| json!({"of": ratio.of, "ratio": ratio.ratio, "is_latency": ratio.is_latency}))
            .collect();
        let processes: Vec<Value> = self
            .uses
            .iter()
            .map(|used| {
                json!({
                    "name": used.name,
                    "pid": used.pid,
                    "processors": used.processors,
                    "resident_bytes": used.resident_bytes,
                    "peak_bytes": used.peak_bytes,
                })
            })
            .collect();
        json!({
            "what": self.what,
            "callers": callers,
            "rate": rate,
            "measured_ms": u64::try_from(self.measured.as_millis()).unwrap_or(u64::MAX),
            "per_second": rounded(self.rate()),
            "calls": kinds,
            "ratios": ratios,
            "failures": failures,
            "load_processors": self.load_processors(),
            "processes": processes,
        })
    }
}

/// A figure that is no load's.
#[derive(Debug, Clone)]
pub struct Finding {
    pub what: String,
    pub value: f64,
    pub unit: &'static str,
    /// What else belongs to it.
    pub note: String,
}

/// A whole run.
#[derive(Debug, Clone)]
pub struct Report {
    pub scenario: &'static str,
    /// What was measured, and how.
    pub subject: String,
    pub settings: Vec<(&'static str, String)>,
    pub results: Vec<Row>,
    pub ceilings: Vec<Row>,
    pub findings: Vec<Finding>,
    /// What is wrong with what was found in the end.
    pub problems: Vec<String>,
    /// What could not be measured, and why.
    pub notes: Vec<String>,
}

impl Report {
    #[must_use]
    pub fn new(scenario: &'static str, subject: &Subject) -> Self {
        Self {
            scenario,
            subject: subject.described.clone(),
            settings: Vec::new(),
            results: Vec::new(),
            ceilings: Vec::new(),
            findings: Vec::new(),
            problems: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Shows the report. Failures of the service are a failure of the run: what was refused was not done.
    pub fn print(&self, format: Format) -> Result<(), Failure> {
        match format {
            Format::Json => say(serde_json::to_string_pretty(&self.as_json())?)?,
            Format::People => self.show()?,
        }
        self.verdict()
    }

    fn as_json(&self) -> Value {
        let rows = |rows: &[Row]| rows.iter().map(Row::as_json).collect::<Vec<_>>();
        let settings: serde_json::Map<String, Value> = self
            .settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::from(value.clone())))
            .collect();
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|found| {
                json!({
                    "what": found.what,
                    "value": found.value,
                    "unit": found.unit,
                    "note": found.note,
                })
            })
            .collect();
        json!({
            "bench": self.scenario,
            "subject": self.subject,
            "processors": processors(),
            "settings": settings,
            "results": rows(&self.results),
            "ceilings": rows(&self.ceilings),
            "findings": findings,
            "problems": self.problems,
            "notes": self.notes,
        })
    }

    fn show(&self) -> Result<(), Failure> {
        say(format_args!(
            "doppio bench {}: {}, {} processors",
            self.scenario,
            self.subject,
            processors()
        ))?;
        let settings: Vec<String> = self
            .settings
            .iter()
            .map(|(key, value)| format!("{key} {value}"))
            .collect();
        say(settings.join(", "))?;
        if !self.ceilings.is_empty() {
            say("\nCeilings, of the same run")?;
            say(table(&self.ceilings))?;
        }
        if !self.results.is_empty() {
            say("\nResults")?;
            say(table(&self.results))?;
        }
        if !self.findings.is_empty() {
            say("\nFindings")?;
            say(findings(&self.findings))?;
        }
        let uses = uses(&self.results);
        if let Some(uses) = uses {
            say("\nProcesses")?;
            say(uses)?;
        }
        for note in &self.notes {
            say(format_args!("\n{note}"))?;
        }
        if let Some(failures) = self.failures() {
            say("\nFAILED, and not counted above")?;
            say(failures)?;
        }
        Ok(())
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.ceilings.iter().chain(&self.results)
    }

    fn failures(&self) -> Option<Table> {
        let rows: Vec<_> = self
            .rows()
            .flat_map(|row| {
                row.book.failures.iter().map(move |(key, count)| {
                    let said = row.book.said.get(key).map_or("", String::as_str);
                    row![
                        format!("{}, {}", row.what, row.arrival.to_string()),
                        key.0.name(),
                        &key.1,
                        *count,
                        said,
                    ]
                })
            })
            .collect();
        if rows.is_empty() {
            return None;
        }
        let columns = [
            Column::text("at"),
            Column::id("call"),
            Column::id("reason"),
            Column::number("times"),
            Column::text("one of them said"),
        ];
        Some(Table::new(columns, rows))
    }

    fn verdict(&self) -> Result<(), Failure> {
        if !self.problems.is_empty() {
            return Err(Failure::new(
                ExitCode::CheckFailed,
                format!("what was found is wrong:\n  {}", self.problems.join("\n  ")),
            ));
        }
        let failed: u64 = self.rows().map(|row| row.book.failed()).sum();
        if failed > 0 {
            return Err(Failure::new(
                ExitCode::CheckFailed,
                format!("{failed} calls failed; the figures are of those that did not"),
            ));
        }
        if let Some(idle) = self.rows().find(|row| row.per_second() <= 0.0) {
            return Err(Failure::new(
                ExitCode::CheckFailed,
                format!(
                    "{}, {}: nothing was done within the measured time",
                    idle.what, idle.arrival
                ),
            ));
        }
        Ok(())
    }
}

/// Names of the ceilings.
pub const BARE: &str = "bare call";
pub const RAW: &str = "raw append";
pub const ONE_APPEND: &str = "one append a call";
const FLOOR: &str = "(raw append + bare call)";

impl Report {
    /// Sets every result against the ceilings of its own load, the raw append with many in flight, and a lone caller's latency against
    /// what a lone append and a bare call take together.
    pub fn compare(&mut self) {
        let of = |what: &str, arrival: Arrival| {
            self.ceilings
                .iter()
                .find(|row| row.what == what && row.arrival == arrival)
        };
        let lone = Arrival::Closed { callers: 1 };
        let floor = of(BARE, lone)
            .and_then(Row::p50)
            .zip(of(RAW, lone).and_then(Row::p50))
            .map(|(call, append)| call + append);
        let many_appends = self
            .ceilings
            .iter()
            .rfind(|row| row.what == RAW && row.arrival != lone);
        for row in &mut self.results {
            let own = row.rate();
            let mut ratios = Vec::new();
            let mut rate = |of: &'static str, ceiling: Option<&Row>| {
                let ceiling = ceiling.map_or(0.0, Row::per_second);
                if ceiling > 0.0 {
                    ratios.push(Ratio {
                        of,
                        ratio: own / ceiling,
                        is_latency: false,
                    });
                }
            };
            rate(BARE, of(BARE, row.arrival));
            rate(ONE_APPEND, of(ONE_APPEND, row.arrival));
            if row.arrival == lone {
                rate(RAW, of(RAW, lone));
            } else {
                rate(RAW, many_appends);
            }
            if row.arrival == lone
                && let (Some(own), Some(floor)) = (row.p50(), floor)
            {
                ratios.push(Ratio {
                    of: FLOOR,
                    ratio: own.as_secs_f64() / floor.as_secs_f64().max(f64::EPSILON),
                    is_latency: true,
                });
            }
            row.ratios = ratios;
        }
    }
}

/// Latency over throughput, one point a load.
#[must_use]
pub fn curve(report: &Report) -> Chart {
    let lines = [("p50", 500.0), ("p99", 990.0), ("p99.9", 999.0)];
    Chart {
        title: format!("doppio bench {}: {}", report.scenario, report.subject),
        x: Axis {
            label: "a second".to_owned(),
            is_logarithmic: false,
        },
        y: Axis {
            label: "latency in ms".to_owned(),
            is_logarithmic: true,
        },
        lines: lines
            .into_iter()
            .map(|(name, permille)| Line {
                name: name.to_owned(),
                points: report
                    .results
                    .iter()
                    .filter_map(|row| {
                        Some(Point {
                            x: row.rate(),
                            y: row.tally()?.at(permille).as_secs_f64() * 1_000.0,
                        })
                    })
                    .collect(),
            })
            .collect(),
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "calls of one run: fewer than 2^52"
)]
fn per_second(done: u64, measured: Duration) -> f64 {
    done as f64 / measured.as_secs_f64().max(f64::EPSILON)
}

fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// A number for people: grouped, without decimals where it has digits enough.
fn shown(number: f64) -> String {
    if number < 100.0 {
        return format!("{number:.1}");
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float that is too large becomes the largest integer"
    )]
    amount(number.round() as i64, 0)
}

fn table(rows: &[Row]) -> Table {
    let columns = [
        Column::text("what"),
        Column::id("load"),
        Column::number("per second"),
        Column::number("p50"),
        Column::number("p99"),
        Column::number("p99.9").spare(2),
        Column::number("max").spare(3),
        Column::number("failed").spare(4),
        Column::number("load's cpu").spare(5),
        Column::text("compared"),
    ];
    Table::new(columns, rows.iter().flat_map(lines))
}

/// A row's main figure, then the other kinds of calls in it.
fn lines(row: &Row) -> Vec<Vec<Cell>> {
    let line = |what: String, per_second: f64, tally: Option<&Tally>, is_first: bool| {
        let tally = tally.filter(|tally| !tally.latency.is_empty());
        let at = |permille: f64| {
            tally.map_or_else(String::new, |tally| Shown(tally.at(permille)).to_string())
        };
        let first = |text: String| if is_first { text } else { String::new() };
        row![
            what,
            first(row.arrival.to_string()),
            shown(per_second),
            at(500.0),
            at(990.0),
            at(999.0),
            tally.map_or_else(String::new, |tally| Shown(tally.max()).to_string()),
            first(row.book.failed().to_string()),
            first(format!("{:.2}", row.load_processors())),
            first(compared(&row.ratios)),
        ]
    };
    let others = row
        .book
        .kinds()
        .filter(|(kind, _)| row.counts_commands() || *kind != row.kind)
        .map(|(kind, tally)| {
            let rate = per_second(tally.done, row.measured);
            line(format!("  {}", kind.name()), rate, Some(tally), false)
        });
    let main = if row.counts_commands() {
        line(format!("{}: commands", row.what), row.rate(), None, true)
    } else {
        line(row.what.clone(), row.rate(), row.tally(), true)
    };
    std::iter::once(main).chain(others).collect()
}

fn findings(found: &[Finding]) -> Table {
    let columns = [
        Column::text("what"),
        Column::number("value"),
        Column::id("unit"),
        Column::text("note"),
    ];
    let rows = found
        .iter()
        .map(|found| row![&found.what, shown(found.value), found.unit, &found.note,]);
    Table::new(columns, rows)
}

fn compared(ratios: &[Ratio]) -> String {
    let texts: Vec<String> = ratios
        .iter()
        .map(|ratio| {
            if ratio.is_latency {
                format!("p50 {:.2} × {}", ratio.ratio, ratio.of)
            } else if ratio.ratio < 1.0 {
                format!("{:.0} % of {}", ratio.ratio * 100.0, ratio.of)
            } else {
                format!("{:.1} × {}", ratio.ratio, ratio.of)
            }
        })
        .collect();
    texts.join("; ")
}

fn uses(rows: &[Row]) -> Option<Table> {
    let cells: Vec<_> = rows
        .iter()
        .flat_map(|row| {
            row.uses.iter().map(move |used| {
                row![
                    &row.what,
                    row.arrival.to_string(),
                    &used.name,
                    format!("{:.2}", used.processors),
                    megabytes(used.resident_bytes),
                    megabytes(used.peak_bytes),
                ]
            })
        })
        .collect();
    if cells.is_empty() {
        return None;
    }
    let columns = [
        Column::text("what"),
        Column::id("load"),
        Column::id("process"),
        Column::number("cpu"),
        Column::number("memory"),
        Column::number("at most").spare(1),
    ];
    Some(Table::new(columns, cells))
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}
