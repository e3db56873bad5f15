//! Every scenario of `doppio bench` runs, and says what it found. How fast anything is, no test looks at.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use integration_tests::nats::Nats;
use integration_tests::postgres::Postgres;
use integration_tests::services::doppio;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

/// Seconds that are measured. A machine that stood still for all of the first is asked again for longer: how fast it is, is no matter here.
const SECONDS: [&str; 3] = ["0.7", "5", "25"];
/// What a bench says of a load during which nothing was done.
const STOOD_STILL: &str = "nothing was done within the measured time";

async fn run(words: &str) -> Result<(i32, String, String)> {
    let words: Vec<&str> = words.split_whitespace().collect();
    let output = doppio(&words).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((
        output.status.code().context("killed")?,
        text(&output.stdout),
        text(&output.stderr),
    ))
}

/// What a bench that ends well found.
async fn found(words: &str) -> Result<Value> {
    let mut last = String::new();
    for seconds in SECONDS {
        let measured = format!("--seconds {seconds} --warm-up 0.1 --json");
        let (code, said, complained) = run(&format!("bench {words} {measured}")).await?;
        if code == 0 {
            return serde_json::from_str(&said).with_context(|| format!("{words} says {said}"));
        }
        last = format!("{words} ends with {code}: {complained}{said}");
        if !complained.contains(STOOD_STILL) {
            break;
        }
    }
    anyhow::bail!(last)
}

fn rows<'a>(report: &'a Value, list: &str) -> Result<&'a Vec<Value>> {
    report[list].as_array().context("a list of rows")
}

fn all_did_something(report: &Value) -> Result<()> {
    for list in ["results", "ceilings"] {
        for row in rows(report, list)? {
            let done = row["per_second"].as_f64().unwrap_or_default();
            ensure!(done > 0.0, "{list}: {row}");
            ensure!(row["failures"] == Value::Array(Vec::new()), "{row}");
        }
    }
    Ok(())
}

fn whats(report: &Value, list: &str) -> Result<Vec<String>> {
    let what = |row: &Value| row["what"].as_str().unwrap_or_default().to_owned();
    Ok(rows(report, list)?.iter().map(what).collect())
}

/// A catch-up says how fast the same rows are loaded without a projector. How many rows that are.
fn rows_of_the_bulk_load(report: &Value) -> Result<u64> {
    let findings = rows(report, "findings")?;
    let named = |what: &str| findings.iter().find(|finding| finding["what"] == what);
    let ratio = named("speed of the bulk load").with_context(|| format!("no ratio: {report}"))?;
    ensure!(ratio["value"].as_f64() > Some(0.0), "{ratio}");
    let load = named("bulk load").with_context(|| format!("no bulk load: {report}"))?;
    let note = load["note"].as_str().unwrap_or_default();
    let rows = note.split(' ').next().unwrap_or_default();
    rows.parse().with_context(|| format!("rows: {note}"))
}

async fn projected_orders(url: &str) -> Result<i64> {
    let mut database = PgConnection::connect(url).await?;
    let orders = sqlx::query_scalar("SELECT count(*) FROM doppio_read.orders")
        .fetch_one(&mut database)
        .await?;
    database.close().await?;
    Ok(orders)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn placing_is_set_against_every_ceiling_of_the_same_run() -> Result<()> {
    let report = found("place --callers 1,4").await?;
    all_did_something(&report)?;
    let mut ceilings = whats(&report, "ceilings")?;
    ceilings.sort_unstable();
    ceilings.dedup();
    ensure!(
        ceilings == ["bare call", "one append a call", "raw append"],
        "{ceilings:?}"
    );
    let results = rows(&report, "results")?;
    ensure!(results.len() == 2, "one row for each number of callers");
    for row in results {
        let ratios = row["ratios"].as_array().context("ratios")?;
        ensure!(ratios.len() >= 3, "{row}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_runs_and_soak_finds_everything_again() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let chart = directory.path().join("curve.svg");
    let drawn = |words: &str| format!("{words} --svg {}", chart.display());
    for words in [
        drawn("place --rate 50 --no-ceilings"),
        "kitchen --callers 4 --no-ceilings".to_owned(),
        "mixed --callers 4 --stores 3 --no-ceilings".to_owned(),
        "many-stores --callers 4 --stores 50 --no-ceilings".to_owned(),
        "lag --callers 4 --no-ceilings".to_owned(),
        drawn("open-orders --open 0,30 --callers 4 --no-ceilings"),
    ] {
        let report = found(&words).await?;
        ensure!(!rows(&report, "results")?.is_empty(), "{words}");
        all_did_something(&report).context(words)?;
    }
    let svg = std::fs::read_to_string(&chart)?;
    ensure!(
        svg.contains("polyline") && svg.contains("open orders"),
        "{svg}"
    );
    for words in [
        "cold-start --open 30 --starts 1 --callers 4",
        "catch-up --orders 30 --callers 4",
        "soak --callers 4 --stores 3",
    ] {
        let report = found(words).await?;
        ensure!(!rows(&report, "findings")?.is_empty(), "{words}");
        ensure!(rows(&report, "problems")?.is_empty(), "{words}: {report}");
        if words.starts_with("catch-up") {
            // An order is a row of its own, and so are the fact of its sale, its line and its tender.
            let rows = rows_of_the_bulk_load(&report)?;
            ensure!(rows > 4 * 30, "{rows} rows of 30 orders");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_processes_are_measured_twice_on_one_log() -> Result<()> {
    let nats = Nats::single().await?;
    let postgres = Postgres::shared().await?;
    let log = nats.urls().join(",");
    let read_model = postgres.fresh_database().await?.url;
    let members = postgres.fresh_database().await?.url;
    let on = format!(
        "place --callers 4 --log {log} --read-model {read_model} --member-db {members} --members 0.5 --retries 0.5 --kitchen"
    );
    let (code, _, complained) = run(&format!("bench {on}")).await?;
    ensure!(
        code == 2 && complained.contains("doppio log init"),
        "{code}: {complained}"
    );
    let (code, _, complained) = run(&format!("log init --log {log}")).await?;
    ensure!(code == 0, "{complained}");
    let apart = format!("{on} --processes");
    for words in [&on, &apart, &apart] {
        all_did_something(&found(words).await?)?;
    }
    let report = found(&apart).await?;
    let processes = report["results"][0]["processes"]
        .as_array()
        .context("processes")?;
    let names: Vec<_> = processes.iter().map(|used| &used["name"]).collect();
    ensure!(
        !Path::new("/proc/self/stat").exists()
            || names == ["ordering", "member", "status-projector", "query-api"],
        "{names:?}"
    );
    found(&format!(
        "cold-start --open 30 --starts 1 --callers 4 --log {log} --read-model {read_model} --processes"
    ))
    .await?;
    let (into, bulk) = (
        postgres.fresh_database().await?.url,
        postgres.fresh_database().await?.url,
    );
    let report = found(&format!(
        "catch-up --orders 30 --callers 4 --log {log} --read-model {read_model} --into {into} --bulk-into {bulk}"
    ))
    .await?;
    rows_of_the_bulk_load(&report)?;
    let (projected, loaded) = (
        projected_orders(&into).await?,
        projected_orders(&bulk).await?,
    );
    ensure!(
        projected >= 30 && projected == loaded,
        "{loaded} of {projected} orders are loaded"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_measured_is_said() -> Result<()> {
    for (code, words, why) in [
        (2, "place --callers 0", "callers"),
        (2, "place --rate 0", "must be"),
        (2, "place --rate 5 --callers 5", "cannot be used with"),
        (2, "place --members 2", "must be 0 to 1"),
        (2, "place --stores 0", "--stores is 1 to"),
        (2, "place --store gangnam", "--server"),
        (2, "place --processes", "--log"),
        (2, "place --pid ordering", "NAME=PID"),
        (2, "place --server http://127.0.0.1:9", "--store ID"),
        (2, "open-orders --open 5,4", "--open only grows"),
        (
            2,
            "catch-up --into postgres://127.0.0.1/nothing",
            "--bulk-into",
        ),
        (
            2,
            "catch-up --bulk-into postgres://127.0.0.1/nothing",
            "--bulk-into",
        ),
        (
            2,
            "catch-up --into sqlite:a --bulk-into sqlite://a",
            "two read models",
        ),
        (
            4,
            "place --server http://127.0.0.1:9 --store gangnam",
            "nobody",
        ),
    ] {
        let (ended, _, complained) = run(&format!("bench {words}")).await?;
        let is_said = complained.contains(why) || why == "nobody";
        ensure!(ended == code && is_said, "{words}: {ended} {complained}");
    }
    Ok(())
}
