//! A run of records becomes rows. What cannot be stored or folded is found by halving the run: its store stands still, the others go on.

use std::future::Future;

use contract::StoreId;
use event_log::{Delivered, Revision};
use read_model::{Batch, Facts, Heartbeat, Quarantine, ReadModelError, StoreRow};
use tokio::time::{Instant, sleep};

use crate::effects::{Effects, EffectsError, effects};
use crate::stream::{HEARTBEAT, Ownership, StreamError, StreamTask};

impl StreamTask {
    /// Commits the run, as one batch if it can be; gives signs of life meanwhile, however long that takes.
    pub(crate) async fn project(
        &self,
        own: &mut Ownership,
        run: Vec<Delivered>,
    ) -> Result<(), StreamError> {
        let beat = own.heartbeat(self.clock.now(), false);
        self.beating(beat, self.commit_run(own, run)).await
    }

    async fn commit_run(
        &self,
        own: &mut Ownership,
        run: Vec<Delivered>,
    ) -> Result<(), StreamError> {
        let mut waiting = vec![run];
        while let Some(mut run) = waiting.pop() {
            let Some(why) = self.commit_batch(own, &run).await? else {
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
    async fn commit_batch(
        &self,
        own: &mut Ownership,
        run: &[Delivered],
    ) -> Result<Option<String>, StreamError> {
        let Some(last) = run.last() else {
            return Ok(None);
        };
        let (begun, at) = (Instant::now(), self.clock.now());
        let oldest = run
            .iter()
            .find_map(|record| record.record.as_ref().ok())
            .map(|record| record.header().recorded_at);
        let age = oldest.map_or(0, |oldest| {
            at.as_microsecond()
                .saturating_sub(oldest.as_microsecond())
                .max(0)
        });
        let place = (self.stream, own.row.generation);
        let effects = match effects(&*self.model, place, self.fold, run.to_vec(), at).await {
            Ok(effects) => effects,
            Err(EffectsError::Panicked(panic)) => {
                tracing::error!(stream = self.stream.0, panic, "the fold panicked");
                return Ok(Some(format!("the fold panicked: {panic}")));
            }
            Err(EffectsError::ReadModel(error)) => return refusal(error).map(Some),
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
        let events = effects.events;
        if let Err(error) = self.commit(own, last, effects, age).await {
            return refusal(error).map(Some);
        }
        tracing::debug!(
            stream = self.stream.0,
            records = run.len(),
            events,
            took_ms = begun.elapsed().as_millis(),
            "projected"
        );
        Ok(None)
    }

    async fn commit(
        &self,
        own: &mut Ownership,
        last: &Delivered,
        effects: Effects,
        age_us: i64,
    ) -> Result<(), ReadModelError> {
        let checkpoint = event_log::Checkpoint {
            epoch: own.row.epoch,
            position: last.position,
            hash: last.hash,
        };
        own.head = own.head.max(checkpoint.position);
        let batch = Batch {
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
            orders: effects.orders,
            facts: effects.facts,
            days: effects.days,
        };
        self.model.commit(&batch).await?;
        own.row.position = checkpoint.position;
        own.row.hash = checkpoint.hash;
        own.row.lag_us = batch.lag_us;
        if own.head == checkpoint.position {
            own.level = Instant::now();
        }
        Ok(())
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
            facts: Facts::default(),
            ..Effects::default()
        };
        Ok(self.commit(own, &record, effects, own.row.lag_us).await?)
    }

    /// Does the work, and gives signs of life meanwhile.
    async fn beating(
        &self,
        beat: Heartbeat,
        work: impl Future<Output = Result<(), StreamError>>,
    ) -> Result<(), StreamError> {
        let beats = async {
            loop {
                sleep(HEARTBEAT).await;
                let at = self.clock.now();
                match self.model.beat(&Heartbeat { at, ..beat.clone() }).await {
                    Err(fenced @ ReadModelError::Fenced { .. }) => return fenced,
                    // The work has the same database, and says so where it matters.
                    Err(error) => {
                        tracing::debug!(%error, stream = self.stream.0, "no sign of life");
                    }
                    Ok(()) => {}
                }
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            fenced = beats => Err(fenced.into()),
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
