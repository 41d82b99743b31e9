//! When progress is stored: every interval if it moved, after a failed attempt again and again with a pause, and at least every
//! twelfth of the retention while the shard is idle, so that "last caught up" stays young. One attempt at a time.

use std::time::Duration;
use tokio::time::Instant;

/// The shortest pause between attempts, whatever is configured: the table is not asked without end.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// The times of storing.
pub(super) struct StoreSchedule {
    interval: Duration,
    pause: Duration,
    retries: u32,
    failures: u32,
    next: Instant,
    idle_every: Duration,
    idle_next: Instant,
}

impl StoreSchedule {
    /// First after one interval.
    pub(super) fn new(interval: Duration, pause: Duration, retries: u32, retention_hours: u32) -> Self {
        let now = Instant::now();
        let idle_every = Duration::from_secs(u64::from(retention_hours.max(1)) * 3_600 / 12);
        let pause = pause.max(SHORTEST_PAUSE);
        Self { interval, pause, retries, failures: 0, next: now + interval, idle_every, idle_next: now + idle_every.min(interval) }
    }

    /// The pause between attempts.
    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    /// When to look next.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Whether an idle shard's time has to be written though nothing moved.
    pub(super) fn idle_is_due(&self) -> bool {
        Instant::now() >= self.idle_next
    }

    /// Whether the last attempt failed: the next one waits for its time.
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Nothing had to be stored.
    pub(super) fn skipped(&mut self) {
        self.next = Instant::now() + self.interval;
    }

    /// It is stored.
    pub(super) fn stored(&mut self) {
        let now = Instant::now();
        self.failures = 0;
        self.next = now + self.interval;
        self.idle_next = now + self.idle_every;
    }

    /// It could not be stored. True when the attempts of this interval are used up; where records wait for the store, they never are.
    pub(super) fn failed(&mut self, waited_for: bool) -> bool {
        self.failures += 1;
        let given_up = self.failures > self.retries && !waited_for;
        if given_up {
            self.failures = 0;
        }
        self.next = Instant::now() + if given_up { self.interval } else { self.pause };
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failed_attempts_are_repeated_and_then_left_to_the_next_interval() {
        let mut schedule = StoreSchedule::new(Duration::from_secs(60), Duration::from_secs(3), 2, 24);
        let wait = |schedule: &StoreSchedule| schedule.next() - Instant::now();
        assert_eq!(wait(&schedule), Duration::from_secs(60));
        assert!(!schedule.failed(false));
        assert_eq!(wait(&schedule), Duration::from_secs(3));
        assert!(!schedule.failed(false));
        assert!(schedule.failed(false), "two retries after the first attempt");
        assert_eq!(wait(&schedule), Duration::from_secs(60));
        assert!((0..9).all(|_| !schedule.failed(true)), "records that wait for the store do not wait for the interval");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_shard_is_written_every_twelfth_of_the_retention() {
        let mut schedule = StoreSchedule::new(Duration::from_secs(60), Duration::from_secs(3), 2, 24);
        schedule.stored();
        tokio::time::advance(Duration::from_secs(7199)).await;
        assert!(!schedule.idle_is_due());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(schedule.idle_is_due());
    }
}
