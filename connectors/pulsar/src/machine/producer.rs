//! One producer's life: looked up, opened, interrupted, opened again, with the same number and name throughout.

use super::backoff::Backoff;
use super::connection::Target;
use super::entry::{Charge, Entry, Pack};
use super::lookup::Ask;
use super::{Batching, ConnectionId, Event, Machine, Now, ProducerId, Settings, Subject, Trouble};
use crate::error::code;
use crate::topic::TopicName;
use crate::wire::messages::{self as proto, BaseCommand, KeyValue, kind};
use connector_sdk::{AckHandle, Error, PartitionId, Record};
use std::collections::VecDeque;
use std::time::Instant;

#[derive(Debug)]
pub(super) enum State {
    /// Until the next attempt.
    Waiting(Instant),
    /// Which broker?
    Asking(Ask),
    /// Until the broker's connection is ready; if `assigned`, the broker was named by the one that let us go.
    Reaching { connection: ConnectionId, deadline: Instant, assigned: bool },
    /// Until the broker has answered PRODUCER.
    Opening { connection: ConnectionId, request: u64, deadline: Option<Instant> },
    /// Open.
    Ready(ConnectionId),
    /// For good.
    Closed,
}

pub(super) struct Producer {
    pub(super) topic: TopicName,
    pub(super) state: State,
    pub(super) backoff: Backoff,
    /// What the broker named it.
    pub(super) name: Option<String>,
    /// How often it was asked to be opened.
    epoch: u64,
    pub(super) next_sequence: i64,
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
    pub(super) fn new(topic: TopicName, settings: &Settings) -> Self {
        Self {
            topic,
            state: State::Closed,
            backoff: Backoff::new(settings.backoff_first, settings.backoff_cap),
            name: None,
            epoch: 0,
            next_sequence: 0,
            open: Pack::default(),
            due: None,
            closed_at: None,
            queue: VecDeque::new(),
            pending: VecDeque::new(),
            on_wire: 0,
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
        match &self.state {
            State::Asking(ask) => Some(ask.connection),
            State::Reaching { connection, .. } | State::Opening { connection, .. } | State::Ready(connection) => Some(*connection),
            State::Waiting(_) | State::Closed => None,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    /// Whether it waits for the answer to this request to open it.
    pub(super) fn is_opening(&self, request: u64) -> bool {
        matches!(self.state, State::Opening { request: mine, .. } if mine == request)
    }

    /// The request whose answer it waits for.
    pub(super) fn request(&self) -> Option<u64> {
        match &self.state {
            State::Asking(ask) => ask.request,
            State::Opening { request, .. } => Some(*request),
            _ => None,
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
            self.close_open();
        }
        if self.open.is_empty() {
            self.open.publish_time = now.wall;
            // After a silence longer than the delay the first record does not wait; in a steady flow entries are cut by the delay.
            let by_delay = self.closed_at.map_or(now.at, |closed| closed + batching.delay);
            self.due = Some(by_delay.max(now.at));
        }
        self.open.push(record, partition, handle, charge);
        if self.open.records.len() >= batching.max_messages || self.open.value_bytes >= self.batch_bytes {
            self.close_open();
        }
    }

    /// Two entries instead of one, before everything that has not been written.
    pub(super) fn queue_halves(&mut self, pack: Pack) {
        let (front, back) = pack.into_halves();
        self.queue.push_front(back);
        self.queue.push_front(front);
    }

    pub(super) fn close_open(&mut self) {
        let room = self.open.records.len();
        let full = std::mem::take(&mut self.open);
        self.queue.push_back(full);
        self.due = None;
        // The next batch is likely to be as long as this one.
        self.open.records.reserve(room);
        self.open.charges.reserve(room);
    }
}

impl Machine {
    pub(super) fn reach_broker(&mut self, now: Now, id: ProducerId, target: Target) {
        self.reach_for(now, id, target, false);
    }

    fn reach_for(&mut self, now: Now, id: ProducerId, target: Target, assigned: bool) {
        let connection = self.reach(now, target);
        let deadline = now.at + self.settings.request_deadline;
        self.wake_at(deadline);
        self.producer_mut(id).state = State::Reaching { connection, deadline, assigned };
        self.open_on_broker(now, id);
    }

    pub(super) fn open_on_broker(&mut self, now: Now, id: ProducerId) {
        let State::Reaching { connection, .. } = self.producer(id).state else { return };
        if !self.connections.get(&connection).is_some_and(super::Connection::is_ready) {
            return;
        }
        let request_id = self.request(Subject::Producer(id));
        let deadline = now.at + self.settings.request_deadline;
        self.wake_at(deadline);
        let properties = &self.settings.producer_properties;
        let metadata = properties.iter().map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() }).collect();
        let producer = self.producer_mut(id);
        producer.state = State::Opening { connection, request: request_id, deadline: Some(deadline) };
        let open = proto::OpenProducer {
            topic: producer.topic.to_string(),
            producer_id: id.0,
            request_id,
            producer_name: producer.name.clone(),
            metadata,
            epoch: Some(producer.epoch),
            user_provided_producer_name: Some(false),
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
        let again = producer.name.is_some();
        producer.batch_bytes = batch_bytes;
        if let Some(last) = answer.last_sequence_id.filter(|last| *last >= 0) {
            producer.next_sequence = producer.next_sequence.max(last + 1);
        }
        producer.name = Some(answer.producer_name);
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
        let target = self.assigned_target(id, close);
        self.interrupt(now, id, None, target);
    }

    /// The producer is not open any more: entries of unknown outcome are kept or counted as lost, and it is opened again, at
    /// `assigned` at once or after its delay.
    pub(super) fn interrupt(&mut self, now: Now, id: ProducerId, trouble: Option<Trouble>, assigned: Option<Target>) {
        let producer = self.producer_mut(id);
        if matches!(producer.state, State::Closed) {
            return;
        }
        let unanswered = producer.request();
        let retry_at_once = matches!(producer.state, State::Reaching { assigned: true, .. });
        producer.on_wire = 0;
        producer.blocked = false;
        producer.state = State::Waiting(now.at);
        if let Some(request) = unanswered {
            self.requests.remove(&request);
        }
        if let Some(trouble) = trouble {
            self.facts.errors.add(1);
            self.event(Event::Trouble { subject: Subject::Producer(id), trouble });
        }
        if !self.settings.resend {
            self.drop_lost(id);
        }
        match assigned {
            Some(target) => self.reach_for(now, id, target, true),
            // The broker that was assigned is not there (yet): ask.
            None if retry_at_once => self.ask(now, Subject::Producer(id)),
            None => {
                let delay = self.producers[super::index(id)].backoff.delay(&mut self.random);
                self.producer_mut(id).state = State::Waiting(now.at + delay);
                self.wake_at(now.at + delay);
            }
        }
    }

    pub(super) fn tick_producers(&mut self, now: Now) {
        for at in 0..self.producers.len() {
            let id = ProducerId(at as u64);
            self.tick_producer(now, id);
            let producer = self.producer(id);
            match producer.due {
                Some(due) if now.at >= due => self.send(now, id),
                Some(due) => self.wake_at(due),
                None => {}
            }
        }
    }

    fn tick_producer(&mut self, now: Now, id: ProducerId) {
        let producer = self.producer(id);
        let (deadline, doing) = match &producer.state {
            State::Waiting(until) if now.at >= *until => return self.ask(now, Subject::Producer(id)),
            State::Waiting(until) => {
                let until = *until;
                return self.wake_at(until);
            }
            State::Asking(ask) => (ask.deadline, "looking up the broker of"),
            State::Reaching { deadline, .. } => (*deadline, "reaching the broker of"),
            State::Opening { deadline: Some(deadline), .. } => (*deadline, "opening a producer on"),
            State::Opening { deadline: None, .. } | State::Ready(_) | State::Closed => return,
        };
        if now.at < deadline {
            return self.wake_at(deadline);
        }
        let error = Error::transient(format!("{doing} `{}`: no answer in time", producer.topic));
        if let State::Opening { connection, .. } = producer.state {
            // It may have been opened all the same.
            self.close_on_wire(connection, id);
        }
        self.interrupt(now, id, Some(error.into()), None);
    }

    pub(super) fn close_on_wire(&mut self, connection: ConnectionId, id: ProducerId) {
        let request_id = i64::try_from(self.next_request).expect("requests are counted from 1");
        // Its answer is of no interest, so it is not entered among the requests.
        self.next_request += 1;
        let close = proto::CloseProducer { producer_id: id.0, request_id, ..proto::CloseProducer::default() };
        self.command(connection, BaseCommand { kind: kind::CLOSE_PRODUCER, close_producer: Some(close), ..BaseCommand::default() });
    }

    pub(super) fn close_producer(&mut self, id: ProducerId) {
        if let State::Ready(connection) = self.producer(id).state {
            self.close_on_wire(connection, id);
        }
        let producer = self.producer_mut(id);
        producer.state = State::Closed;
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
