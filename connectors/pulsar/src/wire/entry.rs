//! Encoding of entries: one message, or a batch of several, as a whole SEND frame.
//!
//! This is the hot path. The metadata is written by hand into buffers that are kept; each frame costs one allocation of its own
//! size. A single message is never written in batch layout, because readers go by the presence of the batch count.

use super::compression::{Compression, Compressor};
use super::frame::{MAGIC_CHECKSUM, length};
use super::messages::kind;
use bytes::{BufMut, Bytes, BytesMut};
use connector_sdk::Record;
use prost::encoding::{encode_varint, encoded_len_varint};

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
}

/// An encoded SEND.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// The whole frame.
    pub frame: Bytes,
    /// The lowest sequence id in it, which a receipt names.
    pub sequence: i64,
    /// The highest, which a refusal names.
    pub highest: i64,
    /// Metadata and payload, as a topic's own size limit counts them.
    pub entry_size: usize,
    /// The size the broker's `max_message_size` is compared with: for a batch its payload, else metadata and payload.
    pub judged_size: usize,
}

/// Encodes entries, keeping its buffers between them.
pub struct Encoder {
    compressor: Compressor,
    payload: Vec<u8>,
    metadata: Vec<u8>,
}

impl Encoder {
    /// An encoder that compresses in this way.
    ///
    /// # Errors
    /// When the compression library cannot be set up.
    pub fn new(compression: Compression) -> std::io::Result<Self> {
        Ok(Self { compressor: Compressor::new(compression)?, payload: Vec::new(), metadata: Vec::new() })
    }

    /// Encodes the records as one entry: alone when there is one, else as a batch.
    ///
    /// # Panics
    /// When there are no records; with [`Numbers::OfRecords`] when one has no number.
    pub fn encode(&mut self, stamp: Stamp<'_>, records: &[Record]) -> Encoded {
        let first = records.first().expect("an entry holds at least one record");
        let batch = records.len() > 1;
        let last = records.last().unwrap_or(first);
        let (sequence, highest) = (stamp.numbers.of(0, first), stamp.numbers.of(records.len() - 1, last));
        let Self { compressor, payload, metadata } = self;
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
        if compression != Compression::None {
            put_number(metadata, 8, u64::try_from(compression.number()).expect("compression numbers are small"));
        }
        if compression != Compression::None || !batch {
            put_number(metadata, 9, plain.len() as u64);
        }
        if batch {
            put_number(metadata, 11, records.len() as u64);
            put_number(metadata, 24, unsigned(highest));
        } else if let Some(time) = first.event_time {
            put_number(metadata, 12, time);
        }

        let mut command = Vec::with_capacity(40);
        put_number(&mut command, 1, stamp.producer_id);
        put_number(&mut command, 2, unsigned(sequence));
        if batch {
            put_number(&mut command, 3, records.len() as u64);
            put_number(&mut command, 6, unsigned(highest));
        }
        let frame = assemble(&command, metadata, body);
        let entry_size = metadata.len() + body.len();
        Encoded { frame, sequence, highest, entry_size, judged_size: if batch { body.len() } else { entry_size } }
    }
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
        encode_varint((text_len(name.len()) + text_len(value.len())) as u64, out);
        put_text(out, 1, name.as_bytes());
        put_text(out, 2, value.as_bytes());
    }
}

/// Bytes of a text field whose tag is one byte.
fn text_len(size: usize) -> usize {
    1 + encoded_len_varint(size as u64) + size
}

fn put_tag(out: &mut Vec<u8>, field: u32, wire_type: u32) {
    encode_varint(u64::from(field << 3 | wire_type), out);
}

fn put_text(out: &mut Vec<u8>, field: u32, text: &[u8]) {
    put_tag(out, field, 2);
    encode_varint(text.len() as u64, out);
    out.put_slice(text);
}

fn put_number(out: &mut Vec<u8>, field: u32, number: u64) {
    put_tag(out, field, 0);
    encode_varint(number, out);
}

/// Two's complement, as the protocol's unsigned fields carry signed ids.
fn unsigned(id: i64) -> u64 {
    u64::from_ne_bytes(id.to_ne_bytes())
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
