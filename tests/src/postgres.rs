//! A real PostgreSQL server.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::process::{Process, data_directory, find_program, free_port, group_of, is_root};

const START_LIMIT: Duration = Duration::from_secs(30);
/// Who owns the server's data when the tests run as root, which PostgreSQL refuses to run as.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// One PostgreSQL server with its data in a directory of its own. The process ends when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    programs: PathBuf,
    user: Option<&'static str>,
    directory: TempDir,
    process: Mutex<Option<Process>>,
    databases: AtomicU32,
}

/// A database of one test.
#[derive(Debug, Clone)]
pub struct Database {
    pub name: String,
    pub url: String,
}

impl Postgres {
    /// A server of its own, for tests that kill it.
    pub async fn start() -> Result<Self> {
        let programs = programs()?;
        let user = if is_root() {
            Some(unprivileged_user()?)
        } else {
            None
        };
        let directory = data_directory("postgres")?;
        if let Some(user) = user {
            own(directory.path(), user)?;
        }
        let postgres = Self {
            port: free_port()?,
            programs,
            user,
            directory,
            process: Mutex::new(None),
            databases: AtomicU32::new(0),
        };
        postgres.make_cluster()?;
        postgres.launch()?;
        postgres.ready().await?;
        Ok(postgres)
    }

    /// The server that all tests of this process share; each takes a [`Self::fresh_database`].
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    /// A new, empty database.
    pub async fn fresh_database(&self) -> Result<Database> {
        let name = format!(
            "test_{}_{}",
            std::process::id(),
            self.databases.fetch_add(1, Ordering::Relaxed)
        );
        let mut connection = PgConnection::connect(&self.url("postgres")).await?;
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        Ok(Database {
            url: self.url(&name),
            name,
        })
    }

    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://doppio@127.0.0.1:{}/{database}", self.port)
    }

    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `kill -9` of the server; its children end by themselves.
    pub fn kill(&self) {
        if let Some(process) = self.process().take() {
            process.kill();
        }
    }

    /// Asks the server to end at once, as an operator would.
    pub fn stop(&self) -> Result<()> {
        match self.process().take() {
            Some(process) => process.stop(Signal::INT),
            None => Ok(()),
        }
    }

    /// Starts the server again on its port and its data.
    pub async fn restart(&self) -> Result<()> {
        // The children of a killed server take a moment to notice, and hold its shared memory until then.
        let limit = Instant::now() + START_LIMIT;
        loop {
            self.launch()?;
            match self.ready().await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= limit => return Err(error),
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn make_cluster(&self) -> Result<()> {
        let data = self.directory.path().join("data");
        if let Some(template) = std::env::var_os("DOPPIO_POSTGRES_TEMPLATE") {
            run(Command::new("cp").arg("-a").arg(template).arg(&data))?;
            if let Some(user) = self.user {
                own(&data, user)?;
            }
            return Ok(());
        }
        let initdb = self.programs.join("initdb");
        let options = [
            "--username=doppio",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "-D",
        ];
        match self.user {
            Some(user) => run(Command::new("setpriv")
                .args([
                    "--reuid",
                    user,
                    "--regid",
                    group_of(user),
                    "--clear-groups",
                    "--",
                ])
                .arg(initdb)
                .args(options)
                .arg(&data)
                .current_dir(self.directory.path())),
            None => run(Command::new(initdb).args(options).arg(&data)),
        }
    }

    fn launch(&self) -> Result<()> {
        let data = self.directory.path().join("data");
        let port = self.port.to_string();
        let mut arguments: Vec<&OsStr> =
            vec!["-D".as_ref(), data.as_ref(), "-p".as_ref(), port.as_ref()];
        // A killed process loses nothing that the kernel has: syncing would only make the tests slower.
        let settings = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "max_connections=200",
            "shared_buffers=64MB",
            "timezone=UTC",
            "log_timezone=UTC",
        ];
        for setting in &settings {
            arguments.extend::<[&OsStr; 2]>(["-c".as_ref(), setting.as_ref()]);
        }
        let process = Process::start(
            &self.programs.join("postgres"),
            &arguments,
            self.user,
            &self.log(),
        )?;
        *self.process() = Some(process);
        Ok(())
    }

    async fn ready(&self) -> Result<()> {
        let limit = Instant::now() + START_LIMIT;
        loop {
            let Err(error) = PgConnection::connect(&self.url("postgres")).await else {
                return Ok(());
            };
            let running = self.process().as_ref().is_some_and(Process::is_running);
            ensure!(
                running,
                "PostgreSQL ended:\n{}",
                std::fs::read_to_string(self.log())?
            );
            ensure!(
                Instant::now() < limit,
                "PostgreSQL does not answer within {} s: {error}",
                START_LIMIT.as_secs()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .with_context(|| format!("{command:?} does not start"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn own(path: &Path, user: &str) -> Result<()> {
    run(Command::new("chown")
        .args(["-R", &format!("{user}:{}", group_of(user))])
        .arg(path))
}

fn unprivileged_user() -> Result<&'static str> {
    let known = std::fs::read_to_string("/etc/passwd")?;
    let exists = |user: &&&str| {
        known
            .lines()
            .any(|line| line.starts_with(&format!("{user}:")))
    };
    USERS
        .iter()
        .find(exists)
        .copied()
        .context("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
}

/// The directory with `initdb` and `postgres`.
fn programs() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("DOPPIO_POSTGRES_BIN") {
        return Ok(PathBuf::from(named));
    }
    if let Some(directory) =
        find_program("initdb").and_then(|path| path.parent().map(Path::to_owned))
    {
        return Ok(directory);
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"));
    let mut found: Vec<PathBuf> = versions
        .filter(|directory| directory.join("initdb").is_file())
        .collect();
    found.sort_by_key(|directory| {
        directory
            .parent()
            .and_then(Path::file_name)?
            .to_str()?
            .parse::<u32>()
            .ok()
    });
    match found.pop() {
        Some(directory) => Ok(directory),
        None => bail!(
            "PostgreSQL was not found; run `./test`, which installs it, or name its programs' directory in DOPPIO_POSTGRES_BIN"
        ),
    }
}
