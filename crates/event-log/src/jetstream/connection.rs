use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Info, Stream};
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::{AuthError, Client, ConnectOptions, Event};
use futures::{FutureExt as _, TryStreamExt as _};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::JetStreamConfig;
use super::known::Known;
use super::login::{Login, take_password};
use crate::error::LogError;
use crate::log::{Position, StreamHead};
use crate::record::LedgerName;

/// Finds a frozen node in seconds; the client's own default takes minutes.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// How long one node has to answer when connecting.
const CONNECTION_TIMEOUT: Duration = Duration::from_millis(500);
/// How long all nodes together have when opening.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// First and longest pause between two attempts to connect again.
const FIRST_RECONNECT_DELAY: Duration = Duration::from_millis(10);
const LONGEST_RECONNECT_DELAY: Duration = Duration::from_millis(250);
/// How often a connection is looked at, should the news of its end be lost.
const LOOK: Duration = Duration::from_millis(250);
/// Commands that wait inside the client.
const CLIENT_CAPACITY: usize = 128;
/// How long one request to the servers, or one acknowledgement, is waited for.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

const AWAY: &str = "the NATS server is not connected";

/// One connection to one server. It never becomes another: the client library would connect again by itself, to servers that may hold
/// another log by then, and send there what was meant for this one.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) jetstream: Context,
    ended: Arc<Notify>,
}

impl Link {
    pub(super) async fn connect(config: &JetStreamConfig, name: &str) -> Result<Self, LogError> {
        let login = Login::of(config).await?;
        let servers: Vec<String> = config
            .servers
            .iter()
            .map(|url| take_password(url).0)
            .collect();
        let ended = Arc::new(Notify::new());
        let (told, made) = (ended.clone(), Arc::new(AtomicBool::new(false)));
        let spent = made.clone();
        // Every connection has to say who it is, and the second gets no answer: that ends the client.
        let options = ConnectOptions::with_auth_callback(move |challenge| {
            std::future::ready(if spent.load(Ordering::Acquire) {
                Err(AuthError::new("a connection is made once"))
            } else {
                login.answer(&challenge)
            })
        })
        .name(name)
        .max_reconnects(servers.len().max(1))
        .ignore_discovered_servers()
        .ping_interval(PING_INTERVAL)
        .connection_timeout(CONNECTION_TIMEOUT)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .client_capacity(CLIENT_CAPACITY)
        .reconnect_delay_callback(|_| Duration::ZERO)
        .event_callback(move |event| {
            if matches!(event, Event::Disconnected | Event::Closed) {
                told.notify_one();
            }
            async move { tracing::debug!(%event, "connection to the event log") }
        });
        let nodes = servers.join(", ");
        let unreachable = |why: String| {
            LogError::Unavailable(format!("no NATS server answers at {nodes}: {why}"))
        };
        let client = tokio::time::timeout(OPEN_TIMEOUT, options.connect(&servers[..]))
            .await
            .map_err(|_| unreachable(format!("nothing within {} s", OPEN_TIMEOUT.as_secs())))?
            .map_err(|error| unreachable(error.to_string()))?;
        made.store(true, Ordering::Release);
        let jetstream = ContextBuilder::new()
            .timeout(REQUEST_TIMEOUT)
            .ack_timeout(REQUEST_TIMEOUT)
            .build(client.clone());
        Ok(Self {
            client,
            jetstream,
            ended,
        })
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Returns when the connection has ended.
    async fn ended(&self) {
        while self.is_connected() {
            tokio::select! {
                () = self.ended.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// The time that the server puts on its answers.
    pub(super) async fn server_time(&self, stream: &str) -> Result<Timestamp, LogError> {
        #[derive(serde::Deserialize)]
        struct Stamped {
            ts: Timestamp,
        }
        if !self.is_connected() {
            return Err(LogError::Unavailable(AWAY.to_owned()));
        }
        let answer: Result<Stamped, _> = self
            .jetstream
            .request(format!("STREAM.INFO.{stream}"), &())
            .await;
        answer
            .map(|answer| answer.ts)
            .map_err(|error| LogError::Unavailable(format!("stream {stream}: {error}")))
    }

    /// The ledgers of a stream: the last token of each subject that it holds.
    pub(super) async fn ledgers(&self, stream: &str) -> Result<Vec<LedgerName>, LogError> {
        let unavailable = |error: &dyn std::fmt::Display| {
            LogError::Unavailable(format!("the subjects of stream {stream}: {error}"))
        };
        if !self.is_connected() {
            return Err(unavailable(&AWAY));
        }
        let mut subjects = self
            .stream(stream)
            .await?
            .info_with_subjects(">")
            .await
            .map_err(|error| unavailable(&error))?;
        let mut ledgers = Vec::new();
        while let Some((subject, _)) = subjects
            .try_next()
            .await
            .map_err(|error| unavailable(&error))?
        {
            let name = subject.rsplit('.').next().unwrap_or_default();
            ledgers.push(
                LedgerName::new(name)
                    .map_err(|error| LogError::Unusable(format!("stream {stream}: {error}")))?,
            );
        }
        Ok(ledgers)
    }

    /// A handle, without asking the server for anything.
    pub(super) async fn stream(&self, name: &str) -> Result<Stream<()>, LogError> {
        self.jetstream
            .get_stream_no_info(name)
            .await
            .map_err(|error| LogError::Unusable(format!("stream {name}: {error}")))
    }

    /// The stream as its leader knows it, `None` when there is none.
    pub(super) async fn find_stream(&self, name: &str) -> Result<Option<Info>, LogError> {
        if !self.is_connected() {
            return Err(LogError::Unavailable(AWAY.to_owned()));
        }
        // Asked by hand: the client library's own call does not tell "there is none" from "no answer".
        match self
            .jetstream
            .request(format!("STREAM.INFO.{name}"), &())
            .await
        {
            Ok(Response::Ok(info)) => Ok(Some(info)),
            Ok(Response::Err { error }) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Ok(None)
            }
            Ok(Response::Err { error }) => {
                Err(LogError::Unavailable(format!("stream {name}: {error}")))
            }
            Err(error) => Err(LogError::Unavailable(format!("stream {name}: {error}"))),
        }
    }

    pub(super) async fn stream_info(&self, name: &str) -> Result<Info, LogError> {
        let gone = || LogError::Changed(format!("stream {name} is gone"));
        self.find_stream(name).await?.ok_or_else(gone)
    }
}

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

pub(super) fn head_of(info: &Info) -> StreamHead {
    let nanoseconds = info.state.last_timestamp.unix_timestamp_nanos();
    let appended_at = (info.state.messages > 0)
        .then(|| Timestamp::from_nanosecond(nanoseconds).ok())
        .flatten();
    StreamHead {
        position: Position(info.state.last_sequence),
        appended_at,
    }
}
