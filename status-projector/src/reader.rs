//! Reads a stream ahead of its owner: what has come while the owner was at work is its next run.

use std::future::pending;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use event_log::{Delivered, LogError, Subscription};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::run::Run;
use crate::stream::HEARTBEAT;

/// Bytes of records after which a run is long enough, however few they are.
const MAX_BYTES: usize = 16 * 1024 * 1024;

pub(crate) enum Read {
    Run(Run),
    /// There is nothing to read, and the log is well.
    Nothing,
    /// After [`LogError::Unavailable`] reading goes on; any other is the last word.
    Failed(LogError),
}

pub(crate) struct Reader {
    /// One run waits, decoded; while it does, the next is being read.
    runs: mpsc::Receiver<Read>,
    task: AbortOnDropHandle<()>,
    size: Arc<AtomicUsize>,
}

impl Reader {
    /// `size`: most records of a run.
    pub fn start(subscription: Box<dyn Subscription>, size: usize) -> Self {
        let (to, runs) = mpsc::channel(1);
        let size = Arc::new(AtomicUsize::new(size));
        let task = tokio::spawn(read(subscription, to, size.clone()));
        Self {
            runs,
            task: AbortOnDropHandle::new(task),
            size,
        }
    }

    /// Of the runs from the next one on.
    pub fn set_size(&self, size: usize) {
        self.size.store(size, Ordering::Relaxed);
    }

    pub async fn next(&mut self) -> Read {
        if let Some(read) = self.runs.recv().await {
            return read;
        }
        match (&mut self.task).await {
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            // It has said its last word, or the process is ending.
            _ => pending().await,
        }
    }
}

async fn read(
    mut subscription: Box<dyn Subscription>,
    to: mpsc::Sender<Read>,
    size: Arc<AtomicUsize>,
) {
    let mut waiting: Vec<Delivered> = Vec::new();
    // Of those that wait.
    let mut bytes = 0;
    loop {
        let room = size.load(Ordering::Relaxed).saturating_sub(waiting.len());
        if room == 0 || bytes >= MAX_BYTES {
            let Ok(permit) = to.reserve().await else {
                return;
            };
            bytes = 0;
            permit.send(Read::Run(Run::decode(std::mem::take(&mut waiting)).await));
            continue;
        }
        // What is being read is not given up, because a part of it may have come.
        let mut next = pin!(subscription.next(room, HEARTBEAT));
        let read = loop {
            tokio::select! {
                biased;
                read = &mut next => break read,
                permit = to.reserve(), if !waiting.is_empty() => {
                    let Ok(permit) = permit else { return };
                    bytes = 0;
                    permit.send(Read::Run(Run::decode(std::mem::take(&mut waiting)).await));
                }
            }
        };
        match read {
            Ok(records) if records.is_empty() => {
                // Where a run waits to be taken, no news is needed.
                let _ = to.try_send(Read::Nothing);
            }
            Ok(records) => {
                bytes += records.iter().map(bytes_of).sum::<usize>();
                waiting.extend(records);
            }
            Err(error) => {
                if !waiting.is_empty() {
                    bytes = 0;
                    let run = Run::decode(std::mem::take(&mut waiting)).await;
                    if to.send(Read::Run(run)).await.is_err() {
                        return;
                    }
                }
                let passes = matches!(error, LogError::Unavailable(_));
                if to.send(Read::Failed(error)).await.is_err() || !passes {
                    return;
                }
                // The subscription mends itself.
                sleep(HEARTBEAT).await;
            }
        }
    }
}

fn bytes_of(delivered: &Delivered) -> usize {
    delivered
        .record
        .as_ref()
        .map_or(0, |record| record.bytes().len())
}
