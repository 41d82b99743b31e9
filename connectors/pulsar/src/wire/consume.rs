//! The messages a consumer speaks, by their field numbers of protocol version 21.
//!
//! Like [`super::messages`]: ids that use -1 for "unset" are declared signed.

#![allow(missing_docs, reason = "the names are the protocol's own and are explained where they are used")]

use super::messages::KeyValue;
use prost::Message;

/// Values of [`Subscribe::kind`].
pub mod subscription_type {
    pub const EXCLUSIVE: i32 = 0;
    pub const SHARED: i32 = 1;
    pub const FAILOVER: i32 = 2;
    pub const KEY_SHARED: i32 = 3;
}

/// Values of [`Subscribe::initial_position`].
pub mod initial_position {
    pub const LATEST: i32 = 0;
    pub const EARLIEST: i32 = 1;
}

/// Values of [`Ack::kind`].
pub mod ack_type {
    pub const INDIVIDUAL: i32 = 0;
    pub const CUMULATIVE: i32 = 1;
}

/// Values of [`Ack::validation_error`].
pub mod validation_error {
    pub const UNCOMPRESSED_SIZE: i32 = 0;
    pub const DECOMPRESSION: i32 = 1;
    pub const CHECKSUM: i32 = 2;
    pub const BATCH: i32 = 3;
    pub const DECRYPTION: i32 = 4;
}

#[derive(Clone, PartialEq, Message)]
pub struct MessageIdData {
    #[prost(int64, required, tag = "1")]
    pub ledger_id: i64,
    #[prost(int64, required, tag = "2")]
    pub entry_id: i64,
    #[prost(int32, optional, tag = "3")]
    pub partition: Option<i32>,
    #[prost(int32, optional, tag = "4")]
    pub batch_index: Option<i32>,
    /// 1: not acknowledged, index i at bit i % 64 of word i / 64.
    #[prost(int64, repeated, packed = "false", tag = "5")]
    pub ack_set: Vec<i64>,
    #[prost(int32, optional, tag = "6")]
    pub batch_size: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Subscribe {
    #[prost(string, required, tag = "1")]
    pub topic: String,
    #[prost(string, required, tag = "2")]
    pub subscription: String,
    #[prost(int32, required, tag = "3")]
    pub kind: i32,
    #[prost(uint64, required, tag = "4")]
    pub consumer_id: u64,
    #[prost(uint64, required, tag = "5")]
    pub request_id: u64,
    #[prost(string, optional, tag = "6")]
    pub consumer_name: Option<String>,
    #[prost(int32, optional, tag = "7")]
    pub priority_level: Option<i32>,
    /// Absent means true.
    #[prost(bool, optional, tag = "8")]
    pub durable: Option<bool>,
    /// Of subscriptions that are not durable: reading begins behind it, or with it when it has a batch index.
    #[prost(message, optional, tag = "9")]
    pub start_message_id: Option<MessageIdData>,
    #[prost(message, repeated, tag = "10")]
    pub metadata: Vec<KeyValue>,
    #[prost(bool, optional, tag = "11")]
    pub read_compacted: Option<bool>,
    #[prost(int32, optional, tag = "13")]
    pub initial_position: Option<i32>,
    /// Absent means true.
    #[prost(bool, optional, tag = "15")]
    pub force_topic_creation: Option<bool>,
    #[prost(message, optional, tag = "17")]
    pub key_shared: Option<KeyShared>,
    #[prost(uint64, optional, tag = "19")]
    pub consumer_epoch: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct KeyShared {
    /// 0: the broker splits the keys among the consumers.
    #[prost(int32, required, tag = "1")]
    pub mode: i32,
}

/// MESSAGE; the entry follows in the frame.
#[derive(Clone, PartialEq, Message)]
pub struct Delivery {
    #[prost(uint64, required, tag = "1")]
    pub consumer_id: u64,
    #[prost(message, required, tag = "2")]
    pub message_id: MessageIdData,
    #[prost(uint32, optional, tag = "3")]
    pub redelivery_count: Option<u32>,
    /// 1: still to be delivered.
    #[prost(int64, repeated, packed = "false", tag = "4")]
    pub ack_set: Vec<i64>,
    #[prost(uint64, optional, tag = "5")]
    pub consumer_epoch: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Ack {
    #[prost(uint64, required, tag = "1")]
    pub consumer_id: u64,
    #[prost(int32, required, tag = "2")]
    pub kind: i32,
    #[prost(message, repeated, tag = "3")]
    pub message_id: Vec<MessageIdData>,
    #[prost(int32, optional, tag = "4")]
    pub validation_error: Option<i32>,
    #[prost(uint64, optional, tag = "8")]
    pub request_id: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AckResponse {
    #[prost(uint64, required, tag = "1")]
    pub consumer_id: u64,
    #[prost(int32, optional, tag = "4")]
    pub error: Option<i32>,
    #[prost(string, optional, tag = "5")]
    pub message: Option<String>,
    #[prost(uint64, optional, tag = "6")]
    pub request_id: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Flow {
    #[prost(uint64, required, tag = "1")]
    pub consumer_id: u64,
    /// Messages, not entries, beside those granted before.
    #[prost(uint32, required, tag = "2")]
    pub message_permits: u32,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Unsubscribe {
    #[prost(uint64, required, tag = "1")]
    pub consumer_id: u64,
    #[prost(uint64, required, tag = "2")]
    pub request_id: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Redeliver {
    #[prost(uint64, required, tag = "1")]
    pub consumer_id: u64,
    /// None: everything.
    #[prost(message, repeated, tag = "2")]
    pub message_ids: Vec<MessageIdData>,
    #[prost(uint64, optional, tag = "3")]
    pub consumer_epoch: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Seek {
    #[prost(uint64, required, tag = "1")]
    pub consumer_id: u64,
    #[prost(uint64, required, tag = "2")]
    pub request_id: u64,
    #[prost(message, optional, tag = "3")]
    pub message_id: Option<MessageIdData>,
    #[prost(uint64, optional, tag = "4")]
    pub message_publish_time: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CloseConsumer {
    #[prost(uint64, required, tag = "1")]
    pub consumer_id: u64,
    /// -1 when the broker closes.
    #[prost(int64, required, tag = "2")]
    pub request_id: i64,
    #[prost(string, optional, tag = "3")]
    pub assigned_broker_url: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub assigned_broker_url_tls: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct ReachedEndOfTopic {
    #[prost(uint64, required, tag = "1")]
    pub consumer_id: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct ActiveConsumerChange {
    #[prost(uint64, required, tag = "1")]
    pub consumer_id: u64,
    #[prost(bool, optional, tag = "2")]
    pub is_active: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct GetLastMessageId {
    #[prost(uint64, required, tag = "1")]
    pub consumer_id: u64,
    #[prost(uint64, required, tag = "2")]
    pub request_id: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct LastMessageId {
    #[prost(message, required, tag = "1")]
    pub last_message_id: MessageIdData,
    #[prost(uint64, required, tag = "2")]
    pub request_id: u64,
    #[prost(message, optional, tag = "3")]
    pub mark_delete: Option<MessageIdData>,
}

#[cfg(test)]
#[path = "consume_tests.rs"]
mod tests;
