#![allow(clippy::unwrap_used)]

use super::*;
use crate::wire::messages::{Empty, MessageId, SendReceipt, kind};
use proptest::prelude::*;

pub(crate) fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn ping() -> BaseCommand {
    BaseCommand { kind: kind::PING, ping: Some(Empty {}), ..BaseCommand::default() }
}

#[test]
fn golden_ping_and_pong() {
    assert_eq!(encode(&ping())[..], hex("00000009000000050812920100"));
    let pong = BaseCommand { kind: kind::PONG, pong: Some(Empty {}), ..BaseCommand::default() };
    assert_eq!(encode(&pong)[..], hex("000000090000000508139a0100"));
}

#[test]
fn golden_receipt_of_a_duplicate_reads_minus_one_everywhere() {
    let bytes = hex("0000002f0000002b08073a27080110071a1608ffffffffffffffffff0110ffffffffffffffffff0120ffffffffffffffffff01");
    let frame = decode(&mut BytesMut::from(&bytes[..]), 1_000).unwrap().unwrap();
    let receipt = SendReceipt {
        producer_id: 1,
        sequence_id: 7,
        message_id: Some(MessageId { ledger_id: -1, entry_id: -1 }),
        highest_sequence_id: Some(-1),
    };
    assert_eq!(frame.command.send_receipt, Some(receipt));
    assert_eq!(encode(&frame.command)[..], bytes);
}

#[test]
fn a_checksum_is_castagnoli() {
    assert_eq!(crc32c::crc32c(b"123456789"), 0xE306_9283);
}

#[test]
fn an_unknown_command_is_read_as_its_kind_alone() {
    // Kind 99 with a sub-message 99 of two bytes.
    let body = hex("08639a06020801");
    let mut bytes = BytesMut::new();
    bytes.put_u32(4 + 7);
    bytes.put_u32(7);
    bytes.put_slice(&body);
    assert_eq!(decode(&mut bytes, 1_000).unwrap().unwrap().command, BaseCommand { kind: 99, ..BaseCommand::default() });
}

#[test]
fn an_announced_length_above_the_limit_is_refused_before_memory_is_reserved() {
    let mut http = BytesMut::from(&b"HTTP/1.1 400 Bad Request\r\n"[..]);
    assert!(matches!(decode(&mut http, 5_253_120), Err(FrameError::Length(_))));
    assert!(http.capacity() < 1_000);
}

proptest! {
    #[test]
    fn frames_are_found_however_the_bytes_are_cut(count in 1usize..6, cuts in prop::collection::vec(1usize..20, 1..40)) {
        let whole: Vec<u8> = (0..count).flat_map(|_| encode(&ping()).to_vec()).collect();
        let mut buffer = BytesMut::new();
        let mut found = 0;
        let mut rest = &whole[..];
        let mut cuts = cuts.into_iter().cycle();
        while !rest.is_empty() {
            let size = cuts.next().unwrap().min(rest.len());
            buffer.put_slice(&rest[..size]);
            rest = &rest[size..];
            while let Some(frame) = decode(&mut buffer, 100).unwrap() {
                prop_assert_eq!(frame.command, ping());
                found += 1;
            }
        }
        prop_assert_eq!(found, count);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        // The answer does not matter, only that there is one.
        let _any = decode(&mut BytesMut::from(&bytes[..]), 150);
    }
}
