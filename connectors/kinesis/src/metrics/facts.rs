//! What happened, told by the parts of the source as it happens; read by the CloudWatch flusher and the Prometheus page.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytestring::ByteString;

use super::datum::{Datum, Dimension};
use super::names::{Beside, Metric};
use super::rounds::{LeaseCall, TakeRound};
use super::statistic::{Meter, Statistic};
use crate::config::MetricsLevel;
use crate::ids::ShardId;

/// What the worker as a whole measures; gives out one [`ShardFacts`] per shard. Cheap to clone, the same behind every clone.
#[derive(Debug, Clone)]
pub struct Facts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    level: MetricsLevel,
    worker: ByteString,
    meter: Mutex<Meter>,
    totals: WorkerTotals,
    shards: Mutex<BTreeMap<ShardId, Arc<ShardState>>>,
}

/// What one shard measures. Cheap to clone; keep it where the shard is read.
#[derive(Debug, Clone)]
pub struct ShardFacts {
    shard: Arc<ShardState>,
    worker: Facts,
}

#[derive(Debug, Default)]
pub(super) struct ShardState {
    meter: Mutex<Meter>,
    /// Given away: what it measured is still put once, then it is forgotten.
    released: AtomicBool,
    pub(super) totals: ShardTotals,
}

/// Running totals of a shard since it was taken, for the Prometheus page.
#[derive(Debug, Default)]
pub(super) struct ShardTotals {
    pub(super) records: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// One more than the milliseconds; 0 before the first answer.
    pub(super) behind_plus_one: AtomicU64,
    pub(super) get_records: Calls,
    pub(super) checkpoints: Calls,
    pub(super) expired_iterators: AtomicU64,
    pub(super) throttled: AtomicU64,
    pub(super) resubscriptions: AtomicU64,
}

/// Running totals of the worker, for the Prometheus page.
#[derive(Debug, Default)]
pub(super) struct WorkerTotals {
    pub(super) leases_held: AtomicU64,
    pub(super) leases_needed: AtomicU64,
    pub(super) leases_expired: AtomicU64,
    pub(super) leases_total: AtomicU64,
    pub(super) workers: AtomicU64,
    pub(super) leases_taken: AtomicU64,
    pub(super) leases_lost: AtomicU64,
    pub(super) renewals: Calls,
    pub(super) shard_syncs: Calls,
    pub(super) datums_put: AtomicU64,
    pub(super) datums_dropped: AtomicU64,
}

/// Calls of one kind: how many, how many failed, how long they took together.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) count: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) micros: AtomicU64,
}

impl Calls {
    fn add(&self, took: Duration, ok: bool) {
        add(&self.count, 1);
        add(&self.failed, u64::from(!ok));
        add(&self.micros, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}

impl Facts {
    /// Nothing happened yet. `worker` is the worker identifier, a dimension of the lease rounds.
    pub fn new(level: MetricsLevel, worker: impl Into<ByteString>) -> Self {
        let worker = worker.into();
        let (meter, totals, shards) = (Mutex::default(), WorkerTotals::default(), Mutex::default());
        Self(Arc::new(Inner { level, worker, meter, totals, shards }))
    }

    /// The facts of a shard, made at the first call.
    pub fn shard(&self, id: &ShardId) -> ShardFacts {
        let mut shards = lock(&self.0.shards);
        let shard = match shards.get(id) {
            Some(shard) => Arc::clone(shard),
            None => Arc::clone(shards.entry(id.clone()).or_default()),
        };
        drop(shards);
        shard.released.store(false, Ordering::Relaxed);
        ShardFacts { shard, worker: self.clone() }
    }

    /// The shard is no longer this worker's: it leaves the Prometheus page now, and CloudWatch after its last values.
    pub fn release(&self, id: &ShardId) {
        let mut shards = lock(&self.0.shards);
        if self.0.level == MetricsLevel::None {
            // Nobody drains, so nobody would forget it.
            shards.remove(id);
        } else if let Some(shard) = shards.get(id) {
            shard.released.store(true, Ordering::Relaxed);
        }
    }

    /// A round of taking leases has ended.
    pub fn took_leases(&self, round: TakeRound, took: Duration, ok: bool) {
        let totals = &self.0.totals;
        totals.leases_total.store(round.total, Ordering::Relaxed);
        totals.workers.store(round.workers, Ordering::Relaxed);
        totals.leases_needed.store(round.needed, Ordering::Relaxed);
        totals.leases_expired.store(round.expired, Ordering::Relaxed);
        add(&totals.leases_taken, round.taken);
        self.add_all([
            (Metric::TotalLeases, count(round.total)),
            (Metric::NumWorkers, count(round.workers)),
            (Metric::ExpiredLeases, count(round.expired)),
            (Metric::VeryOldLeases, count(round.very_old)),
            (Metric::NeededLeases, count(round.needed)),
            (Metric::LeasesToTake, count(round.to_take)),
            (Metric::TakenLeases, count(round.taken)),
            (Metric::UntakenLeases, count(round.untaken)),
            (Metric::LeaseSpillover, count(round.spillover)),
            (Metric::TakeLeasesSuccess, success(ok)),
            (Metric::TakeLeasesTime, millis(took)),
        ]);
    }

    /// A round of renewing has ended: so many leases are held now, so many were lost in it.
    pub fn renewed_leases(&self, held: u64, lost: u64, took: Duration, ok: bool) {
        self.0.totals.leases_held.store(held, Ordering::Relaxed);
        add(&self.0.totals.leases_lost, lost);
        self.add_all([
            (Metric::CurrentLeases, count(held)),
            (Metric::LostLeases, count(lost)),
            (Metric::RenewAllSuccess, success(ok)),
            (Metric::RenewAllTime, millis(took)),
        ]);
    }

    /// A single call of the lease table has ended.
    pub fn lease_call(&self, call: LeaseCall, took: Duration, ok: bool) {
        let (succeeded, time) = match call {
            LeaseCall::List => (Metric::ListLeasesSuccess, Metric::ListLeasesTime),
            LeaseCall::Take => (Metric::TakeLeaseSuccess, Metric::TakeLeaseTime),
            LeaseCall::Renew => (Metric::RenewLeaseSuccess, Metric::RenewLeaseTime),
            LeaseCall::Create => (Metric::SyncCreateLeaseSuccess, Metric::SyncCreateLeaseTime),
        };
        if call == LeaseCall::Renew {
            self.0.totals.renewals.add(took, ok);
        }
        self.add_all([(succeeded, success(ok)), (time, millis(took))]);
    }

    /// A comparison of the stream's shards with the leases has ended.
    pub fn synced_shards(&self, took: Duration, ok: bool) {
        self.0.totals.shard_syncs.add(took, ok);
        self.add_all([
            (Metric::ShardSyncSuccess, success(ok)),
            (Metric::ShardSyncTime, millis(took)),
            (Metric::SyncShardsSuccess, success(ok)),
        ]);
    }

    /// So many datums reached CloudWatch.
    pub(super) fn put(&self, datums: usize) {
        add(&self.0.totals.datums_put, datums as u64);
    }

    /// So many datums were let go.
    pub(super) fn dropped(&self, datums: usize) {
        add(&self.0.totals.datums_dropped, datums as u64);
    }

    /// Datums that were let go so far.
    pub(super) fn dropped_total(&self) -> u64 {
        self.0.totals.datums_dropped.load(Ordering::Relaxed)
    }

    pub(super) fn worker_totals(&self) -> &WorkerTotals {
        &self.0.totals
    }

    /// The shards that are read now, by id.
    pub(super) fn live_shards(&self) -> Vec<(ShardId, Arc<ShardState>)> {
        let shards = lock(&self.0.shards);
        let live = shards.iter().filter(|(_, shard)| !shard.released.load(Ordering::Relaxed));
        live.map(|(id, shard)| (id.clone(), Arc::clone(shard))).collect()
    }

    /// Takes out everything since the last drain, as the datums of the interval that ends `at` (milliseconds since the epoch).
    pub(crate) fn drain(&self, at: u64) -> Vec<Datum> {
        let mut datums = Vec::new();
        let mut tracker: Option<Statistic> = None;
        let mut shards = lock(&self.0.shards);
        shards.retain(|id, shard| {
            for (metric, statistic) in lock(&shard.meter).drain() {
                if metric == Metric::MillisBehindLatest {
                    // The application's own value is that of all its shards together.
                    match &mut tracker {
                        Some(all) => all.merge(statistic),
                        None => tracker = Some(statistic),
                    }
                }
                datums.push(Datum { metric, dimension: Dimension::Shard(id.text().clone()), statistic, at });
            }
            !shard.released.load(Ordering::Relaxed)
        });
        drop(shards);
        if let Some(statistic) = tracker {
            let metric = Metric::TrackerMillisBehindLatest;
            datums.push(Datum { metric, dimension: Dimension::Application, statistic, at });
        }
        for (metric, statistic) in lock(&self.0.meter).drain() {
            let dimension = match metric.beside() {
                Beside::Worker => Dimension::Worker(self.0.worker.clone()),
                Beside::Nothing | Beside::Shard => Dimension::Application,
            };
            datums.push(Datum { metric, dimension, statistic, at });
        }
        datums
    }

    fn add_all<const N: usize>(&self, values: [(Metric, f64); N]) {
        add_to(self.0.level, &self.0.meter, values);
    }
}

impl ShardFacts {
    /// An answer was taken over: so many user records, so many bytes of payload, so far behind the tip. Also for empty answers.
    pub fn processed(&self, records: u64, bytes: u64, millis_behind: u64) {
        let totals = &self.shard.totals;
        add(&totals.records, records);
        add(&totals.bytes, bytes);
        totals.behind_plus_one.store(millis_behind.saturating_add(1), Ordering::Relaxed);
        self.add_all([
            (Metric::RecordsProcessed, count(records)),
            (Metric::DataBytesProcessed, count(bytes)),
            (Metric::MillisBehindLatest, count(millis_behind)),
        ]);
    }

    /// The records of an answer were handed on, or could not be; `took` is how long the way out made them wait.
    pub fn handed_on(&self, took: Duration, ok: bool) {
        self.add_all([
            (Metric::ProcessRecordsTime, millis(took)),
            (Metric::ProcessSuccess, success(ok)),
            (Metric::ProcessTime, millis(took)),
        ]);
    }

    /// A GetRecords call has ended.
    pub fn get_records(&self, took: Duration, ok: bool) {
        self.shard.totals.get_records.add(took, ok);
        self.add_all([(Metric::GetRecordsSuccess, success(ok)), (Metric::GetRecordsTime, millis(took))]);
    }

    /// A GetShardIterator call has ended.
    pub fn get_shard_iterator(&self, took: Duration, ok: bool) {
        self.add_all([(Metric::GetShardIteratorSuccess, success(ok)), (Metric::GetShardIteratorTime, millis(took))]);
    }

    /// An iterator had expired.
    pub fn expired_iterator(&self) {
        add(&self.shard.totals.expired_iterators, 1);
        self.add_all([(Metric::ExpiredIterator, 1.0)]);
    }

    /// The service asked for patience. Not a metric of the KCL: for the Prometheus page alone.
    pub fn throttled(&self) {
        add(&self.shard.totals.throttled, 1);
    }

    /// A fan-out subscription was opened again. Not a metric of the KCL: for the Prometheus page alone.
    pub fn resubscribed(&self) {
        add(&self.shard.totals.resubscriptions, 1);
    }

    /// A checkpoint was written, or could not be.
    pub fn checkpointed(&self, took: Duration, ok: bool) {
        self.shard.totals.checkpoints.add(took, ok);
        self.add_all([(Metric::UpdateLeaseSuccess, success(ok)), (Metric::UpdateLeaseTime, millis(took))]);
    }

    /// The shard was started.
    pub fn initialized(&self, took: Duration, ok: bool) {
        self.worker.add_all([
            (Metric::InitializeTime, millis(took)),
            (Metric::InitializeTaskSuccess, success(ok)),
            (Metric::InitializeTaskTime, millis(took)),
        ]);
    }

    /// The shard was ended, by its own end or a stop.
    pub fn shut_down(&self, took: Duration, ok: bool) {
        self.worker.add_all([
            (Metric::ShutdownTime, millis(took)),
            (Metric::ShutdownTaskSuccess, success(ok)),
            (Metric::ShutdownTaskTime, millis(took)),
        ]);
    }

    /// The lease of a child was created at the shard's end, or could not be.
    pub fn created_child_lease(&self, took: Duration, ok: bool) {
        self.worker.add_all([(Metric::ShutdownCreateLeaseSuccess, success(ok)), (Metric::ShutdownCreateLeaseTime, millis(took))]);
    }

    /// The leases of the shard's parents were looked at; not `ok` while one is unfinished.
    pub fn looked_at_parents(&self, took: Duration, ok: bool) {
        self.worker.add_all([(Metric::BlockOnParentSuccess, success(ok)), (Metric::BlockOnParentTime, millis(took))]);
    }

    fn add_all<const N: usize>(&self, values: [(Metric, f64); N]) {
        add_to(self.worker.0.level, &self.shard.meter, values);
    }
}

/// Adds the values that the level wants, under one lock.
fn add_to<const N: usize>(level: MetricsLevel, meter: &Mutex<Meter>, values: [(Metric, f64); N]) {
    if level == MetricsLevel::None {
        return;
    }
    let mut meter = lock(meter);
    for (metric, value) in values {
        if metric.level() <= level {
            meter.add(metric, value);
        }
    }
}

/// A meter is whole after every statement, so a panic elsewhere leaves it usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn add(total: &AtomicU64, more: u64) {
    total.fetch_add(more, Ordering::Relaxed);
}

/// CloudWatch knows only floating point; a count stays exact up to 2^53.
fn count(value: u64) -> f64 {
    value as f64
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

fn success(ok: bool) -> f64 {
    if ok { 1.0 } else { 0.0 }
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
