//! The CBOR of answers, events and refusals: `application/x-amz-cbor-1.1`. Instants are tag 1 over milliseconds, payloads are bytes.
//!
//! Members that are not known are skipped, whatever they hold. Anything else that is not as the service writes it is an error: no
//! record is guessed, none is left out.

use super::answer::{Body, Gathered, Wrong, range, whole};
use crate::port::{ChildShard, Encryption};
use minicbor::data::Type;
use minicbor::decode::{Decoder, Error};
use std::borrow::Cow;

/// What the service says of a call that it refuses.
#[derive(Default)]
pub(super) struct Refusal {
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

/// Reads an answer or an event.
pub(super) fn body(bytes: &[u8]) -> Result<Body, Wrong> {
    let mut from = Decoder::new(bytes);
    let mut read = Body::default();
    members(&mut from, |from, name| match name {
        "Records" => once(&mut read.records, optional(from, records)?),
        "MillisBehindLatest" => once(&mut read.millis_behind, optional(from, |from| Ok(from.i64()?))?),
        "ChildShards" => once(&mut read.children, optional(from, |from| list(from, child))?),
        "NextShardIterator" => once(&mut read.next_iterator, optional(from, owned)?),
        "ContinuationSequenceNumber" => once(&mut read.continuation, optional(from, owned)?),
        _ => Ok(from.skip()?),
    })?;
    if from.position() < bytes.len() {
        return Err(Wrong::from("it goes on behind its end"));
    }
    Ok(read)
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

fn records(from: &mut Decoder<'_>) -> Result<Gathered, Wrong> {
    let mut left = from.array()?;
    let rest = from.input().len() - from.position();
    let mut gathered = Gathered::new(left.and_then(|count| usize::try_from(count).ok()).unwrap_or_default(), rest);
    while more(from, &mut left)? {
        record(from, &mut gathered)?;
    }
    Ok(gathered)
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
    gathered.add(&sequence, key.as_deref(), data.into_owned().into(), arrived_at.flatten(), encryption)
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
        let name = text(from)?;
        read(from, &name)?;
    }
    Ok(())
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
        None if from.datatype()? == Type::Break => from.skip().map(|()| false),
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
    match from.datatype()? {
        Type::Null | Type::Undefined => Ok(from.skip().map(|()| None)?),
        _ => read(from).map(Some),
    }
}

/// A text; copied only where it came in pieces.
fn text<'b>(from: &mut Decoder<'b>) -> Result<Cow<'b, str>, Wrong> {
    match from.datatype()? {
        Type::StringIndef => Ok(Cow::Owned(from.str_iter()?.collect::<Result<String, Error>>()?)),
        _ => Ok(Cow::Borrowed(from.str()?)),
    }
}

fn owned(from: &mut Decoder<'_>) -> Result<String, Wrong> {
    text(from).map(Cow::into_owned)
}

fn payload<'b>(from: &mut Decoder<'b>) -> Result<Cow<'b, [u8]>, Wrong> {
    match from.datatype()? {
        Type::BytesIndef => Ok(Cow::Owned(from.bytes_iter()?.collect::<Result<Vec<&[u8]>, Error>>()?.concat())),
        _ => Ok(Cow::Borrowed(from.bytes()?)),
    }
}

/// Milliseconds since the epoch; none where they cannot be.
fn instant(from: &mut Decoder<'_>) -> Result<Option<u64>, Wrong> {
    if from.datatype()? == Type::Tag {
        from.tag()?;
    }
    Ok(match from.datatype()? {
        Type::F16 | Type::F32 | Type::F64 => whole(from.f64()?),
        _ => u64::try_from(from.i64()?).ok(),
    })
}
