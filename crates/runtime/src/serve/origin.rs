//! Which pages in browsers may call a port.

use std::time::Duration;

use tonic::Status;
use tonic::codegen::http::{HeaderName, HeaderValue, Method, Request, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may remember what it was allowed.
const REMEMBER: Duration = Duration::from_secs(3_600);

/// Where pages come from, as browsers name it: `http://127.0.0.1:7403`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(HeaderValue);

#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no origin: http or https, a host in lower case, and a port unless it is the usual one, as in http://shop.example:7403"
)]
pub struct OriginError(String);

impl Origin {
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let host = text
            .strip_prefix("http://")
            .or_else(|| text.strip_prefix("https://"))
            .unwrap_or_default();
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte)
        };
        match HeaderValue::from_str(text) {
            Ok(value) if !host.is_empty() && host.bytes().all(plain) => Ok(Self(value)),
            _ => Err(OriginError(text.to_owned())),
        }
    }
}

/// The pages that may call a port over HTTP. A browser says from which page a request comes (`Origin`), other clients do not.
#[derive(Debug, Clone, Default)]
pub struct Pages {
    /// Those that come from the port itself.
    pub own: bool,
    /// Those of one other origin.
    pub origin: Option<Origin>,
}

impl Pages {
    /// What tells browsers that pages of the other origin may read answers.
    pub(crate) fn cors(&self) -> Option<CorsLayer> {
        let name = HeaderName::from_static;
        let Origin(origin) = self.origin.clone()?;
        Some(
            CorsLayer::new()
                .allow_origin(AllowOrigin::list([origin]))
                .allow_methods([Method::GET, Method::POST])
                .allow_headers([
                    header::CONTENT_TYPE,
                    name("grpc-timeout"),
                    name("last-event-id"),
                    name("traceparent"),
                    name("x-grpc-web"),
                    name("x-user-agent"),
                ])
                .expose_headers([
                    header::RETRY_AFTER,
                    name("grpc-message"),
                    name("grpc-status"),
                    name("grpc-status-details-bin"),
                ])
                .max_age(REMEMBER),
        )
    }

    /// Why a request is not answered: it comes from a page that may not call. Without this any page that somebody opens could place orders
    /// at a server on the same machine or network, whether or not it may read the answer.
    pub(crate) fn refusal<B>(&self, request: &Request<B>) -> Option<Status> {
        let origin = request.headers().get(header::ORIGIN)?;
        let own =
            || self.own && authority(origin).is_some_and(|origin| Some(origin) == host(request));
        let other = self.origin.as_ref();
        if other.is_some_and(|Origin(other)| other == origin) || own() {
            return None;
        }
        Some(Status::permission_denied(format!(
            "pages of {origin:?} may not call this server"
        )))
    }
}

/// Of `http://host:port`, what stands after the scheme.
fn authority(origin: &HeaderValue) -> Option<&str> {
    origin
        .to_str()
        .ok()?
        .split_once("://")
        .map(|(_, rest)| rest)
}

fn host<B>(request: &Request<B>) -> Option<&str> {
    request
        .uri()
        .authority()
        .map(tonic::codegen::http::uri::Authority::as_str)
        .or_else(|| request.headers().get(header::HOST)?.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_origin_is() {
        for origin in [
            "http://127.0.0.1:7403",
            "https://shop.example",
            "http://[::1]:7403",
        ] {
            assert!(Origin::parse(origin).is_ok(), "{origin}");
        }
        for other in [
            "",
            "*",
            "null",
            "http://",
            "shop.example",
            "http://shop.example/",
            "http://Shop.example",
            "ftp://shop.example",
            "http://a http://b",
        ] {
            assert!(Origin::parse(other).is_err(), "{other}");
        }
    }

    fn refused(pages: &Pages, origin: Option<&'static str>) -> bool {
        let mut request = Request::new(());
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_static("shop:7403"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        pages.refusal(&request).is_some()
    }

    #[test]
    fn who_may_call() {
        let other = Origin::parse("http://head-office").ok();
        for (own, origin, from, expected) in [
            (false, None, None, false),
            (false, None, Some("http://shop:7403"), true),
            (true, None, Some("http://shop:7403"), false),
            (true, None, Some("http://shop:7402"), true),
            (true, None, Some("null"), true),
            (false, other.clone(), Some("http://head-office"), false),
            (
                false,
                other.clone(),
                Some("http://head-office.example"),
                true,
            ),
            (false, other, None, false),
        ] {
            let pages = Pages { own, origin };
            assert_eq!(refused(&pages, from), expected, "{pages:?} {from:?}");
        }
    }
}
