//! One run on one subject: loads and ceilings, the same way in every scenario.

use std::sync::Arc;
use std::time::Duration;

use contract::api::admin::{GetProjectionStatusRequest, GetProjectionStatusResponse};
use contract::api::ordering::PlaceOrderRequest;
use event_log::StreamIndex;
use prost::Message as _;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::book::{Book, Kind, Window};
use super::calls::Prepared;
use super::ceilings::{Ledgers, OneAppend};
use super::load::{Arrival, Load, Script, interrupted};
use super::process::{Use, between, taken};
use super::report::{BARE, ONE_APPEND, RAW, Report, Row};
use super::sales::{Bare, Habits, Kept, Tills, order};
use super::subject::Subject;
use crate::clients::call;
use crate::exit::{ExitCode, Failure};

/// Members of a run that has any.
const MEMBERS: u32 = 64;
/// Ledgers that raw appends with many in flight go to.
const MANY_IN_FLIGHT: usize = 64;

/// How long the read model may take to become level with the log.
const SETTLE_LIMIT: Duration = Duration::from_secs(300);
const SETTLE_PAUSE: Duration = Duration::from_millis(100);
/// Looks in a row that find it level, where the log itself cannot be asked.
const LEVEL_LOOKS: u32 = 30;

/// How loads are measured.
#[derive(Debug, Clone)]
pub struct How {
    pub warm_up: Duration,
    pub measured: Duration,
    /// HTTP/2 connections of a load.
    pub connections: usize,
    /// Threads of a load.
    pub threads: usize,
    pub ceilings: bool,
}

/// A run under way.
pub struct Run<'a> {
    pub subject: &'a Subject,
    pub how: &'a How,
    pub stop: &'a CancellationToken,
}

impl Run<'_> {
    /// A load on one of the subject's services.
    #[must_use]
    pub fn load(&self, url: &str, arrival: Arrival) -> Load {
        Load {
            url: url.to_owned(),
            arrival,
            warm_up: self.how.warm_up,
            measured: self.how.measured,
            connections: self.how.connections,
            threads: self.how.threads,
            query_url: None,
        }
    }

    /// Waits until the read model has everything that is in the log, so that what follows does not share the machine with the projector.
    pub async fn settle(&self) -> Result<(), Failure> {
        let mut admin = self.subject.clients()?.admin;
        let limit = Instant::now() + SETTLE_LIMIT;
        let mut seen = 0;
        while !self.stop.is_cancelled() {
            let asked = admin.get_projection_status(call(GetProjectionStatusRequest {}));
            let status = asked.await?.into_inner();
            if let Some(stands) = status.quarantined.first() {
                return Err(Failure::new(
                    ExitCode::CheckFailed,
                    format!(
                        "the projection of store {} stands still: {}",
                        stands.store_id, stands.reason
                    ),
                ));
            }
            if self.is_level(&status, &mut seen).await? {
                return Ok(());
            }
            if Instant::now() >= limit {
                return Err(Failure::new(
                    ExitCode::Unavailable,
                    format!("the read model was still behind after {SETTLE_LIMIT:?}"),
                ));
            }
            sleep(SETTLE_PAUSE).await;
        }
        Err(interrupted())
    }

    async fn is_level(
        &self,
        status: &GetProjectionStatusResponse,
        seen: &mut u32,
    ) -> Result<bool, Failure> {
        let Some(log) = &self.subject.log else {
            let says_so = !status.streams.is_empty()
                && status.streams.iter().all(|stream| stream.lag_records == 0);
            *seen = if says_so { *seen + 1 } else { 0 };
            // Once may be before the projector has looked where the log ends.
            return Ok(*seen >= LEVEL_LOOKS);
        };
        for index in 0..log.streams() {
            let head = log.head(StreamIndex(index)).await?.position.0;
            let stream = status
                .streams
                .iter()
                .find(|stream| stream.stream == u32::from(index));
            let checkpoint = stream.map_or(0, |stream| stream.checkpoint);
            if u64::try_from(checkpoint).unwrap_or_default() < head {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Tills at all stores of the subject.
    pub async fn tills(&self, habits: Habits) -> Result<Arc<Tills>, Failure> {
        let members = self.members(&habits).await?;
        Ok(Arc::new(Tills::new(&self.subject.offers, &members, habits)))
    }

    /// As [`Self::tills`], keeping what is acknowledged.
    pub async fn keeping_tills(
        &self,
        habits: Habits,
        kept: &Arc<Kept>,
    ) -> Result<Arc<Tills>, Failure> {
        let members = self.members(&habits).await?;
        let tills = Tills::new(&self.subject.offers, &members, habits);
        Ok(Arc::new(tills.keeping(kept.clone())))
    }

    async fn members(&self, habits: &Habits) -> Result<Vec<String>, Failure> {
        if habits.members > 0.0 {
            self.subject.members(MEMBERS).await
        } else {
            Ok(Vec::new())
        }
    }

    /// Runs a load to its end, with a look at the processes.
    pub async fn row<S: Script>(
        &self,
        what: &str,
        kind: Kind,
        load: &Load,
        script: &Arc<S>,
    ) -> Result<Row, Failure> {
        let (book, uses) = load
            .run(script, self.stop, async |window| self.watch(window).await)
            .await?;
        Ok(Row {
            what: what.to_owned(),
            arrival: load.arrival,
            kind,
            measured: load.measured,
            uses: self.without_load(uses, &book, load.measured),
            book,
            ratios: Vec::new(),
        })
    }

    /// What the watched processes take within the window.
    async fn watch(&self, window: Window) -> Vec<Use> {
        let watched = &self.subject.watched;
        let looks = async {
            sleep_until(window.begins).await;
            let look = || watched.iter().map(|watched| taken(watched.pid));
            let before: Vec<_> = look().collect();
            sleep_until(window.ends).await;
            let apart = window.ends - window.begins;
            watched
                .iter()
                .zip(before.into_iter().zip(look()))
                .filter_map(|(watched, (before, after))| between(watched, before, after, apart))
                .collect()
        };
        tokio::select! {
            uses = looks => uses,
            () = self.stop.cancelled() => Vec::new(),
        }
    }

    /// Takes the load's own part off the process that it shares with the services.
    fn without_load(&self, mut uses: Vec<Use>, book: &Book, measured: Duration) -> Vec<Use> {
        if self.subject.shares_process
            && let Some(own) = uses.iter_mut().find(|used| used.pid == std::process::id())
        {
            let load = book.own_processor.as_secs_f64() / measured.as_secs_f64().max(f64::EPSILON);
            own.processors = (own.processors - load).max(0.0);
        }
        uses
    }

    /// What the watched processes hold now.
    #[must_use]
    pub fn look(&self) -> Vec<Use> {
        let watched = self.subject.watched.iter();
        let held = watched.filter_map(|watched| {
            let taken = taken(watched.pid);
            between(watched, taken, taken, Duration::from_secs(1))
        });
        held.collect()
    }

    /// All ceilings under these loads, set against the results.
    pub async fn ceilings(&self, arrivals: &[Arrival], report: &mut Report) -> Result<(), Failure> {
        for arrival in arrivals {
            self.bare(*arrival, report).await?;
        }
        self.appends(arrivals, report).await?;
        report.compare();
        Ok(())
    }

    /// The bare call on ordering, under the load that ordering gets.
    pub async fn bare(&self, arrival: Arrival, report: &mut Report) -> Result<(), Failure> {
        if self.how.ceilings {
            let load = self.load(&self.subject.ordering_url, arrival);
            let row = self.row(BARE, Kind::Bare, &load, &Arc::new(Bare)).await?;
            report.ceilings.push(row);
        }
        Ok(())
    }

    /// The ceilings of the log: raw appends, and one append a call under each of these loads. A store must have sold already.
    pub async fn appends(&self, arrivals: &[Arrival], report: &mut Report) -> Result<(), Failure> {
        if !self.how.ceilings {
            return Ok(());
        }
        let (Some(log), Some(hottest)) = (&self.subject.log, self.subject.offers.first()) else {
            report.notes.push(
                "Appends were not measured: name the log of these services with --log.".to_owned(),
            );
            return Ok(());
        };
        let ledgers = Ledgers::like(log, &hottest.store).await?;
        for in_flight in [1, MANY_IN_FLIGHT] {
            let book = ledgers
                .append(in_flight, self.how.warm_up, self.how.measured, self.stop)
                .await?;
            report.ceilings.push(Row {
                what: RAW.to_owned(),
                arrival: Arrival::Closed { callers: in_flight },
                kind: Kind::Append,
                measured: self.how.measured,
                book,
                ratios: Vec::new(),
                uses: Vec::new(),
            });
        }
        let most = arrivals.iter().map(|arrival| match arrival {
            Arrival::Closed { callers } => *callers,
            Arrival::Open { .. } => MANY_IN_FLIGHT,
        });
        let server = ledgers.serve(most.max().unwrap_or(1)).await?;
        let rows = self.one_append(&server.url, hottest, arrivals).await;
        server.stop().await?;
        report.ceilings.extend(rows?);
        Ok(())
    }

    async fn one_append(
        &self,
        url: &str,
        offer: &super::sales::Offer,
        arrivals: &[Arrival],
    ) -> Result<Vec<Row>, Failure> {
        let id = PlaceOrderRequest {
            order_id: Uuid::now_v7().to_string(),
            ..PlaceOrderRequest::default()
        };
        let script = Arc::new(OneAppend {
            prepared: Prepared {
                shared: order(offer, None),
                own: id.encode_to_vec().into(),
            },
        });
        let mut rows = Vec::new();
        for arrival in arrivals {
            let load = self.load(url, *arrival);
            rows.push(self.row(ONE_APPEND, Kind::Append, &load, &script).await?);
        }
        Ok(rows)
    }
}
