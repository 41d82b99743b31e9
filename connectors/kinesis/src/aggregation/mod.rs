//! The aggregate of the Kinesis Producer Library: many user records in one Kinesis record, both ways.
//!
//! The form: a magic of four bytes, a protobuf message, the MD5 of that message. What does not hold to it in any part is not an
//! aggregate and is delivered as it is. Data and keys that come out are slices of the record that went in; nothing is copied.

mod message;
mod pack;

use crate::ids::HashRange;
use crate::port::RawRecord;
use bytes::Bytes;
use bytestring::ByteString;
use md5::{Digest, Md5};
use message::{Aggregate, Part};
use prost::Message;

pub use pack::{ToPack, aggregate};

/// The first bytes of every aggregate.
const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];
/// The length of the MD5 at the end.
const DIGEST: usize = 16;

/// What a Kinesis record turned out to be.
#[derive(Debug)]
pub enum Deaggregated {
    /// Not an aggregate, or a damaged one: one record, as it is.
    Raw,
    /// An aggregate with something in it.
    UserRecords(UserRecords),
    /// An aggregate of which a part falls outside the shard's hash keys: the whole of it belongs to a shard's sibling, and comes
    /// there. Settled as a whole.
    Discarded,
    /// An aggregate with nothing in it. Settled as a whole.
    Empty,
}

/// One user record of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// Its partition key.
    pub partition_key: ByteString,
    /// Its explicit hash key, when it was put with one.
    pub explicit_hash: Option<u128>,
    /// Its payload, a slice of the aggregate.
    pub data: Bytes,
    /// Its index in the aggregate: KCL's sub-sequence number.
    pub sub: u64,
}

/// The user records of an aggregate, in order. All that could be wrong with them was looked at before.
#[derive(Debug)]
pub struct UserRecords {
    keys: Vec<ByteString>,
    hashes: Vec<u128>,
    parts: std::iter::Enumerate<std::vec::IntoIter<Part>>,
}

impl Iterator for UserRecords {
    type Item = UserRecord;

    fn next(&mut self) -> Option<UserRecord> {
        let (index, part) = self.parts.next()?;
        // Each was looked up when the aggregate was checked, so that none is missing here.
        let partition_key = entry(&self.keys, part.partition_key_index)?.clone();
        let explicit_hash = match part.explicit_hash_key_index {
            Some(_) => Some(*entry(&self.hashes, part.explicit_hash_key_index)?),
            None => None,
        };
        Some(UserRecord { partition_key, explicit_hash, data: part.data?, sub: index as u64 })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.parts.size_hint()
    }
}

impl ExactSizeIterator for UserRecords {}

/// Takes a Kinesis record apart. `range` is what the shard covers; without it nothing is discarded.
pub fn deaggregate(record: &RawRecord, range: Option<HashRange>) -> Deaggregated {
    let Some(aggregate) = read(&record.data) else { return Deaggregated::Raw };
    let Some(checked) = check(&aggregate, range) else { return Deaggregated::Raw };
    if aggregate.records.is_empty() {
        return Deaggregated::Empty;
    }
    if !checked.inside {
        return Deaggregated::Discarded;
    }
    Deaggregated::UserRecords(UserRecords { keys: checked.keys, hashes: checked.hashes, parts: aggregate.records.into_iter().enumerate() })
}

/// The hash key by which a partition key finds its shard.
pub fn hash_key(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key).into())
}

/// The message inside, if magic, digest and protobuf are in order.
fn read(data: &Bytes) -> Option<Aggregate> {
    let body_end = data.len().checked_sub(DIGEST).filter(|end| *end >= MAGIC.len())?;
    if data[..MAGIC.len()] != MAGIC || Md5::digest(&data[MAGIC.len()..body_end])[..] != data[body_end..] {
        return None;
    }
    Aggregate::decode(data.slice(MAGIC.len()..body_end)).ok()
}

struct Checked {
    keys: Vec<ByteString>,
    hashes: Vec<u128>,
    inside: bool,
}

/// Whether each part is whole and points into the tables, and whether all of them fall into the range.
fn check(aggregate: &Aggregate, range: Option<HashRange>) -> Option<Checked> {
    let keys = aggregate.partition_keys.iter().map(|key| ByteString::try_from(key.clone()).ok()).collect::<Option<Vec<_>>>()?;
    let hashes = aggregate.explicit_hash_keys.iter().map(decimal).collect::<Option<Vec<_>>>()?;
    // Many parts share few keys: each key is hashed once.
    let mut key_inside = vec![None; keys.len()];
    let mut inside = true;
    for part in &aggregate.records {
        part.data.as_ref()?;
        let key = entry(&keys, part.partition_key_index)?;
        let explicit = match part.explicit_hash_key_index {
            Some(_) => Some(*entry(&hashes, part.explicit_hash_key_index)?),
            None => None,
        };
        let Some(range) = range else { continue };
        inside &= match explicit {
            Some(hash) => range.contains(hash),
            None => {
                let known = key_inside.get_mut(usize::try_from(part.partition_key_index?).ok()?)?;
                *known.get_or_insert_with(|| range.contains(hash_key(key)))
            }
        };
    }
    Some(Checked { keys, hashes, inside })
}

fn entry<T>(table: &[T], index: Option<u64>) -> Option<&T> {
    table.get(usize::try_from(index?).ok()?)
}

fn decimal(text: &Bytes) -> Option<u128> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
