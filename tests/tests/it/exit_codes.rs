//! What `doppio` ends with is what README.md and `doppio --help` say, for every command.

use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use doppio::data_dir::DataDir;
use integration_tests::services::doppio;
use sqlx::{Connection as _, SqliteConnection};

const DONE: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const REFUSED: i32 = 3;
const UNAVAILABLE: i32 = 4;
const CHECK_FAILED: i32 = 5;
/// Nobody has ever made such an order or member.
const NOBODY: &str = "01a20662-f4ee-72d0-911e-b11ac4044a22";

/// Runs each command; all that end otherwise than they should are told at once. `words`: split at spaces.
async fn check(table: &[(i32, String)]) -> Result<()> {
    let mut wrong = Vec::new();
    for (expected, words) in table {
        let arguments: Vec<&str> = words.split_whitespace().collect();
        let output = doppio(&arguments).await?;
        let code = output.status.code();
        let said = String::from_utf8_lossy(&output.stderr);
        if code != Some(*expected) {
            wrong.push(format!(
                "doppio {words}\n  ends with {code:?}, not {expected}: {said}"
            ));
        }
        // Whoever fails says why.
        if *expected != DONE && said.trim().is_empty() {
            wrong.push(format!("doppio {words}\n  says nothing"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn row(code: i32, words: impl Into<String>) -> (i32, String) {
    (code, words.into())
}

async fn sell(data: &str, orders: usize) -> Result<()> {
    for _ in 0..orders {
        let order = format!("order place --store gangnam --item americano --data {data}");
        check(&[row(DONE, order)]).await?;
    }
    Ok(())
}

fn text(path: &Path) -> Result<String> {
    let text = path.to_str().context("a path of plain text")?;
    ensure!(!text.contains(char::is_whitespace), "{text}");
    Ok(text.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_ends_with_the_code_that_is_documented() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (data, root) = (
        text(&directory.path().join("data"))?,
        text(directory.path())?,
    );
    check(&[row(DONE, format!("log init --data {data}"))]).await?;
    sell(&data, 3).await?;
    std::fs::write(directory.path().join("settings.toml"), "read_modell = 1\n")?;
    std::fs::write(directory.path().join("catalog.toml"), "stores = 3\n")?;
    // Nobody answers at the first; the second is taken by somebody else.
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let base = taken.local_addr()?.port() - 1;
    let date = "2026-03-02";
    let on = |words: &str| format!("{words} --data {data}");
    let away = |words: &str| format!("{words} --server http://127.0.0.1:{closed}");
    let table = [
        row(DONE, on("stores")),
        row(DONE, on("status")),
        row(DONE, on("doctor")),
        row(DONE, on("log info")),
        row(DONE, on("log init --if-missing")),
        row(DONE, on("events --store gangnam")),
        row(DONE, on("sales day --store gangnam")),
        row(DONE, on(&format!("sales range --from {date} --to {date}"))),
        row(DONE, on("order list --store gangnam")),
        row(DONE, on("settle x --store gangnam")),
        row(DONE, on("settle list --store gangnam")),
        row(DONE, on("settle verify")),
        row(DONE, on("export orders")),
        row(DONE, "--help"),
        row(DONE, "--version"),
        // What is none of the others.
        row(
            FAILED,
            on(&format!("export orders --output {root}/nowhere/orders.csv")),
        ),
        row(FAILED, on(&format!("up --listen 127.0.0.1:{base}"))),
        // The command line, the settings, an input file.
        row(USAGE, "guess"),
        row(USAGE, "order"),
        row(USAGE, on("order place --store gangnam")),
        row(
            USAGE,
            on("order place --store gangnam --item americano --pay shells"),
        ),
        row(
            USAGE,
            on("settle close --store gangnam --date 2026-03-02 --count many"),
        ),
        row(
            USAGE,
            on("settle cash --store gangnam theft 5 --date 2026-03-02"),
        ),
        row(
            USAGE,
            on("sales range --from 2026-03-02 --to 2026-03-02 --by nonsense"),
        ),
        row(USAGE, on("events --store Not_A_Store!")),
        row(USAGE, on("settle verify --store Not_A_Store!")),
        row(USAGE, on("export orders --json")),
        row(
            USAGE,
            on("member register --name A --phone +821012345678 --tier diamond"),
        ),
        row(USAGE, "health"),
        row(USAGE, "status --server nonsense"),
        row(USAGE, format!("stores --data {root}/nowhere")),
        row(
            USAGE,
            format!("events --store gangnam --log sqlite:{root}/nowhere.db"),
        ),
        row(USAGE, format!("log info --log sqlite:{root}/nowhere.db")),
        row(USAGE, "log info --log nonsense"),
        row(USAGE, on(&format!("up --config {root}/settings.toml"))),
        row(USAGE, on(&format!("up --config {root}/nowhere.toml"))),
        row(USAGE, on(&format!("up --catalog {root}/catalog.toml"))),
        row(USAGE, on(&format!("up --catalog {root}/nowhere.toml"))),
        row(USAGE, on("up --read-model nonsense")),
        row(USAGE, on("up --member-db nonsense")),
        // The system refused.
        row(REFUSED, on("log init")),
        row(REFUSED, on("order place --store atlantis --item americano")),
        row(REFUSED, on("order place --store gangnam --item lembas")),
        row(
            REFUSED,
            on("order place --store gangnam --item americano --total 1"),
        ),
        row(REFUSED, on(&format!("order show --store gangnam {NOBODY}"))),
        row(
            REFUSED,
            on(&format!("order complete --store gangnam {NOBODY}")),
        ),
        row(REFUSED, on(&format!("member show {NOBODY}"))),
        row(REFUSED, on("member check --phone +821012345678")),
        row(REFUSED, on("sales day --store atlantis")),
        row(REFUSED, on("sales range --from 2026-03-02 --to 2026-03-01")),
        row(REFUSED, on("settle show --store gangnam --z 99")),
        row(
            REFUSED,
            on("settle close --store gangnam --date 2999-01-01"),
        ),
        row(REFUSED, on("settle verify --store atlantis")),
        row(REFUSED, on("events --store atlantis")),
        row(REFUSED, on("events --store gangnam --from 99")),
        row(REFUSED, on("export orders --from nonsense")),
        // Nobody is there, or not now.
        row(UNAVAILABLE, away("stores")),
        row(UNAVAILABLE, away("status")),
        row(UNAVAILABLE, away("health")),
        row(UNAVAILABLE, away("order list --store gangnam")),
        row(UNAVAILABLE, away("sales day --store gangnam")),
        row(UNAVAILABLE, away("settle x --store gangnam")),
        row(UNAVAILABLE, away("export orders")),
        row(UNAVAILABLE, away("member check --phone +821012345678")),
        row(
            UNAVAILABLE,
            format!("log info --log nats://127.0.0.1:{closed}"),
        ),
        row(
            UNAVAILABLE,
            format!("events --store gangnam --log nats://127.0.0.1:{closed}"),
        ),
        // A check found something: no service is there.
        row(CHECK_FAILED, away("doctor")),
    ];
    check(&table).await?;
    drop(taken);

    let held = DataDir::hold(Path::new(&data)).map_err(|failure| failure.error)?;
    check(&[
        row(UNAVAILABLE, on("stores")),
        row(UNAVAILABLE, on("settle verify")),
        row(UNAVAILABLE, on("log info")),
        row(UNAVAILABLE, on("up")),
    ])
    .await?;
    drop(held);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_chain_is_what_a_check_found() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let words = text(&data)?;
    check(&[row(DONE, format!("log init --data {words}"))]).await?;
    sell(&words, 3).await?;
    let mut log =
        SqliteConnection::connect(&format!("sqlite:{}", data.join("log.db").display())).await?;
    sqlx::query(
        "UPDATE records SET body = CAST(substr(body, 1, length(body) - 1) || x'FF' AS BLOB) WHERE revision = 2",
    )
    .execute(&mut log)
    .await?;
    let verify = format!("settle verify --data {words}");
    check(&[
        row(CHECK_FAILED, verify.as_str()),
        row(
            CHECK_FAILED,
            format!("settle verify --store gangnam --data {words}"),
        ),
        row(
            CHECK_FAILED,
            format!("events --store gangnam --data {words}"),
        ),
    ])
    .await?;
    let output = doppio(&verify.split_whitespace().collect::<Vec<_>>()).await?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(said.contains("gangnam, revision 2"), "{said}");
    // What was written is not to be decoded above; here the log itself finds no record, or none that follows.
    for body in ["x'00'", "(SELECT body FROM records WHERE revision = 3)"] {
        let alter = format!("UPDATE records SET body = {body} WHERE revision = 2");
        sqlx::query(sqlx::AssertSqlSafe(alter))
            .execute(&mut log)
            .await?;
        let events = format!("events --store gangnam --data {words}");
        check(&[
            row(CHECK_FAILED, verify.as_str()),
            row(CHECK_FAILED, events.as_str()),
        ])
        .await?;
        let output = doppio(&events.split_whitespace().collect::<Vec<_>>()).await?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(said.contains("is broken at revision 2"), "{said}");
    }
    log.close().await?;
    Ok(())
}
