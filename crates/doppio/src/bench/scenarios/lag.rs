//! How far the read model is behind while orders come in: a till of its own reads each of its orders by its token.

use std::sync::Arc;

use crate::bench::book::Kind;
use crate::bench::load::{Arrival, Load};
use crate::bench::report::Report;
use crate::bench::run::Run;
use crate::bench::sales::{Follower, Habits};
use crate::exit::Failure;

pub async fn run(
    run: &Run<'_>,
    arrivals: &[Arrival],
    habits: Habits,
    mut report: Report,
) -> Result<Report, Failure> {
    let tills = run.tills(habits).await?;
    let follower = Arc::new(Follower(tills.clone()));
    for arrival in arrivals {
        let load = run.load(&run.subject.ordering_url, *arrival);
        let follow = Load {
            arrival: Arrival::Closed { callers: 1 },
            connections: 1,
            threads: 1,
            query_url: Some(run.subject.query_url.clone()),
            ..load.clone()
        };
        let (selling, following) = tokio::try_join!(
            run.row("place", Kind::Place, &load, &tills),
            run.row("lag", Kind::Lag, &follow, &follower),
        )?;
        report.results.push(selling);
        let mut following = following;
        following.what = format!("lag beside {arrival}");
        // It is the same processes.
        following.uses.clear();
        report.results.push(following);
        run.settle().await?;
    }
    run.ceilings(arrivals, &mut report).await?;
    Ok(report)
}
