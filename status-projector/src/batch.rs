//! A run of records becomes rows. As a rule by what is in memory and one batch; what the database or the fold refuses is gone through with
//! care: nothing is believed but what is stored, and by halving it is found which store has to stand still. The others go on.

use std::future::{Future, pending};
use std::panic::resume_unwind;
use std::time::Duration;

use contract::StoreId;
use event_log::{Checkpoint, Delivered, Revision};
use read_model::{Batch, Heartbeat, Quarantine, ReadModelError, StoreRow};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::effects::{Effects, Search, fetch, fold, search};
use crate::kept::Kept;
use crate::run::{Panicked, Run};
use crate::stream::{HEARTBEAT, Ownership, StreamError, StreamTask};

/// A run whose rows are known and not written yet.
pub(crate) struct Folded {
    records: Vec<Delivered>,
    checkpoint: Checkpoint,
    effects: Effects,
    took: Duration,
}

/// A batch on its way to the database.
pub(crate) struct Committing {
    task: AbortOnDropHandle<Result<(), ReadModelError>>,
    records: Vec<Delivered>,
    checkpoint: Checkpoint,
    lag_us: i64,
    answer: Option<Result<(), ReadModelError>>,
    begun: Instant,
    /// What it took to fold it.
    folding: Duration,
}

impl Folded {
    /// The same records, to be folded once more.
    pub async fn again(self) -> Run {
        Run::decode(self.records).await
    }
}

impl Committing {
    /// Waits for the database's answer. Given up, it may be waited for again.
    async fn finished(&mut self) {
        if self.answer.is_some() {
            return;
        }
        self.answer = match (&mut self.task).await {
            Ok(answer) => Some(answer),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            // The process is ending.
            Err(_) => pending().await,
        };
    }
}

/// Waits until what is under way is answered; for ever if nothing is.
pub(crate) async fn finished(committing: &mut Option<Committing>) {
    match committing {
        Some(committing) => committing.finished().await,
        None => pending().await,
    }
}

impl StreamTask {
    /// Folds a run upon what is in memory, while the one before may still be under way. `None`: it was gone through with care, and is done.
    pub(crate) async fn fold(
        &mut self,
        own: &mut Ownership,
        committing: &mut Option<Committing>,
        run: Run,
    ) -> Result<Option<Folded>, StreamError> {
        let beat = own.heartbeat(self.clock.now(), false);
        let model = self.model.clone();
        let folded = beating(&*model, beat, self.fold_run(own, committing, run)).await;
        self.unless_failed(folded)
    }

    async fn fold_run(
        &mut self,
        own: &mut Ownership,
        committing: &mut Option<Committing>,
        mut run: Run,
    ) -> Result<Option<Folded>, StreamError> {
        let begun = Instant::now();
        let place = (self.stream, own.row.generation);
        loop {
            let Run { records, stores } = run;
            let Some(last) = records.last() else {
                return Ok(None);
            };
            let checkpoint = Checkpoint {
                epoch: own.row.epoch,
                position: last.position,
                hash: last.hash,
            };
            let at = self.clock.now();
            let folded = async {
                let mut searches = search(stores?, &mut own.kept, false);
                if !searches.iter().all(Search::is_complete) {
                    // What is under way may change what is read.
                    if committing.is_some() && !self.settle_run(own, committing).await? {
                        return Ok(None);
                    }
                    let kept = &mut own.kept;
                    fetch(&*self.model, place, &mut searches, kept, false).await?;
                }
                let effects = fold(searches, self.fold, &mut own.kept, at).await?;
                Ok::<_, FoldError>(Some(effects))
            };
            match folded.await {
                Ok(Some(effects)) if !effects.poisoned => {
                    let took = begun.elapsed();
                    return Ok(Some(Folded {
                        records,
                        checkpoint,
                        effects,
                        took,
                    }));
                }
                // The run before was gone through with care meanwhile: what was found in memory is void.
                Ok(None) => {
                    run = Run::decode(records).await;
                    continue;
                }
                Ok(Some(_)) | Err(FoldError::Panicked(_)) => {}
                Err(FoldError::Stream(error)) => return Err(error),
                Err(FoldError::ReadModel(error)) => drop(refusal(error)?),
            }
            own.kept.forget();
            self.settle_run(own, committing).await?;
            self.carefully(own, records).await?;
            return Ok(None);
        }
    }

    /// Hands a folded run to the database.
    pub(crate) fn commit(&self, own: &mut Ownership, folded: Folded) -> Committing {
        let age = self.age_us(&folded.records);
        let batch = self.batch(own, folded.checkpoint, folded.effects, age);
        let lag_us = batch.lag_us;
        let model = self.model.clone();
        let task = tokio::spawn(async move { model.commit(&batch).await });
        Committing {
            task: AbortOnDropHandle::new(task),
            records: folded.records,
            checkpoint: folded.checkpoint,
            lag_us,
            answer: None,
            begun: Instant::now(),
            folding: folded.took,
        }
    }

    /// Waits for what is under way. `false`: it was refused and then gone through with care, and everything in memory is forgotten.
    pub(crate) async fn settle(
        &mut self,
        own: &mut Ownership,
        committing: &mut Option<Committing>,
    ) -> Result<bool, StreamError> {
        let beat = own.heartbeat(self.clock.now(), false);
        let model = self.model.clone();
        let settled = beating(&*model, beat, self.settle_run(own, committing)).await;
        self.unless_failed(settled)
    }

    async fn settle_run(
        &mut self,
        own: &mut Ownership,
        committing: &mut Option<Committing>,
    ) -> Result<bool, StreamError> {
        let Some(mut done) = committing.take() else {
            return Ok(true);
        };
        done.finished().await;
        let Some(answer) = done.answer else {
            return Ok(true);
        };
        let count = done.records.len();
        if let Err(error) = answer {
            let why = refusal(error)?;
            tracing::debug!(stream = self.stream.0, why, "a batch was refused");
            own.kept.forget();
            self.carefully(own, done.records).await?;
            self.learn(count, done.folding + done.begun.elapsed(), true);
            return Ok(false);
        }
        let took = done.folding + done.begun.elapsed();
        self.learn(count, took, true);
        tracing::debug!(
            stream = self.stream.0,
            records = count,
            took_ms = took.as_millis(),
            "projected"
        );
        own.reached(done.checkpoint, done.lag_us);
        Ok(true)
    }

    /// Commits a run from what is stored alone, as one batch if it can be, else by halves.
    async fn carefully(&self, own: &mut Ownership, run: Vec<Delivered>) -> Result<(), StreamError> {
        let mut waiting = vec![run];
        while let Some(mut run) = waiting.pop() {
            let Some(why) = self.commit_alone(own, &run).await? else {
                continue;
            };
            if run.len() > 1 {
                waiting.push(run.split_off(run.len() / 2));
                waiting.push(run);
            } else if let Some(record) = run.pop() {
                self.quarantine(own, record, why).await?;
            }
        }
        Ok(())
    }

    /// One transaction. `Some`: nothing was written, and never will be of these records as they are, for the reason given.
    async fn commit_alone(
        &self,
        own: &mut Ownership,
        run: &[Delivered],
    ) -> Result<Option<String>, StreamError> {
        let Some(last) = run.last() else {
            return Ok(None);
        };
        let at = self.clock.now();
        let place = (self.stream, own.row.generation);
        let folded = async {
            let runs = Run::decode(run.to_vec()).await.stores?;
            let mut kept = Kept::default();
            let mut searches = search(runs, &mut kept, true);
            fetch(&*self.model, place, &mut searches, &mut kept, true).await?;
            Ok::<_, FoldError>(fold(searches, self.fold, &mut kept, at).await?)
        };
        let effects = match folded.await {
            Ok(effects) => effects,
            Err(FoldError::Panicked(panic)) => {
                tracing::error!(stream = self.stream.0, panic, "the fold panicked");
                return Ok(Some(format!("the fold panicked: {panic}")));
            }
            Err(FoldError::ReadModel(error)) => return refusal(error).map(Some),
            Err(FoldError::Stream(error)) => return Err(error),
        };
        for row in &effects.stores {
            if let Some(quarantine) = row
                .quarantine
                .as_ref()
                .filter(|quarantine| quarantine.at == at)
            {
                tracing::error!(store = %row.store, reason = quarantine.reason, "the store's projection is quarantined");
            }
        }
        let age = self.age_us(run);
        match self.write(own, last, effects, age).await {
            Ok(()) => Ok(None),
            Err(error) => refusal(error).map(Some),
        }
    }

    async fn write(
        &self,
        own: &mut Ownership,
        last: &Delivered,
        effects: Effects,
        age_us: i64,
    ) -> Result<(), ReadModelError> {
        let checkpoint = Checkpoint {
            epoch: own.row.epoch,
            position: last.position,
            hash: last.hash,
        };
        let batch = self.batch(own, checkpoint, effects, age_us);
        self.model.commit(&batch).await?;
        own.reached(checkpoint, batch.lag_us);
        Ok(())
    }

    fn batch(
        &self,
        own: &mut Ownership,
        checkpoint: Checkpoint,
        effects: Effects,
        age_us: i64,
    ) -> Batch {
        own.head = own.head.max(checkpoint.position);
        Batch {
            fence: own.fence(),
            checkpoint,
            head: own.head,
            lag_us: if own.head > checkpoint.position {
                age_us
            } else {
                0
            },
            orphans: effects.orphans,
            at: self.clock.now(),
            stores: effects.stores,
            placed: effects.placed,
            orders: effects.orders,
            facts: effects.facts,
            days: effects.days,
        }
    }

    /// How long ago the oldest record was recorded, in microseconds.
    fn age_us(&self, records: &[Delivered]) -> i64 {
        let oldest = records
            .iter()
            .find_map(|record| record.record.as_ref().ok())
            .map(|record| record.header().recorded_at);
        oldest.map_or(0, |oldest| {
            let now = self.clock.now().as_microsecond();
            now.saturating_sub(oldest.as_microsecond()).max(0)
        })
    }

    /// Goes past the one record that cannot be projected; its store stands still from here on.
    async fn quarantine(
        &self,
        own: &mut Ownership,
        record: Delivered,
        why: String,
    ) -> Result<(), StreamError> {
        // Both names follow the same rule.
        let Ok(store) = StoreId::new(record.ledger.as_str()) else {
            return Err(StreamError::Stuck(why));
        };
        let found = self
            .model
            .stores(own.row.generation, std::slice::from_ref(&store))
            .await?;
        let mut row = found
            .into_iter()
            .next()
            .unwrap_or_else(|| StoreRow::new(store, self.stream));
        let revision: Revision = match &record.record {
            Ok(record) => record.revision(),
            Err(_) => row.revision().next(),
        };
        let reason = format!("revision {revision}: {why}");
        tracing::error!(store = %row.store, reason, "the store's projection is quarantined");
        row.quarantine = Some(Quarantine {
            reason,
            revision,
            at: self.clock.now(),
            skipped: 0,
        });
        let effects = Effects {
            stores: vec![row],
            ..Effects::default()
        };
        Ok(self.write(own, &record, effects, own.row.lag_us).await?)
    }
}

/// Why a run could not be folded.
enum FoldError {
    Panicked(String),
    ReadModel(ReadModelError),
    /// Of the run before.
    Stream(StreamError),
}

impl From<Panicked> for FoldError {
    fn from(Panicked(said): Panicked) -> Self {
        Self::Panicked(said)
    }
}

impl From<ReadModelError> for FoldError {
    fn from(error: ReadModelError) -> Self {
        Self::ReadModel(error)
    }
}

impl From<StreamError> for FoldError {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

/// Does the work, and gives signs of life meanwhile, however long it takes.
async fn beating<T>(
    model: &dyn read_model::ReadModelWriter,
    beat: Heartbeat,
    work: impl Future<Output = Result<T, StreamError>>,
) -> Result<T, StreamError> {
    tokio::select! {
        biased;
        done = work => done,
        fenced = beats(model, &beat) => Err(fenced.into()),
    }
}

async fn beats(model: &dyn read_model::ReadModelWriter, beat: &Heartbeat) -> ReadModelError {
    let (since, at) = (Instant::now(), beat.at);
    loop {
        sleep(HEARTBEAT).await;
        let at = at + since.elapsed();
        match model.beat(&Heartbeat { at, ..beat.clone() }).await {
            Err(fenced @ ReadModelError::Fenced { .. }) => return fenced,
            // The work has the same database, and says so where it matters.
            Err(error) => tracing::debug!(%error, stream = beat.fence.stream.0, "no sign of life"),
            Ok(()) => {}
        }
    }
}

/// Why these records will never be stored; or the error, if that is not known.
fn refusal(error: ReadModelError) -> Result<String, StreamError> {
    match error {
        ReadModelError::Refused(_) | ReadModelError::OutOfRange(_) | ReadModelError::Corrupt(_) => {
            Ok(error.to_string())
        }
        other => Err(other.into()),
    }
}
