//! Doppio's own programs as child processes, on real engines.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use doppio::clients::Clients;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::nats::Nats;
use crate::process::{Process, data_directory, find_program, free_port};

/// Keys of card hashes that the services share.
pub const CARD_KEYS: &str = "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// How long a service has to become healthy after a start.
const START_LIMIT: Duration = Duration::from_secs(30);
const HEALTH_CALL_LIMIT: Duration = Duration::from_secs(2);
/// How long a command of `doppio` may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(180);
/// Lines of a service's log that are shown with a failure.
const TAIL_LINES: usize = 25;

/// What the services of one test stand on. Their logs and files are in a directory of its own.
#[derive(Debug)]
pub struct Engines {
    log: String,
    replicas: usize,
    read_model: String,
    directory: TempDir,
}

impl Engines {
    /// `read_model`: the URL of a database.
    pub fn new(nats: &Nats, read_model: &str) -> Result<Self> {
        let directory = data_directory("services")?;
        Ok(Self {
            log: nats.urls().join(","),
            replicas: nats.nodes(),
            read_model: read_model.to_owned(),
            directory,
        })
    }

    /// Where the log is, as `--log` takes it.
    #[must_use]
    pub fn log(&self) -> &str {
        &self.log
    }

    /// A member service that may open so many files and sockets and no more.
    pub async fn member_with_descriptors(&self, descriptors: u32) -> Result<Service> {
        let member = self.member().await?;
        let member = Service {
            descriptors: Some(descriptors),
            ..member
        };
        member.restart().await?;
        Ok(member)
    }

    pub async fn member(&self) -> Result<Service> {
        let database = format!(
            "sqlite:{}",
            self.directory.path().join("member.db").display()
        );
        self.start(
            "member",
            "member",
            "MEMBER__LISTEN",
            &[("MEMBER_DB", &database), ("CARD_KEYS", CARD_KEYS)],
        )
        .await
    }

    /// Each instance has a name and an index of its own. `settings`: more of them, such as `("ORDERING__QUEUE", "8")`.
    pub async fn ordering(
        &self,
        name: &str,
        member: &Service,
        settings: &[(&str, &str)],
    ) -> Result<Service> {
        let index = self
            .directory
            .path()
            .join(format!("{name}.index.db"))
            .display()
            .to_string();
        let (member, replicas) = (member.url(), self.replicas.to_string());
        let own = [
            ("LOG", self.log.as_str()),
            ("LOG_REPLICAS", &replicas),
            ("CARD_KEYS", CARD_KEYS),
            ("ORDERING__MEMBER_URL", &member),
            ("ORDERING__INDEX", &index),
            // A busy machine is not a dead member service.
            ("ORDERING__MEMBER_DEADLINE_MS", "2000"),
        ];
        self.start(
            name,
            "ordering",
            "ORDERING__LISTEN",
            &[&own, settings].concat(),
        )
        .await
    }

    pub async fn status_projector(&self, instance: &str) -> Result<Service> {
        let replicas = self.replicas.to_string();
        let settings = [
            ("LOG", self.log.as_str()),
            ("LOG_REPLICAS", &replicas),
            ("READ_MODEL", &self.read_model),
            ("PROJECTOR__INSTANCE", instance),
        ];
        self.start(instance, "status-projector", "PROJECTOR__LISTEN", &settings)
            .await
    }

    /// Answers once this returns; serving it is as soon as a projector has made the tables.
    pub async fn query_api(&self) -> Result<Service> {
        let settings = [("READ_MODEL", self.read_model.as_str())];
        let service = self.make("query-api", "query-api", "QUERY__LISTEN", &settings)?;
        service.launch()?;
        service.answers().await?;
        Ok(service)
    }

    async fn start(
        &self,
        name: &str,
        program: &str,
        listen: &str,
        settings: &[(&str, &str)],
    ) -> Result<Service> {
        let service = self.make(name, program, listen, settings)?;
        service.restart().await?;
        Ok(service)
    }

    fn make(
        &self,
        name: &str,
        program: &str,
        listen: &str,
        settings: &[(&str, &str)],
    ) -> Result<Service> {
        let port = free_port()?;
        let own = [
            (listen, format!("127.0.0.1:{port}")),
            ("LOG_FILTER", "info,async_nats=warn".to_owned()),
        ];
        let given = settings
            .iter()
            .map(|(key, value)| (*key, (*value).to_owned()));
        let environment = own
            .into_iter()
            .chain(given)
            .map(|(key, value)| format!("DOPPIO_{key}={value}").into())
            .collect();
        Ok(Service {
            name: name.to_owned(),
            program: program_path(program)?,
            environment,
            port,
            log: self.directory.path().join(format!("{name}.log")),
            descriptors: None,
            process: Mutex::new(None),
        })
    }
}

/// One service process. It ends when this is dropped, or the test process ends.
#[derive(Debug)]
pub struct Service {
    name: String,
    program: PathBuf,
    environment: Vec<OsString>,
    port: u16,
    log: PathBuf,
    descriptors: Option<u32>,
    process: Mutex<Option<Process>>,
}

impl Service {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The number of its process.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.process().as_ref().and_then(Process::id)
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `kill -9`.
    pub fn kill9(&self) {
        if let Some(process) = self.process().take() {
            process.kill();
        }
    }

    /// Asks it to end, as an operator would, and waits until it has.
    pub fn stop(&self) -> Result<()> {
        match self.process().take() {
            Some(process) => process.stop(Signal::TERM),
            None => Ok(()),
        }
    }

    /// Starts it again, on its port and its files, and waits until it is healthy.
    pub async fn restart(&self) -> Result<()> {
        self.launch()?;
        self.wait(|status| status == ServingStatus::Serving).await
    }

    /// Waits until it says how it is, whatever it says.
    pub async fn answers(&self) -> Result<()> {
        self.wait(|_| true).await
    }

    /// Waits until it says that it is as wanted.
    pub async fn becomes(&self, wanted: ServingStatus) -> Result<()> {
        self.wait(|status| status == wanted).await
    }

    /// Starts it again, on its port and its files, without waiting.
    pub fn launch(&self) -> Result<()> {
        self.kill9();
        // `env` gives the process its settings, and takes away those of the tests themselves.
        let mut arguments: Vec<OsString> = Vec::new();
        for key in settings_of_the_tests() {
            arguments.extend(["-u".into(), key]);
        }
        arguments.extend(self.environment.iter().cloned());
        if let Some(descriptors) = self.descriptors {
            let limited = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
            arguments.extend(["sh".into(), "-c".into(), limited.into()]);
        }
        arguments.push(self.program.clone().into());
        let arguments: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
        let env = find_program("env").context("there is no program env")?;
        *self.process() = Some(Process::start(&env, &arguments, None, &self.log)?);
        Ok(())
    }

    async fn wait(&self, wanted: impl Fn(ServingStatus) -> bool) -> Result<()> {
        let limit = Instant::now() + START_LIMIT;
        let mut client = HealthClient::new(runtime::channel::connect_lazy(&self.url())?);
        loop {
            let answer = timeout(
                HEALTH_CALL_LIMIT,
                client.check(HealthCheckRequest {
                    service: String::new(),
                }),
            )
            .await;
            if matches!(&answer, Ok(Ok(answer)) if wanted(answer.get_ref().status())) {
                return Ok(());
            }
            let running = self.process().as_ref().is_some_and(Process::is_running);
            ensure!(running, "{} ended:\n{}", self.name, self.tail());
            ensure!(
                Instant::now() < limit,
                "{} is not healthy within {} s:\n{}",
                self.name,
                START_LIMIT.as_secs(),
                self.tail()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The end of what it logged.
    #[must_use]
    pub fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let mut tail = format!("-- the end of the log of {}:\n", self.name);
        for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
            // Writing to a string does not fail.
            let _ = writeln!(tail, "{line}");
        }
        tail
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Clients of services; any of them may be away.
pub fn clients(member: &Service, ordering: &Service, query: &Service) -> Result<Clients> {
    Clients::connect(&member.url(), &ordering.url(), &query.url()).map_err(|failure| failure.error)
}

/// Runs the `doppio` program and waits for its end.
pub async fn doppio<A: AsRef<OsStr>>(arguments: &[A]) -> Result<Output> {
    let mut command = tokio::process::Command::new(program_path("doppio")?);
    for key in settings_of_the_tests() {
        command.env_remove(key);
    }
    command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    timeout(COMMAND_LIMIT, command.output())
        .await
        .with_context(|| format!("doppio does not end within {} s", COMMAND_LIMIT.as_secs()))?
        .context("doppio does not start")
}

/// Runs a program of this build in a directory, for as long as `limit` at most. Returns all that it said.
pub async fn run_for(
    program: &str,
    arguments: &[&str],
    settings: &[(&str, &str)],
    directory: &Path,
    limit: Duration,
) -> Result<String> {
    let said = directory.join("said");
    let file = std::fs::File::create(&said)?;
    let mut command = tokio::process::Command::new(program_path(program)?);
    for key in settings_of_the_tests() {
        command.env_remove(key);
    }
    for (key, value) in settings {
        command.env(format!("DOPPIO_{key}"), value);
    }
    let mut process = command
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .kill_on_drop(true)
        .spawn()?;
    if timeout(limit, process.wait()).await.is_err() {
        process.kill().await?;
    }
    Ok(String::from_utf8_lossy(&std::fs::read(&said)?).into_owned())
}

/// The first of `count` ports in a row that are free now.
pub fn free_ports(count: u16) -> Result<u16> {
    loop {
        let first = free_port()?;
        let free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (first..first + count).all(free) {
            return Ok(first);
        }
    }
}

/// Doppio's own settings must not reach a program that a test starts.
fn settings_of_the_tests() -> impl Iterator<Item = OsString> {
    std::env::vars_os()
        .map(|(key, _)| key)
        .filter(|key| key.to_string_lossy().starts_with("DOPPIO_"))
}

/// A program of this build: it lies one directory above the test that runs.
pub fn program_path(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let directory = test
        .parent()
        .and_then(Path::parent)
        .context("the test's program has no directory")?;
    let program = directory.join(name);
    ensure!(
        program.is_file(),
        "{} is missing: run `cargo build --workspace --bins`, as ./test does",
        program.display()
    );
    Ok(program)
}
