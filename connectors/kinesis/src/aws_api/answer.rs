//! From the JSON of an answer or an event to records. Each payload is decoded once, from the body straight into its own buffer; keys and
//! numbers, which are short and outlive it, share a few buffers.

use crate::ids::{HashRange, SequenceNumber};
use crate::port::{ChildShard, Encryption, RawRecord};
use crate::retrieval::Event;
use bytes::BytesMut;
use bytestring::ByteString;
use connector_sdk::Error;
use serde::Deserialize;
use std::borrow::Cow;

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
        records: raw("the answer", answer.records.unwrap_or_default())?,
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
        records: raw("an event", event.records.unwrap_or_default())?,
        continuation,
        millis_behind: behind(event.millis_behind_latest),
        children: children(event.child_shards)?,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireAnswer<'a> {
    #[serde(borrow)]
    records: Option<Vec<WireRecord<'a>>>,
    next_shard_iterator: Option<String>,
    millis_behind_latest: Option<i64>,
    child_shards: Option<Vec<WireChild>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireEvent<'a> {
    #[serde(borrow)]
    records: Option<Vec<WireRecord<'a>>>,
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

/// A record as it stands in the body; what is written there without escapes is not copied.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireRecord<'a> {
    #[serde(borrow)]
    sequence_number: Cow<'a, str>,
    approximate_arrival_timestamp: Option<f64>,
    #[serde(borrow)]
    data: Cow<'a, str>,
    #[serde(borrow)]
    partition_key: Cow<'a, str>,
    encryption_type: Option<EncryptionType>,
}

#[derive(Deserialize)]
enum EncryptionType {
    #[serde(rename = "KMS")]
    Kms,
    #[serde(other)]
    Other,
}

fn raw(what: &str, records: Vec<WireRecord<'_>>) -> Result<Vec<RawRecord>, Error> {
    let wrong = |how: &str| Error::transient(format!("{what} could not be read: {how}"));
    let mut texts = Texts::new(records.iter().map(|record| record.sequence_number.len() + record.partition_key.len()).sum());
    let mut read = Vec::with_capacity(records.len());
    for record in records {
        let sequence = texts.keep(&record.sequence_number);
        let data = base64_simd::STANDARD.decode_to_vec(record.data.as_bytes()).map_err(|_| wrong("a payload that is not base64"))?;
        read.push(RawRecord {
            sequence: SequenceNumber::parse(sequence).ok_or_else(|| wrong("a sequence number that is not decimal"))?,
            partition_key: texts.keep(&record.partition_key),
            data: data.into(),
            arrived_at: record.approximate_arrival_timestamp.and_then(millis),
            encryption: match record.encryption_type {
                Some(EncryptionType::Kms) => Encryption::Kms,
                Some(EncryptionType::Other) | None => Encryption::None,
            },
        });
    }
    Ok(read)
}

/// Short texts side by side in buffers that live until the last of their texts is dropped. So a buffer is small: one record that waits
/// long holds no more than the texts of a few neighbours.
struct Texts {
    buffer: BytesMut,
    /// Bytes that are still to come.
    left: usize,
}

impl Texts {
    /// The largest buffer: the texts of about fifty records.
    const BUFFER: usize = 4 * 1024;

    fn new(total: usize) -> Self {
        Self { buffer: BytesMut::new(), left: total }
    }

    fn keep(&mut self, text: &str) -> ByteString {
        if self.buffer.capacity() < text.len() {
            self.buffer = BytesMut::with_capacity(self.left.min(Self::BUFFER).max(text.len()));
        }
        self.left = self.left.saturating_sub(text.len());
        self.buffer.extend_from_slice(text.as_bytes());
        ByteString::try_from(self.buffer.split().freeze()).expect("it was text before")
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
