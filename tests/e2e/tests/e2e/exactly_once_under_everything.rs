//! Everything at once, for minutes: hosts and the broker are killed at random, leases move, shards are split and merged, the topic gains partitions, is
//! unloaded, and its size limit is lowered and raised. Then every record that was put is compared with everything that is in the topic.
//!
//! `EXACTLY_ONCE_MINUTES` says for how long (2 when not given), `EXACTLY_ONCE_SEED` chooses what is done; what happens meanwhile is up to the machine.
//! The size limit is a policy of the topic itself, which makes a broker forget numbers whenever it loads the topic.
//! `EXACTLY_ONCE_JSON` and `EXACTLY_ONCE_MARKDOWN` name files that the figures are written into, the second one between its two marks.

mod report;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use local_aws::NewRecord;
use serde_json::json;

use crate::harness::broker::{self, Broker};
use crate::harness::namespace::Namespace;
use crate::harness::source::{Setup, Source};
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;
use report::Report;

/// Records a second.
const RATE: usize = 200;
const KEYS: usize = 300;
/// Host processes at most; each runs two instances.
const HOSTS: usize = 3;
const OPEN_SHARDS: usize = 6;
const PARTITIONS: u32 = 6;
/// Bytes of an entry that the topic takes while its limit is lowered: more than a batch, less than a large record.
const LOW: usize = 30_000;
const HIGH: usize = 5 * 1024 * 1024;
/// For what is left when nothing is disturbed any more.
const PATIENCE: Duration = Duration::from_secs(240);

struct World {
    random: fastrand::Rng,
    broker: &'static Broker,
    stream: Stream,
    topic: Topic,
    setup: Setup,
    hosts: Vec<Source>,
    lowered: bool,
    growths: usize,
    report: Report,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_under_everything() {
    let given = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("`{name}` is no number")));
    let seed = given("EXACTLY_ONCE_SEED").unwrap_or(1);
    let minutes = given("EXACTLY_ONCE_MINUTES").unwrap_or(2);
    println!("EXACTLY_ONCE_SEED={seed} EXACTLY_ONCE_MINUTES={minutes}");
    let (broker, _alone) = broker::breakable().await;
    let mut world = World::new(broker, seed, minutes).await;
    let feed = Feed::start(&world.stream, seed);
    world.start_host().await;
    world.start_host().await;
    let until = Instant::now() + Duration::from_secs(minutes * 60);
    while Instant::now() < until {
        let pause = world.random.u64(200..2_500);
        world.rest(Duration::from_millis(pause)).await;
        world.disturb().await;
    }
    let put = feed.stop().await;
    world.end(put).await;
}

impl World {
    async fn new(broker: &'static Broker, seed: u64, minutes: u64) -> Self {
        let namespace = Namespace::with_deduplication(broker).await;
        let stream = Stream::start(3).await;
        let topic = namespace.partitioned("everything", 2).await;
        let setup = Setup::exactly_once(&stream, &topic)
            .top("parallelism", 2)
            .top("producerConfig", json!({ "batchingConfig": { "batchingMaxBytes": 16_000 } }))
            .metrics();
        Self {
            random: fastrand::Rng::with_seed(seed),
            broker,
            stream,
            topic,
            setup,
            hosts: Vec::new(),
            lowered: false,
            growths: 0,
            report: Report::of(seed, minutes),
        }
    }

    async fn start_host(&mut self) {
        let host = self.setup.start().await;
        self.hosts.push(host);
        self.report.starts += 1;
    }

    /// Lets time pass, and looks how many shards stand still meanwhile.
    async fn rest(&mut self, time: Duration) {
        let (began, looked) = (Instant::now(), Duration::from_millis(250));
        while began.elapsed() < time {
            let mut parked = 0.0;
            for host in &self.hosts {
                parked += host.metric("pulsar_connect_parked_partitions").await;
            }
            tokio::time::sleep(looked).await;
            self.report.stood_still_seconds += parked * looked.as_secs_f64();
        }
        for host in &mut self.hosts {
            assert!(host.runs(), "a host ended by itself:\n{}", host.log());
        }
    }

    async fn disturb(&mut self) {
        // Not for long: the shards with large records stand still meanwhile.
        if self.lowered && self.random.u8(..3) == 0 {
            return self.move_the_limit().await;
        }
        match self.random.u8(0..26) {
            0..8 => self.kill_a_host().await,
            8..11 => self.add_or_stop_a_host().await,
            11..13 => self.kill_the_broker().await,
            13..14 => self.pause_the_broker().await,
            14..17 => self.unload().await,
            17..21 => {
                let open = self.stream.local.kinesis(|kinesis| kinesis.describe(&self.stream.name).unwrap().open_shards().count());
                let split = open < 2 || (open < OPEN_SHARDS && self.random.bool());
                self.report.reshards += usize::from(self.stream.reshard(&mut self.random, split));
            }
            21..24 => self.move_the_limit().await,
            _ if self.topic.partitions < PARTITIONS => {
                self.topic.grow(self.topic.partitions + 1).await;
                self.growths += 1;
            }
            _ => self.kill_a_host().await,
        }
    }

    async fn unload(&mut self) {
        self.topic.unload().await;
        self.report.unloads += 1;
    }

    async fn kill_a_host(&mut self) {
        if self.hosts.is_empty() {
            return self.start_host().await;
        }
        let host = self.hosts.swap_remove(self.random.usize(..self.hosts.len()));
        self.report.read(&host.log());
        host.kill_nine().await;
        self.report.kills += 1;
        if self.random.u8(..4) > 0 {
            let pause = self.random.u64(0..2_000);
            self.rest(Duration::from_millis(pause)).await;
            self.start_host().await;
        }
    }

    async fn add_or_stop_a_host(&mut self) {
        if self.hosts.len() < HOSTS {
            return self.start_host().await;
        }
        let host = self.hosts.remove(0);
        host.signal("TERM");
        let (code, log) = host.ends(Duration::from_secs(90)).await;
        // With a shard that stands still or a broker that is away not all can be stored in time.
        assert!(code == 0 || code == 3, "it ended with {code}:\n{log}");
        self.report.read(&log);
        self.report.stops += 1;
    }

    async fn kill_the_broker(&mut self) {
        self.broker.kill().await;
        self.report.broker_kills += 1;
        if self.random.bool() {
            self.kill_a_host().await;
        }
        self.broker.up().await;
    }

    async fn pause_the_broker(&mut self) {
        self.broker.signal("pause").await;
        let time = Duration::from_millis(self.random.u64(1_000..12_000));
        self.rest(time).await;
        self.broker.signal("resume").await;
        self.report.broker_pauses += 1;
    }

    /// Lowers the topic's limit; or raises it, and starts again who stands still: only a restart tries a refused record once more.
    async fn move_the_limit(&mut self) {
        self.report.limit_changes += 1;
        self.lowered = !self.lowered;
        self.topic.limit(if self.lowered { LOW } else { HIGH }).await;
        if self.lowered {
            return;
        }
        self.taken_again().await;
        for host in std::mem::take(&mut self.hosts) {
            if host.metric("pulsar_connect_parked_partitions").await == 0.0 {
                self.hosts.push(host);
                continue;
            }
            self.report.read(&host.log());
            host.kill_nine().await;
            self.report.kills += 1;
            self.start_host().await;
        }
    }

    /// Waits until each partition takes large records again: a topic's policy is heard of by one partition after the other.
    async fn taken_again(&self) {
        for part in self.topic.parts() {
            Topic { name: part, partitions: 0, ..self.topic.clone() }.probe_until_taken(2 * LOW).await;
        }
    }

    /// Nothing is disturbed any more: everything has to arrive. Then it is compared.
    async fn end(mut self, put: usize) {
        self.topic.limit(HIGH).await;
        self.taken_again().await;
        for host in std::mem::take(&mut self.hosts) {
            self.report.read(&host.log());
            host.kill_nine().await;
            self.report.kills += 1;
        }
        self.start_host().await;
        let began = Instant::now();
        let follower = self.topic.follow().await;
        follower.different(put, PATIENCE).await;
        drop(follower);
        self.report.rest_seconds = began.elapsed().as_secs_f64();
        for host in std::mem::take(&mut self.hosts) {
            self.report.read(&host.stop().await);
        }
        let arrived = self.topic.read_all().await;
        let names: BTreeSet<&str> = arrived.iter().map(|message| message.producer.as_str()).collect();
        self.report.producers = names.len();
        let comparison = self.stream.truth().of_a_topic_that_grew(self.growths).compare(&arrived);
        self.report.partitions = self.topic.partitions;
        self.report.take(&comparison);
        self.report.write();
        if !comparison.is_exact() || self.report.said_to_be_doubled > 0 {
            println!("the logs of all hosts are in {}", self.setup.keep_files().display());
        }
        comparison.assert_exact();
        assert_eq!(self.report.said_to_be_doubled, 0, "nothing happened that allows to store anything twice");
    }
}

/// Records of random keys and sizes on their way into the stream.
struct Feed {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<usize>,
}

impl Feed {
    fn start(stream: &Stream, seed: u64) -> Self {
        let (stream, stop) = (stream.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let mut random = fastrand::Rng::with_seed(seed);
        let task = tokio::spawn(async move {
            const ROUND: Duration = Duration::from_millis(50);
            let mut ticks = tokio::time::interval(ROUND);
            let mut put = 0;
            while !stopped.load(Ordering::Relaxed) {
                ticks.tick().await;
                let count = random.usize(0..=RATE / 10);
                stream.put((0..count).map(|_| record(&mut random)));
                put += count;
            }
            put
        });
        Self { stop, task }
    }

    /// Puts no more; how many were put.
    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the feed does not panic")
    }
}

/// Most are small, some fill a batch, a few are beyond the lowered limit.
fn record(random: &mut fastrand::Rng) -> NewRecord {
    let size = match random.u16(..1_000) {
        0..3 => random.usize(LOW + 2_000..2 * LOW),
        3..40 => random.usize(1_000..15_000),
        _ => random.usize(1..300),
    };
    let mut bytes = vec![0; size];
    random.fill(&mut bytes);
    NewRecord::new(format!("key-{}", random.usize(..KEYS)), Bytes::from(bytes))
}
