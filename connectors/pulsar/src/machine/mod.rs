//! The core of producers, consumers and reading back: connections, lookups, entries and receipts as one state machine without I/O.
//!
//! It is driven by calls that say what happened and when ([`Machine::connected`], [`Machine::received`], [`Machine::tick`] ...)
//! and answers with [`Action`]s. It reads no clock, opens no socket, spawns nothing, and draws randomness from the generator it was
//! given: the same calls give the same actions.
//!
//! What it promises: records of one producer reach the wire in the order they were appended; a written entry stays until the
//! broker has answered it and is repeated byte for byte after a reconnect; a handle is acknowledged only for what the broker
//! stored. Sends have no timeout. What it never does: decide what becomes of a record that cannot be stored (see
//! [`Event::Refused`]).

mod acking;
mod backoff;
mod chunks;
mod connection;
mod consumer;
mod delivery;
mod duty;
mod entry;
mod flow;
mod lookup;
mod named;
mod producer;
mod questions;
mod read_back;
mod receipts;
mod sending;
mod subscription;
mod unacked;

pub(crate) use connection::WINDOW_FRAMES;
pub use consumer::News;
pub use duty::Duty;
pub use entry::Charge;
pub(crate) use flow::MESSAGE_COST;
pub use named::{Account, Naming, Withdrawn};
pub use read_back::{ReadBack, ReadBackId, ReadFrom};
pub use subscription::{Start, Subscription, SubscriptionType};

use crate::crypto::Sealer;
use crate::facts::Facts;
use crate::message::ConsumerId;
use crate::schema::Declared;
use crate::topic::TopicName;
use crate::url::{HostPort, ServiceUrl};
use crate::wire::compression::Compression;
use crate::wire::entry::Encoder;
use bytes::Bytes;
use connection::Connection;
use connector_sdk::{AckHandle, Error, PartitionId, Record};
use consumer::Consumer;
use lookup::Topic;
use producer::Producer;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A point in time, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For intervals.
    pub at: Instant,
    /// Milliseconds since the epoch, for publish times.
    pub wall: u64,
}

/// One connection's number; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// A producer, one for each topic or partition; its number on the wire too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProducerId(pub u64);

/// A topic whose partitions are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicId(pub usize);

/// When an entry is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Off: each record is an entry of its own.
    pub enabled: bool,
    /// Each entry holds records of one key only, so that the broker can hand entries out by key.
    pub by_key: bool,
    /// At this many records.
    pub max_messages: usize,
    /// Before its payloads exceed this many bytes.
    pub max_bytes: usize,
    /// This long after the entry before it that was closed by time, after a longer silence at once; and at once when all entries before
    /// it are answered.
    pub delay: Duration,
}

impl Default for Batching {
    fn default() -> Self {
        Self { enabled: true, by_key: false, max_messages: 1_000, max_bytes: 131_072, delay: Duration::from_millis(10) }
    }
}

/// How the machine behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where lookups go.
    pub service: ServiceUrl,
    /// `listenerName` of lookups.
    pub listener_name: Option<String>,
    /// Of payloads.
    pub compression: Compression,
    /// Of records into entries.
    pub batching: Batching,
    /// Whether a message above the broker's limit is sent in chunks.
    pub chunking: bool,
    /// What producers declare of their payloads.
    pub(crate) declared: Declared,
    /// Bytes written and not answered, divided among the producers that wait for answers; each may have one entry whatever its part is. As
    /// much as a broker's pace needs, and no more: what waits for a slow broker waits unencoded, and memory does not swing between
    /// records and frames.
    pub unanswered_bytes: usize,
    /// The first data key, where payloads are encrypted.
    pub(crate) sealer: Option<Arc<Sealer>>,
    /// Whether entries of unknown outcome are sent again (at least once) or counted as lost (at most once).
    pub resend: bool,
    /// Shown in the topic's statistics.
    pub producer_properties: Vec<(String, String)>,
    /// Silence after which a PING is sent.
    pub ping_interval: Duration,
    /// Silence after a PING that makes a connection suspect, and again that of the probe which decides.
    pub ping_deadline: Duration,
    /// From opening a connection to the end of its handshake.
    pub connect_deadline: Duration,
    /// For the answer to a request.
    pub request_deadline: Duration,
    /// First delay of a retry.
    pub backoff_first: Duration,
    /// Longest delay of a retry.
    pub backoff_cap: Duration,
    /// Between looks at the number of partitions.
    pub partitions_refresh: Duration,
}

impl Settings {
    /// The defaults, for this service.
    pub fn new(service: ServiceUrl) -> Self {
        Self {
            service,
            listener_name: None,
            compression: Compression::Lz4,
            batching: Batching::default(),
            chunking: false,
            declared: Declared::Nothing,
            unanswered_bytes: 64 << 20,
            sealer: None,
            resend: true,
            producer_properties: Vec::new(),
            ping_interval: Duration::from_secs(3),
            ping_deadline: Duration::from_secs(3),
            connect_deadline: Duration::from_secs(10),
            request_deadline: Duration::from_secs(30),
            backoff_first: Duration::from_millis(100),
            backoff_cap: Duration::from_secs(3),
            partitions_refresh: Duration::from_secs(60),
        }
    }
}

/// What the driver is to do, in order.
#[derive(Debug)]
pub enum Action {
    /// Open a connection, then call [`Machine::connected`] or [`Machine::disconnected`].
    Connect {
        /// Its number.
        connection: ConnectionId,
        /// Where to.
        address: HostPort,
    },
    /// Drop the connection; nothing about it is to be reported any more.
    Disconnect {
        /// Its number.
        connection: ConnectionId,
    },
    /// Write the bytes behind what was written before, then call [`Machine::written`].
    Write {
        /// On which connection.
        connection: ConnectionId,
        /// A whole frame.
        bytes: Bytes,
    },
    /// The broker wants fresh credentials: get them, then call [`Machine::authenticated`].
    Authenticate {
        /// On which connection.
        connection: ConnectionId,
    },
    /// Something the owner may want to know or must decide.
    Event(Event),
}

/// What the machine tells its owner.
#[derive(Debug)]
pub enum Event {
    /// A topic's partitions are known, or have become more; 0: not partitioned.
    Partitions {
        /// The topic.
        topic: TopicId,
        /// How many.
        partitions: u32,
    },
    /// A topic has this many partitions now, as [`Machine::look`] wanted to know.
    Looked {
        /// The topic.
        topic: TopicId,
        /// How many.
        partitions: u32,
    },
    /// A producer is open, at first or again.
    Opened {
        /// Which one.
        producer: ProducerId,
    },
    /// A named producer is open, at first or again. It sends nothing until [`Machine::admit`].
    Admission {
        /// Which one.
        producer: ProducerId,
        /// The highest number the broker knows of its name.
        last: Option<u64>,
        /// Whether something was written of which nobody knows whether it is stored.
        unknown: bool,
    },
    /// A named producer's entry was refused for what it is, and something behind it was written: its numbers may not be used any
    /// more. Nothing is sent until [`Machine::admit`].
    Overtaken {
        /// Which one.
        producer: ProducerId,
        /// The records.
        items: Vec<Withdrawn>,
    },
    /// A named producer's entry was refused for what it is, and it may be stored all the same. Nothing is sent until
    /// [`Machine::admit`].
    Unclear {
        /// Which one.
        producer: ProducerId,
        /// The records.
        items: Vec<Withdrawn>,
    },
    /// A producer that was closed is gone from its broker; its number is used again.
    Ended {
        /// Which one.
        producer: ProducerId,
    },
    /// An attempt failed; the machine tries again by itself.
    Trouble {
        /// Whose attempt.
        subject: Subject,
        /// What was tried and what went wrong.
        trouble: Trouble,
    },
    /// A record that cannot be stored: its fate is the owner's to decide, its charge is the owner's to free.
    Refused(Box<Refused>),
    /// What a consumer has to tell.
    Consumer {
        /// Which one.
        consumer: ConsumerId,
        /// What.
        news: News,
    },
    /// The end of a [`Machine::read_back`].
    ReadBack {
        /// Which one.
        id: ReadBackId,
        /// What was found, or why it cannot be read: a configuration or authentication error says that reading is not allowed.
        outcome: Result<ReadBack, Error>,
    },
}

/// A record that cannot be stored.
#[derive(Debug)]
pub struct Refused {
    /// Where it was to go.
    pub producer: ProducerId,
    /// The whole record.
    pub record: Record,
    /// Its handle.
    pub duty: Duty,
    /// What it is charged for.
    pub charge: Charge,
    /// Why.
    pub error: Error,
    /// Whether its size is the reason.
    pub too_large: bool,
}

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A topic whose partitions are asked for.
    Topic(TopicId),
    /// A producer on its way to being open, or open.
    Producer(ProducerId),
    /// A consumer on its way to being subscribed, or subscribed.
    Consumer(ConsumerId),
}

/// What went wrong with an attempt.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// What was tried and what went wrong.
    pub error: Error,
    /// Whether it befell a whole connection: then it says nothing about the topic.
    pub of_connection: bool,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self { error, of_connection: false }
    }
}

/// The state machine. See the module.
pub struct Machine {
    settings: Settings,
    random: fastrand::Rng,
    facts: Arc<Facts>,
    encoder: Encoder,
    connections: BTreeMap<ConnectionId, Connection>,
    next_connection: u64,
    requests: BTreeMap<u64, Subject>,
    next_request: u64,
    topics: Vec<Topic>,
    producers: Vec<Producer>,
    /// Producers that ended: their places are used again.
    unused: Vec<ProducerId>,
    /// Topics whose broker was seen to keep numbers.
    proven: HashSet<TopicName>,
    /// Those that are not closed.
    consumers: BTreeMap<ConsumerId, Consumer>,
    next_consumer: u64,
    /// Which of the service's hosts the next lookup connection goes to.
    service_at: usize,
    actions: VecDeque<Action>,
    /// Charges of resolved records, until the driver frees them.
    freed: Charge,
    /// Producers with something new to send.
    dirty: Vec<ProducerId>,
    /// No timer is due before this.
    wake: Option<Instant>,
}

impl Machine {
    /// A machine with nothing to do yet.
    ///
    /// # Errors
    /// When the compression library cannot be set up.
    pub fn new(settings: Settings, facts: Arc<Facts>, mut random: fastrand::Rng) -> std::io::Result<Self> {
        let mut encoder = Encoder::new(settings.compression)?;
        if let Some(sealer) = &settings.sealer {
            encoder.seal_by(Arc::clone(sealer));
        }
        let service_at = random.usize(..settings.service.hosts.len().max(1));
        Ok(Self {
            settings,
            random,
            facts,
            encoder,
            connections: BTreeMap::new(),
            next_connection: 1,
            requests: BTreeMap::new(),
            next_request: 1,
            topics: Vec::new(),
            producers: Vec::new(),
            unused: Vec::new(),
            proven: HashSet::new(),
            consumers: BTreeMap::new(),
            next_consumer: 0,
            service_at,
            actions: VecDeque::new(),
            freed: Charge::default(),
            dirty: Vec::new(),
            wake: None,
        })
    }

    /// The next thing to do.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Machine::tick`] is to be called at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.wake
    }

    /// What has been freed since the last call.
    pub fn take_freed(&mut self) -> Charge {
        std::mem::take(&mut self.freed)
    }

    /// Asks for a topic's partitions, and from then on whether they have become more.
    pub fn resolve(&mut self, now: Now, name: TopicName) -> TopicId {
        let id = TopicId(self.topics.len());
        self.topics.push(Topic::new(name, &self.settings));
        self.ask(now, Subject::Topic(id));
        id
    }

    /// From now on payloads are sealed by this data key.
    pub(crate) fn seal_by(&mut self, sealer: Arc<Sealer>) {
        self.encoder.seal_by(sealer);
    }

    /// Opens a producer on a topic that is not partitioned, or on one partition.
    pub fn open(&mut self, now: Now, topic: TopicName, naming: Naming) -> ProducerId {
        let declared = self.settings.declared.clone();
        self.open_declaring(now, topic, naming, declared)
    }

    /// As [`Machine::open`], with payloads of another schema than the settings'.
    pub(crate) fn open_declaring(&mut self, now: Now, topic: TopicName, naming: Naming, declared: Declared) -> ProducerId {
        let producer = Producer::new(topic, naming, declared, &self.settings);
        let id = match self.unused.pop() {
            Some(id) => {
                *self.producer_mut(id) = producer;
                id
            }
            None => {
                self.producers.push(producer);
                ProducerId(self.producers.len() as u64 - 1)
            }
        };
        self.ask(now, Subject::Producer(id));
        id
    }

    /// Takes the duty for a record; it is sent with the next [`Machine::pump`] or later. Never fails.
    pub fn append(&mut self, now: Now, id: ProducerId, record: Record, partition: &PartitionId, handle: AckHandle, charge: Charge) {
        let batching = self.settings.batching;
        let producer = self.producer_mut(id);
        producer.append(now, batching, record, partition, handle, charge);
        if !std::mem::replace(&mut producer.dirty, true) {
            self.dirty.push(id);
        }
        self.facts.in_flight_records.add(1);
        self.facts.in_flight_bytes.add(charge.bytes as u64);
        self.wake_up(now, id);
    }

    /// Sends what is to be sent. Called once after a run of [`Machine::append`]s, so that batches are cut by what is there.
    pub fn pump(&mut self, now: Now) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            self.producer_mut(id).dirty = false;
            self.send(now, id);
        }
        // The vector is kept for its memory; nothing is marked while sending.
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
    }

    /// Sends what is collected without waiting for its delay.
    pub fn flush(&mut self, now: Now) {
        for at in 0..self.producers.len() {
            let producer = &mut self.producers[at];
            if !producer.open.is_empty() {
                producer.due = Some(now.at);
                self.send(now, ProducerId(at as u64));
            }
        }
    }

    /// Records of a producer taken and resolved so far; equal when nothing is on its way.
    pub fn progress(&self, id: ProducerId) -> (u64, u64) {
        let producer = self.producer(id);
        (producer.accepted, producer.resolved)
    }

    /// Whether nothing of a producer is on its way.
    pub fn is_quiet(&self, id: ProducerId) -> bool {
        let (accepted, resolved) = self.progress(id);
        accepted == resolved
    }

    /// Whether every record taken is resolved.
    pub fn is_idle(&self) -> bool {
        (0..self.producers.len()).all(|at| self.is_quiet(ProducerId(at as u64)))
    }

    /// The topic a producer writes to.
    pub fn topic_of(&self, id: ProducerId) -> &TopicName {
        &self.producer(id).topic
    }

    /// Whether a producer is open.
    pub fn is_open(&self, id: ProducerId) -> bool {
        self.producer(id).is_ready()
    }

    /// Does what has become due.
    pub fn tick(&mut self, now: Now) {
        if self.wake.is_none_or(|wake| now.at < wake) {
            return;
        }
        self.wake = None;
        self.tick_connections(now);
        self.tick_topics(now);
        self.tick_producers(now);
        self.tick_consumers(now);
    }

    /// Ends everything: producers and consumers are closed on the wire, unresolved records are given back.
    pub fn shut_down(&mut self) {
        for id in self.consumers.keys().copied().collect::<Vec<_>>() {
            self.close_consumer(id);
        }
        for at in 0..self.producers.len() {
            self.shut_down_producer(ProducerId(at as u64));
        }
        self.wake = None;
    }

    fn producer(&self, id: ProducerId) -> &Producer {
        &self.producers[index(id)]
    }

    fn producer_mut(&mut self, id: ProducerId) -> &mut Producer {
        &mut self.producers[index(id)]
    }

    fn event(&mut self, event: Event) {
        self.actions.push_back(Action::Event(event));
    }

    fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    fn request(&mut self, subject: Subject) -> u64 {
        let id = self.next_request;
        self.next_request += 1;
        self.requests.insert(id, subject);
        id
    }

    fn free(&mut self, records: usize, charge: Charge) {
        self.freed += charge;
        self.facts.in_flight_records.sub(records as u64);
        self.facts.in_flight_bytes.sub(charge.bytes as u64);
    }
}

fn index(id: ProducerId) -> usize {
    usize::try_from(id.0).expect("a producer's number is an index")
}

#[cfg(test)]
mod consumer_machine_tests;
#[cfg(test)]
pub(crate) mod consumer_model;
#[cfg(test)]
mod named_model;
#[cfg(test)]
mod named_tests;
#[cfg(test)]
mod producer_model;
#[cfg(test)]
mod read_back_tests;
#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
