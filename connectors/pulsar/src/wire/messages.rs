//! The few protocol messages that producers and connections speak, by their field numbers of protocol version 21.
//!
//! Ids that use -1 for "unset" are declared signed: the varint on the wire is the same as for the unsigned type, and comparing
//! them signed is what the protocol means. Fields that are neither sent nor read are left out; decoding skips them.

#![allow(missing_docs, reason = "the names are the protocol's own and are explained where they are used")]

use super::consume;
use super::schema::{GetSchema, GetSchemaResponse, Schema};
use bytes::Bytes;
use prost::Message;

/// Protocol version this client speaks.
pub const PROTOCOL_VERSION: i32 = 21;

/// Values of [`BaseCommand::kind`]; each sub-message's field number equals its kind.
pub mod kind {
    pub const CONNECT: i32 = 2;
    pub const CONNECTED: i32 = 3;
    pub const SUBSCRIBE: i32 = 4;
    pub const PRODUCER: i32 = 5;
    pub const SEND: i32 = 6;
    pub const SEND_RECEIPT: i32 = 7;
    pub const SEND_ERROR: i32 = 8;
    pub const MESSAGE: i32 = 9;
    pub const ACK: i32 = 10;
    pub const FLOW: i32 = 11;
    pub const UNSUBSCRIBE: i32 = 12;
    pub const SUCCESS: i32 = 13;
    pub const ERROR: i32 = 14;
    pub const CLOSE_PRODUCER: i32 = 15;
    pub const CLOSE_CONSUMER: i32 = 16;
    pub const PRODUCER_SUCCESS: i32 = 17;
    pub const PING: i32 = 18;
    pub const PONG: i32 = 19;
    pub const REDELIVER_UNACKNOWLEDGED_MESSAGES: i32 = 20;
    pub const PARTITIONED_METADATA: i32 = 21;
    pub const PARTITIONED_METADATA_RESPONSE: i32 = 22;
    pub const LOOKUP: i32 = 23;
    pub const LOOKUP_RESPONSE: i32 = 24;
    pub const REACHED_END_OF_TOPIC: i32 = 27;
    pub const SEEK: i32 = 28;
    pub const GET_LAST_MESSAGE_ID: i32 = 29;
    pub const GET_LAST_MESSAGE_ID_RESPONSE: i32 = 30;
    pub const ACTIVE_CONSUMER_CHANGE: i32 = 31;
    pub const GET_SCHEMA: i32 = 34;
    pub const GET_SCHEMA_RESPONSE: i32 = 35;
    pub const AUTH_CHALLENGE: i32 = 36;
    pub const AUTH_RESPONSE: i32 = 37;
    pub const ACK_RESPONSE: i32 = 38;
    pub const TOPIC_MIGRATED: i32 = 68;
}

/// The envelope of every command. Kinds this client does not know decode to an envelope without content and are skipped. What
/// only consumers use is boxed, so that a receipt's envelope stays small.
#[derive(Clone, PartialEq, Message)]
pub struct BaseCommand {
    #[prost(int32, required, tag = "1")]
    pub kind: i32,
    #[prost(message, optional, tag = "2")]
    pub connect: Option<Connect>,
    #[prost(message, optional, tag = "3")]
    pub connected: Option<Connected>,
    #[prost(message, optional, boxed, tag = "4")]
    pub subscribe: Option<Box<consume::Subscribe>>,
    #[prost(message, optional, tag = "5")]
    pub producer: Option<OpenProducer>,
    #[prost(message, optional, tag = "6")]
    pub send: Option<Send>,
    #[prost(message, optional, tag = "7")]
    pub send_receipt: Option<SendReceipt>,
    #[prost(message, optional, tag = "8")]
    pub send_error: Option<SendError>,
    #[prost(message, optional, boxed, tag = "9")]
    pub message: Option<Box<consume::Delivery>>,
    #[prost(message, optional, boxed, tag = "10")]
    pub ack: Option<Box<consume::Ack>>,
    #[prost(message, optional, tag = "11")]
    pub flow: Option<consume::Flow>,
    #[prost(message, optional, tag = "12")]
    pub unsubscribe: Option<consume::Unsubscribe>,
    #[prost(message, optional, tag = "13")]
    pub success: Option<Success>,
    #[prost(message, optional, tag = "14")]
    pub error: Option<CommandError>,
    #[prost(message, optional, tag = "15")]
    pub close_producer: Option<CloseProducer>,
    #[prost(message, optional, boxed, tag = "16")]
    pub close_consumer: Option<Box<consume::CloseConsumer>>,
    #[prost(message, optional, tag = "17")]
    pub producer_success: Option<ProducerSuccess>,
    #[prost(message, optional, tag = "18")]
    pub ping: Option<Empty>,
    #[prost(message, optional, tag = "19")]
    pub pong: Option<Empty>,
    #[prost(message, optional, boxed, tag = "20")]
    pub redeliver: Option<Box<consume::Redeliver>>,
    #[prost(message, optional, tag = "21")]
    pub partition_metadata: Option<PartitionMetadata>,
    #[prost(message, optional, tag = "22")]
    pub partition_metadata_response: Option<PartitionMetadataResponse>,
    #[prost(message, optional, tag = "23")]
    pub lookup: Option<Lookup>,
    #[prost(message, optional, tag = "24")]
    pub lookup_response: Option<LookupResponse>,
    #[prost(message, optional, tag = "27")]
    pub reached_end_of_topic: Option<consume::ReachedEndOfTopic>,
    #[prost(message, optional, boxed, tag = "28")]
    pub seek: Option<Box<consume::Seek>>,
    #[prost(message, optional, tag = "29")]
    pub get_last_message_id: Option<consume::GetLastMessageId>,
    #[prost(message, optional, boxed, tag = "30")]
    pub last_message_id: Option<Box<consume::LastMessageId>>,
    #[prost(message, optional, tag = "31")]
    pub active_consumer_change: Option<consume::ActiveConsumerChange>,
    #[prost(message, optional, tag = "34")]
    pub get_schema: Option<GetSchema>,
    #[prost(message, optional, tag = "35")]
    pub get_schema_response: Option<GetSchemaResponse>,
    #[prost(message, optional, tag = "36")]
    pub auth_challenge: Option<AuthChallenge>,
    #[prost(message, optional, tag = "37")]
    pub auth_response: Option<AuthResponse>,
    #[prost(message, optional, boxed, tag = "38")]
    pub ack_response: Option<Box<consume::AckResponse>>,
    #[prost(message, optional, tag = "68")]
    pub topic_migrated: Option<TopicMigrated>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub struct Connect {
    #[prost(string, required, tag = "1")]
    pub client_version: String,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub auth_data: Option<Bytes>,
    #[prost(int32, optional, tag = "4")]
    pub protocol_version: Option<i32>,
    #[prost(string, optional, tag = "5")]
    pub auth_method_name: Option<String>,
    /// `host:port`, without a scheme.
    #[prost(string, optional, tag = "6")]
    pub proxy_to_broker_url: Option<String>,
    #[prost(message, optional, tag = "10")]
    pub feature_flags: Option<FeatureFlags>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FeatureFlags {
    #[prost(bool, optional, tag = "1")]
    pub supports_auth_refresh: Option<bool>,
    #[prost(bool, optional, tag = "2")]
    pub supports_broker_entry_metadata: Option<bool>,
    #[prost(bool, optional, tag = "3")]
    pub supports_partial_producer: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    pub get_partitioned_metadata_without_auto_creation: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Connected {
    #[prost(string, required, tag = "1")]
    pub server_version: String,
    #[prost(int32, optional, tag = "2")]
    pub protocol_version: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    pub max_message_size: Option<i32>,
    #[prost(message, optional, tag = "4")]
    pub feature_flags: Option<FeatureFlags>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AuthData {
    #[prost(string, optional, tag = "1")]
    pub auth_method_name: Option<String>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub auth_data: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AuthChallenge {
    #[prost(message, optional, tag = "2")]
    pub challenge: Option<AuthData>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AuthResponse {
    #[prost(string, optional, tag = "1")]
    pub client_version: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub response: Option<AuthData>,
    #[prost(int32, optional, tag = "3")]
    pub protocol_version: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    #[prost(string, required, tag = "1")]
    pub key: String,
    #[prost(string, required, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct OpenProducer {
    #[prost(string, required, tag = "1")]
    pub topic: String,
    #[prost(uint64, required, tag = "2")]
    pub producer_id: u64,
    #[prost(uint64, required, tag = "3")]
    pub request_id: u64,
    #[prost(string, optional, tag = "4")]
    pub producer_name: Option<String>,
    /// Payloads are encrypted end to end.
    #[prost(bool, optional, tag = "5")]
    pub encrypted: Option<bool>,
    #[prost(message, repeated, tag = "6")]
    pub metadata: Vec<KeyValue>,
    /// Absent: bytes.
    #[prost(message, optional, tag = "7")]
    pub schema: Option<Schema>,
    #[prost(uint64, optional, tag = "8")]
    pub epoch: Option<u64>,
    #[prost(bool, optional, tag = "9")]
    pub user_provided_producer_name: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ProducerSuccess {
    #[prost(uint64, required, tag = "1")]
    pub request_id: u64,
    #[prost(string, required, tag = "2")]
    pub producer_name: String,
    /// -1 when unknown or when deduplication is off.
    #[prost(int64, optional, tag = "3")]
    pub last_sequence_id: Option<i64>,
    /// Empty: the topic has no schema.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub schema_version: Option<Bytes>,
    #[prost(uint64, optional, tag = "5")]
    pub topic_epoch: Option<u64>,
    /// False: queued, a second answer follows. Absent means true.
    #[prost(bool, optional, tag = "6")]
    pub producer_ready: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Send {
    #[prost(uint64, required, tag = "1")]
    pub producer_id: u64,
    /// A batch's lowest id.
    #[prost(int64, required, tag = "2")]
    pub sequence_id: i64,
    /// Set for batches only.
    #[prost(int32, optional, tag = "3")]
    pub num_messages: Option<i32>,
    /// Set for batches only.
    #[prost(int64, optional, tag = "6")]
    pub highest_sequence_id: Option<i64>,
    /// Of each chunk of a message.
    #[prost(bool, optional, tag = "7")]
    pub is_chunk: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct MessageId {
    #[prost(int64, required, tag = "1")]
    pub ledger_id: i64,
    #[prost(int64, required, tag = "2")]
    pub entry_id: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct SendReceipt {
    #[prost(uint64, required, tag = "1")]
    pub producer_id: u64,
    /// The SEND's lowest id.
    #[prost(int64, required, tag = "2")]
    pub sequence_id: i64,
    #[prost(message, optional, tag = "3")]
    pub message_id: Option<MessageId>,
    /// -1 or 0 for single messages.
    #[prost(int64, optional, tag = "4")]
    pub highest_sequence_id: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SendError {
    #[prost(uint64, required, tag = "1")]
    pub producer_id: u64,
    /// The SEND's highest id, unlike a receipt's.
    #[prost(int64, required, tag = "2")]
    pub sequence_id: i64,
    #[prost(int32, required, tag = "3")]
    pub error: i32,
    #[prost(string, required, tag = "4")]
    pub message: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Success {
    #[prost(uint64, required, tag = "1")]
    pub request_id: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct CommandError {
    /// -1 when the handshake was refused.
    #[prost(int64, required, tag = "1")]
    pub request_id: i64,
    #[prost(int32, required, tag = "2")]
    pub error: i32,
    #[prost(string, required, tag = "3")]
    pub message: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct CloseProducer {
    #[prost(uint64, required, tag = "1")]
    pub producer_id: u64,
    /// -1 when the broker closes.
    #[prost(int64, required, tag = "2")]
    pub request_id: i64,
    #[prost(string, optional, tag = "3")]
    pub assigned_broker_url: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub assigned_broker_url_tls: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PartitionMetadata {
    #[prost(string, required, tag = "1")]
    pub topic: String,
    #[prost(uint64, required, tag = "2")]
    pub request_id: u64,
    /// Absent means true: the question alone then creates the topic's metadata.
    #[prost(bool, optional, tag = "6")]
    pub metadata_auto_creation_enabled: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PartitionMetadataResponse {
    /// 0: not partitioned.
    #[prost(uint32, optional, tag = "1")]
    pub partitions: Option<u32>,
    #[prost(uint64, required, tag = "2")]
    pub request_id: u64,
    /// 0 success, 1 failed.
    #[prost(int32, optional, tag = "3")]
    pub response: Option<i32>,
    #[prost(int32, optional, tag = "4")]
    pub error: Option<i32>,
    #[prost(string, optional, tag = "5")]
    pub message: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Lookup {
    #[prost(string, required, tag = "1")]
    pub topic: String,
    #[prost(uint64, required, tag = "2")]
    pub request_id: u64,
    #[prost(bool, optional, tag = "3")]
    pub authoritative: Option<bool>,
    #[prost(string, optional, tag = "7")]
    pub advertised_listener_name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LookupResponse {
    #[prost(string, optional, tag = "1")]
    pub broker_service_url: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub broker_service_url_tls: Option<String>,
    /// 0 redirect, 1 connect, 2 failed.
    #[prost(int32, optional, tag = "3")]
    pub response: Option<i32>,
    #[prost(uint64, required, tag = "4")]
    pub request_id: u64,
    #[prost(bool, optional, tag = "5")]
    pub authoritative: Option<bool>,
    #[prost(int32, optional, tag = "6")]
    pub error: Option<i32>,
    #[prost(string, optional, tag = "7")]
    pub message: Option<String>,
    #[prost(bool, optional, tag = "8")]
    pub proxy_through_service_url: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TopicMigrated {
    #[prost(uint64, required, tag = "1")]
    pub resource_id: u64,
    /// 0 producer, 1 consumer.
    #[prost(int32, required, tag = "2")]
    pub resource_type: i32,
    #[prost(string, optional, tag = "3")]
    pub broker_service_url: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub broker_service_url_tls: Option<String>,
}

/// Metadata of an entry, as it is read (writing is done by hand in `entry`).
#[derive(Clone, PartialEq, Message)]
pub struct MessageMetadata {
    #[prost(string, required, tag = "1")]
    pub producer_name: String,
    #[prost(int64, required, tag = "2")]
    pub sequence_id: i64,
    #[prost(uint64, required, tag = "3")]
    pub publish_time: u64,
    #[prost(message, repeated, tag = "4")]
    pub properties: Vec<KeyValue>,
    #[prost(bytes = "bytes", optional, tag = "6")]
    pub partition_key: Option<Bytes>,
    #[prost(int32, optional, tag = "8")]
    pub compression: Option<i32>,
    #[prost(uint32, optional, tag = "9")]
    pub uncompressed_size: Option<u32>,
    /// Its presence, not its value, marks a batch.
    #[prost(int32, optional, tag = "11")]
    pub num_messages_in_batch: Option<i32>,
    #[prost(uint64, optional, tag = "12")]
    pub event_time: Option<u64>,
    /// Its presence marks an encrypted payload.
    #[prost(message, repeated, tag = "13")]
    pub encryption_keys: Vec<EncryptionKey>,
    #[prost(string, optional, tag = "14")]
    pub encryption_algo: Option<String>,
    /// The initialisation vector.
    #[prost(bytes = "bytes", optional, tag = "15")]
    pub encryption_param: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "16")]
    pub schema_version: Option<Bytes>,
    #[prost(bool, optional, tag = "17")]
    pub partition_key_b64_encoded: Option<bool>,
    #[prost(bytes = "bytes", optional, tag = "18")]
    pub ordering_key: Option<Bytes>,
    #[prost(int64, optional, tag = "24")]
    pub highest_sequence_id: Option<i64>,
    #[prost(bool, optional, tag = "25")]
    pub null_value: Option<bool>,
    #[prost(string, optional, tag = "26")]
    pub uuid: Option<String>,
    #[prost(int32, optional, tag = "27")]
    pub num_chunks_from_msg: Option<i32>,
    #[prost(int32, optional, tag = "28")]
    pub total_chunk_msg_size: Option<i32>,
    #[prost(int32, optional, tag = "29")]
    pub chunk_id: Option<i32>,
}

/// A data key, wrapped for one named key.
#[derive(Clone, PartialEq, Message)]
pub struct EncryptionKey {
    #[prost(string, required, tag = "1")]
    pub key: String,
    #[prost(bytes = "bytes", required, tag = "2")]
    pub value: Bytes,
    #[prost(message, repeated, tag = "3")]
    pub metadata: Vec<KeyValue>,
}

/// Metadata of one message inside a batch. The key is text, read as bytes so that it need not be copied.
#[derive(Clone, PartialEq, Message)]
pub struct SingleMessageMetadata {
    #[prost(message, repeated, tag = "1")]
    pub properties: Vec<KeyValue>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub partition_key: Option<Bytes>,
    #[prost(int32, required, tag = "3")]
    pub payload_size: i32,
    #[prost(bool, optional, tag = "4")]
    pub compacted_out: Option<bool>,
    #[prost(uint64, optional, tag = "5")]
    pub event_time: Option<u64>,
    #[prost(bool, optional, tag = "6")]
    pub partition_key_b64_encoded: Option<bool>,
    #[prost(bytes = "bytes", optional, tag = "7")]
    pub ordering_key: Option<Bytes>,
    #[prost(int64, optional, tag = "8")]
    pub sequence_id: Option<i64>,
    #[prost(bool, optional, tag = "9")]
    pub null_value: Option<bool>,
}
