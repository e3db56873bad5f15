//! Real nats-server processes.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use event_log::jetstream::{JetStreamConfig, check_server};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::process::{Process, data_directory, find_program, free_port};

/// How long servers have to answer after a start; a cluster elects leaders first.
const START_LIMIT: Duration = Duration::from_secs(30);

/// One nats-server, or a cluster of three. The processes end when this is dropped.
#[derive(Debug)]
pub struct Nats {
    nodes: Vec<Node>,
    program: PathBuf,
    jetstream: bool,
    directory: TempDir,
}

#[derive(Debug)]
struct Node {
    port: u16,
    directory: PathBuf,
    process: Mutex<Option<Process>>,
}

impl Nats {
    /// One server, syncing every write.
    pub async fn single() -> Result<Self> {
        Self::start(1, true).await
    }

    /// Three servers in a cluster, syncing every write.
    pub async fn cluster3() -> Result<Self> {
        Self::start(3, true).await
    }

    /// One server with JetStream off.
    pub async fn without_jetstream() -> Result<Self> {
        Self::start(1, false).await
    }

    async fn start(count: usize, jetstream: bool) -> Result<Self> {
        let program = program()?;
        let directory = data_directory("nats")?;
        let mut ports = Vec::new();
        while ports.len() < 2 * count {
            let port = free_port()?;
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        let (clients, routes) = ports.split_at(count);
        let mut nodes = Vec::new();
        for (index, port) in clients.iter().enumerate() {
            let home = directory.path().join(format!("n{index}"));
            std::fs::create_dir(&home)?;
            std::fs::write(
                home.join("nats.conf"),
                configuration(index, *port, routes, &home, jetstream)?,
            )?;
            nodes.push(Node {
                port: *port,
                directory: home,
                process: Mutex::new(None),
            });
        }
        let nats = Self {
            nodes,
            program,
            jetstream,
            directory,
        };
        for index in 0..count {
            nats.launch(index)?;
        }
        nats.ready().await?;
        Ok(nats)
    }

    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    #[must_use]
    pub fn url(&self, node: usize) -> String {
        format!("nats://127.0.0.1:{}", self.nodes[node].port)
    }

    #[must_use]
    pub fn address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.nodes[node].port)
    }

    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        (0..self.nodes.len()).map(|node| self.url(node)).collect()
    }

    /// How to reach these servers, with as many copies as there are nodes.
    #[must_use]
    pub fn config(&self) -> JetStreamConfig {
        JetStreamConfig {
            replicas: self.nodes.len(),
            ..JetStreamConfig::new(self.urls())
        }
    }

    /// `kill -9`.
    pub fn kill(&self, node: usize) {
        if let Some(process) = self.process(node).take() {
            process.kill();
        }
    }

    pub fn kill_all(&self) {
        (0..self.nodes.len()).for_each(|node| self.kill(node));
    }

    /// Asks a server to end, and waits until it has.
    pub fn stop(&self, node: usize) -> Result<()> {
        match self.process(node).take() {
            Some(process) => process.stop(Signal::TERM),
            None => Ok(()),
        }
    }

    /// Freezes a server: it stays connected and answers nothing.
    pub fn pause(&self, node: usize) -> Result<()> {
        self.process(node)
            .as_ref()
            .context("the server is not running")?
            .signal(Signal::STOP)
    }

    pub fn resume(&self, node: usize) -> Result<()> {
        self.process(node)
            .as_ref()
            .context("the server is not running")?
            .signal(Signal::CONT)
    }

    /// Starts a server that was killed or stopped, on its port and its data, without waiting.
    pub fn launch(&self, node: usize) -> Result<()> {
        let home = &self.nodes[node].directory;
        let configuration = home.join("nats.conf");
        let arguments: [&OsStr; 2] = ["-c".as_ref(), configuration.as_ref()];
        let process = Process::start(&self.program, &arguments, None, &home.join("log"))?;
        *self.process(node) = Some(process);
        Ok(())
    }

    /// Starts all servers that are not running, and waits until they answer.
    pub async fn restart(&self) -> Result<()> {
        for node in 0..self.nodes.len() {
            if self.process(node).is_none() {
                self.launch(node)?;
            }
        }
        self.ready().await
    }

    /// Waits until the servers answer requests and every stream has a leader.
    pub async fn ready(&self) -> Result<()> {
        let limit = Instant::now() + START_LIMIT;
        loop {
            let Err(error) = self.probe().await else {
                return Ok(());
            };
            for (index, node) in self.nodes.iter().enumerate() {
                let ended = self
                    .process(index)
                    .as_ref()
                    .is_some_and(|process| !process.is_running());
                ensure!(
                    !ended,
                    "nats-server {index} ended:\n{}",
                    std::fs::read_to_string(node.directory.join("log"))?
                );
            }
            ensure!(
                Instant::now() < limit,
                "nats-server does not answer within {} s: {error}",
                START_LIMIT.as_secs()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn probe(&self) -> Result<()> {
        let running = (0..self.nodes.len()).filter(|node| self.process(*node).is_some());
        for node in running {
            let options =
                async_nats::ConnectOptions::new().connection_timeout(Duration::from_millis(500));
            let client = options.connect(self.url(node)).await?;
            if !self.jetstream {
                continue;
            }
            let mut jetstream = async_nats::jetstream::new(client);
            jetstream.set_timeout(Duration::from_secs(1));
            jetstream.query_account().await?;
            let mut names = jetstream.stream_names();
            while let Some(name) = futures::TryStreamExt::try_next(&mut names).await? {
                let info = jetstream
                    .get_stream_no_info(&name)
                    .await?
                    .get_info()
                    .await?;
                let leader = info.cluster.is_none_or(|cluster| cluster.leader.is_some());
                ensure!(leader, "stream {name} has no leader");
            }
        }
        Ok(())
    }

    /// The node that leads a stream.
    pub async fn leader_of(&self, stream: &str) -> Result<usize> {
        let client = async_nats::connect(self.urls()).await?;
        let info = async_nats::jetstream::new(client)
            .get_stream_no_info(stream)
            .await?
            .get_info()
            .await?;
        let Some(leader) = info.cluster.and_then(|cluster| cluster.leader) else {
            return Ok(0);
        };
        let index = leader
            .strip_prefix('n')
            .and_then(|index| index.parse().ok());
        index.with_context(|| format!("the leader of {stream} is {leader:?}"))
    }

    /// Copies the data of all servers aside. They must not be running.
    pub fn save(&self, name: &str) -> Result<()> {
        for node in &self.nodes {
            copy(
                &node.directory.join("data"),
                &self.directory.path().join(format!("{name}-{}", node.port)),
            )?;
        }
        Ok(())
    }

    /// Puts the data of [`Self::save`] back. The servers must not be running.
    pub fn restore(&self, name: &str) -> Result<()> {
        for node in &self.nodes {
            let data = node.directory.join("data");
            std::fs::remove_dir_all(&data)?;
            copy(
                &self.directory.path().join(format!("{name}-{}", node.port)),
                &data,
            )?;
        }
        Ok(())
    }

    fn process(&self, node: usize) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.nodes[node]
            .process
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn configuration(
    index: usize,
    port: u16,
    routes: &[u16],
    home: &Path,
    jetstream: bool,
) -> Result<String> {
    let mut text = format!("server_name: n{index}\nlisten: \"127.0.0.1:{port}\"\n");
    if jetstream {
        let data = home.join("data");
        writeln!(
            text,
            "jetstream {{ store_dir: {data:?}, sync_interval: always, max_file: 4GB, max_mem: 256MB }}"
        )?;
    }
    if routes.len() > 1 {
        let all: Vec<String> = routes
            .iter()
            .map(|route| format!("\"nats://127.0.0.1:{route}\""))
            .collect();
        let (listen, all) = (routes[index], all.join(", "));
        // Without advertising, a client keeps to the addresses that it was given: a proxy stays between.
        writeln!(
            text,
            "cluster {{ name: doppio, listen: \"127.0.0.1:{listen}\", no_advertise: true, routes: [{all}] }}"
        )?;
    }
    Ok(text)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()?;
    ensure!(
        copied.success(),
        "cp -a {} {} failed",
        from.display(),
        to.display()
    );
    Ok(())
}

/// The server's program, checked to be new enough.
fn program() -> Result<PathBuf> {
    const HOW: &str = "run `./test`, which installs it, or name one in DOPPIO_NATS_SERVER";
    let named = std::env::var_os("DOPPIO_NATS_SERVER").map(PathBuf::from);
    let Some(program) = named.or_else(|| find_program("nats-server")) else {
        bail!("nats-server was not found; {HOW}")
    };
    let output = std::process::Command::new(&program)
        .arg("--version")
        .output();
    let output = output.with_context(|| format!("{} does not start; {HOW}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    check_server(text.rsplit(' ').next().unwrap_or_default())
        .with_context(|| format!("{}: {text}; {HOW}", program.display()))?;
    Ok(program)
}
