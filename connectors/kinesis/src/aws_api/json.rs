//! The JSON of answers and events: `application/x-amz-json-1.1`. Instants are seconds, payloads are base64.

use super::answer::{Body, Gathered, Wrong, range, whole};
use crate::port::{ChildShard, Encryption, RawRecord};
use serde::Deserialize;
use std::borrow::Cow;

/// Reads an answer or an event; the members of both are known by their names.
pub(super) fn body(bytes: &[u8]) -> Result<Body, Wrong> {
    let read: WireBody = serde_json::from_slice(bytes)?;
    Ok(Body {
        records: records(read.records.unwrap_or_default())?,
        next_iterator: read.next_shard_iterator,
        continuation: read.continuation_sequence_number,
        millis_behind: read.millis_behind_latest,
        children: read.child_shards.map(|children| children.into_iter().map(child).collect()).transpose()?,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireBody<'a> {
    #[serde(borrow)]
    records: Option<Vec<WireRecord<'a>>>,
    next_shard_iterator: Option<String>,
    continuation_sequence_number: Option<String>,
    millis_behind_latest: Option<i64>,
    child_shards: Option<Vec<WireChild>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireChild {
    shard_id: String,
    parent_shards: Option<Vec<String>>,
    hash_key_range: WireRange,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireRange {
    starting_hash_key: String,
    ending_hash_key: String,
}

/// A record as it stands in the body; what is written there without escapes is not copied.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireRecord<'a> {
    #[serde(borrow)]
    sequence_number: Cow<'a, str>,
    approximate_arrival_timestamp: Option<f64>,
    #[serde(borrow)]
    data: Cow<'a, str>,
    #[serde(borrow)]
    partition_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    encryption_type: Option<Cow<'a, str>>,
}

fn records(records: Vec<WireRecord<'_>>) -> Result<Vec<RawRecord>, Wrong> {
    let texts = records.iter().map(|record| record.sequence_number.len() + record.partition_key.as_ref().map_or(0, |key| key.len())).sum();
    let mut gathered = Gathered::new(texts);
    gathered.expect(Some(records.len() as u64));
    for record in records {
        let data = base64_simd::STANDARD.decode_to_vec(record.data.as_bytes()).map_err(|_| Wrong::from("a payload that is not base64"))?;
        let arrived_at = record.approximate_arrival_timestamp.and_then(|seconds| whole(seconds * 1000.0));
        let encryption = if record.encryption_type.as_deref() == Some("KMS") { Encryption::Kms } else { Encryption::None };
        gathered.add(&record.sequence_number, record.partition_key.as_deref(), Cow::Owned(data), arrived_at, encryption)?;
    }
    gathered.into_records()
}

fn child(child: WireChild) -> Result<ChildShard, Wrong> {
    Ok(ChildShard {
        range: range(&child.hash_key_range.starting_hash_key, &child.hash_key_range.ending_hash_key)?,
        id: child.shard_id.into(),
        parents: child.parent_shards.unwrap_or_default().into_iter().map(Into::into).collect(),
    })
}
