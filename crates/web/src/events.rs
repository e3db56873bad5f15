//! A stream of messages as server-sent events, which a browser's `EventSource` reads and `curl -N` shows.
//!
//! Each message is an event whose data is its JSON. Where the message has the field `consistency_token`, that is the event's id: a listener
//! that comes back names the last one in `Last-Event-ID`, which the call gets as its field `after`. The last event of a stream is `status`,
//! with the `google.rpc.Status` that the call ended with. A stream that ends without one was cut: come back.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, StatusCode, header};
use prost_reflect::{DynamicMessage, Value};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::answer;
use crate::call::Messages;

/// The field of a message that names the token which it brings its reader to.
const TOKEN: &str = "consistency_token";
/// A comment is sent after this long without a message, so that whoever is in between keeps the connection, and a listener sees it is alive.
const HEARTBEAT: Duration = Duration::from_secs(5);
const COMMENT: &str = ":\n\n";

pub(crate) fn response(messages: Messages, stopping: CancellationToken) -> Response {
    // One message is read when the one before has been taken: who reads slowly holds up the call, not memory.
    let events = stream::unfold(Some((messages, stopping)), |state| async {
        let (mut messages, stopping) = state?;
        let next = tokio::select! {
            biased;
            () = stopping.cancelled() => return None,
            next = tokio::time::timeout(HEARTBEAT, messages.next()) => next,
        };
        let (text, goes_on) = match next {
            Err(_) => (COMMENT.to_owned(), true),
            Ok(Ok(Some(message))) => match event(&message) {
                Ok(text) => (text, true),
                Err(error) => {
                    let status = Status::internal(format!("an answer cannot be written: {error}"));
                    (last(&status), false)
                }
            },
            Ok(Ok(None)) => (last(&Status::ok("")), false),
            Ok(Err(status)) => (last(&status), false),
        };
        let part = Ok::<_, Infallible>(Bytes::from(text));
        Some((part, goes_on.then_some((messages, stopping))))
    });
    let mut response = Response::new(Body::from_stream(events));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    answer::not_kept(headers);
    response
}

fn event(message: &DynamicMessage) -> Result<String, serde_json::Error> {
    let id = match message.get_field_by_name(TOKEN).as_deref() {
        // A line's end would begin another field.
        Some(Value::String(token)) if !token.is_empty() && !token.contains(['\r', '\n', '\0']) => {
            format!("id: {token}\n")
        }
        _ => String::new(),
    };
    Ok(format!("{id}data: {}\n\n", answer::json(message)?))
}

/// How the call ended.
fn last(status: &Status) -> String {
    format!("event: status\ndata: {}\n\n", answer::status_json(status))
}
