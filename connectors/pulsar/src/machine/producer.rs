//! One producer's life: looked up, opened, interrupted, opened again, with the same number and name throughout.

use super::backoff::Backoff;
use super::connection::Target;
use super::entry::{Charge, Entry, Pack};
use super::lookup::Ask;
use super::named::{Named, Naming};
use super::{Batching, ConnectionId, Event, Machine, Now, ProducerId, Settings, Subject, Trouble};
use crate::error::{self, code};
use crate::schema::{self, Declared, Definition};
use crate::topic::TopicName;
use crate::wire::messages::{self as proto, BaseCommand, KeyValue, kind};
use crate::wire::schema::{GetSchema, GetSchemaResponse, schema_type};
use bytes::Bytes;
use connector_sdk::{AckHandle, Error, ErrorKind, Mistake, PartitionId, Record, planted};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// A last number above this leaves no room for those that follow it: the broker's memory is damaged.
const MOST_LAST: i64 = i64::MAX / 2;

#[derive(Debug)]
pub(super) enum State {
    /// Until the next attempt.
    Waiting(Instant),
    /// Which broker?
    Asking(Ask),
    /// Until the broker's connection is ready; if `assigned`, the broker was named by the one that let us go.
    Reaching { connection: ConnectionId, deadline: Instant, assigned: bool },
    /// Until the broker has answered PRODUCER, or before that which schema the topic has.
    Opening { connection: ConnectionId, request: u64, deadline: Option<Instant> },
    /// Open.
    Ready(ConnectionId),
    /// Until the broker has answered CLOSE_PRODUCER: opened before, it would say nothing of the last number.
    Closing { connection: ConnectionId, request: u64, deadline: Instant, after: After },
    /// Closed until there is something to send.
    Resting,
    /// For good.
    Closed,
}

/// What follows once a producer is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It is opened again at this time.
    Wait(Instant),
    /// It is opened again at once, on the same broker.
    Here,
    /// It is opened again when there is something to send.
    Rest,
    /// Nothing.
    End,
}

impl State {
    pub(super) fn connection(&self) -> Option<ConnectionId> {
        match self {
            Self::Asking(ask) => Some(ask.connection),
            Self::Reaching { connection, .. }
            | Self::Opening { connection, .. }
            | Self::Ready(connection)
            | Self::Closing { connection, .. } => Some(*connection),
            Self::Waiting(_) | Self::Resting | Self::Closed => None,
        }
    }

    /// The request whose answer is waited for.
    pub(super) fn request(&self) -> Option<u64> {
        match self {
            Self::Asking(ask) => ask.request,
            Self::Opening { request, .. } | Self::Closing { request, .. } => Some(*request),
            _ => None,
        }
    }

    /// Whether the answer to this request opens it.
    pub(super) fn is_opening(&self, request: u64) -> bool {
        matches!(self, Self::Opening { request: mine, .. } if *mine == request)
    }

    /// Whether the answer to this request says that it is closed.
    pub(super) fn is_closing(&self, request: u64) -> bool {
        matches!(self, Self::Closing { request: mine, .. } if *mine == request)
    }
}

pub(super) struct Producer {
    pub(super) topic: TopicName,
    pub(super) state: State,
    pub(super) backoff: Backoff,
    /// What the broker named it, or what it was named from the start.
    pub(super) name: Option<String>,
    /// For one with a name and numbers from outside.
    pub(super) named: Option<Named>,
    /// How often it was asked to be opened.
    epoch: u64,
    /// Whether it was open before.
    opened: bool,
    pub(super) next_sequence: i64,
    /// Of the records' payloads.
    declared: Declared,
    /// The schema of the present opening: what was declared, or the topic's own.
    schema: Option<Arc<Definition>>,
    /// What the broker calls it.
    pub(super) schema_version: Option<Bytes>,
    /// Being filled.
    pub(super) open: Pack,
    /// When `open` is closed though not full.
    pub(super) due: Option<Instant>,
    /// When an entry was last closed by time.
    pub(super) closed_at: Option<Instant>,
    /// Closed, never encoded.
    pub(super) queue: VecDeque<Pack>,
    /// Encoded and not answered, oldest first: the first `on_wire` were written on the present connection.
    pub(super) pending: VecDeque<Entry>,
    pub(super) on_wire: usize,
    /// Bytes of all frames written so far.
    pub(super) written_bytes: u64,
    /// Payload bytes of a batch, at most: less than configured once the topic has refused a batch, until it is opened again.
    pub(super) batch_bytes: usize,
    /// The largest entry this topic has taken.
    pub(super) largest: usize,
    pub(super) accepted: u64,
    pub(super) resolved: u64,
    /// It waits in its connection's list for room.
    pub(super) blocked: bool,
    /// It is on the machine's list of producers with news.
    pub(super) dirty: bool,
    /// Refused records whose fate the owner has not decided: nothing is written meanwhile.
    pub(super) judging: u32,
}

impl Producer {
    pub(super) fn new(topic: TopicName, naming: Naming, declared: Declared, settings: &Settings) -> Self {
        let (name, named) = match naming {
            Naming::ByBroker => (None, None),
            Naming::Given { name, account } => (Some(name.to_string()), Some(Named::new(account))),
        };
        Self {
            topic,
            state: State::Closed,
            backoff: Backoff::new(settings.backoff_first, settings.backoff_cap),
            name,
            named,
            epoch: 0,
            opened: false,
            next_sequence: 0,
            declared,
            schema: None,
            schema_version: None,
            open: Pack::default(),
            due: None,
            closed_at: None,
            queue: VecDeque::new(),
            pending: VecDeque::new(),
            on_wire: 0,
            written_bytes: 0,
            batch_bytes: settings.batching.max_bytes,
            largest: 0,
            accepted: 0,
            resolved: 0,
            blocked: false,
            judging: 0,
            dirty: false,
        }
    }

    pub(super) fn connection(&self) -> Option<ConnectionId> {
        self.state.connection()
    }

    /// Bytes written on the present connection since the oldest entry that is not answered.
    pub(super) fn unanswered_bytes(&self) -> u64 {
        let oldest = self.pending.front().filter(|_| self.on_wire > 0);
        oldest.map_or(0, |entry| self.written_bytes - entry.behind_bytes)
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    /// What the broker's refusal to open it means.
    pub(super) fn opening_refused(&self, code: i32, message: &str) -> Error {
        let schema = match &self.schema {
            Some(definition) => format!("with the schema `{}`", schema::name(definition.schema.kind)),
            None => "without a schema".to_owned(),
        };
        let doing = match code {
            code::INCOMPATIBLE_SCHEMA => format!("opening a producer on `{}` {schema}", self.topic),
            _ => format!("opening a producer on `{}`", self.topic),
        };
        let error = error::refused(code, message, &doing);
        match (code, &self.declared) {
            // It was changed between the question and the opening: it is asked for again.
            (code::INCOMPATIBLE_SCHEMA, Declared::OfTopic { .. }) => Error::transient(error.message()),
            _ => error,
        }
    }

    pub(super) fn append(
        &mut self,
        now: Now,
        batching: Batching,
        record: Record,
        partition: &PartitionId,
        handle: AckHandle,
        charge: Charge,
    ) {
        self.accepted += 1;
        if !batching.enabled {
            let mut pack = Pack { publish_time: now.wall, ..Pack::default() };
            pack.push(record, partition, handle, charge);
            self.queue.push_back(pack);
            return;
        }
        if !self.open.is_empty() && self.open.value_bytes + record.value.len() > self.batch_bytes {
            self.close_open(batching);
        }
        if self.open.is_empty() {
            self.open.publish_time = now.wall;
            // Behind entries that the broker has not answered; after a silence longer than the delay the first record does not wait.
            let by_delay = self.closed_at.map_or(now.at, |closed| closed + batching.delay);
            self.due = Some(by_delay.max(now.at));
        }
        self.open.push(record, partition, handle, charge);
        if self.open.records.len() >= batching.max_messages || self.open.value_bytes >= self.batch_bytes {
            self.close_open(batching);
        }
    }

    /// Why a record of the pack is not of the schema that payloads are held against.
    pub(super) fn check(&self, pack: &Pack) -> Option<Error> {
        let check = self.schema.as_ref()?.check.as_ref()?;
        let why = pack.records.iter().find_map(|record| check.payload(&record.value).err())?;
        let error = Error::new(ErrorKind::Data, format!("the payload is not of the schema of `{}`: {why}", self.topic));
        Some(
            error.with_hint(
                "correct what writes it, choose `onRecordError`: `drop` or `dead-letter`, or remove `schemaProperties.validate`",
            ),
        )
    }

    /// Two entries instead of one, before everything that has not been written.
    pub(super) fn queue_halves(&mut self, pack: Pack) {
        let (front, back) = pack.into_halves();
        self.queue.push_front(back);
        self.queue.push_front(front);
    }

    pub(super) fn close_open(&mut self, batching: Batching) {
        let room = self.open.records.len();
        let full = std::mem::take(&mut self.open);
        if batching.by_key {
            self.queue.extend(full.into_keys());
        } else {
            self.queue.push_back(full);
        }
        self.due = None;
        // The next batch is likely to be as long as this one.
        self.open.records.reserve(room);
        self.open.charges.reserve(room);
    }
}

impl Machine {
    /// Sends PRODUCER, or first the question which schema the topic has; the answer to either is that to this request.
    pub(super) fn open_producer(&mut self, connection: ConnectionId, request_id: u64, id: ProducerId) {
        let producer = self.producer_mut(id);
        match producer.declared.clone() {
            Declared::Nothing => producer.schema = None,
            Declared::Schema(definition) => producer.schema = Some(definition),
            // Asked at each opening: it may have changed.
            Declared::OfTopic { .. } => {
                let question = GetSchema { request_id, topic: producer.topic.to_string(), schema_version: None };
                return self
                    .command(connection, BaseCommand { kind: kind::GET_SCHEMA, get_schema: Some(question), ..BaseCommand::default() });
            }
        }
        self.open_with_schema(connection, request_id, id);
    }

    pub(super) fn schema_answer(&mut self, now: Now, connection: ConnectionId, answer: GetSchemaResponse) {
        let Some(Subject::Producer(id)) = self.requests.remove(&answer.request_id) else { return };
        let producer = self.producer_mut(id);
        if !producer.state.is_opening(answer.request_id) {
            return;
        }
        let validate = matches!(producer.declared, Declared::OfTopic { validate: true });
        producer.schema = match (answer.error_code, answer.schema) {
            (None, Some(schema)) if schema.kind != schema_type::NONE => Some(Arc::new(Definition::of_topic(schema, validate))),
            // A topic without a schema takes bytes.
            (None | Some(code::TOPIC_NOT_FOUND), _) => None,
            (Some(code), _) => {
                let doing = format!("asking for the schema of `{}`", producer.topic);
                let error = error::refused(code, answer.error_message.as_deref().unwrap_or_default(), &doing);
                return self.interrupt(now, id, Some(error.into()), None);
            }
        };
        let request = self.request(Subject::Producer(id));
        let deadline = now.at + self.settings.request_deadline;
        self.wake_at(deadline);
        self.producer_mut(id).state = State::Opening { connection, request, deadline: Some(deadline) };
        self.open_with_schema(connection, request, id);
    }

    fn open_with_schema(&mut self, connection: ConnectionId, request_id: u64, id: ProducerId) {
        let encrypted = self.settings.sealer.as_ref().map(|_| true);
        let properties = &self.settings.producer_properties;
        let metadata = properties.iter().map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() }).collect();
        let producer = self.producer_mut(id);
        let open = proto::OpenProducer {
            topic: producer.topic.to_string(),
            producer_id: id.0,
            request_id,
            producer_name: producer.name.clone(),
            encrypted,
            metadata,
            schema: producer.schema.as_ref().map(|definition| definition.schema.clone()),
            epoch: Some(producer.epoch),
            user_provided_producer_name: Some(producer.named.is_some()),
        };
        producer.epoch += 1;
        self.command(connection, BaseCommand { kind: kind::PRODUCER, producer: Some(open), ..BaseCommand::default() });
    }

    pub(super) fn producer_opened(&mut self, now: Now, connection: ConnectionId, answer: proto::ProducerSuccess) {
        let Some(Subject::Producer(id)) = self.requests.get(&answer.request_id).copied() else { return };
        let producer = self.producer_mut(id);
        match &mut producer.state {
            State::Opening { request, deadline, .. } if *request == answer.request_id => {
                if answer.producer_ready == Some(false) {
                    // Queued behind another producer: the second answer comes in its own time.
                    *deadline = None;
                    return;
                }
            }
            _ => {
                self.requests.remove(&answer.request_id);
                return;
            }
        }
        self.requests.remove(&answer.request_id);
        let batch_bytes = self.settings.batching.max_bytes;
        let producer = self.producer_mut(id);
        let again = std::mem::replace(&mut producer.opened, true);
        let last = answer.last_sequence_id.unwrap_or(-1);
        if producer.named.is_none() && last > MOST_LAST {
            let error = Error::transient(format!("the broker's last number on `{}` is {last}: there is none behind it", producer.topic));
            return self.close_and_retry(now, connection, id, error);
        }
        producer.batch_bytes = batch_bytes;
        if last >= 0 {
            producer.next_sequence = producer.next_sequence.max(last.saturating_add(1));
        }
        producer.name = Some(answer.producer_name);
        // Of a topic without a schema the broker answers with an empty version, which no message may bear.
        producer.schema_version = answer.schema_version.filter(|version| !version.is_empty());
        producer.state = State::Ready(connection);
        producer.on_wire = 0;
        producer.blocked = false;
        if producer.pending.is_empty() {
            // With entries to repeat the delays start anew only when one of them is taken.
            producer.backoff.reset();
        }
        if again {
            self.facts.reopens.add(1);
        }
        self.event(Event::Opened { producer: id });
        if self.producer(id).named.is_some() {
            return self.named_opened(now, id, last);
        }
        self.drop_lost(id);
        self.send(now, id);
    }

    /// The broker lets a producer go; its connection stays.
    pub(super) fn producer_closed_by_broker(&mut self, now: Now, connection: ConnectionId, close: &proto::CloseProducer) {
        let id = ProducerId(close.producer_id);
        let served = self.producers.get(super::index(id)).is_some_and(|producer| {
            producer.connection() == Some(connection) && matches!(producer.state, State::Opening { .. } | State::Ready(_))
        });
        if !served {
            return;
        }
        let target = self.assigned_target(connection, close.assigned_broker_url.as_deref(), close.assigned_broker_url_tls.as_deref());
        self.interrupt(now, id, None, target);
    }

    /// The producer is not open any more: entries of unknown outcome are kept or counted as lost, and it is opened again, at
    /// `assigned` at once or after its delay.
    pub(super) fn interrupt(&mut self, now: Now, id: ProducerId, trouble: Option<Trouble>, assigned: Option<Target>) {
        let producer = self.producer_mut(id);
        match producer.state {
            State::Resting | State::Closed => return,
            // Its connection is gone, and it with it.
            State::Closing { request, after: after @ (After::Rest | After::End), .. } => {
                self.requests.remove(&request);
                return self.closed(now, id, after, None);
            }
            _ => {}
        }
        producer.on_wire = 0;
        producer.blocked = false;
        let before = std::mem::replace(&mut producer.state, State::Waiting(now.at));
        if let Some(request) = before.request() {
            self.requests.remove(&request);
        }
        if let Some(trouble) = trouble {
            self.facts.errors.add(1);
            self.event(Event::Trouble { subject: Subject::Producer(id), trouble });
        }
        if !self.settings.resend {
            self.drop_lost(id);
        }
        self.begin_again(now, Subject::Producer(id), &before, assigned);
    }

    pub(super) fn tick_producers(&mut self, now: Now) {
        for at in 0..self.producers.len() {
            let id = ProducerId(at as u64);
            self.tick_way(now, Subject::Producer(id));
            let producer = self.producer(id);
            match producer.due {
                Some(due) if now.at >= due => self.send(now, id),
                Some(due) => self.wake_at(due),
                None => {}
            }
        }
    }

    /// The producer failed on its broker: it is closed there, and opened again after its delay.
    pub(super) fn close_and_retry(&mut self, now: Now, connection: ConnectionId, id: ProducerId, error: Error) {
        self.interrupt(now, id, Some(error.into()), None);
        if let State::Waiting(until) = self.producer(id).state {
            self.close_then(now, connection, id, After::Wait(until));
        }
    }

    /// Closes a producer on the wire, and goes on when the broker has said that it is closed.
    pub(super) fn close_then(&mut self, now: Now, connection: ConnectionId, id: ProducerId, after: After) {
        let request = self.request(Subject::Producer(id));
        let deadline = now.at + self.settings.request_deadline;
        self.wake_at(deadline);
        let producer = self.producer_mut(id);
        producer.on_wire = 0;
        producer.blocked = false;
        producer.state = State::Closing { connection, request, deadline, after };
        let request_id = i64::try_from(request).expect("requests are counted from 1");
        let close = proto::CloseProducer { producer_id: id.0, request_id, ..proto::CloseProducer::default() };
        self.command(connection, BaseCommand { kind: kind::CLOSE_PRODUCER, close_producer: Some(close), ..BaseCommand::default() });
        if planted(Mistake::ReopenWithoutSuccess) {
            self.closed(now, id, after, Some(connection));
        }
    }

    /// The broker has answered CLOSE_PRODUCER: whatever it answered, the producer is not open there any more.
    pub(super) fn close_answered(&mut self, now: Now, connection: ConnectionId, request: u64) {
        let Some(Subject::Producer(id)) = self.requests.get(&request).copied() else { return };
        if let State::Closing { request: mine, after, .. } = self.producer(id).state
            && mine == request
        {
            self.requests.remove(&request);
            self.closed(now, id, after, Some(connection));
        }
    }

    /// A producer is closed on its broker, whose connection is there or gone.
    fn closed(&mut self, now: Now, id: ProducerId, after: After, connection: Option<ConnectionId>) {
        let target = connection.and_then(|connection| self.connections.get(&connection)).map(|connection| connection.target.clone());
        match (after, target) {
            (After::Here, Some(target)) => self.reach_broker(now, Subject::Producer(id), target, false),
            (After::Here, None) => self.ask(now, Subject::Producer(id)),
            (After::Wait(until), _) => {
                self.producer_mut(id).state = State::Waiting(until);
                self.wake_at(until);
            }
            (After::Rest, _) => {
                self.producer_mut(id).state = State::Resting;
                self.wake_up(now, id);
            }
            (After::End, _) => self.ended(id),
        }
    }

    /// Opens a resting producer that has something to send.
    pub(super) fn wake_up(&mut self, now: Now, id: ProducerId) {
        let producer = self.producer(id);
        if matches!(producer.state, State::Resting) && producer.accepted > producer.resolved {
            self.ask(now, Subject::Producer(id));
        }
    }

    /// Closes a producer as the last thing that is done; nobody waits for the answer.
    pub(super) fn shut_down_producer(&mut self, id: ProducerId) {
        if let State::Ready(connection) = self.producer(id).state {
            let request_id = i64::try_from(self.next_request).expect("requests are counted from 1");
            self.next_request += 1;
            let close = proto::CloseProducer { producer_id: id.0, request_id, ..proto::CloseProducer::default() };
            self.command(connection, BaseCommand { kind: kind::CLOSE_PRODUCER, close_producer: Some(close), ..BaseCommand::default() });
        }
        self.producer_mut(id).state = State::Closed;
        self.give_back_all(id);
    }

    /// Everything that is unresolved leaves unprocessed.
    pub(super) fn give_back_all(&mut self, id: ProducerId) {
        self.drop_proof(id);
        let producer = self.producer_mut(id);
        producer.due = None;
        producer.on_wire = 0;
        let open = std::mem::take(&mut producer.open);
        let queue = std::mem::take(&mut producer.queue);
        let pending = std::mem::take(&mut producer.pending);
        producer.resolved = producer.accepted;
        for pack in queue.into_iter().chain(std::iter::once(open)) {
            let (count, charge) = (pack.records.len(), pack.charge());
            pack.duties.give_back();
            self.free(count, charge);
        }
        for entry in pending {
            let (count, charge) = (entry.len(), entry.charge());
            // At most once: what was written is over; nothing of it may be read and sent again.
            if !self.settings.resend && entry.writes > 0 {
                self.facts.lost_records.add(count as u64);
                entry.duties.ack();
            } else {
                entry.duties.give_back();
            }
            self.free(count, charge);
        }
    }

    /// Whether a refusal of an entry concerns the whole producer.
    pub(super) fn concerns_producer(refusal: i32) -> bool {
        refusal != code::NOT_ALLOWED && refusal != code::CHECKSUM
    }
}
