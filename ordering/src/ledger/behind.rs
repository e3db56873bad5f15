use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::StoreId;
use event_log::{ChainState, Revision};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::notes::Notes;
use super::{CommandIndex, IndexError};

/// Commands that are worth a transaction. Until then they are in memory alone, and in the log.
const SLICE: usize = 1_000;
/// Most commands of one transaction, but for those of one record.
const MOST: usize = 4_096;
/// An index that fails is tried again after this.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes to the index what records say, in slices and behind the commands' backs: no command waits for it, and a close finds the day
/// written. What a crash takes is read from the log again.
pub(super) struct Behind {
    queue: Arc<Mutex<Queue>>,
    written: watch::Sender<Revision>,
    task: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    /// Of one record each, oldest first.
    waiting: VecDeque<Notes>,
    commands: usize,
    /// Written up to here however little it is.
    wanted: Revision,
    /// Is being written, or could not be.
    slice: Option<Arc<Notes>>,
    /// A task takes slices, and will take what comes meanwhile.
    writing: bool,
    failed: Option<Instant>,
}

impl Queue {
    /// The next slice, if it is worth a transaction.
    fn next(&mut self) -> Option<Arc<Notes>> {
        if let Some(slice) = &self.slice {
            return Some(slice.clone());
        }
        let first = self.waiting.front()?.through?.revision;
        if self.commands < SLICE && first > self.wanted {
            return None;
        }
        let mut slice = Notes::default();
        while slice.commands.len() < MOST
            && let Some(notes) = self.waiting.pop_front()
        {
            slice.append(notes);
        }
        self.commands -= slice.commands.len();
        self.slice = Some(Arc::new(slice));
        self.slice.clone()
    }

    /// For the task that writes: without another slice it is over.
    fn take(&mut self) -> Option<Arc<Notes>> {
        let next = self.next();
        self.writing = next.is_some();
        next
    }

    /// A slice is written, or has to be written again.
    fn ended(&mut self, well: bool) {
        if well {
            (self.slice, self.failed) = (None, None);
        } else {
            (self.writing, self.failed) = (false, Some(Instant::now()));
        }
    }
}

fn take(queue: &Mutex<Queue>) -> Option<Arc<Notes>> {
    lock(queue).take()
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Behind {
    fn default() -> Self {
        Self::from(None)
    }
}

impl Behind {
    pub fn from(written: Option<ChainState>) -> Self {
        Self {
            queue: Arc::default(),
            written: watch::Sender::new(written.map_or(Revision::NONE, |chain| chain.revision)),
            task: None,
        }
    }

    /// The last revision that the index has.
    pub fn written(&self) -> Revision {
        *self.written.borrow()
    }

    /// Tells whenever the index has more.
    pub fn watch(&self) -> watch::Receiver<Revision> {
        self.written.subscribe()
    }

    /// Takes up the notes of the next record.
    pub fn note(&mut self, notes: Notes) {
        if notes
            .through
            .is_some_and(|chain| chain.revision > self.written())
        {
            let mut queue = lock(&self.queue);
            queue.commands += notes.commands.len();
            queue.waiting.push_back(notes);
        }
    }

    /// Begins to write when enough waits, or `all` that waits by now, unless writing is under way: then it goes on. Never waits.
    pub fn go_on(&mut self, index: &CommandIndex, store: &StoreId, all: bool) {
        let mut queue = lock(&self.queue);
        if all && let Some(last) = queue.waiting.back().and_then(|notes| notes.through) {
            queue.wanted = last.revision;
        }
        let rests = queue.failed.is_some_and(|at| at.elapsed() < PAUSE);
        let ended = self.task.as_ref().is_none_or(JoinHandle::is_finished);
        if rests || (queue.writing && !ended) || queue.next().is_none() {
            return;
        }
        queue.writing = true;
        drop(queue);
        let (index, store) = (index.clone(), store.clone());
        let (queue, written) = (self.queue.clone(), self.written.clone());
        self.task = Some(tokio::spawn(async move {
            while let Some(slice) = take(&queue) {
                let through = slice.through.map(|chain| chain.revision);
                let added = index.add(&store, &slice).await;
                lock(&queue).ended(added.is_ok());
                match (added, through) {
                    (Ok(()), Some(through)) => {
                        written.send_replace(through);
                    }
                    (Ok(()), None) => {}
                    (Err(error), _) => return lags(&store, &error),
                }
            }
        }));
    }

    /// Writes all that waits, and waits for it.
    #[cfg(test)]
    pub async fn flush(&mut self, index: &CommandIndex, store: &StoreId) {
        while !lock(&self.queue).waiting.is_empty() || lock(&self.queue).slice.is_some() {
            self.go_on(index, store, true);
            if let Some(task) = &mut self.task {
                task.await.unwrap();
            }
        }
    }
}

fn lags(store: &StoreId, error: &IndexError) {
    tracing::error!(%store, %error, "the command index lags behind; commands stay in memory");
}
