use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, RawMessageError};
use bytes::Bytes;

use super::link::Link;
use crate::error::LogError;

/// A message of one stream.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) sequence: u64,
    pub(super) body: Bytes,
}

impl From<StreamMessage> for Stored {
    fn from(message: StreamMessage) -> Self {
        Self {
            sequence: message.sequence,
            body: message.payload,
        }
    }
}

/// The subject's last message, from the stream's leader: direct gets are answered by any copy and may be behind.
pub(super) async fn last(
    link: &Link,
    stream: &str,
    subject: &str,
) -> Result<Option<Stored>, LogError> {
    let request = link
        .stream(stream)
        .await?
        .raw_message_builder()
        .last_by_subject(subject);
    found(stream, request.send().await)
}

/// The subject's first message at or after a sequence, from the stream's leader.
pub(super) async fn next(
    link: &Link,
    stream: &str,
    subject: &str,
    sequence: u64,
) -> Result<Option<Stored>, LogError> {
    let request = link
        .stream(stream)
        .await?
        .raw_message_builder()
        .sequence(sequence)
        .next_by_subject(subject);
    found(stream, request.send().await)
}

/// The message at a sequence, from the stream's leader.
pub(super) async fn at(
    link: &Link,
    stream: &str,
    sequence: u64,
) -> Result<Option<Stored>, LogError> {
    let request = link
        .stream(stream)
        .await?
        .raw_message_builder()
        .sequence(sequence);
    found(stream, request.send().await)
}

fn found(
    stream: &str,
    answer: Result<StreamMessage, RawMessageError>,
) -> Result<Option<Stored>, LogError> {
    match answer {
        Ok(message) => Ok(Some(message.into())),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(LogError::Unavailable(format!(
            "the leader of stream {stream}: {error}"
        ))),
    }
}
