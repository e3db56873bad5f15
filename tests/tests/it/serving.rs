//! How the programs behave towards those who are connected to them: at a stop, and when there are too many.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use event_log::jetstream::JetStreamLog;
use futures::StreamExt as _;
use integration_tests::proxy::{Direction, TcpProxy};
use integration_tests::{Engines, Nats, Postgres, Service};
use sqlx::{Connection as _, SqliteConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tonic::Streaming;
use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

const PATIENCE: Duration = Duration::from_secs(20);
/// How long a stop without work under way may take.
const STOP: Duration = Duration::from_secs(1);
/// Enough for a member service on SQLite, and for few connections beside it.
const DESCRIPTORS: u32 = 48;
/// Ticks of a process's clock in a second, on Linux.
const TICKS: u64 = 100;

async fn channel(service: &Service) -> Result<Channel> {
    let endpoint = Channel::from_shared(service.url())?;
    Ok(timeout(PATIENCE, endpoint.connect()).await??)
}

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

async fn told(watcher: &mut Streaming<HealthCheckResponse>) -> Result<Option<ServingStatus>> {
    let next = timeout(PATIENCE, watcher.next()).await?.transpose()?;
    Ok(next.map(|answer| answer.status()))
}

/// Watchers of each name, once they were told that it serves.
async fn watch(service: &Service, names: &[&str]) -> Result<Vec<Streaming<HealthCheckResponse>>> {
    let mut watchers = Vec::new();
    for name in names {
        let mut client = HealthClient::new(channel(service).await?);
        let mut watcher = client.watch(about(name)).await?.into_inner();
        while told(&mut watcher).await? != Some(ServingStatus::Serving) {}
        watchers.push(watcher);
    }
    Ok(watchers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_without_work_under_way_ends_in_a_second_and_every_watcher_is_told() -> Result<()> {
    let nats = Nats::single().await?;
    let directory = tempfile::tempdir()?;
    let model = format!("sqlite:{}", directory.path().join("model.db").display());
    let engines = Engines::new(&nats, &model)?;
    JetStreamLog::init(&nats.config()).await?;
    let member = engines.member().await?;
    let ordering = engines.ordering("ordering", &member, &[]).await?;
    let projector = engines.status_projector("projector").await?;
    let query = engines.query_api().await?;
    let named = [&[""], &query_api::SERVICES[..]].concat();
    for (service, names) in [
        (&query, named.as_slice()),
        (&projector, &[""]),
        (&ordering, &["", "doppio.ordering.v1.OrderingService"]),
        (&member, &["", "doppio.member.v1.MemberService"]),
    ] {
        let watchers = watch(service, names).await?;
        let idle = TcpStream::connect(service.address()).await?;
        let (questions, asked) = tokio::sync::mpsc::channel(1);
        let list = MessageRequest::ListServices(String::new());
        questions
            .send(ServerReflectionRequest {
                host: String::new(),
                message_request: Some(list),
            })
            .await?;
        let mut answers = ServerReflectionClient::new(channel(service).await?)
            .server_reflection_info(tokio_stream::wrappers::ReceiverStream::new(asked))
            .await?
            .into_inner();
        timeout(PATIENCE, answers.next())
            .await?
            .context("a list")??;

        let began = Instant::now();
        tokio::task::block_in_place(|| service.stop())?;
        let took = began.elapsed();
        for (mut watcher, name) in watchers.into_iter().zip(names) {
            let last = told(&mut watcher).await?;
            ensure!(
                last == Some(ServingStatus::NotServing),
                "who watched {name:?} heard {last:?}"
            );
            ensure!(told(&mut watcher).await?.is_none(), "{name:?}");
        }
        ensure!(took < STOP, "the stop took {took:?}\n{}", service.tail());
        drop((idle, questions));
    }
    Ok(())
}

/// Whether the other side has hung up.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    timeout(Duration::from_millis(20), stream.read(&mut byte))
        .await
        .is_ok()
}

/// Processor time that a process has used.
fn used(process: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in brackets may hold spaces; fields are counted after it.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks =
        |field: usize| -> Result<u64> { Ok(fields.get(field).context("a field")?.parse()?) };
    Ok(Duration::from_millis(
        (ticks(11)? + ticks(12)?) * 1_000 / TICKS,
    ))
}

async fn crowd(address: SocketAddr, many: usize) -> Result<Vec<TcpStream>> {
    let mut streams = Vec::new();
    for _ in 0..many {
        // Those that find no room wait in the kernel's queue.
        if let Ok(Ok(stream)) = timeout(Duration::from_secs(1), TcpStream::connect(address)).await {
            streams.push(stream);
        }
    }
    Ok(streams)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_limit_of_descriptors_a_new_till_is_answered_and_nothing_spins() -> Result<()> {
    let nats = Nats::single().await?;
    let engines = Engines::new(&nats, "sqlite:unused.db")?;
    let member = engines.member_with_descriptors(DESCRIPTORS).await?;
    let process = member.process_id().context("a process")?;
    let mut silent = crowd(member.address(), 100).await?;
    let before = used(process)?;
    sleep(Duration::from_secs(2)).await;
    let spent = used(process)?.saturating_sub(before);
    ensure!(
        spent < Duration::from_secs(1),
        "{spent:?} of processor time in two seconds of nothing"
    );
    let began = Instant::now();
    let mut till = HealthClient::new(channel(&member).await?);
    let answer = timeout(PATIENCE, till.check(about(""))).await;
    let answer = answer.with_context(|| member.tail())??.into_inner();
    ensure!(answer.status() == ServingStatus::Serving);
    let took = began.elapsed();
    // A hundred stood in the queue before it.
    ensure!(took < Duration::from_secs(15), "answered after {took:?}");
    // Who is silent is let go, without anybody pressing.
    let limit = Instant::now() + PATIENCE;
    for stream in &mut silent {
        while !is_closed(stream).await {
            ensure!(Instant::now() < limit, "a silent connection stays open");
        }
    }
    till.check(about("")).await?;
    Ok(())
}

/// What is answered to a request over HTTP/1, head and body.
async fn http1(service: &Service, request: &str, kind: &str) -> Result<String> {
    let mut stream = TcpStream::connect(service.address()).await?;
    let request = format!(
        "{request} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await??;
    Ok(answer)
}

/// The ports of real programs, asked as a browser or a script would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_1_a_port_says_what_it_speaks() -> Result<()> {
    let nats = Nats::single().await?;
    let directory = tempfile::tempdir()?;
    let model = format!("sqlite:{}", directory.path().join("model.db").display());
    let engines = Engines::new(&nats, &model)?;
    let (member, query) = (engines.member().await?, engines.query_api().await?);
    let (get_member, get_order) = (
        "POST /doppio.member.v1.MemberService/GetMember",
        "POST /doppio.query.v1.QueryService/GetOrder",
    );
    for (service, request, kind, code, words) in [
        (
            &member,
            get_member,
            "application/json",
            "415",
            "This port speaks gRPC",
        ),
        (
            &member,
            "GET /",
            "text/html",
            "415",
            "This port speaks gRPC",
        ),
        (
            &member,
            get_member,
            "application/grpc",
            "505",
            "gRPC needs HTTP/2",
        ),
        (
            &query,
            get_order,
            "application/json",
            "415",
            "This port speaks gRPC",
        ),
        (
            &query,
            get_order,
            "application/grpc-web",
            "200",
            "grpc-status",
        ),
        (
            &query,
            get_order,
            "application/grpc",
            "505",
            "gRPC needs HTTP/2",
        ),
        (&query, "GET /v1/nothing", "text/html", "404", "NOT_FOUND"),
        (&query, "GET /v1/", "text/html", "200", "QueryService"),
        (&query, "GET /v1/export", "text/html", "200", "order_lines"),
    ] {
        let answer = http1(service, request, kind).await?;
        ensure!(
            answer.starts_with(&format!("HTTP/1.1 {code} ")) && answer.contains(words),
            "{request} {kind}: {answer}"
        );
    }
    Ok(())
}

/// Health goes with what a read would get: no tables, tables, no database, a database that is silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn query_api_serves_while_it_can_read_on_postgresql() -> Result<()> {
    let (nats, postgres) = (Nats::single().await?, Postgres::start().await?);
    let database = postgres.fresh_database().await?;
    let server = database.url.split('@').nth(1).context("a server")?;
    let (server, _) = server.split_once('/').context("a database")?;
    let proxy = TcpProxy::start(server.to_owned()).await?;
    let engines = Engines::new(&nats, &database.url.replace(server, proxy.address()))?;
    JetStreamLog::init(&nats.config()).await?;
    let query = engines.query_api().await?;
    query.becomes(ServingStatus::NotServing).await?;
    let projector = engines.status_projector("projector").await?;
    query.becomes(ServingStatus::Serving).await?;
    projector.kill9();
    // The read model is there without its projector.
    query.becomes(ServingStatus::Serving).await?;

    let mut watcher = HealthClient::new(channel(&query).await?)
        .watch(about(query_api::SERVICES[0]))
        .await?
        .into_inner();
    ensure!(told(&mut watcher).await? == Some(ServingStatus::Serving));
    postgres.kill();
    ensure!(told(&mut watcher).await? == Some(ServingStatus::NotServing));
    query.becomes(ServingStatus::NotServing).await?;
    postgres.restart().await?;
    ensure!(told(&mut watcher).await? == Some(ServingStatus::Serving));

    proxy.hold(Direction::ToClient);
    ensure!(told(&mut watcher).await? == Some(ServingStatus::NotServing));
    proxy.release(Direction::ToClient);
    ensure!(told(&mut watcher).await? == Some(ServingStatus::Serving));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn query_api_serves_while_it_can_read_on_sqlite() -> Result<()> {
    let nats = Nats::single().await?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("model.db");
    let engines = Engines::new(&nats, &format!("sqlite:{}", file.display()))?;
    JetStreamLog::init(&nats.config()).await?;
    let query = engines.query_api().await?;
    query.becomes(ServingStatus::NotServing).await?;
    let projector = engines.status_projector("projector").await?;
    query.becomes(ServingStatus::Serving).await?;
    tokio::task::block_in_place(|| projector.stop())?;

    // What is no read model any more: another schema than this build reads.
    let mut database = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await?;
    sqlx::query("ALTER TABLE orders RENAME TO orders_away")
        .execute(&mut database)
        .await?;
    sqlx::query("ALTER TABLE stores RENAME TO stores_away")
        .execute(&mut database)
        .await?;
    query.becomes(ServingStatus::NotServing).await?;
    sqlx::query("ALTER TABLE stores_away RENAME TO stores")
        .execute(&mut database)
        .await?;
    sqlx::query("ALTER TABLE orders_away RENAME TO orders")
        .execute(&mut database)
        .await?;
    query.becomes(ServingStatus::Serving).await
}
