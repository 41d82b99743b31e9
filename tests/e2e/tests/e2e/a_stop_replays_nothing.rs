//! SIGTERM while records flow: what was read is published and checkpointed, the leases are given away, and the next run starts exactly after it.

use std::time::{Duration, Instant};

use crate::harness::broker;
use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;

/// How long a lease lives unrenewed here: a run that had to wait for it could not begin sooner.
const FAILOVER: Duration = Duration::from_secs(30);

async fn stops_and_starts(label: &str, fan_out: bool, partitions: u32) {
    let stream = Stream::start(3).await;
    let topic = Topic::partitioned(broker::shared().await, label, partitions).await;
    let setup = Setup::new(&stream, &topic).config("useEnhancedFanOut", fan_out).config("failoverTimeMillis", FAILOVER.as_millis() as u64);
    // Progress is stored by the stop alone.
    let setup = setup.config("checkpointInterval", 3_600_000);
    let feed = stream.feed(2_000, 100);
    let follower = topic.follow().await;
    for _ in 0..4 {
        let source = setup.start().await;
        let before = follower.messages().len();
        let began = Instant::now();
        follower.at_least(before + 3_000, FAILOVER).await;
        assert!(began.elapsed() < FAILOVER, "the next run waited for leases to expire");
        source.stop().await;
        assert!(stream.owners(&stream.application()).await.is_empty(), "a stop gives its leases away");
    }
    let put = feed.stop().await;
    let source = setup.start().await;
    follower.at_least(put, Duration::from_secs(60)).await;
    source.stop().await;
    drop(follower);
    stream.truth().compare(&topic.read_all().await).assert_exact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_fan_out() {
    stops_and_starts("stop-fan-out", true, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_polling() {
    stops_and_starts("stop-polling", false, 1).await;
}
