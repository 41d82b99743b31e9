//! The end of a shard that was asked to stop: what is on its way is waited for, what is settled is stored, and the row is left clean
//! where that is known.

use super::consumer::Consumer;
use super::storing::written;
use crate::coordinator::Stopped;
use crate::lease::StoreError;
use connector_sdk::{AckTracker, Guarantee};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

/// Part of a stop's time that is kept for storing what is settled, whatever is still on its way.
const KEPT_FOR_STORING: Duration = Duration::from_secs(1);

impl Consumer {
    /// Reads no more, waits for what is on its way, stores how far it came. What is still on its way shortly before the deadline does
    /// not keep the settled prefix from being stored.
    pub(super) async fn stop(&mut self, deadline: Instant) -> Stopped {
        self.drop_unread();
        let left = deadline.saturating_duration_since(Instant::now());
        let until = deadline - KEPT_FOR_STORING.min(left / 3);
        let in_time = match self.deps.guarantee {
            Guarantee::EffectivelyOnce => self.quiet_exactly(until).await,
            Guarantee::AtLeastOnce | Guarantee::AtMostOnce => timeout_at(until, self.acks.quiet()).await.is_ok(),
        };
        self.show();
        if self.storing.is_some()
            && let Ok(Ok(())) = timeout_at(deadline, written(&mut self.storing)).await
        {
            let storing = self.storing.take();
            self.is_stored(storing);
        }
        self.storing = None;
        if self.deps.guarantee != Guarantee::AtMostOnce && !self.lease.fence().has_fallen() {
            self.store_at_stop(deadline).await;
        }
        if !in_time {
            self.fence.fall();
        }
        self.show();
        if in_time {
            self.leave_clean();
        }
        Stopped { beyond_checkpoint: self.beyond_checkpoint() }
    }

    async fn store_at_stop(&mut self, deadline: Instant) {
        loop {
            let moved = self.acks.read(AckTracker::settled) > self.stored;
            if !moved && !self.sending().is_some_and(|sending| sending.has_to_store()) {
                return;
            }
            self.begin_last_store();
            if self.storing.is_none() {
                return;
            }
            let result = timeout_at(deadline, written(&mut self.storing)).await;
            let storing = self.storing.take();
            match result {
                Ok(Ok(())) => self.is_stored(storing),
                Ok(Err(StoreError::Lost)) | Err(_) => return,
                Ok(Err(StoreError::Failed(error))) => {
                    warn!(shard = %self.lease.shard(), %error, "progress could not be stored while stopping");
                    let pause = self.deps.backoff_time.min(Duration::from_millis(500));
                    if timeout_at(deadline, sleep(pause)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Lets the row say that nothing was sent beyond the stored checkpoint, where this owner can know.
    fn leave_clean(&mut self) {
        // Nothing is on its way, and from here on nothing can be.
        self.fence.fall();
        let clean = match &self.exactly {
            Some(exactly) => exactly.is_clean(),
            None => self.deps.guarantee == Guarantee::AtLeastOnce && self.found_clean && self.beyond_checkpoint() == 0,
        };
        if clean {
            self.lease.leave_clean();
        }
    }
}
