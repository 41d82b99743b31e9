//! Leases that move between processes and instances, shards that are split and merged, and guarantees that are changed by clean stops: under
//! EFFECTIVELY_ONCE each record is there once.

use std::time::Duration;

use local_aws::kinesis::ShardId;

use crate::harness::broker;
use crate::harness::namespace::Namespace;
use crate::harness::source::{Setup, Source};
use crate::harness::stream::Stream;

const PATIENCE: Duration = Duration::from_secs(120);

/// Processes come and go beside each other: leases are stolen by each newcomer, and taken over from each that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_while_leases_move_between_processes_and_instances() {
    let random = &mut fastrand::Rng::new();
    let namespace = Namespace::with_deduplication(broker::shared().await).await;
    let stream = Stream::start(4).await;
    let topic = namespace.partitioned("moving", 2).await;
    let setup = Setup::exactly_once(&stream, &topic).top("parallelism", 2);
    let feed = stream.feed(800, 100);
    let follower = topic.follow().await;
    let mut running: Vec<Source> = vec![setup.start().await];
    for round in 0..6 {
        let before = follower.messages().len();
        follower.at_least(before + random.usize(200..1_500), PATIENCE).await;
        running.push(setup.start().await);
        let before = follower.messages().len();
        follower.at_least(before + random.usize(200..1_500), PATIENCE).await;
        let leaver = running.remove(0);
        if round % 2 == 0 {
            leaver.kill_nine().await;
        } else {
            leaver.stop().await;
        }
    }
    let put = feed.stop().await;
    follower.different(put, PATIENCE).await;
    for source in running {
        source.stop().await;
    }
    drop(follower);
    stream.truth().compare(&topic.read_all().await).assert_exact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_over_reshards_with_kills() {
    let random = &mut fastrand::Rng::new();
    let namespace = Namespace::with_deduplication(broker::shared().await).await;
    let stream = Stream::start(2).await;
    let topic = namespace.partitioned("reshards", 2).await;
    let setup = Setup::exactly_once(&stream, &topic);
    let feed = stream.feed(800, 100);
    let follower = topic.follow().await;
    for round in 0..6 {
        let source = setup.start().await;
        let before = follower.messages().len();
        follower.at_least(before + random.usize(300..1_500), PATIENCE).await;
        stream.reshard(random, round % 2 == 0);
        tokio::time::sleep(Duration::from_millis(random.u64(0..1_500))).await;
        source.kill_nine().await;
    }
    let put = feed.stop().await;
    let source = setup.start().await;
    follower.different(put, PATIENCE).await;
    source.stop().await;
    drop(follower);
    stream.truth().compare(&topic.read_all().await).assert_exact();
}

/// By clean stops the place is kept in both directions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_after_and_before_at_least_once() {
    let namespace = Namespace::with_deduplication(broker::shared().await).await;
    let stream = Stream::start(3).await;
    let topic = namespace.partitioned("modes", 2).await;
    let mut setup = Setup::new(&stream, &topic);
    let feed = stream.feed(1_000, 100);
    let follower = topic.follow().await;
    for guarantee in ["ATLEAST_ONCE", "EFFECTIVELY_ONCE", "ATLEAST_ONCE", "EFFECTIVELY_ONCE", "ATLEAST_ONCE"] {
        setup.set_top("processingGuarantees", guarantee);
        let source = setup.start().await;
        let before = follower.messages().len();
        follower.at_least(before + 1_500, PATIENCE).await;
        let log = source.stop().await;
        assert!(!log.contains("may be stored twice"), "{log}");
    }
    let put = feed.stop().await;
    setup.set_top("processingGuarantees", "EFFECTIVELY_ONCE");
    let source = setup.start().await;
    follower.different(put, PATIENCE).await;
    source.stop().await;
    drop(follower);
    stream.truth().compare(&topic.read_all().await).assert_exact();
}

impl Stream {
    /// Splits an open shard in its middle, or merges two that are neighbours, chosen at random. Says whether there was one to choose.
    pub(crate) fn reshard(&self, random: &mut fastrand::Rng, split: bool) -> bool {
        self.local.kinesis(|kinesis| {
            let open: Vec<(ShardId, u128, u128)> = {
                let described = kinesis.describe(&self.name).expect("the stream is there");
                described.open_shards().map(|shard| (shard.id, shard.range.start, shard.range.end)).collect()
            };
            if split {
                let (id, start, end) = open[random.usize(..open.len())];
                return kinesis.split_shard(&self.name, id, start + (end - start) / 2).is_ok();
            }
            if open.len() < 2 {
                return false;
            }
            let left = random.usize(..open.len() - 1);
            kinesis.merge_shards(&self.name, open[left].0, open[left + 1].0).is_ok()
        })
    }
}
