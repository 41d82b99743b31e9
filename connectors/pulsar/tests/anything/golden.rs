//! Real frames, entries and schedules, from which mutations and fuzzing begin.

use crate::checks::checksummed;
use crate::play::told;
use bytes::{Buf, Bytes};
use connector_pulsar::Compression;
use connector_pulsar::wire::consume::{AckResponse, CloseConsumer, Delivery, LastMessageId, MessageIdData};
use connector_pulsar::wire::entry::{Encoder, Numbers, Stamp};
use connector_pulsar::wire::frame::encode;
use connector_pulsar::wire::messages::{
    AuthChallenge, BaseCommand, CloseProducer, CommandError, Connected, Empty, KeyValue, LookupResponse, MessageId, MessageMetadata,
    PartitionMetadataResponse, ProducerSuccess, SendError, SendReceipt, Success, TopicMigrated, kind,
};
use connector_sdk::Record;
use prost::Message;

const COMPRESSIONS: [Compression; 5] = [Compression::None, Compression::Lz4, Compression::Zlib, Compression::Zstd, Compression::Snappy];

fn id(entry_id: i64) -> MessageIdData {
    MessageIdData { ledger_id: 1, entry_id, ..MessageIdData::default() }
}

fn of(kind: i32) -> BaseCommand {
    BaseCommand { kind, ..BaseCommand::default() }
}

fn lookup(request_id: u64) -> BaseCommand {
    let lookup =
        LookupResponse { broker_service_url: Some("pulsar://one:6650".into()), response: Some(1), request_id, ..LookupResponse::default() };
    BaseCommand { lookup_response: Some(lookup), ..of(kind::LOOKUP_RESPONSE) }
}

fn opened(request_id: u64, last: i64) -> BaseCommand {
    let success = ProducerSuccess { request_id, producer_name: "name".into(), last_sequence_id: Some(last), ..ProducerSuccess::default() };
    BaseCommand { producer_success: Some(success), ..of(kind::PRODUCER_SUCCESS) }
}

fn success(request_id: u64) -> BaseCommand {
    BaseCommand { success: Some(Success { request_id }), ..of(kind::SUCCESS) }
}

fn connected() -> BaseCommand {
    let connected = Connected { server_version: "golden".into(), max_message_size: Some(5_000), ..Connected::default() };
    BaseCommand { connected: Some(connected), ..of(kind::CONNECTED) }
}

fn last(request_id: u64) -> BaseCommand {
    let last = LastMessageId { last_message_id: id(9), request_id, mark_delete: Some(id(3)) };
    BaseCommand { last_message_id: Some(Box::new(last)), ..of(kind::GET_LAST_MESSAGE_ID_RESPONSE) }
}

fn receipt(producer_id: u64, sequence_id: i64, highest: i64, ledger_id: i64) -> BaseCommand {
    let message_id = Some(MessageId { ledger_id, entry_id: ledger_id });
    let receipt = SendReceipt { producer_id, sequence_id, message_id, highest_sequence_id: Some(highest) };
    BaseCommand { send_receipt: Some(receipt), ..of(kind::SEND_RECEIPT) }
}

fn delivery(consumer_id: u64, entry_id: i64, redelivery_count: u32) -> BaseCommand {
    let message = Delivery { consumer_id, message_id: id(entry_id), redelivery_count: Some(redelivery_count), ..Delivery::default() };
    BaseCommand { message: Some(Box::new(message)), ..of(kind::MESSAGE) }
}

/// One command of each kind that a broker sends.
fn commands() -> Vec<BaseCommand> {
    let metadata = PartitionMetadataResponse { partitions: Some(3), request_id: 1, response: Some(0), ..Default::default() };
    let refusal = SendError { producer_id: 0, sequence_id: 1, error: 22, message: "Exceed maximum message size".into() };
    let error = CommandError { request_id: 2, error: 3, message: "not now".into() };
    let close =
        CloseProducer { producer_id: 0, request_id: -1, assigned_broker_url: Some("pulsar://two:6650".into()), ..Default::default() };
    let close_consumer = CloseConsumer { consumer_id: 0, request_id: -1, ..Default::default() };
    let acked = AckResponse { consumer_id: 0, request_id: Some(9), ..Default::default() };
    let moved = TopicMigrated { broker_service_url: Some("pulsar://three:6650".into()), ..Default::default() };
    vec![
        connected(),
        BaseCommand { ping: Some(Empty {}), ..of(kind::PING) },
        BaseCommand { pong: Some(Empty {}), ..of(kind::PONG) },
        lookup(2),
        opened(3, 7),
        success(4),
        receipt(1, 1, -1, 1),
        BaseCommand { partition_metadata_response: Some(metadata), ..of(kind::PARTITIONED_METADATA_RESPONSE) },
        BaseCommand { send_error: Some(refusal), ..of(kind::SEND_ERROR) },
        BaseCommand { error: Some(error), ..of(kind::ERROR) },
        BaseCommand { close_producer: Some(close), ..of(kind::CLOSE_PRODUCER) },
        BaseCommand { close_consumer: Some(Box::new(close_consumer)), ..of(kind::CLOSE_CONSUMER) },
        last(5),
        BaseCommand { ack_response: Some(Box::new(acked)), ..of(kind::ACK_RESPONSE) },
        BaseCommand { auth_challenge: Some(AuthChallenge { challenge: None }), ..of(kind::AUTH_CHALLENGE) },
        BaseCommand { topic_migrated: Some(moved), ..of(kind::TOPIC_MIGRATED) },
        delivery(0, 1, 0),
    ]
}

fn record(at: u64) -> Record {
    Record {
        value: format!("record {at} ").repeat(9).into(),
        key: Some("key".into()),
        event_time: Some(5),
        properties: [("p", "v")].into_iter().collect(),
        sequence: Some(at),
        ..Record::default()
    }
}

/// SEND frames of every compression: single messages, batches, chunks.
fn sends() -> Vec<Bytes> {
    let stamp = Stamp {
        producer_id: 1,
        producer_name: "name",
        numbers: Numbers::OfRecords,
        publish_time: 1_700_000_000_000,
        schema_version: None,
        by_key: false,
    };
    let mut frames = Vec::new();
    for compression in COMPRESSIONS {
        let mut encoder = Encoder::new(compression).expect("compression is there");
        frames.extend_from_slice(encoder.encode(stamp, &[record(1)]).frames.as_slice());
        frames.extend_from_slice(encoder.encode(stamp, &[record(2), record(3), record(4)]).frames.as_slice());
        let chunks = encoder.encode_chunks(stamp, &record(5), 110).or_else(|| encoder.encode_chunks(stamp, &record(5), 150));
        frames.extend(chunks.expect("it can be cut").frames.as_slice().iter().cloned());
    }
    frames
}

/// Behind the checksum of a SEND frame: the size of the metadata, the metadata, the payload.
fn body(mut send: Bytes) -> Bytes {
    send.advance(4);
    let command = send.get_u32() as usize;
    send.advance(command + 2 + 4);
    send
}

/// For [`crate::checks::stream`].
pub(crate) fn streams() -> Vec<Vec<u8>> {
    let frames: Vec<Bytes> = commands().iter().map(encode).chain(sends()).collect();
    let one = |frame: &Bytes| [&[1, 7][..], frame].concat();
    let mut streams: Vec<Vec<u8>> = frames.iter().map(one).collect();
    streams.push([&[3, 0, 4, 90][..], &frames.concat()].concat());
    streams
}

/// For [`crate::checks::entry`]: whole entries, and what lies behind a checksum; and payloads behind their size.
pub(crate) fn entries() -> Vec<Vec<u8>> {
    let bodies: Vec<Bytes> = sends().into_iter().map(body).collect();
    let whole = bodies.iter().map(|body| checksummed(body).to_vec());
    let sizes = [1usize, 300].map(|size| {
        let text = b"again and ".repeat(size);
        COMPRESSIONS.map(|kind| {
            let mut compressor = connector_pulsar::wire::compression::Compressor::new(kind).expect("compression is there");
            let (_, packed) = compressor.compress(&text);
            [&u32::try_from(text.len()).expect("it is short").to_be_bytes(), packed].concat()
        })
    });
    whole.chain(bodies.iter().map(|body| body.to_vec())).chain(sizes.into_iter().flatten()).collect()
}

fn plain(metadata: &MessageMetadata, payload: &[u8]) -> Vec<u8> {
    let metadata = metadata.encode_to_vec();
    [&u32::try_from(metadata.len()).expect("it is short").to_be_bytes(), &metadata[..], payload].concat()
}

/// For [`crate::play::play`]: connections are opened, everything is looked up and opened, records go and messages come.
pub(crate) fn scripts() -> Vec<Vec<u8>> {
    let tell = |command: &BaseCommand| told(0, &command.encode_to_vec(), &[]);
    let beginning = || {
        let mut script = vec![0, 6, 0];
        script.extend(tell(&connected()));
        // One connection, so it does not matter whose question has which number.
        for request in 1..=7 {
            script.extend(tell(&lookup(request)));
        }
        for request in 8..=16 {
            script.extend(tell(&opened(request, -1)));
            script.extend(tell(&success(request)));
            script.extend(tell(&last(request)));
        }
        script
    };
    let mut scripts = vec![beginning()];
    for command in commands() {
        let mut script = beginning();
        script.extend([11, 0, 9, 20, 10, 21, 9, 20, 10, 21, 8, 4]);
        script.extend(tell(&command));
        script.extend([8, 255]);
        scripts.push(script);
    }
    for (at, send) in sends().into_iter().enumerate() {
        let mut script = beginning();
        for (entry, consumer) in (0..).zip([0, 1, 2, 3]) {
            let command = delivery(consumer, entry, u32::try_from(at % 2).expect("0 or 1"));
            script.extend(told(0, &command.encode_to_vec(), &body(send.clone())));
        }
        script.extend([8, 100, 15, 0, 8, 100]);
        scripts.push(script);
    }
    let mut exchange = beginning();
    // What is to show whether the broker keeps numbers goes two seconds behind the opening.
    exchange.extend([11, 0, 8, 40]);
    for number in 0..6 {
        exchange.extend([9, 0, 10, 1]);
        exchange.extend(tell(&receipt(0, number, -1, 2)));
        exchange.extend(tell(&receipt(1, 2 * number + 1, -1, 2)));
        // Whichever the request is: it is closed, and then open again.
        (12..40).for_each(|request| exchange.extend(tell(&success(request))));
        (12..40).for_each(|request| exchange.extend(tell(&opened(request, 2 * number + 1))));
        exchange.extend([11, 0]);
    }
    exchange.extend([12, 1, 7, 0, 6, 0, 14, 0]);
    scripts.push(exchange);
    // What is far from any real message: numbers at their ends.
    for (count, highest, sequence) in [(i32::MAX, i64::MAX, i64::MIN), (i32::MIN, i64::MIN, i64::MAX), (1 << 20, 0, i64::MAX)] {
        let metadata = MessageMetadata {
            producer_name: "name".into(),
            sequence_id: sequence,
            properties: vec![KeyValue::default()],
            num_messages_in_batch: Some(count),
            highest_sequence_id: Some(highest),
            ..MessageMetadata::default()
        };
        let mut script = beginning();
        for consumer in 0..4 {
            script.extend(told(0, &delivery(consumer, i64::MAX, 0).encode_to_vec(), &plain(&metadata, &[0, 0, 0, 2, 0x18, 0])));
        }
        script.extend(tell(&opened(8, i64::MAX)));
        script.extend(tell(&receipt(0, sequence, highest, -1)));
        scripts.push(script);
    }
    scripts
}
