//! What moves: a record, and the batch of one partition's records with the handle that decides their fate.
//!
//! A record is data only: payload and key are counted slices of what was received, properties a text of their own. A batch never mixes
//! partitions.

use crate::{AckHandle, Lineage};
use bytes::Bytes;
use bytestring::ByteString;
use std::sync::Arc;

/// The name of a source's partition (a Kinesis shard id, a Kafka topic-partition).
pub type PartitionId = ByteString;

/// A record's properties in order, side by side in one text: made once and read once, without counts that threads share.
///
/// Before each name and value stand the lengths of both, six bits a character, so that the whole stays text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(String);

impl Properties {
    /// No properties, with room for names and values of this many bytes together.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    /// Adds one at the end.
    pub fn push(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) {
        let (name, value) = (name.as_ref(), value.as_ref());
        push_length(&mut self.0, name.len());
        push_length(&mut self.0, value.len());
        self.0.push_str(name);
        self.0.push_str(value);
    }

    /// Names and values in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = self.0.as_str();
        std::iter::from_fn(move || {
            let (name_len, value_len) = (take_length(&mut rest)?, take_length(&mut rest)?);
            let (name, behind) = rest.split_at_checked(name_len)?;
            let (value, behind) = behind.split_at_checked(value_len)?;
            rest = behind;
            Some((name, value))
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of all names and values, and of their lengths.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// What one with this name and value adds to the size.
    pub fn size_of(name: &str, value: &str) -> usize {
        name.len() + value.len() + length_size(name.len()) + length_size(value.len())
    }
}

impl<N: AsRef<str>, V: AsRef<str>> Extend<(N, V)> for Properties {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, pairs: I) {
        for (name, value) in pairs {
            self.push(name, value);
        }
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Properties {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut properties = Self::default();
        properties.extend(pairs);
        properties
    }
}

impl std::fmt::Debug for Properties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Bits of a length in one character.
const LENGTH_BITS: u32 = 6;
/// More of the length follows.
const MORE: u8 = 1 << LENGTH_BITS;

/// Characters of a length.
fn length_size(length: usize) -> usize {
    (usize::BITS - length.leading_zeros()).div_ceil(LENGTH_BITS).max(1) as usize
}

fn push_length(text: &mut String, mut length: usize) {
    loop {
        let low = (length % usize::from(MORE)) as u8;
        length >>= LENGTH_BITS;
        if length == 0 {
            return text.push(char::from(low));
        }
        text.push(char::from(low | MORE));
    }
}

fn take_length(text: &mut &str) -> Option<usize> {
    let (mut length, mut shift) = (0, 0);
    for (at, byte) in text.bytes().enumerate() {
        length |= usize::from(byte & (MORE - 1)) << shift;
        shift += LENGTH_BITS;
        if byte & MORE == 0 {
            *text = &text[at + 1..];
            return Some(length);
        }
    }
    None
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
    /// Bytes a record is charged for beside its payload, key and properties: its own structures while it is on its way (itself, its place
    /// in the tracker, its charge and handle), what an encoded entry adds, and what the allocator keeps around all of it, as the bench's
    /// peaks under a full budget have it.
    pub const OVERHEAD: usize = 1_024;

    /// What the record costs of the byte budget.
    pub fn cost(&self) -> usize {
        let key = self.key.as_ref().map_or(0, |key| key.len());
        Self::OVERHEAD + self.value.len() + key + self.properties.size()
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

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
