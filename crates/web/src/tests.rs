//! A service of its own, with what Doppio's do not have yet: a stream that goes on where it was left, a body that is one field, and
//! fields of every kind.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, File, FileResolver};
use runtime::{ConnectionLimits, Pages, Room, ServeOptions, Shutdown, serve};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::about::About;
use crate::api::Api;
use crate::binding::bindings;
use crate::call::Raw;

type Outcome = Result<(), Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(20);
/// Shorter than a stream may be silent.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Between two messages.
const TICK: Duration = Duration::from_millis(5);
const SERVICE: &str = "test.v1.TestService";
const ABOUT: About = About {
    name: "test",
    summary: "A test.",
    body_bytes: 1_000,
    others: &[],
};
const PROTO: &str = r#"
    syntax = "proto3";
    package test.v1;
    import "google/api/annotations.proto";
    import "google/protobuf/duration.proto";
    import "google/protobuf/timestamp.proto";

    // For tests.
    service TestService {
      // Counts on.
      rpc Watch(WatchRequest) returns (stream WatchResponse) {
        option (google.api.http) = {get: "/v1/stores/{store_id}:watch"};
      }
      // Says it again.
      rpc Echo(EchoRequest) returns (EchoRequest) {
        option (google.api.http) = {
          put: "/v1/things/{thing.id}"
          body: "thing"
          additional_bindings {get: "/v1/things/{thing.id}"}
        };
      }
    }

    message WatchRequest {
      string store_id = 1;
      string after = 2;
    }
    message WatchResponse {
      int64 number = 1;
      string consistency_token = 2;
    }
    message EchoRequest {
      Thing thing = 1;
      repeated int64 numbers = 2;
      bool flag = 3;
      bytes bits = 4;
      double size = 5;
      google.protobuf.Timestamp time = 6;
      google.protobuf.Duration span = 7;
      Colour colour = 8;
      oneof one {
        string text = 9;
        uint64 count = 10;
      }
      map<string, string> notes = 11;
    }
    message Thing {
      string id = 1;
      Thing inner = 2;
      // As people say it.
      string name = 3;
    }
    enum Colour {
      COLOUR_UNSPECIFIED = 0;
      // Like tea.
      COLOUR_GREEN = 1;
    }
"#;

struct OneFile(String);

impl FileResolver for OneFile {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == "test.proto" {
            File::from_source(name, &self.0)
        } else {
            Err(protox::Error::file_not_found(name))
        }
    }
}

fn compile(proto: &str) -> Result<DescriptorPool, Box<dyn Error>> {
    let mut known = ChainFileResolver::new();
    known.add(DescriptorSetFileResolver::decode(contract::DESCRIPTORS)?);
    known.add(OneFile(proto.to_owned()));
    known.add(protox::file::GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(known);
    compiler.include_imports(true).include_source_info(true);
    let set = compiler
        .open_file("test.proto")?
        .encode_file_descriptor_set();
    let mut pool = DescriptorPool::decode(set.as_slice())?;
    pool.decode_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)?;
    Ok(pool)
}

#[derive(Clone)]
struct Service(DescriptorPool);

impl Service {
    fn message(&self, name: &str) -> Result<DynamicMessage, Status> {
        let descriptor = self.0.get_message_by_name(name);
        Ok(DynamicMessage::new(
            descriptor.ok_or_else(|| Status::internal(name))?,
        ))
    }

    /// Numbers from the one after `after`, each its own token.
    fn watch(
        &self,
        request: Bytes,
    ) -> Result<Response<stream::BoxStream<'static, Result<Bytes, Status>>>, Status> {
        let mut asked = self.message("test.v1.WatchRequest")?;
        asked
            .merge(request)
            .map_err(|error| Status::internal(error.to_string()))?;
        let text = |field: &str| {
            let value = asked.get_field_by_name(field)?;
            Some(value.as_str()?.to_owned())
        };
        match text("store_id").as_deref() {
            Some("closed") => return Err(Status::not_found("no such store")),
            Some("failing") => {
                let broken = stream::iter([Err(Status::data_loss("torn"))]);
                return Ok(Response::new(broken.boxed()));
            }
            Some("silent") => return Ok(Response::new(stream::pending().boxed())),
            _ => {}
        }
        let after: i64 = text("after").unwrap_or_default().parse().unwrap_or(0);
        let message = self.message("test.v1.WatchResponse")?;
        let numbers = stream::iter(after + 1..).then(move |number| {
            let mut message = message.clone();
            message.set_field_by_name("number", Value::I64(number));
            message.set_field_by_name("consistency_token", Value::String(number.to_string()));
            async move {
                tokio::time::sleep(TICK).await;
                Ok(Bytes::from(message.encode_to_vec()))
            }
        });
        Ok(Response::new(numbers.boxed()))
    }
}

impl NamedService for Service {
    const NAME: &'static str = SERVICE;
}

impl tower::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        async move {
            Ok(if request.uri().path().ends_with("/Watch") {
                let watch = tower::service_fn(move |request: Request<Bytes>| {
                    let answer = service.watch(request.into_inner());
                    async { answer }
                });
                Grpc::new(Raw).server_streaming(watch, request).await
            } else {
                let echo = tower::service_fn(async |request: Request<Bytes>| {
                    Ok::<_, Status>(Response::new(request.into_inner()))
                });
                Grpc::new(Raw).unary(echo, request).await
            })
        }
        .boxed()
    }
}

struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
}

async fn start() -> Result<Server, Box<dyn Error>> {
    let pool = compile(PROTO)?;
    let api = Api::of(&pool, &ABOUT, &[SERVICE])?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, shutdown) = (listener.local_addr()?, Shutdown::new());
    let stopping = shutdown.clone();
    tokio::spawn(async move {
        let options = ServeOptions {
            descriptors: contract::DESCRIPTORS,
            call_timeout: PATIENCE,
            describe: |_| None,
            pages: Some(Pages::default()),
            connections: ConnectionLimits {
                room: Room::new(100),
                handshake: HANDSHAKE,
            },
        };
        let routes = |_| {
            let services = Routes::new(Service(pool)).into_axum_router();
            api.beside(services).into()
        };
        serve(listener, routes, options, &stopping).await.unwrap();
    });
    Ok(Server { address, shutdown })
}

async fn ask(address: SocketAddr, head: &str, body: &str) -> Result<TcpStream, Box<dyn Error>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

/// All that is answered.
async fn answer(address: SocketAddr, head: &str, body: &str) -> Result<String, Box<dyn Error>> {
    let mut stream = ask(address, head, body).await?;
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await??;
    Ok(text)
}

/// Listens to so many events and hangs up. Their ids and data.
async fn listen(
    address: SocketAddr,
    head: &str,
    count: usize,
) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let stream = ask(address, head, "").await?;
    let mut lines = BufReader::new(stream).lines();
    let (mut events, mut id) = (Vec::new(), String::new());
    while events.len() < count {
        let line = timeout(PATIENCE, lines.next_line()).await??;
        let line = line.ok_or("the stream has ended")?;
        if let Some(said) = line.strip_prefix("id: ") {
            said.clone_into(&mut id);
        } else if let Some(data) = line.strip_prefix("data: ") {
            events.push((id.clone(), data.to_owned()));
        }
    }
    Ok(events)
}

#[tokio::test]
async fn a_listener_that_was_cut_goes_on_where_it_was() -> Outcome {
    let server = start().await?;
    let watch = "GET /v1/stores/a:watch?after=5 HTTP/1.1";
    let first = listen(server.address, watch, 3).await?;
    let event = |number: i64| {
        let data = format!(r#"{{"number":"{number}","consistencyToken":"{number}"}}"#);
        (number.to_string(), data)
    };
    assert_eq!(first, [event(6), event(7), event(8)]);
    // The address is the first one's: the id that comes with it is newer.
    let again = format!("{watch}\r\nLast-Event-ID: 8");
    let second = listen(server.address, &again, 2).await?;
    assert_eq!(second, [event(9), event(10)]);
    Ok(())
}

#[tokio::test]
async fn how_a_stream_ends_is_its_last_event_and_what_never_began_is_a_refusal() -> Outcome {
    let server = start().await?;
    let torn = answer(server.address, "GET /v1/stores/failing:watch HTTP/1.1", "").await?;
    let last = "event: status\ndata: {\"code\":15,\"message\":\"torn\"}\n\n";
    assert!(
        torn.starts_with("HTTP/1.1 200 ") && torn.contains(last),
        "{torn}"
    );
    let closed = answer(server.address, "GET /v1/stores/closed:watch HTTP/1.1", "").await?;
    assert!(closed.starts_with("HTTP/1.1 404 "), "{closed}");
    assert!(
        closed.ends_with("{\"code\":5,\"message\":\"no such store\"}\n"),
        "{closed}"
    );
    Ok(())
}

/// A listener hears that the server is alive, and is let go by a stop, however silent the call is.
#[tokio::test]
async fn a_silent_stream_is_alive_and_ends_with_the_server() -> Outcome {
    let server = start().await?;
    let stream = ask(server.address, "GET /v1/stores/silent:watch HTTP/1.1", "").await?;
    let mut lines = BufReader::new(stream).lines();
    loop {
        let line = timeout(PATIENCE, lines.next_line()).await??;
        if line.ok_or("the stream has ended")? == ":" {
            break;
        }
    }
    server.shutdown.begin();
    while timeout(PATIENCE, lines.next_line()).await??.is_some() {}
    Ok(())
}

#[tokio::test]
async fn every_kind_of_field_in_a_query_and_one_field_as_the_body() -> Outcome {
    let server = start().await?;
    let query = "numbers=-1&numbers=9007199254740993&flag=true&bits=_-8&size=1.5&time=2026-03-02T10:00:00Z&span=1.5s&\
        colour=COLOUR_GREEN&count=7&thing.inner.name=b%20c";
    let json = "{\"thing\":{\"id\":\"a/b\",\"inner\":{\"name\":\"b c\"}},\"numbers\":[\"-1\",\"9007199254740993\"],\"flag\":true,\
        \"bits\":\"/+8=\",\"size\":1.5,\"time\":\"2026-03-02T10:00:00Z\",\"span\":\"1.500s\",\"colour\":\"COLOUR_GREEN\",\"count\":\"7\"}\n";
    let got = answer(
        server.address,
        &format!("GET /v1/things/a%2Fb?{query} HTTP/1.1"),
        "",
    )
    .await?;
    assert!(got.ends_with(json), "{got}");
    let kind = "Content-Type: application/json";
    let put = format!("PUT /v1/things/a?flag=true HTTP/1.1\r\n{kind}");
    let got = answer(server.address, &put, "{\"name\":\"n\"}").await?;
    assert!(
        got.ends_with("{\"thing\":{\"id\":\"a\",\"name\":\"n\"},\"flag\":true}\n"),
        "{got}"
    );
    for (head, body, names) in [
        (
            "PUT /v1/things/a?thing.name=x HTTP/1.1",
            "{}",
            "belongs into the body",
        ),
        (
            "PUT /v1/things/a HTTP/1.1",
            "{\"inner\":{\"nam\":1}}",
            "thing.inner",
        ),
        ("PUT /v1/things/a HTTP/1.1", "{\"id\":\"b\"}", "thing.id"),
        ("GET /v1/things/a?text=x&count=1 HTTP/1.1", "", "exclude"),
        ("GET /v1/things/a?notes=x HTTP/1.1", "", "map"),
        (
            "GET /v1/things/a?thing=x HTTP/1.1",
            "",
            "name one of its fields",
        ),
        ("GET /v1/things/a?time=noon HTTP/1.1", "", "\\\"noon\\\""),
        ("GET /v1/things/a?bits=%21 HTTP/1.1", "", "base64"),
        ("GET /v1/things/a?count=-1 HTTP/1.1", "", "0 or more"),
    ] {
        let got = answer(server.address, &format!("{head}\r\n{kind}"), body).await?;
        assert!(
            got.starts_with("HTTP/1.1 400 ") && got.contains(names),
            "{head}: {got}"
        );
    }
    Ok(())
}

#[test]
fn a_call_without_an_address_or_with_one_that_is_taken_is_a_mistake() -> Outcome {
    let mistake = |proto: &str| {
        let pool = compile(proto).unwrap();
        bindings(&pool, &[SERVICE])
            .err()
            .map(|error| error.to_string())
    };
    assert_eq!(mistake(PROTO), None);
    let unsaid = PROTO.replace(
        "option (google.api.http) = {get: \"/v1/stores/{store_id}:watch\"};",
        "",
    );
    for (proto, expected) in [
        (
            unsaid,
            "test.v1.TestService.Watch has no option google.api.http",
        ),
        (
            PROTO.replace("{store_id}:watch", "{shop}:watch"),
            "test.v1.TestService.Watch: test.v1.WatchRequest has no field shop",
        ),
        (
            PROTO.replace("/v1/stores/{store_id}:watch", "/v1/{store_id}/a"),
            "test.v1.TestService.Watch and test.v1.TestService.Echo have one address",
        ),
        (
            PROTO.replace("{store_id}:watch", "{store_id=**}"),
            "test.v1.TestService.Watch: \"/v1/stores/{store_id=**}\" is no path of plain segments",
        ),
        (
            PROTO.replace("body: \"thing\"", "body: \"numbers\""),
            "test.v1.TestService.Echo: the body numbers is no field that holds a message",
        ),
    ] {
        assert_eq!(mistake(&proto).as_deref(), Some(expected));
    }
    Ok(())
}
