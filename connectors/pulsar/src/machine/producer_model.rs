//! A broker that stores what it accepts, and the world between it and the machine: for tests.
//!
//! It keeps each frame it has seen: what is repeated must be the same bytes. What the machine must never do is noted where it
//! would be done.

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
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// What became of each record.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) settled: Mutex<BTreeMap<u64, u32>>,
    pub(super) given_back: Mutex<BTreeSet<u64>>,
    pub(super) fenced: AtomicBool,
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
pub(super) struct Model {
    /// Per topic: the record numbers in the order they were stored.
    pub(super) stored: BTreeMap<String, Vec<u64>>,
    /// Open producers: connection, producer, topic.
    pub(super) open: BTreeMap<(ConnectionId, u64), String>,
    /// Frames seen, by topic, id and chunk: repetitions must be the same bytes.
    pub(super) frames: BTreeMap<(String, i64, Option<i32>), Bytes>,
    /// Answers that have not been delivered.
    pub(super) answers: Vec<(ConnectionId, BaseCommand)>,
    pub(super) largest: Option<usize>,
    pub(super) max_message_size: Option<i32>,
    /// SENDs for which no receipt will come because the connection or the producer goes first.
    pub(super) silent: bool,
    pub(super) entries: u64,
    pub(super) reader: TestReader,
    pub(super) names: u64,
    pub(super) same_bytes: bool,
    pub(super) protocol_errors: Vec<String>,
}

impl Model {
    pub(super) fn handle(&mut self, connection: ConnectionId, bytes: &Bytes) {
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

    pub(super) fn store(&mut self, connection: ConnectionId, send: &proto::Send, entry: Bytes, bytes: &Bytes) {
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

    pub(super) fn answer(&mut self, connection: ConnectionId, command: BaseCommand) {
        self.answers.push((connection, command));
    }
}

pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) model: Model,
    pub(super) at: Instant,
    /// Connections that TCP would have.
    pub(super) up: BTreeSet<ConnectionId>,
    /// Frames handed to writers and not taken by the broker yet.
    pub(super) wire: VecDeque<(ConnectionId, Bytes)>,
    pub(super) connecting: Vec<ConnectionId>,
    pub(super) refused: Vec<u64>,
    /// Whether a refused record stops its partition.
    pub(super) fails: bool,
    pub(super) seen: Arc<Seen>,
    pub(super) freed: Charge,
    pub(super) facts: Arc<Facts>,
}

impl World {
    pub(super) fn new(seed: u64, change: impl FnOnce(&mut Settings)) -> Self {
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

    pub(super) fn now(&self) -> Now {
        Now { at: self.at, wall: 1_700_000_000_000 }
    }

    pub(super) fn open(&mut self, topic: &str) -> ProducerId {
        let now = self.now();
        self.machine.open(now, topic.parse().unwrap(), Naming::ByBroker)
    }

    pub(super) fn append(&mut self, producer: ProducerId, number: u64, size: usize) {
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

    pub(super) fn actions(&mut self) {
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

    pub(super) fn gone(&mut self, connection: ConnectionId) {
        self.up.remove(&connection);
        self.connecting.retain(|id| *id != connection);
        self.wire.retain(|(id, _)| *id != connection);
        self.model.answers.retain(|(id, _)| *id != connection);
        self.model.open.retain(|(id, _), _| *id != connection);
    }

    pub(super) fn connect_one(&mut self) {
        if let Some(connection) = self.connecting.pop() {
            self.up.insert(connection);
            let now = self.now();
            self.machine.connected(now, connection, AuthData::none());
        }
    }

    pub(super) fn write_one(&mut self) {
        if let Some((connection, bytes)) = self.wire.pop_front() {
            self.model.handle(connection, &bytes);
            let now = self.now();
            self.machine.written(now, connection, 1, bytes.len());
        }
    }

    pub(super) fn answer_one(&mut self) {
        if !self.model.answers.is_empty() {
            let (connection, command) = self.model.answers.remove(0);
            let now = self.now();
            self.machine.received(now, connection, command);
        }
    }

    pub(super) fn lose_connection(&mut self, at: usize) {
        let known: Vec<ConnectionId> = self.up.iter().copied().chain(self.connecting.iter().copied()).collect();
        if let Some(connection) = known.get(at % known.len().max(1)).copied() {
            self.gone(connection);
            let now = self.now();
            self.machine.disconnected(now, connection, Error::transient("lost"));
        }
    }

    pub(super) fn unload(&mut self, assigned: bool) {
        let Some(((connection, producer_id), _)) = self.model.open.pop_first() else { return };
        let close = proto::CloseProducer {
            producer_id,
            request_id: -1,
            assigned_broker_url: assigned.then(|| "pulsar://other:6650".to_owned()),
            assigned_broker_url_tls: None,
        };
        self.model.answer(connection, BaseCommand { kind: kind::CLOSE_PRODUCER, close_producer: Some(close), ..Default::default() });
    }

    pub(super) fn sleep(&mut self, duration: Duration) {
        self.at += duration;
        let now = self.now();
        self.machine.tick(now);
    }

    /// Lets everything happen until nothing is on its way, without faults.
    pub(super) fn quiesce(&mut self) {
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

    /// Until nothing moves by itself any more.
    pub(super) fn quiesce_open(&mut self) {
        for _ in 0..100 {
            self.actions();
            self.connect_one();
            self.write_one();
            self.answer_one();
        }
    }

    pub(super) fn stored(&self, topic: &str) -> Vec<u64> {
        self.model.stored.get(&format!("persistent://public/default/{topic}")).cloned().unwrap_or_default()
    }
}
