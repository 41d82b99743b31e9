//! A stream, its records and its readers, played: each reader publishes and stores one record after the other, and the world
//! judges what it sees.

use crate::config::{Application, BillingMode, InitialPosition, LeaseSettings, MetricsLevel};
use crate::coordinator::{
    Coordinator, CoordinatorDeps, CoordinatorSettings, RunningShard, ShardEnd, ShardRunner, Stopped, worker_identifier,
};
use crate::ids::{Checkpoint, HashRange, Position, SequenceNumber, ShardId};
use crate::lease::{HeldLease, LeaseTable, MemoryTable, Numbering, Progress, StoreError};
use crate::metrics::Facts;
use crate::port::{ChildShard, Shard, ShardFilter, ShardList, StreamApi, StreamDescription};
use connector_sdk::{ByteString, Clock, Error, Failures, Guarantee, Identity, Random};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::{Instant, sleep};

pub(super) const FAILOVER: Duration = Duration::from_secs(10);
/// The service's clock.
pub(super) const NOW: u64 = 1_700_000_000_000;

/// The stream and what became of its records.
#[derive(Default)]
pub(super) struct Stream(Mutex<State>);

#[derive(Default)]
struct State {
    shards: BTreeMap<ShardId, Played>,
    /// Worker and shard: running now.
    running: BTreeSet<(ByteString, ShardId)>,
    /// Shards that fail when they start, with how often yet.
    failing: HashMap<ShardId, u32>,
    starts: Vec<(Instant, ByteString, ShardId)>,
    /// Workers that run a shard which its owner before may not know to be lost.
    thieves: BTreeSet<ByteString>,
    faults: Vec<String>,
    /// Where it is looked up whose a lease is.
    table: Option<Arc<MemoryTable>>,
    /// Since when a worker publishes from a shard whose lease is not its own.
    not_ours_since: HashMap<(ByteString, ShardId), Instant>,
    created_at: u64,
    listing_fails: bool,
    /// Where the service's clock runs: from `NOW` on since then.
    clock_runs_since: Option<Instant>,
}

struct Played {
    shard: Shard,
    /// Records in it, once it is closed.
    length: Option<u64>,
    children: Vec<ChildShard>,
    published: u64,
    stored: u64,
}

impl Stream {
    /// Open shards that share the hash keys evenly.
    pub(super) fn with_shards(count: u128) -> Arc<Self> {
        let stream = Arc::new(Self::default());
        stream.state().created_at = 1_000;
        let width = u128::MAX / count;
        for index in 0..count {
            let end = if index + 1 == count { u128::MAX } else { (index + 1) * width - 1 };
            stream.add(&[], HashRange { start: index * width, end });
        }
        stream
    }

    pub(super) fn recreate(&self) {
        self.state().created_at += 60_000;
    }

    /// The service's clock goes on from now on.
    pub(super) fn run_clock(&self) {
        self.state().clock_runs_since = Some(Instant::now());
    }

    fn service_now(&self) -> u64 {
        NOW + self.state().clock_runs_since.map_or(0, |since| u64::try_from(since.elapsed().as_millis()).unwrap())
    }

    /// From now on nobody may list the shards, or everybody may again.
    pub(super) fn fail_listings(&self, fail: bool) {
        self.state().listing_fails = fail;
    }

    fn add(&self, parents: &[ShardId], range: HashRange) -> ShardId {
        let mut state = self.state();
        let number = state.shards.len();
        let id = ShardId::from(format!("shardId-{number:012}"));
        let shard = Shard {
            id: id.clone(),
            range,
            parent: parents.first().cloned(),
            adjacent_parent: parents.get(1).cloned(),
            starts_at: SequenceNumber::parse((number * 1_000_000).to_string()).unwrap(),
            closed: false,
        };
        let played = Played { shard, length: None, children: Vec::new(), published: 0, stored: 0 };
        state.shards.insert(id.clone(), played);
        id
    }

    /// Closes the shards and puts new ones in their place: one parent and two children, or the other way.
    pub(super) fn reshard(&self, parents: &[&str], children: usize) -> Vec<ShardId> {
        let parents: Vec<ShardId> = parents.iter().map(|parent| ShardId::from(*parent)).collect();
        let (start, end) = {
            let state = self.state();
            let ranges: Vec<HashRange> = parents.iter().map(|parent| state.shards[parent].shard.range).collect();
            (ranges.iter().map(|range| range.start).min().unwrap(), ranges.iter().map(|range| range.end).max().unwrap())
        };
        let middle = start + (end - start) / 2;
        let ranges = match children {
            1 => vec![HashRange { start, end }],
            _ => vec![HashRange { start, end: middle }, HashRange { start: middle + 1, end }],
        };
        let ids: Vec<ShardId> = ranges.iter().map(|range| self.add(&parents, *range)).collect();
        let named: Vec<ChildShard> =
            ids.iter().zip(&ranges).map(|(id, range)| ChildShard { id: id.clone(), parents: parents.clone(), range: *range }).collect();
        let mut state = self.state();
        for parent in &parents {
            let played = state.shards.get_mut(parent).unwrap();
            played.shard.closed = true;
            // What is in it is what was published and a little more.
            played.length = Some(played.published + 2);
            played.children = named.clone();
        }
        ids
    }

    /// As if the shard had been read up to this record by somebody before.
    pub(super) fn seed_progress(&self, shard: &str, record: u64) {
        let mut state = self.state();
        let played = state.shards.get_mut(&ShardId::from(shard)).unwrap();
        (played.published, played.stored) = (record, record);
    }

    pub(super) fn fail_starts(&self, shard: &str, times: u32) {
        self.state().failing.insert(shard.into(), times);
    }

    pub(super) fn running_under(&self, worker: &ByteString) -> usize {
        self.state().running.iter().filter(|(name, _)| name == worker).count()
    }

    pub(super) fn running(&self) -> usize {
        self.state().running.len()
    }

    pub(super) fn is_running(&self, shard: &str) -> bool {
        self.state().running.iter().any(|(_, id)| id.as_str() == shard)
    }

    /// Whether everything in it is out and nobody reads it any more.
    pub(super) fn is_finished(&self, shard: &str) -> bool {
        let all_out = {
            let played = &self.state().shards[&ShardId::from(shard)];
            played.length == Some(played.published)
        };
        all_out && !self.is_running(shard)
    }

    /// Whether the worker runs a shard that was taken from a living owner.
    pub(super) fn has_stolen(&self, worker: &ByteString) -> bool {
        self.state().thieves.contains(worker)
    }

    pub(super) fn published(&self, shard: &str) -> u64 {
        self.state().shards[&ShardId::from(shard)].published
    }

    pub(super) fn starts_of(&self, shard: &str) -> Vec<Instant> {
        self.state().starts.iter().filter(|(_, _, id)| id.as_str() == shard).map(|(at, _, _)| *at).collect()
    }

    /// Panics with what was seen that must never happen.
    pub(super) fn assert_sound(&self) {
        let faults = self.state().faults.clone();
        assert!(faults.is_empty(), "{faults:#?}");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn begin(&self, worker: &ByteString, shard: &ShardId, from: u64) {
        let mut state = self.state();
        state.starts.push((Instant::now(), worker.clone(), shard.clone()));
        state.running.insert((worker.clone(), shard.clone()));
        let parents: Vec<ShardId> = state.shards[shard].shard.parents().cloned().collect();
        for parent in parents {
            let Played { length, published, stored, .. } = &state.shards[&parent];
            if *length != Some(*published) || published != stored {
                let fault = format!("{shard} started at {stored} stored and {published} published of {length:?} records of {parent}");
                state.faults.push(fault);
            }
        }
        let played = state.shards.get_mut(shard).unwrap();
        let (stored, published) = (played.stored, played.published);
        // A store whose reply was lost is known from here on.
        played.stored = stored.max(from);
        if from > published {
            state.faults.push(format!("{shard} begins after {from}, and only {published} went out"));
        }
        if from < stored {
            state.faults.push(format!("{shard} begins at {from}, and {stored} was stored"));
        }
    }

    fn end(&self, worker: &ByteString, shard: &ShardId) {
        self.state().running.remove(&(worker.clone(), shard.clone()));
    }

    /// The next record of a shard goes out. None when there is none left.
    fn publish(&self, worker: &ByteString, shard: &ShardId, after: u64) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.state();
        let played = state.shards.get_mut(shard).unwrap();
        let record = after + 1;
        if played.length.is_some_and(|length| record > length) {
            return None;
        }
        let mut fault = None;
        if record > played.published + 1 {
            fault = Some(format!("{shard}: {record} goes out after {}: a record is lost", played.published));
        }
        played.published = played.published.max(record);
        // A worker that lost its lease to another may go on until it learns of it, and no longer.
        let owned =
            state.table.as_ref().and_then(|table| table.lease(shard.as_str())).is_some_and(|row| row.owner.as_ref() == Some(worker));
        let key = (worker.clone(), shard.clone());
        if owned {
            state.not_ours_since.remove(&key);
        } else {
            let beyond = now.duration_since(*state.not_ours_since.entry(key).or_insert(now));
            if beyond > FAILOVER {
                fault = Some(format!("{shard}: {worker} still publishes, {} ms after the lease was another's", beyond.as_millis()));
            }
        }
        state.faults.extend(fault);
        Some(record)
    }

    fn stored(&self, shard: &ShardId, record: u64) {
        let mut state = self.state();
        let played = state.shards.get_mut(shard).unwrap();
        if record < played.stored {
            let fault = format!("{shard}: {record} is stored after {}", played.stored);
            state.faults.push(fault);
            return;
        }
        played.stored = record;
    }

    fn finish(&self, shard: &ShardId) {
        let mut state = self.state();
        let played = state.shards.get_mut(shard).unwrap();
        if played.length != Some(played.published) {
            let fault = format!("{shard} is finished with {} of {:?} records", played.published, played.length);
            state.faults.push(fault);
        }
    }

    fn children(&self, shard: &ShardId) -> Vec<ChildShard> {
        self.state().shards[shard].children.clone()
    }
}

impl StreamApi for Stream {
    fn describe(&self) -> BoxFuture<'_, Result<StreamDescription, Error>> {
        let answered_at = Some(self.service_now());
        let description = StreamDescription {
            name: "orders".into(),
            arn: "arn:aws:kinesis:eu-west-1:123456789012:stream/orders".into(),
            created_at: self.state().created_at,
            retention_hours: 24,
            answered_at,
        };
        async move { Ok(description) }.boxed()
    }

    fn list_shards(&self, filter: ShardFilter) -> BoxFuture<'_, Result<ShardList, Error>> {
        if matches!(filter, ShardFilter::AtTimestamp(moment) if moment > self.service_now()) {
            return async { Err(Error::configuration("the timestamp lies in the future")) }.boxed();
        }
        if self.state().listing_fails {
            return async { Err(Error::transient("the listing was told to fail")) }.boxed();
        }
        let mut shards: Vec<Shard> = self.state().shards.values().map(|played| played.shard.clone()).collect();
        shards.retain(|shard| match filter {
            ShardFilter::All => true,
            ShardFilter::AtLatest => !shard.closed,
            ShardFilter::AtTrimHorizon | ShardFilter::AtTimestamp(_) => shard.parent.is_none(),
        });
        let list = ShardList { shards, answered_at: Some(self.service_now()) };
        async move { Ok(list) }.boxed()
    }
}

/// Starts readers for one worker.
struct Readers {
    stream: Arc<Stream>,
    worker: ByteString,
}

struct Reader {
    stream: Arc<Stream>,
    worker: ByteString,
    lease: Arc<HeldLease>,
    position: u64,
    unstored: bool,
    fails: bool,
}

impl ShardRunner for Readers {
    fn start(&self, lease: Arc<HeldLease>) -> Box<dyn RunningShard> {
        let position = match lease.checkpoint() {
            Checkpoint::At(position) => position.sequence.as_str().parse().unwrap(),
            _ => 0,
        };
        let fails = {
            let mut state = self.stream.state();
            let left = state.failing.get_mut(lease.shard());
            left.is_some_and(|left| {
                let fails = *left > 0;
                *left = left.saturating_sub(1);
                fails
            })
        };
        self.stream.begin(&self.worker, lease.shard(), position);
        if lease.doubt_from().is_some() {
            self.stream.state().thieves.insert(self.worker.clone());
        }
        Box::new(Reader { stream: Arc::clone(&self.stream), worker: self.worker.clone(), lease, position, unstored: false, fails })
    }
}

impl Reader {
    async fn store(&mut self) -> Result<(), StoreError> {
        let sequence = SequenceNumber::parse(self.position.to_string()).unwrap();
        let checkpoint = Checkpoint::At(Position { sequence, sub: 0 });
        let numbering = Some(Numbering { epoch: 1, ordinal: self.position });
        let progress = Progress { checkpoint, numbering, exact: None, caught_up_at: None, start: None };
        self.lease.store(progress).await?;
        self.unstored = false;
        self.stream.stored(self.lease.shard(), self.position);
        Ok(())
    }
}

impl RunningShard for Reader {
    fn ended(&mut self) -> BoxFuture<'_, ShardEnd> {
        async move {
            if self.fails {
                return ShardEnd::Failed(Error::transient("the reader was told to fail"));
            }
            loop {
                sleep(Duration::from_millis(400)).await;
                if self.lease.fence().has_fallen() {
                    return ShardEnd::LeaseLost;
                }
                // A record at a time: nothing goes out beyond one that is not stored yet.
                if !self.unstored {
                    match self.stream.publish(&self.worker, self.lease.shard(), self.position) {
                        Some(record) => {
                            self.position = record;
                            self.unstored = true;
                        }
                        None => {
                            let children = self.stream.children(self.lease.shard());
                            match self.lease.finish(&children).await {
                                Ok(()) => {
                                    self.stream.finish(self.lease.shard());
                                    return ShardEnd::Finished;
                                }
                                Err(StoreError::Lost) => return ShardEnd::LeaseLost,
                                Err(StoreError::Failed(_)) => continue,
                            }
                        }
                    }
                }
                if let Err(StoreError::Lost) = self.store().await {
                    return ShardEnd::LeaseLost;
                }
            }
        }
        .boxed()
    }

    fn stop(&mut self, _deadline: Instant) -> BoxFuture<'_, Stopped> {
        async move {
            for _ in 0..20 {
                if !self.unstored || self.store().await.is_ok() || self.lease.fence().has_fallen() {
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
            Stopped { beyond_checkpoint: u64::from(self.unstored) }
        }
        .boxed()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stream.end(&self.worker, self.lease.shard());
    }
}

/// A worker to start.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) stream: Arc<Stream>,
    pub(super) table: Arc<dyn LeaseTable>,
    pub(super) name: &'static str,
    pub(super) initial_position: InitialPosition,
    pub(super) default_application: bool,
    pub(super) worker_identifier: Option<&'static str>,
    pub(super) max_leases: u32,
    pub(super) topic: &'static str,
    pub(super) seed: u64,
    /// What this machine's clock says.
    pub(super) local_clock: u64,
    pub(super) facts: Option<Facts>,
    pub(super) failures: Failures,
}

impl Setup {
    pub(super) fn new(stream: &Arc<Stream>, table: &Arc<MemoryTable>) -> Self {
        stream.state().table = Some(Arc::clone(table));
        Self {
            stream: Arc::clone(stream),
            table: Arc::clone(table) as Arc<dyn LeaseTable>,
            name: "orders",
            initial_position: InitialPosition::TrimHorizon,
            default_application: false,
            worker_identifier: None,
            max_leases: u32::MAX,
            topic: "persistent://public/default/orders",
            seed: 1,
            local_clock: NOW,
            facts: None,
            failures: Failures::unheard(),
        }
    }

    /// Another process: other random numbers.
    pub(super) fn seeded(&self, seed: u64) -> Self {
        Self { seed, ..self.clone() }
    }

    pub(super) async fn start(&self) -> Result<(ByteString, Coordinator), Error> {
        let random = Random::seeded(self.seed);
        let identity = Identity { tenant: "public".into(), namespace: "default".into(), name: self.name.into(), instance: 0, instances: 1 };
        let worker = worker_identifier(&identity, self.worker_identifier, &random);
        let local_clock = self.local_clock;
        let runner = Readers { stream: Arc::clone(&self.stream), worker: worker.clone() };
        let deps = CoordinatorDeps {
            stream: Arc::clone(&self.stream) as Arc<dyn StreamApi>,
            table: Arc::clone(&self.table),
            runner: Arc::new(runner),
            identity,
            clock: Clock::from_fn(move || local_clock),
            uptime: Clock::uptime(),
            random,
            facts: self.facts.clone().unwrap_or_else(|| Facts::new(MetricsLevel::None, worker.clone())),
            failures: self.failures.clone(),
        };
        let settings = CoordinatorSettings {
            worker: worker.clone(),
            application: Application { name: "app".to_owned(), is_default: self.default_application },
            initial_position: self.initial_position,
            leases: LeaseSettings {
                table_name: "app".to_owned(),
                worker_identifier: None,
                failover_time: FAILOVER,
                shard_sync_interval: Duration::from_secs(60),
                parent_shard_poll_interval: Duration::from_secs(10),
                max_leases_for_worker: self.max_leases,
                max_leases_to_steal_at_one_time: 1,
                cleanup_leases_upon_shard_completion: true,
                consistent_reads: false,
                billing_mode: BillingMode::PayPerRequest,
            },
            topic: self.topic.into(),
            guarantee: Guarantee::AtLeastOnce,
        };
        Ok((worker, Coordinator::prepare(deps, settings).await?.begin()))
    }
}

/// Waits, by paused time, until something is so.
pub(super) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(900);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

pub(super) fn new_table() -> Arc<MemoryTable> {
    Arc::new(MemoryTable::new("app"))
}

pub(super) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}
