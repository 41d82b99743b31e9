//! A topic's size limit lowered and raised under EFFECTIVELY_ONCE, with records around it that have numbers already.

use std::time::Duration;

use bytes::Bytes;
use local_aws::NewRecord;

use crate::harness::broker;
use crate::harness::namespace::Namespace;
use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::topic::{Follower, Topic};

const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a large record: it goes with nothing else in its entry.
const LARGE: usize = 20_000;
const LIMIT: usize = 8_000;
const NO_LIMIT: usize = 5 * 1024 * 1024;

struct Case {
    stream: Stream,
    topic: Topic,
    setup: Setup,
}

impl Case {
    async fn new(label: &str) -> Self {
        let namespace = Namespace::with_deduplication(broker::shared().await).await;
        let stream = Stream::start(1).await;
        let topic = namespace.partitioned(label, 1).await;
        // Small entries, so that only a large record is beyond the limit.
        let batches = serde_json::json!({ "batchingConfig": { "batchingMaxBytes": 4_000 } });
        let setup = Setup::exactly_once(&stream, &topic).top("producerConfig", batches).metrics();
        Self { stream, topic, setup }
    }

    /// Puts `count` records, of which every tenth is large and does not compress.
    fn put(&self, first: usize, count: usize) {
        let records = (first..first + count).map(|index| {
            let size = if index % 10 == 0 { LARGE } else { 50 };
            let mut bytes = vec![0; size];
            fastrand::fill(&mut bytes);
            NewRecord::new(format!("key-{}", index % 20), Bytes::from(bytes))
        });
        self.stream.put(records);
    }

    async fn lower(&self) {
        self.topic.limit(LIMIT).await;
        self.topic.probe_until_refused(LARGE).await;
    }

    async fn raise(&self) {
        self.topic.limit(NO_LIMIT).await;
        self.topic.probe_until_taken(LARGE).await;
    }

    async fn all_arrive(&self, follower: Follower) {
        let source = self.setup.start().await;
        follower.different(self.stream.truth().len(), PATIENCE).await;
        drop(follower);
        source.stop().await;
    }
}

/// Large records are stored and not yet covered by a checkpoint when their source is killed; the limit is lowered: the replay of what is stored is
/// refused, which decides nothing. What is there is found by reading back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_refusal_of_a_stored_number() {
    let mut case = Case::new("stored").await;
    // Nothing is covered before the kill.
    case.setup.set_config("checkpointInterval", 3_600_000);
    let follower = case.topic.follow().await;
    case.put(0, 500);
    let source = case.setup.start().await;
    follower.different(500, PATIENCE).await;
    source.kill_nine().await;
    case.lower().await;
    // Behind what is stored lies what never was: its large ones stop the shard, and are not mistaken for the others.
    case.put(500, 500);
    case.setup.set_config("checkpointInterval", 1_000);
    let mut source = case.setup.start().await;
    source.says(&["the topic was read back"], PATIENCE).await;
    source.says(&["stands still"], PATIENCE).await;
    source.stop().await;
    case.raise().await;
    case.all_arrive(follower).await;
    case.stream.truth().compare(&case.topic.read_all().await).assert_exact();
}

/// The limit is lowered while large records are on their way with small ones behind them: refused and overtaken, their numbers are spent. They are
/// published late once the limit is raised, each once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_limit_lowered_with_records_behind() {
    let mut late = 0;
    // What is on the way at the moment of the change is up to chance.
    for _ in 0..8 {
        let case = Case::new("lowered").await;
        let follower = case.topic.follow().await;
        case.put(0, 200);
        let mut source = case.setup.start().await;
        follower.different(200, PATIENCE).await;
        let feeding = async {
            for round in 1..=40 {
                case.put(round * 200, 200);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::join!(feeding, case.topic.limit(LIMIT));
        source.says(&["stands still"], PATIENCE).await;
        source.kill_nine().await;
        case.raise().await;
        case.all_arrive(follower).await;
        let comparison = case.stream.truth().compare(&case.topic.read_all().await);
        comparison.assert_exact();
        late += comparison.late;
        if late > 0 {
            break;
        }
    }
    println!("{late} messages were published late");
    assert!(late > 0, "no record was overtaken in any round");
}
