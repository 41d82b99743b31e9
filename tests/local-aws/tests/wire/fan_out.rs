//! Enhanced fan-out: consumers and SubscribeToShard.

use aws_sdk_kinesis::types::{ShardIteratorType, StartingPosition, SubscribeToShardEvent, SubscribeToShardEventStream};
use bytes::Bytes;
use local_aws::kinesis::CannedSpec;
use local_aws::{Clock, LocalAws, NewRecord, Options};
use std::time::{SystemTime, UNIX_EPOCH};

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

async fn stepped() -> LocalAws {
    LocalAws::start(Options { clock: Clock::stepped(1_700_000_000_000), ..Options::default() }).await.unwrap()
}

#[tokio::test]
async fn a_subscription_ends_after_five_minutes_without_an_error() {
    let local = stepped().await;
    let client = kinesis(&local);
    client.create_stream().stream_name("orders").shard_count(1).send().await.unwrap();
    let consumer = register(&client, "orders", "app").await;
    let mut subscription = subscribe(&client, &consumer, "shardId-000000000000", ShardIteratorType::Latest).await;
    local.advance(3_000).unwrap();
    let idle = next(&mut subscription).await.unwrap();
    assert!(idle.records.is_empty());
    put(&local, "orders", b"one");
    let event = next(&mut subscription).await.unwrap();
    local.advance(300_000).unwrap();
    assert!(next(&mut subscription).await.is_none());

    // What is put meanwhile is found after the last continuation number.
    put(&local, "orders", b"two");
    let start = StartingPosition::builder()
        .r#type(ShardIteratorType::AfterSequenceNumber)
        .sequence_number(event.continuation_sequence_number)
        .build()
        .unwrap();
    let again = client.subscribe_to_shard().consumer_arn(&consumer).shard_id("shardId-000000000000").starting_position(start);
    let mut again = again.send().await.unwrap();
    assert_eq!(next(&mut again).await.unwrap().records[0].data.as_ref(), b"two");
    local.shutdown().await;
}

#[tokio::test]
async fn a_second_subscriber_is_refused_and_later_takes_over() {
    let local = stepped().await;
    let client = kinesis(&local);
    client.create_stream().stream_name("orders").shard_count(1).send().await.unwrap();
    let consumer = register(&client, "orders", "app").await;
    let mut first = subscribe(&client, &consumer, "shardId-000000000000", ShardIteratorType::Latest).await;
    let start = StartingPosition::builder().r#type(ShardIteratorType::Latest).build().unwrap();
    let second = client.subscribe_to_shard().consumer_arn(&consumer).shard_id("shardId-000000000000").starting_position(start);
    let refused = second.clone().send().await.unwrap_err().into_service_error();
    assert!(refused.is_resource_in_use_exception());
    local.advance(5_000).unwrap();
    let mut second = second.send().await.unwrap();
    let taken = loop {
        // An empty event may still have been on its way.
        match first.event_stream.recv().await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    assert!(taken.unwrap_err().into_service_error().is_resource_in_use_exception());
    put(&local, "orders", b"for the second");
    let mut pushed = next(&mut second).await.unwrap();
    while pushed.records.is_empty() {
        pushed = next(&mut second).await.unwrap();
    }
    assert_eq!(pushed.records[0].data.as_ref(), b"for the second");
    local.shutdown().await;
}

#[tokio::test]
async fn a_reshard_that_takes_time_is_pushed_when_it_happens() {
    let local = stepped().await;
    local.kinesis(|kinesis| kinesis.settings_mut().update_stream_ms = 10_000);
    let client = kinesis(&local);
    client.create_stream().stream_name("orders").shard_count(1).send().await.unwrap();
    let consumer = register(&client, "orders", "app").await;
    let mut subscription = subscribe(&client, &consumer, "shardId-000000000000", ShardIteratorType::Latest).await;
    client
        .update_shard_count()
        .stream_name("orders")
        .target_shard_count(2)
        .scaling_type(aws_sdk_kinesis::types::ScalingType::UniformScaling)
        .send()
        .await
        .unwrap();
    put(&local, "orders", b"still to the parent");
    assert_eq!(next(&mut subscription).await.unwrap().records.len(), 1);
    // Nobody calls: the server itself must notice that the time has come.
    local.advance(10_000).unwrap();
    let mut event = next(&mut subscription).await.unwrap();
    while event.child_shards.is_none() {
        event = next(&mut subscription).await.unwrap();
    }
    assert_eq!(event.child_shards.unwrap().len(), 2);
    local.shutdown().await;
}

fn micros() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()
}

#[tokio::test]
async fn payloads_that_come_at_a_pace_say_when_they_were_handed_on() {
    let before = micros();
    let local = start().await;
    let client = kinesis(&local);
    let spec = CannedSpec {
        stream: "paced".to_owned(),
        shards: 1,
        records_per_answer: 3,
        bytes: 40,
        total: None,
        records_per_second: Some(1_000),
    };
    local.kinesis(|kinesis| kinesis.create_canned_stream(&spec)).unwrap();
    let consumer = register(&client, "paced", "app").await;
    let mut subscription = subscribe(&client, &consumer, "shardId-000000000000", ShardIteratorType::TrimHorizon).await;
    let mut last = before;
    for _ in 0..3 {
        let event = next(&mut subscription).await.unwrap();
        assert_eq!(event.records.len(), 3);
        for record in &event.records {
            let payload = std::str::from_utf8(record.data.as_ref()).unwrap();
            let stamp: u128 = payload[..16].parse().unwrap();
            assert!(last <= stamp && stamp <= micros(), "{payload}");
            assert_eq!((payload.len(), &payload[16..18]), (40, ".."));
            last = stamp;
        }
    }
    local.shutdown().await;
}
