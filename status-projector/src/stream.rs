//! One stream of the log: stand by, take over, project, be fenced, stand by.

use std::sync::Arc;
use std::time::Duration;

use event_log::{Checkpoint, EventLog, LogError, Position, StreamIndex, Subscription};
use read_model::{Fence, Generation, Heartbeat, ReadModelError, ReadModelWriter, StreamRow};
use runtime::Clock;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::batch::{Committing, Folded, finished};
use crate::effects::Fold;
use crate::health::{Health, Trouble};
use crate::kept::Kept;
use crate::reader::{Read, Reader};

/// How often the owner gives a sign of life.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(500);
/// How often a standby looks.
const WATCH: Duration = Duration::from_millis(250);
/// How long the owner may give no sign of life before a standby takes over.
const TAKEOVER: Duration = Duration::from_secs(2);
/// How long an owner that lives may make no progress while there is work, before a standby takes over. Doubled for an instance each time
/// that it loses the stream without having made any itself, so that two instances never take it from each other for ever.
pub(crate) const STUCK: Duration = Duration::from_secs(10);
const LONGEST_STUCK: Duration = Duration::from_secs(600);
/// Signs of life come late from a database that answers late: this many of its answers' times are granted on top.
const LATE_ANSWERS: u32 = 4;
/// A batch that takes longer is followed by a smaller one: a kill loses as much work as a batch is.
const SLOW_BATCH: Duration = Duration::from_secs(2);
/// One that is no larger takes long because every answer is late, and a smaller one would take as long.
const SMALL_BATCH: usize = 512;
/// The first batch of an instance that has just taken a stream over: whoever had it may have failed over too large a one.
pub(crate) const FIRST_BATCH: usize = 64;
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(2);
/// Between tries when only an operator can help.
const STOPPED_RETRY: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error(transparent)]
    ReadModel(#[from] ReadModelError),
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record can be neither projected nor laid at a store's door.
    #[error("{0}")]
    Stuck(String),
}

pub(crate) struct StreamTask {
    pub generation: Generation,
    pub stream: StreamIndex,
    pub config: Arc<Config>,
    pub log: Arc<dyn EventLog>,
    pub model: Arc<dyn ReadModelWriter>,
    pub clock: Clock,
    pub health: Health,
    pub fold: Fold,
    pub held: Held,
    /// Records of the next batch: what worked, kept from session to session.
    pub size: usize,
    /// How long this instance lets another be without progress.
    pub patience: Duration,
}

/// What an instance had of its stream.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Held {
    Never,
    InTerm(u64),
    Lost,
}

/// What a stream's owner holds in its hands.
pub(crate) struct Ownership {
    pub row: StreamRow,
    pub head: Position,
    /// When the rows were last told that there is an owner.
    told: Instant,
    /// When it was last looked where the log ends.
    looked: Instant,
    /// When the stream was last known to be projected to its end.
    pub level: Instant,
    /// Rows in memory. They go with the ownership, whatever ends it.
    pub kept: Kept,
}

impl StreamTask {
    /// Projects until the soft stop; the batch under way is finished.
    pub async fn run(mut self, soft: CancellationToken) {
        let mut delay = FIRST_RETRY;
        while !soft.is_cancelled() {
            let Err(error) = self.session(&soft, &mut delay).await else {
                return;
            };
            let trouble = match &error {
                StreamError::ReadModel(ReadModelError::Fenced { .. }) => {
                    tracing::info!(
                        stream = self.stream.0,
                        "another instance projects the stream now; standing by"
                    );
                    self.lose();
                    continue;
                }
                StreamError::ReadModel(
                    ReadModelError::Unavailable(_) | ReadModelError::TooLong(_),
                )
                | StreamError::Log(LogError::Unavailable(_)) => Trouble::Waiting(chain(&error)),
                StreamError::Log(LogError::Changed(_)) => Trouble::Stopped(format!(
                    "{error}. The read model belongs to another log, or to another life of this one: rebuild it from this log, or connect \
                     the log that it was built from"
                )),
                _ => Trouble::Stopped(chain(&error)),
            };
            let wait = if matches!(trouble, Trouble::Stopped(_)) {
                STOPPED_RETRY
            } else {
                delay
            };
            delay = (delay * 2).min(LONGEST_RETRY);
            if let StreamError::Log(LogError::Changed(detail)) = &error {
                self.say_changed(detail).await;
            }
            self.health.troubled(self.stream, trouble).await;
            tokio::select! {
                () = sleep(wait) => {}
                () = soft.cancelled() => {}
            }
        }
    }

    /// Tells those who read the rows that the log is not the one that they were projected from. Only for a stream that is ours.
    async fn say_changed(&self, detail: &str) {
        let said = async {
            let generation = self.generation;
            let row = self
                .model
                .stream(generation, self.stream, self.log.epoch())
                .await?;
            if !matches!(self.held, Held::InTerm(term) if term == row.term) {
                return Ok(());
            }
            let heartbeat = Heartbeat {
                fence: Fence {
                    generation,
                    stream: self.stream,
                    term: row.term,
                    position: row.position,
                },
                head: row.head,
                looked: false,
                log_changed: detail.to_owned(),
                lag_us: row.lag_us,
                at: self.clock.now(),
            };
            self.model.beat(&heartbeat).await
        };
        if let Err(error) = said.await {
            tracing::warn!(%error, "that the log has changed could not be written to the read model");
        }
    }

    /// Until the soft stop, or until something fails; the next session starts from what is stored.
    async fn session(
        &mut self,
        soft: &CancellationToken,
        delay: &mut Duration,
    ) -> Result<(), StreamError> {
        let Some(row) = self.stand_by(self.generation, soft).await? else {
            return Ok(());
        };
        if !matches!(self.held, Held::InTerm(_)) {
            self.size = self.size.min(FIRST_BATCH);
        }
        self.held = Held::InTerm(row.term);
        let subscription = self
            .log
            .subscribe(self.stream, row.checkpoint().as_ref())
            .await?;
        *delay = FIRST_RETRY;
        self.health.well(self.stream).await;
        tracing::info!(
            stream = self.stream.0,
            position = row.position.0,
            term = row.term,
            "projecting"
        );
        self.own(row, subscription, soft).await
    }

    /// Watches until the stream is free or its owner is gone, then takes it. `None` at the soft stop.
    async fn stand_by(
        &self,
        generation: Generation,
        soft: &CancellationToken,
    ) -> Result<Option<StreamRow>, StreamError> {
        let epoch = self.log.epoch();
        let mut seen = self.model.stream(generation, self.stream, epoch).await?;
        // What an instance of this name had before a restart or an outage it takes back at once. Once fenced it waits like any other: two
        // instances of one name must not take the stream from each other for ever.
        let mut free = match self.held {
            Held::Never => seen.owner == self.config.instance,
            Held::InTerm(term) => seen.term == term,
            Held::Lost => false,
        };
        let (mut alive_at, mut progress_at) = (Instant::now(), Instant::now());
        let mut late = Duration::ZERO;
        loop {
            let gone = alive_at.elapsed() >= TAKEOVER + late
                || progress_at.elapsed() >= self.patience + late;
            if (free || gone || seen.owner.is_empty())
                && let Some(row) = self
                    .model
                    .claim(&seen, &self.config.instance, epoch)
                    .await?
            {
                return Ok(Some(row));
            }
            free = false;
            tokio::select! {
                () = sleep(WATCH) => {}
                () = soft.cancelled() => return Ok(None),
            }
            let asked = Instant::now();
            let now = self.model.stream(generation, self.stream, epoch).await?;
            // What was seen is as old as the answer is late.
            late = (asked.elapsed() * LATE_ANSWERS).max(late / 2);
            if now.beat != seen.beat {
                alive_at = Instant::now();
            }
            // A log that does not answer gives nobody work.
            let behind = match self.log.head(self.stream).await {
                Ok(head) => head.position > now.position,
                Err(changed @ LogError::Changed(_)) => return Err(changed.into()),
                Err(_) => false,
            };
            if now.position != seen.position || !behind {
                progress_at = Instant::now();
            }
            self.health.well(self.stream).await;
            seen = now;
        }
    }

    /// While one batch is committed the next is folded and the one after it read.
    async fn own(
        &mut self,
        row: StreamRow,
        subscription: Box<dyn Subscription>,
        soft: &CancellationToken,
    ) -> Result<(), StreamError> {
        let now = Instant::now();
        let mut own = Ownership {
            head: row.head,
            row,
            told: now,
            looked: now,
            level: now,
            kept: Kept::default(),
        };
        self.beat(&mut own).await?;
        let mut reader = Reader::start(subscription, self.size);
        let mut readable = true;
        let mut folded: Option<Folded> = None;
        let mut committing: Option<Committing> = None;
        loop {
            if committing.is_none() {
                if readable && own.looked.elapsed() >= HEARTBEAT {
                    self.beat(&mut own).await?;
                }
                committing = folded.take().map(|folded| self.commit(&mut own, folded));
            }
            let due = if committing.is_some() || !readable {
                own.told + HEARTBEAT
            } else {
                own.looked + HEARTBEAT
            };
            tokio::select! {
                biased;
                () = soft.cancelled() => {
                    // The batch under way is finished.
                    self.settle(&mut own, &mut committing).await?;
                    self.model.release(&own.fence()).await?;
                    return Ok(());
                }
                () = finished(&mut committing) => {
                    let sound = self.settle(&mut own, &mut committing).await?;
                    reader.set_size(self.size);
                    // What was folded upon it is void.
                    if !sound && let Some(next) = folded.take() {
                        let run = next.again().await;
                        folded = self.fold(&mut own, &mut committing, run).await?;
                    }
                }
                read = reader.next(), if folded.is_none() => {
                    readable = true;
                    match read {
                        Read::Run(run) => folded = self.fold(&mut own, &mut committing, run).await?,
                        Read::Nothing => {}
                        Read::Failed(LogError::Unavailable(reason)) => {
                            // The subscription mends itself; the stream stays ours.
                            readable = false;
                            self.health.troubled(self.stream, Trouble::Waiting(reason)).await;
                        }
                        Read::Failed(error) => return Err(error.into()),
                    }
                }
                // Where nothing is under way and the log is well, there is more to say than that: see above.
                () = sleep_until(due) => if committing.is_some() || !readable {
                    match self.sign_of_life(&mut own).await {
                        // The database is busy with the batch, and says there what is wrong.
                        Err(error) if committing.is_some() && !is_fenced(&error) => {
                            tracing::debug!(%error, stream = self.stream.0, "no sign of life");
                        }
                        told => told?,
                    }
                },
            }
            if readable {
                self.health.well(self.stream).await;
            }
        }
    }

    /// Another instance has the stream: it is let be for twice as long as the last one was.
    pub(crate) fn lose(&mut self) {
        self.held = Held::Lost;
        self.patience = (self.patience * 2).min(LONGEST_STUCK);
    }

    /// Sizes the next batch by how the last one went.
    pub(crate) fn learn(&mut self, count: usize, took: Duration, projected: bool) {
        let most = self.config.batch.max(1);
        if !projected {
            self.size = (self.size / 2).max(1);
            return;
        }
        self.patience = STUCK;
        if took > SLOW_BATCH && self.size > SMALL_BATCH {
            self.size = (self.size / 2).max(SMALL_BATCH);
        } else if count >= self.size {
            self.size = (self.size * 2).min(most);
        }
    }

    /// What failed is tried again with less.
    pub(crate) fn unless_failed<T>(
        &mut self,
        result: Result<T, StreamError>,
    ) -> Result<T, StreamError> {
        if result.is_err() {
            self.learn(0, Duration::ZERO, false);
        }
        result
    }

    /// Says that the owner lives, and nothing new.
    async fn sign_of_life(&self, own: &mut Ownership) -> Result<(), ReadModelError> {
        own.told = Instant::now();
        let heartbeat = own.heartbeat(self.clock.now(), false);
        self.model.beat(&heartbeat).await
    }

    /// Looks where the log ends and says how far behind the rows are.
    async fn beat(&self, own: &mut Ownership) -> Result<(), StreamError> {
        own.told = Instant::now();
        own.looked = own.told;
        let looked = match self.log.head(self.stream).await {
            Ok(head) => {
                own.head = head.position.max(own.row.position);
                true
            }
            // The rows still say that there is an owner, and where the log ended when it was last seen.
            Err(LogError::Unavailable(_)) => false,
            Err(error) => return Err(error.into()),
        };
        if own.head <= own.row.position {
            own.level = Instant::now();
            own.row.lag_us = 0;
        } else {
            let waiting = i64::try_from(own.level.elapsed().as_micros()).unwrap_or(i64::MAX);
            own.row.lag_us = own.row.lag_us.max(waiting);
        }
        let heartbeat = own.heartbeat(self.clock.now(), looked);
        Ok(self.model.beat(&heartbeat).await?)
    }
}

impl Ownership {
    pub(crate) fn fence(&self) -> Fence {
        Fence {
            generation: self.row.generation,
            stream: self.row.stream,
            term: self.row.term,
            position: self.row.position,
        }
    }

    /// A batch is stored.
    pub(crate) fn reached(&mut self, checkpoint: Checkpoint, lag_us: i64) {
        self.row.position = checkpoint.position;
        self.row.hash = checkpoint.hash;
        self.row.lag_us = lag_us;
        if self.head == checkpoint.position {
            self.level = Instant::now();
        }
    }

    /// Of a log that was found to be the right one when the stream was taken up.
    pub(crate) fn heartbeat(&self, at: jiff::Timestamp, looked: bool) -> Heartbeat {
        Heartbeat {
            fence: self.fence(),
            head: self.head,
            looked,
            log_changed: String::new(),
            lag_us: self.row.lag_us,
            at,
        }
    }
}

fn is_fenced(error: &ReadModelError) -> bool {
    matches!(error, ReadModelError::Fenced { .. })
}

/// The error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = inner.source();
    }
    text
}
