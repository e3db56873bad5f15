use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, ReplayPolicy};
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until, timeout_at};
use uuid::Uuid;

use super::Shared;
use super::doubt::Doubt;
use super::leader;
use super::link::Link;
use crate::error::LogError;
use crate::log::{Checkpoint, Delivered, Landmark, Position, StreamIndex, Subscription};
use crate::record::{LedgerName, RecordHash};

/// Messages of one request, as many as a reader's batch; the next one is made when half of them have come.
const MAX_AHEAD: usize = 5_000;
/// Bytes of one request: with the largest records it is this that bounds what is under way and not yet taken.
const MAX_AHEAD_BYTES: usize = 16 * 1024 * 1024;
/// Bytes after which a delivery is cut.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// How often the server tells that an idle consumer is alive; after two silences it is made again.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long one request for messages stands.
const PULL_EXPIRES: Duration = Duration::from_secs(10);
/// The server forgets a consumer that nobody has asked for this long: the net below deleting it.
const CONSUMER_EXPIRES: Duration = Duration::from_secs(30);
/// Pause between two attempts to take up the stream again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How long a stream must look shorter than the checkpoint until it is believed: a new leader may lag for a moment.
const LAG_PATIENCE: Duration = Duration::from_secs(3);
/// How long taking up the stream may last, however short the caller's wait is.
const MIN_START: Duration = Duration::from_secs(2);

pub(super) struct JetStreamSubscription {
    shared: Arc<Shared>,
    index: StreamIndex,
    stream: String,
    /// The last record handed over and its hash, to be found again after every reconnection.
    last: Option<Landmark>,
    live: Option<Live>,
    /// Since when the stream has looked shorter than what was read from it.
    lagging_since: Option<Instant>,
}

/// A consumer on the server and its flow of messages.
struct Live {
    link: Arc<Link>,
    stream: String,
    consumer: String,
    messages: pull::Stream,
    /// The consumer's own count of deliveries: a missing number is a lost message.
    delivered: u64,
}

impl Drop for Live {
    /// The server keeps a consumer that nobody deletes, and counts it against its limit.
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (link, stream, consumer) = (
            self.link.clone(),
            std::mem::take(&mut self.stream),
            std::mem::take(&mut self.consumer),
        );
        runtime.spawn(async move {
            let deleted = link
                .jetstream
                .delete_consumer_from_stream(&consumer, &stream)
                .await;
            if let Err(error) = deleted {
                tracing::debug!(%error, stream, "a consumer was left to expire");
            }
        });
    }
}

impl JetStreamSubscription {
    pub(super) async fn start(
        shared: Arc<Shared>,
        stream: StreamIndex,
        after: Option<&Checkpoint>,
    ) -> Result<Self, LogError> {
        if let Some(checkpoint) = after
            && checkpoint.epoch != shared.known.epoch
        {
            // Its owner's trouble: the log itself may be well.
            return Err(LogError::Changed(format!(
                "the checkpoint is of log {}, this is {}",
                checkpoint.epoch, shared.known.epoch
            )));
        }
        let last = after.map(|checkpoint| Landmark {
            position: checkpoint.position,
            hash: checkpoint.hash,
        });
        let mut subscription = Self {
            index: stream,
            stream: shared.known.layout.stream_name(stream),
            shared,
            last,
            live: None,
            lagging_since: None,
        };
        loop {
            match subscription.take_up().await {
                Ok(live) => subscription.live = Some(live),
                Err(LogError::Unavailable(_)) if subscription.lagging_since.is_some() => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            return Ok(subscription);
        }
    }

    /// Makes sure that this is still the log that was read, and asks for what follows.
    async fn take_up(&mut self) -> Result<Live, LogError> {
        let link = self.shared.reader()?;
        match self.check(&link).await {
            Ok(()) => self.lagging_since = None,
            Err(Doubt::Lagging(detail)) => {
                let since = *self.lagging_since.get_or_insert_with(Instant::now);
                return Err(if since.elapsed() < LAG_PATIENCE {
                    LogError::Unavailable(detail)
                } else {
                    self.shared.known.standing.distrust(detail)
                });
            }
            Err(Doubt::Certain(error)) => {
                self.lagging_since = None;
                return Err(match error {
                    LogError::Changed(detail) => self.shared.known.standing.distrust(detail),
                    other => other,
                });
            }
        }
        let consumer = format!("doppio-{}", Uuid::new_v4().simple());
        let start = self.last.map(|last| last.position.0 + 1);
        let config = pull::Config {
            name: Some(consumer.clone()),
            description: Some("a reader of Doppio's event log".to_owned()),
            deliver_policy: start.map_or(DeliverPolicy::All, |start_sequence| {
                DeliverPolicy::ByStartSequence { start_sequence }
            }),
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
            inactive_threshold: CONSUMER_EXPIRES,
            num_replicas: 1,
            memory_storage: true,
            ..pull::Config::default()
        };
        let unavailable =
            |why: String| LogError::Unavailable(format!("stream {}: {why}", self.stream));
        let made = link
            .stream(&self.stream)
            .await?
            .create_consumer(config)
            .await;
        let made = made.map_err(|error| unavailable(error.to_string()))?;
        let flow = made
            .stream()
            .max_messages_per_batch(MAX_AHEAD)
            .max_bytes_per_batch(MAX_AHEAD_BYTES)
            .heartbeat(HEARTBEAT)
            .expires(PULL_EXPIRES)
            .messages()
            .await;
        let messages = flow.map_err(|error| unavailable(error.to_string()))?;
        Ok(Live {
            link,
            stream: self.stream.clone(),
            consumer,
            messages,
            delivered: 0,
        })
    }

    async fn check(&self, link: &Link) -> Result<(), Doubt> {
        let Some(info) = link.find_stream(&self.stream).await? else {
            return Err(Doubt::Lagging(format!("stream {} is gone", self.stream)));
        };
        self.shared.known.same_stream(&info, self.index)?;
        let Some(Landmark { position, hash }) = self.last else {
            return Ok(());
        };
        if position == Position(0) {
            return Err(LogError::Changed(
                "no record is at position 0, which the checkpoint names".to_owned(),
            )
            .into());
        }
        let head = info.state.last_sequence;
        if head < position.0 {
            return Err(Doubt::Lagging(format!(
                "stream {} ends at {head}, before {}, which was read from it",
                self.stream, position.0
            )));
        }
        match leader::at(link, &self.stream, position.0).await? {
            Some(stored) if RecordHash::of(&stored.body) == hash => Ok(()),
            Some(_) => Err(LogError::Changed(format!(
                "position {} of stream {} holds another record",
                position.0, self.stream
            ))
            .into()),
            None => Err(LogError::Changed(format!(
                "position {} of stream {} holds no record",
                position.0, self.stream
            ))
            .into()),
        }
    }

    /// Takes one item of the flow, and drops the flow when it is broken and has to be taken up again.
    fn accept(
        &mut self,
        item: Option<Result<async_nats::jetstream::Message, pull::MessagesError>>,
    ) -> Option<Delivered> {
        let live = self.live.as_mut()?;
        let message = match item {
            Some(Ok(message)) => message,
            ended => {
                tracing::debug!(stream = self.stream, error = ?ended.and_then(Result::err), "the flow of a subscription ended");
                self.live = None;
                return None;
            }
        };
        let count = message.info().map_or(0, |info| info.consumer_sequence);
        let sequence = message.info().map_or(0, |info| info.stream_sequence);
        if count != live.delivered + 1 {
            tracing::debug!(
                stream = self.stream,
                expected = live.delivered + 1,
                count,
                "a delivery was lost"
            );
            self.live = None;
            return None;
        }
        live.delivered = count;
        let name = message.subject.rsplit('.').next().unwrap_or_default();
        let Ok(ledger) = LedgerName::new(name) else {
            // The stream binds `<prefix>.<partition>.*`, and this is no ledger: a foreign message, which no reader would look for.
            tracing::warn!(stream = self.stream, sequence, subject = %message.subject, "skipped a message that is in no ledger");
            return None;
        };
        let delivered = Delivered::of(Position(sequence), ledger, &message.message.payload);
        self.last = Some(Landmark {
            position: delivered.position,
            hash: delivered.hash,
        });
        Some(delivered)
    }

    /// Takes what has arrived already, up to the caller's limit.
    fn drain(&mut self, first: Delivered, max: usize) -> Vec<Delivered> {
        let mut bytes = size(&first);
        let mut batch = vec![first];
        while batch.len() < max && bytes < MAX_BYTES {
            let Some(live) = &mut self.live else { break };
            let Some(item) = live.messages.next().now_or_never() else {
                break;
            };
            if let Some(delivered) = self.accept(item) {
                bytes += size(&delivered);
                batch.push(delivered);
            }
        }
        batch
    }
}

#[async_trait::async_trait]
impl Subscription for JetStreamSubscription {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivered>, LogError> {
        let deadline = Instant::now() + wait;
        loop {
            self.shared.known.standing.sound()?;
            let Some(live) = &mut self.live else {
                let limit = deadline.max(Instant::now() + MIN_START);
                let error = match timeout_at(limit, self.take_up()).await {
                    Ok(Ok(live)) => {
                        self.live = Some(live);
                        continue;
                    }
                    Ok(Err(LogError::Unavailable(why))) => LogError::Unavailable(why),
                    Ok(Err(error)) => return Err(error),
                    Err(_) => LogError::Unavailable(format!(
                        "stream {} could not be taken up in time",
                        self.stream
                    )),
                };
                sleep_until(deadline.min(Instant::now() + RETRY_PAUSE)).await;
                if Instant::now() >= deadline {
                    return Err(error);
                }
                continue;
            };
            let Ok(item) = timeout_at(deadline, live.messages.next()).await else {
                if self.shared.reader.is_connected() {
                    return Ok(Vec::new());
                }
                return Err(LogError::Unavailable(
                    "the NATS server is not connected".to_owned(),
                ));
            };
            if let Some(first) = self.accept(item) {
                return Ok(self.drain(first, max));
            }
        }
    }
}

fn size(delivered: &Delivered) -> usize {
    delivered
        .record
        .as_ref()
        .map_or(0, |record| record.bytes().len())
}
