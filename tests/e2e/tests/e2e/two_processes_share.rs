//! Two processes on one table hold half of the shards each; when one is killed, the other comes to hold all, and nothing is lost.

use std::time::Duration;

use crate::harness::broker;
use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;
use crate::harness::wait::until;

const SHARDS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share() {
    let stream = Stream::start(SHARDS as u32).await;
    let topic = Topic::new(broker::shared().await, "shared");
    let table = stream.application();
    let setup = Setup::new(&stream, &topic);
    let feed = stream.feed(500, 100);
    let follower = topic.follow().await;
    let first = setup.start().await;
    held_by(&stream, &table, &[SHARDS]).await;
    let second = setup.start().await;
    held_by(&stream, &table, &[SHARDS / 2, SHARDS / 2]).await;
    let before = follower.messages().len();
    follower.at_least(before + 1_000, Duration::from_secs(60)).await;

    let owners_of_both = stream.owners(&table).await;
    first.kill_nine().await;
    held_by(&stream, &table, &[SHARDS]).await;
    let survivor = stream.owners(&table).await;
    assert!(owners_of_both.keys().any(|owner| survivor.contains_key(owner)), "{survivor:?} was none of {owners_of_both:?}");

    let put = feed.stop().await;
    follower.different(put, Duration::from_secs(60)).await;
    second.stop().await;
    drop(follower);
    stream.truth().compare(&topic.read_all().await).assert_whole();
}

/// Waits until the leases are held in these numbers.
async fn held_by(stream: &Stream, table: &str, wanted: &[usize]) {
    until(&format!("leases held as {wanted:?}"), Duration::from_secs(60), async || {
        let owners = stream.owners(table).await;
        let mut held: Vec<usize> = owners.values().copied().collect();
        held.sort_unstable();
        if held == wanted { Ok(()) } else { Err(format!("{owners:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_instances_of_one_process_share() {
    let stream = Stream::start(SHARDS as u32).await;
    let topic = Topic::partitioned(broker::shared().await, "instances", 2).await;
    stream.put_numbered(0, 10_000, 500);
    let source = Setup::new(&stream, &topic).top("parallelism", 3).start().await;
    held_by(&stream, &stream.application(), &[SHARDS / 3, SHARDS / 3, SHARDS / 3]).await;
    stream.put_numbered(10_000, 10_000, 500);
    let follower = topic.follow().await;
    follower.different(20_000, Duration::from_secs(60)).await;
    drop(follower);
    source.stop().await;
    stream.truth().compare(&topic.read_all().await).assert_whole();
}
