//! Encoding of entries: one message, a batch of several, or one message cut into chunks, as whole SEND frames.
//!
//! A payload is compressed, then sealed where there is a sealer, then framed; of chunks the whole is compressed and each is sealed.
//! This is the hot path. The metadata is written by hand into buffers that are kept; each frame costs one allocation of its own
//! size. A single message is never written in batch layout, because readers go by the presence of the batch count.

use super::compression::{Compression, Compressor};
use super::frame::{MAGIC_CHECKSUM, length};
use super::messages::kind;
use crate::crypto::Sealer;
use bytes::{BufMut, Bytes, BytesMut};
use connector_sdk::Record;
use prost::encoding::{encode_varint, encoded_len_varint};
use std::sync::Arc;

/// How the records of an entry are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// The first record's sequence id; the others follow without gaps.
    From(i64),
    /// Each record brings its own, [`Record::sequence`]: strictly rising within an entry, gaps are legal.
    OfRecords,
}

impl Numbers {
    /// The sequence id of the record at this place of an entry.
    fn of(self, at: usize, record: &Record) -> i64 {
        match self {
            Self::From(first) => first + i64::try_from(at).expect("a batch is far below i64::MAX"),
            Self::OfRecords => {
                let number = record.sequence.expect("whoever chooses the records' own numbers has seen that each has one");
                i64::try_from(number).expect("a record's number is below 2^63")
            }
        }
    }
}

/// What an entry is stamped with beside its records.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// The producer on its connection.
    pub producer_id: u64,
    /// The producer's name.
    pub producer_name: &'a str,
    /// The records' sequence ids.
    pub numbers: Numbers,
    /// Milliseconds since the epoch.
    pub publish_time: u64,
    /// What the broker calls the schema that the producer declared; never empty.
    pub schema_version: Option<&'a [u8]>,
    /// The records share a key, and batches of other keys lie between their numbers: the entry is named by its highest number
    /// alone, and the broker's deduplication judges it by that.
    pub by_key: bool,
}

/// An encoded SEND, or the several of a message in chunks.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// The whole frames, in order; one, but for chunks.
    pub frames: Frames,
    /// The sequence id that a receipt names: the lowest in it, or the highest of a batch by key.
    pub sequence: i64,
    /// The highest sequence id in it, which a refusal names.
    pub highest: i64,
    /// Metadata and payload, as a topic's own size limit counts them; of all chunks together.
    pub entry_size: usize,
    /// The size the broker's `max_message_size` is compared with: for a batch its payload, else metadata and payload; of the largest
    /// chunk.
    pub judged_size: usize,
    /// What it was sealed by, to read it back.
    pub(crate) sealer: Option<Arc<Sealer>>,
}

/// The frames of an entry.
#[derive(Debug, Clone)]
pub enum Frames {
    /// Of an entry that is one message or one batch.
    One(Bytes),
    /// Of one message, cut.
    Chunks(Vec<Bytes>),
}

impl Frames {
    /// All of them, in order.
    pub fn as_slice(&self) -> &[Bytes] {
        match self {
            Self::One(frame) => std::slice::from_ref(frame),
            Self::Chunks(frames) => frames,
        }
    }
}

/// Chunks of a message, at most: all of them are handed to a connection at once.
const MOST_CHUNKS: usize = 200;

/// Encodes entries, keeping its buffers between them.
pub struct Encoder {
    compressor: Compressor,
    sealer: Option<Arc<Sealer>>,
    payload: Vec<u8>,
    metadata: Vec<u8>,
    sealed: Vec<u8>,
}

impl Encoder {
    /// An encoder that compresses in this way and encrypts nothing.
    ///
    /// # Errors
    /// When the compression library cannot be set up.
    pub fn new(compression: Compression) -> std::io::Result<Self> {
        let (payload, metadata, sealed) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { compressor: Compressor::new(compression)?, sealer: None, payload, metadata, sealed })
    }

    /// From now on payloads are sealed by this data key.
    pub(crate) fn seal_by(&mut self, sealer: Arc<Sealer>) {
        self.sealer = Some(sealer);
    }

    /// Encodes the records as one entry: alone when there is one, else as a batch.
    ///
    /// # Panics
    /// When there are no records; with [`Numbers::OfRecords`] when one has no number.
    pub fn encode(&mut self, stamp: Stamp<'_>, records: &[Record]) -> Encoded {
        let first = records.first().expect("an entry holds at least one record");
        let last = records.last().unwrap_or(first);
        let batch = records.len() > 1;
        let (lowest, highest) = (stamp.numbers.of(0, first), stamp.numbers.of(records.len() - 1, last));
        let sequence = if stamp.by_key { highest } else { lowest };
        let Self { compressor, sealer, payload, metadata, sealed } = self;
        let plain: &[u8] = if batch {
            payload.clear();
            for (at, record) in records.iter().enumerate() {
                put_batched(payload, record, stamp.numbers.of(at, record));
            }
            payload
        } else {
            &first.value
        };
        let (compression, body) = compressor.compress(plain);

        put_head(metadata, stamp, sequence, first, batch);
        put_compression(metadata, compression, plain.len(), batch);
        if batch {
            put_number(metadata, 11, records.len() as u64);
        } else if let Some(time) = first.event_time {
            put_number(metadata, 12, time);
        }
        let body = seal(sealer.as_deref(), metadata, sealed, body);
        if let Some(version) = stamp.schema_version {
            put_text(metadata, 16, version);
        }
        if batch {
            put_number(metadata, 24, unsigned(highest));
        }

        let mut command = send(stamp, sequence);
        if batch {
            put_number(&mut command, 3, records.len() as u64);
            put_number(&mut command, 6, unsigned(highest));
        }
        let frames = Frames::One(assemble(&command, metadata, body));
        let entry_size = metadata.len() + body.len();
        let judged_size = if batch { body.len() } else { entry_size };
        Encoded { frames, sequence, highest, entry_size, judged_size, sealer: sealer.clone() }
    }

    /// Encodes one record as chunks, each of which a broker with this `max_message_size` takes: compressed whole, cut, sealed one by
    /// one. Nothing when metadata leave no room, or when it would be more than 200 chunks.
    ///
    /// # Panics
    /// With [`Numbers::OfRecords`] when the record has no number.
    pub fn encode_chunks(&mut self, stamp: Stamp<'_>, record: &Record, max_message_size: usize) -> Option<Encoded> {
        let sequence = stamp.numbers.of(0, record);
        let Self { compressor, sealer, metadata, sealed, .. } = self;
        let (compression, body) = compressor.compress(&record.value);
        put_head(metadata, stamp, sequence, record, false);
        put_compression(metadata, compression, record.value.len(), false);
        if let Some(time) = record.event_time {
            put_number(metadata, 12, time);
        }
        if let Some(version) = stamp.schema_version {
            put_text(metadata, 16, version);
        }
        let uuid = format!("{}-{sequence}", stamp.producer_name);
        put_text(metadata, 26, uuid.as_bytes());
        put_number(metadata, 28, body.len() as u64);
        // What each chunk adds: its number and the count of all, in two varints below 2^14, and its seal.
        let common = metadata.len();
        let room = max_message_size.checked_sub(common + 2 * 4 + sealer.as_ref().map_or(0, |sealer| sealer.overhead()))?;
        let count = body.len().div_ceil(room.max(1));
        if room == 0 || count > MOST_CHUNKS {
            return None;
        }
        let (mut entry_size, mut judged_size, mut frames) = (0, 0, Vec::with_capacity(count));
        for (id, slice) in body.chunks(room).enumerate() {
            metadata.truncate(common);
            put_number(metadata, 27, count as u64);
            put_number(metadata, 29, id as u64);
            let slice = seal(sealer.as_deref(), metadata, sealed, slice);
            let mut command = send(stamp, sequence);
            put_number(&mut command, 7, 1);
            frames.push(assemble(&command, metadata, slice));
            entry_size += metadata.len() + slice.len();
            judged_size = judged_size.max(metadata.len() + slice.len());
        }
        let frames = Frames::Chunks(frames);
        Some(Encoded { frames, sequence, highest: sequence, entry_size, judged_size, sealer: sealer.clone() })
    }
}

/// The metadata that every entry begins with; of a batch its first record's key, and no properties.
fn put_head(metadata: &mut Vec<u8>, stamp: Stamp<'_>, sequence: i64, first: &Record, batch: bool) {
    metadata.clear();
    put_text(metadata, 1, stamp.producer_name.as_bytes());
    put_number(metadata, 2, unsigned(sequence));
    put_number(metadata, 3, stamp.publish_time);
    if !batch {
        put_properties(metadata, 4, first);
    }
    if let Some(key) = &first.key {
        put_text(metadata, 6, key.as_bytes());
    }
}

fn put_compression(metadata: &mut Vec<u8>, compression: Compression, uncompressed: usize, batch: bool) {
    if compression != Compression::None {
        put_number(metadata, 8, u64::try_from(compression.number()).expect("compression numbers are small"));
    }
    if compression != Compression::None || !batch {
        put_number(metadata, 9, uncompressed as u64);
    }
}

/// The body as it goes out: sealed, where there is a sealer, with the wrapped keys and the vector in the metadata.
fn seal<'a>(sealer: Option<&Sealer>, metadata: &mut Vec<u8>, sealed: &'a mut Vec<u8>, body: &'a [u8]) -> &'a [u8] {
    let Some(sealer) = sealer else { return body };
    sealed.clear();
    sealed.extend_from_slice(body);
    let vector = sealer.seal(sealed);
    metadata.extend_from_slice(sealer.copies());
    put_text(metadata, 15, &vector);
    sealed
}

/// The fields of a SEND that all have.
fn send(stamp: Stamp<'_>, sequence: i64) -> Vec<u8> {
    let mut command = Vec::with_capacity(40);
    put_number(&mut command, 1, stamp.producer_id);
    put_number(&mut command, 2, unsigned(sequence));
    command
}

/// Puts the frame together around a SEND command's fields, the metadata and the payload.
fn assemble(send: &[u8], metadata: &[u8], body: &[u8]) -> Bytes {
    // BaseCommand: kind as field 1, then the SEND as field 6, whose length is one byte: its fields are below 40 bytes.
    let command_size = 2 + 2 + send.len();
    let total = 4 + command_size + 2 + 4 + 4 + metadata.len() + body.len();
    let mut out = BytesMut::with_capacity(4 + total);
    out.put_u32(length(total));
    out.put_u32(length(command_size));
    out.put_slice(&[0x08, u8::try_from(kind::SEND).expect("a kind of one byte"), 0x32]);
    out.put_u8(u8::try_from(send.len()).expect("a SEND's fields are at most 40 bytes"));
    out.put_slice(send);
    out.put_u16(MAGIC_CHECKSUM);
    let checksum_at = out.len();
    out.put_u32(0);
    out.put_u32(length(metadata.len()));
    out.put_slice(metadata);
    out.put_slice(body);
    let checksum = crc32c::crc32c(&out[checksum_at + 4..]);
    out[checksum_at..checksum_at + 4].copy_from_slice(&checksum.to_be_bytes());
    out.freeze()
}

/// One message of a batch: size of its metadata, its metadata, its payload.
fn put_batched(out: &mut Vec<u8>, record: &Record, sequence: i64) {
    let start = out.len();
    out.put_u32(0);
    put_properties(out, 1, record);
    if let Some(key) = &record.key {
        put_text(out, 2, key.as_bytes());
    }
    put_number(out, 3, record.value.len() as u64);
    if let Some(time) = record.event_time {
        put_number(out, 5, time);
    }
    put_number(out, 8, unsigned(sequence));
    let size = length(out.len() - start - 4);
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    out.put_slice(&record.value);
}

fn put_properties(out: &mut Vec<u8>, field: u32, record: &Record) {
    for (name, value) in record.properties.iter() {
        put_tag(out, field, 2);
        put_varint(out, (text_len(name.len()) + text_len(value.len())) as u64);
        put_text(out, 1, name.as_bytes());
        put_text(out, 2, value.as_bytes());
    }
}

/// Bytes of a text field whose tag is one byte.
fn text_len(size: usize) -> usize {
    1 + encoded_len_varint(size as u64) + size
}

fn put_tag(out: &mut Vec<u8>, field: u32, wire_type: u32) {
    put_varint(out, u64::from(field << 3 | wire_type));
}

fn put_text(out: &mut Vec<u8>, field: u32, text: &[u8]) {
    put_tag(out, field, 2);
    put_varint(out, text.len() as u64);
    out.put_slice(text);
}

fn put_number(out: &mut Vec<u8>, field: u32, number: u64) {
    put_tag(out, field, 0);
    put_varint(out, number);
}

/// Most are tags and lengths of one byte.
#[inline]
fn put_varint(out: &mut Vec<u8>, number: u64) {
    match u8::try_from(number) {
        Ok(byte @ ..0x80) => out.push(byte),
        _ => encode_varint(number, out),
    }
}

/// Two's complement, as the protocol's unsigned fields carry signed ids.
fn unsigned(id: i64) -> u64 {
    u64::from_ne_bytes(id.to_ne_bytes())
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
