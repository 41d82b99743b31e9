//! What a failed call means for a shard's reading: wait and try again, or tell the reader.

use super::backoff::Backoff;
use connector_sdk::{Error, ErrorKind, Random};
use std::time::Duration;

/// Failures in a row after which the reader is told; it shows them and opens the shard again with its own back-off.
const PATIENCE: u32 = 6;
/// Throttles in a row after which a line is worth it.
const WORTH_A_LINE: u32 = 5;

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
