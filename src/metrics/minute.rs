//! Counters that restart each minute: the difference to what stood when the minute began.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How many counters an instance has.
const COUNTERS: usize = 4;

/// One instance's counters at the beginning of the current minute.
#[derive(Default)]
pub(super) struct Minute(Mutex<Option<(Instant, [u64; COUNTERS])>>);

impl Minute {
    /// What `now` adds to the minute's beginning; begins a new minute when one has passed since.
    pub(super) fn since(&self, now: [u64; COUNTERS]) -> [u64; COUNTERS] {
        let mut began = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *began {
            Some((at, base)) if at.elapsed() < Duration::from_secs(60) => {
                let mut difference = [0; COUNTERS];
                for (index, value) in difference.iter_mut().enumerate() {
                    *value = now[index].saturating_sub(base[index]);
                }
                difference
            }
            Some(stale) => {
                *stale = (Instant::now(), now);
                [0; COUNTERS]
            }
            // Before the first look everything counts to the first minute.
            first @ None => {
                *first = Some((Instant::now(), [0; COUNTERS]));
                now
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_minute_begins_again_from_zero() {
        let minute = Minute::default();
        assert_eq!(minute.since([5, 0, 0, 0])[0], 5);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(minute.since([9, 0, 0, 0])[0], 9);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(minute.since([11, 0, 0, 0])[0], 0);
        assert_eq!(minute.since([14, 0, 0, 0])[0], 3);
    }
}
