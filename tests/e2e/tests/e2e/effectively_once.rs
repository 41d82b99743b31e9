//! EFFECTIVELY_ONCE on a broker that keeps the numbers of producers: every record is in the topic once, whatever is killed.

use std::time::Duration;

use crate::harness::broker;
use crate::harness::namespace::Namespace;
use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;

const KILLS: usize = 10;

impl Setup {
    /// As [`Setup::new`], with EFFECTIVELY_ONCE.
    pub(crate) fn exactly_once(stream: &Stream, topic: &Topic) -> Self {
        Self::new(stream, topic).top("processingGuarantees", "EFFECTIVELY_ONCE")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effectively_once_a_stop_replays_nothing() {
    let namespace = Namespace::with_deduplication(broker::shared().await).await;
    let stream = Stream::start(3).await;
    let topic = namespace.partitioned("stop", 2).await;
    let setup = Setup::exactly_once(&stream, &topic).metrics();
    let feed = stream.feed(1_000, 100);
    let follower = topic.follow().await;
    for _ in 0..3 {
        let source = setup.start().await;
        let before = follower.messages().len();
        follower.at_least(before + 2_000, Duration::from_secs(60)).await;
        source.stop().await;
        let leases = setup.leases().await;
        assert!(leases["leases"].as_array().unwrap().iter().all(|lease| lease["clean"] == true), "{leases:#}");
    }
    let put = feed.stop().await;
    let source = setup.start().await;
    follower.at_least(put, Duration::from_secs(60)).await;
    assert_eq!(source.metric("pulsar_connect_pulsar_deduplicated_total").await, 0.0);
    source.stop().await;
    drop(follower);
    stream.truth().compare(&topic.read_all().await).assert_exact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effectively_once_survives_kill_nine() {
    let random = &mut fastrand::Rng::new();
    let namespace = Namespace::with_deduplication(broker::shared().await).await;
    let stream = Stream::start(3).await;
    let topic = namespace.partitioned("kill-nine", 2).await;
    let mut setup = Setup::exactly_once(&stream, &topic);
    let feed = stream.feed(1_000, 100);
    let follower = topic.follow().await;
    for kill in 0..KILLS {
        setup.set_config("useEnhancedFanOut", kill % 2 == 0);
        let source = setup.start().await;
        // Every third one dies at any moment of its start, the others while they publish.
        if kill % 3 != 2 {
            let before = follower.messages().len();
            follower.at_least(before + random.usize(1..3_000), Duration::from_secs(60)).await;
        }
        tokio::time::sleep(Duration::from_millis(random.u64(0..2_000))).await;
        source.kill_nine().await;
    }
    let put = feed.stop().await;
    let source = setup.start().await;
    follower.different(put, Duration::from_secs(120)).await;
    source.stop().await;
    drop(follower);
    stream.truth().compare(&topic.read_all().await).assert_exact();
}
