//! How the machine behaves: durations, page sizes, limits, names.

use serde::{Deserialize, Serialize};

use super::limits::Limits;
use crate::clock::Millis;

/// Settings of the Kinesis machine; every duration is in milliseconds of the machine's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct KinesisSettings {
    /// The region in ARNs.
    pub region: String,
    /// The twelve digits of the account in ARNs.
    pub account: String,
    /// Seed of everything random: iterator signatures and the payloads of canned streams.
    pub seed: u64,
    /// Which limits are enforced.
    pub limits: Limits,
    /// Shards on a page of ListShards and DescribeStream when the caller names no smaller number.
    pub list_shards_page: usize,
    /// How long a new stream is CREATING.
    pub create_stream_ms: Millis,
    /// How long a deleted stream is DELETING.
    pub delete_stream_ms: Millis,
    /// How long a stream is UPDATING at a reshard or a change of encryption.
    pub update_stream_ms: Millis,
    /// How long a new consumer is CREATING, and a deleted one DELETING.
    pub consumer_ms: Millis,
    /// Age at which a shard iterator expires.
    pub iterator_ms: Millis,
    /// Age at which a page token expires.
    pub page_token_ms: Millis,
    /// Life of a subscription.
    pub subscription_ms: Millis,
    /// Silence on a subscription after which an empty event is sent.
    pub empty_event_ms: Millis,
    /// Time after a subscription in which the same consumer may not subscribe to the same shard again.
    pub resubscribe_ms: Millis,
    /// Most records in an event of a subscription.
    pub event_records: usize,
    /// Most payload bytes in an event of a subscription (one record always fits).
    pub event_bytes: usize,
}

impl Default for KinesisSettings {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            seed: 0,
            limits: Limits::ON,
            list_shards_page: 1000,
            create_stream_ms: 0,
            delete_stream_ms: 0,
            update_stream_ms: 0,
            consumer_ms: 0,
            iterator_ms: 300_000,
            page_token_ms: 300_000,
            subscription_ms: 300_000,
            empty_event_ms: 3_000,
            resubscribe_ms: 5_000,
            event_records: 10_000,
            event_bytes: 1024 * 1024,
        }
    }
}
