//! A client that shares no code with Doppio, on the four services.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use doppio::data_dir::DataDir;
use doppio::system::{Plan, System};
use tokio::process::Command;

const STOP_GRACE: Duration = Duration::from_secs(10);
/// The client takes two seconds; many more mean that a call hangs.
const CLIENT_LIMIT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_client_orders_reads_back_and_is_refused_as_documented() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = DataDir::hold(&directory.path().join("data")).map_err(|failure| failure.error)?;
    let plan = Plan::embedded(data).map_err(|failure| failure.error)?;
    let system = System::start(plan).await.map_err(|failure| failure.error)?;
    let addresses = system.addresses;

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("stock_client/stock_client.py");
    let mut client = Command::new("python3");
    client
        .arg("-B")
        .arg(script)
        .args(["--member", &addresses.member.to_string()])
        .args(["--ordering", &addresses.ordering.to_string()])
        .args(["--query", &addresses.query.to_string()])
        .kill_on_drop(true);
    if let Some(path) = std::env::var_os("DOPPIO_TEST_PYTHONPATH") {
        client.env("PYTHONPATH", path);
    }
    let output = tokio::time::timeout(CLIENT_LIMIT, client.output())
        .await
        .context("the client does not end")?;
    let output = output.context("python3 does not start")?;
    system
        .stop(STOP_GRACE)
        .await
        .map_err(|failure| failure.error)?;
    let said = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    ensure!(
        !said.contains("ModuleNotFoundError"),
        "the client's packages are missing; run `./test`, which installs them:\n{said}"
    );
    ensure!(output.status.success(), "{said}");
    Ok(())
}
