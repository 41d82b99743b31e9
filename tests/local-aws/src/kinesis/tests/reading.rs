//! Iterators, retention, the distance behind the tip, encryption, canned streams.

use super::*;

fn first_len(kinesis: &mut Kinesis, start: StartingPosition) -> usize {
    let token = iterator(kinesis, 0, start);
    kinesis.get_records(&token, None).unwrap().records.len()
}

#[test]
fn each_kind_of_iterator_begins_where_it_says() {
    let (mut kinesis, clock) = with_stream(unlimited(), 1);
    let mut numbers = Vec::new();
    for _ in 0..5 {
        numbers.push(kinesis.put_record("s", record("k", 3)).unwrap().sequence_number.to_string());
        clock.advance(10).unwrap();
    }
    assert_eq!(first_len(&mut kinesis, StartingPosition::TrimHorizon), 5);
    assert_eq!(first_len(&mut kinesis, StartingPosition::Latest), 0);
    assert_eq!(first_len(&mut kinesis, StartingPosition::AtSequenceNumber(numbers[2].clone())), 3);
    assert_eq!(first_len(&mut kinesis, StartingPosition::AfterSequenceNumber(numbers[2].clone())), 2);
    // The third record arrived at +20 ms.
    assert_eq!(first_len(&mut kinesis, StartingPosition::AtTimestamp(START + 20)), 3);
    assert_eq!(first_len(&mut kinesis, StartingPosition::AtTimestamp(START + 21)), 2);
    let future = StartingPosition::AtTimestamp(clock.now() + 1);
    assert_eq!(kinesis.get_shard_iterator("s", ShardId(0), &future).unwrap_err().kind, ErrorKind::InvalidArgument);
}

#[test]
fn numbers_of_other_shards_and_of_nobody_are_refused() {
    let (mut kinesis, _) = with_stream(unlimited(), 2);
    let placed = kinesis.put_record("s", record("k", 3)).unwrap();
    let other = ShardId(1 - placed.shard_id.0);
    let digits = placed.sequence_number.to_string();
    let not_yet = format!("{}{}", &digits[..22], "9".repeat(34));
    for (shard, number) in
        [(other, digits.clone()), (placed.shard_id, "12".to_owned()), (placed.shard_id, not_yet), (placed.shard_id, "x".repeat(56))]
    {
        let start = StartingPosition::AfterSequenceNumber(number);
        assert_eq!(kinesis.get_shard_iterator("s", shard, &start).unwrap_err().kind, ErrorKind::InvalidArgument);
    }
}

#[test]
fn an_iterator_expires_and_a_forged_one_is_refused() {
    let (mut kinesis, clock) = with_stream(KinesisSettings::default(), 1);
    let token = iterator(&mut kinesis, 0, StartingPosition::TrimHorizon);
    clock.advance(300_000).unwrap();
    kinesis.get_records(&token, None).unwrap();
    clock.advance(1).unwrap();
    assert_eq!(kinesis.get_records(&token, None).unwrap_err().kind, ErrorKind::ExpiredIterator);
    let mut forged = token.into_bytes();
    let middle = forged.len() / 2;
    forged[middle] = if forged[middle] == b'A' { b'B' } else { b'A' };
    for token in [String::from_utf8(forged).unwrap(), String::new(), "AAAA".to_owned()] {
        assert_eq!(kinesis.get_records(&token, None).unwrap_err().kind, ErrorKind::InvalidArgument);
    }
}

#[test]
fn trimmed_records_are_skipped_and_the_truth_keeps_them() {
    let (mut kinesis, clock) = with_stream(unlimited(), 1);
    let first = kinesis.put_record("s", record("k", 3)).unwrap().sequence_number;
    let token = iterator(&mut kinesis, 0, StartingPosition::TrimHorizon);
    clock.advance(24 * 3_600_000 - 60_000).unwrap();
    kinesis.put_record("s", record("k", 3)).unwrap();
    assert_eq!(first_len(&mut kinesis, StartingPosition::AtSequenceNumber(first.to_string())), 2);
    clock.advance(60_001).unwrap();
    assert_eq!(kinesis.get_records(&token, None).unwrap_err().kind, ErrorKind::ExpiredIterator);
    assert_eq!(first_len(&mut kinesis, StartingPosition::AtSequenceNumber(first.to_string())), 1);
    assert_eq!(kinesis.stream("s").unwrap().shards[0].all_records().len(), 2);
    assert_eq!(kinesis.set_retention("s", 48, false).unwrap_err().kind, ErrorKind::InvalidArgument);
    kinesis.set_retention("s", 48, true).unwrap();
    assert_eq!(kinesis.set_retention("s", 24, true).unwrap_err().kind, ErrorKind::InvalidArgument);
}

#[test]
fn a_closed_shard_is_forgotten_after_its_retention() {
    let (mut kinesis, clock) = with_stream(unlimited(), 1);
    kinesis.put_record("s", record("k", 3)).unwrap();
    kinesis.split_shard("s", ShardId(0), 1 << 127).unwrap();
    clock.advance(24 * 3_600_000).unwrap();
    let answer = iterator(&mut kinesis, 0, StartingPosition::TrimHorizon);
    assert_eq!(kinesis.get_records(&answer, None).unwrap().child_shards.len(), 2);
    clock.advance(1).unwrap();
    let gone = kinesis.get_shard_iterator("s", ShardId(0), &StartingPosition::TrimHorizon).unwrap_err();
    assert_eq!(gone.kind, ErrorKind::ResourceNotFound);
}

#[test]
fn behind_is_measured_from_the_clock() {
    let (mut kinesis, clock) = with_stream(unlimited(), 1);
    for _ in 0..3 {
        kinesis.put_record("s", record("k", 3)).unwrap();
        clock.advance(1_000).unwrap();
    }
    let token = iterator(&mut kinesis, 0, StartingPosition::TrimHorizon);
    let behind = |kinesis: &mut Kinesis, limit| kinesis.get_records(&token, Some(limit)).unwrap().millis_behind_latest;
    assert_eq!(behind(&mut kinesis, 1), 3_000);
    assert_eq!(behind(&mut kinesis, 2), 2_000);
    assert_eq!(behind(&mut kinesis, 3), 0);
}

#[test]
fn records_carry_the_encryption_of_their_time() {
    let (mut kinesis, _) = with_stream(unlimited(), 1);
    kinesis.put_record("s", record("k", 1)).unwrap();
    kinesis.set_encryption("s", Some("alias/aws/kinesis".to_owned())).unwrap();
    kinesis.put_record("s", record("k", 1)).unwrap();
    kinesis.set_encryption("s", None).unwrap();
    kinesis.put_record("s", record("k", 1)).unwrap();
    let encrypted: Vec<bool> = kinesis.stream("s").unwrap().shards[0].all_records().iter().map(|record| record.encrypted).collect();
    assert_eq!(encrypted, [false, true, false]);
}

#[test]
fn a_canned_stream_counts_up_to_its_total() {
    let (mut kinesis, _) = machine(unlimited());
    let spec =
        CannedSpec { stream: "s".to_owned(), shards: 2, records_per_answer: 30, bytes: 100, total: Some(100), records_per_second: None };
    kinesis.create_canned_stream(&spec).unwrap();
    let mut token = iterator(&mut kinesis, 1, StartingPosition::TrimHorizon);
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let answer = kinesis.get_records(&token, None).unwrap();
        if let RecordBatch::Canned(batch) = &answer.records {
            numbers.extend((0..batch.count).map(|index| batch.number(index)));
        }
        token = answer.next_iterator.unwrap();
    }
    assert_eq!(numbers.len(), 50);
    assert!(numbers.is_sorted_by(|one, other| one < other));
    let after = StartingPosition::AfterSequenceNumber(numbers[44].to_string());
    assert_eq!(first_len_of(&mut kinesis, 1, after), 5);
    assert_eq!(kinesis.put_record("s", record("k", 1)).unwrap_err().kind, ErrorKind::ResourceInUse);
}

#[test]
fn a_canned_stream_with_a_pace_brings_whole_answers_shard_by_shard() {
    let (mut kinesis, clock) = machine(unlimited());
    // Of each shard 10 records every 40 ms, of the second one 20 ms later.
    let spec =
        CannedSpec { stream: "s".to_owned(), shards: 2, records_per_answer: 10, bytes: 4, total: None, records_per_second: Some(500) };
    kinesis.create_canned_stream(&spec).unwrap();
    let mut arrived = Vec::new();
    for _ in 0..10 {
        let len = |kinesis: &mut Kinesis, shard| first_len_of(kinesis, shard, StartingPosition::TrimHorizon);
        // An answer never holds more than one run of the made-up records.
        arrived.push((len(&mut kinesis, 0), len(&mut kinesis, 1)));
        clock.advance(10).unwrap();
    }
    let (none, first, both) = ((0, 0), (10, 0), (10, 10));
    assert_eq!(arrived, [none, none, none, none, first, first, both, both, both, both]);
}

fn first_len_of(kinesis: &mut Kinesis, shard: u64, start: StartingPosition) -> usize {
    let token = iterator(kinesis, shard, start);
    kinesis.get_records(&token, None).unwrap().records.len()
}
