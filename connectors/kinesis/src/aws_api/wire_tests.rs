#![allow(clippy::unwrap_used)]
use super::super::AwsKinesis;
use super::super::answer::decoding_cost;
use super::super::equality_tests::{Canned, Reply, client};
use crate::ids::ShardId;
use crate::retrieval::{Answer, ReadError, ShardReads};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use connector_aws::{AwsSettings, CredentialsConfig};
use connector_sdk::ByteBudget;
use minicbor::{Decoder, Encoder};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

const RECORDS: &[u8] = br#"{"Records":[{"SequenceNumber":"7","Data":"AP8=","PartitionKey":"k"}],"NextShardIterator":"B"}"#;
const CBOR: &str = "application/x-amz-cbor-1.1";
const JSON: &str = "application/x-amz-json-1.1";

fn records_in_cbor() -> Vec<u8> {
    let mut out = Encoder::new(Vec::new());
    out.map(2).unwrap().str("NextShardIterator").unwrap().str("B").unwrap().str("Records").unwrap().array(1).unwrap();
    out.map(3).unwrap().str("SequenceNumber").unwrap().str("7").unwrap().str("PartitionKey").unwrap().str("k").unwrap();
    out.str("Data").unwrap().bytes(&[0, 255]).unwrap();
    out.into_writer()
}

fn refusal_in_cbor(code: &str) -> Vec<u8> {
    let mut out = Encoder::new(Vec::new());
    out.begin_map().unwrap().str("message").unwrap().str("no").unwrap().str("__type").unwrap().str(code).unwrap().end().unwrap();
    out.into_writer()
}

fn refusal_in_json(code: &str) -> Vec<u8> {
    format!(r#"{{"__type":"com.amazonaws.kinesis.v20131202#{code}","message":"no"}}"#).into_bytes()
}

/// A stream that answers with these one after the other, and what it was asked in.
struct Endpoint {
    kinesis: AwsKinesis,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    async fn new(replies: impl IntoIterator<Item = (u16, Vec<u8>)>) -> Self {
        let keys = r#"{"accessKey":"AKIAEXAMPLE","secretKey":"test"}"#.to_owned();
        let credentials = CredentialsConfig { plugin_name: None, plugin_param: Some(keys.into()) }.validate().unwrap();
        let context = credentials.connect(&AwsSettings::default()).await.unwrap();
        let mut kinesis = AwsKinesis::new(&context, None, "orders", None);
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, replies) = (Arc::clone(&asked), Mutex::new(replies.into_iter().collect::<VecDeque<_>>()));
        let reply: Reply = Arc::new(move |request: &HttpRequest| {
            let form = request.headers().get("content-type").unwrap().to_owned();
            let body = request.body().bytes().unwrap();
            assert_eq!(request.headers().get("content-length").unwrap(), body.len().to_string());
            assert_eq!(request.headers().get("x-amz-target"), Some("Kinesis_20131202.GetRecords"));
            if form == CBOR {
                let mut members = Decoder::new(body);
                assert_eq!((members.map().unwrap(), members.str().unwrap(), members.str().unwrap()), (None, "ShardIterator", "A"));
            }
            seen.lock().unwrap().push(form);
            replies.lock().unwrap().pop_front().unwrap()
        });
        kinesis.client = client(Canned(reply));
        Self { kinesis, asked }
    }

    async fn call(&self) -> Result<Answer, ReadError> {
        let reservation = ByteBudget::new(1 << 20).share().reserve(decoding_cost(1_000)).await;
        self.kinesis.records(&ShardId::from("shardId-000000000000"), "A", 100, reservation).await
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn is_read(answer: Result<Answer, ReadError>) -> bool {
    answer.is_ok_and(|answer| answer.records[0].data[..] == [0, 255] && answer.next_iterator.as_deref() == Some("B"))
}

#[tokio::test]
async fn an_endpoint_that_does_not_understand_cbor_is_asked_in_json_from_then_on() {
    let page = b"<html>what is this?</html>".to_vec();
    let refusals =
        [(400, refusal_in_json("SerializationException")), (404, refusal_in_cbor("UnknownOperationException")), (500, page), (415, vec![])];
    for refusal in refusals {
        let endpoint = Endpoint::new([refusal, (200, RECORDS.to_vec()), (200, RECORDS.to_vec())]).await;
        assert!(is_read(endpoint.call().await) && is_read(endpoint.call().await));
        assert_eq!(endpoint.asked(), [CBOR, JSON, JSON]);
    }
}

#[tokio::test]
async fn cbor_that_cannot_be_read_is_an_error_and_the_next_call_is_in_json() {
    let mut cut = records_in_cbor();
    cut.truncate(20);
    let endpoint = Endpoint::new([(200, cut), (200, RECORDS.to_vec())]).await;
    assert!(matches!(endpoint.call().await, Err(ReadError::Failed(_))));
    assert!(is_read(endpoint.call().await));
    assert_eq!(endpoint.asked(), [CBOR, JSON]);
}

#[tokio::test]
async fn an_endpoint_that_has_understood_once_is_not_taken_for_one_that_does_not() {
    let page = b"<html>try again</html>".to_vec();
    let endpoint = Endpoint::new([(200, records_in_cbor()), (503, page), (200, records_in_cbor())]).await;
    assert!(is_read(endpoint.call().await));
    assert!(matches!(endpoint.call().await, Err(ReadError::Failed(_))));
    assert!(is_read(endpoint.call().await));
    assert_eq!(endpoint.asked(), [CBOR, CBOR, CBOR]);
}

#[tokio::test]
async fn refusals_and_records_are_understood_in_either_form() {
    for refusal in [refusal_in_cbor, refusal_in_json] {
        let replies = [
            (400, refusal("ExpiredIteratorException")),
            (400, refusal("ProvisionedThroughputExceededException")),
            (200, RECORDS.to_vec()),
            (200, records_in_cbor()),
        ];
        let endpoint = Endpoint::new(replies).await;
        assert!(matches!(endpoint.call().await, Err(ReadError::IteratorGone)));
        assert!(matches!(endpoint.call().await, Err(ReadError::Throttled(None))));
        assert!(is_read(endpoint.call().await) && is_read(endpoint.call().await));
        assert_eq!(endpoint.asked(), [CBOR; 4]);
    }
}
