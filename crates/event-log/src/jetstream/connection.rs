use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::JetStreamConfig;
use super::known::Known;
use super::link::{AWAY, Link};
use crate::error::LogError;

/// First and longest pause between two attempts to connect again.
const FIRST_RECONNECT_DELAY: Duration = Duration::from_millis(10);
const LONGEST_RECONNECT_DELAY: Duration = Duration::from_millis(250);

/// A connection that is made again whenever it has ended. It is handed out only once the streams were found to be those that were
/// opened, on that very connection and once for all ledgers.
#[derive(Debug)]
pub(super) struct Connection {
    link: watch::Receiver<Option<Arc<Link>>>,
    _maintaining: DropGuard,
}

impl Connection {
    /// `link`: the connection on which the log was opened, or which was checked since.
    pub(super) fn keep(
        config: &JetStreamConfig,
        name: &'static str,
        link: Link,
        known: Arc<Known>,
    ) -> Self {
        let link = Arc::new(link);
        let (publish, watched) = watch::channel(Some(link.clone()));
        let dropped = CancellationToken::new();
        let maintaining = dropped.clone().drop_guard();
        let config = config.clone();
        tokio::spawn(async move {
            let maintained = async {
                // A panic ends one attempt, and not the connection for good.
                while let Err(panic) =
                    AssertUnwindSafe(maintain(&config, name, link.clone(), &known, &publish))
                        .catch_unwind()
                        .await
                {
                    tracing::error!(
                        name,
                        cause = panic_words(&*panic),
                        "keeping the connection failed; trying again"
                    );
                    tokio::time::sleep(LONGEST_RECONNECT_DELAY).await;
                }
            };
            tokio::select! {
                () = dropped.cancelled() => {}
                () = maintained => {}
            }
        });
        Self {
            link: watched,
            _maintaining: maintaining,
        }
    }

    /// The connection, checked. Requests made while there is none would only time out: they are refused at once.
    pub(super) fn link(&self) -> Result<Arc<Link>, LogError> {
        match &*self.link.borrow() {
            Some(link) if link.is_connected() => Ok(link.clone()),
            _ => Err(LogError::Unavailable(AWAY.to_owned())),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.link().is_ok()
    }
}

fn panic_words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
}

/// Until the log is found changed, which ends all work on it.
async fn maintain(
    config: &JetStreamConfig,
    name: &str,
    mut link: Arc<Link>,
    known: &Known,
    publish: &watch::Sender<Option<Arc<Link>>>,
) {
    let mut delay = FIRST_RECONNECT_DELAY;
    loop {
        link.ended().await;
        publish.send_replace(None);
        tracing::warn!(name, "the connection has ended; connecting again");
        link = loop {
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(LONGEST_RECONNECT_DELAY);
            let made = match Link::connect(config, name).await {
                Ok(made) => made,
                Err(error) => {
                    tracing::debug!(%error, "not connected to the event log");
                    continue;
                }
            };
            match known.check(&made).await {
                Ok(()) => break Arc::new(made),
                Err(LogError::Changed(_)) => return,
                Err(error) => tracing::debug!(%error, "the event log is not ready"),
            }
        };
        delay = FIRST_RECONNECT_DELAY;
        tracing::info!(name, "connected again");
        publish.send_replace(Some(link.clone()));
    }
}
