//! A read model's writer that tells of its commits: when one has begun, and how many were broken off in their middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use contract::{BusinessDate, OrderId, StoreId};
use event_log::{LogEpoch, StreamIndex};
use read_model::{
    Batch, DayRow, Fence, Generation, Heartbeat, ListRow, ReadModelError, ReadModelWriter,
    StoreRow, StreamRow,
};
use tokio::sync::watch;
use tokio::time::sleep;

/// Passes everything on to another writer.
pub(crate) struct Observed {
    writer: Arc<dyn ReadModelWriter>,
    begun: watch::Sender<u64>,
    finished: AtomicU64,
    broken_off: AtomicU64,
    /// Orders placed by the largest batch.
    most_placed: AtomicUsize,
    /// How long each commit waits before it begins.
    pause: Duration,
}

impl Observed {
    pub(crate) fn new(writer: Arc<dyn ReadModelWriter>) -> Self {
        Self {
            writer,
            begun: watch::Sender::new(0),
            finished: AtomicU64::new(0),
            broken_off: AtomicU64::new(0),
            most_placed: AtomicUsize::new(0),
            pause: Duration::ZERO,
        }
    }

    pub(crate) fn slow(writer: Arc<dyn ReadModelWriter>, pause: Duration) -> Self {
        Self {
            pause,
            ..Self::new(writer)
        }
    }

    pub(crate) fn most_placed(&self) -> usize {
        self.most_placed.load(Ordering::SeqCst)
    }

    /// Changes whenever a commit begins.
    pub(crate) fn begun(&self) -> watch::Receiver<u64> {
        self.begun.subscribe()
    }

    /// Commits that came to their end.
    pub(crate) fn finished(&self) -> u64 {
        self.finished.load(Ordering::SeqCst)
    }

    /// Commits that were dropped between their begin and their end.
    pub(crate) fn broken_off(&self) -> u64 {
        self.broken_off.load(Ordering::SeqCst)
    }
}

/// Counts a commit as broken off, unless it is told otherwise.
struct UnderWay<'a>(Option<&'a AtomicU64>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(broken_off) = self.0 {
            broken_off.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[async_trait::async_trait]
impl ReadModelWriter for Observed {
    async fn prepare(&self) -> Result<Generation, ReadModelError> {
        self.writer.prepare().await
    }

    async fn written(&self) -> Result<Vec<Generation>, ReadModelError> {
        self.writer.written().await
    }

    async fn take_over(&self, generation: Generation) -> Result<bool, ReadModelError> {
        self.writer.take_over(generation).await
    }

    async fn stream(
        &self,
        generation: Generation,
        stream: StreamIndex,
        epoch: LogEpoch,
    ) -> Result<StreamRow, ReadModelError> {
        self.writer.stream(generation, stream, epoch).await
    }

    async fn claim(
        &self,
        seen: &StreamRow,
        owner: &str,
        epoch: LogEpoch,
    ) -> Result<Option<StreamRow>, ReadModelError> {
        self.writer.claim(seen, owner, epoch).await
    }

    async fn release(&self, fence: &Fence) -> Result<(), ReadModelError> {
        self.writer.release(fence).await
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), ReadModelError> {
        self.writer.beat(heartbeat).await
    }

    async fn stores(
        &self,
        generation: Generation,
        stores: &[StoreId],
    ) -> Result<Vec<StoreRow>, ReadModelError> {
        self.writer.stores(generation, stores).await
    }

    async fn orders(
        &self,
        generation: Generation,
        orders: &[(StoreId, OrderId)],
    ) -> Result<Vec<(StoreId, OrderId, Vec<u8>)>, ReadModelError> {
        self.writer.orders(generation, orders).await
    }

    async fn days(
        &self,
        generation: Generation,
        days: &[(StoreId, BusinessDate)],
    ) -> Result<Vec<DayRow>, ReadModelError> {
        self.writer.days(generation, days).await
    }

    async fn day_lists(
        &self,
        generation: Generation,
        days: &[(StoreId, BusinessDate)],
    ) -> Result<Vec<ListRow>, ReadModelError> {
        self.writer.day_lists(generation, days).await
    }

    async fn commit(&self, batch: &Batch) -> Result<(), ReadModelError> {
        self.begun.send_modify(|begun| *begun += 1);
        self.most_placed
            .fetch_max(batch.placed.len(), Ordering::SeqCst);
        if !self.pause.is_zero() {
            sleep(self.pause).await;
        }
        let mut under_way = UnderWay(Some(&self.broken_off));
        let committed = self.writer.commit(batch).await;
        under_way.0 = None;
        self.finished.fetch_add(1, Ordering::SeqCst);
        committed
    }
}
