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
    /// Entries of at most `batch` bytes, or one record.
    async fn new(label: &str, batch: usize) -> Self {
        let namespace = Namespace::with_deduplication(broker::shared().await).await;
        let stream = Stream::start(1).await;
        let topic = namespace.partitioned(label, 1).await;
        let batches = serde_json::json!({ "batchingConfig": { "batchingMaxBytes": batch } });
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
    // Only a large record is beyond the limit.
    let mut case = Case::new("stored", LIMIT / 2).await;
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
    source.says(&["ERROR", "stands still"], PATIENCE).await;
    source.stop().await;
    case.raise().await;
    case.all_arrive(follower).await;
    case.stream.truth().compare(&case.topic.read_all().await).assert_exact();
}

/// The limit is lowered below the batch limit while records flow: entries are refused while smaller ones behind them are stored. Their numbers are spent,
/// which is written down first; once the limit is raised they are published under a name of their own, each once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_limit_lowered_with_records_behind() {
    // What is on the way at the moment of the change is up to chance.
    for round in 1.. {
        assert!(round <= 10, "no record was overtaken in any round");
        let case = Case::new("lowered", 2 * LARGE).await;
        let follower = case.topic.follow().await;
        case.put(0, 200);
        let mut source = case.setup.start().await;
        follower.different(200, PATIENCE).await;
        let feeding = async {
            for handful in 1..=60 {
                case.put(handful * 200, 100);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let lowering = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            case.topic.limit(LIMIT).await;
        };
        tokio::join!(feeding, lowering);
        source.says(&["ERROR", "stands still"], PATIENCE).await;
        let spent = case.setup.leases().await["leases"][0]["exact"]["spent"].as_u64().unwrap();
        source.kill_nine().await;
        case.raise().await;
        case.all_arrive(follower).await;
        let comparison = case.stream.truth().compare(&case.topic.read_all().await);
        println!("{spent} numbers were spent, {} messages are late", comparison.late);
        comparison.assert_exact();
        if spent > 0 && comparison.late > 0 {
            break;
        }
    }
}
