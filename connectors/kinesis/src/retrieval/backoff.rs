//! Waits between attempts: doubling, with jitter, so that many shards of many workers do not come back at the same moment.

use connector_sdk::Random;
use std::time::Duration;

/// The waits of one row of failures.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
    random: Random,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration, random: Random) -> Self {
        Self { first, longest, failures: 0, random }
    }

    /// The wait after one more failure: between half and all of what doubling gives, never less than the service asked for.
    pub(super) fn failed(&mut self, asked: Option<Duration>) -> Duration {
        let full = self.first.saturating_mul(1 << self.failures.min(16)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(0.5 + self.random.fraction() / 2.0).max(asked.unwrap_or_default())
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// It worked: the next failure is a first one.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_obey_the_service() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1), Random::seeded(7));
        for full in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.failed(None);
            assert!((Duration::from_millis(full / 2)..=Duration::from_millis(full)).contains(&wait), "{wait:?} of {full}");
        }
        assert_eq!(backoff.failed(Some(Duration::from_secs(9))), Duration::from_secs(9));
        assert_eq!(backoff.failures(), 7);
        backoff.reset();
        assert!(backoff.failed(None) <= Duration::from_millis(100));
    }
}
