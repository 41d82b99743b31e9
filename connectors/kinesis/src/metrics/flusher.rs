//! The one task that takes the facts to CloudWatch, at its own pace, and says once when CloudWatch does not take them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use connector_sdk::{Clock, Error, ErrorKind, Task};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::datum::Datum;
use super::facts::Facts;

/// The most datums that CloudWatch takes in one call.
const DATUMS_A_CALL: usize = 1_000;
/// The most bytes of one call, below CloudWatch's 1 MB.
const BYTES_A_CALL: usize = 950_000;
/// Longest wait for one call, whatever the sink's own deadline is.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// Where datums go: CloudWatch, or a list in a test.
pub trait MetricsSink: Send + Sync + 'static {
    /// Puts a batch that is within the limits of one call; all of it or nothing. Does not retry.
    fn put<'a>(&'a self, datums: &'a [Datum]) -> BoxFuture<'a, Result<(), Error>>;

    /// What it puts into, for messages.
    fn name(&self) -> &str;
}

/// When and how much.
#[derive(Debug, Clone, Copy)]
pub struct FlushSettings {
    /// How long values are gathered before they are put; the KCL's 10 s.
    pub buffer_time: Duration,
    /// How many datums wait while CloudWatch is away; more are let go, the oldest first. The KCL's 10,000.
    pub max_queue_size: usize,
}

/// The task; dropped, it ends without a last flush.
#[derive(Debug)]
pub struct Flusher {
    task: Task<()>,
    stop: CancellationToken,
}

impl Flusher {
    /// Starts to put the facts into the sink every `buffer_time`. Not to be started at level NONE, where there is nothing to put.
    pub fn start(facts: Facts, sink: Arc<dyn MetricsSink>, settings: FlushSettings, clock: Clock) -> Self {
        let stop = CancellationToken::new();
        let run = Run { facts, sink, settings, clock, waiting: VecDeque::new(), failing: None };
        let task = Task::spawn("cloudwatch", run.run(stop.clone()));
        Self { task, stop }
    }

    /// Puts what is left, once, and ends; gives up at the deadline.
    pub async fn stop(mut self, deadline: Instant) {
        self.stop.cancel();
        match timeout_at(deadline, self.task.join()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last metrics were not put"),
            // Dropping the task ends it.
            Err(_) => tracing::debug!("the last metrics were not put before the deadline"),
        }
    }
}

struct Run {
    facts: Facts,
    sink: Arc<dyn MetricsSink>,
    settings: FlushSettings,
    clock: Clock,
    /// What could not be put yet, oldest first.
    waiting: VecDeque<Datum>,
    /// While calls fail: what had been let go when that began.
    failing: Option<u64>,
}

impl Run {
    async fn run(mut self, stop: CancellationToken) {
        let every = self.settings.buffer_time.max(Duration::from_millis(100));
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.flush().await;
        }
        self.flush().await;
    }

    /// Takes what was gathered, and puts batch after batch until nothing waits or one fails.
    async fn flush(&mut self) {
        let fresh = self.facts.drain(self.clock.millis());
        self.waiting.extend(fresh);
        let beyond = self.waiting.len().saturating_sub(self.settings.max_queue_size);
        self.waiting.drain(..beyond);
        self.facts.dropped(beyond);
        while !self.waiting.is_empty() {
            let batch: Vec<Datum> = self.waiting.drain(..batch_len(&self.waiting)).collect();
            let answer = match timeout(CALL_DEADLINE, self.sink.put(&batch)).await {
                Ok(answer) => answer,
                Err(_) => Err(Error::transient(format!("no answer within {} s", CALL_DEADLINE.as_secs()))),
            };
            match answer {
                Ok(()) => {
                    self.facts.put(batch.len());
                    self.succeeded();
                }
                Err(error) => {
                    self.failed(batch, &error);
                    return;
                }
            }
        }
    }

    /// Keeps what may be taken next time, lets go what will not be, and says it the first time.
    fn failed(&mut self, batch: Vec<Datum>, error: &Error) {
        if self.failing.is_none() {
            self.failing = Some(self.facts.dropped_total());
            tracing::warn!(namespace = self.sink.name(), %error, "metrics do not reach CloudWatch, the source goes on without them");
        }
        if matches!(error.kind(), ErrorKind::Transient | ErrorKind::Throttled(_)) {
            for datum in batch.into_iter().rev() {
                self.waiting.push_front(datum);
            }
        } else {
            // Forbidden or refused: holding it would only cost memory.
            self.facts.dropped(batch.len() + self.waiting.len());
            self.waiting = VecDeque::new();
        }
    }

    fn succeeded(&mut self) {
        if let Some(before) = self.failing.take() {
            let dropped = self.facts.dropped_total() - before;
            tracing::info!(namespace = self.sink.name(), dropped, "metrics reach CloudWatch again");
        }
    }
}

/// How many of the first datums fit one call; at least one.
fn batch_len(waiting: &VecDeque<Datum>) -> usize {
    let mut bytes = 0;
    let fit = waiting.iter().take(DATUMS_A_CALL).take_while(|datum| {
        bytes += datum.size();
        bytes <= BYTES_A_CALL
    });
    fit.count().max(1)
}

#[cfg(test)]
#[path = "flusher_tests.rs"]
mod tests;
