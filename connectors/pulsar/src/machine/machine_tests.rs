//! The machine against a model of a broker, under drops, repetitions, moves and refusals at random; every failure has its seed.

#![allow(clippy::unwrap_used)]

use super::producer_model::World;
use super::*;
use crate::error::code;
use crate::wire::messages::{self as proto, BaseCommand, kind};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

#[derive(Debug, Clone)]
enum Step {
    Append { producer: u8, size: usize },
    Connect,
    Write,
    Answer,
    Repeat,
    Lose(usize),
    Unload(bool),
    Fail(i32),
    Sleep(u64),
    Silence(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0u8..2, 0usize..400).prop_map(|(producer, size)| Step::Append { producer, size }),
        3 => Just(Step::Connect),
        10 => Just(Step::Write),
        10 => Just(Step::Answer),
        1 => Just(Step::Repeat),
        1 => any::<usize>().prop_map(Step::Lose),
        1 => any::<bool>().prop_map(Step::Unload),
        1 => prop::sample::select(vec![code::PERSISTENCE, code::CHECKSUM, code::SERVICE_NOT_READY]).prop_map(Step::Fail),
        4 => (0u64..4_000).prop_map(Step::Sleep),
        1 => any::<bool>().prop_map(Step::Silence),
    ];
    prop::collection::vec(step, 1..250)
}

fn play(world: &mut World, steps: Vec<Step>) -> u64 {
    let producers = [world.open("a"), world.open("b")];
    let mut number = 0;
    let mut last_answer = None;
    for step in steps {
        match step {
            Step::Append { producer, size } => {
                world.append(producers[usize::from(producer)], number, size);
                number += 1;
            }
            Step::Connect => world.connect_one(),
            Step::Write => world.write_one(),
            Step::Answer => {
                last_answer = world.model.answers.first().cloned().or(last_answer);
                world.answer_one();
            }
            Step::Repeat => {
                // A receipt that comes twice; nothing else is ever repeated by TCP.
                if let Some((connection, command)) = last_answer.clone().filter(|(_, command)| command.send_receipt.is_some()) {
                    let now = world.now();
                    world.machine.received(now, connection, command);
                }
            }
            Step::Lose(at) => world.lose_connection(at),
            Step::Unload(assigned) => world.unload(assigned),
            Step::Fail(error) => {
                if let Some((connection, producer_id)) = world.model.open.keys().next().copied() {
                    let refusal = proto::SendError { producer_id, sequence_id: 0, error, message: "model".into() };
                    let command = BaseCommand { kind: kind::SEND_ERROR, send_error: Some(refusal), ..Default::default() };
                    world.model.answer(connection, command);
                }
            }
            Step::Sleep(ms) => world.sleep(Duration::from_millis(ms)),
            Step::Silence(silent) => world.model.silent = silent,
        }
        world.actions();
    }
    // Whatever was left unanswered while silent is answered only after a reconnect.
    world.model.silent = false;
    while !world.up.is_empty() || !world.connecting.is_empty() {
        world.lose_connection(0);
    }
    number
}

/// The records in the order in which each appears first.
fn first_appearances(stored: &[u64]) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    stored.iter().copied().filter(|number| seen.insert(*number)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_reordered_or_acknowledged_twice(
        seed: u64, steps in steps(), limit in prop::option::of(150usize..500), batching: bool, chunking: bool, narrow: bool,
    ) {
        let chunking = chunking && !batching;
        let mut world = World::new(seed, |settings| {
            settings.batching.enabled = batching;
            settings.chunking = chunking;
            if narrow {
                settings.unanswered_bytes = 1_000;
            }
        });
        world.model.largest = limit;
        // In chunks of a hundred bytes and a few.
        world.model.max_message_size = chunking.then_some(200);
        let count = play(&mut world, steps);
        world.quiesce();
        prop_assert!(world.model.protocol_errors.is_empty(), "{:?}", world.model.protocol_errors);
        prop_assert!(world.model.same_bytes, "an entry was repeated with other bytes");
        let mut stored = BTreeSet::new();
        for numbers in world.model.stored.values() {
            let order = first_appearances(numbers);
            prop_assert!(order.is_sorted(), "order of first appearances: {order:?}");
            stored.extend(order);
        }
        let refused: BTreeSet<u64> = world.refused.iter().copied().collect();
        prop_assert_eq!(refused.len(), world.refused.len(), "a record was refused twice");
        prop_assert!(stored.is_disjoint(&refused), "a record was stored and refused");
        let all: BTreeSet<u64> = (0..count).collect();
        prop_assert_eq!(&stored.union(&refused).copied().collect::<BTreeSet<_>>(), &all);
        let settled = world.seen.settled.lock().unwrap();
        prop_assert!(settled.values().all(|times| *times == 1), "a handle was resolved twice");
        prop_assert_eq!(&settled.keys().copied().collect::<BTreeSet<_>>(), &all);
        prop_assert!(world.seen.given_back.lock().unwrap().is_empty());
        prop_assert_eq!(world.freed.records as u64, count);
        prop_assert_eq!(world.facts.in_flight_records.get(), 0);
        prop_assert_eq!(world.facts.in_flight_bytes.get(), 0);
        // Requests of the living (a CLOSE has none) are all that may be remembered.
        prop_assert!(world.machine.requests.is_empty(), "{:?}", world.machine.requests);
    }

    #[test]
    fn at_most_once_never_repeats_and_counts_what_may_be_lost(seed: u64, steps in steps(), batching: bool, chunking: bool) {
        let chunking = chunking && !batching;
        let mut world = World::new(seed, |settings| {
            settings.resend = false;
            settings.batching.enabled = batching;
            settings.chunking = chunking;
        });
        world.model.max_message_size = chunking.then_some(200);
        let count = play(&mut world, steps);
        world.quiesce();
        let mut stored = 0;
        for numbers in world.model.stored.values() {
            prop_assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "doubled or out of order: {numbers:?}");
            stored += numbers.len() as u64;
        }
        let settled = world.seen.settled.lock().unwrap().len() as u64;
        prop_assert_eq!(settled, count, "settled includes unknown");
        prop_assert!(count - stored <= world.facts.lost_records.get(), "losses are counted");
        prop_assert_eq!(world.facts.resends.get(), 0);
    }

    #[test]
    fn after_the_fence_nothing_new_of_the_lease_is_written(seed: u64, before in steps()) {
        let mut world = World::new(seed, |_| {});
        let producer = world.open("c");
        let count = play(&mut world, before);
        for number in count..count + 20 {
            world.append(producer, number, 10);
        }
        world.seen.fenced.store(true, Ordering::Relaxed);
        let written: BTreeSet<u64> = world.model.stored.values().flatten().copied().collect();
        world.quiesce();
        let later: BTreeSet<u64> = world.model.stored.values().flatten().copied().collect();
        prop_assert_eq!(written, later);
        let settled = world.seen.settled.lock().unwrap();
        let given_back = world.seen.given_back.lock().unwrap();
        prop_assert_eq!(settled.len() + given_back.len(), usize::try_from(count).unwrap() + 20);
        prop_assert_eq!(world.facts.in_flight_records.get(), 0);
    }
}

#[test]
fn the_schedules_reach_what_they_are_meant_to_reach() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut sums = [0; 7];
    for seed in 0..200 {
        let schedule = steps().new_tree(&mut runner).unwrap().current();
        let mut world = World::new(seed, |_| {});
        world.model.largest = (seed % 2 == 0).then_some(300);
        play(&mut world, schedule);
        world.quiesce();
        let facts = &world.facts;
        let numbers = [
            &facts.resends,
            &facts.reopens,
            &facts.disconnects,
            &facts.refused_entries,
            &facts.refused_records,
            &facts.errors,
            &facts.entries,
        ];
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum += number.get();
        }
        // More records than entries: batches were made.
        assert!(facts.entry_records.get() >= facts.entries.get());
    }
    assert!(sums.iter().all(|sum| *sum > 50), "{sums:?}");
}

fn ready_world() -> (World, ProducerId) {
    let mut world = World::new(3, |_| {});
    let producer = world.open("a");
    world.quiesce_open();
    (world, producer)
}

/// All chunks of a message bear one number: the second receipt for the same place says nothing about the next chunk.
#[test]
fn a_receipt_that_is_repeated_does_not_stand_for_the_next_chunk() {
    let mut world = World::new(3, |settings| {
        settings.batching.enabled = false;
        settings.chunking = true;
    });
    world.model.max_message_size = Some(200);
    let producer = world.open("a");
    world.quiesce_open();
    world.append(producer, 0, 300);
    world.actions();
    assert!(world.wire.len() > 2, "{} chunks", world.wire.len());
    while !world.wire.is_empty() {
        world.write_one();
    }
    let (connection, first) = world.model.answers[0].clone();
    for _ in 0..world.model.answers.len() {
        let now = world.now();
        world.machine.received(now, connection, first.clone());
    }
    assert!(world.seen.settled.lock().unwrap().is_empty());
    world.quiesce();
    assert_eq!(world.seen.settled.lock().unwrap().len(), 1);
}

#[test]
fn the_first_record_after_a_silence_does_not_wait_and_the_next_ones_share_a_batch() {
    let (mut world, producer) = ready_world();
    // Once something larger was taken, no entry has to go alone.
    world.append(producer, 0, 1_000);
    world.quiesce();
    world.sleep(Duration::from_millis(10));
    world.append(producer, 1, 1);
    world.actions();
    assert_eq!(world.wire.len(), 1, "sent at once");
    for number in 2..5 {
        world.append(producer, number, 1);
        world.actions();
    }
    assert_eq!(world.wire.len(), 1, "collected until the delay has passed");
    world.sleep(Duration::from_millis(10));
    world.actions();
    assert_eq!(world.wire.len(), 2);
    world.quiesce();
    assert_eq!(world.stored("a"), [0, 1, 2, 3, 4]);
    assert_eq!((world.facts.entries.get(), world.facts.entry_records.get()), (3, 5));
}

#[test]
fn what_was_collected_goes_with_the_answer_to_what_was_on_the_wire() {
    let (mut world, producer) = ready_world();
    world.append(producer, 0, 1_000);
    world.quiesce();
    for number in 1..4 {
        world.append(producer, number, 1);
        world.actions();
    }
    assert_eq!(world.wire.len(), 1, "behind an entry without an answer records are collected");
    // No time passes in this world: what goes now goes by the answer alone.
    world.quiesce();
    assert_eq!(world.stored("a"), [0, 1, 2, 3]);
    assert_eq!((world.facts.entries.get(), world.facts.entry_records.get()), (3, 4));
}

#[test]
fn no_more_is_on_its_way_than_may_be_and_each_answer_sends_more() {
    let mut world = World::new(3, |settings| {
        settings.unanswered_bytes = 2_500;
        settings.batching.enabled = false;
    });
    let producer = world.open("a");
    // Alone, so that no entry behind it has to be.
    world.append(producer, 0, 1_000);
    world.quiesce();
    for number in 1..20 {
        world.append(producer, number, 1_000);
    }
    world.actions();
    assert_eq!(world.wire.len(), 3, "the third one reaches the bound");
    for answered in 1..5 {
        world.write_one();
        world.answer_one();
        world.actions();
        assert_eq!((world.stored("a").len(), world.wire.len() + world.model.answers.len()), (1 + answered, 3));
    }
    world.quiesce();
    assert_eq!(world.stored("a"), (0..20).collect::<Vec<_>>());
}

#[test]
fn what_is_larger_than_the_broker_takes_never_reaches_the_wire() {
    let (mut world, producer) = ready_world();
    for (number, size) in [(0, 10), (1, 6_000), (2, 10)] {
        world.append(producer, number, size);
    }
    world.quiesce();
    assert_eq!(world.refused, [1]);
    assert_eq!(world.stored("a"), [0, 2]);
    assert_eq!(world.facts.refused_entries.get(), 0, "the broker has not seen it");
}

#[test]
fn what_was_written_to_a_broker_that_takes_more_is_cut_anew_for_one_that_takes_less() {
    let (mut world, producer) = ready_world();
    world.append(producer, 0, 4_000);
    world.quiesce();
    // A batch and a small entry behind it, both on the wire when the broker is gone.
    for (number, size) in [(1, 10), (2, 3_000), (3, 10)] {
        world.append(producer, number, size);
    }
    world.sleep(Duration::from_millis(20));
    world.actions();
    world.append(producer, 4, 10);
    world.sleep(Duration::from_millis(20));
    world.actions();
    assert_eq!((world.facts.entries.get(), world.wire.len()), (3, 2));
    world.lose_connection(0);
    world.model.max_message_size = Some(1_000);
    world.append(producer, 5, 10);
    world.quiesce();
    assert_eq!(world.refused, [2], "only the culprit is judged");
    assert_eq!(world.stored("a"), [0, 1, 3, 4, 5], "in order");
    assert_eq!(world.model.protocol_errors, [""; 0]);
    assert!(world.model.same_bytes);
    assert_eq!(world.facts.disconnects.get(), 1);
    assert_eq!(world.seen.settled.lock().unwrap().len(), 6);
}

#[test]
fn an_entry_larger_than_any_before_goes_alone() {
    let (mut world, producer) = ready_world();
    world.append(producer, 0, 100);
    world.quiesce();
    // Not compressible and larger: alone, with nothing behind it until its receipt.
    for (number, size) in [(1, 2_000), (2, 10), (3, 10), (4, 10), (5, 10), (6, 10)] {
        world.append(producer, number, size);
    }
    world.actions();
    assert_eq!(world.wire.len(), 1);
    world.write_one();
    world.sleep(Duration::from_secs(1));
    world.actions();
    assert!(world.wire.is_empty(), "nothing behind it");
    world.answer_one();
    world.actions();
    assert_eq!(world.wire.len(), 1);
    world.quiesce();
    assert_eq!(world.stored("a"), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_refused_batch_goes_again_singly_and_only_the_culprit_is_judged() {
    let (mut world, producer) = ready_world();
    world.model.largest = Some(600);
    for (number, size) in [(0, 10), (1, 10), (2, 1_000), (3, 10), (4, 10), (5, 10)] {
        world.append(producer, number, size);
    }
    world.quiesce();
    assert_eq!(world.refused, [2]);
    assert_eq!(world.stored("a"), [0, 1, 3, 4, 5]);
    assert_eq!(world.seen.settled.lock().unwrap().len(), 6);
}

/// The verdict comes after the machine has gone on to what is due next: nothing behind the culprit may be on the wire by then.
#[test]
fn nothing_behind_a_refused_record_is_written_before_its_fate_is_decided() {
    // Beyond what the broker told when connecting, and beyond what the topic takes, which a refusal tells.
    for (size, largest) in [(6_000, None), (1_000, Some(600))] {
        let (mut world, producer) = ready_world();
        world.fails = true;
        world.model.largest = largest;
        world.append(producer, 0, 10);
        world.quiesce();
        for (number, size) in [(1, size), (2, 10), (3, 10), (4, 10), (5, 10), (6, 10), (7, 10)] {
            world.append(producer, number, size);
        }
        world.quiesce();
        assert_eq!(world.refused, [1]);
        assert_eq!(world.stored("a"), [0], "records behind the refused one were stored");
        assert_eq!(world.seen.given_back.lock().unwrap().len(), 7);
    }
}

#[test]
fn a_receipt_of_minus_one_after_a_repetition_means_stored() {
    let (mut world, producer) = ready_world();
    world.append(producer, 0, 10);
    world.actions();
    world.write_one();
    world.model.answers.clear();
    world.lose_connection(0);
    while !world.up.is_empty() {
        world.lose_connection(0);
    }
    for _ in 0..200 {
        world.actions();
        world.connect_one();
        world.write_one();
        // The broker knows the entry already: nothing is stored again.
        for (_, command) in &mut world.model.answers {
            if let Some(receipt) = &mut command.send_receipt {
                receipt.message_id = Some(proto::MessageId { ledger_id: -1, entry_id: -1 });
                receipt.highest_sequence_id = Some(-1);
            }
        }
        world.answer_one();
        world.sleep(Duration::from_millis(20));
    }
    assert_eq!(world.facts.deduplicated.get(), 1);
    assert_eq!(world.seen.settled.lock().unwrap().len(), 1);
}

#[test]
fn a_receipt_of_minus_one_for_what_was_sent_once_does_not_count_as_stored() {
    let (mut world, producer) = ready_world();
    world.append(producer, 0, 10);
    world.actions();
    world.write_one();
    let (_, command) = world.model.answers.first_mut().unwrap();
    command.send_receipt.as_mut().unwrap().message_id = Some(proto::MessageId { ledger_id: -1, entry_id: -1 });
    world.answer_one();
    assert!(world.seen.settled.lock().unwrap().is_empty());
    world.quiesce();
    assert_eq!(world.stored("a"), [0, 0], "it goes again, numbered anew");
    assert_eq!(world.seen.settled.lock().unwrap().len(), 1);
}

#[test]
fn a_frozen_broker_is_noticed_within_ten_seconds_and_a_throttling_one_is_left_in_peace() {
    for throttling in [false, true] {
        let (mut world, producer) = ready_world();
        world.append(producer, 0, 10);
        world.actions();
        let silent: BTreeSet<ConnectionId> = world.up.clone();
        let started = world.at;
        while world.at < started + Duration::from_secs(10) {
            world.sleep(Duration::from_millis(100));
            world.actions();
            // The old connections are not read; new ones open, and are answered when the broker lives.
            world.connect_one();
            world.wire.retain(|(connection, _)| !silent.contains(connection));
            if throttling {
                world.write_one();
            } else {
                world.wire.clear();
            }
            world.answer_one();
        }
        assert_eq!(world.facts.disconnects.get() > 0, !throttling);
        assert_eq!(world.facts.throttled.get() > 0, throttling);
    }
}

#[test]
fn a_refused_producer_is_retried_with_growing_delays() {
    let mut world = World::new(1, |_| {});
    world.open("a");
    let mut attempts = Vec::new();
    let started = world.at;
    while world.at < started + Duration::from_secs(20) {
        world.actions();
        world.connect_one();
        world.write_one();
        for (_, command) in &mut world.model.answers {
            if let Some(success) = command.producer_success.take() {
                attempts.push(world.at);
                let request_id = i64::try_from(success.request_id).unwrap();
                let refusal = proto::CommandError { request_id, error: code::PRODUCER_BUSY, message: "busy".into() };
                *command = BaseCommand { kind: kind::ERROR, error: Some(refusal), ..Default::default() };
            }
        }
        world.answer_one();
        world.sleep(Duration::from_millis(10));
    }
    assert!((8..=16).contains(&attempts.len()), "{} attempts in 20 s", attempts.len());
    let gaps: Vec<Duration> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[0] < Duration::from_millis(300), "{gaps:?}");
    assert!(gaps.iter().all(|gap| *gap < Duration::from_millis(3_300)), "{gaps:?}");
}
