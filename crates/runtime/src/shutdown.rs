use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Stopping in two steps: soft (take no new work, finish what is begun), then hard (let go). Tasks are tracked, so that whoever
/// owns the process can wait for them, and watched: one that dies begins the soft stop, because a service that goes on without it would
/// say that all is well.
#[derive(Clone, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    failure: Arc<OnceLock<String>>,
}

/// Why a service ended otherwise than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum HostError<E: std::error::Error + 'static> {
    #[error(transparent)]
    Serving(E),
    /// One of its tasks died.
    #[error("{0}")]
    Task(String),
}

/// What a panic said.
#[must_use]
pub fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without words".to_owned())
}

impl Shutdown {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub fn begin(&self) {
        self.soft.cancel();
    }

    #[must_use]
    pub fn is_soft(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Resolves when stopping begins.
    #[must_use]
    pub fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Resolves when everything has to be let go.
    #[must_use]
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Runs a task that [`Self::finish`] waits for. It is dropped at the hard stop. Should it panic, the service stops.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let this = self.clone();
        self.run_apart(task, move |panic| {
            this.fail(format!("a task of the service panicked: {panic}"));
        });
    }

    /// As [`Self::spawn`], for a task that has to run until the soft stop: the service stops, too, if it ends before.
    pub fn spawn_for_good<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (this, ended) = (self.clone(), self.clone());
        let task = async move {
            task.await;
            if !ended.is_soft() {
                ended.fail(format!("{name} has ended by itself"));
            }
        };
        self.run_apart(task, move |panic| {
            this.fail(format!("{name} panicked: {panic}"));
        });
    }

    /// As [`Self::spawn`]; the task is dropped at the soft stop.
    pub fn spawn_until_stop<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let soft = self.soft();
        self.spawn(async move {
            tokio::select! {
                () = task => {}
                () = soft.cancelled() => {}
            }
        });
    }

    /// As [`Self::spawn`], for the work of one caller or one store: a panic ends nothing else, and is told to `died`.
    pub fn run_apart<F>(&self, task: F, died: impl FnOnce(String) + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let hard = self.hard.clone();
        self.tasks.spawn(async move {
            let task = AssertUnwindSafe(task).catch_unwind();
            tokio::select! {
                ended = task => if let Err(panic) = ended {
                    died(said(&*panic));
                },
                () = hard.cancelled() => {}
            }
        });
    }

    /// Begins the soft stop because of a failure: [`Self::host`] ends with it. The first one counts.
    pub fn fail(&self, why: String) {
        tracing::error!(why, "the service stops");
        // Later failures are mostly consequences of the first.
        let _ = self.failure.set(why);
        self.begin();
    }

    /// Why the service stops, if it does because of a failure.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Begins the soft stop, waits for all tasks for at most `grace`, then stops hard.
    /// True when everything had ended by itself.
    pub async fn finish(&self, grace: Duration) -> bool {
        self.begin();
        self.tasks.close();
        let ended = tokio::time::timeout(grace, self.tasks.wait()).await.is_ok();
        self.hard.cancel();
        if !ended {
            self.tasks.wait().await;
        }
        ended
    }

    /// Runs a service to its end. After the soft stop it has `grace`, then everything is let go. An error if it failed, or a task of it.
    pub async fn host<E: std::error::Error + 'static>(
        &self,
        grace: Duration,
        serving: impl Future<Output = Result<(), E>>,
    ) -> Result<(), HostError<E>> {
        let served = self.serve(grace, serving).await;
        match (served, self.failure()) {
            (Err(error), _) => Err(HostError::Serving(error)),
            (Ok(()), Some(failure)) => Err(HostError::Task(failure.to_owned())),
            (Ok(()), None) => Ok(()),
        }
    }

    async fn serve<E>(
        &self,
        grace: Duration,
        serving: impl Future<Output = Result<(), E>>,
    ) -> Result<(), E> {
        tokio::pin!(serving);
        let soft = self.soft.clone();
        tokio::select! {
            served = &mut serving => {
                self.finish(grace).await;
                return served;
            }
            () = soft.cancelled() => {}
        }
        let hard = self.hard.clone();
        let ended = tokio::time::timeout(grace, async {
            let served = (&mut serving).await;
            self.tasks.close();
            tokio::select! {
                () = self.tasks.wait() => {}
                () = hard.cancelled() => {}
            }
            served
        })
        .await;
        match ended {
            Ok(served) => served,
            Err(_) => {
                tracing::warn!("work was still under way at the end of the grace period");
                self.hard.cancel();
                serving.await
            }
        }
    }

    /// Begins the soft stop at SIGTERM or SIGINT; a second signal stops hard.
    pub fn listen_for_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let this = self.clone();
        tokio::spawn(async move {
            for stop in [&this.soft, &this.hard] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tracing::info!("stopping");
                stop.cancel();
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    async fn hosted(shutdown: &Shutdown) -> Result<(), HostError<std::io::Error>> {
        let soft = shutdown.soft();
        let serving = async move {
            soft.cancelled().await;
            Ok(())
        };
        tokio::time::timeout(GRACE, shutdown.host(GRACE, serving))
            .await
            .expect("the service is told to stop")
    }

    #[tokio::test]
    async fn a_task_that_panics_stops_the_service_with_its_words() {
        let shutdown = Shutdown::new();
        shutdown.spawn(async { panic!("figures of store {} are gone", 7) });
        let failed = hosted(&shutdown).await.expect_err("a failure");
        assert!(
            failed.to_string().contains("figures of store 7 are gone"),
            "{failed}"
        );
        assert!(shutdown.is_soft());
    }

    #[tokio::test]
    async fn a_task_that_ends_unasked_stops_the_service() {
        let shutdown = Shutdown::new();
        shutdown.spawn_for_good("the watch over the tills", async {});
        let failed = hosted(&shutdown).await.expect_err("a failure");
        assert_eq!(
            failed.to_string(),
            "the watch over the tills has ended by itself"
        );
    }

    #[tokio::test]
    async fn a_task_that_ends_as_asked_is_no_failure() {
        let shutdown = Shutdown::new();
        let soft = shutdown.soft();
        shutdown.spawn_for_good("the watch", async move { soft.cancelled().await });
        shutdown.spawn(async {});
        shutdown.begin();
        hosted(&shutdown).await.expect("a stop as asked");
    }

    #[tokio::test]
    async fn a_panic_of_one_store_ends_nothing_else() {
        let shutdown = Shutdown::new();
        let (told, heard) = tokio::sync::oneshot::channel();
        shutdown.run_apart(async { panic!("no fold") }, move |panic| {
            drop(told.send(panic));
        });
        assert_eq!(heard.await.expect("told"), "no fold");
        assert!(!shutdown.is_soft() && shutdown.failure().is_none());
    }
}
