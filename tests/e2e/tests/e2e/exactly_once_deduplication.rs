//! A broker that keeps no numbers, or forgets them, under EFFECTIVELY_ONCE: what cannot be promised stands still and is said, what is in the topic is
//! found there, and nothing is there twice.

use std::time::Duration;

use crate::harness::broker;
use crate::harness::namespace::Namespace;
use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::wait::until_true;

const PATIENCE: Duration = Duration::from_secs(60);
const READ_BACK: &str = "the topic was read back";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_without_deduplication_stands_still_after_one_record() {
    let namespace = Namespace::without_deduplication(broker::shared().await).await;
    let stream = Stream::start(1).await;
    let topic = namespace.partitioned("off", 1).await;
    topic.keeps_numbers(false).await;
    stream.put_numbered(0, 3_000, 50);
    let setup = Setup::exactly_once(&stream, &topic).metrics();
    let mut source = setup.start().await;
    let first = stream.truth().records()[0].number.clone();
    let line = source.says(&["ERROR", "stands still", "deduplication is off"], PATIENCE).await;
    assert!(line.contains(&first) && line.contains(&format!("set-deduplication {} --enable", namespace.name)), "{line}");
    until_true("the shard to be parked", PATIENCE, async || source.metric("pulsar_connect_parked_partitions").await == 1.0).await;
    assert_eq!(topic.read_all().await.len(), 1, "one record shows that no numbers are kept");
    source.stop().await;

    namespace.deduplication(true).await;
    topic.keeps_numbers(true).await;
    let mut source = setup.start().await;
    source.says(&[READ_BACK, "found=1"], PATIENCE).await;
    let follower = topic.follow().await;
    follower.different(3_000, PATIENCE).await;
    drop(follower);
    source.stop().await;
    stream.truth().compare(&topic.read_all().await).assert_exact();
}

/// The broker forgets everything between two owners, of whom the first was killed: only the topic knows what is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_when_the_broker_has_forgotten_after_a_crash() {
    let namespace = Namespace::with_deduplication(broker::shared().await).await;
    let stream = Stream::start(2).await;
    let topic = namespace.partitioned("forgotten", 2).await;
    let setup = Setup::exactly_once(&stream, &topic);
    let feed = stream.feed(1_000, 50);
    let follower = topic.follow().await;
    for round in 0..3 {
        let mut source = setup.start().await;
        if round > 0 {
            source.says(&[READ_BACK], PATIENCE).await;
        }
        let before = follower.messages().len();
        follower.at_least(before + 1_500, PATIENCE).await;
        source.kill_nine().await;
        namespace.deduplication(false).await;
        topic.keeps_numbers(false).await;
        namespace.deduplication(true).await;
        topic.keeps_numbers(true).await;
    }
    let put = feed.stop().await;
    let source = setup.start().await;
    follower.different(put, PATIENCE).await;
    drop(follower);
    source.stop().await;
    stream.truth().compare(&topic.read_all().await).assert_exact();
}

/// Deduplication is switched off and on while records flow: the numbers go on, so that nothing comes of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_while_deduplication_is_switched_off_and_on() {
    let namespace = Namespace::with_deduplication(broker::shared().await).await;
    let stream = Stream::start(2).await;
    let topic = namespace.partitioned("switched", 2).await;
    let setup = Setup::exactly_once(&stream, &topic);
    let feed = stream.feed(1_000, 50);
    let follower = topic.follow().await;
    let source = setup.start().await;
    follower.at_least(1_000, PATIENCE).await;
    for _ in 0..2 {
        for on in [false, true] {
            namespace.deduplication(on).await;
            topic.keeps_numbers(on).await;
            let before = follower.messages().len();
            follower.at_least(before + 1_000, PATIENCE).await;
        }
    }
    // What was sent before the switch is not remembered by number any more; the next owner asks and finds out.
    source.kill_nine().await;
    let source = setup.start().await;
    let put = feed.stop().await;
    follower.different(put, PATIENCE).await;
    drop(follower);
    source.stop().await;
    stream.truth().compare(&topic.read_all().await).assert_exact();
}

/// What would have to be read back was deleted: the shards stand still and name a record, and `acceptDuplicates` lets them go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_when_what_has_to_be_read_back_is_gone() {
    let namespace = Namespace::with_deduplication(broker::shared().await).await;
    let stream = Stream::start(1).await;
    let topic = namespace.partitioned("gone", 1).await;
    let mut setup = Setup::exactly_once(&stream, &topic).metrics();
    let feed = stream.feed(1_000, 50);
    let source = setup.start().await;
    source.shows("pulsar_source_written_total", 3_000.0, PATIENCE).await;
    // What it covers, the broker will not know.
    setup.until_a_checkpoint(PATIENCE).await;
    source.kill_nine().await;
    namespace.deduplication(false).await;
    topic.keeps_numbers(false).await;
    topic.lose_everything().await;
    namespace.deduplication(true).await;
    topic.keeps_numbers(true).await;

    let mut source = setup.start().await;
    let line = source.says(&["ERROR", "stands still", "nobody can know whether it is stored"], PATIENCE).await;
    assert!(line.contains("acceptDuplicates"), "{line}");
    source.stop().await;
    setup.set_config("acceptDuplicates", true);
    let mut source = setup.start().await;
    source.says(&["records may be published twice", "acceptDuplicates"], PATIENCE).await;
    source.shows("pulsar_source_written_total", 1_000.0, PATIENCE).await;
    feed.stop().await;
    source.stop().await;
    let comparison = stream.truth().compare(&topic.read_all().await);
    assert!(comparison.wrong.count == 0, "{comparison:?}");
}

/// The topic is deleted while records flow, and made again by the next producer. Where nothing was on its way the rest goes on into it; where something
/// was, nobody can know whether it was stored. Nothing is there twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_when_the_topic_is_deleted_while_records_flow() {
    let namespace = Namespace::with_deduplication(broker::shared().await).await;
    let stream = Stream::start(1).await;
    let topic = namespace.partitioned("deleted", 1).await;
    let setup = Setup::exactly_once(&stream, &topic).metrics();
    let feed = stream.feed(1_000, 50);
    let source = setup.start().await;
    source.shows("pulsar_source_written_total", 2_000.0, PATIENCE).await;
    topic.delete().await;
    let written = source.metric("pulsar_source_written_total").await;
    until_true("records to go on, or the shard to stand still", PATIENCE, async || {
        let parked = source.metric("pulsar_connect_parked_partitions").await > 0.0;
        parked || source.metric("pulsar_source_written_total").await > written + 1_000.0
    })
    .await;
    feed.stop().await;
    source.stop().await;
    let comparison = stream.truth().compare(&topic.read_all().await);
    assert!(comparison.doubled.is_empty() && comparison.wrong.count == 0 && comparison.disorder.count == 0, "{comparison}");
}

/// The topic is deleted and made again while something is in doubt: the shard stands still and names a record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_when_the_topic_is_deleted_after_a_crash() {
    let namespace = Namespace::with_deduplication(broker::shared().await).await;
    let stream = Stream::start(1).await;
    let topic = namespace.partitioned("anew", 1).await;
    let setup = Setup::exactly_once(&stream, &topic).metrics();
    let feed = stream.feed(1_000, 50);
    let source = setup.start().await;
    source.shows("pulsar_source_written_total", 2_000.0, PATIENCE).await;
    // What a checkpoint covers, the topic made anew does not know.
    setup.until_a_checkpoint(PATIENCE).await;
    source.kill_nine().await;
    feed.stop().await;
    topic.delete().await;
    topic.broker.administer("PUT", &format!("{}/partitions", topic.path()), "1").await;
    let mut source = setup.start().await;
    let line = source.says(&["ERROR", "stands still", "nobody can know whether it is stored"], PATIENCE).await;
    assert!(line.contains("acceptDuplicates"), "{line}");
    source.stop().await;
    assert!(topic.read_all().await.is_empty());
}
