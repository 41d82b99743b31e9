//! Consumers against a model of a broker, under drops, moves, refusals and lost answers at random; every failure has its seed.

#![allow(clippy::unwrap_used)]

use super::consumer_model::{World, number};
use super::*;
use crate::error::code;
use crate::message::Message;
use crate::wire::compression::Compression;
use crate::wire::consume::{Delivery, MessageIdData};
use crate::wire::messages::MessageMetadata;
use bytes::{BufMut, BytesMut};
use connector_sdk::MessageId;
use proptest::prelude::*;
use prost::Message as _;
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
enum Step {
    Publish(u64),
    Network,
    Take,
    /// Decides on a message that was taken: which, and how.
    Decide(usize, u8),
    Lose(usize),
    Unload,
    Refuse,
    Silence(bool),
    Sleep(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u64..6).prop_map(Step::Publish),
        20 => Just(Step::Network),
        6 => Just(Step::Take),
        6 => (any::<usize>(), 0u8..5).prop_map(|(which, how)| Step::Decide(which, how)),
        1 => any::<usize>().prop_map(Step::Lose),
        1 => Just(Step::Unload),
        1 => Just(Step::Refuse),
        1 => any::<bool>().prop_map(Step::Silence),
        3 => (0u64..3_000).prop_map(Step::Sleep),
    ];
    prop::collection::vec(step, 1..250)
}

struct Play {
    world: World,
    hands: Vec<Message>,
    published: u64,
    shared: bool,
    seen: BTreeSet<u64>,
}

impl Play {
    fn new(seed: u64, kind: SubscriptionType, by_index: bool) -> Self {
        let mut world = World::new(seed);
        world.broker.by_index = by_index;
        world.subscribe(Subscription {
            kind,
            start: Start::Earliest,
            batch_index_acks: by_index,
            most_unacknowledged: 40,
            budget: 20_000,
            ..Subscription::new("s")
        });
        Self { world, hands: Vec::new(), published: 0, shared: kind.is_shared(), seen: BTreeSet::new() }
    }

    fn publish(&mut self, count: u64) {
        let numbers: Vec<u64> = (self.published..self.published + count).collect();
        self.published += count;
        self.world.broker.store(1, "p", &numbers, 1);
    }

    fn take(&mut self) {
        if let Some(message) = self.world.take() {
            self.seen.insert(number(&message));
            self.hands.push(message);
        }
    }

    fn decide(&mut self, which: usize, how: u8) {
        if self.hands.is_empty() {
            return;
        }
        match how {
            0 => {
                let message = self.hands.swap_remove(which % self.hands.len());
                self.world.nack(&message);
            }
            1 if !self.shared => {
                let last = self.hands.iter().max_by_key(|message| message.id).cloned().unwrap();
                // Everything before it counts as done: so it must be done for the owner, too.
                let everything = (0..=number(&last)).collect::<BTreeSet<u64>>();
                if everything.is_subset(&self.seen) {
                    self.world.acked.extend(everything);
                    self.world.ack(&last, true);
                    self.hands.clear();
                }
            }
            _ => {
                let message = self.hands.swap_remove(which % self.hands.len());
                self.world.ack(&message, false);
            }
        }
    }

    fn step(&mut self, step: Step) {
        let world = &mut self.world;
        match step {
            Step::Publish(count) => self.publish(count),
            Step::Network => {
                let _any = world.connect_one() || world.write_one() || world.answer_one();
            }
            Step::Take => self.take(),
            Step::Decide(which, how) => self.decide(which, how),
            Step::Lose(at) => world.lose_connection(at),
            Step::Unload => world.broker.unload(),
            Step::Refuse => world.broker.refusals.push((code::SERVICE_NOT_READY, "loading")),
            Step::Silence(silent) => world.broker.silent = silent,
            Step::Sleep(ms) => world.sleep(Duration::from_millis(ms)),
        }
    }

    /// The owner works everything off, without faults.
    fn finish(&mut self) {
        self.world.broker.silent = false;
        for message in std::mem::take(&mut self.hands) {
            self.world.ack(&message, false);
        }
        for _ in 0..400 {
            self.world.run(Duration::from_millis(500));
            while !self.world.queue.is_empty() {
                self.take();
            }
            for message in std::mem::take(&mut self.hands) {
                self.world.ack(&message, false);
            }
            let Some(cursor) = self.world.broker.cursors.get("s") else { continue };
            if self.world.broker.log.iter().all(|stored| cursor.acked.contains(&stored.id)) && self.world.queue.is_empty() {
                return;
            }
        }
        panic!("not everything comes to be acknowledged");
    }
}

fn kinds() -> impl Strategy<Value = SubscriptionType> {
    prop::sample::select(vec![
        SubscriptionType::Exclusive,
        SubscriptionType::Shared,
        SubscriptionType::Failover,
        SubscriptionType::KeyShared,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Nothing unacknowledged is forgotten; that nothing acknowledged is delivered again the world asserts at each delivery.
    #[test]
    fn everything_is_delivered_until_it_is_acknowledged_and_not_longer(
        seed in any::<u64>(),
        kind in kinds(),
        by_index in any::<bool>(),
        steps in steps(),
    ) {
        let mut play = Play::new(seed, kind, by_index);
        for step in steps {
            play.step(step);
        }
        play.finish();
        let all: BTreeSet<u64> = (0..play.published).collect();
        prop_assert_eq!(&play.seen, &all);
        prop_assert_eq!(&play.world.acked, &all);
        // And what was asked for again was never something acknowledged by then.
        prop_assert!(play.world.broker.asked_for_acked.is_empty(), "{:?}", play.world.broker.asked_for_acked);
    }
}

fn subscribed(subscription: Subscription) -> (World, crate::message::ConsumerId) {
    let mut world = World::new(3);
    let id = world.subscribe(subscription);
    (world, id)
}

fn earliest() -> Subscription {
    Subscription { start: Start::Earliest, ..Subscription::new("s") }
}

fn numbers(world: &mut World) -> Vec<u64> {
    std::iter::from_fn(|| world.take()).map(|message| number(&message)).collect()
}

#[test]
fn a_message_has_its_own_sequence_id_and_place() {
    let (mut world, _) = subscribed(earliest());
    world.broker.store(4, "p", &[7, 9, 30], 11);
    world.settle();
    let messages: Vec<Message> = std::iter::from_fn(|| world.take()).collect();
    let seen: Vec<(String, i64, u64)> =
        messages.iter().map(|message| (message.id.to_string(), message.sequence_id, message.publish_time)).collect();
    assert_eq!(seen, [("4:0:0".into(), 7, 11), ("4:0:1".into(), 9, 11), ("4:0:2".into(), 30, 11)]);
    assert_eq!(messages[0].producer_name, "p");
}

#[test]
fn acknowledgements_are_sent_together_after_their_delay_or_when_they_are_many() {
    let (mut world, id) = subscribed(Subscription { ack_group: 3, ..earliest() });
    for entry in 0..5 {
        world.broker.store(1, "p", &[entry], 1);
    }
    world.settle();
    let acks = |world: &World| {
        world.broker.commands.iter().filter_map(|command| command.ack.as_ref()).map(|ack| ack.message_id.len()).collect::<Vec<_>>()
    };
    for _ in 0..5 {
        let message = world.take().unwrap();
        world.ack(&message, false);
    }
    world.settle();
    assert_eq!(acks(&world), [3]);
    world.sleep(Duration::from_millis(99));
    world.settle();
    assert_eq!(acks(&world), [3]);
    world.sleep(Duration::from_millis(1));
    world.settle();
    assert_eq!(acks(&world), [3, 2]);
    let mark = world.machine.flush_acks(id);
    assert!(world.machine.are_acks_confirmed(id, mark));
}

#[test]
fn redelivery_is_asked_for_after_a_delay_that_doubles() {
    let (mut world, _) = subscribed(Subscription { kind: SubscriptionType::Shared, ..earliest() });
    world.broker.store(1, "p", &[5], 1);
    world.settle();
    for (count, delay) in [(0, 1_000), (1, 2_000), (2, 4_000)] {
        let message = world.take().unwrap();
        assert_eq!(message.redelivery_count, count);
        world.nack(&message);
        world.sleep(Duration::from_millis(delay - 1));
        world.settle();
        assert!(world.queue.is_empty());
        world.sleep(Duration::from_millis(1));
        world.settle();
    }
    assert_eq!(world.take().unwrap().redelivery_count, 3);
}

#[test]
fn in_an_exclusive_subscription_everything_comes_again_and_what_was_sent_before_is_dropped() {
    let (mut world, id) = subscribed(earliest());
    for entry in 0..4 {
        world.broker.store(1, "p", &[entry], 1);
    }
    world.settle();
    let (first, second) = (world.take().unwrap(), world.take().unwrap());
    world.ack(&first, false);
    world.nack(&second);
    let (connection, stale) = world.broker.delivery(id, 3);
    world.sleep(Duration::from_secs(1));
    world.settle();
    assert_eq!(numbers(&mut world), [1, 2, 3]);
    // A delivery of the epoch before arrives late.
    let now = world.now();
    world.machine.delivered(now, connection, &stale, world.broker.log[3].entry.clone());
    world.actions();
    assert!(world.queue.is_empty());
}

#[test]
fn a_budget_bounds_what_is_delivered_and_not_taken() {
    let (mut world, _) = subscribed(Subscription { budget: 100_000, ..earliest() });
    for entry in 0..1_000 {
        world.broker.store(1, "p", &[entry], 1);
    }
    world.settle();
    let held: usize = world.queue.iter().map(Message::cost).sum();
    assert!(held <= 100_000 && held > 50_000, "{held}");
    let mut next = 0;
    while let Some(message) = world.take() {
        assert_eq!(number(&message), next);
        next += 1;
        world.settle();
    }
    assert_eq!(next, 1_000);
    assert_eq!(world.facts.overshoot_bytes.get(), 0);
    world.broker.store(1, "p", &(0..500).collect::<Vec<_>>(), 1);
    world.settle();
    assert!(world.facts.overshoot_bytes.get() > 0, "a batch comes whole");
}

#[test]
fn unacknowledged_messages_are_bounded() {
    let (mut world, _) = subscribed(Subscription { most_unacknowledged: 50, budget: 1 << 20, ..earliest() });
    for entry in 0..300 {
        world.broker.store(1, "p", &[entry], 1);
    }
    world.settle();
    let mut taken = Vec::new();
    while let Some(message) = world.take() {
        taken.push(message);
        world.settle();
    }
    assert_eq!(taken.len(), 50);
    for message in &taken {
        world.ack(message, false);
    }
    world.run(Duration::from_millis(200));
    assert!(!world.queue.is_empty());
}

#[test]
fn a_reader_goes_on_behind_what_was_taken_inside_a_batch_too() {
    let (mut world, _) = subscribed(Subscription { durable: false, start: Start::Earliest, ..Subscription::new("r") });
    world.broker.store(1, "p", &[0, 1, 2, 3], 1);
    world.broker.store(1, "p", &[4], 1);
    world.settle();
    assert_eq!(number(&world.take().unwrap()), 0);
    assert_eq!(number(&world.take().unwrap()), 1);
    world.lose_connection(0);
    world.run(Duration::from_secs(1));
    assert_eq!(numbers(&mut world), [2, 3, 4]);
    world.lose_connection(0);
    world.run(Duration::from_secs(1));
    assert!(numbers(&mut world).is_empty());
    assert!(world.broker.commands.iter().all(|command| command.ack.is_none()));
}

#[test]
fn reading_begins_where_it_is_asked_to() {
    let at = |entry| MessageId { ledger: 1, entry };
    for (start, expected) in [
        (Start::Earliest, vec![0, 1, 2, 3, 4]),
        (Start::Latest, vec![]),
        (Start::Message { id: at(1), index: None, inclusive: true }, vec![1, 2, 3, 4]),
        (Start::Message { id: at(1), index: None, inclusive: false }, vec![4]),
        (Start::Message { id: at(1), index: Some(1), inclusive: true }, vec![2, 3, 4]),
        (Start::Message { id: at(1), index: Some(1), inclusive: false }, vec![3, 4]),
        (Start::Time(150), vec![1, 2, 3, 4]),
    ] {
        let mut world = World::new(3);
        world.broker.store(1, "p", &[0], 100);
        world.broker.store(1, "p", &[1, 2, 3], 200);
        world.broker.store(1, "p", &[4], 300);
        world.subscribe(Subscription { durable: false, start, ..Subscription::new("r") });
        world.run(Duration::from_secs(1));
        assert_eq!(numbers(&mut world), expected, "{start}");
    }
}

#[test]
fn a_seek_voids_what_was_delivered_and_is_repeated_until_it_is_done() {
    for lose in [false, true] {
        let (mut world, id) = subscribed(earliest());
        for entry in 0..5 {
            world.broker.store(1, "p", &[entry], 100 * (entry + 1));
        }
        world.settle();
        let message = world.take().unwrap();
        world.ack(&message, false);
        world.run(Duration::from_secs(1));
        let now = world.now();
        world.acked.clear();
        world.machine.seek(now, id, Start::Time(300));
        if lose {
            world.lose_connection(0);
        }
        world.run(Duration::from_secs(1));
        assert_eq!(numbers(&mut world), [2, 3, 4]);
        let now = world.now();
        world.machine.seek(now, id, Start::Earliest);
        world.run(Duration::from_secs(1));
        assert_eq!(numbers(&mut world), [0, 1, 2, 3, 4]);
        let now = world.now();
        world.machine.ask_last(now, id);
        world.machine.unsubscribe(now, id);
        world.run(Duration::from_secs(1));
        assert_eq!(world.news.iter().filter(|news| *news == "sought true").count(), 2);
        assert!(world.news.contains(&"last 1:4".to_owned()) && world.news.contains(&"unsubscribed true".to_owned()));
        assert!(world.broker.cursors.is_empty());
    }
}

/// An entry of one chunk.
fn chunk(at: i32, of: i32, payload: &'static [u8]) -> Bytes {
    let metadata = MessageMetadata {
        producer_name: "p".into(),
        uuid: Some("p-1".into()),
        chunk_id: Some(at),
        num_chunks_from_msg: Some(of),
        total_chunk_msg_size: Some(8),
        compression: Some(Compression::None.number()),
        ..Default::default()
    };
    let mut entry = BytesMut::new();
    entry.put_u32(u32::try_from(metadata.encoded_len()).unwrap());
    metadata.encode(&mut entry).unwrap();
    entry.put_slice(payload);
    entry.freeze()
}

#[test]
fn chunks_become_one_message_and_are_acknowledged_together() {
    let (mut world, _) = subscribed(earliest());
    for (at, payload) in [(0, b"000"), (1, b"000")] {
        world.broker.store_entry(1, chunk(at, 3, payload), 1, 1);
    }
    world.settle();
    assert!(world.queue.is_empty());
    world.lose_connection(0);
    world.broker.store_entry(1, chunk(2, 3, b"42"), 1, 1);
    world.run(Duration::from_secs(1));
    let message = world.take().unwrap();
    assert_eq!((number(&message), message.id.to_string()), (42, "1:2".to_owned()));
    world.ack(&message, false);
    world.run(Duration::from_secs(1));
    assert_eq!(world.broker.cursors["s"].acked.len(), 3);
}

#[test]
fn chunks_that_never_become_whole_are_said_after_a_minute() {
    let (mut world, _) = subscribed(earliest());
    world.broker.store_entry(1, chunk(0, 3, b"000"), 1, 1);
    world.run(Duration::from_secs(59));
    assert!(world.news.iter().all(|news| !news.contains("unusable")));
    world.run(Duration::from_secs(2));
    assert!(
        world
            .news
            .iter()
            .any(|news| news.contains("that begins with entry 1:0 of `persistent://public/default/orders` did not become whole"))
    );
}

#[test]
fn a_damaged_entry_is_acknowledged_as_damaged_and_said() {
    let (mut world, _) = subscribed(earliest());
    world.broker.store(1, "p", &[1], 1);
    let mut bytes = world.broker.log[0].entry.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    world.broker.log[0].entry = bytes.into();
    world.broker.store(1, "p", &[2], 1);
    world.settle();
    assert_eq!(numbers(&mut world), [2]);
    let ack = world.broker.commands.iter().find_map(|command| command.ack.clone()).unwrap();
    assert_eq!(ack.validation_error, Some(2));
    assert!(world.news.iter().any(|news| news.contains("unusable 1:0 true") && news.contains("its checksum does not fit")));
}

/// An entry that claims so many messages, with this payload.
fn claiming(count: i32, payload: &'static [u8]) -> Bytes {
    let metadata =
        MessageMetadata { producer_name: "p".into(), sequence_id: i64::MAX, num_messages_in_batch: Some(count), ..Default::default() };
    let mut entry = BytesMut::new();
    entry.put_u32(u32::try_from(metadata.encoded_len()).unwrap());
    metadata.encode(&mut entry).unwrap();
    entry.put_slice(payload);
    entry.freeze()
}

/// Else what was tracked of it would count as unacknowledged for ever.
#[test]
fn a_batch_that_is_damaged_inside_takes_nothing_of_what_may_be_unacknowledged() {
    let (mut world, _) = subscribed(Subscription { most_unacknowledged: 4, ..earliest() });
    for _ in 0..4 {
        world.broker.store_entry(1, claiming(3, &[0xff; 12]), 3, 1);
    }
    world.broker.store(1, "p", &[7], 1);
    world.settle();
    assert_eq!(numbers(&mut world), [7]);
    assert_eq!(world.news.iter().filter(|news| news.contains("unusable")).count(), 4);
}

/// Room for what a batch claims to hold is made only as far as its payload can hold it.
#[test]
fn a_batch_that_claims_more_messages_than_it_has_room_for_is_damaged() {
    let (mut world, _) = subscribed(earliest());
    for count in [i32::MAX, 1 << 20, 3, -1] {
        world.broker.store_entry(1, claiming(count, &[0, 0, 0, 2, 0x18, 0]), 1, 1);
    }
    // Numbered by the entry: what is behind the last number there is stays at it.
    world.broker.store_entry(1, claiming(2, b"\0\0\0\x02\x18\x011\0\0\0\x02\x18\x012"), 2, 1);
    world.settle();
    let numbered: Vec<i64> = world.queue.iter().map(|message| message.sequence_id).collect();
    assert_eq!(numbered, [i64::MAX, i64::MAX]);
    assert_eq!(world.news.iter().filter(|news| news.contains("unusable")).count(), 4);
}

#[test]
fn a_delivery_for_nobody_is_skipped() {
    let (mut world, _) = subscribed(earliest());
    world.settle();
    let id = MessageIdData { ledger_id: 1, entry_id: 0, ..Default::default() };
    let delivery = Delivery { consumer_id: 99, message_id: id, ..Default::default() };
    let now = world.now();
    world.machine.delivered(now, ConnectionId(1), &delivery, Bytes::new());
    world.machine.delivered(now, ConnectionId(77), &delivery, Bytes::new());
    world.settle();
    assert!(world.queue.is_empty());
}
