//! What browsers need: gRPC-Web, leave for a page of another origin, and streams as server-sent events.

use std::net::SocketAddr;
use std::time::Duration;

use ::http::{HeaderValue, Method, Request};
use anyhow::{Context as _, Result, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use contract::api::ordering::{GetMenuRequest, GetMenuResponse};
use contract::api::query::{ListStoresRequest, ListStoresResponse};
use http_body_util::{BodyExt as _, Full};
use integration_tests::http::{self, Answer};
use prost::Message;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{PAGE, STORE, Stand, text};

const PATIENCE: Duration = Duration::from_secs(20);
/// The bit of a frame's first byte that marks trailers.
const TRAILERS: u8 = 0x80;

fn from_page(mut request: Request<Full<Bytes>>, origin: &str) -> Result<Request<Full<Bytes>>> {
    let origin = HeaderValue::from_str(origin)?;
    request.headers_mut().insert("origin", origin);
    Ok(request)
}

/// A call as a browser's library makes it: one frame, over HTTP/1.1.
fn grpc_web<M: Message>(path: &str, message: &M) -> Result<Request<Full<Bytes>>> {
    let bytes = message.encode_to_vec();
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(bytes.len())?);
    frame.put_slice(&bytes);
    Ok(Request::post(path)
        .header("content-type", "application/grpc-web+proto")
        .header("x-grpc-web", "1")
        .body(Full::new(frame.freeze()))?)
}

/// The message in an answer, if there is one, and the status in its trailers or headers.
fn read_grpc_web<M: Message + Default>(answer: &Answer) -> Result<(Option<M>, String)> {
    let (mut rest, mut message) = (answer.body.as_ref(), None);
    let mut status = answer.header("grpc-status").to_owned();
    while let Some((head, after)) = rest.split_at_checked(5) {
        let length = u32::from_be_bytes(head[1..].try_into()?);
        let (body, after) = after
            .split_at_checked(usize::try_from(length)?)
            .context("a whole frame")?;
        if head[0] & TRAILERS == 0 {
            message = Some(M::decode(body)?);
        } else {
            let trailers = String::from_utf8_lossy(body).into_owned();
            let mut lines = trailers.lines();
            let found = lines.find_map(|line| line.strip_prefix("grpc-status:"));
            status = found.unwrap_or_default().trim().to_owned();
        }
        rest = after;
    }
    Ok((message, status))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_calls_by_grpc_web() -> Result<()> {
    let stand = Stand::embedded().await?;
    stand.sell().await?;
    let menu = |store: &str| {
        let request = GetMenuRequest {
            store_id: store.to_owned(),
        };
        grpc_web("/doppio.ordering.v1.OrderingService/GetMenu", &request)
    };
    let answer = http::send(stand.ordering, menu(STORE)?).await?;
    let (found, status) = read_grpc_web::<GetMenuResponse>(&answer)?;
    ensure!(answer.code == 200 && status == "0", "{answer:?}");
    ensure!(answer.header("content-type") == "application/grpc-web+proto");
    ensure!(
        found
            .and_then(|found| found.menu)
            .context("a menu")?
            .store_id
            == STORE
    );

    let refused = http::send(stand.ordering, menu("atlantis")?).await?;
    let (none, status) = read_grpc_web::<GetMenuResponse>(&refused)?;
    ensure!(none.is_none() && status == "5", "{refused:?}");
    let details = refused.header("grpc-status-details-bin").to_owned() + &refused.text();
    ensure!(
        details.contains("grpc-status-details-bin")
            || !refused.header("grpc-status-details-bin").is_empty(),
        "{refused:?}"
    );

    let list = "/doppio.query.v1.QueryService/ListStores";
    let request = grpc_web(list, &ListStoresRequest::default())?;
    let answer = http::send(stand.query, request).await?;
    let (found, status) = read_grpc_web::<ListStoresResponse>(&answer)?;
    ensure!(status == "0" && found.is_some(), "{answer:?}");
    // A page of query-api itself may call it, others may not.
    let own = format!("http://{}", stand.query);
    for (origin, expected) in [(own.as_str(), "0"), ("https://elsewhere.example", "7")] {
        let request = from_page(grpc_web(list, &ListStoresRequest::default())?, origin)?;
        let answer = http::send(stand.query, request).await?;
        let (_, status) = read_grpc_web::<ListStoresResponse>(&answer)?;
        ensure!(status == expected, "{origin}: {answer:?}");
    }
    Ok(())
}

fn preflight(path: &str, origin: &str) -> Result<Request<Full<Bytes>>> {
    let mut request = from_page(http::request(&Method::OPTIONS, path, None)?, origin)?;
    let headers = request.headers_mut();
    headers.insert(
        "access-control-request-method",
        HeaderValue::from_static("POST"),
    );
    headers.insert(
        "access-control-request-headers",
        HeaderValue::from_static("content-type"),
    );
    Ok(request)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_the_origin_in_the_settings_alone_sends_commands() -> Result<()> {
    let stand = Stand::embedded().await?;
    let quote = format!("/v1/stores/{STORE}/orders:quote");
    let lines = json!([{ "lineId": "a", "sku": "americano", "quantity": 1 }]);
    let draft = json!({ "draft": { "terminalId": "till-1", "lines": lines } });
    let allowed = |answer: &Answer| answer.header("access-control-allow-origin").to_owned();

    let asked = http::send(stand.ordering, preflight(&quote, PAGE)?).await?;
    ensure!(asked.code == 200 && allowed(&asked) == PAGE, "{asked:?}");
    ensure!(
        asked
            .header("access-control-allow-methods")
            .contains("POST")
    );
    ensure!(
        asked
            .header("access-control-allow-headers")
            .contains("content-type")
    );
    let sent = from_page(http::request(&Method::POST, &quote, Some(&draft))?, PAGE)?;
    let sent = http::send(stand.ordering, sent).await?;
    ensure!(sent.code == 200 && allowed(&sent) == PAGE, "{sent:?}");

    let own = format!("http://{}", stand.ordering);
    for other in ["https://elsewhere.example", "null", own.as_str()] {
        let asked = http::send(stand.ordering, preflight(&quote, other)?).await?;
        ensure!(allowed(&asked).is_empty(), "{asked:?}");
        let sent = from_page(http::request(&Method::POST, &quote, Some(&draft))?, other)?;
        let sent = http::send(stand.ordering, sent).await?;
        ensure!(sent.code == 403 && allowed(&sent).is_empty(), "{sent:?}");
        ensure!(sent.text().contains("ORIGIN_NOT_ALLOWED"), "{sent:?}");
    }
    // query-api has no such setting: its own pages need none.
    let asked = http::send(stand.query, preflight("/v1/stores", PAGE)?).await?;
    ensure!(asked.code == 405 && allowed(&asked).is_empty(), "{asked:?}");
    Ok(())
}

/// The events of a stream: name, id and data.
async fn events(address: SocketAddr, path: &str) -> Result<Vec<(String, Value)>> {
    let answer = http::get(address, path).await?;
    ensure!(answer.code == 200, "{}", answer.text());
    ensure!(answer.header("content-type") == "text/event-stream");
    let text = answer.text();
    let events = text.split("\n\n").filter(|event| !event.is_empty());
    events
        .map(|event| {
            let field = |name: &str| {
                let mut lines = event.lines();
                lines.find_map(|line| line.strip_prefix(name)).unwrap_or("")
            };
            let data = serde_json::from_str(field("data: ")).context("data")?;
            Ok((field("event: ").to_owned(), data))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_server_sent_events_with_its_status_at_the_end() -> Result<()> {
    let stand = Stand::embedded().await?;
    let sold = stand.sell().await?;
    let (token, order) = (sold.consistency_token, sold.order.context("an order")?);
    let export =
        format!("/v1/sales:export?table=EXPORT_TABLE_ORDERS&storeIds={STORE}&atLeast={token}");
    let found = events(stand.query, &export).await?;
    let rows: Vec<&Value> = found
        .iter()
        .filter(|(event, _)| event.is_empty())
        .flat_map(|(_, data)| data["orders"].as_array().into_iter().flatten())
        .collect();
    ensure!(
        rows.len() == 1 && text(rows[0], "orderId")? == order.order_id,
        "{found:?}"
    );
    ensure!(rows[0]["net"] == "4500", "{found:?}");
    ensure!(
        found.last() == Some(&("status".to_owned(), json!({}))),
        "{found:?}"
    );
    // What is refused before it begins is no stream.
    let refused = http::get(stand.query, "/v1/sales:export").await?;
    ensure!(
        refused.code == 400 && refused.text().contains(r#""field":"table""#),
        "{refused:?}"
    );
    Ok(())
}

/// Whoever reads slowly, or not at all, ends with the service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_what_is_served_over_http() -> Result<()> {
    let stand = Stand::embedded().await?;
    stand.sell().await?;
    let export = http::request(
        &Method::GET,
        "/v1/sales:export?table=EXPORT_TABLE_ORDERS",
        None,
    )?;
    let unread = http::begin(stand.query, export).await?;
    let stopped = timeout(PATIENCE, stand.system.stop(PATIENCE)).await?;
    stopped.map_err(super::plain)?;
    // Whole or cut off, but ended.
    let _ = timeout(PATIENCE, unread.into_body().collect()).await?;
    Ok(())
}
