//! The machine against a model of a broker, under drops, repetitions, moves and refusals at random; every failure has its seed.
//!
//! One file, because the model of the broker, the steps that are played against it and the single cases share all of their parts.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::auth::AuthData;
use crate::error::code;
use crate::wire::frame::decode;
use crate::wire::messages::{self as proto, BaseCommand, kind};
use crate::wire::test_reader::TestReader;
use crate::wire::unpack::open;
use bytes::BytesMut;
use connector_sdk::{AckSink, Outcome};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// What became of each record.
#[derive(Default)]
struct Seen {
    settled: Mutex<BTreeMap<u64, u32>>,
    given_back: Mutex<BTreeSet<u64>>,
    fenced: AtomicBool,
}

impl AckSink for Seen {
    fn resolve(&self, numbers: Range<u64>, outcome: Outcome) {
        for number in numbers {
            match &outcome {
                Outcome::Settled => *self.settled.lock().unwrap().entry(number).or_default() += 1,
                Outcome::GivenBack | Outcome::Failed(_) => {
                    self.given_back.lock().unwrap().insert(number);
                }
            }
        }
    }

    fn is_fenced(&self, _number: u64) -> bool {
        self.fenced.load(Ordering::Relaxed)
    }
}

/// A broker that stores what it accepts, and its connections.
#[derive(Default)]
struct Model {
    /// Per topic: the record numbers in the order they were stored.
    stored: BTreeMap<String, Vec<u64>>,
    /// Open producers: connection, producer, topic.
    open: BTreeMap<(ConnectionId, u64), String>,
    /// Frames seen, by topic, id and chunk: repetitions must be the same bytes.
    frames: BTreeMap<(String, i64, Option<i32>), Bytes>,
    /// Answers that have not been delivered.
    answers: Vec<(ConnectionId, BaseCommand)>,
    largest: Option<usize>,
    max_message_size: Option<i32>,
    /// SENDs for which no receipt will come because the connection or the producer goes first.
    silent: bool,
    entries: u64,
    reader: TestReader,
    names: u64,
    same_bytes: bool,
    protocol_errors: Vec<String>,
}

impl Model {
    fn handle(&mut self, connection: ConnectionId, bytes: &Bytes) {
        let frame = decode(&mut BytesMut::from(&bytes[..]), usize::MAX).unwrap().unwrap();
        let command = frame.command;
        match command.kind {
            kind::CONNECT => self.answer(
                connection,
                BaseCommand {
                    kind: kind::CONNECTED,
                    connected: Some(proto::Connected {
                        server_version: "model".into(),
                        max_message_size: Some(self.max_message_size.unwrap_or(5_000)),
                        ..Default::default()
                    }),
                    ..Default::default()
                },
            ),
            kind::LOOKUP => {
                let lookup = command.lookup.unwrap();
                self.answer(
                    connection,
                    BaseCommand {
                        kind: kind::LOOKUP_RESPONSE,
                        lookup_response: Some(proto::LookupResponse {
                            broker_service_url: Some("pulsar://broker:6650".into()),
                            response: Some(1),
                            request_id: lookup.request_id,
                            ..Default::default()
                        }),
                        ..Default::default()
                    },
                );
            }
            kind::PRODUCER => {
                let open = command.producer.unwrap();
                self.open.insert((connection, open.producer_id), open.topic);
                self.names += 1;
                let name = open.producer_name.unwrap_or_else(|| format!("model-{}", self.names));
                self.answer(
                    connection,
                    BaseCommand {
                        kind: kind::PRODUCER_SUCCESS,
                        producer_success: Some(proto::ProducerSuccess {
                            request_id: open.request_id,
                            producer_name: name,
                            last_sequence_id: Some(-1),
                            ..Default::default()
                        }),
                        ..Default::default()
                    },
                );
            }
            kind::CLOSE_PRODUCER => {
                let close = command.close_producer.unwrap();
                self.open.remove(&(connection, close.producer_id));
                let success = Some(proto::Success { request_id: u64::try_from(close.request_id).unwrap() });
                self.answer(connection, BaseCommand { kind: kind::SUCCESS, success, ..Default::default() });
            }
            kind::SEND => self.store(connection, &command.send.unwrap(), frame.entry, bytes),
            kind::PING => self.answer(connection, BaseCommand { kind: kind::PONG, pong: Some(proto::Empty {}), ..Default::default() }),
            other => self.protocol_errors.push(format!("command {other}")),
        }
    }

    fn store(&mut self, connection: ConnectionId, send: &proto::Send, entry: Bytes, bytes: &Bytes) {
        let Some(topic) = self.open.get(&(connection, send.producer_id)).cloned() else {
            // Crossed a close: silently dropped, as brokers do.
            return;
        };
        let chunk = open(entry.clone()).unwrap().0.chunk_id;
        let before = self.frames.insert((topic.clone(), send.sequence_id, chunk), bytes.clone());
        self.same_bytes &= before.is_none_or(|before| before == *bytes);
        let size = entry.len();
        // Brokers break the connection over what is larger than they take, with a little room for the metadata.
        if self.max_message_size.is_some_and(|most| size > usize::try_from(most).unwrap() + 1_000) {
            self.protocol_errors.push(format!("an entry of {size} bytes"));
        }
        let highest = send.highest_sequence_id.unwrap_or(send.sequence_id);
        if chunk.is_none() && self.largest.is_some_and(|largest| size > largest) {
            let refusal = proto::SendError {
                producer_id: send.producer_id,
                sequence_id: highest,
                error: code::NOT_ALLOWED,
                message: "Exceed maximum message size".into(),
            };
            self.answers.push((connection, BaseCommand { kind: kind::SEND_ERROR, send_error: Some(refusal), ..Default::default() }));
            return;
        }
        if let Some(unpacked) = self.reader.read(entry).unwrap() {
            let numbers = unpacked.records.iter().map(|record| std::str::from_utf8(&record.value[..8]).unwrap().parse::<u64>().unwrap());
            self.stored.entry(topic).or_default().extend(numbers);
        }
        self.entries += 1;
        if self.silent {
            return;
        }
        let receipt = proto::SendReceipt {
            producer_id: send.producer_id,
            sequence_id: send.sequence_id,
            message_id: Some(proto::MessageId { ledger_id: 1, entry_id: i64::try_from(self.entries).unwrap() }),
            highest_sequence_id: Some(send.highest_sequence_id.unwrap_or(-1)),
        };
        self.answer(connection, BaseCommand { kind: kind::SEND_RECEIPT, send_receipt: Some(receipt), ..Default::default() });
    }

    fn answer(&mut self, connection: ConnectionId, command: BaseCommand) {
        self.answers.push((connection, command));
    }
}

struct World {
    machine: Machine,
    model: Model,
    at: Instant,
    /// Connections that TCP would have.
    up: BTreeSet<ConnectionId>,
    /// Frames handed to writers and not taken by the broker yet.
    wire: VecDeque<(ConnectionId, Bytes)>,
    connecting: Vec<ConnectionId>,
    refused: Vec<u64>,
    /// Whether a refused record stops its partition.
    fails: bool,
    seen: Arc<Seen>,
    freed: Charge,
    facts: Arc<Facts>,
}

impl World {
    fn new(seed: u64, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new("pulsar://broker:6650".parse().unwrap());
        settings.batching.max_messages = 5;
        change(&mut settings);
        let facts = Arc::new(Facts::default());
        let machine = Machine::new(settings, Arc::clone(&facts), fastrand::Rng::with_seed(seed)).unwrap();
        Self {
            machine,
            model: Model { same_bytes: true, ..Model::default() },
            at: Instant::now(),
            up: BTreeSet::new(),
            wire: VecDeque::new(),
            connecting: Vec::new(),
            refused: Vec::new(),
            fails: false,
            seen: Arc::new(Seen::default()),
            freed: Charge::default(),
            facts,
        }
    }

    fn now(&self) -> Now {
        Now { at: self.at, wall: 1_700_000_000_000 }
    }

    fn open(&mut self, topic: &str) -> ProducerId {
        let now = self.now();
        self.machine.open(now, topic.parse().unwrap(), Naming::ByBroker)
    }

    fn append(&mut self, producer: ProducerId, number: u64, size: usize) {
        let mut value = format!("{number:08}").into_bytes();
        // Not compressible, so that sizes are what they look like.
        let mut random = fastrand::Rng::with_seed(number);
        value.resize_with(8 + size, || random.u8(..));
        let handle = AckHandle::new(Arc::<Seen>::clone(&self.seen), number..number + 1);
        let record = Record { value: value.into(), ..Record::default() };
        let charge = Charge { records: 1, bytes: size };
        let now = self.now();
        self.machine.append(now, producer, record, &"shard".into(), handle, charge);
    }

    fn actions(&mut self) {
        let now = self.now();
        self.machine.pump(now);
        while let Some(action) = self.machine.next_action() {
            match action {
                Action::Connect { connection, .. } => self.connecting.push(connection),
                Action::Disconnect { connection } => self.gone(connection),
                Action::Write { connection, bytes } => self.wire.push_back((connection, bytes)),
                Action::Authenticate { connection } => self.machine.authenticated(connection, AuthData::none()),
                Action::Event(Event::Refused(refused)) => {
                    let number = std::str::from_utf8(&refused.record.value[..8]).unwrap().parse().unwrap();
                    self.refused.push(number);
                    if self.fails {
                        // The owner stops the partition: its lease's fence falls.
                        self.seen.fenced.store(true, Ordering::Relaxed);
                        refused.duty.handle.give_back();
                    } else {
                        refused.duty.handle.ack();
                    }
                    self.machine.release(refused.charge);
                    self.machine.judged(now, refused.producer);
                }
                Action::Event(_) => {}
            }
        }
        let freed = self.machine.take_freed();
        self.freed += freed;
    }

    fn gone(&mut self, connection: ConnectionId) {
        self.up.remove(&connection);
        self.connecting.retain(|id| *id != connection);
        self.wire.retain(|(id, _)| *id != connection);
        self.model.answers.retain(|(id, _)| *id != connection);
        self.model.open.retain(|(id, _), _| *id != connection);
    }

    fn connect_one(&mut self) {
        if let Some(connection) = self.connecting.pop() {
            self.up.insert(connection);
            let now = self.now();
            self.machine.connected(now, connection, AuthData::none());
        }
    }

    fn write_one(&mut self) {
        if let Some((connection, bytes)) = self.wire.pop_front() {
            self.model.handle(connection, &bytes);
            let now = self.now();
            self.machine.written(now, connection, 1, bytes.len());
        }
    }

    fn answer_one(&mut self) {
        if !self.model.answers.is_empty() {
            let (connection, command) = self.model.answers.remove(0);
            let now = self.now();
            self.machine.received(now, connection, command);
        }
    }

    fn lose_connection(&mut self, at: usize) {
        let known: Vec<ConnectionId> = self.up.iter().copied().chain(self.connecting.iter().copied()).collect();
        if let Some(connection) = known.get(at % known.len().max(1)).copied() {
            self.gone(connection);
            let now = self.now();
            self.machine.disconnected(now, connection, Error::transient("lost"));
        }
    }

    fn unload(&mut self, assigned: bool) {
        let Some(((connection, producer_id), _)) = self.model.open.pop_first() else { return };
        let close = proto::CloseProducer {
            producer_id,
            request_id: -1,
            assigned_broker_url: assigned.then(|| "pulsar://other:6650".to_owned()),
            assigned_broker_url_tls: None,
        };
        self.model.answer(connection, BaseCommand { kind: kind::CLOSE_PRODUCER, close_producer: Some(close), ..Default::default() });
    }

    fn sleep(&mut self, duration: Duration) {
        self.at += duration;
        let now = self.now();
        self.machine.tick(now);
    }

    /// Lets everything happen until nothing is on its way, without faults.
    fn quiesce(&mut self) {
        for _ in 0..20_000 {
            self.actions();
            if self.machine.is_idle() && self.wire.is_empty() && self.model.answers.is_empty() && self.connecting.is_empty() {
                return;
            }
            if !self.connecting.is_empty() {
                self.connect_one();
            } else if !self.wire.is_empty() {
                self.write_one();
            } else if !self.model.answers.is_empty() {
                self.answer_one();
            } else {
                self.sleep(Duration::from_millis(50));
            }
        }
        panic!("the machine does not come to rest");
    }
}

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
        seed: u64, steps in steps(), limit in prop::option::of(150usize..500), batching: bool, chunking: bool,
    ) {
        let chunking = chunking && !batching;
        let mut world = World::new(seed, |settings| {
            settings.batching.enabled = batching;
            settings.chunking = chunking;
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

impl World {
    /// Until nothing moves by itself any more.
    fn quiesce_open(&mut self) {
        for _ in 0..100 {
            self.actions();
            self.connect_one();
            self.write_one();
            self.answer_one();
        }
    }

    fn stored(&self, topic: &str) -> Vec<u64> {
        self.model.stored.get(&format!("persistent://public/default/{topic}")).cloned().unwrap_or_default()
    }
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
