//! The way in: user records to one aggregate, each key in the tables once.

use super::message::{Aggregate, Part};
use super::{DIGEST, MAGIC};
use bytes::Bytes;
use bytestring::ByteString;
use md5::{Digest, Md5};
use prost::Message;
use std::collections::HashMap;

/// A user record on its way into an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToPack {
    /// Its partition key.
    pub partition_key: ByteString,
    /// An explicit hash key, when it is to be put with one.
    pub explicit_hash: Option<u128>,
    /// Its payload.
    pub data: Bytes,
}

/// The data of one Kinesis record that holds all of `records`, in order. It is to be put with the partition key, or the explicit
/// hash key, of the first of them; that all of them belong to one shard is the caller's business.
pub fn aggregate(records: impl IntoIterator<Item = ToPack>) -> Bytes {
    let mut message = Aggregate::default();
    let (mut keys, mut hashes) = (HashMap::new(), HashMap::new());
    for ToPack { partition_key, explicit_hash, data } in records {
        let partition_key_index = *keys.entry(partition_key.clone()).or_insert_with(|| {
            message.partition_keys.push(partition_key.into_bytes());
            message.partition_keys.len() as u64 - 1
        });
        let explicit_hash_key_index = explicit_hash.map(|hash| {
            *hashes.entry(hash).or_insert_with(|| {
                message.explicit_hash_keys.push(hash.to_string().into());
                message.explicit_hash_keys.len() as u64 - 1
            })
        });
        let part = Part { partition_key_index: Some(partition_key_index), explicit_hash_key_index, data: Some(data) };
        message.records.push(part);
    }
    let mut packed = Vec::with_capacity(MAGIC.len() + message.encoded_len() + DIGEST);
    packed.extend_from_slice(&MAGIC);
    message.encode(&mut packed).expect("a vector takes any length");
    let digest = Md5::digest(&packed[MAGIC.len()..]);
    packed.extend_from_slice(&digest);
    packed.into()
}
