//! What is refused before a call is made, and how long one may take.

use std::time::{Duration, Instant};

use ::http::{HeaderValue, Method};
use anyhow::{Context as _, Result, ensure};
use contract::ConsistencyToken;
use integration_tests::http::{self, Answer};
use serde_json::{Value, json};

use super::{STORE, Stand};
use crate::shop::new_id;

/// A refusal as it should be: its status over HTTP, its code, its reason, and what its text names.
struct Expected<'a> {
    http: u16,
    code: i64,
    reason: &'a str,
    names: &'a str,
}

fn is(answer: &Answer, expected: &Expected<'_>) -> Result<()> {
    let status = answer.json()?;
    let details = status["details"].as_array().context("details")?;
    let info = details
        .iter()
        .find(|detail| detail["@type"] == "type.googleapis.com/google.rpc.ErrorInfo")
        .with_context(|| status.to_string())?;
    ensure!(
        answer.code == expected.http
            && status["code"] == expected.code
            && info["reason"] == expected.reason
            && info["domain"] == "doppio"
            && status.to_string().contains(expected.names),
        "HTTP {} {status:#}\nis not {} {} {} with {:?}",
        answer.code,
        expected.http,
        expected.code,
        expected.reason,
        expected.names
    );
    ensure!(answer.header("content-type") == "application/json");
    Ok(())
}

fn invalid(names: &str) -> Expected<'_> {
    Expected {
        http: 400,
        code: 3,
        reason: "INVALID_ARGUMENT",
        names,
    }
}

async fn post_text(stand: &Stand, path: &str, kind: &str, text: &str) -> Result<Answer> {
    let mut request = http::request(&Method::POST, path, None)?;
    *request.body_mut() = text.to_owned().into();
    if !kind.is_empty() {
        let kind = HeaderValue::from_str(kind)?;
        request.headers_mut().insert("content-type", kind);
    }
    http::send(stand.ordering, request).await
}

async fn bodies(stand: &Stand) -> Result<()> {
    let quote = format!("/v1/stores/{STORE}/orders:quote");
    let json = "application/json";
    for (text, names) in [
        ("", r#""field":"body""#),
        ("{", r#""field":"body""#),
        ("[]", r#""field":"body""#),
        ("{}{}", r#""field":"body""#),
        (
            r#"{"draft":{"lines":[{"sku":"a"},{"qty":1}]}}"#,
            r#""field":"draft.lines[1]"#,
        ),
        (
            r#"{"draft":{"lines":[{"quantity":"many"}]}}"#,
            r#""field":"draft.lines[0].quantity""#,
        ),
        (
            r#"{"draft":{"lines":[{"quantity":1.5}]}}"#,
            r#""field":"draft.lines[0].quantity""#,
        ),
        (r#"{"draft":{"lines":{}}}"#, r#""field":"draft.lines""#),
        (
            r#"{"draft":{"channel":"CHANNEL_MOON"}}"#,
            r#""field":"draft.channel""#,
        ),
        (
            r#"{"draft":{"storeId":"jongno"}}"#,
            r#""field":"draft.store_id""#,
        ),
        (
            r#"{"draft":{"storeId":"a","store_id":"b"}}"#,
            r#""field":"draft"#,
        ),
    ] {
        is(
            &post_text(stand, &quote, json, text).await?,
            &invalid(names),
        )
        .with_context(|| text.to_owned())?;
    }
    // What a form or a script of another page can send without asking.
    for kind in ["", "text/plain", "application/x-www-form-urlencoded"] {
        let answer = post_text(stand, &quote, kind, "{}").await?;
        let expected = Expected {
            http: 415,
            ..invalid("content-type")
        };
        is(&answer, &expected)?;
    }
    let utf8 = post_text(stand, &quote, "Application/JSON; charset=utf-8", "{}").await?;
    is(&utf8, &invalid("draft"))?;
    let large = format!(r#"{{"draft":{{"staffId":"{}"}}}}"#, "x".repeat(2_000_000));
    let expected = |http| Expected {
        http,
        code: 11,
        reason: "MESSAGE_TOO_LARGE",
        names: "",
    };
    is(
        &post_text(stand, &quote, json, &large).await?,
        &expected(413),
    )?;
    // Small enough as JSON, and too large as the message that it is.
    let large = format!(r#"{{"draft":{{"staffId":"{}"}}}}"#, "x".repeat(500_000));
    is(
        &post_text(stand, &quote, json, &large).await?,
        &expected(400),
    )?;
    Ok(())
}

async fn queries(stand: &Stand) -> Result<()> {
    let orders = format!("/v1/stores/{STORE}/orders");
    for (query, names) in [
        ("colour=red", r#""field":"colour""#),
        ("pageSize=ten", r#""field":"pageSize""#),
        ("pageSize=1&page_size=2", r#""field":"page_size""#),
        ("statuses=ORDER_STATUS_LOST", "ORDER_STATUS_PLACED"),
        ("storeId=other", r#""field":"storeId""#),
    ] {
        let answer = http::get(stand.query, &format!("{orders}?{query}")).await?;
        is(&answer, &invalid(names)).with_context(|| query.to_owned())?;
    }
    let both = format!("/v1/stores/{STORE}/zReports/1?businessDate=2026-03-02");
    is(&http::get(stand.query, &both).await?, &invalid("exclude"))?;
    let number = http::get(stand.query, &format!("/v1/stores/{STORE}/zReports/first")).await?;
    is(&number, &invalid(r#""field":"z_number""#))?;
    let mut request = http::request(&Method::GET, &orders, None)?;
    *request.body_mut() = "{}".into();
    is(&http::send(stand.query, request).await?, &invalid("body"))?;
    Ok(())
}

async fn addresses(stand: &Stand) -> Result<()> {
    for (address, path) in [
        (stand.query, "/v1/nothing"),
        (stand.query, "/v2/stores"),
        (stand.query, "/v1/stores/"),
        (stand.ordering, "/v1/stores/gangnam/orders/1:eat"),
        (stand.ordering, "/v1/projection"),
    ] {
        let expected = Expected {
            http: 404,
            code: 5,
            reason: "NOT_FOUND",
            names: path,
        };
        is(&http::get(address, path).await?, &expected)?;
    }
    let order = new_id();
    let complete = format!("/v1/stores/{STORE}/orders/{order}:complete");
    for (address, verb, path, allowed) in [
        (stand.ordering, Method::GET, complete.as_str(), "POST"),
        (stand.query, Method::POST, "/v1/stores", "GET, HEAD"),
        (stand.query, Method::DELETE, "/v1/stores", "GET, HEAD"),
        (stand.query, Method::POST, "/v1/openapi.json", "GET, HEAD"),
    ] {
        let request = http::request(&verb, path, Some(&json!({})))?;
        let answer = http::send(address, request).await?;
        let expected = Expected {
            http: 405,
            code: 12,
            reason: "UNKNOWN_METHOD",
            names: path,
        };
        is(&answer, &expected)?;
        ensure!(answer.header("allow") == allowed, "{:?}", answer.headers);
    }
    let head = http::request(&Method::HEAD, "/v1/stores", None)?;
    let head = http::send(stand.query, head).await?;
    ensure!(head.code == 200 && head.body.is_empty(), "{head:?}");
    Ok(())
}

/// The call's own deadline and limits are those of gRPC.
async fn deadlines(stand: &Stand) -> Result<()> {
    let token = stand.sell().await?.consistency_token;
    let path = format!("/v1/stores/{STORE}/orders?atLeast={token}");
    let answer = http::get(stand.query, &path).await?;
    ensure!(answer.code == 200, "{}", answer.text());
    ensure!(answer.header("cache-control") == "no-store");
    let mut ahead = ConsistencyToken::parse(&token)?;
    ahead.revision += 1_000;
    let path = format!("/v1/stores/{STORE}/orders?atLeast={ahead}");
    let mut request = http::request(&Method::GET, &path, None)?;
    let timeout = HeaderValue::from_static("300m");
    request.headers_mut().insert("grpc-timeout", timeout);
    let began = Instant::now();
    let answer = http::send(stand.query, request).await?;
    let expected = Expected {
        http: 504,
        code: 4,
        reason: "TOO_STALE",
        names: "",
    };
    is(&answer, &expected)?;
    // Without it the wait is five seconds.
    let took = began.elapsed();
    ensure!(took < Duration::from_secs(4), "{took:?}");
    let mut request = http::request(&Method::GET, "/v1/stores", None)?;
    let much = HeaderValue::from_str(&"x".repeat(20_000))?;
    request.headers_mut().insert("much", much);
    let expected = Expected {
        http: 400,
        code: 11,
        reason: "METADATA_TOO_LARGE",
        names: "",
    };
    is(&http::send(stand.query, request).await?, &expected)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_every_mistake_is_told_with_its_place() -> Result<()> {
    let stand = Stand::embedded().await?;
    bodies(&stand).await?;
    queries(&stand).await?;
    addresses(&stand).await?;
    deadlines(&stand).await
}

/// A number of 64 bits may be a string or a number in a request; in an answer it is a string.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_of_64_bits_are_taken_both_ways() -> Result<()> {
    let stand = Stand::embedded().await?;
    let path = format!("/v1/stores/{STORE}/orders:quote");
    let quote = |price: Value| {
        let price = json!({ "currencyCode": "KRW", "amountMinor": price });
        let line =
            json!({ "lineId": "a", "sku": "americano", "quantity": 1, "tillUnitPrice": price });
        json!({ "draft": { "terminalId": "till-1", "pricing": "PRICING_TILL", "lines": [line] } })
    };
    let mut answers = Vec::new();
    for price in [json!(4_321), json!("4321")] {
        let answer = http::post(stand.ordering, &path, &quote(price))
            .await?
            .json()?;
        ensure!(
            answer["priced"]["amountDue"]["amountMinor"] == "4321",
            "{answer}"
        );
        answers.push(answer["priced"].clone());
    }
    ensure!(answers[0] == answers[1]);
    Ok(())
}
