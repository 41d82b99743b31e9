//! From the JSON of an answer or an event to records. Each payload is decoded once, from the body straight into its own buffer.

use crate::ids::{HashRange, SequenceNumber};
use crate::port::{ChildShard, Encryption, RawRecord};
use crate::retrieval::Event;
use bytes::Bytes;
use bytestring::ByteString;
use connector_sdk::Error;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Visitor};
use std::fmt;

/// What a GetRecords answer says.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) records: Vec<RawRecord>,
    pub(super) next_iterator: Option<String>,
    pub(super) millis_behind: u64,
    pub(super) children: Vec<ChildShard>,
}

/// What an answer of `length` bytes costs while it is decoded: itself, and records that are no larger. Only where all payloads are
/// empty do the records weigh a little more than their JSON.
pub(super) fn decoding_cost(length: u64) -> u64 {
    length.saturating_mul(2)
}

/// Reads a GetRecords answer.
pub(super) fn records(body: &[u8]) -> Result<Records, Error> {
    let answer: WireAnswer = serde_json::from_slice(body).map_err(|error| unreadable("the answer", &error))?;
    Ok(Records {
        records: answer.records.unwrap_or_default().into_iter().map(|WireRecord(record)| record).collect(),
        next_iterator: answer.next_shard_iterator.filter(|iterator| !iterator.is_empty()),
        millis_behind: behind(answer.millis_behind_latest),
        children: children(answer.child_shards)?,
    })
}

/// Reads an event of a subscription.
pub(super) fn event(payload: &[u8]) -> Result<Event, Error> {
    let event: WireEvent = serde_json::from_slice(payload).map_err(|error| unreadable("an event", &error))?;
    let continuation = match event.continuation_sequence_number.filter(|number| !number.is_empty()) {
        Some(number) => Some(SequenceNumber::parse(number).ok_or_else(|| malformed("an event's continuation number"))?),
        None => None,
    };
    Ok(Event {
        records: event.records.unwrap_or_default().into_iter().map(|WireRecord(record)| record).collect(),
        continuation,
        millis_behind: behind(event.millis_behind_latest),
        children: children(event.child_shards)?,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireAnswer {
    records: Option<Vec<WireRecord>>,
    next_shard_iterator: Option<String>,
    millis_behind_latest: Option<i64>,
    child_shards: Option<Vec<WireChild>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireEvent {
    records: Option<Vec<WireRecord>>,
    continuation_sequence_number: Option<String>,
    millis_behind_latest: Option<i64>,
    child_shards: Option<Vec<WireChild>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireChild {
    shard_id: String,
    #[serde(default)]
    parent_shards: Vec<String>,
    hash_key_range: WireRange,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireRange {
    starting_hash_key: String,
    ending_hash_key: String,
}

struct WireRecord(RawRecord);

impl<'de> Deserialize<'de> for WireRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Fields {
            sequence_number: String,
            approximate_arrival_timestamp: Option<f64>,
            data: Payload,
            partition_key: String,
            encryption_type: Option<EncryptionType>,
        }
        let fields = Fields::deserialize(deserializer)?;
        let sequence = SequenceNumber::parse(ByteString::from(fields.sequence_number))
            .ok_or_else(|| D::Error::custom("a sequence number that is not decimal"))?;
        Ok(Self(RawRecord {
            sequence,
            partition_key: fields.partition_key.into(),
            data: fields.data.0,
            arrived_at: fields.approximate_arrival_timestamp.and_then(millis),
            encryption: match fields.encryption_type {
                Some(EncryptionType::Kms) => Encryption::Kms,
                Some(EncryptionType::Other) | None => Encryption::None,
            },
        }))
    }
}

#[derive(Deserialize)]
enum EncryptionType {
    #[serde(rename = "KMS")]
    Kms,
    #[serde(other)]
    Other,
}

/// A payload, from base64.
struct Payload(Bytes);

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FromBase64;
        impl Visitor<'_> for FromBase64 {
            type Value = Payload;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a payload in base64")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Payload, E> {
                let data = base64_simd::STANDARD.decode_to_vec(text).map_err(|_| E::custom("a payload that is not base64"))?;
                Ok(Payload(data.into()))
            }
        }
        deserializer.deserialize_str(FromBase64)
    }
}

/// Milliseconds of a time in seconds.
fn millis(seconds: f64) -> Option<u64> {
    let millis = (seconds * 1000.0).round();
    // Within the range in which a double counts milliseconds exactly.
    (0.0..9e15).contains(&millis).then_some(millis as u64)
}

fn behind(millis: Option<i64>) -> u64 {
    u64::try_from(millis.unwrap_or_default()).unwrap_or_default()
}

fn children(children: Option<Vec<WireChild>>) -> Result<Vec<ChildShard>, Error> {
    let range =
        |range: &WireRange| Some(HashRange { start: range.starting_hash_key.parse().ok()?, end: range.ending_hash_key.parse().ok()? });
    let mut read = Vec::new();
    for child in children.unwrap_or_default() {
        read.push(ChildShard {
            range: range(&child.hash_key_range).ok_or_else(|| malformed("the hash keys of a child shard"))?,
            id: child.shard_id.into(),
            parents: child.parent_shards.into_iter().map(Into::into).collect(),
        });
    }
    Ok(read)
}

fn unreadable(what: &str, error: &serde_json::Error) -> Error {
    Error::transient(format!("{what} could not be read: {error}"))
}

fn malformed(what: &str) -> Error {
    Error::transient(format!("{what} could not be read"))
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
