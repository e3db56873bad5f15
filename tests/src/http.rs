//! Requests over HTTP/1.1, as a browser or curl makes them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// What was answered, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| self.text())
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// A request with a body that is JSON, if there is one.
pub fn request(verb: &Method, path: &str, json: Option<&Value>) -> Result<Request<Full<Bytes>>> {
    let mut request = Request::builder().method(verb).uri(path);
    if json.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = json.map(Value::to_string).unwrap_or_default();
    Ok(request.body(Full::new(body.into()))?)
}

/// Sends a request on a connection of its own. The body of the answer is still to be read.
pub async fn begin(
    address: SocketAddr,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let host = address.to_string().parse()?;
    request.headers_mut().entry("host").or_insert(host);
    Ok(timeout(PATIENCE, sender.send_request(request)).await??)
}

pub async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Answer> {
    let (parts, body) = begin(address, request).await?.into_parts();
    Ok(Answer {
        code: parts.status.as_u16(),
        headers: parts.headers,
        body: timeout(PATIENCE, body.collect()).await??.to_bytes(),
    })
}

pub async fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    send(address, request(&Method::GET, path, None)?).await
}

pub async fn post(address: SocketAddr, path: &str, json: &Value) -> Result<Answer> {
    send(address, request(&Method::POST, path, Some(json))?).await
}
