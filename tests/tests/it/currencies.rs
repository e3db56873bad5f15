//! A catalog that gives a store another currency than its ledger has for ever is told of where people look.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::services::{doppio, free_ports, program_path};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

const STORE: &str = "gangnam";
const PATIENCE: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(100);
const CHECK_FAILED: i32 = 5;

async fn until(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let limit = Instant::now() + PATIENCE;
    while !holds().await? {
        ensure!(Instant::now() < limit, "{what}");
        sleep(LOOK).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_currency_is_told_at_the_reload_and_by_the_doctor() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (catalog, said) = (
        directory.path().join("catalog.toml"),
        directory.path().join("said"),
    );
    let menu = crate::shop::catalog(&[STORE.to_owned()]);
    std::fs::write(&catalog, &menu)?;
    let base = free_ports(5)?;
    let out = std::fs::File::create(&said)?;
    let _process = Command::new(program_path("doppio")?)
        .args(["up", "--data"])
        .arg(directory.path().join("data"))
        .arg("--catalog")
        .arg(&catalog)
        .args(["--listen", &format!("127.0.0.1:{base}")])
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .kill_on_drop(true)
        .spawn()?;
    let server = format!("http://127.0.0.1:{base}");
    let run = async |words: &str| {
        let words: Vec<&str> = words
            .split(' ')
            .chain(["--server", server.as_str()])
            .collect();
        doppio(&words).await
    };
    let place = format!("order place --store {STORE} --item americano");
    until("nothing is sold", async || {
        Ok(run(&place).await?.status.success())
    })
    .await?;
    until("the doctor sees something wrong", async || {
        Ok(run("doctor").await?.status.success())
    })
    .await?;

    std::fs::write(&catalog, menu.replace("KRW", "GBP"))?;
    let is_told = || -> Result<bool> {
        let text = std::fs::read_to_string(&said)?;
        let reloaded = text
            .split_once("catalog reloaded")
            .map_or("", |(_, after)| after);
        Ok(reloaded.lines().any(|line| {
            line.contains("sells nothing until its catalog is corrected") && line.contains(STORE)
        }))
    };
    until("the reload says nothing of the currency", async || {
        is_told()
    })
    .await?;
    let doctor = run("doctor").await?;
    let found = String::from_utf8_lossy(&doctor.stdout).into_owned();
    ensure!(doctor.status.code() == Some(CHECK_FAILED), "{found}");
    ensure!(
        found.contains("KRW for ever") && found.contains("its catalog says GBP"),
        "{found}"
    );
    let refused = run(&place).await?;
    let why = String::from_utf8(refused.stderr).context("plain text")?;
    ensure!(why.contains("CURRENCY_CHANGED"), "{why}");

    // Corrected, it sells on.
    std::fs::write(&catalog, &menu)?;
    until("nothing is sold any more", async || {
        Ok(run(&place).await?.status.success())
    })
    .await?;
    ensure!(run("doctor").await?.status.success());
    Ok(())
}
