//! Lists of records, written straight into the answer: this is the way of every record that is read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::value::Format;
use crate::clock::Millis;
use crate::kinesis::{CannedBatch, EncodedTemplate, RecordBatch, STAMP};

/// Appends the list of records in `format`.
pub(crate) fn write_records(format: Format, batch: &RecordBatch, out: &mut Vec<u8>) {
    match (format, batch) {
        (Format::Json, RecordBatch::Stored(records)) => {
            let payload: usize = records.iter().map(|record| record.data.len() / 3 * 4 + record.partition_key.len() + 180).sum();
            out.reserve(payload);
            out.push(b'[');
            for (index, record) in records.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                json_record(
                    record.sequence_number.as_bytes(),
                    &record.data,
                    &record.partition_key,
                    record.arrived_at,
                    record.encrypted,
                    out,
                );
            }
            out.push(b']');
        }
        (Format::Cbor, RecordBatch::Stored(records)) => {
            cbor_head(4, records.len() as u64, out);
            for record in records {
                cbor_record(
                    record.sequence_number.as_bytes(),
                    &record.data,
                    &record.partition_key,
                    record.arrived_at,
                    record.encrypted,
                    out,
                );
            }
        }
        (Format::Json, RecordBatch::Canned(batch)) => {
            out.push(b'[');
            write_canned(format, batch, out);
            out.push(b']');
        }
        (Format::Cbor, RecordBatch::Canned(batch)) => {
            cbor_head(4, batch.count as u64, out);
            write_canned(format, batch, out);
        }
    }
}

/// Copies the encoded template and writes the numbers into it.
fn write_canned(format: Format, batch: &CannedBatch, out: &mut Vec<u8>) {
    let slot = usize::from(format == Format::Cbor);
    let template = Arc::clone(&batch.template);
    let encoded = batch.template.encoded[slot].get_or_init(|| encode_template(format, &template));
    let start = out.len();
    let Some(last) = batch.count.checked_sub(1) else { return };
    let end = encoded.ends_at[last];
    out.extend_from_slice(&encoded.bytes[..end]);
    for (index, at) in encoded.numbers_at.iter().take(batch.count).enumerate() {
        out[start + at..start + at + 56].copy_from_slice(batch.number(index).as_bytes());
    }
    if template.stamped {
        let mut bytes = [0; STAMP / 3 * 4];
        let size = stamp(format, &mut bytes);
        for at in encoded.payloads_at.iter().take(batch.count) {
            out[start + at..start + at + size].copy_from_slice(&bytes[..size]);
        }
    }
}

/// Writes the time of now as it stands at the front of a payload in this format; says how long that is.
fn stamp(format: Format, out: &mut [u8; STAMP / 3 * 4]) -> usize {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros());
    let text = format!("{micros:016}..");
    match format {
        Format::Json => STANDARD.encode_slice(&text, out).expect("a stamp has room, and needs no padding"),
        Format::Cbor => {
            out[..STAMP].copy_from_slice(&text.as_bytes()[..STAMP]);
            STAMP
        }
    }
}

fn encode_template(format: Format, template: &crate::kinesis::Template) -> EncodedTemplate {
    let mut encoded = EncodedTemplate { bytes: Vec::new(), numbers_at: Vec::new(), payloads_at: Vec::new(), ends_at: Vec::new() };
    let hole = [b'0'; 56];
    for (payload, key) in template.payloads.iter().zip(&template.partition_keys) {
        if format == Format::Json && !encoded.bytes.is_empty() {
            encoded.bytes.push(b',');
        }
        let (number, payload) = match format {
            Format::Json => json_record(&hole, payload, key, template.arrived_at, false, &mut encoded.bytes),
            Format::Cbor => cbor_record(&hole, payload, key, template.arrived_at, false, &mut encoded.bytes),
        };
        encoded.numbers_at.push(number);
        encoded.payloads_at.push(payload);
        encoded.ends_at.push(encoded.bytes.len());
    }
    encoded
}

/// Writes one record and returns where its number and its payload stand in `out`.
fn json_record(number: &[u8; 56], data: &[u8], key: &str, arrived_at: Millis, encrypted: bool, out: &mut Vec<u8>) -> (usize, usize) {
    out.extend_from_slice(b"{\"SequenceNumber\":\"");
    let at = out.len();
    out.extend_from_slice(number);
    out.extend_from_slice(b"\",\"ApproximateArrivalTimestamp\":");
    write_seconds(arrived_at, out);
    out.extend_from_slice(b",\"Data\":\"");
    let start = out.len();
    out.resize(start + data.len().div_ceil(3) * 4, 0);
    STANDARD.encode_slice(data, &mut out[start..]).expect("the room is exactly that of padded base64");
    out.extend_from_slice(b"\",\"PartitionKey\":");
    serde_json::to_writer(&mut *out, key).expect("text can be written to memory");
    if encrypted {
        out.extend_from_slice(b",\"EncryptionType\":\"KMS\"");
    }
    out.push(b'}');
    (at, start)
}

fn cbor_record(number: &[u8; 56], data: &[u8], key: &str, arrived_at: Millis, encrypted: bool, out: &mut Vec<u8>) -> (usize, usize) {
    cbor_head(5, 4 + u64::from(encrypted), out);
    cbor_text("SequenceNumber", out);
    cbor_head(3, 56, out);
    let at = out.len();
    out.extend_from_slice(number);
    cbor_text("ApproximateArrivalTimestamp", out);
    cbor_head(6, 1, out);
    cbor_head(0, arrived_at.unsigned_abs(), out);
    cbor_text("Data", out);
    cbor_head(2, data.len() as u64, out);
    let start = out.len();
    out.extend_from_slice(data);
    cbor_text("PartitionKey", out);
    cbor_text(key, out);
    if encrypted {
        cbor_text("EncryptionType", out);
        cbor_text("KMS", out);
    }
    (at, start)
}

/// Milliseconds as decimal seconds.
fn write_seconds(at: Millis, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{}.{:03}", at / 1000, at % 1000).as_bytes());
}

/// The first bytes of a CBOR item: its major type and its length or value.
pub(crate) fn cbor_head(major: u8, value: u64, out: &mut Vec<u8>) {
    let major = major << 5;
    if let Ok(small) = u8::try_from(value) {
        if small < 24 {
            out.push(major | small);
        } else {
            out.extend_from_slice(&[major | 24, small]);
        }
    } else if let Ok(medium) = u16::try_from(value) {
        out.push(major | 25);
        out.extend_from_slice(&medium.to_be_bytes());
    } else if let Ok(large) = u32::try_from(value) {
        out.push(major | 26);
        out.extend_from_slice(&large.to_be_bytes());
    } else {
        out.push(major | 27);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// A text item.
pub(crate) fn cbor_text(text: &str, out: &mut Vec<u8>) {
    cbor_head(3, text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}
