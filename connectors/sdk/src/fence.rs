//! The fence around a partition: while it stands, its records may be put on a wire; once fallen, it never stands again.

use crate::Clock;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

/// Shared between who learns that a right is lost and who must stop using it. Clones are the same fence.
#[derive(Clone, Default)]
pub struct Fence(Arc<Inner>);

#[derive(Default)]
struct Inner {
    fallen: AtomicBool,
    changed: Notify,
    outer: Option<Fence>,
    /// The clock by which it falls by itself, and the time at which.
    expiry: Option<(Clock, AtomicU64)>,
}

impl Fence {
    /// A standing fence.
    pub fn new() -> Self {
        Self::default()
    }

    /// A fence that is down from a time on that [`Fence::expires_at`] sets and moves, whether or not anybody has noticed.
    pub fn expiring(clock: Clock) -> Self {
        Self(Arc::new(Inner { expiry: Some((clock, AtomicU64::new(u64::MAX))), ..Inner::default() }))
    }

    /// Moves the time at which it falls, by its own clock; without effect on one that was not made to expire.
    pub fn expires_at(&self, millis: u64) {
        if let Some((_, expiry)) = &self.0.expiry {
            expiry.store(millis, Ordering::Release);
        }
    }

    /// A fence inside this one: it is down when either is.
    #[must_use]
    pub fn within(&self) -> Self {
        Self(Arc::new(Inner { outer: Some(self.clone()), ..Inner::default() }))
    }

    /// Brings it down, for good. A fence around it stays as it is.
    pub fn fall(&self) {
        self.0.fallen.store(true, Ordering::Release);
        self.0.changed.notify_waiters();
    }

    /// Whether it is down. Whoever finds that it has expired brings it down for good: a renewal that is answered later does not
    /// raise it again.
    pub fn has_fallen(&self) -> bool {
        if self.0.fallen.load(Ordering::Acquire) || self.0.outer.as_ref().is_some_and(Self::has_fallen) {
            return true;
        }
        let expired = self.0.expiry.as_ref().is_some_and(|(clock, expiry)| clock.millis() >= expiry.load(Ordering::Acquire));
        if expired {
            self.fall();
        }
        expired
    }

    /// Waits until it is down. An expiry wakes nobody by itself: whoever asks whether it has fallen does.
    pub async fn fallen(&self) {
        match &self.0.outer {
            None => self.itself_fallen().await,
            Some(outer) => {
                let (inner, outer) = (self.itself_fallen(), Box::pin(outer.fallen()));
                tokio::pin!(inner);
                futures_util::future::select(inner, outer).await;
            }
        }
    }

    async fn itself_fallen(&self) {
        let changed = self.0.changed.notified();
        tokio::pin!(changed);
        // Registered before the look, so that a fall between look and wait is not missed.
        changed.as_mut().enable();
        if !self.0.fallen.load(Ordering::Acquire) {
            changed.await;
        }
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.has_fallen() { "Fence(fallen)" } else { "Fence(standing)" })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Fence;
    use crate::Clock;
    use futures_util::FutureExt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn an_expiring_fence_is_down_by_its_clock_alone() {
        let time = Arc::new(AtomicU64::new(100));
        let fence = Fence::expiring(Clock::from_fn({
            let time = Arc::clone(&time);
            move || time.load(Ordering::Relaxed)
        }));
        let inner = fence.within();
        fence.expires_at(200);
        assert!(!inner.has_fallen());
        time.store(150, Ordering::Relaxed);
        fence.expires_at(250);
        time.store(249, Ordering::Relaxed);
        assert!(!inner.has_fallen(), "renewed");
        time.store(250, Ordering::Relaxed);
        assert!(inner.has_fallen() && fence.has_fallen());
        fence.expires_at(900);
        assert!(inner.has_fallen(), "once down, it never stands again");
        assert!(inner.fallen().now_or_never().is_some(), "and who waits for it has heard");
    }

    #[tokio::test]
    async fn an_inner_fence_falls_with_the_outer_and_not_the_other_way() {
        let outer = Fence::new();
        let (one, two) = (outer.within(), outer.within());
        one.fall();
        one.fallen().await;
        assert!(!outer.has_fallen() && !two.has_fallen());
        let waiting = tokio::spawn({
            let two = two.clone();
            async move { two.fallen().await }
        });
        tokio::task::yield_now().await;
        outer.fall();
        waiting.await.unwrap();
        assert!(two.has_fallen());
    }
}
