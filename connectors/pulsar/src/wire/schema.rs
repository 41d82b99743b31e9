//! What is said about schemas, by the field numbers of protocol version 21.

#![allow(missing_docs, reason = "the names are the protocol's own and are explained where they are used")]

use super::messages::KeyValue;
use bytes::Bytes;
use prost::Message;

/// Values of [`Schema::kind`] that this client declares.
pub mod schema_type {
    pub const NONE: i32 = 0;
    pub const STRING: i32 = 1;
    pub const JSON: i32 = 2;
    pub const AVRO: i32 = 4;
}

#[derive(Clone, PartialEq, Message)]
pub struct Schema {
    #[prost(string, required, tag = "1")]
    pub name: String,
    /// Of JSON and Avro: the definition, in Avro's JSON.
    #[prost(bytes = "bytes", required, tag = "3")]
    pub schema_data: Bytes,
    #[prost(int32, required, tag = "4")]
    pub kind: i32,
    #[prost(message, repeated, tag = "5")]
    pub properties: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetSchema {
    #[prost(uint64, required, tag = "1")]
    pub request_id: u64,
    #[prost(string, required, tag = "2")]
    pub topic: String,
    /// Absent: the newest. Never empty, which is an error.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub schema_version: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetSchemaResponse {
    #[prost(uint64, required, tag = "1")]
    pub request_id: u64,
    /// `TopicNotFound`: the topic has no schema.
    #[prost(int32, optional, tag = "2")]
    pub error_code: Option<i32>,
    #[prost(string, optional, tag = "3")]
    pub error_message: Option<String>,
    #[prost(message, optional, tag = "4")]
    pub schema: Option<Schema>,
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub schema_version: Option<Bytes>,
}
