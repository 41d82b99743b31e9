//! A broker that is killed, paused, or moves topics about while records flow by EFFECTIVELY_ONCE: every record is in the topic once. And what of it
//! ATLEAST_ONCE meets elsewhere in no test: nothing is lost, the order is kept.

use std::time::Duration;

use serde_json::Value;

use crate::harness::broker::{self, Broker};
use crate::harness::namespace::Namespace;
use crate::harness::source::{Setup, Source};
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;
use crate::harness::wait::until_true;

const RATE: usize = 500;
const SHARDS: u32 = 2;
const PARTITIONS: u32 = 2;
const WRITTEN: &str = "pulsar_source_written_total";
/// Long enough for a busy machine to find a topic again.
const PATIENCE: Duration = Duration::from_secs(120);

struct Case {
    namespace: Namespace,
    stream: Stream,
    topic: Topic,
    setup: Setup,
}

impl Case {
    async fn new(broker: &'static Broker, label: &str) -> Self {
        let namespace = Namespace::with_deduplication(broker).await;
        let stream = Stream::start(SHARDS).await;
        let topic = namespace.partitioned(label, PARTITIONS).await;
        let setup = Setup::exactly_once(&stream, &topic).metrics();
        Self { namespace, stream, topic, setup }
    }

    /// Everything that was put has arrived and the source has stopped: each record once.
    async fn end(self, source: Source, put: usize) {
        let follower = self.topic.follow().await;
        follower.different(put, PATIENCE).await;
        drop(follower);
        source.stop().await;
        self.stream.truth().compare(&self.topic.read_all().await).assert_exact();
    }
}

/// Waits until so many more were written.
async fn flows(source: &Source, more: f64) {
    let written = source.metric(WRITTEN).await;
    source.shows(WRITTEN, written + more, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_while_the_broker_is_killed_and_restarted() {
    let (broker, _alone) = broker::breakable().await;
    let case = Case::new(broker, "killed").await;
    let mut source = case.setup.start().await;
    let feed = case.stream.feed(RATE, 50);
    flows(&source, 1_000.0).await;
    for _ in 0..2 {
        broker.kill().await;
        broker.up().await;
        flows(&source, 1_000.0).await;
    }
    assert!(source.runs());
    let put = feed.stop().await;
    case.end(source, put).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_while_the_broker_stands_still_for_half_a_minute() {
    let (broker, _alone) = broker::breakable().await;
    let case = Case::new(broker, "paused").await;
    let source = case.setup.start().await;
    let feed = case.stream.feed(RATE, 50);
    flows(&source, 1_000.0).await;
    broker.signal("pause").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    broker.signal("resume").await;
    flows(&source, 1_000.0).await;
    let put = feed.stop().await;
    case.end(source, put).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_when_source_and_broker_die_together() {
    let (broker, _alone) = broker::breakable().await;
    let case = Case::new(broker, "both").await;
    let source = case.setup.start().await;
    let feed = case.stream.feed(RATE, 50);
    flows(&source, 1_000.0).await;
    broker.kill().await;
    source.kill_nine().await;
    // The next one starts while there is no broker.
    let source = case.setup.start().await;
    broker.up().await;
    flows(&source, 1_000.0).await;
    let put = feed.stop().await;
    case.end(source, put).await;
}

/// Unloads the topic again and again under load.
async fn unloads(case: &Case, source: &Source) {
    for _ in 0..6 {
        case.topic.unload().await;
        flows(source, 200.0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_while_the_topic_is_unloaded_again_and_again() {
    let case = Case::new(broker::shared().await, "unloaded").await;
    let source = case.setup.start().await;
    let feed = case.stream.feed(RATE, 50);
    flows(&source, 500.0).await;
    unloads(&case, &source).await;
    let put = feed.stop().await;
    case.end(source, put).await;
}

/// Splits each bundle of the namespace, at once unloaded.
async fn splits(case: &Case) {
    for bundle in bundles(case).await {
        case.namespace.policy("PUT", &format!("{bundle}/split?unload=true"), "").await;
    }
}

/// The bundles of the namespace, each as `0x..._0x...`.
async fn bundles(case: &Case) -> Vec<String> {
    let policies = case.topic.broker.ask(&format!("namespaces/{}", case.namespace.name)).await.unwrap();
    let boundaries: Vec<&str> = policies["bundles"]["boundaries"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    boundaries.windows(2).map(|pair| format!("{}_{}", pair[0], pair[1])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_while_the_bundles_of_the_namespace_are_split() {
    let case = Case::new(broker::shared().await, "split").await;
    let source = case.setup.start().await;
    let feed = case.stream.feed(RATE, 50);
    flows(&source, 500.0).await;
    let before = bundles(&case).await.len();
    for _ in 0..2 {
        splits(&case).await;
        flows(&source, 500.0).await;
    }
    until_true("the bundles to be split", PATIENCE, async || bundles(&case).await.len() >= 4 * before).await;
    let put = feed.stop().await;
    case.end(source, put).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_least_once_while_the_topic_is_unloaded_and_its_bundle_split() {
    let mut case = Case::new(broker::shared().await, "moved").await;
    case.namespace.deduplication(false).await;
    case.setup.set_top("processingGuarantees", "ATLEAST_ONCE");
    let source = case.setup.start().await;
    let feed = case.stream.feed(RATE, 50);
    flows(&source, 500.0).await;
    unloads(&case, &source).await;
    splits(&case).await;
    flows(&source, 500.0).await;
    let put = feed.stop().await;
    let follower = case.topic.follow().await;
    follower.different(put, PATIENCE).await;
    drop(follower);
    source.stop().await;
    case.stream.truth().compare(&case.topic.read_all().await).assert_whole();
}

/// The first host of the service URL refuses connections, the second is the broker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_when_the_first_host_of_the_service_url_is_away() {
    let case = Case::new(broker::shared().await, "hosts").await;
    let nobody = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let away = nobody.local_addr().unwrap();
    drop(nobody);
    let url = case.topic.broker.url.replacen("pulsar://", &format!("pulsar://{away},"), 1);
    let setup = case.setup.broker_url(&url);
    case.stream.put_numbered(0, 2_000, 50);
    let source = setup.start().await;
    let follower = case.topic.follow().await;
    follower.different(2_000, PATIENCE).await;
    source.kill_nine().await;
    case.stream.put_numbered(2_000, 2_000, 50);
    let source = setup.start().await;
    follower.different(4_000, PATIENCE).await;
    drop(follower);
    source.stop().await;
    case.stream.truth().compare(&case.topic.read_all().await).assert_exact();
}
