//! Faults as a client sees them.

use aws_sdk_kinesis::error::SdkError;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::ShardIteratorType;
use futures_util::FutureExt as _;
use local_aws::{Clock, CutAt, Fault, FaultAction, LocalAws, NewRecord, Options, Service};

use crate::fan_out::{next, put, register, subscribe};
use crate::neighbours::{create_table, dynamodb, sts};
use crate::support::{kinesis, start};

const SHARD: &str = "shardId-000000000000";

async fn with_stream(local: &LocalAws) -> aws_sdk_kinesis::Client {
    let client = kinesis(local);
    client.create_stream().stream_name("s").shard_count(2).send().await.unwrap();
    client
}

fn cut(at: CutAt) -> Fault {
    Fault::new(Service::Kinesis, FaultAction::Cut { at })
}

fn stored(local: &LocalAws) -> usize {
    local.records("s").iter().map(Vec::len).sum()
}

#[tokio::test]
async fn an_error_strikes_one_shard_and_passes() {
    let local = start().await;
    let client = with_stream(&local).await;
    local.add_fault(Fault::error(Service::Kinesis, "InternalFailureException").on("GetRecords").shard(SHARD).times(1));
    let mut tokens = Vec::new();
    for shard in [SHARD, "shardId-000000000001"] {
        let iterator = client.get_shard_iterator().stream_name("s").shard_id(shard).shard_iterator_type(ShardIteratorType::TrimHorizon);
        tokens.push(iterator.send().await.unwrap().shard_iterator.unwrap());
    }
    client.get_records().shard_iterator(&tokens[1]).send().await.unwrap();
    let refused = client.get_records().shard_iterator(&tokens[0]).send().await.unwrap_err();
    assert_eq!(refused.raw_response().unwrap().status().as_u16(), 500);
    assert_eq!(refused.into_service_error().meta().code(), Some("InternalFailureException"));
    client.get_records().shard_iterator(&tokens[0]).send().await.unwrap();
    local.shutdown().await;
}

#[tokio::test]
async fn a_cut_before_stores_nothing_and_a_lost_reply_stores() {
    let local = start().await;
    let client = with_stream(&local).await;
    for (at, expected) in [(CutAt::Before, 0), (CutAt::After, 1), (CutAt::Middle, 2)] {
        local.add_fault(cut(at).on("PutRecord").times(1));
        let put = client.put_record().stream_name("s").partition_key("k").data(Blob::new("x")).send().await;
        let error = put.unwrap_err();
        let transport = matches!(error, SdkError::DispatchFailure(_) | SdkError::ResponseError(_));
        assert!(transport, "{at:?} gave {error:?}");
        assert_eq!(stored(&local), expected, "{at:?}");
    }
    client.put_record().stream_name("s").partition_key("k").data(Blob::new("x")).send().await.unwrap();
    assert_eq!(stored(&local), 3);
    local.shutdown().await;
}

#[tokio::test]
async fn a_put_is_struck_by_the_shard_its_key_falls_into() {
    let local = start().await;
    let client = with_stream(&local).await;
    local.add_fault(Fault::error(Service::Kinesis, "InternalFailureException").on("PutRecord").shard(SHARD));
    let put = |hash: u128| {
        client.put_record().stream_name("s").partition_key("k").explicit_hash_key(hash.to_string()).data(Blob::new("x")).send()
    };
    assert!(put(0).await.is_err());
    assert_eq!(put(u128::MAX).await.unwrap().shard_id, "shardId-000000000001");
    local.shutdown().await;
}

#[tokio::test]
async fn latency_is_of_the_machine_s_clock() {
    let local = LocalAws::start(Options { clock: Clock::stepped(1_700_000_000_000), ..Options::default() }).await.unwrap();
    let client = with_stream(&local).await;
    local.add_fault(Fault::new(Service::Kinesis, FaultAction::Latency { ms: 60_000 }).on("ListStreams"));
    let list = client.list_streams().send();
    tokio::pin!(list);
    // Another call on the same server is answered while the slow one waits.
    tokio::select! {
        _ = &mut list => panic!("answered before its time"),
        summary = client.describe_stream_summary().stream_name("s").send() => { summary.unwrap(); }
    }
    local.advance(60_000).unwrap();
    // The request may only now arrive, so that time must go on until it is answered.
    loop {
        tokio::select! {
            answer = &mut list => { answer.unwrap(); break; }
            () = tokio::task::yield_now() => { local.advance(1_000).unwrap(); }
        }
    }
    local.shutdown().await;
}

#[tokio::test]
async fn a_broken_frame_is_an_error_of_the_stream() {
    let local = start().await;
    let client = with_stream(&local).await;
    let broken = [FaultAction::Truncate { after_events: 1 }, FaultAction::WrongCrc { after_events: 1 }];
    for (index, action) in broken.into_iter().enumerate() {
        local.add_fault(Fault::new(Service::Kinesis, action).on("SubscribeToShard").times(1));
        let consumer = register(&client, "s", &format!("c{index}")).await;
        let shard = local.kinesis(|kinesis| kinesis.put_record("s", NewRecord::new("key", "one")).unwrap().shard_id.to_string());
        let mut subscription = subscribe(&client, &consumer, &shard, ShardIteratorType::TrimHorizon).await;
        assert!(!next(&mut subscription).await.unwrap().records.is_empty());
        put(&local, "s", b"two");
        assert!(subscription.event_stream.recv().await.is_err());
    }
    local.shutdown().await;
}

#[tokio::test]
async fn a_frozen_subscription_neither_speaks_nor_ends() {
    let local = LocalAws::start(Options { clock: Clock::stepped(1_700_000_000_000), ..Options::default() }).await.unwrap();
    let client = with_stream(&local).await;
    local.add_fault(Fault::new(Service::Kinesis, FaultAction::Freeze { after_events: 0 }).on("SubscribeToShard").times(1));
    let frozen = register(&client, "s", "frozen").await;
    let mut frozen = subscribe(&client, &frozen, SHARD, ShardIteratorType::Latest).await;
    let healthy = register(&client, "s", "healthy").await;
    let mut healthy = subscribe(&client, &healthy, SHARD, ShardIteratorType::Latest).await;
    // The healthy one speaks after 3 s of silence and ends after 5 minutes; the frozen one had the same time.
    local.advance(3_000).unwrap();
    assert!(next(&mut healthy).await.unwrap().records.is_empty());
    local.advance(300_000).unwrap();
    assert!(next(&mut healthy).await.is_none());
    assert!(frozen.event_stream.recv().now_or_never().is_none());
    local.shutdown().await;
}

#[tokio::test]
async fn a_lease_write_whose_reply_is_lost_has_happened() {
    use aws_sdk_dynamodb::types::AttributeValue;
    let local = start().await;
    let client = dynamodb(&local);
    create_table(&client).await;
    let put = || {
        client
            .put_item()
            .table_name("leases")
            .item("leaseKey", AttributeValue::S("k".into()))
            .condition_expression("attribute_not_exists(leaseKey)")
    };
    local.add_fault(Fault::error(Service::DynamoDb, "ProvisionedThroughputExceededException").on("PutItem").times(1));
    let throttled = put().send().await.unwrap_err().into_service_error();
    assert!(throttled.is_provisioned_throughput_exceeded_exception());
    let mut lost = Fault::new(Service::DynamoDb, FaultAction::Cut { at: CutAt::After }).times(1);
    lost.resource = Some("leases".to_owned());
    local.add_fault(lost);
    assert!(matches!(put().send().await.unwrap_err(), SdkError::DispatchFailure(_)));
    assert!(put().send().await.unwrap_err().into_service_error().is_conditional_check_failed_exception());
    local.shutdown().await;
}

#[tokio::test]
async fn a_role_may_be_denied() {
    let local = start().await;
    local.add_fault(Fault::error(Service::Sts, "AccessDenied").on("AssumeRole").times(1));
    let client = sts(&local);
    let assume = || client.assume_role().role_arn("arn:aws:iam::000000000000:role/r").role_session_name("s");
    let denied = assume().send().await.unwrap_err();
    assert_eq!(denied.raw_response().unwrap().status().as_u16(), 403);
    assert_eq!(denied.into_service_error().meta().code(), Some("AccessDenied"));
    assume().send().await.unwrap();
    local.shutdown().await;
}
