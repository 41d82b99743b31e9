//! One shard: its place in the hash space, its family and its records.
//!
//! Promises that records are kept in order with strictly rising numbers, that a closed shard takes no more, and that nothing put is forgotten: retention
//! only moves the horizon that readers see.

use std::fmt;
use std::str::FromStr;

use tokio::sync::watch;

use super::hash_key::HashRange;
use super::limits::Bucket;
use super::records::{NewRecord, StoredRecord};
use super::sequence::SequenceNumber;
use crate::clock::Millis;

/// Bytes a second which a shard takes.
pub(crate) const WRITE_BYTES: f64 = 1024.0 * 1024.0;
/// Records a second which a shard takes.
pub(crate) const WRITE_RECORDS: f64 = 1000.0;
/// GetRecords calls a second which a shard answers.
pub(crate) const READ_CALLS: f64 = 5.0;
/// Bytes a second which a shard gives to GetRecords, and to each consumer.
pub(crate) const READ_BYTES: f64 = 2.0 * 1024.0 * 1024.0;

/// The index of a shard in its stream, shown as `shardId-000000000000`; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u64);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shardId-{:012}", self.0)
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a shard id.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a shard id")]
pub struct NotAShardId(String);

impl FromStr for ShardId {
    type Err = NotAShardId;

    fn from_str(text: &str) -> Result<Self, NotAShardId> {
        text.strip_prefix("shardId-")
            .filter(|digits| digits.len() == 12)
            .and_then(|digits| digits.parse().ok())
            .map(Self)
            .ok_or_else(|| NotAShardId(text.to_owned()))
    }
}

/// A shard of a stream.
#[derive(Debug)]
pub struct Shard {
    /// Its id.
    pub id: ShardId,
    /// Its part of the hash space.
    pub range: HashRange,
    /// None for a first shard, one after a split, two after a merge (parent, adjacent parent).
    pub parents: Vec<ShardId>,
    /// The shards which took over at its close.
    pub children: Vec<ShardId>,
    /// When it opened.
    pub opened_at: Millis,
    /// When it closed.
    pub closed_at: Option<Millis>,
    pub(crate) generation: u64,
    pub(crate) records: Vec<StoredRecord>,
    trimmed: usize,
    pub(crate) write_bytes: Bucket,
    pub(crate) write_records: Bucket,
    pub(crate) read_calls: Bucket,
    pub(crate) read_bytes: Bucket,
    pub(crate) reads_refused_until: Millis,
    /// Counts changes that a waiting subscription must look at.
    changed: watch::Sender<u64>,
}

impl Shard {
    pub(crate) fn new(id: ShardId, range: HashRange, parents: Vec<ShardId>, generation: u64, now: Millis) -> Self {
        Self {
            id,
            range,
            parents,
            children: Vec::new(),
            opened_at: now,
            closed_at: None,
            generation,
            records: Vec::new(),
            trimmed: 0,
            write_bytes: Bucket::new(WRITE_BYTES, now),
            write_records: Bucket::new(WRITE_RECORDS, now),
            read_calls: Bucket::new(READ_CALLS, now),
            read_bytes: Bucket::new(READ_BYTES, now),
            reads_refused_until: Millis::MIN,
            changed: watch::Sender::new(0),
        }
    }

    /// Whether it takes records.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }

    /// Everything ever put, in order.
    #[must_use]
    pub fn all_records(&self) -> &[StoredRecord] {
        &self.records
    }

    /// The number below all of its records.
    #[must_use]
    pub fn starting_sequence_number(&self) -> SequenceNumber {
        self.number(0)
    }

    /// The number above all of its records, once it is closed.
    #[must_use]
    pub fn ending_sequence_number(&self) -> Option<SequenceNumber> {
        self.closed_at.map(|_| self.number(self.records.len() as u64 + 1))
    }

    /// The number of the record at `place`, counting from 1; 0 is the start.
    pub(crate) fn number(&self, place: u64) -> SequenceNumber {
        SequenceNumber::new(self.generation, self.id.0, place)
    }

    /// Stores a record and wakes readers.
    pub(crate) fn append(&mut self, record: NewRecord, encrypted: bool, now: Millis) -> SequenceNumber {
        let sequence_number = self.number(self.records.len() as u64 + 1);
        let arrived_at = self.records.last().map_or(now, |last| last.arrived_at.max(now));
        self.records.push(StoredRecord { sequence_number, data: record.data, partition_key: record.partition_key, arrived_at, encrypted });
        self.wake();
        sequence_number
    }

    pub(crate) fn close(&mut self, children: Vec<ShardId>, now: Millis) {
        self.closed_at = Some(now);
        self.children = children;
        self.wake();
    }

    pub(crate) fn wake(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Moves the horizon to what `retention` still covers; it never moves back.
    pub(crate) fn trim(&mut self, retention: Millis, now: Millis) -> usize {
        let horizon = now - retention;
        let expired = self.records[self.trimmed..].partition_point(|record| record.arrived_at < horizon);
        self.trimmed += expired;
        self.trimmed
    }

    /// The place of the first record that arrived at `at` or later.
    pub(crate) fn place_at(&self, at: Millis) -> usize {
        self.records.partition_point(|record| record.arrived_at < at)
    }
}
