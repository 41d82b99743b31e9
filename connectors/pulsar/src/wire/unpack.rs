//! Reading entries: checksum, metadata, compression, and the messages of a batch.
//!
//! Payloads are slices of what was received or decompressed; a single message's payload is not copied.

use super::compression::{Compression, decompress};
use super::frame::{FrameError, MAGIC_BROKER_METADATA, MAGIC_CHECKSUM};
use super::messages::{KeyValue, MessageMetadata, SingleMessageMetadata};
use crate::crypto::Sealer;
use bytes::{Buf, Bytes};
use bytestring::ByteString;
use connector_sdk::{Properties, Record};
use prost::Message;

/// A payload that claims to be larger than this is damaged: nothing is reserved for it.
const MOST_UNCOMPRESSED: usize = 256 << 20;

/// Messages of a batch, at most: one that claims more is damaged, and nothing is kept track of for it.
const MOST_BATCHED: i32 = 1 << 20;

/// What a message takes inside a batch at the least: the size of its metadata.
const LEAST_BATCHED: usize = 4;

/// An entry taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The metadata outside.
    pub metadata: MessageMetadata,
    /// The messages, in order, as records without sequence and label.
    pub records: Vec<Record>,
    /// Each message's sequence id.
    pub sequences: Vec<i64>,
}

/// Takes an entry apart, from its first magic number on.
///
/// # Errors
/// When checksum, compression or layout are damaged.
pub fn unpack(entry: Bytes) -> Result<Entry, FrameError> {
    let (metadata, payload) = open(entry)?;
    unpack_payload(metadata, payload)
}

/// The messages of an entry whose payload is open and whole, but still compressed.
pub(crate) fn unpack_payload(metadata: MessageMetadata, payload: Bytes) -> Result<Entry, FrameError> {
    let payload = inflate(&metadata, payload)?;
    let Some(count) = metadata.num_messages_in_batch else {
        let record = record(payload, metadata.partition_key.clone(), metadata.event_time, &metadata.properties)?;
        let sequences = vec![metadata.sequence_id];
        return Ok(Entry { metadata, records: vec![record], sequences });
    };
    let (mut records, mut sequences) = (Vec::new(), Vec::new());
    for single in batched(payload, count) {
        let (single, value) = single?;
        sequences.push(single.sequence_id.unwrap_or(metadata.sequence_id));
        records.push(record(value, single.partition_key, single.event_time, &single.properties)?);
    }
    Ok(Entry { metadata, records, sequences })
}

/// Takes what this client encoded apart again: the frames of one entry, opened by the sealer that sealed them, chunks put together.
///
/// # Errors
/// When they are not frames of one entry, or were sealed by another.
pub(crate) fn unpack_own(frames: &[Bytes], sealer: Option<&Sealer>) -> Result<Entry, FrameError> {
    let mut whole: Option<(MessageMetadata, Vec<Bytes>)> = None;
    for frame in frames {
        let entry = entry_of(frame.clone())?;
        let (metadata, mut payload) = open(entry)?;
        if let Some(sealer) = sealer {
            let param = metadata.encryption_param.as_deref().unwrap_or_default();
            payload = sealer.open(param, &payload).ok_or(FrameError::Entry("it was sealed by another key"))?;
        }
        whole.get_or_insert_with(|| (metadata, Vec::new())).1.push(payload);
    }
    let (metadata, mut parts) = whole.ok_or(FrameError::Entry("it has no frame"))?;
    let payload = if parts.len() == 1 { parts.remove(0) } else { parts.concat().into() };
    unpack_payload(metadata, payload)
}

/// A whole SEND or MESSAGE frame from its first magic number on.
fn entry_of(mut frame: Bytes) -> Result<Bytes, FrameError> {
    take(&mut frame, 4)?;
    let command = take_size(&mut frame)?;
    take(&mut frame, command)?;
    Ok(frame)
}

/// An entry's metadata and its payload as it was sent, from its first magic number on; the broker's own metadata is skipped, the
/// checksum, where there is one, is compared.
///
/// # Errors
/// When the checksum does not fit, or the metadata does not parse or claims what cannot be.
pub fn open(mut entry: Bytes) -> Result<(MessageMetadata, Bytes), FrameError> {
    if peek_magic(&entry) == Some(MAGIC_BROKER_METADATA) {
        entry.advance(2);
        let size = take_size(&mut entry)?;
        take(&mut entry, size)?;
    }
    if peek_magic(&entry) == Some(MAGIC_CHECKSUM) {
        entry.advance(2);
        let announced = take_size(&mut entry)?;
        if crc32c::crc32c(&entry) as usize != announced {
            return Err(FrameError::Entry("its checksum does not fit"));
        }
    }
    let size = take_size(&mut entry)?;
    let metadata = MessageMetadata::decode(take(&mut entry, size)?).map_err(|_| FrameError::Entry("its metadata does not parse"))?;
    if metadata.num_messages_in_batch.is_some_and(|count| !(0..=MOST_BATCHED).contains(&count)) {
        return Err(FrameError::Entry("it claims a number of messages that no batch has"));
    }
    Ok((metadata, entry))
}

/// The payload as it was before compression.
///
/// # Errors
/// When the compression is not known or its result is not what the metadata announces.
pub fn inflate(metadata: &MessageMetadata, payload: Bytes) -> Result<Bytes, FrameError> {
    let kind = Compression::from_number(metadata.compression.unwrap_or(0)).ok_or(FrameError::Entry("its compression is not known"))?;
    let size = metadata.uncompressed_size.unwrap_or(0) as usize;
    match kind {
        Compression::None => Ok(payload),
        _ if size > MOST_UNCOMPRESSED => Err(FrameError::Entry("its payload claims to be larger than any message")),
        _ => decompress(kind, &payload, size).map_err(FrameError::Entry),
    }
}

/// Whether a batch's payload is long enough for so many messages.
pub(crate) fn has_room_for(count: i32, payload: &Bytes) -> bool {
    usize::try_from(count).is_ok_and(|count| count <= payload.len() / LEAST_BATCHED)
}

/// The messages of a batch's payload, in order; the first error is the last item.
pub fn batched(mut payload: Bytes, count: i32) -> impl Iterator<Item = Result<(SingleMessageMetadata, Bytes), FrameError>> {
    let mut left = count.max(0);
    std::iter::from_fn(move || {
        if left == 0 {
            if payload.is_empty() {
                return None;
            }
            payload.clear();
            return Some(Err(FrameError::Entry("bytes are left behind its last message")));
        }
        left -= 1;
        let next = next_batched(&mut payload);
        if next.is_err() {
            left = 0;
            payload.clear();
        }
        Some(next)
    })
}

fn next_batched(payload: &mut Bytes) -> Result<(SingleMessageMetadata, Bytes), FrameError> {
    let size = take_size(payload)?;
    let single =
        SingleMessageMetadata::decode(take(payload, size)?).map_err(|_| FrameError::Entry("a message's metadata does not parse"))?;
    let value = take(payload, usize::try_from(single.payload_size).unwrap_or(usize::MAX))?;
    Ok((single, value))
}

/// A message's properties, in memory of their own size.
pub(crate) fn properties(pairs: &[KeyValue]) -> Properties {
    let size = pairs.iter().map(|pair| Properties::size_of(&pair.key, &pair.value)).sum();
    let mut properties = Properties::with_capacity(size);
    properties.extend(pairs.iter().map(|pair| (&pair.key, &pair.value)));
    properties
}

fn record(value: Bytes, key: Option<Bytes>, event_time: Option<u64>, pairs: &[KeyValue]) -> Result<Record, FrameError> {
    let properties = properties(pairs);
    let key = key.map(ByteString::try_from).transpose().map_err(|_| FrameError::Entry("a key is not text"))?;
    Ok(Record { value, key, event_time, properties, ..Record::default() })
}

fn peek_magic(entry: &Bytes) -> Option<u16> {
    entry.first_chunk::<2>().map(|magic| u16::from_be_bytes(*magic))
}

fn take_size(bytes: &mut Bytes) -> Result<usize, FrameError> {
    bytes.try_get_u32().map(|size| size as usize).map_err(|_| FrameError::Entry("it ends too early"))
}

fn take(bytes: &mut Bytes, size: usize) -> Result<Bytes, FrameError> {
    if size > bytes.len() { Err(FrameError::Entry("it ends too early")) } else { Ok(bytes.split_to(size)) }
}
