//! A model of a Pulsar broker: what a producer and a reader see of it, with its deduplication as it is.
//!
//! Without I/O: frames go in with the time, answers and things that are due later come out. It speaks the protocol's own frames. It
//! has one topic, partitioned or not; entries are stored later than they are taken, in order, and storing may fail; names and
//! topics may be forgotten, fenced, unloaded; the whole broker may be gone for a while. Never: an answer that a real broker would
//! not give for what it knows.

mod dedup;
mod faults;
mod open;
mod reading;
mod sending;
mod session;
mod topic;

pub use topic::{LinkId, Stored};

use bytes::Bytes;
use connector_pulsar::wire::messages::BaseCommand;
use reading::Consumer;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use topic::{ProducerKey, Topic};

/// How long a broker waits for a sign of life of a connection whose producer's name is asked for by another.
const LIVENESS: Duration = Duration::from_secs(5);

/// The name of a producer that no shard has anything to do with.
pub const OTHERS: &str = "somebody-else";

/// What is to be done for the broker.
#[derive(Debug)]
pub enum Out {
    /// A command, and the entry behind it.
    Send(LinkId, Box<BaseCommand>, Bytes),
    /// The connection ends.
    Close(LinkId),
    /// To be told to [`Broker::due`] after so long.
    Later(Duration, Due),
}

/// What has become due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// An entry has reached storage.
    Stored {
        /// The topic.
        topic: String,
        /// The write.
        number: u64,
    },
    /// A connection had its time to show that it lives.
    Liveness(LinkId, u64),
    /// A fenced topic is open again.
    Loaded(String),
    /// The second recovery of a topic that was loaded has read these numbers.
    RecoveredAgain {
        /// The topic.
        topic: String,
        /// Which loading of it.
        load: u64,
        /// As of that, by producer name.
        numbers: BTreeMap<String, i64>,
    },
}

/// How fast and how reliable storing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    /// Milliseconds that storing takes, at least and usually at most.
    pub usual: (u64, u64),
    /// How many of a thousand writes take up to two seconds.
    pub slow_permille: u64,
    /// How many of a thousand writes fail.
    pub failing_permille: u64,
}

impl Default for Storage {
    fn default() -> Self {
        Self { usual: (1, 4), slow_permille: 0, failing_permille: 0 }
    }
}

/// A PRODUCER that waits for the verdict on another connection.
#[derive(Debug)]
struct Waiting {
    number: u64,
    link: LinkId,
    open: connector_pulsar::wire::messages::OpenProducer,
    /// Of which a sign of life is waited for.
    old: LinkId,
}

#[derive(Debug, Default)]
struct Session {
    /// What this connection's producers write to.
    producers: BTreeMap<u64, String>,
    /// Closed by the broker or by themselves: what crossed the close is dropped.
    closed: BTreeSet<u64>,
    consumers: BTreeMap<u64, Consumer>,
}

/// The broker.
#[derive(Debug)]
pub struct Broker {
    random: fastrand::Rng,
    /// The topic's full name.
    name: String,
    partitions: u32,
    topics: BTreeMap<String, Topic>,
    sessions: BTreeMap<LinkId, Session>,
    waiting: Vec<Waiting>,
    storage: Storage,
    /// The most bytes of an entry, by the topic's own policy.
    limit: Option<usize>,
    may_read: bool,
    /// The topic has policies of its own: what is known of producers is recovered twice when it is loaded, and the second recovery ends
    /// when producers are at work again.
    recovers_twice: bool,
    /// Topics whose receipts get lost.
    muted: BTreeSet<String>,
    /// Entries that were taken for stored before.
    duplicates: u64,
    up: bool,
    /// The wall clock, as of the last event.
    millis: u64,
    /// Entries stored so far, over all topics.
    stored: u64,
    numbers: u64,
    out: Vec<Out>,
}

impl Broker {
    /// A broker with one topic of `partitions` (0: not partitioned), deduplication on.
    pub fn new(seed: u64, name: impl Into<String>, partitions: u32) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            name: name.into(),
            partitions,
            topics: BTreeMap::new(),
            sessions: BTreeMap::new(),
            waiting: Vec::new(),
            storage: Storage::default(),
            limit: None,
            may_read: true,
            recovers_twice: false,
            muted: BTreeSet::new(),
            duplicates: 0,
            up: true,
            millis: 0,
            stored: 0,
            numbers: 0,
            out: Vec::new(),
        }
    }

    /// What is to be done since the last call.
    pub fn take_out(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.out)
    }

    /// Whether it takes connections.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// The topic's partitions; 0: not partitioned.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Everything that is stored, by topic.
    pub fn entries(&self) -> BTreeMap<&str, &[Stored]> {
        self.topics.iter().map(|(name, topic)| (name.as_str(), topic.entries.as_slice())).collect()
    }

    /// Whether something is still on its way to storage.
    pub fn is_writing(&self) -> bool {
        self.topics.values().any(|topic| !topic.writing.is_empty())
    }

    /// The names of producers that are connected anywhere.
    pub fn connected_names(&self) -> BTreeSet<String> {
        self.topics.values().flat_map(|topic| topic.producers.values().map(|producer| producer.name.clone())).collect()
    }

    /// Names that some topic's deduplication knows.
    pub fn known_names(&self) -> BTreeSet<String> {
        self.topics.values().flat_map(|topic| topic.dedup.names()).collect()
    }

    /// Entries that were answered with "stored before" so far.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Whether a topic of this name may be written to.
    fn exists(&self, topic: &str) -> bool {
        if self.partitions == 0 {
            return topic == self.name;
        }
        let partition = topic.strip_prefix(self.name.as_str()).and_then(|rest| rest.strip_prefix("-partition-"));
        partition.and_then(|number| number.parse::<u32>().ok()).is_some_and(|number| number < self.partitions)
    }

    fn topic_mut(&mut self, topic: &str) -> &mut Topic {
        self.topics.entry(topic.to_owned()).or_default()
    }

    fn producer_topic(&self, key: ProducerKey) -> Option<&String> {
        self.sessions.get(&key.0)?.producers.get(&key.1)
    }

    fn say(&mut self, link: LinkId, command: BaseCommand) {
        self.out.push(Out::Send(link, Box::new(command), Bytes::new()));
    }

    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn permille(&mut self, chance: u64) -> bool {
        self.random.u64(..1_000) < chance
    }
}
