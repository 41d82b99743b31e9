//! The shards that run: each is watched for its own end, its lease's loss, and the order to stop.

use super::boundary::{RunningShard, ShardEnd, Stopped};
use crate::ids::ShardId;
use crate::lease::HeldLease;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// How much longer than its deadline a shard's stop is waited for.
const GRACE: Duration = Duration::from_millis(200);

/// The shards that run under this worker's leases.
#[derive(Default)]
pub(super) struct Shards {
    running: HashMap<ShardId, Running>,
    ends: FuturesUnordered<BoxFuture<'static, (ShardId, End)>>,
}

struct Running {
    stop: Option<oneshot::Sender<Instant>>,
    since: Instant,
}

/// How a shard's running ended.
pub(super) enum End {
    /// By itself.
    Itself(ShardEnd),
    /// Its lease is lost; it was dropped.
    Lost,
    /// As ordered.
    Stopped(Stopped),
    /// Ordered to stop, and dropped because it took too long.
    Overdue,
}

impl Shards {
    pub(super) fn start(&mut self, lease: &HeldLease, shard: Box<dyn RunningShard>) {
        let (stop, asked) = oneshot::channel();
        self.running.insert(lease.shard().clone(), Running { stop: Some(stop), since: Instant::now() });
        self.ends.push(Box::pin(watch(lease.shard().clone(), lease.fence().clone(), shard, asked)));
    }

    pub(super) fn contains(&self, shard: &ShardId) -> bool {
        self.running.contains_key(shard)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The next end of a shard, with how long it ran. Cancel-safe; waits for ever while none runs.
    pub(super) async fn next_end(&mut self) -> (ShardId, Duration, End) {
        match self.ends.next().await {
            Some((shard, end)) => {
                let ran = self.running.remove(&shard).map_or(Duration::ZERO, |running| running.since.elapsed());
                (shard, ran, end)
            }
            None => std::future::pending().await,
        }
    }

    /// Orders all to stop by the deadline. Their ends follow.
    pub(super) fn stop_all(&mut self, deadline: Instant) {
        for running in self.running.values_mut() {
            if let Some(stop) = running.stop.take() {
                // A shard that just ended by itself does not listen any more.
                let _ended = stop.send(deadline);
            }
        }
    }
}

async fn watch(
    id: ShardId,
    fence: connector_sdk::Fence,
    mut shard: Box<dyn RunningShard>,
    asked: oneshot::Receiver<Instant>,
) -> (ShardId, End) {
    enum Next {
        Lost,
        Ended(ShardEnd),
        Stop(Instant),
    }
    let next = tokio::select! {
        biased;
        end = shard.ended() => Next::Ended(end),
        () = fence.fallen() => Next::Lost,
        Ok(deadline) = asked => Next::Stop(deadline),
    };
    let end = match next {
        Next::Ended(ShardEnd::LeaseLost) | Next::Lost => End::Lost,
        Next::Ended(end) => End::Itself(end),
        Next::Stop(deadline) => match timeout_at(deadline + GRACE, shard.stop(deadline)).await {
            Ok(stopped) => End::Stopped(stopped),
            Err(_) => End::Overdue,
        },
    };
    drop(shard);
    (id, end)
}

/// The pause before a shard that failed is started again: 1 s, doubled with each failure in a row, up to 5 minutes; `fraction` is
/// a random number from 0 to 1 that spreads it over its upper half.
pub(super) fn restart_pause(failures: u32, fraction: f64) -> Duration {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(300);
    let pause = FIRST.saturating_mul(1 << failures.min(16)).min(LONGEST);
    pause.mul_f64(0.5 + fraction.clamp(0.0, 1.0) / 2.0)
}
