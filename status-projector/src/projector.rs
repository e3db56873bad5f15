//! Which generations are projected: a task for each stream of each of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use event_log::{EventLog, StreamIndex};
use read_model::{Generation, ReadModelError, ReadModelWriter};
use runtime::{Clock, Shutdown};
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::fold;
use crate::health::{Health, Trouble};
use crate::stream::{FIRST_BATCH, Held, STUCK, StreamTask};

/// Between two looks at which generations there are, and at whether the one that is built is as far as the live one.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) struct Projector {
    pub config: Arc<Config>,
    pub log: Arc<dyn EventLog>,
    pub model: Arc<dyn ReadModelWriter>,
    pub shutdown: Shutdown,
    pub clock: Clock,
    /// Of the generation that is read, or will be.
    pub health: Health,
    /// What ends the tasks of a generation.
    pub under_way: BTreeMap<Generation, CancellationToken>,
}

impl Projector {
    /// Until the soft stop.
    pub async fn run(mut self, soft: CancellationToken) {
        let Some(own) = self.prepare(&soft).await else {
            return;
        };
        let health = self.health.clone();
        self.begin(own, &health, &soft);
        let mut is_live = false;
        loop {
            match self.look(own, is_live, &soft).await {
                Ok(live) => is_live = live,
                // The tasks have the same database, and say so.
                Err(error) => tracing::debug!(%error, "generations could not be looked at"),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = soft.cancelled() => return,
            }
        }
    }

    /// The generation that this build writes. `None` when told to stop meanwhile.
    async fn prepare(&self, soft: &CancellationToken) -> Option<Generation> {
        loop {
            let error = match self.model.prepare().await {
                Ok(generation) => return Some(generation),
                Err(error) => error,
            };
            let trouble = match &error {
                ReadModelError::Unavailable(_) | ReadModelError::TooLong(_) => {
                    Trouble::Waiting(error.to_string())
                }
                _ => Trouble::Stopped(error.to_string()),
            };
            for stream in 0..self.log.streams() {
                let stream = StreamIndex(stream);
                self.health.troubled(stream, trouble.clone()).await;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = soft.cancelled() => return None,
            }
        }
    }

    /// Begins what is new, ends what is gone, and switches once it is time. Returns whether `own` is, or was, the live one.
    async fn look(
        &mut self,
        own: Generation,
        was_live: bool,
        soft: &CancellationToken,
    ) -> Result<bool, ReadModelError> {
        let written = self.model.written().await?;
        self.under_way.retain(|generation, stop| {
            let kept = written.contains(generation);
            if !kept {
                stop.cancel();
            }
            kept
        });
        for generation in written {
            if !self.under_way.contains_key(&generation) {
                // What nobody reads yet is nobody's trouble.
                self.begin(generation, &Health::default(), soft);
            }
        }
        if was_live {
            return Ok(true);
        }
        let is_live = self.model.take_over(own).await?;
        if is_live {
            tracing::info!(generation = own.0, "this generation is the live one");
        }
        Ok(is_live)
    }

    fn begin(&mut self, generation: Generation, health: &Health, soft: &CancellationToken) {
        let stop = soft.child_token();
        for index in 0..self.log.streams() {
            let stream = StreamIndex(index);
            let task = StreamTask {
                generation,
                stream,
                config: self.config.clone(),
                log: self.log.clone(),
                model: self.model.clone(),
                clock: self.clock.clone(),
                health: health.clone(),
                fold: fold::project,
                held: Held::Never,
                size: self.config.batch.clamp(1, FIRST_BATCH),
                patience: STUCK,
            };
            let (stop, soft) = (stop.clone(), soft.clone());
            self.shutdown
                .spawn_for_good("the projection of a stream", async move {
                    task.run(stop).await;
                    // A generation that was dropped has no more to project, and that is no failure.
                    soft.cancelled().await;
                });
        }
        self.under_way.insert(generation, stop);
    }
}
