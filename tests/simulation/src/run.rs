//! One run: a world, a cluster, a table with a row for each shard, and workers; from its start to the verdict.

use crate::broker::{Broker, Storage};
use crate::network::{Cluster, Weather};
use crate::oracle::{Findings, judge, name};
use crate::shard::{ScriptedShard, Stream};
use crate::table::{TableTrouble, Tables};
use crate::worker::{Surroundings, TOPIC, Worker, WorkerPlan};
use crate::world::World;
use connector_kinesis::KinesisSourceFactory;
use connector_kinesis::config::InitialPosition;
use connector_kinesis::ids::{Checkpoint, HashRange, ShardId};
use connector_kinesis::lease::{Claimant, Lease, LeaseTable, StreamMark, Worker as Identification};
use connector_pulsar::wire::unpack::unpack;
use connector_sdk::{Guarantee, Mistake, OnRecordError, SourceFactory, Task};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What a run is about.
#[derive(Debug, Clone)]
pub struct Setting {
    /// What is promised.
    pub guarantee: Guarantee,
    /// Partitions of the topic; 0: not partitioned.
    pub partitions: u32,
    /// What is done with a record that cannot be stored.
    pub on_record_error: OnRecordError,
    /// Records of a batch, at most.
    pub batch_messages: u32,
    /// Payload bytes of a batch, at most.
    pub batch_bytes: u32,
    /// A lease that is not renewed for this long is free.
    pub failover: Duration,
    /// How often progress is stored.
    pub checkpoint_interval: Duration,
    /// Milliseconds between answers of a shard.
    pub pause: (u64, u64),
    /// Records of an answer, at most.
    pub answer: u64,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            guarantee: Guarantee::EffectivelyOnce,
            partitions: 1,
            on_record_error: OnRecordError::Fail,
            batch_messages: 4,
            batch_bytes: 400,
            failover: Duration::from_secs(4),
            checkpoint_interval: Duration::from_secs(1),
            pause: (1, 20),
            answer: 3,
        }
    }
}

/// The end of a run.
#[derive(Debug)]
pub struct Verdict {
    /// What is wrong with the topic.
    pub findings: Findings,
    /// What workers said they cannot go on with.
    pub said: Vec<String>,
    /// Whether the protocol may prescribe that a shard stands still in such a run.
    pub may_stop: bool,
    /// Whether every shard came to its end.
    pub finished: bool,
    /// What happened, if it was written down.
    pub trace: Vec<String>,
}

impl Verdict {
    /// Whether the promise was kept: nothing lost, nothing out of order, nothing doubled, and no stop without need.
    pub fn holds(&self, guarantee: Guarantee) -> bool {
        let findings = &self.findings;
        let once = guarantee == Guarantee::AtLeastOnce || findings.doubled.is_empty();
        let all = findings.lost.is_empty() && findings.disordered.is_empty() && findings.foreign.is_empty();
        self.finished && all && once && (self.may_stop || self.said.is_empty())
    }

    /// In a sentence.
    pub fn in_words(&self) -> String {
        let mut words = self.findings.in_words();
        if !self.finished {
            words.push_str("; not finished");
        }
        for said in &self.said {
            words.push_str("; said: ");
            words.push_str(said);
        }
        words
    }
}

/// A run as its script sees it.
pub struct Run {
    /// What workers are surrounded by.
    pub around: Surroundings,
    _agenda: Task<()>,
    named: u64,
}

/// Runs `script` in a world of its own, with paused time, on this thread.
pub fn run<F>(seed: u64, noting: bool, mistake: Option<Mistake>, script: impl FnOnce(World) -> F) -> Verdict
where
    F: Future<Output = Verdict>,
{
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime without I/O starts");
    connector_sdk::plant(mistake);
    let verdict = runtime.block_on(async {
        let world = World::new(seed, noting);
        let mut verdict = script(world.clone()).await;
        world.end();
        verdict.trace = world.take_notes();
        verdict
    });
    connector_sdk::plant(None);
    verdict
}

impl Run {
    /// A run with these shards, at its start.
    pub async fn new(world: &World, setting: Setting, shards: BTreeMap<ShardId, ScriptedShard>) -> Self {
        let agenda = Task::spawn("agenda", {
            let world = world.clone();
            async move { world.run().await }
        });
        let cluster = Cluster::new(world, Broker::new(world.below(u64::MAX), TOPIC, setting.partitions));
        let tables = Tables::new(world);
        let stream = Stream::new(world, shards, setting.pause, setting.answer);
        let around = Surroundings {
            world: world.clone(),
            cluster,
            tables,
            stream,
            settings: Arc::new(settings(&setting)),
            guarantee: setting.guarantee,
            on_record_error: setting.on_record_error,
            batch_messages: setting.batch_messages,
            batch_bytes: setting.batch_bytes,
            failover: setting.failover,
        };
        let run = Self { around, _agenda: agenda, named: 0 };
        run.create_rows().await;
        run
    }

    async fn create_rows(&self) {
        let table: Arc<dyn LeaseTable> = Arc::clone(self.around.tables.table()) as _;
        let creator = Identification {
            id: "creator".into(),
            writer: "public/default/orders".into(),
            stream: StreamMark { arn: "arn:orders".into(), created_at: 1 },
            topic: TOPIC.into(),
            failover: self.around.failover,
            initial_position: InitialPosition::TrimHorizon,
            write_prefix: "created".to_owned(),
            guarantee: self.around.guarantee,
            uptime: self.around.world.clock(0),
        };
        let claimant = Claimant::new(Arc::clone(&table), creator);
        for shard in self.around.stream.shards().keys() {
            let row = Lease {
                shard: shard.clone(),
                owner: None,
                counter: 0,
                owner_switches: 0,
                checkpoint: Checkpoint::TrimHorizon,
                pending: false,
                parents: Vec::new(),
                children: Vec::new(),
                range: Some(HashRange { start: 0, end: u128::MAX }),
                checkpoint_owner: None,
                has_3x_attributes: false,
                pulsar_connect: Some(claimant.new_attribute(None)),
            };
            table.create(&row).await.expect("nothing goes wrong with the table yet");
        }
    }

    /// A new worker, on a host of its own.
    pub fn worker(&mut self, instance: u32) -> Worker {
        self.named += 1;
        let name = format!("orders/{instance}/host-{}", self.named);
        let skew = i64::try_from(self.around.world.below(2_001)).unwrap_or_default() - 1_000;
        Worker::start(&self.around, WorkerPlan { name, instance, skew, accept_duplicates: false })
    }

    /// A worker that goes on where it cannot know what is stored, as a person may order.
    pub fn worker_that_accepts_duplicates(&mut self, instance: u32) -> Worker {
        self.named += 1;
        let name = format!("orders/{instance}/host-{}", self.named);
        Worker::start(&self.around, WorkerPlan { name, instance, skew: 0, accept_duplicates: true })
    }

    /// Everything works from now on.
    pub fn calm(&self) {
        self.around.cluster.set_weather(Weather::default());
        self.around.tables.set_trouble(TableTrouble::default());
        self.around.cluster.broker(|broker| {
            broker.set_storage(Storage::default());
            broker.set_limit(None);
            broker.start();
        });
    }

    /// Whether every shard has come to its end.
    pub fn is_finished(&self) -> bool {
        let table = self.around.tables.table();
        self.around.stream.shards().keys().all(|shard| table.lease(shard.as_str()).is_some_and(|row| row.is_finished()))
    }

    /// Waits until every shard has come to its end, as long as `patience`. True: all have.
    pub async fn finish(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while !self.is_finished() {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(Duration::from_millis(250)).await;
        }
        while self.around.cluster.broker(|broker| broker.is_writing()) {
            sleep(Duration::from_millis(100)).await;
        }
        true
    }

    /// The names of the messages that are stored, in order.
    pub fn stored(&self) -> Vec<String> {
        self.around.cluster.broker(|broker| {
            let mut entries: Vec<_> = broker.entries().into_values().flatten().collect();
            entries.sort_by_key(|stored| stored.order);
            let opened = entries.iter().filter_map(|stored| unpack(stored.entry.clone()).ok());
            opened.flat_map(|entry| entry.records.into_iter().map(|record| name(&record.value))).collect()
        })
    }

    /// The stored checkpoint of a shard.
    pub fn checkpoint(&self, shard: &ShardId) -> String {
        self.around.tables.table().lease(shard.as_str()).map_or_else(String::new, |row| row.checkpoint.text().to_owned())
    }

    /// Waits until something is so.
    ///
    /// # Panics
    /// When it is not within two minutes.
    pub async fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !is_so(self) {
            assert!(Instant::now() < deadline, "waited in vain until {what}\n{}", self.around.world.take_notes().join("\n"));
            sleep(Duration::from_millis(1)).await;
        }
        self.around.world.note(|| what.to_owned());
    }

    /// Compares what the topic holds with what the shards hold.
    pub fn verdict(&self, finished: bool, said: Vec<String>) -> Verdict {
        let shards = self.around.stream.shards();
        let findings = self.around.cluster.broker(|broker| judge(broker, shards.iter().map(|(id, shard)| (id, shard.expected()))));
        self.around.world.note(|| format!("verdict: {}", findings.in_words()));
        Verdict { findings, said, may_stop: false, finished, trace: Vec::new() }
    }
}

fn settings(setting: &Setting) -> connector_kinesis::config::Settings {
    let config = serde_json::json!({
        "awsKinesisStreamName": "orders",
        "awsRegion": "eu-west-1",
        "awsCredentialPluginName": "org.apache.pulsar.io.aws.AwsDefaultProviderChainPlugin",
        "applicationName": "orders",
        "initialPositionInStream": "TRIM_HORIZON",
        "checkpointInterval": setting.checkpoint_interval.as_millis() as u64,
        "backoffTime": 200,
        "numRetries": 3,
    });
    let config = serde_json::from_value(config).expect("the configuration has the source's form");
    KinesisSourceFactory.validate(config).unwrap_or_else(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("the configuration is valid: {}", problems.join("; "))
    })
}
