//! The four services as four child processes of the bench: this program under each service's own name.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::process::Watched;
use crate::exit::{ExitCode, Failure};

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const HEALTH_LIMIT: Duration = Duration::from_secs(2);
/// Lines of a service's log that are shown when it does not start.
const TAIL_LINES: usize = 10;

/// A service to be started.
#[derive(Debug, Clone)]
pub struct Program {
    /// What the program is called as.
    pub name: &'static str,
    /// The variable of its address, without `DOPPIO_`.
    pub listen: &'static str,
    pub address: SocketAddr,
    /// Variables without `DOPPIO_`, and their values.
    pub settings: Vec<(&'static str, String)>,
    /// Where its log is written.
    pub log: PathBuf,
}

/// A running service.
pub struct Service {
    program: Program,
    child: Child,
}

impl Program {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts the service; it may not be ready yet.
    pub fn spawn(self) -> Result<Service, Failure> {
        let own = std::env::current_exe().context("where this program is")?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut command = Command::new(own);
        command
            .as_std_mut()
            .arg0(self.name)
            .env(format!("DOPPIO_{}", self.listen), self.address.to_string())
            .env("DOPPIO_LOG_FILTER", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        for (key, value) in &self.settings {
            command.env(format!("DOPPIO_{key}"), value);
        }
        let child = command
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        Ok(Service {
            program: self,
            child,
        })
    }
}

impl Service {
    pub fn url(&self) -> String {
        self.program.url()
    }

    pub fn watched(&self) -> Option<Watched> {
        Some(Watched {
            name: self.program.name.to_owned(),
            pid: self.child.id()?,
        })
    }

    /// Waits until it says that it is serving.
    pub async fn ready(&mut self) -> Result<(), Failure> {
        let limit = Instant::now() + START_LIMIT;
        let channel = runtime::channel::connect_lazy(&self.url())?;
        let mut health = HealthClient::new(channel);
        loop {
            let mut asked = tonic::Request::new(HealthCheckRequest::default());
            asked.set_timeout(HEALTH_LIMIT);
            if let Ok(answer) = health.check(asked).await
                && answer.get_ref().status() == ServingStatus::Serving
            {
                return Ok(());
            }
            if let Some(ended) = self.child.try_wait()? {
                return Err(self.failed(&format!("has ended with {ended}")));
            }
            if Instant::now() >= limit {
                return Err(self.failed(&format!("was not ready within {START_LIMIT:?}")));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn failed(&self, what: &str) -> Failure {
        let log = std::fs::read_to_string(&self.program.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n  ");
        let name = self.program.name;
        Failure::new(
            ExitCode::Unavailable,
            format!("{name} {what}. The end of its log:\n  {tail}"),
        )
    }

    /// Tells it to stop, and waits for that; what does not stop is killed. Returns how to start it again.
    pub async fn stop(mut self) -> Result<Program, Failure> {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // It may have ended by itself, or by the same Ctrl-C.
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            self.child
                .kill()
                .await
                .context("a service cannot be killed")?;
        }
        Ok(self.program)
    }
}

/// An address that nobody listens on.
pub async fn free_address() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    Ok(listener.local_addr()?)
}

/// What the four services stand on.
#[derive(Debug, Clone)]
pub struct Stand<'a> {
    pub log: &'a str,
    pub replicas: Option<usize>,
    pub read_model: &'a str,
    pub member_db: &'a str,
    pub card_keys: &'a str,
    pub catalog: &'a Path,
    pub index: &'a Path,
    /// For the logs of the services.
    pub directory: &'a Path,
}

/// The four services, in the order in which they are stopped: those that call before those that are called.
pub struct Services {
    pub ordering: Service,
    pub query: Service,
    pub projector: Service,
    pub member: Service,
}

impl Services {
    pub async fn start(stand: &Stand<'_>) -> Result<Self, Failure> {
        let program = async |name, listen, settings| -> Result<Program, Failure> {
            Ok(Program {
                name,
                listen,
                address: free_address().await?,
                settings,
                log: stand.directory.join(format!("{name}.log")),
            })
        };
        let text = |text: &str| text.to_owned();
        let mut log = vec![("LOG", text(stand.log))];
        log.extend(
            stand
                .replicas
                .map(|replicas| ("LOG_REPLICAS", replicas.to_string())),
        );
        let read_model = ("READ_MODEL", text(stand.read_model));
        let keys = ("CARD_KEYS", text(stand.card_keys));
        let mut member = program(
            "member",
            "MEMBER__LISTEN",
            vec![("MEMBER_DB", text(stand.member_db)), keys.clone()],
        )
        .await?
        .spawn()?;
        let path = |path: &Path| path.display().to_string();
        let mut settings = vec![
            keys,
            ("ORDERING__MEMBER_URL", member.url()),
            ("ORDERING__CATALOG", path(stand.catalog)),
            ("ORDERING__INDEX", path(stand.index)),
        ];
        settings.extend(log.iter().cloned());
        let mut ordering = program("ordering", "ORDERING__LISTEN", settings)
            .await?
            .spawn()?;
        let mut settings = log;
        settings.push(read_model.clone());
        let mut projector = program("status-projector", "PROJECTOR__LISTEN", settings)
            .await?
            .spawn()?;
        projector.ready().await?;
        let mut query = program("query-api", "QUERY__LISTEN", vec![read_model])
            .await?
            .spawn()?;
        for service in [&mut member, &mut ordering, &mut query] {
            service.ready().await?;
        }
        Ok(Self {
            ordering,
            query,
            projector,
            member,
        })
    }

    pub fn watched(&self) -> Vec<Watched> {
        [&self.ordering, &self.member, &self.projector, &self.query]
            .into_iter()
            .filter_map(Service::watched)
            .collect()
    }

    pub async fn stop(self) -> Result<(), Failure> {
        for service in [self.ordering, self.query, self.projector, self.member] {
            service.stop().await?;
        }
        Ok(())
    }
}
