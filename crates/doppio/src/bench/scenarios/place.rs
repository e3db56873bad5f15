//! Orders placed, by so many callers or so many a second.

use crate::bench::book::Kind;
use crate::bench::load::Arrival;
use crate::bench::report::Report;
use crate::bench::run::Run;
use crate::bench::sales::Habits;
use crate::exit::Failure;

/// One load after the other, each beside the bare call under the same load; then the appends.
pub async fn run(
    run: &Run<'_>,
    arrivals: &[Arrival],
    habits: Habits,
    mut report: Report,
) -> Result<Report, Failure> {
    let reads = habits.reads > 0.0 || habits.sales > 0.0;
    let tills = run.tills(habits).await?;
    for arrival in arrivals {
        run.bare(*arrival, &mut report).await?;
        let mut load = run.load(&run.subject.ordering_url, *arrival);
        load.query_url = reads.then(|| run.subject.query_url.clone());
        let row = run.row("place", Kind::Place, &load, &tills).await?;
        report.results.push(row);
    }
    run.appends(arrivals, &mut report).await?;
    report.compare();
    Ok(report)
}
