use std::time::Duration;

use clap::Args;

use crate::clients::Target;
use crate::exit::{ExitCode, Failure, unreachable};

const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Args)]
pub struct Health {
    /// The service to ask for, by its full name; the server as a whole when absent.
    #[arg(long)]
    service: Option<String>,
}

impl Health {
    /// Asks the one server at --server, whose address is taken as it is.
    pub async fn run(self, target: &Target) -> Result<(), Failure> {
        let url = target.server.as_deref().ok_or_else(|| {
            Failure::new(ExitCode::Usage, "which server? --server http://host:port")
        })?;
        let serving = check(url, self.service.as_deref().unwrap_or_default()).await?;
        if serving {
            Ok(())
        } else {
            Err(Failure::new(
                ExitCode::Unavailable,
                format!("{url} is not serving"),
            ))
        }
    }
}

/// Whether a server says that it serves.
pub async fn check(url: &str, service: &str) -> Result<bool, Failure> {
    let channel = runtime::channel::connect_lazy(url)
        .map_err(|error| Failure::new(ExitCode::Usage, error))?;
    let mut client = tonic_health::pb::health_client::HealthClient::new(channel);
    let mut request = tonic::Request::new(tonic_health::pb::HealthCheckRequest {
        service: service.to_owned(),
    });
    request.set_timeout(PATIENCE);
    let answer = tokio::time::timeout(PATIENCE, client.check(request))
        .await
        .map_err(|_| Failure::new(ExitCode::Unavailable, format!("{url} does not answer")))?;
    let answer = answer.map_err(|status| match unreachable(&status) {
        Some(why) => Failure::new(
            ExitCode::Unavailable,
            format!("{url} cannot be reached: {why}"),
        ),
        None => status.into(),
    })?;
    Ok(answer.into_inner().status()
        == tonic_health::pb::health_check_response::ServingStatus::Serving)
}
