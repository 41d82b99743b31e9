//! Reading back: what is found, and when the range counts as gone.

#![allow(clippy::unwrap_used)]

use super::consumer_model::World;
use super::*;
use crate::wire::entry::{Encoder, Numbers, Stamp};
use crate::wire::messages::{EncryptionKey, MessageMetadata};
use crate::wire::unpack;
use bytes::{BufMut, BytesMut};
use connector_sdk::{ErrorKind, MessageId};
use proptest::prelude::*;
use prost::Message as _;

/// What was found of "me", and whether the range asked for is there.
fn found(world: &World) -> (Vec<u64>, bool) {
    assert_eq!(world.read.len(), 1, "one answer");
    let mut read = world.read[0].clone().unwrap();
    (read.take("me").unwrap(), read.covers(world.read_from.unwrap()))
}

/// Two ledgers with entries of two producers, at times 100, 200, ...
fn filled() -> World {
    let mut world = World::new(1);
    let broker = &mut world.broker;
    broker.store(5, "me", &[1 << 24, 2 << 24], 100);
    broker.store(5, "other", &[1, 2, 3], 200);
    broker.store(5, "me", &[3 << 24], 300);
    broker.store(7, "me", &[4 << 24, (4 << 24) + 1, 9 << 24], 400);
    broker.store(7, "other", &[4], 500);
    world
}

#[test]
fn own_ids_are_found_in_batches_and_singles_from_the_entry_asked_for() {
    for (from, expected) in [
        (ReadFrom::Earliest, vec![1 << 24, 2 << 24, 3 << 24, 4 << 24, (4 << 24) + 1, 9 << 24]),
        (ReadFrom::Message(MessageId { ledger: 5, entry: 2 }), vec![3 << 24, 4 << 24, (4 << 24) + 1, 9 << 24]),
        (ReadFrom::Message(MessageId { ledger: 7, entry: 0 }), vec![4 << 24, (4 << 24) + 1, 9 << 24]),
        (ReadFrom::Time(300), vec![3 << 24, 4 << 24, (4 << 24) + 1, 9 << 24]),
    ] {
        let mut world = filled();
        world.read_back(from);
        world.run(Duration::from_secs(1));
        let (mut ids, whole) = found(&world);
        // By time the first entry is looked at, too.
        ids.retain(|id| expected.contains(id));
        assert_eq!((ids, whole), (expected, true));
        assert!(world.broker.cursors.is_empty(), "the subscription is gone");
        let subscribe = &world.broker.subscribes[0];
        assert_eq!((subscribe.durable, subscribe.force_topic_creation, subscribe.kind), (Some(false), Some(false), 0));
        assert!(world.broker.commands.iter().all(|command| command.ack.is_none()), "nothing is acknowledged");
    }
}

#[test]
fn the_end_is_the_last_entry_as_of_opening() {
    let mut world = filled();
    world.read_back(ReadFrom::Earliest);
    world.settle();
    assert_eq!(world.read.len(), 1);
    let mut world = filled();
    world.read_back(ReadFrom::Earliest);
    while world.broker.commands.iter().all(|command| command.get_last_message_id.is_none()) {
        assert!(
            world.connect_one() || world.write_one() || world.answer_one() || {
                world.actions();
                true
            }
        );
    }
    world.broker.store(7, "me", &[77 << 24], 600);
    world.run(Duration::from_secs(1));
    assert!(!found(&world).0.contains(&(77 << 24)));
}

#[test]
fn the_end_of_an_empty_topic_is_where_a_reading_back_can_begin() {
    let mut world = World::new(1);
    world.read_back(ReadFrom::End);
    world.run(Duration::from_secs(1));
    let end = world.read[0].as_ref().unwrap().end.unwrap();
    assert!(end.entry < 0, "{end}");
    world.read.clear();
    world.broker.store(5, "me", &[1 << 24], 100);
    world.read_back(ReadFrom::Message(end));
    world.run(Duration::from_secs(1));
    assert_eq!(found(&world), (vec![1 << 24], true));
}

#[test]
fn a_range_whose_beginning_is_not_there_is_gone() {
    // Trimmed: ledger 5 was deleted.
    let mut world = filled();
    world.broker.log.drain(..3);
    world.read_back(ReadFrom::Message(MessageId { ledger: 5, entry: 2 }));
    world.run(Duration::from_secs(1));
    assert_eq!(found(&world), (vec![4 << 24, (4 << 24) + 1, 9 << 24], false));
    // By time: the first message there is, is younger.
    let mut world = filled();
    world.broker.log.drain(..3);
    world.read_back(ReadFrom::Time(300));
    world.run(Duration::from_secs(1));
    assert_eq!(found(&world), (vec![4 << 24, (4 << 24) + 1, 9 << 24], false));
    // Everything.
    for from in [ReadFrom::Message(MessageId { ledger: 5, entry: 2 }), ReadFrom::Time(300)] {
        let mut world = World::new(1);
        world.read_back(from);
        world.run(Duration::from_secs(1));
        assert_eq!(found(&world), (vec![], false));
    }
    let mut world = World::new(1);
    world.read_back(ReadFrom::Earliest);
    world.run(Duration::from_secs(1));
    assert_eq!(found(&world), (vec![], true), "all of nothing is there");
    // The topic was deleted and made anew: its ledgers are others.
    let mut world = World::new(1);
    world.broker.store(9, "me", &[1], 700);
    world.read_back(ReadFrom::Message(MessageId { ledger: 12, entry: 0 }));
    world.run(Duration::from_secs(1));
    assert_eq!(found(&world), (vec![], false));
}

#[test]
fn a_hole_inside_a_ledger_counts_as_gone() {
    for hole in [1, 3] {
        let mut world = filled();
        world.broker.store(7, "me", &[99 << 24], 600);
        world.broker.log.remove(hole);
        world.read_back(ReadFrom::Message(MessageId { ledger: 5, entry: 0 }));
        world.run(Duration::from_secs(1));
        assert!(!found(&world).1, "entry {hole} is missing");
    }
}

#[test]
fn a_time_behind_the_last_message_ends_at_once() {
    let mut world = filled();
    world.read_back(ReadFrom::Time(10_000));
    world.run(Duration::from_secs(1));
    assert!(found(&world).1);
}

#[test]
fn a_role_that_may_not_read_is_an_answer_and_a_broker_that_is_away_is_not() {
    let mut world = filled();
    world.broker.forbidden = true;
    world.read_back(ReadFrom::Earliest);
    world.run(Duration::from_secs(1));
    let error = world.read[0].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(error.to_string().contains("grant the role `consume`"), "{error}");

    let mut world = filled();
    world.broker.refusals = vec![(crate::error::code::SERVICE_NOT_READY, "loading"); 5];
    world.read_back(ReadFrom::Earliest);
    world.run(Duration::from_secs(10));
    assert!(found(&world).1);
    assert_eq!(world.troubles.len(), 5);
}

/// An encrypted batch of three messages between these ids.
fn encrypted(lowest: i64, highest: i64) -> Bytes {
    let metadata = MessageMetadata {
        producer_name: "me".into(),
        sequence_id: lowest,
        publish_time: 1,
        num_messages_in_batch: Some(3),
        highest_sequence_id: Some(highest),
        encryption_keys: vec![EncryptionKey { key: "k".into(), ..Default::default() }],
        ..Default::default()
    };
    let mut entry = BytesMut::new();
    entry.put_u32(u32::try_from(metadata.encoded_len()).unwrap());
    metadata.encode(&mut entry).unwrap();
    entry.put_slice(b"secret");
    assert!(unpack::open(entry.clone().freeze()).is_ok());
    entry.freeze()
}

#[test]
fn an_encrypted_batch_is_read_where_its_ids_have_no_gaps_and_refused_where_they_may() {
    let mut world = World::new(1);
    world.broker.store_entry(5, encrypted(11, 13), 3, 1);
    world.read_back(ReadFrom::Earliest);
    world.run(Duration::from_secs(1));
    assert_eq!(found(&world), (vec![11, 12, 13], true));
    for (lowest, highest) in [(11, 14), (13, 13)] {
        let mut world = World::new(1);
        world.broker.store_entry(5, encrypted(lowest, highest), 3, 1);
        world.read_back(ReadFrom::Earliest);
        world.run(Duration::from_secs(1));
        let error = world.read[0].clone().unwrap().take("me").unwrap_err();
        assert!(error.to_string().contains("encrypted batch 5:0 cannot be read"));
    }
}

#[test]
fn a_batch_without_inner_ids_counts_from_its_lowest() {
    let records: Vec<Record> = (0..3).map(|_| Record { value: "x".into(), ..Record::default() }).collect();
    let stamp =
        Stamp { producer_id: 1, producer_name: "me", numbers: Numbers::From(40), publish_time: 1, schema_version: None, by_key: false };
    let frame = Encoder::new(Compression::None).unwrap().encode(stamp, &records).frames.as_slice()[0].clone();
    let entry = crate::wire::frame::decode(&mut BytesMut::from(&frame[..]), usize::MAX).unwrap().unwrap().entry;
    let (metadata, payload) = unpack::open(entry).unwrap();
    let mut bare = BytesMut::new();
    for single in unpack::batched(payload, 3) {
        let (mut single, value) = single.unwrap();
        single.sequence_id = None;
        bare.put_u32(u32::try_from(single.encoded_len()).unwrap());
        single.encode(&mut bare).unwrap();
        bare.put_slice(&value);
    }
    let mut entry = BytesMut::new();
    entry.put_u32(u32::try_from(metadata.encoded_len()).unwrap());
    metadata.encode(&mut entry).unwrap();
    entry.put_slice(&bare);
    let mut world = World::new(1);
    world.broker.store_entry(5, entry.freeze(), 3, 1);
    world.read_back(ReadFrom::Earliest);
    world.run(Duration::from_secs(1));
    assert_eq!(found(&world), (vec![40, 41, 42], true));
}

#[test]
fn a_damaged_entry_is_read_again_and_is_an_answer_only_where_it_stays_damaged() {
    let damaged = || {
        let mut world = filled();
        let good = world.broker.log[2].entry.clone();
        let mut bytes = good.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        world.broker.log[2].entry = bytes.into();
        world.read_back(ReadFrom::Earliest);
        world.run(Duration::from_millis(50));
        assert!(world.read.is_empty() && !world.troubles.is_empty());
        (world, good)
    };
    let (mut world, good) = damaged();
    world.broker.log[2].entry = good;
    world.run(Duration::from_secs(10));
    assert!(found(&world).1);
    let (mut world, _) = damaged();
    world.run(Duration::from_secs(60));
    let error = world.read[0].as_ref().unwrap_err().to_string();
    assert!(error.contains("entry 5:2: an entry could not be decoded: its checksum does not fit"), "{error}");
}

#[test]
fn one_reading_is_for_all_names_each_from_its_own_place() {
    let at = |ledger, entry| ReadFrom::Message(MessageId { ledger, entry });
    let read = |world: &mut World, from: ReadFrom| {
        let now = world.now();
        world.machine.read_back(now, "orders".parse().unwrap(), from, ["me".into(), "other".into(), "nobody".into()]);
        world.run(Duration::from_secs(1));
        world.read[0].clone().unwrap()
    };
    let mut outcome = read(&mut filled(), at(5, 0));
    assert_eq!(outcome.take("me").unwrap(), [1 << 24, 2 << 24, 3 << 24, 4 << 24, (4 << 24) + 1, 9 << 24]);
    assert_eq!((outcome.take("other").unwrap(), outcome.take("nobody").unwrap()), (vec![1, 2, 3, 4], vec![]));
    assert!(outcome.covers(at(5, 0)) && outcome.covers(at(7, 1)) && !outcome.covers(at(7, 2)), "as far as the end");
    // What begins behind a hole is whole.
    let mut world = filled();
    world.broker.log.remove(1);
    let outcome = read(&mut world, at(5, 0));
    assert!(!outcome.covers(at(5, 0)) && outcome.covers(at(5, 2)) && outcome.covers(at(7, 0)));
    // The oldest place is gone, the others are there.
    let mut world = filled();
    world.broker.log.drain(..3);
    let outcome = read(&mut world, at(5, 2));
    assert!(!outcome.covers(at(5, 2)) && outcome.covers(at(7, 0)) && outcome.covers(at(7, -1)));
    // A batch that cannot be opened is its producer's affair.
    let mut world = filled();
    world.broker.store_entry(7, encrypted(11, 14), 3, 600);
    let mut outcome = read(&mut world, at(7, 0));
    assert!(outcome.take("me").is_err());
    assert_eq!(outcome.take("other").unwrap(), [4]);
}

proptest! {
    #[test]
    fn whatever_breaks_all_and_only_own_ids_are_found(
        seed in any::<u64>(),
        entries in prop::collection::vec((any::<bool>(), 1u64..5, 0i64..2), 1..30),
        faults in prop::collection::vec((0usize..40, 0u8..3), 0..12),
        from in 0usize..40,
        by_time in any::<bool>(),
    ) {
        let mut world = World::new(seed);
        let (mut next, mut ledger, mut ids) = (0u64, 1, Vec::new());
        for (at, (mine, count, roll)) in entries.iter().enumerate() {
            ledger += roll;
            let numbers: Vec<u64> = (0..*count).map(|index| { next += 1 + index % 2; next }).collect();
            let id = world.broker.store(ledger, if *mine { "me" } else { "you" }, &numbers, 100 * (at as u64 + 1));
            ids.push((id, *mine, numbers));
        }
        let from = from % ids.len();
        let read_from = if by_time { ReadFrom::Time(100 * (from as u64 + 1)) } else { ReadFrom::Message(ids[from].0) };
        world.read_back(read_from);
        for (steps, fault) in faults {
            world.actions();
            for _ in 0..steps {
                if !(world.connect_one() || world.write_one() || world.answer_one()) {
                    world.sleep(Duration::from_millis(100));
                }
            }
            match fault {
                0 => world.lose_connection(steps),
                1 => world.broker.unload(),
                _ => world.broker.refusals.push((crate::error::code::SERVICE_NOT_READY, "loading")),
            }
        }
        world.run(Duration::from_secs(120));
        let (mut found, whole) = found(&world);
        prop_assert!(whole);
        let expected: Vec<u64> = ids[from..].iter().filter(|(_, mine, _)| *mine).flat_map(|(.., numbers)| numbers.clone()).collect();
        let all: Vec<u64> = ids.iter().filter(|(_, mine, _)| *mine).flat_map(|(.., numbers)| numbers.clone()).collect();
        prop_assert!(found.iter().all(|id| all.contains(id)));
        found.retain(|id| expected.contains(id));
        prop_assert_eq!(found, expected);
    }
}
