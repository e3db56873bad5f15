//! Health as `grpc.health.v1` asks for it, through a stop.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tokio::time::sleep;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthReporter, HealthService, WatchStream};

/// How often a watcher's unknown service is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What the services report, until the soft stop: from then on every name is not serving, whatever is still reported, and its watchers
/// are told so before their streams end.
pub(crate) struct StoppingHealth {
    reported: Arc<HealthService>,
    soft: CancellationToken,
}

impl StoppingHealth {
    pub(crate) fn new(reporter: HealthReporter, soft: CancellationToken) -> Self {
        Self {
            reported: Arc::new(HealthService::from_health_reporter(reporter)),
            soft,
        }
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl Health for StoppingHealth {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let reported = self.reported.check(request).await?;
        if self.soft.is_cancelled() {
            return Ok(Response::new(answer(ServingStatus::NotServing)));
        }
        Ok(reported)
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// An unknown service is waited for, as the protocol asks.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watcher = Watcher {
            reported: self.reported.clone(),
            soft: self.soft.clone(),
            service: request.into_inner().service,
            changes: None,
            told: None,
        };
        Ok(Response::new(Box::pin(futures::stream::unfold(
            Some(watcher),
            |watcher| async move { watcher?.next().await },
        ))))
    }
}

struct Watcher {
    reported: Arc<HealthService>,
    soft: CancellationToken,
    service: String,
    /// `None` while the service is unknown.
    changes: Option<WatchStream>,
    told: Option<ServingStatus>,
}

type Next = (Result<HealthCheckResponse, Status>, Option<Watcher>);

impl Watcher {
    /// The next thing to tell, and who tells what follows: nobody after the stop.
    async fn next(mut self) -> Option<Next> {
        let soft = self.soft.clone();
        loop {
            let status = tokio::select! {
                biased;
                () = soft.cancelled() => return self.last(),
                status = self.status() => status,
            };
            if self.told != Some(status) {
                self.told = Some(status);
                return Some((Ok(answer(status)), Some(self)));
            }
        }
    }

    fn last(self) -> Option<Next> {
        match self.told {
            Some(ServingStatus::NotServing | ServingStatus::ServiceUnknown) => None,
            _ => Some((Ok(answer(ServingStatus::NotServing)), None)),
        }
    }

    /// What is reported next.
    async fn status(&mut self) -> ServingStatus {
        if let Some(changes) = &mut self.changes {
            match changes.next().await {
                Some(Ok(change)) => return change.status(),
                Some(Err(_)) | None => self.changes = None,
            }
        }
        if self.told == Some(ServingStatus::ServiceUnknown) {
            sleep(LOOK_AGAIN).await;
        }
        let request = Request::new(HealthCheckRequest {
            service: self.service.clone(),
        });
        if let Ok(known) = self.reported.watch(request).await {
            let changes = self.changes.insert(known.into_inner());
            if let Some(Ok(first)) = changes.next().await {
                return first.status();
            }
        }
        ServingStatus::ServiceUnknown
    }
}
