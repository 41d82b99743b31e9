//! Growing pauses between attempts, with jitter, so that a crowd of instances does not knock all at once.

use connector_sdk::Random;
use std::time::Duration;

/// A pause that doubles with each attempt up to a limit; each is shortened by up to a fifth at random.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    limit: Duration,
    next: Duration,
    random: Random,
}

impl Backoff {
    /// Pauses from `first` up to `limit`.
    pub fn new(first: Duration, limit: Duration, random: Random) -> Self {
        Self { first, limit, next: first, random }
    }

    /// The pause before the next attempt.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(self.limit);
        pause.mul_f64(1.0 - self.random.fraction() / 5.0)
    }

    /// Begins again with the first pause: the attempt held.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_and_never_pass_it() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300), Random::seeded(1));
        let pauses: Vec<_> = (0..12).map(|_| backoff.pause().as_secs_f64()).collect();
        for (index, pause) in pauses.iter().enumerate() {
            let full = 2f64.powi(i32::try_from(index).expect("small")).min(300.0);
            assert!(*pause <= full && *pause >= full * 0.8, "attempt {index} paused {pause} s of {full} s");
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_secs(1));
    }
}
