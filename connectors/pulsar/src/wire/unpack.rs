//! Reading entries back: what a refused batch is cut into its messages with, and what tests read a broker's side with.
//!
//! Never used on the way of a record that is stored.

use super::compression::{Compression, decompress};
use super::frame::{FrameError, MAGIC_BROKER_METADATA, MAGIC_CHECKSUM};
use super::messages::{KeyValue, MessageMetadata, SingleMessageMetadata};
use bytes::{Buf, Bytes};
use connector_sdk::{Properties, Record};
use prost::Message;

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
pub fn unpack(mut entry: Bytes) -> Result<Entry, FrameError> {
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
    let compression =
        Compression::from_number(metadata.compression.unwrap_or(0)).ok_or(FrameError::Entry("its compression is not known"))?;
    let payload = match compression {
        Compression::None => entry,
        _ => decompress(compression, &entry, metadata.uncompressed_size.unwrap_or(0) as usize).map_err(FrameError::Entry)?,
    };
    match metadata.num_messages_in_batch {
        None => {
            let record = record(payload, metadata.partition_key.clone(), metadata.event_time, &metadata.properties);
            let sequences = vec![metadata.sequence_id];
            Ok(Entry { metadata, records: vec![record], sequences })
        }
        Some(count) => unpack_batch(metadata, payload, usize::try_from(count).unwrap_or(0)),
    }
}

fn unpack_batch(metadata: MessageMetadata, mut payload: Bytes, count: usize) -> Result<Entry, FrameError> {
    let mut records = Vec::new();
    let mut sequences = Vec::new();
    for _ in 0..count {
        let size = take_size(&mut payload)?;
        let single = SingleMessageMetadata::decode(take(&mut payload, size)?)
            .map_err(|_| FrameError::Entry("a message's metadata does not parse"))?;
        let value = take(&mut payload, usize::try_from(single.payload_size).unwrap_or(usize::MAX))?;
        sequences.push(single.sequence_id.unwrap_or(metadata.sequence_id));
        records.push(record(value, single.partition_key, single.event_time, &single.properties));
    }
    if payload.has_remaining() {
        return Err(FrameError::Entry("bytes are left behind its last message"));
    }
    Ok(Entry { metadata, records, sequences })
}

fn record(value: Bytes, key: Option<String>, event_time: Option<u64>, pairs: &[KeyValue]) -> Record {
    let mut properties = Properties::with_capacity(pairs.len());
    for pair in pairs {
        properties.push(pair.key.as_str(), pair.value.as_str());
    }
    Record { value, key: key.map(Into::into), event_time, properties, ..Record::default() }
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
