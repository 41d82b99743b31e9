//! Frames in words, for the trace.

use bytes::Bytes;
use connector_pulsar::wire::messages::{BaseCommand, kind};
use connector_pulsar::wire::unpack::unpack;

/// A command in a few words; `entry` is what follows it in the frame.
pub(crate) fn command(command: &BaseCommand, entry: &Bytes) -> String {
    match command.kind {
        kind::PRODUCER => command.producer.as_ref().map_or_else(String::new, |open| {
            let name = open.producer_name.as_deref().unwrap_or("?");
            format!("PRODUCER {} `{name}` on {} (request {})", open.producer_id, short(&open.topic), open.request_id)
        }),
        kind::PRODUCER_SUCCESS => command.producer_success.as_ref().map_or_else(String::new, |success| {
            let last = number(success.last_sequence_id.unwrap_or(-1));
            format!("PRODUCER_SUCCESS `{}` last {last} (request {})", success.producer_name, success.request_id)
        }),
        kind::SEND => command.send.as_ref().map_or_else(String::new, |send| {
            let numbers = unpack(entry.clone()).map(|entry| entry.sequences).unwrap_or_default();
            let numbers: Vec<String> = numbers.into_iter().map(number).collect();
            format!("SEND {} [{}] of {} bytes", send.producer_id, numbers.join(" "), entry.len())
        }),
        kind::SEND_RECEIPT => command.send_receipt.as_ref().map_or_else(String::new, |receipt| {
            let id = receipt.message_id.map_or((-1, -1), |id| (id.ledger_id, id.entry_id));
            format!("SEND_RECEIPT {} {} at {}:{}", receipt.producer_id, number(receipt.sequence_id), id.0, id.1)
        }),
        kind::SEND_ERROR => command.send_error.as_ref().map_or_else(String::new, |refusal| {
            format!("SEND_ERROR {} {} `{}`", refusal.producer_id, number(refusal.sequence_id), refusal.message)
        }),
        kind::CLOSE_PRODUCER => command
            .close_producer
            .as_ref()
            .map_or_else(String::new, |close| format!("CLOSE_PRODUCER {} (request {})", close.producer_id, close.request_id)),
        kind::ERROR => {
            command.error.as_ref().map_or_else(String::new, |error| format!("ERROR `{}` (request {})", error.message, error.request_id))
        }
        kind::SUCCESS => command.success.as_ref().map_or_else(String::new, |success| format!("SUCCESS (request {})", success.request_id)),
        kind::PARTITIONED_METADATA_RESPONSE => {
            let partitions = command.partition_metadata_response.as_ref().and_then(|answer| answer.partitions).unwrap_or(0);
            format!("PARTITIONED_METADATA_RESPONSE {partitions}")
        }
        kind::SUBSCRIBE => {
            command.subscribe.as_ref().map_or_else(String::new, |subscribe| format!("SUBSCRIBE {}", short(&subscribe.topic)))
        }
        kind::MESSAGE => command
            .message
            .as_ref()
            .map_or_else(String::new, |message| format!("MESSAGE {}:{}", message.message_id.ledger_id, message.message_id.entry_id)),
        other => name(other).to_owned(),
    }
}

/// A message's number as ordinal, and the index behind a point where it is not 0.
pub(crate) fn number(number: i64) -> String {
    if number < 0 {
        return "-1".to_owned();
    }
    match (number >> 24, number & 0xFF_FFFF) {
        (0, index) => format!("#{index}"),
        (ordinal, 0) => ordinal.to_string(),
        (ordinal, index) => format!("{ordinal}.{index}"),
    }
}

/// The end of a topic's name.
pub(crate) fn short(topic: &str) -> &str {
    topic.rsplit('/').next().unwrap_or(topic)
}

fn name(kind: i32) -> &'static str {
    match kind {
        kind::CONNECT => "CONNECT",
        kind::CONNECTED => "CONNECTED",
        kind::PING => "PING",
        kind::PONG => "PONG",
        kind::PARTITIONED_METADATA => "PARTITIONED_METADATA",
        kind::LOOKUP => "LOOKUP",
        kind::LOOKUP_RESPONSE => "LOOKUP_RESPONSE",
        kind::FLOW => "FLOW",
        kind::SEEK => "SEEK",
        kind::GET_LAST_MESSAGE_ID => "GET_LAST_MESSAGE_ID",
        kind::GET_LAST_MESSAGE_ID_RESPONSE => "GET_LAST_MESSAGE_ID_RESPONSE",
        kind::CLOSE_CONSUMER => "CLOSE_CONSUMER",
        _ => "another command",
    }
}
