//! A long load, and then the log read back: nothing that was acknowledged is lost, nothing is there twice, and the read model says the same.

use std::sync::Arc;

use contract::{OrderId, StoreId};

use crate::audit;
use crate::bench::book::Kind;
use crate::bench::load::Arrival;
use crate::bench::report::{Finding, Report};
use crate::bench::run::Run;
use crate::bench::sales::{Habits, Kept};
use crate::exit::{ExitCode, Failure};

/// Problems that are told; more of them say nothing more.
const TOLD: usize = 20;

pub async fn run(
    run: &Run<'_>,
    arrivals: &[Arrival],
    habits: Habits,
    mut report: Report,
) -> Result<Report, Failure> {
    let Some(log) = run.subject.log.clone() else {
        return Err(Failure::new(
            ExitCode::Usage,
            "a soak reads the log back in the end: name the log of these services with --log",
        ));
    };
    let kept = Arc::new(Kept::default());
    let tills = run.keeping_tills(habits, &kept).await?;
    for arrival in arrivals {
        let mut load = run.load(&run.subject.ordering_url, *arrival);
        load.query_url = Some(run.subject.query_url.clone());
        let row = run.row("soak", Kind::Place, &load, &tills).await?;
        report.results.push(row);
    }
    run.settle().await?;
    let (mut acknowledged, mut logged) = (0, 0);
    let clients = run.subject.clients()?;
    for store in kept.take() {
        let id = StoreId::new(&run.subject.offers[store.store].store)?;
        let ledger = audit::ledger(&log, &id).await?;
        let problems = ledger.problems.iter();
        report
            .problems
            .extend(problems.map(|problem| format!("{id}: {problem}")));
        let token = vec![store.token];
        let (differences, _) = ledger.compare(&clients, &id, &token).await?;
        report.problems.extend(differences);
        acknowledged += store.orders.len();
        logged += ledger.orders.len();
        for order in store.orders {
            if !ledger.orders.contains(&OrderId::from_uuid(order)) {
                report.problems.push(format!(
                    "{id}: order {order} was acknowledged and is not in the log"
                ));
            }
        }
    }
    let more = report.problems.len().saturating_sub(TOLD);
    report.problems.truncate(TOLD);
    if more > 0 {
        report.problems.push(format!("and {more} more"));
    }
    report.findings.push(Finding {
        what: "orders acknowledged".to_owned(),
        value: as_float(acknowledged),
        unit: "",
        note: "every one was looked for in the log and in the read model's sums".to_owned(),
    });
    report.findings.push(Finding {
        what: "orders in the log".to_owned(),
        value: as_float(logged),
        unit: "",
        note: "more than were acknowledged where an answer was lost; none of them is there twice"
            .to_owned(),
    });
    Ok(report)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "there are fewer than 2^52 orders"
)]
fn as_float(number: usize) -> f64 {
    number as f64
}
