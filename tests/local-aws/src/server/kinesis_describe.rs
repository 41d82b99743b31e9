//! How streams, shards and consumers look in answers.

use ciborium::Value;

use crate::kinesis::{ChildShard, Consumer, HashRange, Shard, Stream};
use crate::wire::value::{count, list, map, optional, timestamp};

const MILLIS_OF_HOUR: i64 = 3_600_000;

/// The hash range of a shard.
fn hash_range(range: HashRange) -> Value {
    map([("StartingHashKey", range.start.to_string().into()), ("EndingHashKey", range.end.to_string().into())])
}

/// A shard of ListShards and DescribeStream.
pub(super) fn shard(shard: &Shard) -> Value {
    let numbers = map([
        ("StartingSequenceNumber", shard.starting_sequence_number().to_string().into()),
        ("EndingSequenceNumber", optional(shard.ending_sequence_number().map(|number| number.to_string()))),
    ]);
    map([
        ("ShardId", shard.id.to_string().into()),
        ("ParentShardId", optional(shard.parents.first().map(ToString::to_string))),
        ("AdjacentParentShardId", optional(shard.parents.get(1).map(ToString::to_string))),
        ("HashKeyRange", hash_range(shard.range)),
        ("SequenceNumberRange", numbers),
    ])
}

/// A child at the end of its parents.
pub(super) fn child_shard(child: &ChildShard) -> Value {
    map([
        ("ShardId", child.shard_id.to_string().into()),
        ("ParentShards", list(child.parents.iter().map(|parent| parent.to_string().into()))),
        ("HashKeyRange", hash_range(child.range)),
    ])
}

/// A consumer; the stream's ARN is given where the answer carries it.
pub(super) fn consumer(consumer: &Consumer, stream_arn: Option<&str>) -> Value {
    map([
        ("ConsumerName", consumer.name.as_str().into()),
        ("ConsumerARN", consumer.arn.as_str().into()),
        ("ConsumerStatus", consumer.status.as_str().into()),
        ("ConsumerCreationTimestamp", timestamp(consumer.created_at)),
        ("StreamARN", optional(stream_arn)),
    ])
}

/// PROVISIONED or ON_DEMAND.
fn mode(stream: &Stream) -> Value {
    map([("StreamMode", if stream.on_demand { "ON_DEMAND" } else { "PROVISIONED" }.into())])
}

fn encryption(stream: &Stream) -> Value {
    if stream.kms_key.is_some() { "KMS" } else { "NONE" }.into()
}

/// Metrics of shards are never on here.
fn monitoring() -> Value {
    list([map([("ShardLevelMetrics", list([]))])])
}

/// DescribeStreamSummary.
pub(super) fn stream_summary(stream: &Stream) -> Value {
    map([
        ("StreamName", stream.name.as_str().into()),
        ("StreamARN", stream.arn.as_str().into()),
        ("StreamStatus", stream.status.as_str().into()),
        ("StreamModeDetails", mode(stream)),
        ("RetentionPeriodHours", (stream.retention / MILLIS_OF_HOUR).into()),
        ("StreamCreationTimestamp", timestamp(stream.created_at)),
        ("EnhancedMonitoring", monitoring()),
        ("EncryptionType", encryption(stream)),
        ("KeyId", optional(stream.kms_key.as_deref())),
        ("OpenShardCount", count(stream.open_shard_count())),
        ("ConsumerCount", count(stream.consumers.len())),
        ("MaxRecordSizeInKiB", count(stream.max_record_bytes / 1024)),
    ])
}

/// DescribeStream, with a page of shards.
pub(super) fn stream(stream: &Stream, shards: Vec<Value>, more: bool) -> Value {
    map([
        ("StreamName", stream.name.as_str().into()),
        ("StreamARN", stream.arn.as_str().into()),
        ("StreamStatus", stream.status.as_str().into()),
        ("StreamModeDetails", mode(stream)),
        ("Shards", Value::Array(shards)),
        ("HasMoreShards", more.into()),
        ("RetentionPeriodHours", (stream.retention / MILLIS_OF_HOUR).into()),
        ("StreamCreationTimestamp", timestamp(stream.created_at)),
        ("EnhancedMonitoring", monitoring()),
        ("EncryptionType", encryption(stream)),
        ("KeyId", optional(stream.kms_key.as_deref())),
    ])
}
