//! Requests over HTTP, told apart and answered.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Redirect, Response};
use bytes::Bytes;
use contract::{Reason, Rejection};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Collected, LengthLimitError, Limited};
use runtime::InProcess;
use tonic::Status;

use crate::about::About;
use crate::answer;
use crate::binding::{ApiError, Binding, bindings};
use crate::call::Call;
use crate::document::Document;
use crate::request::{Asked, read};
use crate::{events, openapi, pool, reference};

/// How long the body of a request may take.
const BODY_LIMIT: Duration = Duration::from_secs(10);

/// The calls of some services over HTTP.
#[derive(Debug)]
pub struct Api {
    bindings: Vec<Binding>,
    body_bytes: usize,
    openapi: Bytes,
    page: Bytes,
}

impl Api {
    /// Of services of the contract, by their full names.
    pub fn new(about: &About, services: &[&str]) -> Result<Self, ApiError> {
        let pool = pool::contract().map_err(|error| ApiError::Descriptors(error.to_string()))?;
        Self::of(pool, about, services)
    }

    pub(crate) fn of(
        pool: &prost_reflect::DescriptorPool,
        about: &About,
        services: &[&str],
    ) -> Result<Self, ApiError> {
        let bindings = bindings(pool, services)?;
        let document = Document::of(pool, about, &bindings)?;
        Ok(Self {
            openapi: (openapi::write(&document).to_string() + "\n").into(),
            page: reference::write(&document)?.into(),
            bindings,
            body_bytes: about.body_bytes,
        })
    }

    /// The routes of `router`, and beside them these; what is at none of them is refused. Requests have to come from [`runtime::serve`].
    pub fn beside(self, router: Router) -> Router {
        let api = Arc::new(self);
        router.fallback(move |request: Request| {
            let api = api.clone();
            async move { api.answer(request).await }
        })
    }

    async fn answer(&self, request: Request) -> Response {
        if speaks_grpc(&request) {
            return Status::unimplemented("").into_http();
        }
        let (parts, body) = request.into_parts();
        if let Some(fixed) = self.fixed(parts.uri.path()) {
            return match parts.method {
                Method::GET | Method::HEAD => fixed,
                other => not_allowed(&other, parts.uri.path(), &[Method::GET]),
            };
        }
        let mut others = Vec::new();
        for binding in &self.bindings {
            let Some(captured) = binding.template.captures(parts.uri.path()) else {
                continue;
            };
            let asked = match parts.method {
                Method::HEAD => &Method::GET,
                ref verb => verb,
            };
            if *asked != binding.verb {
                others.push(binding.verb.clone());
                continue;
            }
            return match self.call(binding, &captured, parts, body).await {
                Ok(response) => response,
                Err(refused) => refused.response(),
            };
        }
        if others.is_empty() {
            nothing_at(parts.uri.path())
        } else {
            not_allowed(&parts.method, parts.uri.path(), &others)
        }
    }

    /// What is the same at each call.
    fn fixed(&self, path: &str) -> Option<Response> {
        match path {
            "/" | "/v1" => Some(Redirect::temporary("/v1/").into_response()),
            "/v1/" => Some(page(&self.page)),
            "/v1/openapi.json" => Some(answer::text(
                StatusCode::OK,
                "application/json",
                self.openapi.clone(),
            )),
            _ => None,
        }
    }

    async fn call(
        &self,
        binding: &Binding,
        captured: &[String],
        mut parts: Parts,
        body: Body,
    ) -> Result<Response, Refused> {
        if !matches!(binding.body, crate::binding::Body::None) {
            is_json(&parts.headers)?;
        }
        let bytes = self.bytes(body).await?;
        let last_event_id = parts
            .headers
            .get("last-event-id")
            .and_then(|id| id.to_str().ok());
        let asked = Asked {
            captured,
            query: parts.uri.query().unwrap_or_default(),
            body: &bytes,
            last_event_id,
        };
        let message = read(binding, &asked).map_err(|rejection| rejection.to_status())?;
        let calls = parts
            .extensions
            .remove::<InProcess>()
            .ok_or_else(|| internal("a request came past the port"))?;
        let stopping = calls.stopping();
        let call = Call::new(
            calls,
            &binding.method,
            &message,
            parts.headers,
            parts.extensions,
        )?;
        if binding.method.is_server_streaming() {
            return Ok(events::response(call.stream().await?, stopping));
        }
        let answered = call.unary().await?;
        answer::message(&answered)
            .map_err(|error| internal(&format!("an answer cannot be written: {error}")).into())
    }

    async fn bytes(&self, body: Body) -> Result<Bytes, Refused> {
        let limit = self.body_bytes;
        let read = Limited::new(body, limit).collect();
        let read = tokio::time::timeout(BODY_LIMIT, read).await.map_err(|_| {
            let message = format!(
                "the request's body was not there within {} s",
                BODY_LIMIT.as_secs()
            );
            refuse(
                StatusCode::REQUEST_TIMEOUT,
                Reason::InvalidArgument,
                message,
            )
        })?;
        read.map(Collected::to_bytes).map_err(|error| {
            if error.is::<LengthLimitError>() {
                let message =
                    format!("the request's body takes more than the limit of {limit} bytes");
                refuse(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    Reason::MessageTooLarge,
                    message,
                )
            } else {
                let message = "the request's body broke off";
                refuse(StatusCode::BAD_REQUEST, Reason::InvalidArgument, message)
            }
        })
    }
}

/// A refusal and its status over HTTP, where that is not the one of its code.
struct Refused {
    code: Option<StatusCode>,
    status: Status,
}

impl Refused {
    fn response(&self) -> Response {
        match self.code {
            Some(code) => answer::refusal_as(code, &self.status),
            None => answer::refusal(&self.status),
        }
    }
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self { code: None, status }
    }
}

fn refuse(code: StatusCode, reason: Reason, message: impl Into<String>) -> Refused {
    Refused {
        code: Some(code),
        status: Rejection::new(reason, message).to_status(),
    }
}

fn internal(problem: &str) -> Status {
    tracing::error!(problem, "a call over HTTP failed");
    Rejection::new(Reason::Internal, Reason::Internal.meaning()).to_status()
}

/// A body has to be called JSON: what is sent without a word on what it is, any page can make a browser send.
fn is_json(headers: &HeaderMap) -> Result<(), Refused> {
    let said = |name| headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
    let wrong = |field: &str, description: String| Refused {
        code: Some(StatusCode::UNSUPPORTED_MEDIA_TYPE),
        status: Rejection::field(Reason::InvalidArgument, field, description).to_status(),
    };
    let kind = said(header::CONTENT_TYPE);
    let essence = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    if !essence
        .trim_ascii()
        .eq_ignore_ascii_case(b"application/json")
    {
        let kind = String::from_utf8_lossy(kind);
        return Err(wrong(
            "content-type",
            format!("application/json is expected, not {kind:?}"),
        ));
    }
    match said(header::CONTENT_ENCODING) {
        b"" | b"identity" => Ok(()),
        other => {
            let other = String::from_utf8_lossy(other);
            Err(wrong(
                "content-encoding",
                format!("{other:?} is not read; send the body as it is"),
            ))
        }
    }
}

fn speaks_grpc(request: &Request) -> bool {
    request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn nothing_at(path: &str) -> Response {
    let message = format!("There is nothing at {path}. GET /v1/ lists what there is.");
    answer::refusal(&Rejection::new(Reason::NotFound, message).to_status())
}

fn not_allowed(verb: &Method, path: &str, allowed: &[Method]) -> Response {
    let mut methods = allowed.to_vec();
    if allowed.contains(&Method::GET) {
        methods.push(Method::HEAD);
    }
    let names: Vec<_> = methods.iter().map(Method::as_str).collect();
    let message = format!("{verb} is not what {path} takes: {}.", names.join(", "));
    let mut response = refuse(
        StatusCode::METHOD_NOT_ALLOWED,
        Reason::UnknownMethod,
        message,
    )
    .response();
    answer::allow(&mut response, &methods);
    response
}

/// The page needs nothing but itself, and may load nothing else.
fn page(text: &Bytes) -> Response {
    let mut response = answer::text(StatusCode::OK, "text/html; charset=utf-8", text.clone());
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    );
    response
}
