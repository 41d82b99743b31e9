//! A lease and its DynamoDB item, attribute for attribute as the Java KCL writes it.
//!
//! Decoding is strict where a wrong guess would lose data and lenient where Java is; it never takes a row for a lease that is not
//! one. Encoding is for new rows only: a row that exists is changed attribute by attribute (see [`Change`](super::Change)).

use super::attribute::{AttributeError, NAME as PULSAR_CONNECT, PulsarConnect};
use crate::ids::{Checkpoint, HashRange, ShardId};
use aws_sdk_dynamodb::types::AttributeValue;
use bytestring::ByteString;
use std::collections::HashMap;

/// A row as DynamoDB gives and takes it.
pub type Item = HashMap<String, AttributeValue>;

/// The hash key's name.
pub const LEASE_KEY: &str = "leaseKey";
pub(super) const OWNER: &str = "leaseOwner";
pub(super) const COUNTER: &str = "leaseCounter";
pub(super) const SWITCHES: &str = "ownerSwitchesSinceCheckpoint";
pub(super) const CHECKPOINT: &str = "checkpoint";
pub(super) const SUB_SEQUENCE: &str = "checkpointSubSequenceNumber";
pub(super) const PENDING: &str = "pendingCheckpoint";
pub(super) const PENDING_SUB: &str = "pendingCheckpointSubSequenceNumber";
pub(super) const PENDING_STATE: &str = "pendingCheckpointState";
pub(super) const PARENTS: &str = "parentShardId";
pub(super) const CHILDREN: &str = "childShardIds";
pub(super) const CHECKPOINT_OWNER: &str = "checkpointOwner";
const START_HASH: &str = "startingHashKey";
const END_HASH: &str = "endingHashKey";
const STREAM_NAME: &str = "streamName";
const THROUGHPUT: &str = "throughputKBps";
const ENTITY_TYPE: &str = "entityType";

/// One shard's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The shard; `leaseKey`.
    pub shard: ShardId,
    /// The worker identifier of its owner.
    pub owner: Option<ByteString>,
    /// Fence and heartbeat: up by one with each write.
    pub counter: u64,
    /// Changes of owner since the last checkpoint.
    pub owner_switches: u64,
    /// How far it came.
    pub checkpoint: Checkpoint,
    /// Whether a two-phase checkpoint was begun and not ended; a new owner goes on from `checkpoint`.
    pub pending: bool,
    /// The shard's parents.
    pub parents: Vec<ShardId>,
    /// The shard's children, once it has ended.
    pub children: Vec<ShardId>,
    /// The hash keys it covers.
    pub range: Option<HashRange>,
    /// Who may still store checkpoints while a KCL 3.x hands the lease over.
    pub checkpoint_owner: Option<ByteString>,
    /// Whether the row carries attributes that only a KCL 3.x writes.
    pub has_3x_attributes: bool,
    /// What is ours.
    pub pulsar_connect: Option<PulsarConnect>,
}

impl Lease {
    /// Whether everything in the shard is settled.
    pub fn is_finished(&self) -> bool {
        self.checkpoint == Checkpoint::ShardEnd
    }

    /// Whether the owner is the worker that wrote `pulsarConnect`: then the identity in it is the owner's.
    pub fn owner_is_writer(&self) -> bool {
        match (&self.owner, &self.pulsar_connect) {
            (Some(owner), Some(attribute)) => *owner == attribute.worker,
            _ => false,
        }
    }

    /// Reads a lease row. `Ok(None)`: a row of another kind (`entityType`).
    pub fn decode(item: &Item) -> Result<Option<Self>, RowError> {
        if text(item, ENTITY_TYPE).is_some_and(|kind| kind != "LEASE") {
            return Ok(None);
        }
        let key = text(item, LEASE_KEY).ok_or(RowError::NoKey)?;
        if text(item, STREAM_NAME).is_some() || is_multi_stream(key) {
            return Err(RowError::MultiStream { key: key.to_owned() });
        }
        let unreadable = |attribute, why: String| RowError::Malformed { key: key.to_owned(), attribute, why };
        let malformed = |attribute: &'static str| unreadable(attribute, "is missing or not in the KCL's form".to_owned());
        let checkpoint = Checkpoint::parse(
            text(item, CHECKPOINT).ok_or_else(|| malformed(CHECKPOINT))?,
            number(item, SUB_SEQUENCE).map_err(malformed)?.unwrap_or(0),
        )
        .ok_or_else(|| malformed(CHECKPOINT))?;
        let pulsar_connect = match text(item, PULSAR_CONNECT) {
            Some(json) => Some(PulsarConnect::parse(json).map_err(|error| match error {
                AttributeError::Version(version) => RowError::UnknownVersion { key: key.to_owned(), version },
                AttributeError::Malformed(how) => unreadable(PULSAR_CONNECT, format!("cannot be read: {how}")),
            })?),
            None => None,
        };
        Ok(Some(Self {
            owner: text(item, OWNER).map(ByteString::from),
            counter: number(item, COUNTER).map_err(malformed)?.ok_or_else(|| malformed(COUNTER))?,
            owner_switches: number(item, SWITCHES).map_err(malformed)?.unwrap_or(0),
            checkpoint,
            pending: item.contains_key(PENDING) || item.contains_key(PENDING_STATE),
            parents: shards(item, PARENTS).map_err(malformed)?,
            children: shards(item, CHILDREN).map_err(malformed)?,
            range: range(item).map_err(malformed)?,
            checkpoint_owner: text(item, CHECKPOINT_OWNER).map(ByteString::from),
            has_3x_attributes: [ENTITY_TYPE, THROUGHPUT, CHECKPOINT_OWNER].iter().any(|name| item.contains_key(*name)),
            pulsar_connect,
            shard: key.into(),
        }))
    }

    /// The item of a new row. Absent is what has no value: Java chokes on empty strings and sets.
    pub fn encode(&self) -> Item {
        let mut item = Item::new();
        let mut put = |name: &str, value| {
            item.insert(name.to_owned(), value);
        };
        put(LEASE_KEY, AttributeValue::S(self.shard.to_string()));
        put(COUNTER, AttributeValue::N(self.counter.to_string()));
        put(SWITCHES, AttributeValue::N(self.owner_switches.to_string()));
        put(CHECKPOINT, AttributeValue::S(self.checkpoint.text().to_owned()));
        put(SUB_SEQUENCE, AttributeValue::N(self.checkpoint.sub().to_string()));
        if let Some(owner) = &self.owner {
            put(OWNER, AttributeValue::S(owner.to_string()));
        }
        if !self.parents.is_empty() {
            put(PARENTS, shard_set(&self.parents));
        }
        if !self.children.is_empty() {
            put(CHILDREN, shard_set(&self.children));
        }
        if let Some(range) = self.range {
            put(START_HASH, AttributeValue::S(range.start.to_string()));
            put(END_HASH, AttributeValue::S(range.end.to_string()));
        }
        if let Some(attribute) = &self.pulsar_connect {
            put(PULSAR_CONNECT, AttributeValue::S(attribute.text()));
        }
        item
    }
}

/// Why a row cannot be used as a lease.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// Not a row of a lease table at all.
    #[error("a row has no `leaseKey` of type S")]
    NoKey,
    /// One attribute is missing or not of its form.
    #[error("the lease row `{key}` is malformed: `{attribute}` {why}")]
    Malformed {
        /// The row's key.
        key: String,
        /// The attribute's name.
        attribute: &'static str,
        /// What is wrong with it, as it goes on behind its name.
        why: String,
    },
    /// A row of a KCL application that reads several streams.
    #[error("the lease row `{key}` belongs to a KCL application that reads several streams")]
    MultiStream {
        /// The row's key.
        key: String,
    },
    /// `pulsarConnect` in a format of another version of this program.
    #[error("the lease row `{key}` was written by another version of this program (`pulsarConnect` version {version})")]
    UnknownVersion {
        /// The row's key.
        key: String,
        /// The format's version.
        version: u64,
    },
}

/// A text attribute; absent, empty and of another type are the same.
pub(super) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str).filter(|text| !text.is_empty())
}

/// A number attribute; the error is the attribute's name.
pub(super) fn number(item: &Item, name: &'static str) -> Result<Option<u64>, &'static str> {
    match item.get(name) {
        None | Some(AttributeValue::Null(_)) => Ok(None),
        Some(AttributeValue::N(digits)) => digits.parse().map(Some).map_err(|_| name),
        Some(_) => Err(name),
    }
}

pub(super) fn shard_set(shards: &[ShardId]) -> AttributeValue {
    AttributeValue::Ss(shards.iter().map(ToString::to_string).collect())
}

fn shards(item: &Item, name: &'static str) -> Result<Vec<ShardId>, &'static str> {
    let mut shards: Vec<ShardId> = match item.get(name) {
        None | Some(AttributeValue::Null(_)) => Vec::new(),
        Some(AttributeValue::Ss(ids)) => ids.iter().map(|id| ShardId::from(id.as_str())).collect(),
        Some(_) => return Err(name),
    };
    // A set has no order of its own.
    shards.sort();
    Ok(shards)
}

fn range(item: &Item) -> Result<Option<HashRange>, &'static str> {
    match (text(item, START_HASH), text(item, END_HASH)) {
        (None, None) => Ok(None),
        (Some(start), Some(end)) => {
            let range = HashRange { start: start.parse().map_err(|_| START_HASH)?, end: end.parse().map_err(|_| END_HASH)? };
            if range.start <= range.end { Ok(Some(range)) } else { Err(START_HASH) }
        }
        (None, Some(_)) => Err(START_HASH),
        (Some(_), None) => Err(END_HASH),
    }
}

/// `<account>:<stream>:<creation seconds>:<shard>`.
fn is_multi_stream(key: &str) -> bool {
    let parts: Vec<&str> = key.split(':').collect();
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    matches!(parts[..], [account, stream, created, _] if digits(account) && !stream.is_empty() && digits(created))
}

#[cfg(test)]
#[path = "row_tests.rs"]
mod tests;
