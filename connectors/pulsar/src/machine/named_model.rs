//! A broker's deduplication as far as one topic's named producers can see it, the connections to it, and the owner of the producers.
//!
//! The broker judges an entry by its lowest number, from what was pushed to storage; storage takes its time, so duplicates' receipts
//! and errors overtake the receipts of what is stored. What the machine must never do is noted where it would be done.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::auth::AuthData;
use crate::error::code;
use crate::wire::frame::decode;
use crate::wire::messages::{self as proto, BaseCommand, kind};
use crate::wire::unpack::unpack;
use bytes::BytesMut;
use connector_sdk::{AckSink, Fence, Lineage, LineageSpec, Lineages, Outcome};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Mutex;

/// What became of each number.
#[derive(Default)]
pub(super) struct Ends {
    pub(super) settled: Mutex<BTreeMap<u64, u32>>,
    pub(super) failed: Mutex<BTreeMap<u64, String>>,
    pub(super) given_back: Mutex<BTreeMap<u64, u32>>,
}

impl AckSink for Ends {
    fn resolve(&self, numbers: Range<u64>, outcome: Outcome) {
        for number in numbers {
            match &outcome {
                Outcome::Settled => *self.settled.lock().unwrap().entry(number).or_default() += 1,
                Outcome::GivenBack => *self.given_back.lock().unwrap().entry(number).or_default() += 1,
                Outcome::Failed(error) => drop(self.failed.lock().unwrap().insert(number, error.message().to_owned())),
            }
        }
    }

    fn is_fenced(&self, number: u64) -> bool {
        self.failed.lock().unwrap().keys().next().is_some_and(|failed| number > *failed)
    }
}

/// An entry on its way to storage.
struct Pushed {
    connection: ConnectionId,
    send: proto::Send,
    name: String,
    numbers: Vec<u64>,
}

#[derive(Default)]
pub(super) struct Broker {
    /// Of each name: what was pushed, and what is stored.
    pushed: BTreeMap<String, i64>,
    persisted: BTreeMap<String, i64>,
    /// Numbers of each name in the order they were stored.
    pub(super) stored: BTreeMap<String, Vec<u64>>,
    storing: VecDeque<Pushed>,
    /// Open producers and their names; also of connections that are gone and not known to be.
    pub(super) open: BTreeMap<(ConnectionId, u64), String>,
    pub(super) answers: VecDeque<(ConnectionId, BaseCommand)>,
    pub(super) largest: Option<usize>,
    entries: i64,
    pub(super) wrong: Vec<String>,
    pub(super) verdicts: BTreeMap<&'static str, u64>,
}

impl Broker {
    fn answer(&mut self, connection: ConnectionId, command: BaseCommand) {
        self.answers.push_back((connection, command));
    }

    pub(super) fn handle(&mut self, connection: ConnectionId, bytes: &Bytes) {
        let frame = decode(&mut BytesMut::from(&bytes[..]), usize::MAX).unwrap().unwrap();
        let command = frame.command;
        match command.kind {
            kind::CONNECT => {
                let connected = proto::Connected { server_version: "model".into(), max_message_size: Some(5_000), ..Default::default() };
                self.answer(connection, BaseCommand { kind: kind::CONNECTED, connected: Some(connected), ..Default::default() });
            }
            kind::PING => self.answer(connection, BaseCommand { kind: kind::PONG, pong: Some(proto::Empty {}), ..Default::default() }),
            kind::LOOKUP => {
                let found = proto::LookupResponse {
                    broker_service_url: Some("pulsar://broker:6650".into()),
                    response: Some(1),
                    request_id: command.lookup.unwrap().request_id,
                    ..Default::default()
                };
                self.answer(connection, BaseCommand { kind: kind::LOOKUP_RESPONSE, lookup_response: Some(found), ..Default::default() });
            }
            kind::PRODUCER => self.open(connection, command.producer.unwrap()),
            kind::CLOSE_PRODUCER => {
                let close = command.close_producer.unwrap();
                // It waits for what the producer has pushed.
                if self.open.remove(&(connection, close.producer_id)).is_some() {
                    self.drain();
                }
                let success = Some(proto::Success { request_id: u64::try_from(close.request_id).unwrap() });
                self.answer(connection, BaseCommand { kind: kind::SUCCESS, success, ..Default::default() });
            }
            kind::SEND => self.send(connection, command.send.unwrap(), frame.entry),
            other => self.wrong.push(format!("command {other}")),
        }
    }

    fn open(&mut self, connection: ConnectionId, open: proto::OpenProducer) {
        let name = open.producer_name.unwrap();
        let alive = self.open.contains_key(&(connection, open.producer_id));
        let busy = self.open.iter().any(|(place, holder)| *holder == name && *place != (connection, open.producer_id));
        if busy {
            *self.verdicts.entry("busy").or_default() += 1;
            let request_id = i64::try_from(open.request_id).unwrap();
            let error = proto::CommandError { request_id, error: code::PRODUCER_BUSY, message: "the name is taken".into() };
            return self.answer(connection, BaseCommand { kind: kind::ERROR, error: Some(error), ..Default::default() });
        }
        let last = if alive { -1 } else { self.pushed.get(&name).copied().unwrap_or(-1) };
        self.open.insert((connection, open.producer_id), name.clone());
        let success =
            proto::ProducerSuccess { request_id: open.request_id, producer_name: name, last_sequence_id: Some(last), ..Default::default() };
        self.answer(connection, BaseCommand { kind: kind::PRODUCER_SUCCESS, producer_success: Some(success), ..Default::default() });
    }

    fn send(&mut self, connection: ConnectionId, send: proto::Send, entry: Bytes) {
        // Without its producer it has crossed a close: dropped without a word.
        let Some(name) = self.open.get(&(connection, send.producer_id)).cloned() else { return };
        let highest = send.highest_sequence_id.unwrap_or(send.sequence_id);
        if self.largest.is_some_and(|largest| entry.len() > largest) {
            return self.refuse(connection, &send, code::NOT_ALLOWED, "Exceed maximum message size");
        }
        let pushed = self.pushed.get(&name).copied().unwrap_or(-1);
        if send.sequence_id > pushed {
            self.pushed.insert(name.clone(), highest);
            let numbers = unpack(entry).unwrap().sequences.into_iter().map(|number| u64::try_from(number).unwrap()).collect();
            self.storing.push_back(Pushed { connection, send, name, numbers });
        } else if send.sequence_id <= self.persisted.get(&name).copied().unwrap_or(-1) {
            *self.verdicts.entry("duplicate").or_default() += 1;
            self.receipt(connection, &send, proto::MessageId { ledger_id: -1, entry_id: -1 });
        } else {
            self.refuse(connection, &send, code::PERSISTENCE, "Cannot determine whether the message is a duplicate at this time");
        }
    }

    fn refuse(&mut self, connection: ConnectionId, send: &proto::Send, error: i32, message: &str) {
        *self.verdicts.entry(if error == code::PERSISTENCE { "unknown" } else { "too large" }).or_default() += 1;
        let sequence_id = send.highest_sequence_id.unwrap_or(send.sequence_id);
        let refusal = proto::SendError { producer_id: send.producer_id, sequence_id, error, message: message.into() };
        self.answer(connection, BaseCommand { kind: kind::SEND_ERROR, send_error: Some(refusal), ..Default::default() });
    }

    fn receipt(&mut self, connection: ConnectionId, send: &proto::Send, message_id: proto::MessageId) {
        let receipt = proto::SendReceipt {
            producer_id: send.producer_id,
            sequence_id: send.sequence_id,
            message_id: Some(message_id),
            highest_sequence_id: Some(send.highest_sequence_id.unwrap_or(-1)),
        };
        self.answer(connection, BaseCommand { kind: kind::SEND_RECEIPT, send_receipt: Some(receipt), ..Default::default() });
    }

    /// The oldest entry on its way is stored.
    pub(super) fn persist(&mut self) {
        let Some(Pushed { connection, send, name, numbers }) = self.storing.pop_front() else { return };
        let highest = i64::try_from(*numbers.last().unwrap()).unwrap();
        self.persisted.insert(name.clone(), highest);
        self.stored.entry(name).or_default().extend(numbers);
        self.entries += 1;
        self.receipt(connection, &send, proto::MessageId { ledger_id: 1, entry_id: self.entries });
    }

    pub(super) fn drain(&mut self) {
        while !self.storing.is_empty() {
            self.persist();
        }
    }

    /// Storage fails: what is on its way is lost, numbers are what is stored again, producers are let go.
    pub(super) fn fail_storage(&mut self) {
        if self.storing.is_empty() {
            return;
        }
        self.storing.clear();
        self.pushed = self.persisted.clone();
        self.unload(false);
    }

    /// No number is known any more.
    pub(super) fn forget(&mut self) {
        (self.pushed, self.persisted) = Default::default();
    }

    /// This is the name's number, whatever it was.
    pub(super) fn recover(&mut self, name: &str, last: i64) {
        for numbers in [&mut self.pushed, &mut self.persisted] {
            numbers.insert(name.to_owned(), last);
        }
    }

    /// All producers are let go.
    pub(super) fn unload(&mut self, assigned: bool) {
        self.drain();
        while let Some(((connection, producer_id), _)) = self.open.pop_first() {
            let close = proto::CloseProducer {
                producer_id,
                request_id: -1,
                assigned_broker_url: assigned.then(|| "pulsar://other:6650".to_owned()),
                assigned_broker_url_tls: None,
            };
            self.answer(connection, BaseCommand { kind: kind::CLOSE_PRODUCER, close_producer: Some(close), ..Default::default() });
        }
    }
}

/// Where the machine has a producer on a connection, by what was written and told there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// By this request.
    Opening(u64),
    Open,
    /// By this request.
    Closing(i64),
}

/// A producer's owner.
pub(super) struct Owner {
    pub(super) lineage: Arc<Lineage>,
    gated: bool,
    /// Nothing was sent since it was opened.
    fresh: bool,
    last: i64,
    /// Taken out until the producer is open again and the topic was looked into.
    unclear: Vec<Withdrawn>,
    pub(super) spent: BTreeSet<u64>,
    pub(super) looked: u64,
}

pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) broker: Broker,
    pub(super) at: Instant,
    pub(super) up: BTreeSet<ConnectionId>,
    pub(super) connecting: Vec<ConnectionId>,
    pub(super) wire: VecDeque<(ConnectionId, Bytes)>,
    places: BTreeMap<(ConnectionId, u64), Place>,
    pub(super) owners: BTreeMap<ProducerId, Owner>,
    /// Admitted in the course of things, or only when the schedule says so.
    pub(super) slow: bool,
    pub(super) dropped: BTreeSet<u64>,
    pub(super) ends: Arc<Ends>,
    pub(super) facts: Arc<Facts>,
    pub(super) wrong: Vec<String>,
    /// Of each number: whose it is, its size, and how often it was handed in.
    pub(super) handed_in: BTreeMap<u64, (String, usize, u32)>,
    next: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self::with(seed, |_| {})
    }

    pub(super) fn with(seed: u64, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new("pulsar://broker:6650".parse().unwrap());
        if seed.is_multiple_of(3) {
            settings.unanswered_bytes = 1_000;
        }
        settings.batching.max_messages = 4;
        change(&mut settings);
        let facts = Arc::new(Facts::default());
        let machine = Machine::new(settings, Arc::clone(&facts), fastrand::Rng::with_seed(seed)).unwrap();
        Self {
            machine,
            broker: Broker::default(),
            at: Instant::now(),
            up: BTreeSet::new(),
            connecting: Vec::new(),
            wire: VecDeque::new(),
            places: BTreeMap::new(),
            owners: BTreeMap::new(),
            slow: false,
            dropped: BTreeSet::new(),
            ends: Arc::default(),
            facts,
            wrong: Vec::new(),
            handed_in: BTreeMap::new(),
            next: 1,
        }
    }

    pub(super) fn now(&self) -> Now {
        Now { at: self.at, wall: 1_700_000_000_000 }
    }

    pub(super) fn open(&mut self, name: &str) -> ProducerId {
        let lineage = Lineages::default().open(LineageSpec {
            partition: "shard".into(),
            name: name.into(),
            partitions: 0,
            in_doubt: false,
            doubt_from: None,
            covered: BTreeMap::new(),
            spent: BTreeSet::new(),
            uncovered_since: 0,
            fence: Fence::new(),
        });
        let account = Some(Account { lineage: Arc::clone(&lineage), partition: 0, late: false });
        let now = self.now();
        let id = self.machine.open(now, "a".parse().unwrap(), Naming::Given { name: name.into(), account });
        let owner = Owner { lineage, gated: true, fresh: false, last: -1, unclear: Vec::new(), spent: BTreeSet::new(), looked: 0 };
        self.owners.insert(id, owner);
        id
    }

    /// A record with the next number.
    pub(super) fn append(&mut self, producer: ProducerId, size: usize) -> u64 {
        let number = self.next;
        self.next += 1;
        self.hand_in(producer, number, size);
        number
    }

    fn hand_in(&mut self, producer: ProducerId, number: u64, size: usize) {
        let name = self.owners[&producer].lineage.name().to_string();
        self.handed_in.entry(number).or_insert((name, size, 0)).2 += 1;
        let mut random = fastrand::Rng::with_seed(number);
        let value: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(size).collect();
        let record = Record { value: value.into(), sequence: Some(number), ..Record::default() };
        let handle = AckHandle::new(Arc::<Ends>::clone(&self.ends), number..number + 1);
        self.submit(producer, record, handle, Charge { records: 1, bytes: size });
    }

    /// The owner loses its right, and another begins where the checkpoint stands: with all that is not settled.
    pub(super) fn change_owner(&mut self, producer: ProducerId) -> ProducerId {
        let now = self.now();
        let Owner { lineage, unclear, spent, .. } = self.owners.remove(&producer).unwrap();
        for item in unclear {
            self.machine.release(item.charge);
            item.duty.handle.give_back();
        }
        self.machine.close(now, producer);
        let next = self.open(lineage.name());
        self.owners.get_mut(&next).unwrap().spent = spent;
        let settled: BTreeSet<u64> = self.ends.settled.lock().unwrap().keys().copied().collect();
        let mine: Vec<(u64, usize)> = self
            .handed_in
            .iter()
            .filter(|(number, (name, ..))| name.as_str() == &**lineage.name() && !settled.contains(number))
            .map(|(number, (_, size, _))| (*number, *size))
            .collect();
        for (number, size) in mine {
            self.hand_in(next, number, size);
        }
        next
    }

    /// The owner takes everything back before it lets the producer send, to look into the topic. Never after a refusal: what is on the
    /// wire then may still be stored, and would be sent twice at once.
    pub(super) fn take_back(&mut self, producer: ProducerId) {
        if self.owners[&producer].fresh && self.machine.is_open(producer) {
            let items = self.machine.withdraw(producer);
            self.owners.get_mut(&producer).unwrap().unclear.extend(items);
        }
    }

    /// The owner closes it until there is something to send: never while it holds something itself.
    pub(super) fn rest(&mut self, producer: ProducerId) {
        let owner = &self.owners[&producer];
        if !owner.gated && owner.unclear.is_empty() {
            let now = self.now();
            self.machine.rest(now, producer);
        }
    }

    /// What was acknowledged is stored, or its owner has dealt with it in another way.
    pub(super) fn unstored_and_settled(&self) -> Vec<u64> {
        let spent = self.owners.values().flat_map(|owner| &owner.spent);
        let done: BTreeSet<u64> = self.broker.stored.values().flatten().chain(spent).chain(&self.dropped).copied().collect();
        self.ends.settled.lock().unwrap().keys().filter(|number| !done.contains(number)).copied().collect()
    }

    fn submit(&mut self, producer: ProducerId, record: Record, handle: AckHandle, charge: Charge) {
        let now = self.now();
        let owner = self.owners.get_mut(&producer).unwrap();
        if owner.unclear.is_empty() {
            self.machine.append(now, producer, record, &"shard".into(), handle, charge);
        } else {
            owner.unclear.push(Withdrawn { record, duty: Duty { partition: "shard".into(), handle }, charge });
        }
    }

    pub(super) fn actions(&mut self) {
        let now = self.now();
        self.machine.pump(now);
        while let Some(action) = self.machine.next_action() {
            match action {
                Action::Connect { connection, .. } => self.connecting.push(connection),
                Action::Disconnect { connection } => self.gone(connection, true),
                Action::Write { connection, bytes } => {
                    self.watch(connection, &bytes);
                    self.wire.push_back((connection, bytes));
                }
                Action::Authenticate { .. } => self.wrong.push("credentials are asked for".into()),
                Action::Event(event) => self.event(event),
            }
        }
    }

    /// What is written is held against what may be.
    fn watch(&mut self, connection: ConnectionId, bytes: &Bytes) {
        let command = decode(&mut BytesMut::from(&bytes[..]), usize::MAX).unwrap().unwrap().command;
        if let Some(open) = command.producer {
            if let Some(place) = self.places.insert((connection, open.producer_id), Place::Opening(open.request_id)) {
                self.wrong.push(format!("PRODUCER where it is {place:?}"));
            }
        } else if let Some(close) = command.close_producer {
            self.places.insert((connection, close.producer_id), Place::Closing(close.request_id));
        } else if let Some(send) = command.send {
            let place = self.places.get(&(connection, send.producer_id));
            if place != Some(&Place::Open) {
                self.wrong.push(format!("SEND where it is {place:?}"));
            }
            let highest = send.highest_sequence_id.unwrap_or(send.sequence_id);
            let Some(owner) = self.owners.get(&ProducerId(send.producer_id)) else {
                return self.wrong.push("SEND of a producer that was closed".into());
            };
            if owner.gated {
                self.wrong.push(format!("SEND of {highest} before the owner's look"));
            }
            if send.sequence_id <= owner.last && send.num_messages.is_some() {
                self.wrong.push(format!("a batch {}..={highest} though the last number is {}", send.sequence_id, owner.last));
            }
            if owner.lineage.highest_written() < u64::try_from(highest).ok() {
                self.wrong.push(format!("SEND of {highest} before it was told"));
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Admission { producer, last, .. } => {
                let Some(owner) = self.owners.get_mut(&producer) else { return };
                (owner.gated, owner.fresh) = (true, true);
                owner.last = last.map_or(-1, |last| i64::try_from(last).unwrap());
                owner.looked += 1;
                if !self.slow {
                    self.admit(producer);
                }
            }
            Event::Overtaken { producer, items } => {
                let owner = self.owners.get_mut(&producer).unwrap();
                owner.gated = true;
                // Published under another name, which is no matter of this one's.
                for item in items {
                    owner.spent.insert(item.record.sequence.unwrap());
                    self.machine.release(item.charge);
                    item.duty.handle.ack();
                }
                if !self.slow {
                    self.admit(producer);
                }
            }
            Event::Unclear { producer, mut items } => {
                let now = self.now();
                items.extend(self.machine.withdraw(producer));
                let owner = self.owners.get_mut(&producer).unwrap();
                owner.gated = true;
                owner.unclear.splice(0..0, items);
                self.machine.reopen(now, producer);
            }
            Event::Refused(refused) => {
                let now = self.now();
                self.dropped.insert(refused.record.sequence.unwrap());
                self.machine.release(refused.charge);
                refused.duty.handle.ack();
                self.machine.judged(now, refused.producer);
            }
            Event::Opened { .. } | Event::Ended { .. } | Event::Trouble { .. } => {}
            other => self.wrong.push(format!("{other:?}")),
        }
    }

    /// The owner has looked: what may be stored was looked for in the topic.
    pub(super) fn admit(&mut self, producer: ProducerId) {
        let now = self.now();
        let owner = self.owners.get_mut(&producer).unwrap();
        if !owner.gated || !self.machine.is_open(producer) {
            return;
        }
        (owner.gated, owner.fresh) = (false, false);
        let unclear = std::mem::take(&mut owner.unclear);
        self.machine.admit(now, producer);
        if unclear.is_empty() {
            return;
        }
        self.broker.drain();
        let name = self.machine.producer(producer).name.clone().unwrap();
        let stored: BTreeSet<u64> = self.broker.stored.get(&name).into_iter().flatten().copied().collect();
        for Withdrawn { record, duty, charge } in unclear {
            let number = record.sequence.unwrap();
            if stored.contains(&number) {
                self.machine.release(charge);
                duty.handle.ack();
            } else if Some(&number) < stored.last() {
                self.owners.get_mut(&producer).unwrap().spent.insert(number);
                self.machine.release(charge);
                duty.handle.ack();
            } else {
                self.submit(producer, record, duty.handle, charge);
            }
        }
    }

    /// A connection is gone for the machine; `told`: for the broker too, else it holds its producers until it notices.
    pub(super) fn gone(&mut self, connection: ConnectionId, told: bool) {
        self.up.remove(&connection);
        self.connecting.retain(|id| *id != connection);
        self.places.retain(|(id, _), _| *id != connection);
        self.broker.answers.retain(|(id, _)| *id != connection);
        if told {
            self.wire.retain(|(id, _)| *id != connection);
            self.broker.open.retain(|(id, _), _| *id != connection);
        }
    }

    /// The broker notices which connections are gone.
    pub(super) fn notice(&mut self) {
        let up = self.up.clone();
        self.wire.retain(|(id, _)| up.contains(id));
        self.broker.open.retain(|(id, _), _| up.contains(id));
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
            self.broker.handle(connection, &bytes);
            let now = self.now();
            self.machine.written(now, connection, 1, bytes.len());
        }
    }

    pub(super) fn answer_one(&mut self) -> Option<(ConnectionId, BaseCommand)> {
        let (connection, command) = self.broker.answers.pop_front()?;
        self.tell(connection, command.clone());
        Some((connection, command))
    }

    pub(super) fn tell(&mut self, connection: ConnectionId, command: BaseCommand) {
        if !self.up.contains(&connection) {
            return;
        }
        if let Some(success) = &command.success {
            let request = i64::try_from(success.request_id).unwrap();
            self.places.retain(|_, place| *place != Place::Closing(request));
        } else if let Some(success) = &command.producer_success {
            for place in self.places.values_mut().filter(|place| **place == Place::Opening(success.request_id)) {
                *place = Place::Open;
            }
        } else if let Some(close) = &command.close_producer {
            let place = (connection, close.producer_id);
            if matches!(self.places.get(&place), Some(Place::Open | Place::Opening(_))) {
                self.places.remove(&place);
            }
        } else if let Some(refusal) = &command.error {
            self.places.retain(|_, place| !matches!(place, Place::Opening(request) if i64::try_from(*request) == Ok(refusal.request_id)));
        }
        let now = self.now();
        self.machine.received(now, connection, command);
    }

    pub(super) fn lose(&mut self, at: usize, told: bool) {
        let known: Vec<ConnectionId> = self.up.iter().copied().chain(self.connecting.iter().copied()).collect();
        if let Some(connection) = known.get(at % known.len().max(1)).copied() {
            self.gone(connection, told);
            let now = self.now();
            self.machine.disconnected(now, connection, Error::transient("lost"));
        }
    }

    pub(super) fn sleep(&mut self, duration: Duration) {
        self.at += duration;
        let now = self.now();
        self.machine.tick(now);
    }

    /// Everything happens, without faults, until every record is resolved.
    pub(super) fn quiesce(&mut self) {
        self.slow = false;
        let mut idle = 0;
        for _ in 0..20_000 {
            self.actions();
            for producer in self.owners.keys().copied().collect::<Vec<_>>() {
                self.admit(producer);
            }
            self.actions();
            let unclear = self.owners.values().any(|owner| !owner.unclear.is_empty());
            let still = self.wire.is_empty() && self.broker.answers.is_empty() && self.connecting.is_empty();
            if self.machine.is_idle() && !unclear && still && self.machine.requests.is_empty() {
                return;
            }
            if !self.connecting.is_empty() {
                self.connect_one();
            } else if !self.wire.is_empty() {
                self.write_one();
            } else if self.answer_one().is_none() {
                self.sleep(Duration::from_millis(50));
                idle += 1;
                // Storage takes longer than to be connected again.
                if idle % 10 == 0 {
                    self.broker.persist();
                }
                if idle % 50 == 0 {
                    self.notice();
                }
            }
        }
        panic!("the machine does not come to rest");
    }
}
