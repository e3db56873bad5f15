use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Info, Stream};
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::{AuthError, Client, ConnectOptions, Event};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::JetStreamConfig;
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
/// How often a connection is looked at, should the news of its end be lost.
const LOOK: Duration = Duration::from_millis(250);
/// Commands that wait inside the client.
const CLIENT_CAPACITY: usize = 128;
/// How long one request to the servers, or one acknowledgement, is waited for.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) const AWAY: &str = "the NATS server is not connected";

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
    pub(super) async fn ended(&self) {
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
