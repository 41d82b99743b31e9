//! The stop: every shard at once, each lease given away as soon as its shard is done, all within the deadline.

use super::boundary::{ShardEnd, Stopped};
use super::driver::Driver;
use super::shards::End;
use crate::ids::ShardId;
use crate::lease::{Change, Claimant, HeldLease, OwnerChange, StoreError, Update, Written};
use connector_sdk::Error;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

/// The most time of a stop that is kept for giving leases away.
const LONGEST_RESERVE: Duration = Duration::from_secs(2);
/// Pause between attempts to give a lease away.
const PAUSE: Duration = Duration::from_millis(100);

/// How a coordinator's stop went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopSummary {
    /// Records handed out beyond the stored checkpoints, over all shards.
    pub beyond_checkpoint: u64,
    /// Leases given away: others may take them at once.
    pub given_away: u64,
    /// What went wrong, in sentences.
    pub troubles: Vec<String>,
}

impl StopSummary {
    pub(super) fn trouble(sentence: String) -> Self {
        Self { troubles: vec![sentence], ..Self::default() }
    }
}

type Giving = BoxFuture<'static, (ShardId, Result<(), Error>)>;

impl Driver {
    /// Stops everything by the deadline.
    pub(super) async fn stop(mut self, deadline: Instant) -> StopSummary {
        let reserve = (deadline.saturating_duration_since(Instant::now()) / 5).min(LONGEST_RESERVE);
        let mut summary = StopSummary::default();
        self.shards.stop_all(deadline - reserve);
        let mut givings: FuturesUnordered<Giving> = FuturesUnordered::new();
        for lease in self.holdings.all() {
            if !self.shards.contains(lease.shard()) {
                givings.push(give_away(lease));
            }
        }
        for shard in self.in_doubt.drain() {
            givings.push(undo(Arc::clone(&self.claimant), shard));
        }
        let finished = timeout_at(deadline, async {
            while !self.shards.is_empty() || !givings.is_empty() {
                tokio::select! {
                    (shard, _, end) = self.shards.next_end(), if !self.shards.is_empty() => {
                        if let Some(lease) = self.holdings.get(&shard)
                            && summary.count(&shard, end)
                        {
                            givings.push(give_away(lease));
                        }
                    }
                    Some((shard, given)) = givings.next(), if !givings.is_empty() => {
                        self.holdings.remove(&shard);
                        match given {
                            Ok(()) => summary.given_away += 1,
                            Err(error) => summary.troubles.push(format!("the lease of `{shard}` was not given away: {error}")),
                        }
                    }
                }
            }
        })
        .await;
        if finished.is_err() {
            let left: Vec<String> = self.holdings.shards().iter().map(|shard| format!("`{shard}`")).collect();
            summary.troubles.push(format!("not stopped within the deadline: {}; others wait for the failover time", left.join(", ")));
        }
        for trouble in &summary.troubles {
            warn!("{trouble}");
        }
        info!(given_away = summary.given_away, beyond_checkpoint = summary.beyond_checkpoint, "leases given away");
        summary
    }
}

impl StopSummary {
    /// Counts a shard's end; whether its lease is still ours to give away.
    fn count(&mut self, shard: &ShardId, end: End) -> bool {
        match end {
            End::Stopped(Stopped { beyond_checkpoint }) => {
                self.beyond_checkpoint += beyond_checkpoint;
                true
            }
            End::Overdue => {
                self.troubles.push(format!("shard `{shard}` did not stop in time; what it was doing comes again"));
                true
            }
            End::Itself(ShardEnd::Failed(error)) => {
                self.troubles.push(format!("shard `{shard}` failed while it was stopped: {error}"));
                true
            }
            End::Itself(ShardEnd::Finished | ShardEnd::LeaseLost) | End::Lost => false,
        }
    }
}

/// Gives a lease away, as often as it takes until the caller's deadline.
fn give_away(lease: Arc<HeldLease>) -> Giving {
    Box::pin(async move {
        loop {
            match lease.give_away().await {
                Ok(()) | Err(StoreError::Lost) => return (lease.shard().clone(), Ok(())),
                Err(StoreError::Failed(error)) if error.kind().ends_a_start() => return (lease.shard().clone(), Err(error)),
                Err(StoreError::Failed(_)) => sleep(PAUSE).await,
            }
        }
    })
}

/// Clears our name from a row that a take of unknown outcome may have put there.
fn undo(claimant: Arc<Claimant>, shard: ShardId) -> Giving {
    Box::pin(async move {
        let result = async {
            let Some(row) = claimant.table().get(&shard).await?.filter(|row| claimant.owns(row)) else { return Ok(()) };
            let change = Change { owner: OwnerChange::Clear, ..Change::default() };
            let update = Update { shard: shard.clone(), counter: row.counter, owner: row.owner, change };
            match claimant.table().update(&update).await? {
                Written::Applied(_) | Written::Refused(_) => Ok(()),
                Written::Unknown(error) => Err(error),
            }
        }
        .await;
        (shard, result)
    })
}
