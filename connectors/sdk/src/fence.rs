//! The fence around a partition: while it stands, its records may be put on a wire; once fallen, it never stands again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// Shared between who learns that a right is lost and who must stop using it. Clones are the same fence.
#[derive(Clone, Default)]
pub struct Fence(Arc<Inner>);

#[derive(Default)]
struct Inner {
    fallen: AtomicBool,
    changed: Notify,
}

impl Fence {
    /// A standing fence.
    pub fn new() -> Self {
        Self::default()
    }

    /// Brings it down, for good.
    pub fn fall(&self) {
        self.0.fallen.store(true, Ordering::Release);
        self.0.changed.notify_waiters();
    }

    /// Whether it is down.
    pub fn has_fallen(&self) -> bool {
        self.0.fallen.load(Ordering::Acquire)
    }

    /// Waits until it is down.
    pub async fn fallen(&self) {
        let changed = self.0.changed.notified();
        tokio::pin!(changed);
        // Registered before the look, so that a fall between look and wait is not missed.
        changed.as_mut().enable();
        if !self.has_fallen() {
            changed.await;
        }
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.has_fallen() { "Fence(fallen)" } else { "Fence(standing)" })
    }
}
