//! CBOR as Java's SDK speaks it, HTTP/2 with prior knowledge, and what every answer's head says.

use aws_sdk_kinesis::operation::RequestId as _;
use ciborium::Value;
use http_body_util::BodyExt as _;
use local_aws::{Clock, LocalAws, NewRecord, Options};

use crate::raw::{Version, post, request, send};
use crate::support::{kinesis, start};

const CBOR: &str = "application/x-amz-cbor-1.1";

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

fn field(value: &Value, name: &str) -> Option<Value> {
    value.as_map().unwrap().iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value.clone())
}

async fn call(local: &LocalAws, version: Version, operation: &str, body: &Value) -> (u16, Value) {
    let target = format!("Kinesis_20131202.{operation}");
    let headers = [("content-type", CBOR), ("x-amz-target", target.as_str())];
    let (status, headers, body) = post(local, version, "/", &headers, encode(body)).await;
    assert_eq!(headers["content-type"], CBOR);
    let value = if body.is_empty() { Value::Null } else { ciborium::from_reader(body.as_ref()).unwrap() };
    (status, value)
}

#[tokio::test]
async fn cbor_carries_bytes_and_instants_on_either_http() {
    for version in [Version::Http1, Version::Http2] {
        let local = start().await;
        let stream = || ("StreamName", Value::from("s"));
        assert_eq!(call(&local, version, "CreateStream", &map([stream(), ("ShardCount", 1.into())])).await, (200, Value::Null));
        let payload = Value::Bytes((0..=255).collect());
        let record = map([("PartitionKey", "käse".into()), ("Data", payload.clone())]);
        let put = map([stream(), ("Records", Value::Array(vec![record]))]);
        let (_, put) = call(&local, version, "PutRecords", &put).await;
        assert_eq!(field(&put, "FailedRecordCount"), Some(0.into()));
        let arrived_at = local.records("s")[0][0].arrived_at;

        // Java sends instants as tag 1 over milliseconds.
        let at = Value::Tag(1, Box::new(arrived_at.into()));
        let from = map([
            stream(),
            ("ShardId", "shardId-000000000000".into()),
            ("ShardIteratorType", "AT_TIMESTAMP".into()),
            ("Timestamp", at.clone()),
        ]);
        let (_, iterator) = call(&local, version, "GetShardIterator", &from).await;
        let iterator = field(&iterator, "ShardIterator").unwrap();
        let (_, answer) = call(&local, version, "GetRecords", &map([("ShardIterator", iterator)])).await;
        let records = field(&answer, "Records").unwrap().into_array().unwrap();
        assert_eq!(field(&records[0], "Data"), Some(payload));
        assert_eq!(field(&records[0], "PartitionKey"), Some("käse".into()));
        assert_eq!(field(&records[0], "ApproximateArrivalTimestamp"), Some(at));
        assert_eq!(field(&answer, "MillisBehindLatest"), Some(0.into()));

        let (status, refused) = call(&local, version, "GetRecords", &map([("ShardIterator", "forged".into())])).await;
        assert_eq!((status, field(&refused, "__type")), (400, Some("InvalidArgumentException".into())));
        local.shutdown().await;
    }
}

/// Splits a frame into its headers' bytes and its payload.
fn open_frame(frame: &[u8]) -> (&[u8], &[u8]) {
    let length = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!(length(0), frame.len(), "one frame per piece of the body");
    let payload = 12 + length(4);
    (&frame[12..payload], &frame[payload..frame.len() - 4])
}

#[tokio::test]
async fn events_of_a_cbor_request_are_cbor() {
    let local = start().await;
    let arn = local.kinesis(|kinesis| {
        kinesis.create_stream("s", Some(1), Default::default()).unwrap();
        kinesis.put_record("s", NewRecord::new("k", vec![0, 255, 7])).unwrap();
        kinesis.register_consumer("s", "c").unwrap().arn
    });
    let body = map([
        ("ConsumerARN", arn.into()),
        ("ShardId", "shardId-000000000000".into()),
        ("StartingPosition", map([("Type", "TRIM_HORIZON".into())])),
    ]);
    let headers = [("content-type", CBOR), ("x-amz-target", "Kinesis_20131202.SubscribeToShard")];
    let response = send(&local, Version::Http2, request("POST", &local, "/", &headers, encode(&body))).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/vnd.amazon.eventstream");
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(open_frame(&first).0.windows(16).any(|bytes| bytes == b"initial-response"));
    let second = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let event: Value = ciborium::from_reader(open_frame(&second).1).unwrap();
    let records = field(&event, "Records").unwrap().into_array().unwrap();
    assert_eq!(field(&records[0], "Data"), Some(Value::Bytes(vec![0, 255, 7])));
    assert!(field(&event, "ContinuationSequenceNumber").is_some());
    drop(body);
    local.shutdown().await;
}

#[tokio::test]
async fn the_date_of_an_answer_is_the_clock_of_the_machine() {
    let clock = Clock::stepped(1_700_000_000_999);
    let local = LocalAws::start(Options { clock, ..Options::default() }).await.unwrap();
    let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", "Kinesis_20131202.ListStreams")];
    let (_, head, _) = post(&local, Version::Http1, "/", &headers, "{}").await;
    assert_eq!(head["date"], "Tue, 14 Nov 2023 22:13:20 GMT");
    assert_eq!(head.get_all("date").iter().count(), 1);
    local.advance(1).unwrap();
    let (_, head, _) = post(&local, Version::Http2, "/", &headers, "{}").await;
    assert_eq!(head["date"], "Tue, 14 Nov 2023 22:13:21 GMT");
    local.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_by_name() {
    let local = start().await;
    let json = "application/x-amz-json-1.1";
    for (operation, body, code) in [("PutRecord", "{", "SerializationException"), ("Juggle", "{}", "UnknownOperationException")] {
        let target = format!("Kinesis_20131202.{operation}");
        let (status, _, body) = post(&local, Version::Http1, "/", &[("content-type", json), ("x-amz-target", &target)], body).await;
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, body["__type"].as_str()), (400, Some(code)));
    }
    let refused = kinesis(&local).describe_stream().stream_name("none").send().await.unwrap_err();
    let refused = refused.into_service_error();
    assert!(refused.is_resource_not_found_exception());
    assert!(refused.request_id().is_some());
    local.shutdown().await;
}
