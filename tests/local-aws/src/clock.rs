//! The one source of time of the stand-ins.
//!
//! Promises that time never goes backwards and that everything (limits, expiry, retention, the `Date` header) reads the same clock.
//! Never sleeps by itself: a caller that must wait asks [`Clock::sleep_until`].

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// Milliseconds since the Unix epoch.
pub type Millis = i64;

/// A clock that can be shared; clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    /// Wall-clock start plus monotonic progress: a step of the machine's clock does not reach us.
    System { base: Millis, start: std::time::Instant },
    /// Follows the runtime's clock, and so stands still under a paused one.
    Tokio { base: Millis, start: tokio::time::Instant },
    /// Moves only when told to.
    Stepped { now: watch::Sender<Millis> },
}

/// The clock follows real time and cannot be stepped.
#[derive(Debug, thiserror::Error)]
#[error("this clock follows real time and cannot be stepped; start with a stepped clock")]
pub struct NotStepped;

impl Clock {
    /// The wall clock as read once at the start, carried on by the monotonic clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Kind::System { base: wall_clock(), start: std::time::Instant::now() }))
    }

    /// Follows `tokio::time`, beginning at `base` milliseconds since the epoch; made for tests with a paused runtime.
    #[must_use]
    pub fn tokio(base: Millis) -> Self {
        Self(Arc::new(Kind::Tokio { base, start: tokio::time::Instant::now() }))
    }

    /// Stands still at `now` milliseconds since the epoch until [`Clock::advance`] is called.
    #[must_use]
    pub fn stepped(now: Millis) -> Self {
        Self(Arc::new(Kind::Stepped { now: watch::Sender::new(now) }))
    }

    /// The present time in milliseconds since the epoch.
    #[must_use]
    pub fn now(&self) -> Millis {
        match self.0.as_ref() {
            Kind::System { base, start } => base.saturating_add(millis(start.elapsed())),
            Kind::Tokio { base, start } => base.saturating_add(millis(start.elapsed())),
            Kind::Stepped { now } => *now.borrow(),
        }
    }

    /// Moves a stepped clock forward and wakes everybody who waits for it; negative steps count as zero.
    ///
    /// # Errors
    /// [`NotStepped`] when the clock follows real time.
    pub fn advance(&self, by: Millis) -> Result<Millis, NotStepped> {
        match self.0.as_ref() {
            Kind::Stepped { now } => {
                now.send_modify(|at| *at = at.saturating_add(by.max(0)));
                Ok(*now.borrow())
            }
            Kind::System { .. } | Kind::Tokio { .. } => Err(NotStepped),
        }
    }

    /// Waits until the clock shows at least `at`; cancel-safe.
    pub async fn sleep_until(&self, at: Millis) {
        match self.0.as_ref() {
            Kind::System { .. } | Kind::Tokio { .. } => {
                let wait = at.saturating_sub(self.now());
                if wait > 0 {
                    tokio::time::sleep(Duration::from_millis(wait.unsigned_abs())).await;
                }
            }
            Kind::Stepped { now } => {
                let mut seen = now.subscribe();
                // The sender lives as long as `self`, so the wait cannot end early.
                if seen.wait_for(|shown| *shown >= at).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

/// The machine's own wall clock.
fn wall_clock() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map(millis).unwrap_or_default()
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
