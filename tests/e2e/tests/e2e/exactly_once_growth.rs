//! Partitions added to the topic under EFFECTIVELY_ONCE: what may have been sent by the old count goes by it; then a key moves with all that is later.

use std::time::Duration;

use crate::harness::broker;
use crate::harness::namespace::Namespace;
use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;
use crate::harness::wait::until;

const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until messages have come into every partition.
async fn all_partitions_used(topic: &Topic) {
    let follower = topic.follow().await;
    until("messages in every partition", PATIENCE, async || {
        let used: std::collections::BTreeSet<u32> = follower.messages().iter().map(|message| message.partition).collect();
        if used.len() == topic.partitions as usize { Ok(()) } else { Err(format!("they are in {used:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_while_the_topic_gains_partitions() {
    let namespace = Namespace::with_deduplication(broker::shared().await).await;
    let stream = Stream::start(2).await;
    let mut topic = namespace.partitioned("grows", 2).await;
    let setup = Setup::exactly_once(&stream, &topic);
    let feed = stream.feed(1_000, 200);
    let source = setup.start().await;
    all_partitions_used(&topic).await;
    topic.grow(5).await;
    all_partitions_used(&topic).await;
    let put = feed.stop().await;
    let follower = topic.follow().await;
    follower.different(put, PATIENCE).await;
    drop(follower);
    source.stop().await;
    stream.truth().of_a_topic_that_grew(1).compare(&topic.read_all().await).assert_exact();
}

/// The source is killed with records on their way, and the topic grows before the next one starts: the old count holds until doubt is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_when_the_topic_gains_partitions_after_a_crash() {
    let namespace = Namespace::with_deduplication(broker::shared().await).await;
    let stream = Stream::start(2).await;
    let mut topic = namespace.partitioned("grown", 1).await;
    let setup = Setup::exactly_once(&stream, &topic);
    let feed = stream.feed(1_000, 200);
    let mut source = setup.start().await;
    for count in [2, 3, 5] {
        all_partitions_used(&topic).await;
        source.kill_nine().await;
        topic.grow(count).await;
        source = setup.start().await;
    }
    all_partitions_used(&topic).await;
    let put = feed.stop().await;
    let follower = topic.follow().await;
    follower.different(put, PATIENCE).await;
    drop(follower);
    source.stop().await;
    stream.truth().of_a_topic_that_grew(3).compare(&topic.read_all().await).assert_exact();
}
