use std::sync::Arc;
use std::time::Duration;

use contract::api::ordering::ordering_service_server::OrderingServiceServer;
use event_log::{EventLog, LogError};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::grpc;

/// How often the log is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long it has to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Keeps the health report true: serving while the log can be appended to and is the one that was opened. Ends with `soft`.
pub async fn watch(log: Arc<dyn EventLog>, health: HealthReporter, soft: CancellationToken) {
    let mut said: Option<String> = None;
    let mut serving = None;
    loop {
        let looked = timeout(PATIENCE, log.ping()).await.unwrap_or_else(|_| {
            let seconds = PATIENCE.as_secs();
            Err(LogError::Unavailable(format!(
                "it did not answer within {seconds} s"
            )))
        });
        if soft.is_cancelled() {
            return;
        }
        let problem = looked.err().map(|error| error.to_string());
        match &problem {
            Some(problem) if said.is_none() => tracing::error!(problem, "not serving"),
            None if said.is_some() => tracing::info!("serving again"),
            _ => {}
        }
        if serving != Some(problem.is_none()) {
            let status = if problem.is_none() {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            };
            let service =
                <OrderingServiceServer<grpc::Ordering> as tonic::server::NamedService>::NAME;
            for name in ["", service] {
                health.set_service_status(name, status).await;
            }
            serving = Some(problem.is_none());
        }
        said = problem;
        tokio::select! {
            () = sleep(LOOK) => {}
            () = soft.cancelled() => return,
        }
    }
}
