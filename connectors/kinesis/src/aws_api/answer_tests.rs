#![allow(clippy::unwrap_used)]
use super::*;

fn read(body: &[u8]) -> Reading {
    let mut reading = Reading::new(Some(body.len()));
    reading.take(body);
    reading
}

fn records(body: &[u8]) -> Result<Records, Error> {
    read(body).records()
}

fn event(body: &[u8]) -> Result<Event, Error> {
    read(body).event()
}

const ANSWER: &str = r#"{
    "MillisBehindLatest": 2100,
    "NextShardIterator": "AAAA",
    "Records": [
        {"ApproximateArrivalTimestamp": 1.441215410867E9, "Data": "AAH/gA==", "EncryptionType": "KMS", "PartitionKey": "k\u00e9\"y",
         "SequenceNumber": "21269319989652663814458848515492872193", "Later": {"unknown": [1, null]}},
        {"ApproximateArrivalTimestamp": 1441215410, "Data": "", "PartitionKey": "ключ", "SequenceNumber": "21269319989652663814458848515492872194"}
    ]
}"#;

#[test]
fn an_answer_is_read_bit_for_bit() {
    let answer = records(ANSWER.as_bytes()).unwrap();
    assert_eq!((answer.next_iterator.as_deref(), answer.millis_behind), (Some("AAAA"), 2100));
    assert!(answer.children.is_empty());
    let [first, second] = &answer.records[..] else { panic!("two records") };
    assert_eq!(&first.data[..], [0x00, 0x01, 0xff, 0x80]);
    assert_eq!(
        (first.partition_key.as_deref(), first.arrived_at, first.encryption),
        (Some("ké\"y"), Some(1_441_215_410_867), Encryption::Kms)
    );
    assert_eq!(first.sequence.as_str(), "21269319989652663814458848515492872193");
    assert_eq!((&second.data[..], second.arrived_at, second.encryption), (&b""[..], Some(1_441_215_410_000), Encryption::None));
}

#[test]
fn the_end_of_a_shard_names_its_children() {
    let body = r#"{"Records":[],"NextShardIterator":null,"MillisBehindLatest":0,"ChildShards":[
        {"ShardId":"shardId-000000000002","ParentShards":["shardId-000000000000","shardId-000000000001"],
         "HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"340282366920938463463374607431768211455"}}]}"#;
    let answer = records(body.as_bytes()).unwrap();
    assert_eq!(answer.next_iterator, None);
    let child = &answer.children[0];
    assert_eq!((child.id.as_str(), child.parents.len()), ("shardId-000000000002", 2));
    assert_eq!(child.range, HashRange { start: 0, end: u128::MAX });
}

#[test]
fn an_event_ends_its_shard_by_saying_no_continuation() {
    for missing in [r#""ContinuationSequenceNumber":null,"#, "", r#""ContinuationSequenceNumber":"","#] {
        let payload = format!(r#"{{"Records":[],{missing}"MillisBehindLatest":0}}"#);
        assert_eq!(event(payload.as_bytes()).unwrap().continuation, None);
    }
    let payload = r#"{"Records":[],"ContinuationSequenceNumber":"49","MillisBehindLatest":7,"ChildShards":null}"#;
    let event = event(payload.as_bytes()).unwrap();
    assert_eq!((event.continuation, event.millis_behind), (SequenceNumber::parse("49"), 7));
}

#[test]
fn what_is_no_answer_is_said_and_not_guessed() {
    let record = |fields: &str| format!(r#"{{"Records":[{{{fields}}}],"NextShardIterator":"A"}}"#);
    let cases = [
        "<html>".to_owned(),
        ANSWER[..200].to_owned(),
        record(r#""Data":"AA==","PartitionKey":"k""#),
        record(r#""PartitionKey":"k","SequenceNumber":"1""#),
        record(r#""Data":"A","PartitionKey":"k","SequenceNumber":"1""#),
        record(r#""Data":"AA==","PartitionKey":"k","SequenceNumber":"x1""#),
    ];
    for case in cases {
        let error = records(case.as_bytes()).unwrap_err();
        assert!(error.message().contains("could not be read"), "{error}");
    }
}

#[test]
fn texts_of_any_length_stay_with_their_records() {
    let mut gathered = Gathered::new(usize::MAX);
    let key = |at: usize| match at % 5 {
        0 => None,
        1 => Some(String::new()),
        // Longer than a buffer.
        2 if at == 42 => Some("ё".repeat(5_000)),
        _ => Some(format!("ключ-{at}")),
    };
    let data = |at: usize| Bytes::from(at.to_string());
    for at in 0..500 {
        gathered.add(&format!("{at:056}"), key(at).as_deref(), data(at).to_vec().into(), Some(at as u64), Encryption::None).unwrap();
    }
    let records = gathered.into_records().unwrap();
    assert_eq!(records.len(), 500);
    for (at, record) in records.iter().enumerate() {
        assert_eq!(record.sequence.as_str(), format!("{at:056}"));
        assert_eq!((record.partition_key.as_deref(), &record.data), (key(at).as_deref(), &data(at)));
    }
}

#[test]
fn records_weigh_no_more_than_their_json() {
    let body = ANSWER.as_bytes();
    let held: u64 = records(body).unwrap().records.iter().map(RawRecord::cost).sum();
    assert!(body.len() as u64 + held <= decoding_cost(body.len() as u64));
}
