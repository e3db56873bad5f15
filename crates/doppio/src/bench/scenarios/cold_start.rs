//! How long after its start ordering takes the first order, with so many orders open behind it.

use std::time::Duration;

use contract::api::ordering as api;
use contract::api::types::TenderKind;
use contract::timestamp_to_proto;
use runtime::Clock;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::bench::book::reason;
use crate::bench::load::{Arrival, interrupted};
use crate::bench::process::taken;
use crate::bench::report::{Finding, Report};
use crate::bench::run::Run;
use crate::bench::sales::{Habits, Offer, draft};
use crate::bench::subject::{LocalFiles, Subject};
use crate::clients::{Clients, call};
use crate::exit::{ExitCode, Failure};

/// How long the first order may take.
const LIMIT: Duration = Duration::from_secs(120);
const TRY_AGAIN: Duration = Duration::from_millis(2);

/// The first order after a start.
struct First {
    took: Duration,
    /// What the till heard before, and how often.
    heard: Vec<String>,
}

/// Opens so many orders.
pub async fn fill(
    run: &Run<'_>,
    open: u64,
    callers: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let tills = run.tills(Habits::default()).await?;
    let many = run.load(&run.subject.ordering_url, Arrival::Closed { callers });
    let filled = many.fill(&tills, open, run.stop).await?;
    if filled.book.failed() > 0 {
        return Err(Failure::new(
            ExitCode::CheckFailed,
            format!(
                "{} of the orders behind the start failed",
                filled.book.failed()
            ),
        ));
    }
    report.settings.push(("open orders", open.to_string()));
    run.settle().await
}

/// Places one order, again and again until it is taken.
async fn first_order(
    clients: &Clients,
    offer: &Offer,
    since: Instant,
    stop: &CancellationToken,
) -> Result<First, Failure> {
    let mut tender = api::Tender {
        tender_id: "t1".into(),
        scheme: "visa".into(),
        amount: Some(offer.due.clone()),
        ..api::Tender::default()
    };
    tender.set_kind(TenderKind::Card);
    let request = api::PlaceOrderRequest {
        order_id: Uuid::now_v7().to_string(),
        draft: Some(draft(&offer.store, &offer.sku)),
        tenders: vec![tender],
        client_time: Some(timestamp_to_proto(Clock::system().now())),
        ..api::PlaceOrderRequest::default()
    };
    let mut heard: Vec<(String, u32)> = Vec::new();
    loop {
        let mut ordering = clients.ordering.clone();
        let Err(status) = ordering.place_order(call(request.clone())).await else {
            return Ok(First {
                took: since.elapsed(),
                heard: heard
                    .into_iter()
                    .map(|(reason, times)| format!("{times} × {reason}"))
                    .collect(),
            });
        };
        let reason = reason(&status);
        match heard.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, times)) => *times += 1,
            None => heard.push((reason, 1)),
        }
        if stop.is_cancelled() {
            return Err(interrupted());
        }
        if since.elapsed() > LIMIT {
            return Err(Failure::new(
                ExitCode::Unavailable,
                format!("no order was taken within {LIMIT:?}: {}", status.message()),
            ));
        }
        sleep(TRY_AGAIN).await;
    }
}

/// Starts ordering so many times with its local files and so many times without.
pub async fn starts(
    subject: &mut Subject,
    times: u32,
    stop: &CancellationToken,
    report: &mut Report,
) -> Result<(), Failure> {
    for files in [LocalFiles::Kept, LocalFiles::Removed] {
        for _ in 0..times {
            let since = subject.restart(files).await?;
            let Some(offer) = subject.offers.first() else {
                return Err(Failure::new(ExitCode::Usage, "no store sells"));
            };
            let first = first_order(&subject.clients()?, offer, since, stop).await?;
            let what = match files {
                LocalFiles::Kept => "first order, with local files",
                LocalFiles::Removed => "first order, without",
            };
            let held = subject
                .watched
                .iter()
                .find(|watched| watched.name == "ordering" || watched.name == "doppio")
                .and_then(|watched| Some((&watched.name, taken(watched.pid)?)));
            let held = held.map_or_else(String::new, |(name, taken)| {
                format!("; {name} holds {} MB", taken.resident_bytes / 1_000_000)
            });
            let heard = if first.heard.is_empty() {
                "taken at the first call".to_owned()
            } else {
                format!("before it {}", first.heard.join(", "))
            };
            report.findings.push(Finding {
                what: what.to_owned(),
                value: first.took.as_secs_f64() * 1_000.0,
                unit: "ms",
                note: format!("{heard}{held}"),
            });
        }
    }
    Ok(())
}
