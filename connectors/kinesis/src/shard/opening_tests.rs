//! What a row and a first record come to: the same numbers, or a new epoch.
#![allow(clippy::unwrap_used)]

use super::*;
use connector_sdk::Covered;
use std::collections::{BTreeMap, BTreeSet};

const NOW: u64 = 1_700_000_000_000;

fn record(number: u64) -> SequenceNumber {
    SequenceNumber::parse(number.to_string()).unwrap()
}

fn at(sequence: u64, sub: u64) -> Checkpoint {
    Checkpoint::parse(&sequence.to_string(), sub).unwrap()
}

fn shape(partitions: u32) -> TopicShape {
    TopicShape { topic: "persistent://public/default/orders".into(), partitions, hashing: "Murmur3_32Hash".into() }
}

fn exact(partitions: u32) -> Exact {
    let TopicShape { topic, hashing, .. } = shape(partitions);
    Exact {
        topic,
        partitions,
        hashing,
        key_mode: MessageKeyMode::PartitionKey,
        numbering: NUMBERING,
        covered: BTreeMap::from([(0, Covered { number: 40 << 24, message: None })]),
        spent: BTreeSet::from([41 << 24]),
        uncovered_since: NOW - 5_000,
        next: None,
    }
}

/// A row whose checkpointed record 4957/2 is number 40 of epoch 3.
fn row(exact: Option<Exact>) -> PulsarConnect {
    let text = r#"{"version":1,"write":"w","writer":"t/n/c","worker":"x","stream":{"arn":"a","createdAt":1},"topic":"t","epoch":3,"position":{"sequence":"4957","sub":2,"ordinal":40}}"#;
    PulsarConnect { exact, ..PulsarConnect::parse(text).unwrap() }
}

fn decided(row: &PulsarConnect, checkpoint: &Checkpoint, clean: bool, shape: &TopicShape, first: u64) -> Opening {
    let wanted = Wanted { shape, key_mode: MessageKeyMode::PartitionKey };
    decide(&Found { attribute: row, checkpoint, clean }, &wanted, &record(first), NOW)
}

#[test]
fn the_name_is_of_what_owns_the_checkpoint() {
    let name = lineage_name("orders-to-pulsar", "orders", &"shardId-000000000003".into(), 7);
    assert_eq!(name, "pulsar-connect/orders-to-pulsar/orders/shardId-000000000003/7");
}

#[test]
fn a_crash_goes_on_by_the_rows_own_numbers_count_and_age() {
    let opening = decided(&row(Some(exact(2))), &at(4957, 2), false, &shape(2), 4957);
    assert_eq!(opening.numbering, Numbering { epoch: 3, ordinal: 40 });
    assert_eq!((opening.before, opening.covered, opening.in_doubt), (39, 40 << 24 | 2, true));
    assert_eq!((opening.exact, opening.former), (exact(2), None));
}

#[test]
fn sentinel_row_is_a_position() {
    let fresh = PulsarConnect { epoch: 0, position: None, ..row(None) };
    let first = decided(&fresh, &Checkpoint::TrimHorizon, true, &shape(2), 7);
    assert_eq!((first.numbering.ordinal, first.before, first.in_doubt), (0, 0, false));
    assert_eq!(first.former, None, "nobody was before");
    let stored = PulsarConnect { epoch: first.numbering.epoch, exact: Some(first.exact.clone()), ..fresh };
    let again = decided(&stored, &Checkpoint::TrimHorizon, false, &shape(2), 7);
    assert_eq!(again, Opening { in_doubt: true, ..first }, "the same numbers, and what was sent is in doubt");
    // What it would have begun with has expired.
    let other = decided(&stored, &Checkpoint::TrimHorizon, false, &shape(2), 9);
    assert!(other.numbering.epoch > again.numbering.epoch && other.former.is_some());
}

#[test]
fn a_moved_checkpoint_is_a_new_epoch_and_ends_the_old_one() {
    let opening = decided(&row(Some(exact(2))), &at(5000, 0), false, &shape(4), 5000);
    assert_eq!((opening.before, opening.covered, opening.in_doubt), (0, 1 << 24, false));
    assert_eq!((opening.numbering.ordinal, opening.exact.partitions, opening.exact.uncovered_since), (1, 4, NOW));
    assert!(opening.exact.covered.is_empty() && opening.exact.spent.is_empty(), "of the old epoch");
    let TopicShape { topic, partitions, .. } = shape(2);
    assert_eq!(opening.former, Some(Former { epoch: 3, topic, partitions, late: true, covered: 40 << 24 | 2 }));
}

#[test]
fn an_expired_position_is_a_new_epoch_whose_first_record_is_kept() {
    let opening = decided(&row(Some(exact(2))), &at(4957, 2), true, &shape(2), 5003);
    assert_eq!((opening.numbering.ordinal, opening.before), (0, 0));
    let stored = PulsarConnect { epoch: opening.numbering.epoch, position: None, exact: Some(opening.exact.clone()), ..row(None) };
    let again = decided(&stored, &at(4957, 2), false, &shape(2), 5003);
    assert_eq!((again.numbering, again.before), (opening.numbering, 0));
    let moved = decided(&stored, &at(4958, 0), false, &shape(2), 5003);
    assert!(moved.numbering.epoch > again.numbering.epoch, "it holds for its checkpoint alone");
}

#[test]
fn another_guarantee_hands_its_numbers_over_only_clean() {
    let opening = decided(&row(None), &at(4957, 2), true, &shape(2), 4957);
    assert_eq!((opening.numbering, opening.in_doubt), (Numbering { epoch: 3, ordinal: 40 }, false));
    let opening = decided(&row(None), &at(4957, 2), false, &shape(2), 4957);
    assert!(opening.numbering.epoch > 3 && !opening.in_doubt && opening.former.is_none());
}

#[test]
fn a_table_that_was_deleted_and_made_anew_does_not_come_to_its_old_names() {
    let fresh = PulsarConnect { epoch: 0, position: None, ..row(None) };
    let open = |now| {
        let wanted = Wanted { shape: &shape(1), key_mode: MessageKeyMode::PartitionKey };
        decide(&Found { attribute: &fresh, checkpoint: &Checkpoint::Latest, clean: true }, &wanted, &record(7), now)
    };
    assert!(open(NOW + 60_000).numbering.epoch > open(NOW).numbering.epoch);
}

#[test]
fn growth_inside_inherited_doubt() {
    let grown = decided(&row(Some(exact(2))), &at(4957, 2), false, &shape(3), 4957);
    assert_eq!((grown.exact.partitions, grown.in_doubt, grown.numbering.epoch), (2, true, 3), "it goes on by the old count");
    let clean = decided(&row(Some(exact(2))), &at(4957, 2), true, &shape(3), 4957);
    assert_eq!((clean.exact.partitions, clean.in_doubt, clean.numbering.epoch), (3, false, 3));
}

#[test]
fn what_cannot_wait_is_a_new_epoch_in_doubt_and_nothing_outside() {
    let other_topic = TopicShape { topic: "persistent://public/default/other".into(), ..shape(2) };
    let other_hash = TopicShape { hashing: "JavaStringHash".into(), ..shape(2) };
    for (shape, keeps_covered) in [(other_topic, false), (other_hash, true), (shape(1), false), (shape(0), false)] {
        let doubt = decided(&row(Some(exact(2))), &at(4957, 2), false, &shape, 4957);
        assert!(doubt.numbering.epoch > 3 && !doubt.in_doubt, "{shape:?}");
        assert_eq!((doubt.numbering.ordinal, doubt.former.unwrap().epoch), (1, 3));
        let clean = decided(&row(Some(exact(2))), &at(4957, 2), true, &shape, 4957);
        assert_eq!((clean.numbering.epoch, clean.exact.partitions), (3, shape.partitions));
        assert_eq!((&clean.exact.topic, &clean.exact.hashing), (&shape.topic, &shape.hashing));
        assert_eq!(clean.exact.covered.is_empty(), !keeps_covered);
    }
    let shape = shape(2);
    let wanted = Wanted { shape: &shape, key_mode: MessageKeyMode::ShardId };
    let (row, checkpoint) = (row(Some(exact(2))), at(4957, 2));
    let found = |clean| Found { attribute: &row, checkpoint: &checkpoint, clean };
    assert!(decide(&found(false), &wanted, &record(4957), NOW).numbering.epoch > 3);
    let clean = decide(&found(true), &wanted, &record(4957), NOW);
    assert_eq!((clean.numbering.epoch, clean.exact.key_mode), (3, MessageKeyMode::ShardId));
}

#[test]
fn another_numbering_is_a_new_epoch_even_where_nothing_is_open() {
    let other = Exact { numbering: NUMBERING + 1, ..exact(2) };
    let opening = decided(&row(Some(other)), &at(4957, 2), true, &shape(2), 4957);
    assert!(opening.numbering.epoch > 3);
    assert_eq!(opening.exact.numbering, NUMBERING);
}
