//! The descriptions: for tools, and for people.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::http;
use serde_json::Value;
use tokio::process::Command;

use super::Stand;

const VALIDATOR_LIMIT: Duration = Duration::from_secs(120);

/// By a program that shares no code with Doppio.
async fn is_valid(description: &Path) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/validate.py");
    let mut validator = Command::new("python3");
    validator
        .arg("-B")
        .arg(script)
        .arg(description)
        .kill_on_drop(true);
    if let Some(path) = std::env::var_os("DOPPIO_TEST_PYTHONPATH") {
        validator.env("PYTHONPATH", path);
    }
    let output = tokio::time::timeout(VALIDATOR_LIMIT, validator.output())
        .await
        .context("the validator does not end")?
        .context("python3 does not start")?;
    let said = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    ensure!(
        !said.contains("ModuleNotFoundError"),
        "openapi-spec-validator is missing; run `./test`, which installs it:\n{said}"
    );
    ensure!(output.status.success(), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_service_describes_itself_for_tools_and_for_people() -> Result<()> {
    let stand = Stand::embedded().await?;
    let directory = tempfile::tempdir()?;
    for (address, services, comment) in [
        (
            stand.ordering,
            &[ordering::SERVICE][..],
            "Records a paid order. The answer leaves once it is durable.",
        ),
        (
            stand.query,
            &query_api::SERVICES[..],
            "The orders of one business date, by ticket number.",
        ),
    ] {
        let answer = http::get(address, "/v1/openapi.json").await?;
        let file = directory.path().join("openapi.json");
        std::fs::write(&file, &answer.body)?;
        is_valid(&file).await?;
        let description = answer.json()?;
        ensure!(description["openapi"] == "3.1.1");
        ensure!(
            answer.text().contains(comment),
            "the protos' comments are missing"
        );

        let page = http::get(address, "/v1/").await?;
        ensure!(page.header("content-type") == "text/html; charset=utf-8");
        let page = page.text();
        ensure!(page.contains(comment));
        for foreign in ["http://", "https://", "<script", "<link", "url("] {
            ensure!(!page.contains(foreign), "the page needs {foreign}");
        }
        let pool = prost_reflect::DescriptorPool::decode(contract::DESCRIPTORS)?;
        let described = operations(&description)?;
        for service in services {
            let service = pool.get_service_by_name(service).context("a service")?;
            for method in service.methods() {
                let id = format!("{}_{}", service.name(), method.name());
                ensure!(described.contains(&id), "{id} is not described");
                ensure!(
                    page.contains(&format!("id=\"{id}\"")),
                    "{id} is not on the page"
                );
            }
        }
        links_lead_somewhere(&page)?;
        for front in ["/", "/v1"] {
            let answer = http::get(address, front).await?;
            ensure!(answer.header("location") == "/v1/", "{answer:?}");
        }
    }
    Ok(())
}

fn operations(description: &Value) -> Result<BTreeSet<String>> {
    let paths = description["paths"].as_object().context("paths")?;
    let operations = paths
        .values()
        .filter_map(Value::as_object)
        .flat_map(|item| item.values());
    Ok(operations
        .filter_map(|operation| operation["operationId"].as_str())
        .map(str::to_owned)
        .collect())
}

fn links_lead_somewhere(page: &str) -> Result<()> {
    let targets: BTreeSet<&str> = page
        .split("id=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let links = page.split("href=\"#").skip(1);
    for link in links.filter_map(|rest| rest.split('"').next()) {
        ensure!(targets.contains(link), "nothing on the page is {link}");
    }
    Ok(())
}
