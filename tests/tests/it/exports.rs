//! Exports as whoever takes them sees them: over HTTP by a reader that shares no code with Doppio, from the command line, over gRPC.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use contract::api::query::{ExportSalesRequest, ExportTable};
use integration_tests::Postgres;
use integration_tests::services::doppio;
use read_model::ReadModel;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tokio::process::Command;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::settlement::{PATIENCE, Rig, settle};

/// Fetches every table as CSV and as Parquet, holds one against the other, and sums up.
async fn independent_reader(rig: &Rig, query: &str) -> Result<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("export_reader/export_reader.py");
    let mut reader = Command::new("python3");
    reader
        .arg("-B")
        .arg(script)
        .args([&rig.url, query])
        .kill_on_drop(true);
    if let Some(path) = std::env::var_os("DOPPIO_TEST_PYTHONPATH") {
        reader.env("PYTHONPATH", path);
    }
    let output = tokio::time::timeout(4 * PATIENCE, reader.output())
        .await
        .context("the reader does not end")??;
    let [said, complaints] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(
        !complaints.contains("ModuleNotFoundError"),
        "pyarrow or pandas is missing; run `./test`, which installs it:\n{complaints}"
    );
    ensure!(output.status.success(), "{said}{complaints}");
    Ok(serde_json::from_str(&said)?)
}

/// The worked example's two days and an americano in London.
async fn equals_the_example(rig: &Rig) -> Result<()> {
    let ledger = settle(rig).await?;
    let tokens = rig.token(&ledger)?;
    let query = format!(
        "store=gangnam&at_least={}",
        tokens.first().context("a token")?
    );
    let found = independent_reader(rig, &query).await?;
    // P to E; 46,200 sold, 18,928 given back.
    let expected = json!({
        "orders": { "rows": 7, "gross": 53_200, "discount": 7_000, "net": 46_200, "vat": 3_808 },
        "order_lines": { "rows": 9, "quantity": 13, "gross": 53_200, "discount": 7_000, "net": 46_200, "vat": 3_808 },
        "refunds": { "rows": 4, "gross": 19_700, "discount": 772, "net": 18_928, "vat": 1_720 },
        "refund_lines": { "rows": 4, "quantity": 4, "gross": 19_700, "discount": 772, "net": 18_928, "vat": 1_720 },
        "tenders": { "rows": 11, "tendered": 55_500, "change_given": 9_300, "taken": 46_200, "returned": 18_928 },
        "z_reports": {
            "rows": 2, "sales_count": 7, "sales_gross": 53_200, "sales_discount": 7_000, "sales_net": 46_200, "sales_vat": 3_808,
            "voids_net": 5_200, "refunds_same_day_net": 4_228, "refunds_prior_days_net": 9_500, "turnover_gross": 33_500,
            "turnover_net": 27_272, "turnover_vat": 2_088,
        },
    });
    ensure!(found == expected, "{found:#}\nis not\n{expected:#}");
    let today = independent_reader(rig, "store=gangnam&from=2026-03-02&to=2026-03-02").await?;
    ensure!(
        today["orders"]["rows"] == 5
            && today["refunds"]["rows"] == 4
            && today["z_reports"]["turnover_net"] == 12_772,
        "{today:#}"
    );
    let all = independent_reader(rig, "").await?;
    ensure!(
        all["orders"]["rows"] == 8 && all["z_reports"]["rows"] == 3,
        "{all:#}"
    );
    let none = independent_reader(rig, "from=2030-01-01").await?;
    ensure!(
        none["orders"]["rows"] == 0 && none["z_reports"]["rows"] == 0,
        "{none:#}"
    );
    refusals(rig).await?;
    command_line(rig).await
}

async fn refusals(rig: &Rig) -> Result<()> {
    let valid = ExportSalesRequest {
        table: ExportTable::Orders.into(),
        ..ExportSalesRequest::default()
    };
    for (request, code, because, field) in [
        (
            ExportSalesRequest {
                table: 0,
                ..valid.clone()
            },
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
            "table",
        ),
        (
            ExportSalesRequest {
                table: 77,
                ..valid.clone()
            },
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
            "table",
        ),
        (
            ExportSalesRequest {
                store_ids: vec!["No".into()],
                ..valid.clone()
            },
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
            "store_ids[0]",
        ),
        (
            ExportSalesRequest {
                first_business_date: "x".into(),
                ..valid.clone()
            },
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
            "first_business_date",
        ),
        (
            ExportSalesRequest {
                first_business_date: "2026-03-02".into(),
                last_business_date: "2026-03-01".into(),
                ..valid.clone()
            },
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
            "last_business_date",
        ),
        (
            ExportSalesRequest {
                store_ids: vec!["nowhere".into()],
                ..valid.clone()
            },
            Code::NotFound,
            "UNKNOWN_STORE",
            "",
        ),
        (
            ExportSalesRequest {
                at_least: vec!["x".into()],
                ..valid
            },
            Code::InvalidArgument,
            "MALFORMED_CONSISTENCY_TOKEN",
            "at_least[0]",
        ),
    ] {
        let status = rig
            .client
            .clone()
            .export_sales(request.clone())
            .await
            .err()
            .with_context(|| format!("{request:?} is refused"))?;
        let details = status.get_error_details();
        let reason = details
            .error_info()
            .map(|info| info.reason.clone())
            .unwrap_or_default();
        ensure!(
            (status.code(), reason.as_str()) == (code, because),
            "{request:?}: {status:?}"
        );
        let named = details
            .bad_request()
            .and_then(|bad| bad.field_violations.first())
            .map(|one| one.field.clone())
            .unwrap_or_default();
        ensure!(named == field, "{request:?}: {named}");
    }
    Ok(())
}

async fn command_line(rig: &Rig) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("lines.parquet");
    let file = file.to_string_lossy();
    let at = ["--query-server", rig.url.as_str()];
    let output = doppio(
        &[
            &["export", "order-lines", "--output", &file, "--json"][..],
            &at,
        ]
        .concat(),
    )
    .await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let summary: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(
        summary["rows"] == 10 && summary["table"] == "order_lines" && summary["as_of"].is_string(),
        "{summary}"
    );
    let bytes = std::fs::read(&*file)?;
    ensure!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    let output = doppio(
        &[
            &[
                "export",
                "orders",
                "--store",
                "gangnam",
                "--from",
                "2026-03-02",
            ][..],
            &at,
        ]
        .concat(),
    )
    .await?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.success()
            && text.lines().count() == 6
            && text.starts_with("store_id,order_id,"),
        "{text}"
    );
    // Refused: nothing half done is left.
    let output = doppio(
        &[
            &["export", "orders", "--store", "nowhere", "--output", &file][..],
            &at,
        ]
        .concat(),
    )
    .await?;
    ensure!(
        output.status.code() == Some(3) && std::fs::read(&*file)? == bytes,
        "{:?}",
        output.status
    );
    ensure!(
        std::fs::read_dir(directory.path())?.count() == 1,
        "something is left"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exports_equal_the_example_on_sqlite() -> Result<()> {
    let rig = Rig::embedded().await?;
    equals_the_example(&rig).await?;
    rig.stop.finish(PATIENCE).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exports_equal_the_example_and_the_views_on_postgresql() -> Result<()> {
    let url = Postgres::shared().await?.fresh_database().await?.url;
    let rig = Rig::on(|_| Ok(ReadModel::open(&url)?)).await?;
    equals_the_example(&rig).await?;
    // A view and an export of one name have the same columns in the same order.
    let mut connection = PgConnection::connect(&url).await?;
    for table in read_model::ExportTable::ALL {
        let sql = format!(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = 'doppio_analytics.{}'::regclass AND attnum > 0 ORDER BY attnum",
            table.name()
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .fetch_all(&mut connection)
            .await?;
        let view = rows
            .iter()
            .map(|row| row.try_get::<String, _>(0))
            .collect::<Result<Vec<_>, _>>()?;
        let export: Vec<_> = table.columns().iter().map(|column| column.name).collect();
        ensure!(view == export, "{table:?}: {view:?} and {export:?}");
    }
    rig.stop.finish(PATIENCE).await;
    Ok(())
}
