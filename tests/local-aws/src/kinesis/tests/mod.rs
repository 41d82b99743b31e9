//! The machine under a stepped clock.
#![allow(clippy::unwrap_used, missing_docs)]

mod fan_out;
mod limits;
mod listing;
mod properties;
mod reading;

use bytes::Bytes;
use std::collections::BTreeMap;

use super::*;

/// Some moment of 2023, in milliseconds.
pub(super) const START: Millis = 1_700_000_000_000;

pub(super) fn machine(settings: KinesisSettings) -> (Kinesis, Clock) {
    let clock = Clock::stepped(START);
    (Kinesis::new(settings, clock.clone()), clock)
}

pub(super) fn unlimited() -> KinesisSettings {
    KinesisSettings { limits: Limits::OFF, ..KinesisSettings::default() }
}

/// A machine with a stream `s` of `shards` shards.
pub(super) fn with_stream(settings: KinesisSettings, shards: u32) -> (Kinesis, Clock) {
    let (mut kinesis, clock) = machine(settings);
    kinesis.create_stream("s", Some(shards), BTreeMap::new()).unwrap();
    (kinesis, clock)
}

pub(super) fn record(key: &str, len: usize) -> NewRecord {
    NewRecord::new(key.to_owned(), Bytes::from(vec![b'x'; len]))
}

pub(super) fn iterator(kinesis: &mut Kinesis, shard: u64, start: StartingPosition) -> String {
    kinesis.get_shard_iterator("s", ShardId(shard), &start).unwrap()
}

/// Records of a stored batch.
pub(super) fn stored(batch: &RecordBatch) -> &[StoredRecord] {
    match batch {
        RecordBatch::Stored(records) => records,
        RecordBatch::Canned(_) => panic!("records that were put were expected"),
    }
}
