//! What moves: a record, and the batch of one partition's records with the handle that decides their fate.
//!
//! A record is data only and cheap to clone; its bytes are slices of what was received. A batch never mixes partitions.

use crate::{AckHandle, Lineage};
use bytes::Bytes;
use bytestring::ByteString;
use std::sync::Arc;

/// The name of a source's partition (a Kinesis shard id, a Kafka topic-partition).
pub type PartitionId = ByteString;

/// A record's properties in order: names are mostly static, values share the bytes they came in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties(Vec<(ByteString, ByteString)>);

impl Properties {
    /// No properties, with room for `count`.
    pub fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// Adds one at the end.
    pub fn push(&mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) {
        self.0.push((name.into(), value.into()));
    }

    /// The properties in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&ByteString, &ByteString)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One record on its way to Pulsar.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The payload, bit for bit.
    pub value: Bytes,
    /// The key, as Pulsar's string key.
    pub key: Option<ByteString>,
    /// When it happened, in milliseconds since the epoch.
    pub event_time: Option<u64>,
    /// Named values that travel with it.
    pub properties: Properties,
    /// Its number within the partition (Pulsar IO's record sequence): `ordinal << 24 | index`, strictly rising, gaps are legal.
    pub sequence: Option<u64>,
    /// What to call it in a message to a person, such as a shard's sequence number and sub-sequence number.
    pub label: Label,
}

/// The source's own name of a record, kept unformatted: it is only read when something goes wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Label {
    /// The position as the source writes it.
    pub position: ByteString,
    /// The index inside the position, for records that share one.
    pub index: u64,
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.position, self.index)
    }
}

impl Record {
    /// Bytes a record is charged for beside its payload: its own structures while it is on its way (itself and its list of properties,
    /// its place in the tracker, its charge and handle), the names and numbers that an encoded entry adds, and what the allocator keeps
    /// around all of it, as the bench's peaks under a full budget have it.
    pub const OVERHEAD: usize = 1_024;

    /// What the record costs of the byte budget.
    pub fn cost(&self) -> usize {
        let key = self.key.as_ref().map_or(0, |key| key.len());
        let properties: usize = self.properties.iter().map(|(_, value)| value.len()).sum();
        Self::OVERHEAD + self.value.len() + key + properties
    }
}

/// Records of one partition, in order, and the handle for all of them.
#[derive(Debug)]
#[must_use = "a dropped batch gives its records back unprocessed"]
pub struct Batch {
    /// The partition they came from.
    pub partition: PartitionId,
    /// The records, in the partition's order; as many as the handle covers.
    pub records: Vec<Record>,
    /// Decides the fate of each.
    pub handle: AckHandle,
    /// With EFFECTIVELY_ONCE: by which they are sent.
    pub lineage: Option<Arc<Lineage>>,
}

impl Batch {
    /// A batch whose handle covers exactly its records.
    pub fn new(partition: PartitionId, records: Vec<Record>, handle: AckHandle) -> Self {
        debug_assert_eq!(records.len() as u64, handle.len(), "the handle covers each record once");
        Self { partition, records, handle, lineage: None }
    }
}
