//! The CBOR of answers, events and refusals: `application/x-amz-cbor-1.1`. Instants are tag 1 over milliseconds, payloads are bytes.
//!
//! Members that are not known are skipped, whatever they hold. Anything else that is not as the service writes it is an error: no
//! record is guessed, none is left out.

use super::answer::{Body, Gathered, Wrong, range, whole};
use crate::port::{ChildShard, Encryption};
use minicbor::decode::{Decoder, Error};
use std::borrow::Cow;

/// The first byte of an item, which tells its kind (RFC 8949, appendix B).
mod kind {
    pub(super) const BYTES_IN_PIECES: u8 = 0x5f;
    pub(super) const TEXT_IN_PIECES: u8 = 0x7f;
    pub(super) const TAG: std::ops::RangeInclusive<u8> = 0xc0..=0xdb;
    pub(super) const NOTHING: std::ops::RangeInclusive<u8> = 0xf6..=0xf7;
    pub(super) const FRACTION: std::ops::RangeInclusive<u8> = 0xf9..=0xfb;
    pub(super) const BREAK: u8 = 0xff;
}

/// The members of a record, as they are written.
const MEMBERS: [(&[u8], &str); 5] = [
    (b"\x6eSequenceNumber", "SequenceNumber"),
    (b"\x78\x1bApproximateArrivalTimestamp", "ApproximateArrivalTimestamp"),
    (b"\x64Data", "Data"),
    (b"\x6cPartitionKey", "PartitionKey"),
    (b"\x6eEncryptionType", "EncryptionType"),
];

/// What the service says of a call that it refuses.
#[derive(Default)]
pub(super) struct Refusal {
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

/// An answer or an event that is read while it arrives: each record is complete when its last byte is there, and what came in
/// pieces is held only while one of them ends in the middle of a record.
pub(super) struct Reading {
    at: At,
    body: Body,
    records: Gathered,
    /// The beginning of what the next piece completes.
    carry: Vec<u8>,
    wrong: Option<Wrong>,
}

/// What comes next, and how many of it where that was said.
#[derive(Clone, Copy)]
enum At {
    Start,
    Members(Option<u64>),
    Records { left: Option<u64>, members: Option<u64> },
    End,
}

impl Reading {
    /// The least that is added to the beginning of a record before it is looked at again.
    const STEP: usize = 512;

    /// Of a body of at most `length` bytes.
    pub(super) fn new(length: usize) -> Self {
        Self { at: At::Start, body: Body::default(), records: Gathered::new(length), carry: Vec::new(), wrong: None }
    }

    /// Reads the next piece.
    pub(super) fn take(&mut self, mut piece: &[u8]) {
        while !self.carry.is_empty() && !piece.is_empty() {
            let begun = self.carry.len();
            let (next, behind) = piece.split_at(begun.max(Self::STEP).min(piece.len()));
            let mut whole = std::mem::take(&mut self.carry);
            whole.extend_from_slice(next);
            match self.read(&whole).checked_sub(begun) {
                // The record goes on behind what was added.
                None => (self.carry, piece) = (whole, behind),
                Some(used) => piece = &piece[used..],
            }
        }
        let used = self.read(piece);
        self.carry.extend_from_slice(&piece[used..]);
    }

    /// What all pieces came to.
    pub(super) fn finish(mut self) -> Result<Body, Wrong> {
        match (self.wrong, self.at) {
            (Some(wrong), _) => Err(wrong),
            (None, At::End) => {
                self.body.records = self.records.into_records()?;
                Ok(self.body)
            }
            (None, _) => Err(Wrong::from("it ends too early")),
        }
    }

    /// Reads what is complete; where that ends.
    fn read(&mut self, bytes: &[u8]) -> usize {
        let mut from = Decoder::new(bytes);
        while self.wrong.is_none() {
            let (start, at) = (from.position(), self.at);
            if start == bytes.len() {
                return start;
            }
            match self.next(&mut from) {
                Ok(()) => {}
                Err(wrong) if wrong.is_short() => {
                    self.at = at;
                    return start;
                }
                Err(wrong) => self.wrong = Some(wrong),
            }
        }
        bytes.len()
    }

    /// Reads one thing: a record, another member, or what stands around them. Nothing but the place has changed when it is not complete.
    fn next(&mut self, from: &mut Decoder<'_>) -> Result<(), Wrong> {
        match &mut self.at {
            At::Start => self.at = At::Members(from.map()?),
            At::Members(left) => match more(from, left)? {
                true => self.member(from)?,
                false => self.at = At::End,
            },
            At::Records { left, members } => match more(from, left)? {
                true => record(from, &mut self.records)?,
                false => self.at = At::Members(*members),
            },
            At::End => return Err(Wrong::from("it goes on behind its end")),
        }
        // What ends with its last item ends now: there may be no byte more to tell.
        loop {
            match self.at {
                At::Records { left: Some(0), members } => self.at = At::Members(members),
                At::Members(Some(0)) => self.at = At::End,
                _ => return Ok(()),
            }
        }
    }

    fn member(&mut self, from: &mut Decoder<'_>) -> Result<(), Wrong> {
        let body = &mut self.body;
        match &*text(from)? {
            "Records" => {
                let left = optional(from, |from| Ok(from.array()?))?;
                if let (Some(left), At::Members(members)) = (left, self.at) {
                    if std::mem::replace(&mut self.records.begun, true) {
                        return Err(Wrong::from("records that are there twice"));
                    }
                    self.records.expect(left);
                    self.at = At::Records { left, members };
                }
                Ok(())
            }
            "MillisBehindLatest" => once(&mut body.millis_behind, optional(from, |from| Ok(from.i64()?))?),
            "ChildShards" => once(&mut body.children, optional(from, |from| list(from, child))?),
            "NextShardIterator" => once(&mut body.next_iterator, optional(from, owned)?),
            "ContinuationSequenceNumber" => once(&mut body.continuation, optional(from, owned)?),
            _ => Ok(from.skip()?),
        }
    }
}

/// Reads the body of a refusal; none when it is not one.
pub(super) fn refusal(bytes: &[u8]) -> Option<Refusal> {
    let mut from = Decoder::new(bytes);
    let mut refusal = Refusal::default();
    let read = members(&mut from, |from, name| match name {
        "__type" => once(&mut refusal.code, optional(from, owned)?),
        "message" | "Message" => once(&mut refusal.message, optional(from, owned)?),
        _ => Ok(from.skip()?),
    });
    read.is_ok().then_some(refusal)
}

fn record(from: &mut Decoder<'_>, gathered: &mut Gathered) -> Result<(), Wrong> {
    let (mut sequence, mut key, mut data, mut arrived_at, mut encryption) = (None, None, None, None, None);
    members(from, |from, name| match name {
        "SequenceNumber" => once(&mut sequence, Some(text(from)?)),
        "PartitionKey" => once(&mut key, optional(from, text)?),
        "Data" => once(&mut data, Some(payload(from)?)),
        "ApproximateArrivalTimestamp" => once(&mut arrived_at, optional(from, instant)?),
        "EncryptionType" => once(&mut encryption, optional(from, text)?),
        _ => Ok(from.skip()?),
    })?;
    let missing = |what: &'static str| move || Wrong::from(what);
    let sequence = sequence.ok_or_else(missing("a record without a sequence number"))?;
    let data = data.ok_or_else(missing("a record without a payload"))?;
    let encryption = if encryption.as_deref() == Some("KMS") { Encryption::Kms } else { Encryption::None };
    gathered.add(&sequence, key.as_deref(), data, arrived_at.flatten(), encryption)
}

fn child(from: &mut Decoder<'_>) -> Result<ChildShard, Wrong> {
    let (mut id, mut parents, mut keys) = (None, None, None);
    members(from, |from, name| match name {
        "ShardId" => once(&mut id, Some(text(from)?.into_owned())),
        "ParentShards" => once(&mut parents, optional(from, |from| list(from, |from| Ok(text(from)?.into_owned().into())))?),
        "HashKeyRange" => once(&mut keys, Some(hash_keys(from)?)),
        _ => Ok(from.skip()?),
    })?;
    let (Some(id), Some(keys)) = (id, keys) else { return Err(Wrong::from("a child shard without its id or its hash keys")) };
    Ok(ChildShard { id: id.into(), parents: parents.unwrap_or_default(), range: keys })
}

fn hash_keys(from: &mut Decoder<'_>) -> Result<crate::ids::HashRange, Wrong> {
    let (mut start, mut end) = (None, None);
    members(from, |from, name| match name {
        "StartingHashKey" => once(&mut start, Some(text(from)?)),
        "EndingHashKey" => once(&mut end, Some(text(from)?)),
        _ => Ok(from.skip()?),
    })?;
    range(&start.unwrap_or_default(), &end.unwrap_or_default())
}

/// Walks a map with names; `read` takes each value.
fn members<'b>(from: &mut Decoder<'b>, mut read: impl FnMut(&mut Decoder<'b>, &str) -> Result<(), Wrong>) -> Result<(), Wrong> {
    let mut left = from.map()?;
    while more(from, &mut left)? {
        match MEMBERS.iter().find(|(written, _)| rest(from).starts_with(written)) {
            // Told by its bytes: it need not be proved to be text.
            Some((written, name)) => {
                from.set_position(from.position() + written.len());
                read(from, name)?;
            }
            None => {
                let name = text(from)?;
                read(from, &name)?;
            }
        }
    }
    Ok(())
}

/// What has not been read.
fn rest<'b>(from: &Decoder<'b>) -> &'b [u8] {
    from.input().get(from.position()..).unwrap_or_default()
}

/// The first byte of what comes next.
fn first_byte(from: &Decoder<'_>) -> Option<u8> {
    rest(from).first().copied()
}

fn list<'b, T>(from: &mut Decoder<'b>, mut read: impl FnMut(&mut Decoder<'b>) -> Result<T, Wrong>) -> Result<Vec<T>, Wrong> {
    let mut left = from.array()?;
    let mut all = Vec::new();
    while more(from, &mut left)? {
        all.push(read(from)?);
    }
    Ok(all)
}

/// Whether another item of a map or a list follows; `left` counts them where their number was said.
fn more(from: &mut Decoder<'_>, left: &mut Option<u64>) -> Result<bool, Error> {
    match left {
        Some(0) => Ok(false),
        Some(left) => {
            *left -= 1;
            Ok(true)
        }
        None if first_byte(from) == Some(kind::BREAK) => from.skip().map(|()| false),
        None => Ok(true),
    }
}

fn once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), Wrong> {
    if place.is_some() {
        return Err(Wrong::from("a member that is there twice"));
    }
    *place = value;
    Ok(())
}

fn optional<'b, T>(from: &mut Decoder<'b>, read: impl FnOnce(&mut Decoder<'b>) -> Result<T, Wrong>) -> Result<Option<T>, Wrong> {
    match first_byte(from) {
        Some(byte) if kind::NOTHING.contains(&byte) => Ok(from.skip().map(|()| None)?),
        _ => read(from).map(Some),
    }
}

/// A text; copied only where it came in pieces.
fn text<'b>(from: &mut Decoder<'b>) -> Result<Cow<'b, str>, Wrong> {
    match first_byte(from) {
        Some(kind::TEXT_IN_PIECES) => Ok(Cow::Owned(from.str_iter()?.collect::<Result<String, Error>>()?)),
        _ => Ok(Cow::Borrowed(from.str()?)),
    }
}

fn owned(from: &mut Decoder<'_>) -> Result<String, Wrong> {
    text(from).map(Cow::into_owned)
}

fn payload<'b>(from: &mut Decoder<'b>) -> Result<Cow<'b, [u8]>, Wrong> {
    match first_byte(from) {
        Some(kind::BYTES_IN_PIECES) => Ok(Cow::Owned(from.bytes_iter()?.collect::<Result<Vec<&[u8]>, Error>>()?.concat())),
        _ => Ok(Cow::Borrowed(from.bytes()?)),
    }
}

/// Milliseconds since the epoch; none where they cannot be.
fn instant(from: &mut Decoder<'_>) -> Result<Option<u64>, Wrong> {
    if first_byte(from).is_some_and(|byte| kind::TAG.contains(&byte)) {
        from.tag()?;
    }
    Ok(match first_byte(from) {
        Some(byte) if kind::FRACTION.contains(&byte) => whole(from.f64()?),
        _ => u64::try_from(from.i64()?).ok(),
    })
}
