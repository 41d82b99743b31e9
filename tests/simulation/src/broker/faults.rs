//! What may befall a broker and its topics, by order of a run.

use super::topic::{ProducerKey, Stored};
use super::{Broker, Due, OTHERS, Out, Storage};
use bytes::BytesMut;
use connector_pulsar::Compression;
use connector_pulsar::wire::entry::{Encoder, Numbers, Stamp};
use connector_pulsar::wire::frame;
use connector_sdk::Record;
use std::time::Duration;

/// Milliseconds after which a name that is away may be forgotten.
const AWAY: u64 = 3_000;

impl Broker {
    /// How storing goes from now on.
    pub fn set_storage(&mut self, storage: Storage) {
        self.storage = storage;
    }

    /// The topic's own limit of an entry in bytes; none: the broker's.
    pub fn set_limit(&mut self, limit: Option<usize>) {
        self.limit = limit;
    }

    /// Whether the role may read the topic.
    pub fn set_may_read(&mut self, may_read: bool) {
        self.may_read = may_read;
    }

    /// Whether the topic's numbers are recovered twice at each loading, as they are where it has policies of its own.
    pub fn set_recovers_twice(&mut self, recovers_twice: bool) {
        self.recovers_twice = recovers_twice;
    }

    /// A topic is there again.
    pub(super) fn loaded(&mut self, name: String) {
        let pause = self.random.u64(0..=1_500);
        let recovers_twice = self.recovers_twice;
        let topic = self.topic_mut(&name);
        topic.dedup.reset();
        topic.fenced = false;
        topic.loads += 1;
        let (load, numbers) = (topic.loads, topic.dedup.numbers());
        if recovers_twice {
            self.out.push(Out::Later(Duration::from_millis(pause), Due::RecoveredAgain { topic: name, load, numbers }));
        }
    }

    /// The topic gets more partitions.
    pub fn grow(&mut self, partitions: u32) {
        if self.partitions > 0 {
            self.partitions = self.partitions.max(partitions);
        }
    }

    /// A producer's name is forgotten on every topic where it has not been connected for a while: in a real broker that takes hours, here
    /// [`AWAY`]. True if it was known anywhere.
    pub fn forget(&mut self, millis: u64, name: &str) -> bool {
        let mut known = false;
        for topic in self.topics.values_mut() {
            let away = topic.left.get(name).is_none_or(|left| left + AWAY <= millis);
            if away && topic.of_name(name).is_none() && topic.writing.iter().all(|writing| writing.producer != name) {
                known |= topic.dedup.last(name) >= 0;
                topic.dedup.forget(name);
            }
        }
        known
    }

    /// Deduplication is switched, for all topics there are.
    pub fn switch_deduplication(&mut self, on: bool) {
        for topic in self.topics.values_mut() {
            topic.dedup.switch(on);
        }
    }

    /// Whether deduplication is on everywhere.
    pub fn deduplicates(&self) -> bool {
        self.topics.values().all(|topic| topic.dedup.is_on())
    }

    /// Entries before the newest `kept` of each topic can not be read any more.
    pub fn trim(&mut self, kept: usize) {
        for topic in self.topics.values_mut() {
            topic.first = topic.first.max(topic.entries.len().saturating_sub(kept));
        }
    }

    /// Somebody else publishes so many entries on each topic.
    pub fn store_of_others(&mut self, millis: u64, count: usize) {
        let record = Record { value: "not ours".into(), ..Record::default() };
        let stamp = Stamp {
            producer_id: 1,
            producer_name: OTHERS,
            numbers: Numbers::From(1),
            publish_time: millis,
            schema_version: None,
            by_key: false,
        };
        let encoded = Encoder::new(Compression::None).expect("no compression needs nothing").encode(stamp, &[record]);
        let mut frame = BytesMut::from(&encoded.frames.as_slice()[0][..]);
        let entry = frame::decode(&mut frame, usize::MAX).ok().flatten().expect("it was just encoded").entry;
        let topics: Vec<String> = self.topics.keys().cloned().collect();
        for name in topics {
            for _ in 0..count {
                let order = self.stored;
                let topic = self.topic_mut(&name);
                let id = (topic.ledger, topic.next_entry);
                topic.next_entry += 1;
                topic.entries.push(Stored { id, order, at: millis, producer: OTHERS.into(), entry: entry.clone() });
                self.stored += 1;
            }
            self.deliver(&name);
        }
    }

    /// A write of each topic that has one fails.
    pub fn fail_storage(&mut self) {
        let topics: Vec<String> = self.topics.iter().filter(|(_, topic)| !topic.writing.is_empty()).map(|(name, _)| name.clone()).collect();
        for topic in topics {
            self.fail_writes(&topic);
        }
    }

    /// Every topic is unloaded: what is being stored is finished, producers are let go, and it takes a while until it is there again.
    pub fn unload(&mut self, millis: u64) {
        let topics: Vec<String> = self.topics.keys().cloned().collect();
        for name in topics {
            let Some(topic) = self.topics.get_mut(&name) else { continue };
            topic.fenced = true;
            let producers: Vec<ProducerKey> = topic.producers.keys().copied().collect();
            for key in producers {
                self.let_go(&name, key);
            }
            while self.store_next(millis, &name, true) {}
            let pause = self.random.u64(0..=800);
            self.out.push(Out::Later(Duration::from_millis(pause), Due::Loaded(name)));
        }
    }

    /// Killed: connections are gone; of what was being stored some is.
    pub fn kill(&mut self, millis: u64) {
        self.up = false;
        let links: Vec<u64> = self.sessions.keys().copied().collect();
        self.waiting.clear();
        for link in links {
            self.hang_up(link);
        }
        let topics: Vec<String> = self.topics.keys().cloned().collect();
        for name in topics {
            let writing = self.topics.get(&name).map_or(0, |topic| topic.writing.len());
            for _ in 0..self.random.usize(..=writing) {
                self.store_next(millis, &name, true);
            }
            let Some(topic) = self.topics.get_mut(&name) else { continue };
            topic.writing.clear();
            topic.ledger += 1;
            topic.next_entry = 0;
            topic.dedup.reset();
            topic.fenced = false;
            // What was connected before is watched from now on.
            for name in topic.dedup.names() {
                topic.left.insert(name, millis);
            }
        }
        // Nobody is left to hear receipts.
        self.out.retain(|out| matches!(out, Out::Close(_)));
    }

    /// Receipts for what one partition stores get lost, or not any more.
    pub fn mute(&mut self, partition: u32, muted: bool) {
        let topic = self.partition(partition);
        if muted {
            self.muted.insert(topic);
        } else {
            self.muted.remove(&topic);
        }
    }

    /// One partition takes nothing, or does again.
    pub fn fence(&mut self, partition: u32, fenced: bool) {
        let name = self.partition(partition);
        let topic = self.topic_mut(&name);
        topic.fenced = fenced;
        let producers: Vec<ProducerKey> = topic.producers.keys().copied().collect();
        for key in producers.into_iter().filter(|_| fenced) {
            self.let_go(&name, key);
        }
    }

    fn partition(&self, partition: u32) -> String {
        if self.partitions == 0 { self.name.clone() } else { format!("{}-partition-{partition}", self.name) }
    }

    /// There again.
    pub fn start(&mut self) {
        if std::mem::replace(&mut self.up, true) {
            return;
        }
        let topics: Vec<String> = self.topics.keys().cloned().collect();
        for topic in topics {
            self.loaded(topic);
        }
    }
}
