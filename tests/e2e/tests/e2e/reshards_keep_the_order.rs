//! A split, a merge and a doubling of the shard count while records flow: nothing is lost, and each partition key keeps its order across parents and children.

use std::time::Duration;

use local_aws::kinesis::ShardId;

use crate::harness::broker;
use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;
use crate::harness::wait::until;

async fn reshards(label: &str, fan_out: bool) {
    let stream = Stream::start(2).await;
    let topic = Topic::partitioned(broker::shared().await, label, 3).await;
    let source = Setup::new(&stream, &topic).config("useEnhancedFanOut", fan_out).start().await;
    let feed = stream.feed(1_000, 200);
    let follower = topic.follow().await;

    children_arrive(&stream, &follower, |stream| {
        let (id, start, end) = stream.open()[0];
        stream.local.kinesis(|kinesis| kinesis.split_shard(&stream.name, id, start + (end - start) / 2)).unwrap();
    })
    .await;
    children_arrive(&stream, &follower, |stream| {
        let open = stream.open();
        // One of the split's children, and the shard beside it.
        stream.local.kinesis(|kinesis| kinesis.merge_shards(&stream.name, open[1].0, open[2].0)).unwrap();
    })
    .await;
    children_arrive(&stream, &follower, |stream| {
        let doubled = stream.open().len() as u32 * 2;
        stream.local.kinesis(|kinesis| kinesis.update_shard_count(&stream.name, doubled)).unwrap();
    })
    .await;

    let put = feed.stop().await;
    follower.at_least(put, Duration::from_secs(120)).await;
    source.stop().await;
    drop(follower);
    stream.truth().compare(&topic.read_all().await).assert_exact();
}

/// Reshards, and waits until records of every shard that is open then have arrived.
async fn children_arrive(stream: &Stream, follower: &crate::harness::topic::Follower, reshard: impl FnOnce(&Stream)) {
    reshard(stream);
    let wanted: Vec<String> = stream.open().iter().map(|(id, ..)| id.to_string()).collect();
    until("records of all open shards", Duration::from_secs(60), async || {
        let messages = follower.messages();
        let missing: Vec<&String> =
            wanted.iter().filter(|shard| !messages.iter().any(|message| message.property("kinesis.shard.id") == Some(shard))).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("none of {missing:?}")) }
    })
    .await;
}

impl Stream {
    /// The open shards in the order of their hash ranges: id, first and last hash key.
    fn open(&self) -> Vec<(ShardId, u128, u128)> {
        self.local.kinesis(|kinesis| {
            kinesis.describe(&self.name).unwrap().open_shards().map(|shard| (shard.id, shard.range.start, shard.range.end)).collect()
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_fan_out() {
    reshards("reshard-fan-out", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_polling() {
    reshards("reshard-polling", false).await;
}
