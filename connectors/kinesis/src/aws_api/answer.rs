//! From the body of an answer or an event to records, while it arrives. Each payload is copied or decoded once, straight into its own
//! buffer; keys and numbers, which are short and outlive it, share a few buffers. A body that is not as the service writes it is an
//! error as a whole.

use super::{cbor, json, wire};
use crate::ids::{HashRange, SequenceNumber};
use crate::port::{ChildShard, Encryption, RawRecord};
use crate::retrieval::Event;
use bytes::Bytes;
use bytestring::ByteString;
use connector_sdk::Error;
use std::borrow::Cow;

/// The most records of an answer.
const LARGEST_COUNT: usize = 10_000;

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

/// An answer or an event that is read while it arrives: CBOR piece by piece, JSON when it is whole.
pub(super) struct Reading {
    length: Option<usize>,
    form: Form,
}

enum Form {
    Unknown,
    Json(Vec<u8>),
    Cbor(Box<cbor::Reading>),
}

impl Reading {
    /// Of a body of `length` bytes, where that is known.
    pub(super) fn new(length: Option<usize>) -> Self {
        Self { length, form: Form::Unknown }
    }

    /// Reads the next piece, which is not empty.
    pub(super) fn take(&mut self, piece: &[u8]) {
        if let Form::Unknown = self.form {
            self.form = match wire::is_json(piece) {
                true => Form::Json(Vec::with_capacity(self.length.unwrap_or_default())),
                false => Form::Cbor(Box::new(cbor::Reading::new(self.length.unwrap_or(usize::MAX)))),
            };
        }
        match &mut self.form {
            Form::Json(body) => body.extend_from_slice(piece),
            Form::Cbor(reading) => reading.take(piece),
            Form::Unknown => {}
        }
    }

    /// Whether it is CBOR.
    pub(super) fn is_cbor(&self) -> bool {
        matches!(self.form, Form::Cbor(_))
    }

    /// What it came to, as a GetRecords answer.
    pub(super) fn records(self) -> Result<Records, Error> {
        let body = self.finish().map_err(|wrong| wrong.of("the answer"))?;
        Ok(Records {
            records: body.records,
            next_iterator: body.next_iterator.filter(|iterator| !iterator.is_empty()),
            millis_behind: behind(body.millis_behind),
            children: body.children.unwrap_or_default(),
        })
    }

    /// What it came to, as an event of a subscription.
    pub(super) fn event(self) -> Result<Event, Error> {
        let body = self.finish().map_err(|wrong| wrong.of("an event"))?;
        let continuation = match body.continuation.filter(|number| !number.is_empty()) {
            Some(number) => {
                let wrong = || Wrong::from("a continuation number that is not decimal").of("an event");
                Some(SequenceNumber::parse(number).ok_or_else(wrong)?)
            }
            None => None,
        };
        Ok(Event {
            records: body.records,
            continuation,
            millis_behind: behind(body.millis_behind),
            children: body.children.unwrap_or_default(),
        })
    }

    fn finish(self) -> Result<Body, Wrong> {
        match self.form {
            Form::Json(body) => json::body(&body),
            Form::Cbor(reading) => reading.finish(),
            Form::Unknown => Err(Wrong::from("it is empty")),
        }
    }
}

/// What may stand in an answer or in an event.
#[derive(Default)]
pub(super) struct Body {
    pub(super) records: Vec<RawRecord>,
    pub(super) next_iterator: Option<String>,
    pub(super) continuation: Option<String>,
    pub(super) millis_behind: Option<i64>,
    pub(super) children: Option<Vec<ChildShard>>,
}

/// What is wrong with a body.
#[derive(Debug)]
pub(super) struct Wrong {
    how: Cow<'static, str>,
    short: bool,
}

impl Wrong {
    /// Whether it only lacks what comes behind its end.
    pub(super) fn is_short(&self) -> bool {
        self.short
    }

    fn of(self, what: &str) -> Error {
        Error::transient(format!("{what} could not be read: {}", self.how))
    }
}

impl From<&'static str> for Wrong {
    fn from(how: &'static str) -> Self {
        Self { how: how.into(), short: false }
    }
}

impl From<serde_json::Error> for Wrong {
    fn from(error: serde_json::Error) -> Self {
        Self { how: error.to_string().into(), short: false }
    }
}

impl From<minicbor::decode::Error> for Wrong {
    fn from(error: minicbor::decode::Error) -> Self {
        // In most cases it lacks a piece that is about to come: nothing is written for that.
        let short = error.is_end_of_input();
        Self { how: if short { "it ends too early".into() } else { error.to_string().into() }, short }
    }
}

/// The records of a body, as they are read. Their keys and numbers stand side by side in buffers that live until the last of their texts
/// is dropped. So a buffer is small: one record that waits long holds no more than the texts of a few neighbours.
pub(super) struct Gathered {
    records: Vec<RawRecord>,
    /// The texts of the youngest records. They are cut apart together, when there is no room for more: an atomic count between two
    /// payloads would wait until the first is written to memory.
    texts: String,
    youngest: Vec<Young>,
    /// Bytes of texts that may still come.
    left: usize,
    /// Whether their list has been seen.
    pub(super) begun: bool,
}

/// A record whose texts are known by their lengths.
struct Young {
    sequence_len: usize,
    key_len: Option<usize>,
    data: Bytes,
    arrived_at: Option<u64>,
    encryption: Encryption,
}

impl Gathered {
    /// The largest buffer: the texts of about fifty records.
    const BUFFER: usize = 4 * 1024;

    /// For records whose keys and numbers have at most this length together.
    pub(super) fn new(texts: usize) -> Self {
        Self { records: Vec::new(), texts: String::new(), youngest: Vec::new(), left: texts, begun: false }
    }

    /// So many will come, as far as was said.
    pub(super) fn expect(&mut self, count: Option<u64>) {
        // In any form a record is longer than that: a number that lies reserves no more than what its body could hold.
        let most = (self.left / 32).min(LARGEST_COUNT);
        self.records.reserve(count.and_then(|count| usize::try_from(count).ok()).unwrap_or_default().min(most));
    }

    /// Adds the next record. Its payload is copied last: what was written just before, and is read again at once, would else wait behind
    /// the copy.
    pub(super) fn add(
        &mut self,
        sequence: &str,
        partition_key: Option<&str>,
        data: Cow<'_, [u8]>,
        arrived_at: Option<u64>,
        encryption: Encryption,
    ) -> Result<(), Wrong> {
        let texts = sequence.len() + partition_key.map_or(0, str::len);
        if self.texts.capacity() - self.texts.len() < texts {
            self.make()?;
            self.texts = String::with_capacity(self.left.min(Self::BUFFER).max(texts));
        }
        self.left = self.left.saturating_sub(texts);
        self.texts.push_str(sequence);
        self.texts.push_str(partition_key.unwrap_or_default());
        let (sequence_len, key_len) = (sequence.len(), partition_key.map(str::len));
        self.youngest.push(Young { sequence_len, key_len, data: data.into_owned().into(), arrived_at, encryption });
        Ok(())
    }

    /// All of them, in order.
    pub(super) fn into_records(mut self) -> Result<Vec<RawRecord>, Wrong> {
        self.make()?;
        Ok(self.records)
    }

    fn make(&mut self) -> Result<(), Wrong> {
        let texts = ByteString::from(std::mem::take(&mut self.texts));
        let mut rest: &str = &texts;
        let mut next = |length| {
            let (text, behind) = rest.split_at(length);
            rest = behind;
            texts.slice_ref(text)
        };
        for Young { sequence_len, key_len, data, arrived_at, encryption } in self.youngest.drain(..) {
            let sequence = SequenceNumber::parse(next(sequence_len)).ok_or("a sequence number that is not decimal")?;
            let partition_key = key_len.map(&mut next);
            self.records.push(RawRecord { sequence, partition_key, data, arrived_at, encryption });
        }
        Ok(())
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
