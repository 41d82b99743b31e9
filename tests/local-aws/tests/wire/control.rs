//! `/_control` over HTTP.

use aws_sdk_kinesis::primitives::Blob;

use crate::fan_out::{next, register, subscribe};
use crate::raw::{Version, get, post};
use crate::support::{kinesis, start};
use aws_sdk_kinesis::types::ShardIteratorType;

#[tokio::test]
async fn everything_ever_put_is_told_with_its_calls() {
    let local = start().await;
    let client = kinesis(&local);
    client.create_stream().stream_name("s").shard_count(1).send().await.unwrap();
    let put = client.put_record().stream_name("s").partition_key("k").data(Blob::new([0, 255])).send().await.unwrap();
    let truth = get(&local, "/_control/records?stream=s").await;
    let record = &truth["shardId-000000000000"][0];
    assert_eq!(record["data"], "AP8=");
    assert_eq!(record["partitionKey"], "k");
    assert_eq!(record["sequenceNumber"], put.sequence_number.as_str());
    assert!(record["arrivedAt"].as_i64() > Some(1_700_000_000_000));
    let requests = get(&local, "/_control/requests").await;
    assert_eq!(requests["byOperation"]["kinesis.PutRecord"], 1);
    assert_eq!(requests["byAccessKeyId"]["AKIAEXAMPLE"], 2);
    assert_eq!(get(&local, "/_control/metrics").await, serde_json::json!([]));
    assert_eq!(get(&local, "/_control/assumed").await, serde_json::json!([]));
    assert!(get(&local, "/_control/records?stream=none").await["error"].is_string());
    local.shutdown().await;
}

#[tokio::test]
async fn settings_and_faults_are_set_by_json_and_slips_are_named() {
    let local = start().await;
    let control = async |body: &'static str| {
        let (status, _, answer) = post(&local, Version::Http1, "/_control", &[], body).await;
        (status, serde_json::from_slice::<serde_json::Value>(&answer).unwrap())
    };
    assert_eq!(control(r#"{"settings": {"listShardsPage": 2, "limits": {"reads": false}}}"#).await.0, 200);
    let settings = get(&local, "/_control/settings").await;
    assert_eq!(
        (&settings["listShardsPage"], &settings["limits"]["reads"], &settings["limits"]["writes"]),
        (&2.into(), &false.into(), &true.into())
    );
    let (status, answer) = control(r#"{"settings": {"listShardPage": 2}}"#).await;
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().unwrap().contains("listShardPage"), "{answer}");
    assert_eq!(control(r#"{"advanceMs": 5}"#).await.0, 400);
    assert_eq!(
        control(r#"[{"fault": {"operation": "ListStreams", "action": {"error": {"code": "LimitExceededException"}}}}]"#).await.0,
        200
    );
    assert!(kinesis(&local).list_streams().send().await.unwrap_err().into_service_error().is_limit_exceeded_exception());
    assert_eq!(control(r#"{"clearFaults": true}"#).await.0, 200);
    kinesis(&local).list_streams().send().await.unwrap();
    local.shutdown().await;
}

#[tokio::test]
async fn a_canned_stream_is_read_by_the_sdk_both_ways() {
    let local = start().await;
    let body = r#"{"canned": {"stream": "bench", "shards": 1, "recordsPerAnswer": 40, "bytes": 100, "total": 100}}"#;
    let (_, _, answer) = post(&local, Version::Http1, "/_control", &[], body).await;
    assert!(String::from_utf8_lossy(&answer).contains("canned"));
    let client = kinesis(&local);
    let polled = crate::support::read_shard(&client, "bench", "shardId-000000000000").await;
    let numbers: Vec<&String> = polled.iter().map(|record| &record.sequence_number).collect();
    assert_eq!(numbers.len(), 100);
    assert!(numbers.is_sorted_by(|one, other| one < other));
    assert!(polled.iter().all(|record| record.data.as_ref().len() == 100));

    let consumer = register(&client, "bench", "c").await;
    let mut subscription = subscribe(&client, &consumer, "shardId-000000000000", ShardIteratorType::TrimHorizon).await;
    let mut pushed = Vec::new();
    while pushed.len() < 100 {
        pushed.extend(next(&mut subscription).await.unwrap().records);
    }
    assert_eq!(pushed, polled);
    local.shutdown().await;
}
