use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Stopping in two steps: soft (take no new work, finish what is begun), then hard (let go). Tasks are tracked, so that whoever
/// owns the process can wait for them.
#[derive(Clone, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
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

    /// Runs a task that [`Self::finish`] waits for. It is dropped at the hard stop.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let hard = self.hard.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = hard.cancelled() => {}
            }
        });
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

    /// Runs a service to its end. After the soft stop it has `grace`, then everything is let go.
    pub async fn host<E>(
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
