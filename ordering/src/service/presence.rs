use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// What the registry sees of a store's task, and says to it.
#[derive(Default)]
pub struct Presence {
    busy: AtomicBool,
    resolving: AtomicBool,
    leave: Notify,
}

impl Presence {
    /// Whether commands are being carried out.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    pub fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Release);
    }

    /// Whether answers about members are awaited.
    pub fn is_resolving(&self) -> bool {
        self.resolving.load(Ordering::Acquire)
    }

    pub fn set_resolving(&self, resolving: bool) {
        self.resolving.store(resolving, Ordering::Release);
    }

    /// The task leaves memory as soon as nothing is queued.
    pub fn ask_to_leave(&self) {
        self.leave.notify_one();
    }

    /// Returns when the task has been asked to leave.
    pub async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }
}
