//! The requests of the Kinesis API, field for field.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::clock::Millis;
use crate::kinesis::{ErrorKind, KinesisError, NewRecord, ShardFilter, ShardId, StartingPosition};

/// A payload: base64 in JSON, bytes in CBOR.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blob(pub(crate) Bytes);

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BlobVisitor;
        impl Visitor<'_> for BlobVisitor {
            type Value = Blob;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64 text or bytes")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Blob, E> {
                STANDARD.decode(text).map(|bytes| Blob(bytes.into())).map_err(|error| E::custom(format!("not base64: {error}")))
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(Bytes::copy_from_slice(bytes)))
            }
            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes.into()))
            }
        }
        deserializer.deserialize_any(BlobVisitor)
    }
}

/// An instant in seconds, kept in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instant(pub(crate) Millis);

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        // Doubles of present seconds are exact far below the millisecond.
        Ok(Self((seconds * 1000.0).round() as Millis))
    }
}

/// Which stream, in any of the calls that only name one.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct StreamTarget {
    pub(crate) stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    pub(crate) stream_arn: Option<String>,
    #[serde(rename = "ConsumerARN")]
    pub(crate) consumer_arn: Option<String>,
    pub(crate) consumer_name: Option<String>,
    pub(crate) shard_id: Option<String>,
    pub(crate) shard_iterator: Option<String>,
    pub(crate) partition_key: Option<String>,
    pub(crate) explicit_hash_key: Option<String>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CreateStream {
    pub(crate) stream_name: String,
    pub(crate) shard_count: Option<u32>,
    pub(crate) stream_mode_details: Option<StreamModeDetails>,
    pub(crate) tags: BTreeMap<String, String>,
    #[serde(rename = "MaxRecordSizeInKiB")]
    pub(crate) max_record_size_in_kib: Option<usize>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct StreamModeDetails {
    pub(crate) stream_mode: String,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Paging {
    pub(crate) limit: Option<usize>,
    pub(crate) exclusive_start_shard_id: Option<String>,
    pub(crate) exclusive_start_stream_name: Option<String>,
    pub(crate) exclusive_start_tag_key: Option<String>,
    pub(crate) next_token: Option<String>,
    pub(crate) max_results: Option<usize>,
    pub(crate) shard_filter: Option<Filter>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Filter {
    pub(crate) r#type: String,
    pub(crate) shard_id: Option<String>,
    pub(crate) timestamp: Option<Instant>,
}

impl Filter {
    pub(crate) fn parse(&self) -> Result<ShardFilter, KinesisError> {
        let at = || self.timestamp.map(|at| at.0).ok_or_else(|| missing("ShardFilter.Timestamp"));
        match self.r#type.as_str() {
            "AT_LATEST" => Ok(ShardFilter::AtLatest),
            "AT_TRIM_HORIZON" => Ok(ShardFilter::AtTrimHorizon),
            "FROM_TRIM_HORIZON" => Ok(ShardFilter::FromTrimHorizon),
            "AT_TIMESTAMP" => Ok(ShardFilter::AtTimestamp(at()?)),
            "FROM_TIMESTAMP" => Ok(ShardFilter::FromTimestamp(at()?)),
            "AFTER_SHARD_ID" => Ok(ShardFilter::AfterShardId(shard_id(self.shard_id.as_deref())?)),
            other => Err(ErrorKind::Validation.because(format!("Value '{other}' at 'shardFilter.type' is not a filter type"))),
        }
    }
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct PutRecord {
    pub(crate) data: Blob,
    pub(crate) partition_key: ByteString,
    pub(crate) explicit_hash_key: Option<String>,
}

impl PutRecord {
    pub(crate) fn parse(self) -> Result<NewRecord, KinesisError> {
        let explicit_hash_key = self.explicit_hash_key.as_deref().map(|text| hash_key("ExplicitHashKey", Some(text))).transpose()?;
        Ok(NewRecord { data: self.data.0, partition_key: self.partition_key, explicit_hash_key })
    }
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct PutRecords {
    pub(crate) stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    pub(crate) stream_arn: Option<String>,
    pub(crate) records: Vec<PutRecord>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct GetRecords {
    pub(crate) shard_iterator: String,
    pub(crate) limit: Option<usize>,
}

/// A position, spelled as in GetShardIterator or as in SubscribeToShard.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Start {
    #[serde(alias = "Type")]
    pub(crate) shard_iterator_type: String,
    #[serde(alias = "SequenceNumber")]
    pub(crate) starting_sequence_number: Option<String>,
    pub(crate) timestamp: Option<Instant>,
}

impl Start {
    pub(crate) fn parse(self) -> Result<StartingPosition, KinesisError> {
        let number = || self.starting_sequence_number.clone().ok_or_else(|| missing("StartingSequenceNumber"));
        match self.shard_iterator_type.as_str() {
            "TRIM_HORIZON" => Ok(StartingPosition::TrimHorizon),
            "LATEST" => Ok(StartingPosition::Latest),
            "AT_TIMESTAMP" => self.timestamp.map(|at| StartingPosition::AtTimestamp(at.0)).ok_or_else(|| missing("Timestamp")),
            "AT_SEQUENCE_NUMBER" => number().map(StartingPosition::AtSequenceNumber),
            "AFTER_SEQUENCE_NUMBER" => number().map(StartingPosition::AfterSequenceNumber),
            other => Err(ErrorKind::Validation.because(format!("Value '{other}' is not a type of shard iterator"))),
        }
    }
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct SubscribeToShard {
    #[serde(rename = "ConsumerARN")]
    pub(crate) consumer_arn: String,
    pub(crate) shard_id: Option<String>,
    pub(crate) starting_position: Start,
}

/// What the calls that change a stream carry.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct StreamChange {
    pub(crate) shard_to_split: Option<String>,
    pub(crate) new_starting_hash_key: Option<String>,
    pub(crate) shard_to_merge: Option<String>,
    pub(crate) adjacent_shard_to_merge: Option<String>,
    pub(crate) target_shard_count: Option<u32>,
    pub(crate) retention_period_hours: Option<i64>,
    pub(crate) enforce_consumer_deletion: Option<bool>,
    pub(crate) key_id: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) tag_keys: Vec<String>,
    #[serde(rename = "MaxRecordSizeInKiB")]
    pub(crate) max_record_size_in_kib: Option<usize>,
}

/// A parameter that must be there is not.
pub(crate) fn missing(field: &str) -> KinesisError {
    ErrorKind::Validation
        .because(format!("1 validation error detected: Value null at '{field}' failed to satisfy constraint: Member must not be null"))
}

pub(crate) fn shard_id(text: Option<&str>) -> Result<ShardId, KinesisError> {
    let text = text.ok_or_else(|| missing("ShardId"))?;
    text.parse().map_err(|_| ErrorKind::ResourceNotFound.because(format!("Shard {text} does not exist")))
}

pub(crate) fn hash_key(field: &str, text: Option<&str>) -> Result<u128, KinesisError> {
    let text = text.ok_or_else(|| missing(field))?;
    text.parse().map_err(|_| ErrorKind::InvalidArgument.because(format!("{field} {text} is not a number from 0 to 2^128-1")))
}
