//! Renews what is held, in a task of its own, and lets fences fall by our own clock.
//!
//! Nothing else is done here, so that no slow listing, taking or shard ever costs a lease; and one renewal that hangs costs none but
//! its own.

use crate::ids::ShardId;
use crate::lease::{HeldLease, StoreError};
use crate::metrics::{Facts, LeaseCall};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::{debug, warn};

/// Renewals on their way at one time.
const CONCURRENT: usize = 64;

/// The leases this process holds.
pub(super) struct Holdings {
    leases: Mutex<BTreeMap<ShardId, Arc<HeldLease>>>,
    /// The expiry that is waited for; none while there is nothing to wait for.
    awaited: Mutex<Option<Instant>>,
    /// Something was added that expires sooner.
    sooner: Notify,
    /// Leases lost since the last round of renewals.
    lost: AtomicU64,
    failover: Duration,
}

impl Holdings {
    pub(super) fn new(failover: Duration) -> Arc<Self> {
        Arc::new(Self { leases: Mutex::default(), awaited: Mutex::default(), sooner: Notify::new(), lost: AtomicU64::new(0), failover })
    }

    pub(super) fn insert(&self, lease: Arc<HeldLease>) {
        let expiry = lease.valid_until();
        self.leases().insert(lease.shard().clone(), lease);
        if self.awaited().is_none_or(|awaited| expiry < awaited) {
            self.sooner.notify_one();
        }
    }

    /// One more was lost, for the metrics.
    pub(super) fn count_loss(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, shard: &ShardId) -> Option<Arc<HeldLease>> {
        self.leases().remove(shard)
    }

    pub(super) fn get(&self, shard: &ShardId) -> Option<Arc<HeldLease>> {
        self.leases().get(shard).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<HeldLease>> {
        self.leases().values().cloned().collect()
    }

    pub(super) fn shards(&self) -> HashSet<ShardId> {
        self.leases().keys().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.leases().len()
    }

    fn awaited(&self) -> MutexGuard<'_, Option<Instant>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leases(&self) -> MutexGuard<'_, BTreeMap<ShardId, Arc<HeldLease>>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Renews and watches the holdings.
pub(super) struct Keeper {
    holdings: Arc<Holdings>,
    facts: Facts,
}

/// A round of renewals, for the metrics.
struct Round {
    began: Instant,
    failed: bool,
}

impl Keeper {
    pub(super) fn new(holdings: Arc<Holdings>, facts: Facts) -> Self {
        Self { holdings, facts }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        tokio::join!(self.renew_all(), self.watch_expiry());
    }

    async fn renew_all(&self) {
        let period = self.holdings.failover / 3;
        let mut ticks = interval(period.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut due: Vec<Arc<HeldLease>> = Vec::new();
        let mut on_their_way: HashSet<ShardId> = HashSet::new();
        let mut renewals = FuturesUnordered::new();
        let mut round: Option<Round> = None;
        loop {
            while renewals.len() < CONCURRENT
                && let Some(lease) = due.pop()
            {
                on_their_way.insert(lease.shard().clone());
                renewals.push(renew(lease, period));
            }
            tokio::select! {
                _ = ticks.tick() => {
                    let now = Instant::now();
                    due = self.holdings.all();
                    due.retain(|lease| {
                        let still = now.saturating_duration_since(lease.moved_at());
                        // A store within this time was a renewal.
                        still >= period / 2 && !lease.fence().has_fallen() && !on_their_way.contains(lease.shard())
                    });
                    // The one that waits longest is renewed first, from the end.
                    due.sort_by_key(|lease| std::cmp::Reverse(lease.moved_at()));
                    round.get_or_insert(Round { began: now, failed: false });
                }
                Some((shard, took, result)) = renewals.next(), if !renewals.is_empty() => {
                    on_their_way.remove(&shard);
                    self.facts.lease_call(LeaseCall::Renew, took, result.is_ok());
                    match &result {
                        Ok(()) => debug!(%shard, "lease renewed"),
                        Err(StoreError::Lost) => warn!(%shard, "lease lost"),
                        Err(StoreError::Failed(error)) => warn!(%shard, %error, "lease not renewed; tried again before it expires"),
                    }
                    if let Some(round) = &mut round {
                        round.failed |= matches!(result, Err(StoreError::Failed(_)));
                    }
                }
            }
            if due.is_empty()
                && renewals.is_empty()
                && let Some(done) = round.take()
            {
                let held = u64::try_from(self.holdings.len()).unwrap_or(u64::MAX);
                self.facts.renewed_leases(held, self.holdings.lost.swap(0, Ordering::Relaxed), done.began.elapsed(), !done.failed);
            }
        }
    }

    /// Lets the fence of each lease fall the moment it is over.
    async fn watch_expiry(&self) {
        loop {
            // Until it is known what to wait for, every addition tells: a permit it leaves behind costs one more look.
            *self.holdings.awaited() = None;
            let standing = self.holdings.all().into_iter().filter(|lease| !lease.fence().has_fallen());
            let next = standing.map(|lease| lease.valid_until()).min();
            *self.holdings.awaited() = next;
            let sooner = self.holdings.sooner.notified();
            match next {
                Some(next) => tokio::select! {
                    () = sleep_until(next) => {}
                    () = sooner => {}
                },
                None => sooner.await,
            }
            let now = Instant::now();
            for lease in self.holdings.all() {
                if !lease.fence().has_fallen() && lease.check_expiry(now) {
                    warn!(shard = %lease.shard(), "lease lost: it could not be renewed within the failover time");
                }
            }
        }
    }
}

/// One renewal, given up when the next is due: a late reply is adopted by that one.
async fn renew(lease: Arc<HeldLease>, period: Duration) -> (ShardId, Duration, Result<(), StoreError>) {
    let began = Instant::now();
    let result = timeout(period, lease.renew()).await.unwrap_or_else(|_| {
        let message = format!("the renewal of `{}` was not answered within {} ms", lease.shard(), period.as_millis());
        Err(StoreError::Failed(connector_sdk::Error::transient(message)))
    });
    (lease.shard().clone(), began.elapsed(), result)
}
