//! What is remembered of deliveries, against a plain set.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::message::{BatchIndex, ConsumerId};

fn id(entry: i64) -> MessageId {
    MessageId { ledger: 1, entry }
}

fn message(entry: i64, batch: Option<(u32, u32)>) -> DeliveredId {
    let batch = batch.map(|(index, size)| BatchIndex { index, size });
    DeliveredId { consumer: ConsumerId(0), message: id(entry), batch }
}

fn whole(entry: i64) -> AckedEntry {
    AckedEntry { id: id(entry), set: Vec::new() }
}

#[test]
fn a_batch_is_acknowledged_whole_when_all_of_it_is() {
    let mut unacked = Unacked::default();
    assert_eq!(unacked.deliver(id(1), 3, &[], vec![]).unwrap().count(), 3);
    for index in [2, 0] {
        unacked.ack(message(1, Some((index, 3))), false);
        assert_eq!(unacked.next_group(1, 10), None);
    }
    unacked.ack(message(1, Some((1, 3))), false);
    assert_eq!(unacked.next_group(1, 10), Some(Group::Individual(vec![whole(1)])));
    assert_eq!(unacked.in_hand(), 0);
}

#[test]
fn with_a_broker_that_takes_them_one_by_one_the_rest_of_a_batch_is_named() {
    let mut unacked = Unacked::default();
    unacked.deliver(id(1), 70, &[], vec![]);
    unacked.ack(message(1, Some((65, 70))), true);
    unacked.ack(message(1, Some((0, 70))), true);
    let set = vec![-2, 0b11_1101];
    assert_eq!(unacked.next_group(1, 10), Some(Group::Individual(vec![AckedEntry { id: id(1), set }])));
    unacked.confirmed(1);
    assert_eq!(unacked.in_hand(), 68, "it is still known");
}

#[test]
fn what_the_broker_says_is_done_is_not_handed_on() {
    let mut unacked = Unacked::default();
    let left = unacked.deliver(id(1), 3, &[0b101], vec![]).unwrap();
    assert_eq!([left.contains(0), left.contains(1), left.contains(2)], [true, false, true]);
}

#[test]
fn up_to_the_middle_of_a_batch_means_up_to_the_entry_before_unless_the_broker_can_do_better() {
    for (by_index, expected) in [(false, whole(4)), (true, AckedEntry { id: id(5), set: vec![0b100] })] {
        let mut unacked = Unacked::default();
        for entry in 3..=5 {
            unacked.deliver(id(entry), 3, &[], vec![]);
        }
        unacked.ack_up_to(message(5, Some((1, 3))), by_index);
        assert_eq!(unacked.next_group(1, 10), Some(Group::Cumulative(expected)));
        assert_eq!(unacked.in_hand(), 1);
        // The last one makes the batch whole.
        unacked.ack_up_to(message(5, Some((2, 3))), by_index);
        assert_eq!(unacked.next_group(2, 10), Some(Group::Cumulative(whole(5))));
        assert_eq!(unacked.in_hand(), 0);
    }
}

#[test]
fn all_chunks_of_a_message_are_acknowledged() {
    let mut unacked = Unacked::default();
    unacked.deliver(id(9), 1, &[], vec![id(4), id(7)]);
    unacked.ack(message(9, None), false);
    assert_eq!(unacked.next_group(1, 10), Some(Group::Individual(vec![whole(4), whole(7), whole(9)])));
}

#[test]
fn an_acknowledgement_is_sent_again_until_it_is_confirmed_and_its_message_is_not_handed_on_meanwhile() {
    let mut unacked = Unacked::default();
    unacked.deliver(id(1), 1, &[], vec![]);
    unacked.deliver(id(2), 1, &[], vec![]);
    unacked.ack(message(1, None), false);
    assert!(unacked.next_group(1, 10).is_some());
    let mark = unacked.mark();
    assert!(!unacked.is_confirmed(mark));
    unacked.reopened();
    assert_eq!(unacked.deliver(id(1), 1, &[], vec![]), None);
    assert!(unacked.deliver(id(2), 1, &[], vec![]).is_some());
    assert!(unacked.next_group(2, 10).is_some());
    unacked.ack(message(2, None), false);
    assert!(unacked.next_group(3, 10).is_some());
    unacked.confirmed(3);
    assert!(!unacked.is_confirmed(mark), "a later one does not count for it");
    unacked.confirmed(2);
    assert!(unacked.is_confirmed(mark));
    assert!(unacked.entries.is_empty());
}

#[test]
fn the_same_holds_for_everything_up_to_a_message() {
    let mut unacked = Unacked::default();
    unacked.deliver(id(1), 1, &[], vec![]);
    unacked.ack_up_to(message(1, None), false);
    assert!(unacked.next_group(1, 10).is_some());
    unacked.reopened();
    assert_eq!(unacked.deliver(id(1), 1, &[], vec![]), None);
    assert_eq!(unacked.next_group(2, 10), Some(Group::Cumulative(whole(1))));
    unacked.confirmed(2);
    assert!(unacked.deliver(id(1), 1, &[], vec![]).is_some(), "what it confirmed the broker knows better");
}

#[test]
fn what_is_acknowledged_in_time_is_not_asked_for_again() {
    let (mut unacked, now) = (Unacked::default(), Instant::now());
    unacked.deliver(id(1), 1, &[], vec![]);
    unacked.deliver(id(2), 1, &[], vec![]);
    assert!(unacked.ask_again(id(1), now) && unacked.ask_again(id(2), now));
    assert!(!unacked.ask_again(id(3), now));
    unacked.ack(message(1, None), false);
    assert_eq!(unacked.take_again(now, 10), [id(2)]);
    assert_eq!(unacked.next_again(), None);
}

#[test]
fn what_comes_before_a_part_of_a_batch_that_is_acknowledged_is_not_handed_on_before_that_is_confirmed() {
    let mut unacked = Unacked::default();
    for entry in 1..=2 {
        unacked.deliver(id(entry), 2, &[], vec![]);
    }
    unacked.ack_up_to(message(2, Some((0, 2))), true);
    assert!(unacked.next_group(1, 10).is_some());
    unacked.all_again();
    assert_eq!(unacked.deliver(id(1), 2, &[], vec![]), None);
    assert_eq!(unacked.deliver(id(2), 2, &[], vec![]).unwrap().count(), 1);
}

#[test]
fn the_confirmation_of_a_part_is_not_that_of_the_whole() {
    let mut unacked = Unacked::default();
    unacked.deliver(id(1), 2, &[], vec![]);
    for (index, request) in [(0, 1), (1, 2)] {
        unacked.ack(message(1, Some((index, 2))), true);
        assert!(unacked.next_group(request, 10).is_some());
    }
    unacked.confirmed(1);
    assert_eq!(unacked.deliver(id(1), 2, &[], vec![]), None);
    unacked.confirmed(2);
    assert!(unacked.entries.is_empty());
}

/// A broker that does not take parts takes the part for the whole: the rest would never come again.
#[test]
fn what_was_due_and_done_otherwise_does_not_name_a_part_of_what_is_tracked_anew() {
    let mut unacked = Unacked::default();
    unacked.deliver(id(1), 2, &[], vec![]);
    unacked.deliver(id(2), 1, &[], vec![]);
    for index in 0..2 {
        unacked.ack(message(1, Some((index, 2))), false);
    }
    unacked.ack_up_to(message(2, None), false);
    unacked.ack(message(1, Some((0, 2))), false);
    assert_eq!(unacked.next_group(1, 10), Some(Group::Cumulative(whole(2))));
    assert_eq!(unacked.next_group(2, 10), None);
}

/// The same, when it was sent already and has to be sent again.
#[test]
fn what_was_sent_and_done_otherwise_does_not_name_a_part_of_what_is_tracked_anew() {
    let mut unacked = Unacked::default();
    unacked.deliver(id(1), 2, &[], vec![]);
    unacked.deliver(id(2), 1, &[], vec![]);
    for index in 0..2 {
        unacked.ack(message(1, Some((index, 2))), false);
    }
    assert_eq!(unacked.next_group(1, 10), Some(Group::Individual(vec![whole(1)])));
    unacked.ack_up_to(message(2, None), false);
    unacked.ack(message(1, Some((0, 2))), false);
    unacked.reopened();
    assert_eq!(unacked.next_group(2, 10), Some(Group::Cumulative(whole(2))));
    assert_eq!(unacked.next_group(3, 10), None);
}

/// Else what only the later one said is never confirmed, and its messages are handed on again.
#[test]
fn of_two_unconfirmed_acknowledgements_up_to_places_in_one_batch_the_further_is_sent_again() {
    for (second, expected) in [(2, AckedEntry { id: id(1), set: vec![0b1000] }), (3, whole(1))] {
        let mut unacked = Unacked::default();
        unacked.deliver(id(1), 4, &[], vec![]);
        for (index, request) in [(0, 1), (second, 2)] {
            unacked.ack_up_to(message(1, Some((index, 4))), true);
            assert!(unacked.next_group(request, 10).is_some());
        }
        unacked.reopened();
        assert_eq!(unacked.deliver(id(1), 4, &[], vec![]).map_or(0, |left| left.count()), 3 - second);
        assert_eq!(unacked.next_group(3, 10), Some(Group::Cumulative(expected)));
        assert_eq!(unacked.next_group(4, 10), None);
    }
}

/// A message may be in its owner's hands twice, before and after it was delivered anew.
#[test]
fn an_acknowledgement_up_to_an_earlier_place_in_a_batch_takes_nothing_back() {
    let mut unacked = Unacked::default();
    unacked.deliver(id(1), 3, &[], vec![]);
    for index in [2, 0] {
        unacked.ack_up_to(message(1, Some((index, 3))), true);
    }
    assert_eq!(unacked.next_group(1, 10), Some(Group::Cumulative(whole(1))));
}

/// Its owner may have its messages twice, before and after it was delivered anew, and be done with one copy only.
#[test]
fn a_batch_whose_acknowledgement_is_confirmed_is_not_asked_for_again_for_another_copy_of_it() {
    let (mut unacked, now) = (Unacked::default(), Instant::now());
    unacked.deliver(id(1), 2, &[], vec![]);
    unacked.reopened();
    unacked.deliver(id(1), 2, &[], vec![]);
    for index in 0..2 {
        unacked.ack(message(1, Some((index, 2))), false);
    }
    assert!(unacked.next_group(1, 10).is_some());
    unacked.confirmed(1);
    unacked.ack(message(1, Some((0, 2))), false);
    assert!(!unacked.ask_again(id(1), now));
    assert_eq!(unacked.next_again(), None);
}
