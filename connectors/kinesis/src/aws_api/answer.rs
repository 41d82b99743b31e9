//! From the body of an answer or an event to records. Each payload is copied or decoded once, from the body straight into its own
//! buffer; keys and numbers, which are short and outlive it, share a few buffers. A body that is not as the service writes it is an
//! error as a whole.

use super::{cbor, json, wire};
use crate::ids::{HashRange, SequenceNumber};
use crate::port::{ChildShard, Encryption, RawRecord};
use crate::retrieval::Event;
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use connector_sdk::Error;
use std::borrow::Cow;

/// What a GetRecords answer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) records: Vec<RawRecord>,
    pub(super) next_iterator: Option<String>,
    pub(super) millis_behind: u64,
    pub(super) children: Vec<ChildShard>,
}

/// What an answer of `length` bytes costs while it is decoded: itself, and records that are no larger. Only where all payloads are
/// empty do the records weigh a little more than what they were written in.
pub(super) fn decoding_cost(length: u64) -> u64 {
    length.saturating_mul(2)
}

/// Reads a GetRecords answer.
pub(super) fn records(bytes: &[u8]) -> Result<Records, Error> {
    let body = body(bytes).map_err(|wrong| wrong.of("the answer"))?;
    Ok(Records {
        records: body.records.map(Gathered::into_records).unwrap_or_default(),
        next_iterator: body.next_iterator.filter(|iterator| !iterator.is_empty()),
        millis_behind: behind(body.millis_behind),
        children: body.children.unwrap_or_default(),
    })
}

/// Reads an event of a subscription.
pub(super) fn event(payload: &[u8]) -> Result<Event, Error> {
    let body = body(payload).map_err(|wrong| wrong.of("an event"))?;
    let continuation = match body.continuation.filter(|number| !number.is_empty()) {
        Some(number) => {
            let wrong = || Wrong::from("a continuation number that is not decimal").of("an event");
            Some(SequenceNumber::parse(number).ok_or_else(wrong)?)
        }
        None => None,
    };
    Ok(Event {
        records: body.records.map(Gathered::into_records).unwrap_or_default(),
        continuation,
        millis_behind: behind(body.millis_behind),
        children: body.children.unwrap_or_default(),
    })
}

fn body(bytes: &[u8]) -> Result<Body, Wrong> {
    if wire::is_json(bytes) { json::body(bytes) } else { cbor::body(bytes) }
}

/// What may stand in an answer or in an event.
#[derive(Default)]
pub(super) struct Body {
    pub(super) records: Option<Gathered>,
    pub(super) next_iterator: Option<String>,
    pub(super) continuation: Option<String>,
    pub(super) millis_behind: Option<i64>,
    pub(super) children: Option<Vec<ChildShard>>,
}

/// What is wrong with a body.
#[derive(Debug)]
pub(super) struct Wrong(Cow<'static, str>);

impl Wrong {
    fn of(self, what: &str) -> Error {
        Error::transient(format!("{what} could not be read: {}", self.0))
    }
}

impl From<&'static str> for Wrong {
    fn from(how: &'static str) -> Self {
        Self(how.into())
    }
}

impl From<serde_json::Error> for Wrong {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string().into())
    }
}

impl From<minicbor::decode::Error> for Wrong {
    fn from(error: minicbor::decode::Error) -> Self {
        Self(error.to_string().into())
    }
}

/// The records of a body, as they are read.
pub(super) struct Gathered {
    records: Vec<RawRecord>,
    texts: Texts,
}

impl Gathered {
    /// For so many records, whose keys and numbers have at most this length together.
    pub(super) fn new(count: usize, texts: usize) -> Self {
        // A record of nothing but its names is longer in any form: a number that lies reserves no more than its body could hold.
        Self { records: Vec::with_capacity(count.min(1 + texts / 32)), texts: Texts::new(texts) }
    }

    /// Adds the next record.
    pub(super) fn add(
        &mut self,
        sequence: &str,
        partition_key: Option<&str>,
        data: Bytes,
        arrived_at: Option<u64>,
        encryption: Encryption,
    ) -> Result<(), Wrong> {
        let sequence = SequenceNumber::parse(self.texts.keep(sequence)).ok_or("a sequence number that is not decimal")?;
        let partition_key = partition_key.map(|key| self.texts.keep(key));
        self.records.push(RawRecord { sequence, partition_key, data, arrived_at, encryption });
        Ok(())
    }

    fn into_records(self) -> Vec<RawRecord> {
        self.records
    }
}

/// Short texts side by side in buffers that live until the last of their texts is dropped. So a buffer is small: one record that waits
/// long holds no more than the texts of a few neighbours.
struct Texts {
    buffer: BytesMut,
    /// Bytes that may still come.
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

/// A number of milliseconds, rounded; none beyond the range in which a double counts them exactly.
pub(super) fn whole(millis: f64) -> Option<u64> {
    let millis = millis.round();
    (0.0..9e15).contains(&millis).then_some(millis as u64)
}

/// The hash keys from `start` to `end`, both in decimal.
pub(super) fn range(start: &str, end: &str) -> Result<HashRange, Wrong> {
    let key = |text: &str| text.parse().map_err(|_| Wrong::from("hash keys that are not decimal"));
    Ok(HashRange { start: key(start)?, end: key(end)? })
}

fn behind(millis: Option<i64>) -> u64 {
    u64::try_from(millis.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
