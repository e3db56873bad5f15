//! Answers: a message as JSON, or a refusal as JSON with the HTTP status that belongs to its code.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use prost_reflect::{DynamicMessage, SerializeOptions};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::pool;

const JSON: &str = "application/json";

/// A refusal: `google.rpc.Status` as JSON, with its details.
#[must_use]
pub fn refusal(status: &Status) -> Response {
    refusal_as(http_status(status.code()), status)
}

/// A refusal for which HTTP has a status of its own.
pub(crate) fn refusal_as(code: StatusCode, status: &Status) -> Response {
    let mut response = text(code, JSON, status_json(status) + "\n");
    if let Some(delay) = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay)
    {
        let seconds = HeaderValue::from(delay.as_secs().max(1));
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

/// An answer that is a message.
pub(crate) fn message(message: &DynamicMessage) -> Result<Response, serde_json::Error> {
    Ok(text(StatusCode::OK, JSON, json(message)? + "\n"))
}

/// A text that nobody keeps: the next answer may be another.
pub(crate) fn text(code: StatusCode, kind: &'static str, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    not_kept(headers);
    response
}

pub(crate) fn not_kept(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
}

/// There is something at this address, for other methods than the request's.
pub(crate) fn allow(response: &mut Response, methods: &[Method]) {
    let methods: Vec<_> = methods.iter().map(Method::as_str).collect();
    if let Ok(methods) = HeaderValue::try_from(methods.join(", ")) {
        response.headers_mut().insert(header::ALLOW, methods);
    }
}

/// The canonical JSON of a message, in one line: names in lowerCamelCase, fields at their default left out, 64-bit numbers as strings.
pub(crate) fn json(message: &DynamicMessage) -> Result<String, serde_json::Error> {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut out);
    message.serialize_with_options(&mut serializer, &SerializeOptions::new())?;
    String::from_utf8(out).map_err(serde::ser::Error::custom)
}

/// `google.rpc.Status` as JSON. Details that cannot be written are left out; code and message never are.
pub(crate) fn status_json(status: &Status) -> String {
    if status.code() == Code::Ok {
        // All its fields are at their default.
        return "{}".to_owned();
    }
    let detailed = pool::contract().ok().and_then(|pool| {
        let bytes = status.details();
        if bytes.is_empty() {
            return None;
        }
        let descriptor = pool.get_message_by_name(pool::STATUS)?;
        json(&DynamicMessage::decode(descriptor, bytes).ok()?).ok()
    });
    detailed.unwrap_or_else(|| {
        serde_json::json!({ "code": i32::from(status.code()), "message": status.message() })
            .to_string()
    })
}

/// As `google/rpc/code.proto` maps them.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        // The client closed the request: nginx's 499, which Google's mapping names.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
