//! What a failed call means for a shard's reading: wait and try again, or tell the reader.

use super::backoff::Backoff;
use connector_sdk::{Error, ErrorKind, Random};
use std::time::Duration;
use tokio::time::Instant;

/// Failures in a row after which the reader is told; it shows them and opens the shard again with its own back-off.
const PATIENCE: u32 = 6;
/// Throttles in a row after which a line is worth it.
const WORTH_A_LINE: u32 = 5;

/// The first wait for another subscription to let go of the shard; the service does so about 5 s after that one began.
const BUSY_FIRST: Duration = Duration::from_millis(500);
/// The longest.
const BUSY_LONGEST: Duration = Duration::from_secs(5);
/// Being refused for so long is worth a line: a subscription that was given up lets go much sooner.
const BUSY_WORTH_A_LINE: Duration = Duration::from_secs(60);

/// The troubles of one shard's reading: throttles, which are waited out for ever, and failures, which are not.
#[derive(Debug)]
pub(super) struct Troubles {
    throttles: Backoff,
    failures: Backoff,
}

impl Troubles {
    pub(super) fn new(random: &Random) -> Self {
        let backoff = |first, longest| Backoff::new(Duration::from_millis(first), Duration::from_secs(longest), random.clone());
        Self { throttles: backoff(250, 5), failures: backoff(100, 10) }
    }

    /// The service asked for patience: how long to wait.
    pub(super) fn throttled(&mut self, shard: &str, asked: Option<Duration>) -> Duration {
        let wait = self.throttles.failed(asked);
        if self.throttles.failures() == WORTH_A_LINE {
            tracing::warn!(shard, "reads of this shard are throttled again and again; other readers may use its throughput");
        }
        wait
    }

    /// A call failed: how long to wait, or the error to tell.
    pub(super) fn failed(&mut self, error: Error) -> Result<Duration, Error> {
        match error.kind() {
            ErrorKind::Transient if self.failures.failures() + 1 < PATIENCE => Ok(self.failures.failed(None)),
            ErrorKind::Throttled(asked) => Ok(self.throttles.failed(asked)),
            _ => {
                self.failures.reset();
                Err(error)
            }
        }
    }

    /// A call worked.
    pub(super) fn over(&mut self) {
        self.throttles.reset();
        self.failures.reset();
    }
}

/// Another subscription of the same consumer holds the shard: waited out for ever, and said once when it takes long.
#[derive(Debug)]
pub(super) struct Contention {
    waits: Backoff,
    since: Option<Instant>,
    said: bool,
}

impl Contention {
    pub(super) fn new(random: &Random) -> Self {
        Self { waits: Backoff::new(BUSY_FIRST, BUSY_LONGEST, random.clone()), since: None, said: false }
    }

    /// Refused once more: how long to wait.
    pub(super) fn refused(&mut self, shard: &str) -> Duration {
        if self.is_worth_a_line(Instant::now()) {
            tracing::warn!(
                shard,
                "another subscription of the same fan-out consumer has held this shard for a minute; check that no other reader has its `consumerName`"
            );
        }
        self.waits.failed(None)
    }

    /// True once, when it has lasted for long.
    fn is_worth_a_line(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        now.duration_since(since) >= BUSY_WORTH_A_LINE && !std::mem::replace(&mut self.said, true)
    }

    /// Something came.
    pub(super) fn over(&mut self) {
        self.waits.reset();
        (self.since, self.said) = (None, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_stays_held_by_another_is_said_once_after_a_minute() {
        let mut contention = Contention::new(&Random::seeded(1));
        let (began, second) = (Instant::now(), Duration::from_secs(1));
        let said = |contention: &mut Contention, after: u32| contention.is_worth_a_line(began + second * after);
        assert_eq!([0, 30, 59, 60, 90].map(|after| said(&mut contention, after)), [false, false, false, true, false]);
        contention.over();
        assert_eq!([100, 159, 160].map(|after| said(&mut contention, after)), [false, false, true]);
    }
}
