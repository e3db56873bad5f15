use std::sync::Arc;
use std::time::Duration;

use contract::StoreId;
use event_log::{ChainState, Revision};
use futures::FutureExt as _;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::notes::Notes;
use super::{CommandIndex, IndexError};

/// Commands that are worth a transaction. Until then they are in memory alone, and in the log.
const SLICE: usize = 1_000;
/// An index that fails is tried again after this.
const PAUSE: Duration = Duration::from_secs(1);

struct Writing {
    notes: Arc<Notes>,
    task: JoinHandle<Result<(), IndexError>>,
}

/// Writes to the index what records say, in slices and behind the commands' backs: no command waits for it, and a close finds the day
/// written. What a crash takes is read from the log again.
#[derive(Default)]
pub(super) struct Behind {
    waiting: Notes,
    writing: Option<Writing>,
    /// What could not be written.
    failed: Option<(Instant, Arc<Notes>)>,
    written: Option<ChainState>,
}

impl Behind {
    pub fn from(written: Option<ChainState>) -> Self {
        Self {
            written,
            ..Self::default()
        }
    }

    /// The last revision that the index has.
    pub fn written(&self) -> Revision {
        self.written.map_or(Revision::NONE, |chain| chain.revision)
    }

    /// Takes up the notes of the next record.
    pub fn note(&mut self, notes: Notes) {
        if notes
            .through
            .is_some_and(|chain| chain.revision > self.written())
        {
            self.waiting.append(notes);
        }
    }

    /// Begins to write when enough waits, or `all` of it, unless a slice is under way. Never waits.
    pub fn go_on(&mut self, index: &CommandIndex, store: &StoreId, all: bool) {
        if let Some(writing) = &mut self.writing {
            let Some(ended) = (&mut writing.task).now_or_never() else {
                return;
            };
            self.ended(store, &ended);
        }
        let notes = match self.failed.take() {
            Some((at, notes)) if at.elapsed() < PAUSE => {
                self.failed = Some((at, notes));
                return;
            }
            Some((_, notes)) => notes,
            None if self.waiting.through.is_some()
                && (all || self.waiting.commands.len() >= SLICE) =>
            {
                Arc::new(std::mem::take(&mut self.waiting))
            }
            None => return,
        };
        let (index, store, own) = (index.clone(), store.clone(), notes.clone());
        self.writing = Some(Writing {
            notes,
            task: tokio::spawn(async move { index.add(&store, &own).await }),
        });
    }

    fn ended(
        &mut self,
        store: &StoreId,
        ended: &Result<Result<(), IndexError>, tokio::task::JoinError>,
    ) {
        let Some(Writing { notes, .. }) = self.writing.take() else {
            return;
        };
        let error: &dyn std::fmt::Display = match ended {
            Ok(Ok(())) => {
                self.written = notes.through.or(self.written);
                return;
            }
            Ok(Err(error)) => error,
            Err(error) => error,
        };
        tracing::error!(%store, %error, "the command index lags behind; commands stay in memory");
        self.failed = Some((Instant::now(), notes));
    }

    /// Writes all that waits, and waits for it.
    #[cfg(test)]
    pub async fn flush(&mut self, index: &CommandIndex, store: &StoreId) {
        while self.waiting.through.is_some() || self.writing.is_some() {
            self.go_on(index, store, true);
            if let Some(writing) = &mut self.writing {
                let ended = (&mut writing.task).await;
                self.ended(store, &ended);
            }
        }
    }
}
