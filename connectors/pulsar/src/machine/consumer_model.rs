//! A broker's side of consumers, and the world between it and the machine: for tests.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::auth::AuthData;
use crate::error::code;
use crate::message::{ConsumerId, Message};
use crate::wire::consume::{self, MessageIdData, ack_type};
use crate::wire::entry::{Encoder, Numbers, Stamp};
use crate::wire::frame::decode;
use crate::wire::messages::{self as proto, BaseCommand, kind};
use bytes::BytesMut;
use connector_sdk::MessageId;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) struct Stored {
    pub(crate) id: MessageId,
    pub(crate) entry: Bytes,
    pub(crate) count: u32,
    pub(crate) publish_time: u64,
}

#[derive(Default)]
pub(crate) struct Cursor {
    durable: bool,
    shared: bool,
    next: usize,
    again: VecDeque<usize>,
    pub(crate) acked: BTreeSet<MessageId>,
    partial: BTreeMap<MessageId, Vec<i64>>,
    counts: BTreeMap<MessageId, u32>,
    consumer: Option<(ConnectionId, u64)>,
    epoch: u64,
    permits: i64,
}

/// One topic with its subscriptions.
#[derive(Default)]
pub(crate) struct Broker {
    pub(crate) log: Vec<Stored>,
    pub(crate) cursors: BTreeMap<String, Cursor>,
    pub(crate) answers: VecDeque<(ConnectionId, BaseCommand, Bytes)>,
    /// Of the topic; 0: not partitioned.
    pub(crate) partitions: u32,
    /// Records that were published to other topics.
    pub(crate) published: Vec<(String, Record)>,
    producers: BTreeMap<(ConnectionId, u64), String>,
    /// Answers of the next SUBSCRIBEs.
    pub(crate) refusals: Vec<(i32, &'static str)>,
    /// Answer of every SUBSCRIBE.
    pub(crate) forbidden: bool,
    /// ACKs that are done, but whose answers are lost.
    pub(crate) silent: bool,
    pub(crate) subscribes: Vec<consume::Subscribe>,
    /// Redeliveries that were asked for of entries whose acknowledgement the broker has.
    pub(crate) asked_for_acked: Vec<MessageId>,
    /// Whether parts of batches are acknowledged.
    pub(crate) by_index: bool,
    pub(crate) commands: Vec<BaseCommand>,
}

impl Broker {
    pub(crate) fn store(&mut self, ledger: i64, name: &str, numbers: &[u64], publish_time: u64) -> MessageId {
        let records: Vec<Record> = numbers
            .iter()
            .map(|number| Record { value: format!("{number:08}").into(), sequence: Some(*number), ..Record::default() })
            .collect();
        let stamp =
            Stamp { producer_id: 1, producer_name: name, numbers: Numbers::OfRecords, publish_time, schema_version: None, by_key: false };
        let frame = Encoder::new(Compression::Lz4).unwrap().encode(stamp, &records).frames.as_slice()[0].clone();
        let entry = decode(&mut BytesMut::from(&frame[..]), usize::MAX).unwrap().unwrap().entry;
        self.store_entry(ledger, entry, u32::try_from(numbers.len()).unwrap(), publish_time)
    }

    pub(crate) fn store_entry(&mut self, ledger: i64, entry: Bytes, count: u32, publish_time: u64) -> MessageId {
        let before = self.log.iter().filter(|stored| stored.id.ledger == ledger).map(|stored| stored.id.entry).max();
        let id = MessageId { ledger, entry: before.map_or(0, |before| before + 1) };
        self.log.push(Stored { id, entry, count, publish_time });
        self.pump();
        id
    }

    fn say(&mut self, connection: ConnectionId, command: BaseCommand) {
        self.answers.push_back((connection, command, Bytes::new()));
    }

    fn succeed(&mut self, connection: ConnectionId, request_id: u64) {
        self.say(connection, BaseCommand { kind: kind::SUCCESS, success: Some(proto::Success { request_id }), ..Default::default() });
    }

    fn cursor(&mut self, connection: ConnectionId, consumer: u64) -> Option<(String, &mut Cursor)> {
        let found = self.cursors.iter_mut().find(|(_, cursor)| cursor.consumer == Some((connection, consumer)));
        found.map(|(name, cursor)| (name.clone(), cursor))
    }

    pub(crate) fn gone(&mut self, connection: ConnectionId) {
        self.answers.retain(|(id, ..)| *id != connection);
        for cursor in self.cursors.values_mut() {
            cursor.consumer.take_if(|(mine, _)| *mine == connection);
        }
        self.cursors.retain(|_, cursor| cursor.durable || cursor.consumer.is_some());
    }

    /// Lets a consumer go.
    pub(crate) fn unload(&mut self) {
        let open = self.cursors.values_mut().find_map(|cursor| cursor.consumer.take());
        self.cursors.retain(|_, cursor| cursor.durable || cursor.consumer.is_some());
        if let Some((connection, consumer_id)) = open {
            self.close(connection, consumer_id);
        }
    }

    fn close(&mut self, connection: ConnectionId, consumer_id: u64) {
        let close = consume::CloseConsumer { consumer_id, request_id: -1, ..Default::default() };
        self.say(connection, BaseCommand { kind: kind::CLOSE_CONSUMER, close_consumer: Some(Box::new(close)), ..Default::default() });
    }

    /// The delivery of an entry as this broker would send it now.
    pub(crate) fn delivery(&mut self, consumer: ConsumerId, place: usize) -> (ConnectionId, consume::Delivery) {
        let cursor = self.cursors.values().find(|cursor| cursor.consumer.is_some_and(|(_, id)| id == consumer.0)).unwrap();
        let delivery = consume::Delivery {
            consumer_id: consumer.0,
            message_id: data(self.log[place].id),
            consumer_epoch: Some(cursor.epoch),
            ..Default::default()
        };
        (cursor.consumer.unwrap().0, delivery)
    }

    /// The place of the first entry behind `id`, or of it.
    fn place(&self, id: MessageId, behind: bool) -> usize {
        self.log.iter().position(|stored| if behind { stored.id > id } else { stored.id >= id }).unwrap_or(self.log.len())
    }

    pub(crate) fn handle(&mut self, connection: ConnectionId, bytes: &Bytes) {
        let frame = decode(&mut BytesMut::from(&bytes[..]), usize::MAX).unwrap().unwrap();
        let command = frame.command;
        self.commands.push(command.clone());
        match command.kind {
            kind::CONNECT => {
                let connected = proto::Connected { server_version: "model".into(), ..Default::default() };
                self.say(connection, BaseCommand { kind: kind::CONNECTED, connected: Some(connected), ..Default::default() });
            }
            kind::LOOKUP => {
                let answer = proto::LookupResponse {
                    broker_service_url: Some("pulsar://broker:6650".into()),
                    response: Some(1),
                    request_id: command.lookup.unwrap().request_id,
                    ..Default::default()
                };
                self.say(connection, BaseCommand { kind: kind::LOOKUP_RESPONSE, lookup_response: Some(answer), ..Default::default() });
            }
            kind::PING => self.say(connection, BaseCommand { kind: kind::PONG, pong: Some(proto::Empty {}), ..Default::default() }),
            kind::PARTITIONED_METADATA => {
                let question = command.partition_metadata.unwrap();
                let partitions = if question.topic.ends_with("/orders") { self.partitions } else { 0 };
                let answer = proto::PartitionMetadataResponse {
                    partitions: Some(partitions),
                    request_id: question.request_id,
                    response: Some(0),
                    ..Default::default()
                };
                let kind = kind::PARTITIONED_METADATA_RESPONSE;
                self.say(connection, BaseCommand { kind, partition_metadata_response: Some(answer), ..Default::default() });
            }
            kind::PRODUCER => {
                let open = command.producer.unwrap();
                self.producers.insert((connection, open.producer_id), open.topic);
                let success = proto::ProducerSuccess { request_id: open.request_id, producer_name: "letters".into(), ..Default::default() };
                self.say(connection, BaseCommand { kind: kind::PRODUCER_SUCCESS, producer_success: Some(success), ..Default::default() });
            }
            kind::SEND => {
                let send = command.send.unwrap();
                let topic = self.producers[&(connection, send.producer_id)].clone();
                let records = crate::wire::unpack::unpack(frame.entry).unwrap().records;
                self.published.extend(records.into_iter().map(|record| (topic.clone(), record)));
                let receipt = proto::SendReceipt {
                    producer_id: send.producer_id,
                    sequence_id: send.sequence_id,
                    message_id: Some(proto::MessageId { ledger_id: 50, entry_id: 1 }),
                    highest_sequence_id: Some(-1),
                };
                self.say(connection, BaseCommand { kind: kind::SEND_RECEIPT, send_receipt: Some(receipt), ..Default::default() });
            }
            kind::SUBSCRIBE => self.subscribe(connection, *command.subscribe.unwrap()),
            kind::FLOW => {
                let flow = command.flow.unwrap();
                if let Some((_, cursor)) = self.cursor(connection, flow.consumer_id) {
                    cursor.permits += i64::from(flow.message_permits);
                }
            }
            kind::ACK => self.ack(connection, &command.ack.unwrap()),
            kind::REDELIVER_UNACKNOWLEDGED_MESSAGES => self.redeliver(connection, &command.redeliver.unwrap()),
            kind::SEEK => self.seek(connection, &command.seek.unwrap()),
            kind::GET_LAST_MESSAGE_ID => {
                let ask = command.get_last_message_id.unwrap();
                let last = self.log.last().map_or(MessageId { ledger: -1, entry: -1 }, |stored| stored.id);
                let Some((_, cursor)) = self.cursor(connection, ask.consumer_id) else { return };
                let before = cursor.next.checked_sub(1);
                // Where nothing was stored before, it stands in the ledger that is open.
                let open = MessageId { ledger: self.log.first().map_or(5, |first| first.id.ledger), entry: -1 };
                let mark = Some(data(before.and_then(|before| self.log.get(before)).map_or(open, |stored| stored.id)));
                let answer = consume::LastMessageId { last_message_id: data(last), request_id: ask.request_id, mark_delete: mark };
                let command =
                    BaseCommand { kind: kind::GET_LAST_MESSAGE_ID_RESPONSE, last_message_id: Some(Box::new(answer)), ..Default::default() };
                self.say(connection, command);
            }
            kind::UNSUBSCRIBE => {
                let ask = command.unsubscribe.unwrap();
                if let Some((name, _)) = self.cursor(connection, ask.consumer_id) {
                    self.cursors.remove(&name);
                    self.succeed(connection, ask.request_id);
                }
            }
            kind::CLOSE_CONSUMER => {
                let consumer = command.close_consumer.unwrap().consumer_id;
                if let Some((_, cursor)) = self.cursor(connection, consumer) {
                    cursor.consumer = None;
                }
                self.cursors.retain(|_, cursor| cursor.durable || cursor.consumer.is_some());
            }
            kind::CLOSE_PRODUCER => {}
            other => panic!("command {other}"),
        }
        self.pump();
    }

    fn subscribe(&mut self, connection: ConnectionId, subscribe: consume::Subscribe) {
        self.subscribes.push(subscribe.clone());
        let refusal = if self.forbidden { Some((code::AUTHORIZATION, "not you")) } else { self.refusals.pop() };
        if let Some((error, message)) = refusal {
            let request_id = i64::try_from(subscribe.request_id).unwrap();
            let error = proto::CommandError { request_id, error, message: message.into() };
            return self.say(connection, BaseCommand { kind: kind::ERROR, error: Some(error), ..Default::default() });
        }
        let start = subscribe.start_message_id.as_ref().map_or(usize::MAX, |start| {
            let id = MessageId { ledger: start.ledger_id, entry: start.entry_id };
            self.place(id, start.batch_index.is_none())
        });
        let first = if subscribe.durable == Some(true) {
            if subscribe.initial_position == Some(1) { 0 } else { self.log.len() }
        } else {
            start.min(self.log.len())
        };
        let key = if self.partitions > 0 { format!("{} {}", subscribe.topic, subscribe.subscription) } else { subscribe.subscription };
        let cursor = self.cursors.entry(key).or_insert_with(|| Cursor { next: first, ..Cursor::default() });
        if cursor.durable {
            // From the first that is not acknowledged.
            cursor.next = self.log.iter().position(|stored| !cursor.acked.contains(&stored.id)).unwrap_or(self.log.len());
        }
        cursor.durable = subscribe.durable == Some(true);
        cursor.shared = matches!(subscribe.kind, 1 | 3);
        cursor.again.clear();
        cursor.permits = 0;
        cursor.epoch = subscribe.consumer_epoch.unwrap_or(0);
        cursor.consumer = Some((connection, subscribe.consumer_id));
        self.succeed(connection, subscribe.request_id);
    }

    fn ack(&mut self, connection: ConnectionId, ack: &consume::Ack) {
        let (silent, by_index) = (self.silent, self.by_index);
        let ids: Vec<MessageId> = self.log.iter().map(|stored| stored.id).collect();
        let Some((_, cursor)) = self.cursor(connection, ack.consumer_id) else { return };
        for acked in &ack.message_id {
            let id = MessageId { ledger: acked.ledger_id, entry: acked.entry_id };
            let whole = acked.ack_set.iter().all(|word| *word == 0);
            if ack.kind == ack_type::CUMULATIVE {
                cursor.acked.extend(ids.iter().filter(|other| **other < id || whole && **other == id));
            } else if whole {
                cursor.acked.insert(id);
            }
            assert!(whole || by_index, "parts of batches mean nothing to this broker");
            if !whole {
                cursor.partial.insert(id, acked.ack_set.clone());
            }
        }
        if let Some(request_id) = ack.request_id.filter(|_| !silent) {
            let answer = consume::AckResponse { consumer_id: ack.consumer_id, request_id: Some(request_id), ..Default::default() };
            self.say(connection, BaseCommand { kind: kind::ACK_RESPONSE, ack_response: Some(Box::new(answer)), ..Default::default() });
        }
    }

    fn redeliver(&mut self, connection: ConnectionId, redeliver: &consume::Redeliver) {
        let places: Vec<usize> = redeliver
            .message_ids
            .iter()
            .map(|data| self.place(MessageId { ledger: data.ledger_id, entry: data.entry_id }, false))
            .collect();
        let ids: Vec<MessageId> = self.log.iter().map(|stored| stored.id).collect();
        let mut asked = Vec::new();
        let Some((_, cursor)) = self.cursor(connection, redeliver.consumer_id) else { return };
        if redeliver.message_ids.is_empty() {
            cursor.next = ids.iter().position(|id| !cursor.acked.contains(id)).unwrap_or(ids.len());
            cursor.epoch = redeliver.consumer_epoch.unwrap_or(cursor.epoch);
            return;
        }
        assert!(cursor.shared, "only shared subscriptions redeliver single messages");
        for place in places {
            if place < cursor.next {
                if cursor.acked.contains(&ids[place]) {
                    asked.push(ids[place]);
                }
                *cursor.counts.entry(ids[place]).or_default() += 1;
                cursor.again.push_back(place);
            }
        }
        self.asked_for_acked.extend(asked);
    }

    fn seek(&mut self, connection: ConnectionId, seek: &consume::Seek) {
        let next = match (&seek.message_id, seek.message_publish_time) {
            (Some(id), _) => self.place(MessageId { ledger: id.ledger_id, entry: id.entry_id }, false),
            (None, Some(time)) => self.log.iter().position(|stored| stored.publish_time >= time).unwrap_or(self.log.len()),
            (None, None) => panic!("a seek to nowhere"),
        };
        let before: BTreeSet<MessageId> = self.log[..next].iter().map(|stored| stored.id).collect();
        let Some((_, cursor)) = self.cursor(connection, seek.consumer_id) else { return };
        cursor.next = next;
        cursor.acked = before;
        cursor.partial.clear();
        cursor.again.clear();
        cursor.consumer = None;
        self.close(connection, seek.consumer_id);
        self.succeed(connection, seek.request_id);
    }

    /// Sends what permits allow.
    fn pump(&mut self) {
        let Self { log, cursors, answers, .. } = self;
        for cursor in cursors.values_mut() {
            let Some((connection, consumer_id)) = cursor.consumer else { continue };
            while cursor.permits > 0 {
                let place = match cursor.again.pop_front() {
                    Some(place) => place,
                    None if cursor.next < log.len() => {
                        cursor.next += 1;
                        cursor.next - 1
                    }
                    None => break,
                };
                let stored = &log[place];
                if cursor.acked.contains(&stored.id) {
                    continue;
                }
                let ack_set = cursor.partial.get(&stored.id).cloned().unwrap_or_default();
                let left: u32 = if ack_set.is_empty() { stored.count } else { ack_set.iter().map(|word| word.count_ones()).sum() };
                cursor.permits -= i64::from(left);
                let delivery = consume::Delivery {
                    consumer_id,
                    message_id: data(stored.id),
                    redelivery_count: cursor.counts.get(&stored.id).copied(),
                    ack_set,
                    consumer_epoch: (!cursor.shared).then_some(cursor.epoch),
                };
                let command = BaseCommand { kind: kind::MESSAGE, message: Some(Box::new(delivery)), ..Default::default() };
                answers.push_back((connection, command, stored.entry.clone()));
            }
        }
    }
}

fn data(id: MessageId) -> MessageIdData {
    MessageIdData { ledger_id: id.ledger, entry_id: id.entry, ..Default::default() }
}

/// The machine, the broker and the network between them.
pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) broker: Broker,
    pub(super) at: Instant,
    up: BTreeSet<ConnectionId>,
    connecting: Vec<ConnectionId>,
    wire: VecDeque<(ConnectionId, Bytes)>,
    /// Delivered and not taken.
    pub(super) queue: VecDeque<Message>,
    pub(super) news: Vec<String>,
    pub(super) troubles: Vec<Error>,
    pub(super) read: Vec<Result<ReadBack, Error>>,
    /// Where the reading back was to begin.
    pub(super) read_from: Option<ReadFrom>,
    pub(super) facts: Arc<Facts>,
    /// Messages the owner has acknowledged: none of them may be delivered again.
    pub(super) acked: BTreeSet<u64>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let settings = Settings::new("pulsar://broker:6650".parse().unwrap());
        let facts = Arc::new(Facts::default());
        Self {
            machine: Machine::new(settings, Arc::clone(&facts), fastrand::Rng::with_seed(seed)).unwrap(),
            broker: Broker::default(),
            at: Instant::now(),
            up: BTreeSet::new(),
            connecting: Vec::new(),
            wire: VecDeque::new(),
            queue: VecDeque::new(),
            news: Vec::new(),
            troubles: Vec::new(),
            read: Vec::new(),
            read_from: None,
            facts,
            acked: BTreeSet::new(),
        }
    }

    pub(super) fn now(&self) -> Now {
        Now { at: self.at, wall: 1_700_000_000_000 }
    }

    pub(super) fn subscribe(&mut self, subscription: Subscription) -> ConsumerId {
        let now = self.now();
        self.machine.subscribe(now, "orders".parse().unwrap(), Arc::new(subscription))
    }

    pub(super) fn read_back(&mut self, from: ReadFrom) -> ReadBackId {
        let now = self.now();
        self.read_from = Some(from);
        self.machine.read_back(now, "orders".parse().unwrap(), from, ["me".into()])
    }

    pub(super) fn actions(&mut self) {
        while let Some(action) = self.machine.next_action() {
            match action {
                Action::Connect { connection, .. } => self.connecting.push(connection),
                Action::Disconnect { connection } => self.gone(connection),
                Action::Write { connection, bytes } => self.wire.push_back((connection, bytes)),
                Action::Authenticate { .. } => {}
                Action::Event(Event::Consumer { news, .. }) => self.told(news),
                Action::Event(Event::ReadBack { outcome, .. }) => self.read.push(outcome),
                Action::Event(Event::Trouble { trouble, .. }) => self.troubles.push(trouble.error),
                Action::Event(_) => {}
            }
        }
    }

    fn told(&mut self, news: News) {
        match news {
            News::Delivered(messages) => {
                for message in &messages {
                    assert!(!self.acked.contains(&number(message)), "{} is delivered though it was acknowledged", message.id);
                }
                self.queue.extend(messages);
            }
            News::Cleared => self.queue.clear(),
            News::Subscribed => self.news.push("subscribed".into()),
            News::Unusable { id, error, discarded } => self.news.push(format!("unusable {id} {discarded}: {error}")),
            News::Active(active) => self.news.push(format!("active {active}")),
            News::EndOfTopic => self.news.push("end".into()),
            News::Sought(outcome) => self.news.push(format!("sought {}", outcome.is_ok())),
            News::Last(outcome) => self.news.push(format!("last {}", outcome.unwrap().map_or("none".to_owned(), |id| id.to_string()))),
            News::Unsubscribed(outcome) => self.news.push(format!("unsubscribed {}", outcome.is_ok())),
        }
    }

    /// The owner takes the next message.
    pub(super) fn take(&mut self) -> Option<Message> {
        let message = self.queue.pop_front()?;
        let now = self.now();
        self.machine.taken(now, message.id.consumer, message.cost(), message.id);
        self.actions();
        Some(message)
    }

    pub(super) fn ack(&mut self, message: &Message, cumulative: bool) {
        let now = self.now();
        self.acked.insert(number(message));
        self.machine.acknowledge(now, message.id, cumulative);
        self.actions();
    }

    pub(super) fn nack(&mut self, message: &Message) {
        let now = self.now();
        self.machine.negative_acknowledge(now, message.id, message.redelivery_count);
        self.actions();
    }

    fn gone(&mut self, connection: ConnectionId) {
        self.up.remove(&connection);
        self.connecting.retain(|id| *id != connection);
        self.wire.retain(|(id, _)| *id != connection);
        self.broker.gone(connection);
    }

    pub(super) fn connect_one(&mut self) -> bool {
        let Some(connection) = self.connecting.pop() else { return false };
        self.up.insert(connection);
        let now = self.now();
        self.machine.connected(now, connection, AuthData::none());
        self.actions();
        true
    }

    pub(super) fn write_one(&mut self) -> bool {
        let Some((connection, bytes)) = self.wire.pop_front() else { return false };
        self.broker.handle(connection, &bytes);
        let now = self.now();
        self.machine.written(now, connection, 1, bytes.len());
        self.actions();
        true
    }

    pub(super) fn answer_one(&mut self) -> bool {
        let Some((connection, command, entry)) = self.broker.answers.pop_front() else { return false };
        let now = self.now();
        match command.message {
            Some(delivery) => self.machine.delivered(now, connection, &delivery, entry),
            None => self.machine.received(now, connection, command),
        }
        self.actions();
        true
    }

    pub(super) fn lose_connection(&mut self, at: usize) {
        let known: Vec<ConnectionId> = self.up.iter().chain(&self.connecting).copied().collect();
        if let Some(connection) = known.get(at % known.len().max(1)).copied() {
            self.gone(connection);
            let now = self.now();
            self.machine.disconnected(now, connection, Error::transient("lost"));
            self.actions();
        }
    }

    pub(super) fn sleep(&mut self, duration: Duration) {
        self.at += duration;
        let now = self.now();
        self.machine.tick(now);
        self.actions();
    }

    /// Lets everything happen that is on its way, without time passing.
    pub(super) fn settle(&mut self) {
        self.actions();
        while self.connect_one() || self.write_one() || self.answer_one() {}
    }

    /// The same, while time passes.
    pub(super) fn run(&mut self, duration: Duration) {
        self.settle();
        let until = self.at + duration;
        while self.at < until {
            self.sleep(Duration::from_millis(50));
            self.settle();
        }
    }
}

/// A message's number: its payload.
pub(super) fn number(message: &Message) -> u64 {
    std::str::from_utf8(&message.payload).unwrap().parse().unwrap()
}
