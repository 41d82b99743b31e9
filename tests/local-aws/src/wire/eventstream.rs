//! Frames of `application/vnd.amazon.eventstream`.
//!
//! A frame is: total length, headers' length, CRC of these eight bytes, headers, payload, CRC of all before it; numbers are big-endian, CRCs are IEEE.

use flate2::Crc;

/// Type byte of a header whose value is text.
const TEXT: u8 = 7;
const PRELUDE: usize = 12;

/// Writes one frame; `payload` appends the payload to what it is given.
pub(crate) fn frame(headers: &[(&str, &str)], payload: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = vec![0; PRELUDE];
    for (name, value) in headers {
        frame.push(u8::try_from(name.len()).expect("header names are short"));
        frame.extend_from_slice(name.as_bytes());
        frame.push(TEXT);
        frame.extend_from_slice(&u16::try_from(value.len()).expect("header values are short").to_be_bytes());
        frame.extend_from_slice(value.as_bytes());
    }
    let headers_len = u32::try_from(frame.len() - PRELUDE).expect("headers are short");
    payload(&mut frame);
    let total = u32::try_from(frame.len() + 4).expect("a frame is far below 4 GiB");
    frame[..4].copy_from_slice(&total.to_be_bytes());
    frame[4..8].copy_from_slice(&headers_len.to_be_bytes());
    let prelude_crc = crc(&frame[..8]);
    frame[8..PRELUDE].copy_from_slice(&prelude_crc.to_be_bytes());
    let message_crc = crc(&frame);
    frame.extend_from_slice(&message_crc.to_be_bytes());
    frame
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}
