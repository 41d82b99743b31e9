//! A stored record and the shapes in which it is written and read.

use bytes::Bytes;
use bytestring::ByteString;

use super::sequence::SequenceNumber;
use super::shard::ShardId;
use crate::clock::Millis;

/// A record as a shard keeps it; a clone shares its bytes.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    /// Its number in the shard.
    pub sequence_number: SequenceNumber,
    /// The payload.
    pub data: Bytes,
    /// The partition key it was put with.
    pub partition_key: ByteString,
    /// When it arrived, in milliseconds since the epoch; never before an earlier record of the shard.
    pub arrived_at: Millis,
    /// Whether the stream was encrypted when it arrived.
    pub encrypted: bool,
}

/// A record to put.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// The payload.
    pub data: Bytes,
    /// 1 to 256 characters.
    pub partition_key: ByteString,
    /// Takes the place of the partition key's hash.
    pub explicit_hash_key: Option<u128>,
}

impl NewRecord {
    /// A record with `data` under `partition_key`.
    #[must_use]
    pub fn new(partition_key: impl Into<ByteString>, data: impl Into<Bytes>) -> Self {
        Self { data: data.into(), partition_key: partition_key.into(), explicit_hash_key: None }
    }

    /// What the record counts for in limits: payload and partition key, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.len() + self.partition_key.len()
    }
}

/// Where a put record went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The shard.
    pub shard_id: ShardId,
    /// The number it got.
    pub sequence_number: SequenceNumber,
    /// Whether it is stored encrypted.
    pub encrypted: bool,
}
