use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Info, Stream};
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::{Client, ConnectOptions, Event};
use futures::TryStreamExt as _;
use jiff::Timestamp;

use super::JetStreamConfig;
use crate::error::LogError;
use crate::log::{Position, StreamHead};
use crate::record::LedgerName;

/// Finds a frozen node in seconds; the client's own default takes minutes.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// How long one node has to answer when connecting.
const CONNECTION_TIMEOUT: Duration = Duration::from_millis(500);
/// How long all nodes together have when opening.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest pause between two attempts to connect again.
const MAX_RECONNECT_DELAY: Duration = Duration::from_millis(250);
/// Commands that wait inside the client. What is published while disconnected is sent later, so there must be few.
const CLIENT_CAPACITY: usize = 128;
/// How long one request to the servers, or one acknowledgement, is waited for.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// A client with its JetStream context.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) jetstream: Context,
    /// Counts connections made, to know when the streams have to be looked at anew.
    made: Arc<AtomicU64>,
    verified: AtomicU64,
}

impl Connection {
    pub(super) async fn open(config: &JetStreamConfig, name: &str) -> Result<Self, LogError> {
        let made = Arc::new(AtomicU64::new(0));
        let counted = made.clone();
        let mut options = ConnectOptions::new()
            .name(name)
            .ping_interval(PING_INTERVAL)
            .connection_timeout(CONNECTION_TIMEOUT)
            .request_timeout(Some(REQUEST_TIMEOUT))
            .client_capacity(CLIENT_CAPACITY)
            .reconnect_delay_callback(|attempts| {
                let delay = Duration::from_millis(10)
                    .saturating_mul(u32::try_from(attempts).unwrap_or(u32::MAX));
                delay.min(MAX_RECONNECT_DELAY)
            })
            .event_callback(move |event| {
                if matches!(event, Event::Connected) {
                    counted.fetch_add(1, Ordering::AcqRel);
                }
                async move { tracing::debug!(%event, "connection to the event log") }
            });
        if let Some(path) = &config.credentials {
            options = options.credentials_file(path).await.map_err(|error| {
                LogError::Unusable(format!(
                    "credentials {}: {error}; name a readable file",
                    path.display()
                ))
            })?;
        }
        let nodes = config.servers.join(", ");
        let unreachable = |why: String| {
            LogError::Unavailable(format!("no NATS server answers at {nodes}: {why}"))
        };
        let client = tokio::time::timeout(OPEN_TIMEOUT, options.connect(&config.servers[..]))
            .await
            .map_err(|_| unreachable(format!("nothing within {} s", OPEN_TIMEOUT.as_secs())))?
            .map_err(|error| unreachable(error.to_string()))?;
        let jetstream = ContextBuilder::new()
            .timeout(REQUEST_TIMEOUT)
            .ack_timeout(REQUEST_TIMEOUT)
            .build(client.clone());
        Ok(Self {
            client,
            jetstream,
            made,
            verified: AtomicU64::new(0),
        })
    }

    /// The time that the server puts on its answers.
    pub(super) async fn server_time(&self, stream: &str) -> Result<Timestamp, LogError> {
        #[derive(serde::Deserialize)]
        struct Stamped {
            ts: Timestamp,
        }
        if !self.is_connected() {
            return Err(LogError::Unavailable(
                "the NATS server is not connected".to_owned(),
            ));
        }
        let answer: Result<Stamped, _> = self
            .jetstream
            .request(format!("STREAM.INFO.{stream}"), &())
            .await;
        answer
            .map(|answer| answer.ts)
            .map_err(|error| LogError::Unavailable(format!("stream {stream}: {error}")))
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// The connection's number when the streams are yet to be checked on it, `None` when they have been.
    pub(super) fn unverified(&self) -> Option<u64> {
        let made = self.made.load(Ordering::Acquire);
        (made != self.verified.load(Ordering::Acquire)).then_some(made)
    }

    pub(super) fn set_verified(&self, made: u64) {
        self.verified.store(made, Ordering::Release);
    }

    /// The ledgers of a stream: the last token of each subject that it holds.
    pub(super) async fn ledgers(&self, stream: &str) -> Result<Vec<LedgerName>, LogError> {
        let unavailable = |error: &dyn std::fmt::Display| {
            LogError::Unavailable(format!("the subjects of stream {stream}: {error}"))
        };
        if !self.is_connected() {
            return Err(unavailable(&"the NATS server is not connected"));
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
            return Err(LogError::Unavailable(
                "the NATS server is not connected".to_owned(),
            ));
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
