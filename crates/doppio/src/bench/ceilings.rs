//! What the same engines could do at most, in the same run: a bare call, appends without ordering, and one append a call.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use contract::api::ordering::{PlaceOrderRequest, PlaceOrderResponse};
use event_log::EventLog;
use runtime::{ConnectionLimits, ServeOptions, Shutdown};
use tokio::net::TcpListener;
use tokio::sync::Mutex as TaskMutex;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::service::Routes;
use tonic::{Code, Status};

use super::book::{Book, Kind, Window};
use super::calls::{Acknowledged, Prepared};
use super::catalog::run_name;
use super::load::{Caller, Failed, Script, interrupted};
use super::sample::{Appender, Sample};
use crate::exit::Failure;

const APPEND_ONE: &str = "/doppio.bench.v1.AppendService/AppendOne";
/// Longest that a call of the append service may take.
const CALL_LIMIT: Duration = Duration::from_secs(10);
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Ledgers of the bench's own, each with one append in flight at most.
pub struct Ledgers {
    log: Arc<dyn EventLog>,
    sample: Arc<Sample>,
    run: String,
}

impl Ledgers {
    pub async fn like(log: &Arc<dyn EventLog>, store: &str) -> Result<Self, Failure> {
        Ok(Self {
            log: log.clone(),
            sample: Arc::new(Sample::of(log, store).await?),
            run: run_name(),
        })
    }

    fn appenders(&self, what: &str, count: usize) -> Result<Vec<Appender>, Failure> {
        (1..=count)
            .map(|number| {
                let name = format!("{}-{what}-{number}", self.run);
                Appender::new(self.log.clone(), self.sample.clone(), &name)
            })
            .collect()
    }

    /// Appends to so many new ledgers at once, one append in flight each.
    pub async fn append(
        &self,
        in_flight: usize,
        warm_up: Duration,
        measured: Duration,
        stop: &CancellationToken,
    ) -> Result<Book, Failure> {
        let appenders = self.appenders(&format!("raw{in_flight}"), in_flight)?;
        let book = Arc::new(Mutex::new(Book::default()));
        let window = Window::after(warm_up, measured);
        let mut tasks = JoinSet::new();
        for mut appender in appenders {
            let (book, stop) = (book.clone(), stop.clone());
            tasks.spawn(async move {
                loop {
                    let due = Instant::now();
                    if due >= window.ends || stop.is_cancelled() {
                        return;
                    }
                    let appended = appender.append().await;
                    let ended = Instant::now();
                    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
                    match appended {
                        Ok(()) => book.success(Kind::Append, &window, due, ended),
                        Err(error) => {
                            let reason = error.reason().to_owned();
                            book.failure(Kind::Append, reason, &error.to_string());
                            return;
                        }
                    }
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        if stop.is_cancelled() {
            return Err(interrupted());
        }
        let book = std::mem::take(&mut *book.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(book)
    }

    /// Starts a service that appends one record a call. Each of `ledgers` has one append in flight at most.
    pub async fn serve(&self, ledgers: usize) -> Result<AppendServer, Failure> {
        let appenders = self.appenders("call", ledgers)?;
        let service = AppendService {
            appenders: appenders.into_iter().map(TaskMutex::new).collect(),
            next: std::sync::atomic::AtomicUsize::new(0),
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shutdown = Shutdown::new();
        let (service, serving) = (Service(Arc::new(service)), shutdown.clone());
        let served = tokio::spawn(async move {
            let options = ServeOptions {
                descriptors: contract::DESCRIPTORS,
                call_timeout: CALL_LIMIT,
                describe: |_| None,
                pages: None,
                connections: ConnectionLimits::default(),
            };
            let routes = |_| Routes::new(service);
            runtime::serve(listener, routes, options, &serving).await
        });
        Ok(AppendServer {
            url,
            shutdown,
            served,
        })
    }
}

/// A running append service.
pub struct AppendServer {
    pub url: String,
    shutdown: Shutdown,
    served: tokio::task::JoinHandle<Result<(), runtime::ServeError>>,
}

impl AppendServer {
    pub async fn stop(self) -> Result<(), Failure> {
        self.shutdown.finish(STOP_GRACE).await;
        self.served.await??;
        Ok(())
    }
}

/// What ordering would be without batches: the same server, and one durable append for each call.
struct AppendService {
    appenders: Vec<TaskMutex<Appender>>,
    next: std::sync::atomic::AtomicUsize,
}

impl AppendService {
    async fn append_one(&self) -> Result<(), Status> {
        let turn = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let Some(appender) = self.appenders.get(turn % self.appenders.len().max(1)) else {
            return Err(Status::unavailable("there is no ledger"));
        };
        let appended = appender.lock().await.append().await;
        appended.map_err(|error| Status::new(Code::Unavailable, error.to_string()))
    }
}

#[derive(Clone)]
struct Service(Arc<AppendService>);

impl NamedService for Service {
    const NAME: &'static str = "doppio.bench.v1.AppendService";
}

impl UnaryService<PlaceOrderRequest> for Service {
    type Response = PlaceOrderResponse;
    type Future =
        Pin<Box<dyn Future<Output = Result<tonic::Response<PlaceOrderResponse>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<PlaceOrderRequest>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move {
            service.append_one().await?;
            let request = request.into_inner();
            Ok(tonic::Response::new(PlaceOrderResponse {
                order: None,
                consistency_token: request.order_id,
                replayed: false,
            }))
        })
    }
}

impl tonic::codegen::Service<Request<Body>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let codec = tonic_prost::ProstCodec::<PlaceOrderResponse, PlaceOrderRequest>::default();
            Ok(Grpc::new(codec).unary(service, request).await)
        })
    }
}

/// Callers of the append service.
pub struct OneAppend {
    pub prepared: Prepared,
}

impl Script for OneAppend {
    async fn turn(&self, caller: &mut Caller, due: Instant) -> Result<(), Failed> {
        caller
            .call(
                Kind::Append,
                APPEND_ONE,
                self.prepared.clone(),
                due,
                |answer: &Acknowledged| match answer.consistency_token.is_empty() {
                    false => Ok(()),
                    true => Err("an acknowledgement without a token"),
                },
            )
            .await?;
        Ok(())
    }
}
