//! Delays between attempts: doubling from a first delay to a cap, shortened at random so that many producers do not march in step.

use std::time::Duration;

/// One thing's delays.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, next: first }
    }

    /// The delay before the next attempt: between 80 % and all of the step.
    pub(crate) fn delay(&mut self, random: &mut fastrand::Rng) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.cap);
        step.mul_f64(0.8 + 0.2 * random.f64())
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_the_cap_and_start_again() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
        for step in [100, 200, 400, 800, 1_600, 3_000, 3_000] {
            let delay = backoff.delay(&mut random).as_millis();
            assert!(delay <= step && delay * 10 >= step * 8, "{delay} of {step}");
        }
        backoff.reset();
        assert!(backoff.delay(&mut random) <= Duration::from_millis(100));
    }
}
