//! Which leases to take, free ones first, and which to steal.
//!
//! A lease is free when nobody owns it or its counter stood still for the failover time on the observer's own clock. Every worker
//! takes up to its even share; when nothing is free and it still lacks some, it steals one from the worker that has most. A lease
//! that bears our name and that this process does not hold belongs to a worker of its own: a former process, or a write that landed
//! after it was given up.
//!
//! As the KCL does, but for one thing: a lease nobody owns is taken beyond the even share only after it stood free for three
//! failover times, not at once. Else the first of several workers would take all that another gave away, and the rest would steal
//! it back one by one.

use crate::ids::ShardId;
use crate::lease::Lease;
use connector_sdk::Random;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;

/// Failover times after which a free lease is taken whatever the share.
const VERY_OLD: u32 = 3;

/// What was seen of the counters, and when, by our own clock.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    seen: HashMap<ShardId, Seen>,
}

#[derive(Debug)]
struct Seen {
    counter: u64,
    owned: bool,
    /// When this counter was first seen.
    since: Instant,
    /// Whether another counter was seen before it: its owner was alive at `since`.
    moved: bool,
}

impl Scanner {
    /// Remembers a look at the table. `began` is when the scan began: a counter read later is no older than that.
    pub(crate) fn observe<'a>(&mut self, leases: impl IntoIterator<Item = &'a Lease>, began: Instant) {
        let mut seen = HashMap::with_capacity(self.seen.len());
        for lease in leases {
            // A finished lease keeps its owner, who moves its counter no more: nothing of it expires.
            let owned = lease.owner.is_some() && !lease.is_finished();
            let entry = match self.seen.remove(&lease.shard) {
                Some(known) if known.counter == lease.counter && known.owned == owned => known,
                known => Seen { counter: lease.counter, owned, since: began, moved: known.is_some() },
            };
            seen.insert(lease.shard.clone(), entry);
        }
        // What is not in the table any more is forgotten.
        self.seen = seen;
    }

    /// How long the lease's counter has stood still, as far as was seen.
    fn still_for(&self, lease: &Lease, now: Instant) -> Duration {
        self.seen.get(&lease.shard).map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen.since))
    }

    /// What the watching of the lease's counter says about its owner.
    pub(crate) fn sign_of_life(&self, lease: &Lease, failover: Duration, now: Instant) -> SignOfLife {
        match self.seen.get(&lease.shard) {
            Some(seen) if now.saturating_duration_since(seen.since) >= failover => SignOfLife::Silent,
            Some(seen) if seen.moved => SignOfLife::Alive,
            _ => SignOfLife::Unknown,
        }
    }

    /// When, after `now`, the next lease that others own becomes free if its counter stays as it is.
    pub(crate) fn next_expiry(&self, held: &HashSet<ShardId>, failover: Duration, now: Instant) -> Option<Instant> {
        let foreign = self.seen.iter().filter(|(shard, seen)| seen.owned && !held.contains(*shard));
        foreign.map(|(_, seen)| seen.since + failover).filter(|expiry| *expiry > now).min()
    }
}

/// Whether a lease's owner lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignOfLife {
    /// The counter moved under our eyes within the failover time.
    Alive,
    /// It was not watched for long enough.
    Unknown,
    /// It stood still for the failover time.
    Silent,
}

/// What the taking of leases goes by.
#[derive(Debug, Clone)]
pub(crate) struct TakeRules {
    /// A lease not renewed for this long is free.
    pub(crate) failover: Duration,
    /// The most leases held.
    pub(crate) max_leases: usize,
    /// The most leases stolen in one round.
    pub(crate) max_steal: usize,
}

/// What to take, and the arithmetic behind it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TakePlan {
    /// Free leases to take.
    pub(crate) take: Vec<ShardId>,
    /// Leases of living workers to take.
    pub(crate) steal: Vec<ShardId>,
    /// Unfinished leases in the table.
    pub(crate) total: usize,
    /// Workers that hold leases, with us.
    pub(crate) workers: usize,
    /// Leases that are free.
    pub(crate) free: usize,
    /// Of these, the ones free for much longer than the failover time.
    pub(crate) very_old: usize,
    /// What we lack for an even share.
    pub(crate) needed: usize,
    /// What our even share exceeds our maximum by.
    pub(crate) spillover: usize,
}

/// Decides what to take. `held` are the leases this process holds, finished ones not among them.
pub(crate) fn plan(
    leases: &[Lease],
    held: &HashSet<ShardId>,
    scanner: &Scanner,
    rules: &TakeRules,
    now: Instant,
    random: &Random,
) -> TakePlan {
    // A finished shard is nobody's work: it counts for nobody and is left alone.
    let unfinished: Vec<&Lease> = leases.iter().filter(|lease| !lease.is_finished()).collect();
    let mut free: Vec<&Lease> = Vec::new();
    let mut very_old: Vec<&Lease> = Vec::new();
    // By name, so that equal loads are told apart the same way by every run.
    let mut others: BTreeMap<&str, Vec<&Lease>> = BTreeMap::new();
    for lease in unfinished.iter().copied().filter(|lease| !held.contains(&lease.shard)) {
        let still = scanner.still_for(lease, now);
        match &lease.owner {
            _ if still >= rules.failover * VERY_OLD => very_old.push(lease),
            None => free.push(lease),
            Some(_) if still >= rules.failover => free.push(lease),
            // Our own name here is another process's: it sorts as a worker of its own.
            Some(owner) => others.entry(owner).or_default().push(lease),
        }
    }
    let mine = held.len();
    let workers = others.len() + 1;
    let share = if workers >= unfinished.len() { 1 } else { unfinished.len().div_ceil(workers) };
    let target = share.min(rules.max_leases);
    let needed = target.saturating_sub(mine);
    let mut plan = TakePlan {
        total: unfinished.len(),
        workers,
        free: free.len() + very_old.len(),
        very_old: very_old.len(),
        needed,
        spillover: share.saturating_sub(rules.max_leases),
        ..TakePlan::default()
    };
    let room = rules.max_leases.saturating_sub(mine);
    let nothing_free = plan.free == 0;

    random.shuffle(&mut very_old);
    plan.take.extend(very_old.into_iter().take(room).map(|lease| lease.shard.clone()));
    random.shuffle(&mut free);
    plan.take.extend(free.into_iter().take(needed.saturating_sub(plan.take.len())).map(|lease| lease.shard.clone()));

    if nothing_free && needed > 0 {
        plan.steal = steal(&others, target, needed, rules, random);
    }
    plan
}

/// From the worker that has most: what it has beyond the share, or one at the share if we lack more than one.
fn steal(others: &BTreeMap<&str, Vec<&Lease>>, target: usize, needed: usize, rules: &TakeRules, random: &Random) -> Vec<ShardId> {
    let Some(most) = others.values().max_by_key(|leases| leases.len()) else { return Vec::new() };
    let count = if most.len() > target {
        needed.min(most.len() - target).min(rules.max_steal)
    } else if most.len() == target && needed > 1 {
        1.min(rules.max_steal)
    } else {
        0
    };
    let mut leases = most.clone();
    random.shuffle(&mut leases);
    leases.into_iter().take(count).map(|lease| lease.shard.clone()).collect()
}

#[cfg(test)]
#[path = "take_tests.rs"]
mod tests;
