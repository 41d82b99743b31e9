//! The protobuf message inside an aggregate, by its field numbers. Keys and data stay slices of what was decoded.

use bytes::Bytes;

/// `AggregatedRecord`: two tables of keys, and the user records that point into them.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Aggregate {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(super) partition_keys: Vec<Bytes>,
    /// Decimal numbers of up to 128 bits.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub(super) explicit_hash_keys: Vec<Bytes>,
    #[prost(message, repeated, tag = "3")]
    pub(super) records: Vec<Part>,
}

/// `Record`. The first and the third field are required by the format; here they are optional, so that their absence is seen.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Part {
    #[prost(uint64, optional, tag = "1")]
    pub(super) partition_key_index: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub(super) explicit_hash_key_index: Option<u64>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(super) data: Option<Bytes>,
}
