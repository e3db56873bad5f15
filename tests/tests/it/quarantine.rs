//! Records that cannot be stored, stores that stand still, sums that do not fit, databases that are slow: what readers and operators hear.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contract::api::admin::GetProjectionStatusRequest;
use contract::api::admin::admin_service_client::AdminServiceClient;
use contract::api::query::query_service_client::QueryServiceClient;
use contract::api::query::settlement_service_client::SettlementServiceClient;
use contract::api::query::{
    ExplainFigureRequest, ExportSalesRequest, ExportTable, GetSalesRequest, GetXReportRequest,
    ListZReportsRequest,
};
use contract::api::types::Freshness;
use contract::{Money, StoreId};
use event_log::{Checkpoint, Position, RecordHash, Revision, StreamIndex};
use integration_tests::services::doppio;
use integration_tests::{Postgres, TcpProxy};
use jiff::Timestamp;
use read_model::{
    Batch, EventPlace, FactBlock, FactKind, FactRow, Facts, Fence, Generation, ReadModel,
};
use runtime::{Clock, Shutdown};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use status_projector::Config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::projector::{
    DAY, PATIENCE, Rig, get_order, orders, page, refused, sales, sound, within,
};

const LIVE: Generation = Generation(1);
/// A stream of the read model that no projector of these tests has.
const FOREIGN: StreamIndex = StreamIndex(9);

fn fact(store: &str, revision: u64, net: i64) -> Result<FactRow> {
    Ok(FactRow {
        store: StoreId::new(store)?,
        place: EventPlace {
            revision: Revision(revision),
            index: 0,
        },
        kind: FactKind::Sale,
        block: FactBlock::Sales,
        business_date: contract::BusinessDate::parse(DAY)?,
        sale_business_date: contract::BusinessDate::parse(DAY)?,
        order_id: contract::OrderId::from_uuid(uuid::Uuid::now_v7()),
        recorded_at: Timestamp::UNIX_EPOCH,
        hour: "2026-03-02T09:00+09:00".into(),
        hour_repeated: false,
        document_number: 1,
        reason_code: String::new(),
        gross: Money::new(net),
        discount: Money::ZERO,
        net: Money::new(net),
        vat: Money::ZERO,
    })
}

/// Writes facts that no record of the log stands for.
async fn plant(rig: &Rig, facts: Vec<FactRow>) -> Result<()> {
    let writer = &rig.model.writer;
    writer.prepare().await?;
    let epoch = rig.log.epoch();
    let seen = writer.stream(LIVE, FOREIGN, epoch).await?;
    let owned = writer.claim(&seen, "nobody", epoch).await?;
    let owned = owned.context("the stream is free")?;
    let fence = Fence {
        generation: LIVE,
        stream: FOREIGN,
        term: owned.term,
        position: owned.position,
    };
    let position = Position(owned.position.0 + 1);
    let checkpoint = Checkpoint {
        epoch,
        position,
        hash: RecordHash([1; 32]),
    };
    let facts = Facts {
        facts,
        ..Facts::default()
    };
    let batch = Batch {
        fence,
        checkpoint,
        head: position,
        lag_us: 0,
        orphans: 0,
        at: Timestamp::UNIX_EPOCH,
        stores: vec![],
        placed: vec![],
        orders: vec![],
        facts,
        days: vec![],
    };
    Ok(writer.commit(&batch).await?)
}

/// Of two stores whose records alternate, one meets a fact that is there already.
async fn fact_there_already(rig: Rig) -> Result<()> {
    plant(&rig, vec![fact("busan", 3, 4_500)?]).await?;
    let (mut busan, placed) = orders(&rig, "busan", 1).await?;
    let (mut gangnam, _) = orders(&rig, "gangnam", 1).await?;
    for _ in 0..20 {
        for ledger in [&mut busan, &mut gangnam] {
            let order = sound(ledger.americano())?;
            rig.append(&sound(ledger.place(order))?).await?;
        }
    }
    let (projecting, health) = rig.project("one", 1_000);
    rig.projected(&gangnam).await?;
    let serving = Shutdown::new();
    let channel = rig.serve(&serving, Clock::system()).await?;
    let mut admin = AdminServiceClient::new(channel.clone());
    let until = Instant::now() + PATIENCE;
    let store = loop {
        let status = admin
            .get_projection_status(GetProjectionStatusRequest {})
            .await?
            .into_inner();
        // What follows the record that cannot be applied is counted.
        match status.quarantined.as_slice() {
            [store] if store.skipped_records == 19 => break store.clone(),
            others => ensure!(Instant::now() < until, "{others:?}"),
        }
        sleep(Duration::from_millis(20)).await;
    };
    ensure!(
        (store.store_id.as_str(), store.revision) == ("busan", 3),
        "{store:?}"
    );
    ensure!(
        store.reason.starts_with("revision 3: ") && store.reason.contains("refuses a row"),
        "{}",
        store.reason
    );
    ensure!(health.troubles().is_empty(), "{:?}", health.troubles());
    let first = QueryServiceClient::new(channel)
        .get_order(get_order("busan", &placed[0], &[]))
        .await?
        .into_inner();
    ensure!(first.order.is_some(), "what was applied stays readable");
    projecting.finish(PATIENCE).await;
    serving.finish(PATIENCE).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fact_that_is_there_already_quarantines_its_store_alone_on_sqlite() -> Result<()> {
    fact_there_already(Rig::embedded().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fact_that_is_there_already_quarantines_its_store_alone_on_postgresql() -> Result<()> {
    fact_there_already(Rig::postgres(Postgres::shared().await?).await?).await
}

fn says_so(what: &str, freshness: Option<Freshness>) -> Result<()> {
    let freshness = freshness.with_context(|| format!("{what}: no freshness"))?;
    let [still] = freshness.quarantined.as_slice() else {
        anyhow::bail!("{what} says nothing: {freshness:?}");
    };
    ensure!(
        (
            still.store_id.as_str(),
            still.revision,
            still.skipped_records
        ) == ("busan", 4, 2)
            && still.reason.contains("cannot be read")
            && freshness.quarantined_count == 1,
        "{what}: {freshness:?}"
    );
    Ok(())
}

/// An answer's head and body.
async fn fetch(url: &str, path: &str) -> Result<(String, String)> {
    let address = url.strip_prefix("http://").context("an address")?;
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")
                .as_bytes(),
        )
        .await?;
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await??;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").context("a head")?;
    Ok((head.to_owned(), body.to_owned()))
}

/// Three of five orders of busan are applied; gangnam goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_read_of_a_store_that_stands_still_says_so() -> Result<()> {
    let rig = Rig::embedded().await?;
    let (projecting, _) = rig.project("one", 10);
    let (mut busan, placed) = orders(&rig, "busan", 3).await?;
    rig.append(&sound(busan.append_bytes(b"\xff\xff", 1))?)
        .await?;
    for _ in 0..2 {
        let order = sound(busan.americano())?;
        rig.append(&sound(busan.place(order))?).await?;
    }
    let (gangnam, others) = orders(&rig, "gangnam", 3).await?;
    rig.projected(&gangnam).await?;
    let serving = Shutdown::new();
    let url = rig
        .serve_at(&serving, Clock::manual("2026-03-02T09:00:00Z".parse()?))
        .await?;
    let channel = runtime::channel::connect_lazy(&url)?;
    let mut client = QueryServiceClient::new(channel.clone());
    let mut settlement = SettlementServiceClient::new(channel);

    let answer = client
        .get_order(get_order("busan", &placed[0], &[]))
        .await?;
    says_so("GetOrder", answer.into_inner().freshness)?;
    let mut of_busan = page(0, "");
    of_busan.store_id = "busan".into();
    let answer = client.list_orders(of_busan).await?.into_inner();
    ensure!(answer.orders.len() == 3);
    says_so("ListOrders", answer.freshness)?;
    let answer = client.get_daily_sales(sales("busan", DAY)).await?;
    says_so("GetDailySales", answer.into_inner().freshness)?;
    let answer = settlement
        .get_x_report(GetXReportRequest {
            store_id: "busan".into(),
            ..GetXReportRequest::default()
        })
        .await?;
    says_so("GetXReport", answer.into_inner().freshness)?;
    let answer = settlement
        .list_z_reports(ListZReportsRequest {
            store_id: "busan".into(),
            ..ListZReportsRequest::default()
        })
        .await?;
    says_so("ListZReports", answer.into_inner().freshness)?;
    let answer = settlement
        .explain_figure(ExplainFigureRequest {
            store_id: "busan".into(),
            business_date: DAY.into(),
            figure: "sales.net".into(),
            ..ExplainFigureRequest::default()
        })
        .await?;
    says_so("ExplainFigure", answer.into_inner().freshness)?;
    // Chain-wide, where one of the stores stands still.
    let answer = settlement
        .get_sales(GetSalesRequest {
            first_business_date: DAY.into(),
            last_business_date: DAY.into(),
            ..GetSalesRequest::default()
        })
        .await?;
    says_so("GetSales", answer.into_inner().freshness)?;
    let mut rows = settlement
        .export_sales(ExportSalesRequest {
            table: ExportTable::Orders.into(),
            ..ExportSalesRequest::default()
        })
        .await?
        .into_inner();
    let first = rows.message().await?.context("a first message")?;
    says_so("ExportSales", first.freshness)?;

    // A file, whose table every reader still takes.
    let (head, body) = fetch(&url, "/v1/export/orders.csv").await?;
    ensure!(
        head.contains("doppio-quarantined: busan@4\r\n")
            && head.contains("filename=\"orders_incomplete.csv\""),
        "{head}"
    );
    ensure!(body.matches("\"gangnam\",").count() == 3 && body.matches("\"busan\",").count() == 3);
    let (head, _) = fetch(&url, "/v1/export/orders.csv?store=gangnam").await?;
    ensure!(
        !head.contains("doppio-quarantined") && head.contains("filename=\"orders_gangnam.csv\""),
        "{head}"
    );
    let (_, body) = fetch(&url, "/v1/export/orders.parquet").await?;
    ensure!(body.contains("doppio.quarantined") && body.contains("busan@4"));

    // Who reads the other store alone hears nothing of it.
    let answer = client
        .get_order(get_order("gangnam", &others[0], &[]))
        .await?
        .into_inner();
    ensure!(
        answer
            .freshness
            .is_some_and(|freshness| freshness.quarantined.is_empty())
    );

    // The command line shows it, says so and ends with 5.
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("orders.csv");
    let file = file.to_string_lossy();
    let day = ["--from", DAY, "--to", DAY];
    let at = ["--query-server", url.as_str()];
    for arguments in [
        [
            &["sales", "day", "--store", "busan", "--date", DAY][..],
            &at,
        ]
        .concat(),
        [&["sales", "range"][..], &day, &at].concat(),
        [&["export", "orders", "--output", &*file][..], &at].concat(),
        [&["stores"][..], &at].concat(),
    ] {
        let output = doppio(&arguments).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(5)
                && said.contains("store busan stands still")
                && said.contains("revision 4"),
            "{arguments:?}: {output:?}"
        );
        ensure!(!output.stdout.is_empty(), "{arguments:?}");
    }
    let output = doppio(&[&["sales", "range", "--json"][..], &day, &at].concat()).await?;
    let shown: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(
        shown.pointer("/freshness/quarantined/0/store_id") == Some(&Value::from("busan")),
        "{shown}"
    );
    serving.finish(PATIENCE).await;
    projecting.finish(PATIENCE).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_of_an_empty_model_says_that_nothing_is_projected_yet() -> Result<()> {
    let rig = Rig::embedded().await?;
    let (ledger, placed) = orders(&rig, "gangnam", 1).await?;
    rig.model.writer.prepare().await?;
    let serving = Shutdown::new();
    let channel = rig.serve(&serving, Clock::system()).await?;
    let mut client = QueryServiceClient::new(channel);
    let first = get_order("gangnam", &placed[0], &[]);
    refused(
        client.get_order(first.clone()).await,
        Code::Unavailable,
        "NOTHING_PROJECTED",
    )?;
    let (projecting, _) = rig.project("one", 10);
    rig.projected(&ledger).await?;
    ensure!(client.get_order(first).await?.into_inner().order.is_some());
    refused(
        client.get_order(get_order("busan", &placed[0], &[])).await,
        Code::NotFound,
        "UNKNOWN_STORE",
    )?;
    serving.finish(PATIENCE).await;
    projecting.finish(PATIENCE).await;
    Ok(())
}

async fn sum_that_does_not_fit(rig: Rig) -> Result<()> {
    let (ledger, _) = orders(&rig, "gangnam", 1).await?;
    let (projecting, _) = rig.project("one", 10);
    rig.projected(&ledger).await?;
    plant(
        &rig,
        vec![
            fact("gangnam", 70, i64::MAX - 1)?,
            fact("gangnam", 71, i64::MAX - 1)?,
        ],
    )
    .await?;
    let serving = Shutdown::new();
    let channel = rig.serve(&serving, Clock::system()).await?;
    let request = GetSalesRequest {
        first_business_date: DAY.into(),
        last_business_date: DAY.into(),
        ..GetSalesRequest::default()
    };
    let status = refused(
        SettlementServiceClient::new(channel)
            .get_sales(request)
            .await,
        Code::InvalidArgument,
        "AMOUNT_OUT_OF_RANGE",
    )?;
    ensure!(
        status.message().contains("fewer days or stores"),
        "{status:?}"
    );
    serving.finish(PATIENCE).await;
    projecting.finish(PATIENCE).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sum_that_does_not_fit_is_no_outage_on_sqlite() -> Result<()> {
    sum_that_does_not_fit(Rig::embedded().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sum_that_does_not_fit_is_no_outage_on_postgresql() -> Result<()> {
    sum_that_does_not_fit(Rig::postgres(Postgres::shared().await?).await?).await
}

/// Somebody holds the table: the server ends the read by itself, and its caller hears of it before the own deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_takes_too_long_is_ended_and_says_so() -> Result<()> {
    let database = Postgres::shared().await?.fresh_database().await?;
    let rig = Rig::on(ReadModel::open(&database.url)?).await?;
    let (ledger, placed) = orders(&rig, "gangnam", 1).await?;
    let (projecting, _) = rig.project("one", 10);
    rig.projected(&ledger).await?;
    projecting.finish(PATIENCE).await;
    let serving = Shutdown::new();
    let channel = rig.serve(&serving, Clock::system()).await?;
    let mut holder = PgConnection::connect(&database.url).await?;
    sqlx::query("BEGIN").execute(&mut holder).await?;
    sqlx::query("LOCK TABLE doppio_read.stores IN ACCESS EXCLUSIVE MODE")
        .execute(&mut holder)
        .await?;
    let request = within(
        get_order("gangnam", &placed[0], &[]),
        Duration::from_secs(20),
    );
    refused(
        QueryServiceClient::new(channel).get_order(request).await,
        Code::DeadlineExceeded,
        "READ_TOO_LONG",
    )?;
    holder.close().await?;
    serving.finish(PATIENCE).await;
    Ok(())
}

/// Every message to the server takes 300 ms: a batch takes longer than a standby waits for a sign of life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_projectors_on_a_slow_postgresql_makes_progress() -> Result<()> {
    let postgres = Postgres::shared().await?;
    let database = postgres.fresh_database().await?;
    let rig = Rig::on(ReadModel::open(&database.url)?).await?;
    rig.model.writer.prepare().await?;
    let (ledger, _) = orders(&rig, "gangnam", 150).await?;
    let proxy = TcpProxy::start(postgres.address()).await?;
    proxy.delay(Duration::from_millis(300));
    let url = database.url.replace(&postgres.address(), proxy.address());
    let projecting = Shutdown::new();
    let mut healths = Vec::new();
    for instance in ["one", "other"] {
        let config = Config {
            instance: instance.into(),
            batch: 1_000,
        };
        let slow = ReadModel::open(&url)?;
        let (log, clock) = (rig.log.clone(), Clock::system());
        healths.push(status_projector::start(
            config,
            &log,
            &slow.writer,
            &projecting,
            &clock,
        ));
    }
    let until = Instant::now() + 3 * PATIENCE;
    let store = StoreId::new("gangnam")?;
    loop {
        let seen = rig.model.reader.orders.store(&store).await?;
        let revision = seen.map_or(0, |seen| seen.store.revision().0);
        if Some(Revision(revision)) == ledger.chain.map(|chain| chain.revision) {
            break;
        }
        ensure!(Instant::now() < until, "revision {revision}");
        sleep(Duration::from_millis(100)).await;
    }
    let status = rig.model.reader.projection.status().await?;
    let stream = status.streams.first().context("a stream")?;
    ensure!(stream.term <= 2, "they fence each other: {stream:?}");
    ensure!(healths.iter().all(|health| health.troubles().is_empty()));
    proxy.delay(Duration::ZERO);
    projecting.finish(PATIENCE).await;
    Ok(())
}
