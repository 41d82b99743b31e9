//! Rates: token buckets that may go into debt, and which limits are on.
//!
//! Never waits: a bucket only answers whether a call may pass now.

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// Which limits of the service are enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// 1 MiB and 1,000 records a second written to a shard.
    pub writes: bool,
    /// 5 GetRecords calls and 2 MiB a second read from a shard, and 5 s of refusal after an answer of 10 MiB.
    pub reads: bool,
    /// 2 MiB a second pushed to a consumer from a shard.
    pub fan_out: bool,
    /// The largest record, the largest PutRecords.
    pub sizes: bool,
    /// At most 20 consumers of a stream.
    pub consumers: bool,
}

impl Limits {
    /// Everything enforced, as the service does.
    pub const ON: Self = Self { writes: true, reads: true, fan_out: true, sizes: true, consumers: true };
    /// Nothing enforced; the cut of an answer at 10,000 records and 10 MiB stays, since it is a shape and not a rate.
    pub const OFF: Self = Self { writes: false, reads: false, fan_out: false, sizes: false, consumers: false };
}

impl Default for Limits {
    fn default() -> Self {
        Self::ON
    }
}

/// A token bucket that holds one second's worth and refills steadily.
///
/// One request larger than the bucket passes when the bucket is full and leaves a debt, which is how the service lets a 10 MiB record into a 1 MiB/s shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    rate: f64,
    level: f64,
    at: Millis,
}

impl Bucket {
    /// A full bucket of `rate` units a second.
    pub(crate) fn new(rate: f64, now: Millis) -> Self {
        Self { rate, level: rate, at: now }
    }

    /// Whether `amount` may pass now; does not take it.
    pub(crate) fn admits(&mut self, amount: f64, now: Millis) -> bool {
        self.refill(now);
        // A millionth forgives what repeated refills lose in rounding.
        self.level + 1e-6 >= amount.min(self.rate)
    }

    /// Takes `amount`, into debt if need be.
    pub(crate) fn take(&mut self, amount: f64, now: Millis) {
        self.refill(now);
        self.level -= amount;
    }

    /// The first moment at which `amount` may pass.
    pub(crate) fn admits_at(&mut self, amount: f64, now: Millis) -> Millis {
        self.refill(now);
        let missing = (amount.min(self.rate) - self.level).max(0.0);
        // Seconds to whole milliseconds, rounded up so that the wait is never a millisecond short.
        now + (missing / self.rate * 1000.0).ceil() as Millis
    }

    fn refill(&mut self, now: Millis) {
        let elapsed = (now - self.at).max(0) as f64 / 1000.0;
        self.level = (self.level + elapsed * self.rate).min(self.rate);
        self.at = now;
    }
}
