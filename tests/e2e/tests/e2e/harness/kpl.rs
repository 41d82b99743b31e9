//! An encoder of the KPL's aggregates, written for the tests alone: the product's own must not judge itself.
//!
//! Layout: `F3 89 9A C2`, a protobuf message (1: partition keys, 2: explicit hash keys, 3: records of 1: key index, 2: hash index, 3: data), and its MD5.

use bytes::Bytes;
use md5::{Digest, Md5};

const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// One user record of an aggregate.
#[derive(Clone, Debug)]
pub(crate) struct UserRecord {
    pub(crate) partition_key: String,
    /// In place of the key's own hash.
    pub(crate) explicit_hash_key: Option<u128>,
    pub(crate) data: Bytes,
}

/// An aggregate of `records`.
pub(crate) fn aggregate(records: &[UserRecord]) -> Bytes {
    let mut keys: Vec<&str> = Vec::new();
    let mut hashes: Vec<u128> = Vec::new();
    let mut parts = Vec::new();
    for record in records {
        let mut part = Vec::new();
        number(&mut part, 1, place(&mut keys, record.partition_key.as_str()));
        if let Some(hash) = record.explicit_hash_key {
            number(&mut part, 2, place(&mut hashes, hash));
        }
        field(&mut part, 3, &record.data);
        parts.push(part);
    }
    let mut message = Vec::new();
    for key in keys {
        field(&mut message, 1, key.as_bytes());
    }
    for hash in hashes {
        field(&mut message, 2, hash.to_string().as_bytes());
    }
    for part in parts {
        field(&mut message, 3, &part);
    }
    framed(&message, &Md5::digest(&message))
}

/// What looks like an aggregate and has a wrong checksum.
pub(crate) fn with_wrong_checksum(records: &[UserRecord]) -> Bytes {
    let mut bytes = aggregate(records).to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    bytes.into()
}

/// A right checksum over what is no message.
pub(crate) fn with_broken_message() -> Bytes {
    let message = [0x0A, 0xFF, 0xFF, 0xFF, 0x7F, b'x'];
    framed(&message, &Md5::digest(message))
}

/// The first bytes of an aggregate and nothing else.
pub(crate) fn magic_alone() -> Bytes {
    Bytes::from_static(&MAGIC)
}

fn framed(message: &[u8], checksum: &[u8]) -> Bytes {
    [&MAGIC, message, checksum].concat().into()
}

/// The place of `value` in `table`, where it is entered once.
fn place<T: PartialEq>(table: &mut Vec<T>, value: T) -> u64 {
    let at = table.iter().position(|known| *known == value).unwrap_or_else(|| {
        table.push(value);
        table.len() - 1
    });
    at as u64
}

fn number(into: &mut Vec<u8>, tag: u64, value: u64) {
    varint(into, tag << 3);
    varint(into, value);
}

fn field(into: &mut Vec<u8>, tag: u64, value: &[u8]) {
    varint(into, tag << 3 | 2);
    varint(into, value.len() as u64);
    into.extend_from_slice(value);
}

fn varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}
