use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};

use anyhow::{Context, Result, bail};
use rand::RngExt;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

type Spawned = std::io::Result<Child>;

/// A server process that dies with the test process, also when that is killed.
#[derive(Debug)]
pub(crate) struct Process(Mutex<Option<Child>>);

impl Process {
    /// Starts a program, as another user where `user` names one.
    pub(crate) fn start(
        program: &Path,
        arguments: &[&OsStr],
        user: Option<&str>,
        log: &Path,
    ) -> Result<Self> {
        let mut command = match dying_with_parent(user) {
            Some(mut command) => {
                command.arg(program);
                command
            }
            None => Command::new(program),
        };
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)?;
        command
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child =
            spawn(command).with_context(|| format!("{} does not start", program.display()))?;
        Ok(Self(Mutex::new(Some(child))))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `kill -9`, and waits until the process is gone.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.lock().take() {
            // An error says that it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Its number, while it has not been waited for.
    pub(crate) fn id(&self) -> Option<u32> {
        self.lock().as_ref().map(Child::id)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        // Locked, so that nobody waits for the process meanwhile and frees its number for another.
        let child = self.lock();
        let id = child.as_ref().map(Child::id).map(i32::try_from);
        let id = id.transpose()?.and_then(Pid::from_raw);
        let id = id.context("the process is not running")?;
        kill_process(id, signal).with_context(|| format!("{signal:?} to {id:?}"))
    }

    /// Asks it to end with a signal and waits until it has.
    pub(crate) fn stop(&self, signal: Signal) -> Result<()> {
        self.signal(signal)?;
        if let Some(mut child) = self.lock().take() {
            child.wait()?;
        }
        Ok(())
    }

    pub(crate) fn is_running(&self) -> bool {
        self.lock()
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `setpriv` asks the kernel to kill the process when the thread that started it ends; `None` where there is no `setpriv`.
fn dying_with_parent(user: Option<&str>) -> Option<Command> {
    let Some(setpriv) = find_program("setpriv") else {
        return user.map(|user| {
            let mut command = Command::new("su");
            command.args(["-s", "/bin/sh", user, "-c", "exec \"$0\" \"$@\""]);
            command
        });
    };
    let mut command = Command::new(setpriv);
    if let Some(user) = user {
        command.args(["--reuid", user, "--regid", group_of(user), "--clear-groups"]);
    }
    command.args(["--pdeathsig", "KILL", "--"]);
    Some(command)
}

/// The group of a user that PostgreSQL runs as.
pub(crate) fn group_of(user: &str) -> &str {
    if user == "nobody" { "nogroup" } else { user }
}

/// Starts processes on one thread that lives as long as the test process: the kernel's signal follows the *thread* that started
/// them, and a test's own thread ends with its test.
fn spawn(command: Command) -> Spawned {
    static SPAWNER: OnceLock<mpsc::Sender<(Command, mpsc::Sender<Spawned>)>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<(Command, mpsc::Sender<Spawned>)>();
        std::thread::spawn(move || {
            for (mut command, answer) in receiver {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, spawned) = mpsc::channel();
    let gone = |_| std::io::Error::other("the thread that starts processes has ended");
    spawner
        .send((command, answer))
        .map_err(|_| std::io::Error::other("the thread that starts processes has ended"))?;
    spawned.recv().map_err(gone)?
}

/// A directory for a server's data, named after this process. Those of processes that were killed, and so never removed theirs, go.
pub(crate) fn data_directory(server: &str) -> Result<TempDir> {
    let prefix = format!("doppio-{server}-");
    for entry in std::fs::read_dir(std::env::temp_dir())?.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(&prefix)?.split_once('-'))
            .map(|(owner, _)| owner.to_owned());
        if let Some(owner) = owner
            && Path::new("/proc/self").exists()
            && !Path::new("/proc").join(owner).exists()
        {
            // Another process may be removing it too.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    Ok(tempfile::Builder::new()
        .prefix(&format!("{prefix}{}-", std::process::id()))
        .tempdir()?)
}

pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

/// A port that is free now. Below the range that the kernel gives to outgoing connections, so that a server that was killed finds
/// its port free again.
pub(crate) fn free_port() -> Result<u16> {
    let mut random = rand::rng();
    for _ in 0..1000 {
        let port: u16 = random.random_range(12_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port was found in 1,000 tries")
}

pub(crate) fn is_root() -> bool {
    // A process's own directory in /proc belongs to the user that it runs as.
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}
