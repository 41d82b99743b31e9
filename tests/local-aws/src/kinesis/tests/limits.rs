//! Rates and sizes, by the clock.

use super::*;

const MIB: usize = 1024 * 1024;

fn kind<T: std::fmt::Debug>(answer: Result<T, KinesisError>) -> ErrorKind {
    answer.unwrap_err().kind
}

#[test]
fn a_shard_takes_a_thousand_records_a_second() {
    let (mut kinesis, clock) = with_stream(KinesisSettings::default(), 1);
    for _ in 0..1000 {
        kinesis.put_record("s", record("k", 1)).unwrap();
    }
    assert_eq!(kind(kinesis.put_record("s", record("k", 1))), ErrorKind::ProvisionedThroughputExceeded);
    clock.advance(500).unwrap();
    let outcomes = kinesis.put_records("s", vec![record("k", 1); 500]).unwrap();
    assert!(outcomes.iter().all(Result::is_ok));
    let outcomes = kinesis.put_records("s", vec![record("k", 1); 2]).unwrap();
    assert!(outcomes.iter().all(Result::is_err));
    kinesis.settings_mut().limits.writes = false;
    kinesis.put_record("s", record("k", 1)).unwrap();
}

#[test]
fn a_shard_takes_a_mebibyte_a_second_and_part_of_a_batch_may_fail() {
    let (mut kinesis, clock) = with_stream(KinesisSettings::default(), 1);
    let outcomes = kinesis.put_records("s", vec![record("k", MIB / 2 - 1); 3]).unwrap();
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false]);
    clock.advance(1000).unwrap();
    kinesis.put_record("s", record("k", MIB - 1)).unwrap();
    let stored: usize = kinesis.stream("s").unwrap().shards[0].all_records().len();
    assert_eq!(stored, 3);
}

#[test]
fn sizes_are_checked_before_anything_is_stored() {
    let (mut kinesis, _) = with_stream(KinesisSettings::default(), 1);
    assert_eq!(kind(kinesis.put_record("s", record("k", MIB))), ErrorKind::Validation);
    assert_eq!(kind(kinesis.put_records("s", vec![record("k", 1); 501])), ErrorKind::Validation);
    assert_eq!(kind(kinesis.put_records("s", vec![record("k", 1), record("", 1)])), ErrorKind::Validation);
    assert_eq!(kind(kinesis.put_records("s", vec![record("k", MIB - 1); 11])), ErrorKind::InvalidArgument);
    assert!(kinesis.stream("s").unwrap().shards[0].all_records().is_empty());
    kinesis.set_max_record_size("s", 10_240).unwrap();
    kinesis.put_record("s", record("k", 10 * MIB - 1)).unwrap();
    assert_eq!(kind(kinesis.put_record("s", record("k", 10 * MIB))), ErrorKind::Validation);
}

#[test]
fn a_shard_answers_five_reads_a_second() {
    let (mut kinesis, clock) = with_stream(KinesisSettings::default(), 1);
    let token = iterator(&mut kinesis, 0, StartingPosition::TrimHorizon);
    for _ in 0..5 {
        kinesis.get_records(&token, None).unwrap();
    }
    assert_eq!(kind(kinesis.get_records(&token, None)), ErrorKind::ProvisionedThroughputExceeded);
    clock.advance(200).unwrap();
    kinesis.get_records(&token, None).unwrap();
    assert_eq!(kind(kinesis.get_records(&token, None)), ErrorKind::ProvisionedThroughputExceeded);
}

#[test]
fn an_answer_ends_at_ten_mebibytes_and_then_the_shard_rests() {
    let (mut kinesis, clock) = with_stream(KinesisSettings::default(), 1);
    kinesis.load("s", vec![record("k", MIB - 1); 12]).unwrap();
    let token = iterator(&mut kinesis, 0, StartingPosition::TrimHorizon);
    let first = kinesis.get_records(&token, None).unwrap();
    assert_eq!(first.records.len(), 10);
    let next = first.next_iterator.unwrap();
    clock.advance(4_999).unwrap();
    assert_eq!(kind(kinesis.get_records(&next, None)), ErrorKind::ProvisionedThroughputExceeded);
    clock.advance(1).unwrap();
    assert_eq!(kinesis.get_records(&next, None).unwrap().records.len(), 2);
}

#[test]
fn an_answer_ends_at_ten_thousand_records() {
    let (mut kinesis, _) = with_stream(unlimited(), 1);
    kinesis.load("s", vec![record("k", 0); 10_001]).unwrap();
    let token = iterator(&mut kinesis, 0, StartingPosition::TrimHorizon);
    assert_eq!(kinesis.get_records(&token, None).unwrap().records.len(), 10_000);
    assert_eq!(kinesis.get_records(&token, Some(7)).unwrap().records.len(), 7);
    assert_eq!(kind(kinesis.get_records(&token, Some(10_001))), ErrorKind::Validation);
    assert_eq!(kind(kinesis.get_records(&token, Some(0))), ErrorKind::Validation);
}

#[test]
fn the_twenty_first_consumer_is_refused() {
    let (mut kinesis, _) = with_stream(KinesisSettings::default(), 1);
    for index in 0..20 {
        kinesis.register_consumer("s", &format!("c{index}")).unwrap();
    }
    assert_eq!(kind(kinesis.register_consumer("s", "c20")), ErrorKind::LimitExceeded);
    assert_eq!(kind(kinesis.register_consumer("s", "c3")), ErrorKind::ResourceInUse);
    assert_eq!(kind(kinesis.delete_stream("s", false)), ErrorKind::ResourceInUse);
    kinesis.delete_stream("s", true).unwrap();
    assert_eq!(kind(kinesis.describe("s").map(|_| ())), ErrorKind::ResourceNotFound);
}
