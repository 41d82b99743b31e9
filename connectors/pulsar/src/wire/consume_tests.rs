//! Bytes of what a consumer says, written out by the protocol's rules.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::wire::frame::{decode, encode};
use crate::wire::messages::{BaseCommand, kind};
use bytes::BytesMut;

fn hex(command: &BaseCommand) -> String {
    use std::fmt::Write;
    encode(command).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn golden_flow() {
    let flow = Flow { consumer_id: 3, message_permits: 1_000 };
    let command = BaseCommand { kind: kind::FLOW, flow: Some(flow), ..Default::default() };
    assert_eq!(hex(&command), "0000000d00000009080b5a05080310e807");
}

#[test]
fn golden_ack_of_a_part_of_a_batch() {
    // The last bit stands for what is not acknowledged: ten bytes of a negative varint.
    let id = MessageIdData { ledger_id: 5, entry_id: 9, ack_set: vec![-2], ..Default::default() };
    let ack = Ack { consumer_id: 3, kind: ack_type::INDIVIDUAL, message_id: vec![id], validation_error: None, request_id: Some(4) };
    let command = BaseCommand { kind: kind::ACK, ack: Some(Box::new(ack)), ..Default::default() };
    assert_eq!(hex(&command), "0000001f0000001b080a5217080310001a0f0805100928feffffffffffffffff014004");
}

#[test]
fn golden_redeliver_and_seek() {
    let id = MessageIdData { ledger_id: 5, entry_id: 9, ..Default::default() };
    let redeliver = Redeliver { consumer_id: 3, message_ids: vec![id], consumer_epoch: Some(2) };
    let command = BaseCommand { kind: kind::REDELIVER_UNACKNOWLEDGED_MESSAGES, redeliver: Some(Box::new(redeliver)), ..Default::default() };
    assert_eq!(hex(&command), "000000130000000f0814a2010a08031204080510091802");
    let seek = Seek { consumer_id: 3, request_id: 4, message_id: None, message_publish_time: Some(300) };
    let command = BaseCommand { kind: kind::SEEK, seek: Some(Box::new(seek)), ..Default::default() };
    assert_eq!(hex(&command), "000000100000000c081ce201070803100420ac02");
}

#[test]
fn a_delivery_is_read_with_its_entry_behind_it() {
    // MESSAGE: consumer 3, 5:9, redelivered twice, first of two messages still to be delivered, epoch 1; then two bytes of entry.
    let bytes = "000000180000001208094a0e0803120408051009180220012801abcd";
    let bytes: Vec<u8> = (0..bytes.len()).step_by(2).map(|at| u8::from_str_radix(&bytes[at..at + 2], 16).unwrap()).collect();
    let frame = decode(&mut BytesMut::from(&bytes[..]), 1_000).unwrap().unwrap();
    let delivery = frame.command.message.unwrap();
    assert_eq!((delivery.consumer_id, delivery.message_id.ledger_id, delivery.message_id.entry_id), (3, 5, 9));
    assert_eq!((delivery.redelivery_count, delivery.ack_set, delivery.consumer_epoch), (Some(2), vec![1], Some(1)));
    assert_eq!(&frame.entry[..], [0xab, 0xcd]);
}
