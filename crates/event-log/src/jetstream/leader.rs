use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, RawMessageError};
use bytes::Bytes;

use super::connection::Connection;
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
    connection: &Connection,
    stream: &str,
    subject: &str,
) -> Result<Option<Stored>, LogError> {
    let request = handle(connection, stream)
        .await?
        .raw_message_builder()
        .last_by_subject(subject);
    found(stream, request.send().await)
}

/// The subject's first message at or after a sequence, from the stream's leader.
pub(super) async fn next(
    connection: &Connection,
    stream: &str,
    subject: &str,
    sequence: u64,
) -> Result<Option<Stored>, LogError> {
    let request = handle(connection, stream)
        .await?
        .raw_message_builder()
        .sequence(sequence)
        .next_by_subject(subject);
    found(stream, request.send().await)
}

/// The message at a sequence, from the stream's leader.
pub(super) async fn at(
    connection: &Connection,
    stream: &str,
    sequence: u64,
) -> Result<Option<Stored>, LogError> {
    let request = handle(connection, stream)
        .await?
        .raw_message_builder()
        .sequence(sequence);
    found(stream, request.send().await)
}

/// Requests made while disconnected would be queued in the client and only time out: refuse at once instead.
async fn handle(
    connection: &Connection,
    stream: &str,
) -> Result<async_nats::jetstream::stream::Stream<()>, LogError> {
    if !connection.is_connected() {
        return Err(LogError::Unavailable(
            "the NATS server is not connected".to_owned(),
        ));
    }
    connection.stream(stream).await
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
