//! Enhanced fan-out: consumers and SubscribeToShard.

use aws_sdk_kinesis::types::{ShardIteratorType, StartingPosition, SubscribeToShardEvent, SubscribeToShardEventStream};
use bytes::Bytes;
use local_aws::{LocalAws, NewRecord};

use crate::support::{kinesis, start};

pub(crate) type Subscription = aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput;

pub(crate) async fn register(client: &aws_sdk_kinesis::Client, stream: &str, name: &str) -> String {
    let arn = client.describe_stream_summary().stream_name(stream).send().await.unwrap().stream_description_summary.unwrap().stream_arn;
    client.register_stream_consumer().stream_arn(arn).consumer_name(name).send().await.unwrap().consumer.unwrap().consumer_arn
}

pub(crate) async fn subscribe(client: &aws_sdk_kinesis::Client, consumer: &str, shard: &str, from: ShardIteratorType) -> Subscription {
    let start = StartingPosition::builder().r#type(from).build().unwrap();
    client.subscribe_to_shard().consumer_arn(consumer).shard_id(shard).starting_position(start).send().await.unwrap()
}

pub(crate) async fn next(subscription: &mut Subscription) -> Option<SubscribeToShardEvent> {
    match subscription.event_stream.recv().await.unwrap()? {
        SubscribeToShardEventStream::SubscribeToShardEvent(event) => Some(event),
        other => panic!("not an event of records: {other:?}"),
    }
}

pub(crate) fn put(local: &LocalAws, stream: &str, payload: &'static [u8]) {
    local.kinesis(|kinesis| kinesis.put_record(stream, NewRecord::new("key", Bytes::from_static(payload)))).unwrap();
}

#[tokio::test]
async fn records_are_pushed_and_a_split_ends_the_subscription_with_its_children() {
    let local = start().await;
    let client = kinesis(&local);
    client.create_stream().stream_name("orders").shard_count(1).send().await.unwrap();
    let consumer = register(&client, "orders", "app").await;
    put(&local, "orders", b"before");
    let mut subscription = subscribe(&client, &consumer, "shardId-000000000000", ShardIteratorType::TrimHorizon).await;
    let first = next(&mut subscription).await.unwrap();
    assert_eq!(first.records[0].data.as_ref(), b"before");
    assert!(!first.continuation_sequence_number.is_empty());
    assert!(first.child_shards.is_none());

    put(&local, "orders", b"while");
    assert_eq!(next(&mut subscription).await.unwrap().records[0].data.as_ref(), b"while");

    client
        .split_shard()
        .stream_name("orders")
        .shard_to_split("shardId-000000000000")
        .new_starting_hash_key((u128::MAX / 2 + 1).to_string())
        .send()
        .await
        .unwrap();
    let last = next(&mut subscription).await.unwrap();
    assert!(last.records.is_empty());
    let children = last.child_shards.unwrap();
    assert_eq!(children.iter().map(|child| child.shard_id.as_str()).collect::<Vec<_>>(), ["shardId-000000000001", "shardId-000000000002"]);
    assert_eq!(children[0].parent_shards, ["shardId-000000000000"]);
    assert_eq!(last.continuation_sequence_number, "");
    assert!(next(&mut subscription).await.is_none());
    local.shutdown().await;
}
