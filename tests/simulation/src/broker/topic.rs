//! One topic of the model: what is stored, what is being stored, and who is connected.

use super::dedup::Dedup;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// A connection's number.
pub type LinkId = u64;

/// A producer: its connection and its number there.
pub(super) type ProducerKey = (LinkId, u64);

/// An entry that is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Ledger and entry.
    pub id: (i64, i64),
    /// Its place among everything the cluster ever stored.
    pub order: u64,
    /// When it was stored, in milliseconds since the epoch.
    pub at: u64,
    /// The producer's name.
    pub producer: String,
    /// The entry as it was sent, from its first magic number on.
    pub entry: Bytes,
}

/// An entry on its way to storage.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) number: u64,
    pub(super) from: ProducerKey,
    pub(super) producer: String,
    pub(super) lowest: i64,
    pub(super) highest: i64,
    /// As the SEND said it.
    pub(super) said_highest: Option<i64>,
    pub(super) entry: Bytes,
    pub(super) done: bool,
}

/// A producer that is open.
#[derive(Debug)]
pub(super) struct Producer {
    pub(super) name: String,
    pub(super) epoch: u64,
    /// Accepted and not yet answered.
    pub(super) unanswered: usize,
    /// Who closes it is answered when nothing is left unanswered.
    pub(super) closing: Option<u64>,
}

/// One topic.
#[derive(Debug, Default)]
pub(super) struct Topic {
    pub(super) entries: Vec<Stored>,
    pub(super) writing: VecDeque<Writing>,
    pub(super) dedup: Dedup,
    pub(super) producers: BTreeMap<ProducerKey, Producer>,
    /// Nobody may open or send: a write failed, or it is being loaded.
    pub(super) fenced: bool,
    pub(super) ledger: i64,
    /// The entry that is written next to that ledger.
    pub(super) next_entry: i64,
    /// Where subscriptions that were sought go on, by name.
    pub(super) sought: BTreeMap<String, usize>,
    pub(super) writes: u64,
    /// How often it was loaded.
    pub(super) loads: u64,
    /// When producers that are away left, by name, in milliseconds since the epoch.
    pub(super) left: BTreeMap<String, u64>,
    /// The first entry that can still be read.
    pub(super) first: usize,
}

impl Topic {
    /// A producer is not connected any more.
    pub(super) fn leave(&mut self, key: ProducerKey, millis: u64) -> Option<Producer> {
        let producer = self.producers.remove(&key)?;
        self.left.insert(producer.name.clone(), millis);
        Some(producer)
    }

    /// The producer of this name, if one is connected.
    pub(super) fn of_name(&self, name: &str) -> Option<ProducerKey> {
        self.producers.iter().find(|(_, producer)| producer.name == name).map(|(key, _)| *key)
    }
}
