//! A server over a real socket, asked by clients that behave well and by some that do not.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::Health as _;
use tonic_health::server::HealthReporter;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use super::health::StoppingHealth;
use super::{ConnectionLimits, Room, ServeOptions, serve};
use crate::Shutdown;

type Outcome = Result<(), Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(10);
/// How long a stop without work under way may take.
const STOP: Duration = Duration::from_secs(1);
const SERVICE: &str = "doppio.test.v1.TestService";

struct Server {
    address: SocketAddr,
    reporter: HealthReporter,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start(connections: usize, handshake: Duration) -> Result<Self, Box<dyn Error>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, shutdown) = (listener.local_addr()?, Shutdown::new());
        let (send, reporter) = tokio::sync::oneshot::channel();
        let options = ServeOptions {
            descriptors: tonic_health::pb::FILE_DESCRIPTOR_SET,
            call_timeout: Duration::from_secs(5),
            describe: |status| {
                // Stands for the details that a service's own function gives.
                let details = format!("{:?}", status.code()).into_bytes();
                Some(Status::with_details(
                    status.code(),
                    status.message(),
                    details.into(),
                ))
            },
            pages: None,
            connections: ConnectionLimits {
                room: Room::new(connections),
                handshake,
            },
        };
        let stopping = shutdown.clone();
        let serving = tokio::spawn(async move {
            let routes = |reporter: HealthReporter| {
                let _ = send.send(reporter);
                Routes::default()
            };
            serve(listener, routes, options, &stopping).await.unwrap();
        });
        let reporter = reporter.await?;
        reporter
            .set_service_status(SERVICE, tonic_health::ServingStatus::Serving)
            .await;
        Ok(Self {
            address,
            reporter,
            shutdown,
            serving,
        })
    }

    async fn roomy() -> Result<Self, Box<dyn Error>> {
        Self::start(100, Duration::from_secs(5)).await
    }

    async fn channel(&self) -> Result<Channel, Box<dyn Error>> {
        let endpoint = Channel::from_shared(format!("http://{}", self.address))?;
        Ok(timeout(PATIENCE, endpoint.connect()).await??)
    }

    async fn health(&self) -> Result<HealthClient<Channel>, Box<dyn Error>> {
        Ok(HealthClient::new(self.channel().await?))
    }

    /// Tells it to stop; how long that took.
    async fn stop(self) -> Result<Duration, Box<dyn Error>> {
        let began = Instant::now();
        self.shutdown.begin();
        timeout(PATIENCE, self.serving).await??;
        Ok(began.elapsed())
    }
}

fn about(service: &str) -> Request<HealthCheckRequest> {
    let mut request = Request::new(HealthCheckRequest {
        service: service.to_owned(),
    });
    request.set_timeout(PATIENCE);
    request
}

/// What is answered to bytes that are written as they are, until the connection ends.
async fn raw(address: SocketAddr, bytes: &[u8]) -> Result<String, Box<dyn Error>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await??;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn who_watches_a_name_is_told_of_a_stop_and_then_let_go() -> Outcome {
    let server = Server::roomy().await?;
    let mut watchers = Vec::new();
    for name in ["", SERVICE] {
        let mut watcher = server
            .health()
            .await?
            .watch(about(name))
            .await?
            .into_inner();
        let first = timeout(PATIENCE, watcher.next()).await?.transpose()?;
        assert_eq!(
            first.map(|told| told.status()),
            Some(ServingStatus::Serving)
        );
        watchers.push(watcher);
    }
    let reporter = server.reporter.clone();
    let took = server.stop().await?;
    // What a service still reports while it stops is not believed.
    reporter
        .set_service_status(SERVICE, tonic_health::ServingStatus::Serving)
        .await;
    for mut watcher in watchers {
        let last = timeout(PATIENCE, watcher.next()).await?.transpose()?;
        assert_eq!(
            last.map(|told| told.status()),
            Some(ServingStatus::NotServing)
        );
        assert!(
            timeout(PATIENCE, watcher.next()).await?.is_none(),
            "the stream ends"
        );
    }
    assert!(took < STOP, "the stop took {took:?}");
    Ok(())
}

#[tokio::test]
async fn nobody_who_only_listens_or_says_nothing_holds_up_a_stop() -> Outcome {
    let server = Server::roomy().await?;
    let idle = server.channel().await?;
    HealthClient::new(idle.clone()).check(about("")).await?;
    let silent = TcpStream::connect(server.address).await?;
    let mut half = TcpStream::connect(server.address).await?;
    half.write_all(b"GET / HTT").await?;
    // Speaks HTTP/2 and never answers, as a client does that was stopped.
    let mut stopped = TcpStream::connect(server.address).await?;
    stopped
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await?;
    let (questions, asked) = tokio::sync::mpsc::channel(1);
    questions
        .send(ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        })
        .await?;
    let mut answers = ServerReflectionClient::new(server.channel().await?)
        .server_reflection_info(tokio_stream::wrappers::ReceiverStream::new(asked))
        .await?
        .into_inner();
    assert!(
        timeout(PATIENCE, answers.next())
            .await?
            .transpose()?
            .is_some()
    );
    let took = server.stop().await?;
    assert!(took < STOP, "the stop took {took:?}");
    let end = timeout(PATIENCE, answers.next()).await?;
    assert!(end.is_none(), "the stream of answers ends well: {end:?}");
    drop((idle, silent, half, stopped, questions));
    Ok(())
}

#[tokio::test]
async fn a_service_that_nobody_reports_on_is_unknown_until_somebody_does() -> Outcome {
    let server = Server::roomy().await?;
    let mut client = server.health().await?;
    let refused = client.check(about("nobody")).await;
    let status = refused.expect_err("unknown");
    assert_eq!(
        (status.code(), status.details()),
        (Code::NotFound, &b"NotFound"[..])
    );
    let mut watcher = client.watch(about("later")).await?.into_inner();
    let first = timeout(PATIENCE, watcher.next()).await?.transpose()?;
    assert_eq!(
        first.map(|told| told.status()),
        Some(ServingStatus::ServiceUnknown)
    );
    server
        .reporter
        .set_service_status("later", tonic_health::ServingStatus::Serving)
        .await;
    let next = timeout(PATIENCE, watcher.next()).await?.transpose()?;
    assert_eq!(next.map(|told| told.status()), Some(ServingStatus::Serving));
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn what_is_not_grpc_is_told_so_in_a_sentence() -> Outcome {
    let server = Server::roomy().await?;
    let path = "/grpc.health.v1.Health/Check";
    for (head, code) in [
        (
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
            "415",
        ),
        (
            format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
            ),
            "415",
        ),
        (
            format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/grpc\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0"
            ),
            "505",
        ),
    ] {
        let answer = raw(server.address, head.as_bytes()).await?;
        let (line, rest) = answer.split_once("\r\n").unwrap_or_default();
        assert!(
            line.starts_with(&format!("HTTP/1.1 {code} ")),
            "{head}: {answer}"
        );
        assert!(rest.contains("gRPC") && rest.contains("HTTP/2"), "{answer}");
    }
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn too_much_metadata_and_calls_that_are_not_there_are_refused_with_details() -> Outcome {
    let server = Server::roomy().await?;
    let mut client = server.health().await?;
    let mut request = about("");
    request
        .metadata_mut()
        .insert("x-much", "m".repeat(20_000).parse()?);
    let status = client.check(request).await.expect_err("too much");
    assert_eq!(
        (status.code(), status.details()),
        (Code::ResourceExhausted, &b"ResourceExhausted"[..])
    );
    let mut grpc = tonic::client::Grpc::new(server.channel().await?);
    for path in ["/grpc.health.v1.Health/Guess", "/nobody.v1.Nowhere/Do"] {
        grpc.ready().await?;
        let codec = tonic_prost_codec();
        let status = grpc
            .unary(about(""), path.parse()?, codec)
            .await
            .expect_err("not there");
        assert_eq!(
            (status.code(), status.details()),
            (Code::Unimplemented, &b"Unimplemented"[..])
        );
    }
    server.stop().await?;
    Ok(())
}

fn tonic_prost_codec() -> tonic_prost::ProstCodec<HealthCheckRequest, HealthCheckRequest> {
    tonic_prost::ProstCodec::default()
}

#[tokio::test]
async fn who_never_says_what_it_speaks_is_closed() -> Outcome {
    let server = Server::start(100, Duration::from_millis(300)).await?;
    let mut idle = server.health().await?;
    for bytes in ["", "PRI * HT", "GET /"] {
        let began = Instant::now();
        // An HTTP/1 request that stays unfinished may be told so.
        let answer = raw(server.address, bytes.as_bytes()).await?;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
        assert!(began.elapsed() < Duration::from_secs(2), "{bytes:?}");
    }
    idle.check(about("")).await?;
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn where_there_is_no_room_the_idle_give_way_and_a_new_till_is_answered() -> Outcome {
    let server = Server::start(4, Duration::from_secs(60)).await?;
    let mut watching = server.health().await?;
    let mut watcher = watching.watch(about("")).await?.into_inner();
    assert!(
        timeout(PATIENCE, watcher.next())
            .await?
            .transpose()?
            .is_some()
    );
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(server.address).await?);
    }
    let began = Instant::now();
    let mut till = server.health().await?;
    timeout(PATIENCE, till.check(about(""))).await??;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "answered after {took:?}");
    // A call under way is never broken off for it.
    server
        .reporter
        .set_service_status("", tonic_health::ServingStatus::NotServing)
        .await;
    let change = timeout(PATIENCE, watcher.next()).await?.transpose()?;
    assert_eq!(
        change.map(|told| told.status()),
        Some(ServingStatus::NotServing)
    );
    let mut hung_up = 0;
    for mut stream in silent {
        let mut byte = [0];
        if timeout(Duration::from_millis(10), stream.read(&mut byte))
            .await
            .is_ok()
        {
            hung_up += 1;
        }
    }
    assert!(
        hung_up >= 16,
        "{hung_up} of 20 silent connections were closed"
    );
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn compressed_requests_are_read_up_to_the_same_limit() -> Outcome {
    let server = Server::roomy().await?;
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = server.health().await?.send_compressed(encoding);
        let answer = client.check(about(SERVICE)).await?.into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{encoding}");
        // A few kilobytes that become five megabytes.
        let refused = client.check(about(&"x".repeat(5_000_000))).await;
        let status = refused.expect_err("too large");
        assert_eq!(
            (status.code(), status.details()),
            (Code::ResourceExhausted, &b"ResourceExhausted"[..]),
            "{encoding}"
        );
    }
    let mut request = about("");
    request
        .metadata_mut()
        .insert("grpc-encoding", "snappy".parse()?);
    let status = server
        .health()
        .await?
        .check(request)
        .await
        .expect_err("unknown");
    assert_eq!(
        (status.code(), status.details()),
        (Code::Unimplemented, &b"Unimplemented"[..])
    );
    let accepted = status
        .metadata()
        .get("grpc-accept-encoding")
        .ok_or("what is read")?;
    assert_eq!(accepted, "gzip,zstd,identity");
    server.stop().await?;
    Ok(())
}

/// On a connection with a call under way, which the stop leaves open.
#[tokio::test]
async fn whoever_asks_during_a_stop_hears_not_serving() -> Outcome {
    let (reporter, soft) = (HealthReporter::new(), CancellationToken::new());
    let serving = tonic_health::ServingStatus::Serving;
    reporter.set_service_status(SERVICE, serving).await;
    let health = StoppingHealth::new(reporter.clone(), soft.clone());
    let status = async || {
        let answer = health.check(about(SERVICE)).await;
        answer.map(|answer| answer.into_inner().status())
    };
    assert_eq!(status().await?, ServingStatus::Serving);
    soft.cancel();
    // Whatever is still reported.
    reporter.set_service_status(SERVICE, serving).await;
    assert_eq!(status().await?, ServingStatus::NotServing);
    Ok(())
}
