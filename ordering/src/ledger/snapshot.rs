//! Snapshots of a store's state beside the index: what a start folds from in place of the ledger's last close.
//!
//! A snapshot is never believed. It counts if its file is whole, of this build and of this log, if the record that it reflects stands in the
//! log with the hash that it names, and if the index has everything up to there, since commands are looked up in it and not in the
//! snapshot. Otherwise it is as if there were none.

pub(super) mod file;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contract::StoreId;
use event_log::{ChainState, Place, Tip};
use futures::FutureExt as _;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use self::file::{Snapshot, SnapshotError, Stamp, Subject, Written};
use super::{Ledger, LedgerError};

/// Commands after which a store is worth another snapshot: so many are folded in a few milliseconds.
const EVERY: usize = 1_024;
/// A store that leaves memory leaves a snapshot if this many commands would be folded without it.
const WORTH_LEAVING: usize = 64;
/// A writer rests so many times as long as it wrote: the rest of a core is for orders.
const REST: u32 = 30;
/// How long a snapshot waits for the index to have what it reflects.
const INDEX_PATIENCE: Duration = Duration::from_secs(10);
/// What could not be written is tried again after this.
const PAUSE: Duration = Duration::from_secs(10);
/// How long whoever waits for a snapshot waits: a store that leaves memory.
const PATIENCE: Duration = Duration::from_secs(2);

/// The snapshots of an index.
pub(super) struct Snapshots {
    directory: PathBuf,
    /// One is written at a time.
    writer: Semaphore,
    failing: AtomicBool,
}

impl Snapshots {
    /// Those beside an index file.
    pub fn beside(index: &Path) -> Self {
        let mut directory = index.as_os_str().to_owned();
        directory.push("-snapshots");
        Self {
            directory: directory.into(),
            writer: Semaphore::new(1),
            failing: AtomicBool::new(false),
        }
    }

    pub fn path(&self, store: &StoreId) -> PathBuf {
        self.directory.join(format!("{store}.snapshot"))
    }

    /// A store's last snapshot, if there is one that can be used. What is wrong with it is told in the log.
    async fn load(&self, subject: Subject) -> Option<Snapshot> {
        let (path, store) = (self.path(&subject.store), subject.store.clone());
        let read = tokio::task::spawn_blocking(move || file::read(&path, &subject)).await;
        match read {
            Ok(Ok(snapshot)) => {
                let snapshot = snapshot?;
                if let Some(error) = &snapshot.spoilt {
                    let revision = snapshot.stamp.chain.revision;
                    tracing::warn!(%store, %error, %revision, "the end of a snapshot is not used");
                }
                Some(snapshot)
            }
            Ok(Err(error)) => {
                tracing::warn!(%store, %error, "a snapshot is not used; the log has everything");
                None
            }
            Err(error) => {
                tracing::error!(%store, %error, "reading a snapshot failed; the log has everything");
                None
            }
        }
    }

    /// Removes all of them. Those that stay are of an earlier life of the log, and say so.
    pub async fn forget_all(&self) {
        match tokio::fs::remove_dir_all(&self.directory).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "old snapshots cannot be removed; they are not used");
            }
            _ => {}
        }
    }

    fn succeeded(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("snapshots are written again");
        }
    }

    fn failed(&self, store: &StoreId, error: &dyn std::fmt::Display) {
        if self.failing.swap(true, Ordering::Relaxed) {
            tracing::debug!(%store, %error, "a snapshot is not written");
        } else {
            tracing::warn!(%store, %error, "a snapshot is not written; selling goes on, the next start takes longer, and it is tried again");
        }
    }
}

/// Why a snapshot was not written.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    File(#[from] SnapshotError),
    #[error("the index does not come as far")]
    Index,
    #[error(transparent)]
    Task(#[from] tokio::task::JoinError),
}

/// A file that was written, when, and how long that took.
struct Kept {
    written: Written,
    ended: Instant,
    took: Duration,
}

/// The keeping of one ledger's snapshots.
#[derive(Default)]
pub(super) struct Keeper {
    /// Commands since the last one.
    commands: usize,
    last: Option<Written>,
    under_way: Option<JoinHandle<Result<Kept, KeepError>>>,
    not_before: Option<Instant>,
}

impl Keeper {
    /// Counts the commands of a record; a record without any is worth one.
    pub fn count(&mut self, commands: usize) {
        self.commands += commands.max(1);
    }

    /// Whether it is time to write.
    fn is_due(&mut self, snapshots: &Snapshots, store: &StoreId) -> bool {
        if self.commands < EVERY {
            return false;
        }
        if let Some(task) = &mut self.under_way {
            let Some(ended) = task.now_or_never() else {
                return false;
            };
            self.ended(snapshots, store, ended.map_err(KeepError::Task).flatten());
        }
        self.not_before.is_none_or(|at| at <= Instant::now())
    }

    fn ended(&mut self, snapshots: &Snapshots, store: &StoreId, ended: Result<Kept, KeepError>) {
        self.under_way = None;
        self.not_before = Some(match ended {
            Ok(kept) => {
                self.last = Some(kept.written);
                snapshots.succeeded();
                kept.ended + kept.took * REST
            }
            Err(error) => {
                snapshots.failed(store, &error);
                Instant::now() + PAUSE
            }
        });
    }
}

impl Ledger {
    fn subject(&self) -> Subject {
        Subject {
            store: self.store_id.clone(),
            epoch: self.log.epoch(),
        }
    }

    /// Takes up the state of a snapshot that the log confirms, and begins where it ends. `None`: there is none.
    pub(super) async fn take_up_snapshot(
        &mut self,
        tip: &Tip,
        indexed: Option<&ChainState>,
    ) -> Result<Option<ChainState>, LedgerError> {
        let Some(Snapshot { state, stamp, .. }) = self.index.snapshots.load(self.subject()).await
        else {
            return Ok(None);
        };
        let revision = stamp.chain.revision;
        let why_not = if revision > tip.chain.revision {
            Some("the ledger ends before it")
        } else if indexed.is_none_or(|indexed| indexed.revision < revision) {
            Some("the index ends before it")
        } else if !self.is_in_log(tip, &stamp).await? {
            Some("the log has another record in its place")
        } else {
            None
        };
        let store = &self.store_id;
        if let Some(why) = why_not {
            tracing::warn!(%store, %revision, why, "a snapshot is not used; the log has everything");
            return Ok(None);
        }
        if revision < tip.fold_from {
            tracing::debug!(%store, %revision, "a snapshot is older than the last close");
            return Ok(None);
        }
        self.state = state;
        self.tip = Some(Tip {
            chain: stamp.chain,
            fold_from: stamp.fold_from,
            position: stamp.position,
        });
        Ok(Some(stamp.chain))
    }

    /// Whether the record that a snapshot reflects stands in the log.
    async fn is_in_log(&self, tip: &Tip, stamp: &Stamp) -> Result<bool, LedgerError> {
        let chain = &stamp.chain;
        if chain.revision == tip.chain.revision {
            return Ok(*chain == tip.chain);
        }
        let place = Place {
            revision: chain.revision,
            position: stamp.position,
            hash: chain.hash,
        };
        let record = match self.log.read_at(&self.name, &place).await? {
            Some(record) => Some(record),
            None => self.log.read_one(&self.name, chain.revision).await?,
        };
        Ok(record.is_some_and(|record| ChainState::after(&record) == *chain))
    }

    /// Begins to write a snapshot if one is due. Never waits.
    pub(super) fn keep_snapshot(&mut self) {
        if self.keeper.is_due(&self.index.snapshots, &self.store_id) {
            self.begin_snapshot();
        }
    }

    fn begin_snapshot(&mut self) {
        let Some(stamp) = self.stamp() else { return };
        self.keeper.commands = 0;
        self.behind.go_on(&self.index, &self.store_id, true);
        let mut written = self.behind.watch();
        let (snapshots, subject) = (self.index.snapshots.clone(), self.subject());
        let (state, last) = (self.state.clone(), self.keeper.last.take());
        let revision = stamp.chain.revision;
        self.keeper.under_way = Some(tokio::spawn(async move {
            let indexed = written.wait_for(|written| *written >= revision);
            if !matches!(timeout(INDEX_PATIENCE, indexed).await, Ok(Ok(_))) {
                return Err(KeepError::Index);
            }
            let _permit = snapshots.writer.acquire().await;
            let path = snapshots.path(&subject.store);
            let began = Instant::now();
            let writing = tokio::task::spawn_blocking(move || {
                file::write(&path, &subject, last, &state, &stamp)
            });
            let written = writing.await??;
            let ended = Instant::now();
            Ok(Kept {
                written,
                ended,
                took: ended - began,
            })
        }));
    }

    /// What a snapshot of this state is stamped with.
    fn stamp(&self) -> Option<Stamp> {
        let tip = self.tip?;
        Some(Stamp {
            chain: tip.chain,
            fold_from: tip.fold_from,
            position: tip.position,
        })
    }

    /// To be called before the ledger leaves memory: leaves a snapshot of all that it knows, if that saves folding.
    pub async fn leave(&mut self) {
        if self.keeper.commands >= WORTH_LEAVING || self.keeper.under_way.is_some() {
            self.snapshot().await;
        }
    }

    /// Writes a snapshot of all that the ledger knows, and waits for it a little. Whether there is one now.
    pub async fn snapshot(&mut self) -> bool {
        let limit = Instant::now() + PATIENCE;
        self.end_writing(limit).await;
        if self.keeper.under_way.is_some() || self.tip.is_none() {
            return false;
        }
        if self.keeper.commands > 0 || self.keeper.last.is_none() {
            self.begin_snapshot();
            self.end_writing(limit).await;
        }
        self.keeper.last.is_some()
    }

    async fn end_writing(&mut self, limit: Instant) {
        if let Some(task) = &mut self.keeper.under_way
            && let Ok(ended) = timeout_at(limit, task).await
        {
            let ended = ended.map_err(KeepError::Task).flatten();
            self.keeper
                .ended(&self.index.snapshots, &self.store_id, ended);
        }
    }
}
