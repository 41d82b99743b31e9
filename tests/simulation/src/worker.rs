//! One worker of the fleet: takes leases, runs their shards, publishes what they hand on, as the source and the engine do.
//!
//! What it is made of ships; only the loop that decides when to take a lease is its own, so that a run can order it to steal.

use crate::life::Life;
use crate::network::Cluster;
use crate::shard::Stream;
use crate::table::Tables;
use crate::world::{World, lock};
use connector_kinesis::config::{InitialPosition, MetricsLevel, Settings};
use connector_kinesis::coordinator::ShardEnd;
use connector_kinesis::ids::ShardId;
use connector_kinesis::lease::{Claimant, HeldLease, Lease, LeaseTable, StoreError, StreamMark, Taken, Worker as Identification};
use connector_kinesis::metrics::Facts;
use connector_kinesis::port::StreamDescription;
use connector_kinesis::simulation::{Batches, Shards};
use connector_pulsar::{
    BatchingConfig, ClientConfig, Compression, ExactlyOnce, ProducerConfig, Publisher, PublisherSettings, SchemaConfig,
};
use connector_sdk::{ByteBudget, Clock, Error, Failures, Guarantee, Identity, Lineages, OnRecordError, Random, Sink, SourceContext, Task};
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

/// The topic of every run.
pub const TOPIC: &str = "persistent://public/default/orders";

/// What all workers of a run share.
#[derive(Clone)]
pub struct Surroundings {
    /// Time, randomness, notes.
    pub world: World,
    /// The broker and the network to it.
    pub cluster: Cluster,
    /// The lease table.
    pub tables: Tables,
    /// The shards to read.
    pub stream: Stream,
    /// The source's settings.
    pub settings: Arc<Settings>,
    /// What is promised.
    pub guarantee: Guarantee,
    /// What is done with a record that cannot be stored.
    pub on_record_error: OnRecordError,
    /// Records of a batch, at most.
    pub batch_messages: u32,
    /// Payload bytes of a batch, at most.
    pub batch_bytes: u32,
    /// A lease that is not renewed for this long is free.
    pub failover: Duration,
}

/// Who a worker is.
#[derive(Debug, Clone)]
pub struct WorkerPlan {
    /// Its name, which no other ever has.
    pub name: String,
    /// Its instance number.
    pub instance: u32,
    /// How wrong its wall clock is, in milliseconds.
    pub skew: i64,
    /// Whether it goes on where it cannot know what is stored.
    pub accept_duplicates: bool,
}

/// A worker that was started.
pub struct Worker {
    name: String,
    life: Life,
    shared: Arc<Shared>,
    task: Option<Task<()>>,
}

struct Shared {
    stop: watch::Sender<Option<Instant>>,
    /// Shards to be stolen.
    steal: Mutex<BTreeSet<ShardId>>,
    steal_bell: Notify,
    /// What it said it cannot go on with.
    said: Mutex<Vec<String>>,
    /// Leases it holds.
    holds: Mutex<BTreeMap<ShardId, Arc<HeldLease>>>,
}

impl Worker {
    /// Starts a worker.
    pub fn start(around: &Surroundings, plan: WorkerPlan) -> Self {
        around.world.note(|| format!("{} starts", plan.name));
        let life = Life::new(&around.world, &plan.name);
        let shared = Arc::new(Shared {
            stop: watch::Sender::new(None),
            steal: Mutex::default(),
            steal_bell: Notify::new(),
            said: Mutex::default(),
            holds: Mutex::default(),
        });
        let name = plan.name.clone();
        let random = around.world.fork();
        let body = Body { around: around.clone(), plan, life: life.clone(), shared: Arc::clone(&shared), random };
        let task = Task::spawn(name.clone(), body.run());
        Self { name, life, shared, task: Some(task) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it lives; and when it dies of itself.
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// It is gone between two instructions. What it wrote is on its way.
    pub fn crash(&mut self) {
        self.life.end();
        self.task = None;
        lock(&self.shared.holds).clear();
    }

    /// Stops in order, within the time.
    pub async fn stop(&mut self, patience: Duration) {
        self.shared.stop.send_replace(Some(Instant::now() + patience));
        if let Some(task) = &mut self.task {
            tokio::select! {
                biased;
                // A worker that has panicked has ended too: the run's oracle sees what it left.
                _ended = task.join() => {}
                () = self.life.died() => {}
            }
        }
        self.crash();
    }

    /// Asks it to stop, without waiting.
    pub fn ask_to_stop(&self, patience: Duration) {
        self.shared.stop.send_replace(Some(Instant::now() + patience));
    }

    /// Takes the lease of a shard from whoever has it.
    pub fn steal(&self, shard: &ShardId) {
        lock(&self.shared.steal).insert(shard.clone());
        self.shared.steal_bell.notify_waiters();
    }

    /// Whether it runs.
    pub fn is_alive(&self) -> bool {
        !self.life.is_over() && self.task.as_ref().is_some_and(|task| !task.is_finished())
    }

    /// What it said it cannot go on with.
    pub fn said(&self) -> Vec<String> {
        lock(&self.shared.said).clone()
    }

    /// Shards whose leases it holds.
    pub fn holds(&self) -> Vec<ShardId> {
        lock(&self.shared.holds).keys().cloned().collect()
    }
}

struct Body {
    around: Surroundings,
    plan: WorkerPlan,
    life: Life,
    shared: Arc<Shared>,
    random: Random,
}

impl Body {
    async fn run(self) {
        let table = self.around.tables.of(&self.plan.name, &self.life);
        let mut stop = self.shared.stop.subscribe();
        loop {
            let ended = self.live(&table).await;
            lock(&self.shared.holds).clear();
            match ended {
                Ok(()) => return self.around.world.note(|| format!("{} has stopped", self.plan.name)),
                Err(error) => {
                    self.around.world.note(|| format!("{} failed: {error}", self.plan.name));
                    tokio::select! {
                        biased;
                        () = asked(&mut stop) => return,
                        () = sleep(Duration::from_secs(1)) => {}
                    }
                }
            }
        }
    }

    /// One life of the instance: open, flow, and an end in order when a stop is asked for.
    async fn live(&self, table: &Arc<dyn LeaseTable>) -> Result<(), Error> {
        let around = &self.around;
        let mut stop = self.shared.stop.subscribe();
        let lineages = Lineages::default();
        let network = around.cluster.network(&self.plan.name, &self.life);
        let connecting = connector_pulsar::simulation::connect(self.publisher_settings(&lineages), network);
        let mut publisher = tokio::select! {
            biased;
            opened = connecting => opened?,
            () = asked(&mut stop) => return Ok(()),
        };
        let failures = Arc::new(Mutex::new(Vec::new()));
        let (shards, mut batches) = self.shards(&lineages, &failures);
        let claimant =
            Claimant::measured(Arc::clone(table), self.identification(), Facts::new(MetricsLevel::None, "simulated"), self.clock());
        let stage = watch::Sender::new(None);
        let kept = Notify::new();
        let result = {
            let keepers = async {
                let keeping = around.stream.shards().keys().map(|shard| self.keep(shard, &claimant, &shards, stage.subscribe()));
                join_all(keeping).await;
                kept.notify_one();
                std::future::pending::<()>().await;
            };
            let flow = self.flow(&shards, &mut batches, &mut publisher, &stage, &kept);
            tokio::select! {
                biased;
                result = flow => result,
                () = keepers => Ok(()),
            }
        };
        publisher.close(Instant::now() + Duration::from_secs(1)).await;
        result
    }

    /// Moves batches until a stop, then ends in the engine's order.
    async fn flow(
        &self,
        shards: &Shards,
        batches: &mut Batches,
        publisher: &mut Publisher,
        stage: &watch::Sender<Option<Instant>>,
        kept: &Notify,
    ) -> Result<(), Error> {
        let mut stop = self.shared.stop.subscribe();
        loop {
            let batch = tokio::select! {
                biased;
                () = asked(&mut stop) => break,
                batch = batches.next() => batch,
            };
            let Some(batch) = batch else { break };
            self.hear(shards);
            tokio::select! {
                biased;
                written = Sink::write(publisher, batch) => written?,
                () = asked(&mut stop) => break,
            }
        }
        let deadline = (*stop.borrow()).unwrap_or_else(Instant::now);
        self.around.world.note(|| format!("{} stops", self.plan.name));
        shards.wind_down();
        batches.clear();
        let patience = deadline - deadline.saturating_duration_since(Instant::now()) / 2;
        // Receipts that do not come in time are counted by the source.
        let _in_time = timeout_at(patience, publisher.flush()).await;
        self.hear(shards);
        stage.send_replace(Some(deadline));
        let _given_away = timeout_at(deadline + Duration::from_secs(1), kept.notified()).await;
        Ok(())
    }

    /// Holds the lease of a shard whenever it can be had, and runs the shard under it.
    async fn keep(&self, shard: &ShardId, claimant: &Arc<Claimant>, shards: &Shards, mut stage: watch::Receiver<Option<Instant>>) {
        loop {
            let lease = tokio::select! {
                biased;
                _stopping = asked(&mut stage) => return,
                lease = self.acquire(shard, claimant) => lease,
            };
            let Some(lease) = lease else { return };
            self.around.world.note(|| format!("{} holds {shard}: {}", self.plan.name, lease.attribute().text()));
            lock(&self.shared.holds).insert(shard.clone(), Arc::clone(&lease));
            let finished = self.hold(&lease, shards, &mut stage).await;
            lock(&self.shared.holds).remove(shard);
            self.around.world.note(|| format!("{} does not hold {shard} any more", self.plan.name));
            if finished {
                return;
            }
        }
    }

    /// Runs the shard while the lease is held. True: it is not to be taken again.
    async fn hold(&self, lease: &Arc<HeldLease>, shards: &Shards, stage: &mut watch::Receiver<Option<Instant>>) -> bool {
        let period = self.around.failover / 3;
        let mut running = shards.start(Arc::clone(lease));
        let mut renew_at = Instant::now() + period;
        loop {
            tokio::select! {
                biased;
                () = asked(stage) => {
                    let deadline = (*stage.borrow()).unwrap_or_else(Instant::now);
                    running.stop(deadline).await;
                    self.hear(shards);
                    while let Err(StoreError::Failed(_)) = lease.give_away().await {
                        if Instant::now() >= deadline {
                            break;
                        }
                        sleep(Duration::from_millis(100)).await;
                    }
                    return true;
                }
                end = running.ended() => match end {
                    ShardEnd::Finished => return true,
                    ShardEnd::LeaseLost => return false,
                    ShardEnd::Failed(error) => {
                        self.say(error.to_string(), error.kind().ends_a_start());
                        // The lease stays: renewed while the shard waits for its next attempt.
                        if self.renew_for(lease, Duration::from_secs(1)).await.is_err() {
                            return false;
                        }
                        running = shards.start(Arc::clone(lease));
                    }
                },
                () = lease.fence().fallen() => return false,
                () = sleep_until(lease.valid_until()) => {
                    lease.check_expiry(Instant::now());
                }
                () = sleep_until(renew_at) => {
                    renew_at = Instant::now() + period;
                    self.hear(shards);
                    // What is not known to be lost is tried again, until its time is over.
                    if let Ok(Err(StoreError::Lost)) = timeout(period, lease.renew()).await {
                        return false;
                    }
                }
            }
        }
    }

    async fn renew_for(&self, lease: &Arc<HeldLease>, pause: Duration) -> Result<(), ()> {
        sleep(pause).await;
        match lease.renew().await {
            Err(StoreError::Lost) => Err(()),
            Ok(()) | Err(StoreError::Failed(_)) => Ok(()),
        }
    }

    /// Waits for the lease: at once when it is nobody's or to be stolen, else when it stood still for the failover time.
    async fn acquire(&self, shard: &ShardId, claimant: &Arc<Claimant>) -> Option<Arc<HeldLease>> {
        let mut seen: Option<(Lease, Instant)> = None;
        loop {
            let now = Instant::now();
            if let Ok(Some(row)) = claimant.table().get(shard).await {
                if row.is_finished() {
                    return None;
                }
                let unmoved = seen.as_ref().filter(|(before, _)| before.counter == row.counter && before.owner == row.owner);
                let since = unmoved.map_or(now, |(_, since)| *since);
                let is_free = row.owner.is_none() || since + self.around.failover <= now;
                let steals = !is_free && lock(&self.shared.steal).remove(shard);
                seen = Some((row.clone(), since));
                if is_free || steals {
                    let taken = if steals { claimant.steal(&row, None, None).await } else { claimant.take(&row, None, None).await };
                    match taken {
                        Ok(Taken::Held(lease)) => return Some(lease),
                        Ok(Taken::Finished) => return None,
                        Ok(Taken::Refused) | Err(_) => seen = None,
                    }
                }
            }
            tokio::select! {
                biased;
                () = self.shared.steal_bell.notified() => {}
                () = sleep(Duration::from_millis(300 + self.random.below(400))) => {}
            }
        }
    }

    /// Takes note of shards that stand still.
    fn hear(&self, shards: &Shards) {
        for parked in shards.parked() {
            self.say(format!("{} at {}: {}", parked.partition, parked.record, parked.reason), true);
        }
    }

    fn say(&self, sentence: String, for_good: bool) {
        let mut said = lock(&self.shared.said);
        if !said.contains(&sentence) {
            self.around.world.note(|| format!("{} says: {sentence}", self.plan.name));
            if for_good {
                said.push(sentence);
            }
        }
    }

    /// The clock by which rights expire.
    fn uptime(&self) -> Clock {
        self.around.world.clock(0)
    }

    fn clock(&self) -> Clock {
        self.around.world.clock(self.plan.skew)
    }

    fn identity(&self) -> Identity {
        let tenant = "public".into();
        Identity { tenant, namespace: "default".into(), name: "orders".into(), instance: self.plan.instance, instances: 4 }
    }

    fn identification(&self) -> Identification {
        Identification {
            id: self.plan.name.as_str().into(),
            writer: "public/default/orders".into(),
            stream: StreamMark { arn: "arn:orders".into(), created_at: 1 },
            topic: TOPIC.into(),
            failover: self.around.failover,
            initial_position: InitialPosition::TrimHorizon,
            write_prefix: self.random.name(12),
            guarantee: self.around.guarantee,
            uptime: self.uptime(),
        }
    }

    fn shards(&self, lineages: &Lineages, failures: &Arc<Mutex<Vec<String>>>) -> (Shards, Batches) {
        let failures = Arc::clone(failures);
        let (world, name) = (self.around.world.clone(), self.plan.name.clone());
        let context = SourceContext {
            identity: self.identity(),
            guarantee: self.around.guarantee,
            destination: TOPIC.into(),
            budget: ByteBudget::new(4 << 20),
            failures: Failures::to(move |error| {
                world.note(|| format!("{name} tells: {error}"));
                lock(&failures).push(error.to_string());
            }),
            lineages: lineages.clone(),
            clock: self.clock(),
            uptime: self.uptime(),
            random: self.random.clone(),
        };
        let stream =
            StreamDescription { name: "orders".into(), arn: "arn:orders".into(), created_at: 1, retention_hours: 24, answered_at: None };
        Shards::new(&self.around.settings, &context, &stream, Arc::new(self.around.stream.clone()))
    }

    fn publisher_settings(&self, lineages: &Lineages) -> PublisherSettings {
        let batching = BatchingConfig {
            enabled: Some(self.around.batch_messages > 1),
            batching_max_messages: Some(self.around.batch_messages),
            batching_max_bytes: Some(self.around.batch_bytes),
            ..BatchingConfig::default()
        };
        PublisherSettings {
            client: ClientConfig::new("pulsar://broker:6650"),
            topic: TOPIC.into(),
            producer: Some(ProducerConfig {
                compression_type: Some(Compression::None),
                batching_config: Some(batching),
                ..ProducerConfig::default()
            }),
            schema: SchemaConfig::default(),
            guarantee: self.around.guarantee,
            exactly_once: (self.around.guarantee == Guarantee::EffectivelyOnce)
                .then(|| ExactlyOnce { lineages: lineages.clone(), accept_duplicates: self.plan.accept_duplicates }),
            on_record_error: self.around.on_record_error,
            dead_letter_topic: None,
            max_pending_bytes: 1 << 20,
            identity: self.identity(),
            clock: self.clock(),
            random: self.random.clone(),
        }
    }
}

/// Waits until a time is said.
async fn asked(stop: &mut watch::Receiver<Option<Instant>>) {
    if stop.wait_for(Option::is_some).await.is_err() {
        // Nobody is left to ask.
        std::future::pending::<()>().await;
    }
}
