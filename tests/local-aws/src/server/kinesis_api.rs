//! The Kinesis API: each operation from its request to its answer.
//!
//! All rules are the machine's; here are only names and shapes.

use std::sync::Arc;

use bytes::Bytes;
use ciborium::Value;
use serde::de::DeserializeOwned;

use super::account::Account;
use super::body::Reply;
use super::{kinesis_describe as describe, push};
use crate::faults::FaultAction;
use crate::kinesis::{ConsumerName, ErrorKind, GetRecordsAnswer, KinesisError, ListShardsRequest, PutOutcome, ShardPage, hash_of};
use crate::wire::records::{cbor_head, cbor_text, write_records};
use crate::wire::requests::{
    CreateStream, GetRecords, Paging, PutRecord, PutRecords, Start, StreamChange, StreamTarget, SubscribeToShard, hash_key, missing,
    shard_id,
};
use crate::wire::value::{Format, count, list, map, optional};

/// Shards on a page of DescribeStream unless the caller says otherwise.
const DESCRIBE_PAGE: usize = 100;
/// Streams on a page of ListStreams unless the caller says otherwise.
const STREAMS_PAGE: usize = 100;

/// What a call is about, for faults that name a stream or a shard.
#[derive(Debug, Default)]
pub(super) struct Target {
    pub(super) resource: Option<String>,
    pub(super) shard: Option<String>,
}

/// Why a call gets no answer.
enum Refusal {
    Kinesis(KinesisError),
    /// The request cannot be read.
    Unreadable(String),
    /// No such operation.
    Unknown,
}

impl From<KinesisError> for Refusal {
    fn from(error: KinesisError) -> Self {
        Self::Kinesis(error)
    }
}

/// An error in the form of the request.
pub(super) fn error(format: Format, status: u16, code: &str, message: &str) -> Reply {
    let body = map([("__type", code.into()), ("message", message.into())]);
    Reply::new(status, format.content_type(), format.write(&body))
}

/// Reads off what a call is about; nothing for a request that cannot be read. A PutRecord is about the
/// shard its key falls into; a PutRecords is about no shard in particular.
pub(super) fn target(account: &Account, format: Format, body: &[u8]) -> Target {
    if !account.has_faults() {
        return Target::default();
    }
    let Ok(request) = format.read::<StreamTarget>(body) else {
        return Target::default();
    };
    let kinesis = account.kinesis();
    if let Some((stream, shard)) = request.shard_iterator.as_deref().and_then(|token| kinesis.shard_of_iterator(token)) {
        return Target { resource: Some(stream), shard: Some(shard.to_string()) };
    }
    let consumer_stream = request.consumer_arn.as_deref().and_then(|arn| arn.split_once("/consumer/")).map(|(stream, _)| stream.to_owned());
    let arn = request.stream_arn.or(consumer_stream);
    let resource = kinesis.stream_name(request.stream_name.as_deref(), arn.as_deref()).ok().map(str::to_owned);
    let shard = request.shard_id.or_else(|| {
        let key = request.partition_key.as_deref()?;
        let hash = request.explicit_hash_key.and_then(|text| text.parse().ok()).unwrap_or_else(|| hash_of(key));
        let open = kinesis.stream(resource.as_deref()?)?.open_shards().find(|shard| shard.range.contains(hash))?;
        Some(open.id.to_string())
    });
    Target { resource, shard }
}

/// Answers a call.
pub(super) fn call(account: &Arc<Account>, format: Format, operation: &str, body: &Bytes, faults: &[FaultAction]) -> Reply {
    let api = Api { account, format, body };
    let answered = match operation {
        "GetRecords" => api.get_records().map(|answer| Reply::new(200, format.content_type(), answer)),
        "SubscribeToShard" => api.subscribe(faults),
        _ => api.small(operation).map(|answer| {
            account.changed.notify_one();
            // The service answers calls without a result with an empty body.
            let body = if answer.is_null() { Vec::new() } else { format.write(&answer) };
            Reply::new(200, format.content_type(), body)
        }),
    };
    answered.unwrap_or_else(|refusal| match refusal {
        Refusal::Kinesis(refused) => error(format, 400, refused.kind.code(), &refused.message),
        Refusal::Unreadable(reason) => error(format, 400, "SerializationException", &reason),
        Refusal::Unknown => error(format, 400, "UnknownOperationException", &format!("{operation} is not known here")),
    })
}

/// A call under way.
struct Api<'a> {
    account: &'a Arc<Account>,
    format: Format,
    body: &'a Bytes,
}

impl Api<'_> {
    fn read<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        self.format.read(self.body).map_err(Refusal::Unreadable)
    }

    /// The name of the stream the request is about.
    fn stream(&self) -> Result<String, Refusal> {
        let target: StreamTarget = self.read()?;
        let name = self.account.kinesis().stream_name(target.stream_name.as_deref(), target.stream_arn.as_deref())?.to_owned();
        Ok(name)
    }

    fn get_records(&self) -> Result<Vec<u8>, Refusal> {
        let request: GetRecords = self.read()?;
        let answer = self.account.kinesis().get_records(&request.shard_iterator, request.limit)?;
        // Encoded outside the machine's lock.
        Ok(write_get_records(self.format, &answer))
    }

    fn subscribe(&self, faults: &[FaultAction]) -> Result<Reply, Refusal> {
        let request: SubscribeToShard = self.read()?;
        let shard = shard_id(request.shard_id.as_deref())?;
        let start = request.starting_position.parse()?;
        let (id, changes) = self.account.kinesis().subscribe(&request.consumer_arn, shard, &start)?;
        Ok(push::reply(self.account, self.format, id, changes, faults))
    }

    /// Every operation whose answer is a small tree; null for those that answer nothing.
    fn small(&self, operation: &str) -> Result<Value, Refusal> {
        match operation {
            "CreateStream" => self.create_stream(),
            "ListStreams" => self.list_streams(),
            "ListShards" => self.list_shards(),
            "DescribeStream" => self.describe_stream(),
            "DescribeStreamSummary" => {
                let stream = self.stream()?;
                Ok(map([("StreamDescriptionSummary", describe::stream_summary(self.account.kinesis().describe(&stream)?))]))
            }
            "DescribeLimits" => Ok(map([("ShardLimit", 20_000.into()), ("OpenShardCount", count(self.open_shards()))])),
            "PutRecord" => self.put_record(),
            "PutRecords" => self.put_records(),
            "GetShardIterator" => {
                let (stream, target, start): (_, StreamTarget, Start) = (self.stream()?, self.read()?, self.read()?);
                let shard = shard_id(target.shard_id.as_deref())?;
                let start = start.parse()?;
                Ok(map([("ShardIterator", self.account.kinesis().get_shard_iterator(&stream, shard, &start)?.into())]))
            }
            "RegisterStreamConsumer" | "DescribeStreamConsumer" | "ListStreamConsumers" | "DeregisterStreamConsumer" => {
                self.consumers(operation)
            }
            "AddTagsToStream" | "ListTagsForStream" | "RemoveTagsFromStream" => self.tags(operation),
            _ => self.change_stream(operation),
        }
    }

    fn create_stream(&self) -> Result<Value, Refusal> {
        let request: CreateStream = self.read()?;
        let on_demand = request.stream_mode_details.is_some_and(|details| details.stream_mode == "ON_DEMAND");
        let shards = match (on_demand, request.shard_count) {
            (true, _) => None,
            (false, Some(count)) => Some(count),
            (false, None) => return Err(missing("ShardCount").into()),
        };
        let mut kinesis = self.account.kinesis();
        kinesis.create_stream(&request.stream_name, shards, request.tags)?;
        if let Some(kib) = request.max_record_size_in_kib {
            kinesis.set_max_record_size(&request.stream_name, kib)?;
        }
        Ok(Value::Null)
    }

    fn list_streams(&self) -> Result<Value, Refusal> {
        let request: Paging = self.read()?;
        let after = request.exclusive_start_stream_name.or(request.next_token).unwrap_or_default();
        let mut kinesis = self.account.kinesis();
        let names: Vec<String> = kinesis.stream_names().into_iter().filter(|name| *name > after).collect();
        let most = request.limit.unwrap_or(STREAMS_PAGE).max(1);
        let page: Vec<&String> = names.iter().take(most).collect();
        let more = names.len() > page.len();
        let next = page.last().filter(|_| more).map(|last| last.as_str());
        let mut summaries = Vec::new();
        for name in &page {
            let summary = describe::stream_summary(kinesis.describe(name)?);
            // A summary in the list has these entries alone.
            let listed = ["StreamName", "StreamARN", "StreamStatus", "StreamModeDetails", "StreamCreationTimestamp"];
            let entries = summary.into_map().unwrap_or_default();
            summaries
                .push(Value::Map(entries.into_iter().filter(|(key, _)| key.as_text().is_some_and(|key| listed.contains(&key))).collect()));
        }
        Ok(map([
            ("StreamNames", list(page.iter().map(|name| name.as_str().into()))),
            ("HasMoreStreams", more.into()),
            ("NextToken", optional(next)),
            ("StreamSummaries", Value::Array(summaries)),
        ]))
    }

    fn list_shards(&self) -> Result<Value, Refusal> {
        let (target, request): (StreamTarget, Paging) = (self.read()?, self.read()?);
        let mut kinesis = self.account.kinesis();
        let page = match request.next_token {
            Some(token) => {
                // An ARN may stand beside the token, a name or a selection may not.
                if target.stream_name.is_some() || request.shard_filter.is_some() || request.exclusive_start_shard_id.is_some() {
                    return Err(ErrorKind::InvalidArgument.because("NextToken and StreamName cannot be provided together.").into());
                }
                kinesis.list_shards_next(&token, request.max_results)?
            }
            None => {
                let stream = kinesis.stream_name(target.stream_name.as_deref(), target.stream_arn.as_deref())?.to_owned();
                let after = request.exclusive_start_shard_id.as_deref().map(|text| shard_id(Some(text))).transpose()?;
                let filter = request.shard_filter.as_ref().map(|filter| filter.parse()).transpose()?;
                kinesis.list_shards(&stream, &ListShardsRequest { filter, after, most: request.max_results })?
            }
        };
        let ShardPage { shards, next_token } = page;
        Ok(map([("Shards", list(shards.into_iter().map(describe::shard))), ("NextToken", optional(next_token))]))
    }

    fn describe_stream(&self) -> Result<Value, Refusal> {
        let (stream, request): (_, Paging) = (self.stream()?, self.read()?);
        let after = request.exclusive_start_shard_id.as_deref().map(|text| shard_id(Some(text))).transpose()?;
        let most = request.limit.unwrap_or(DESCRIBE_PAGE).clamp(1, 10_000);
        let mut kinesis = self.account.kinesis();
        let page = kinesis.list_shards(&stream, &ListShardsRequest { filter: None, after, most: Some(most) })?;
        let more = page.next_token.is_some();
        let shards = page.shards.into_iter().map(describe::shard).collect();
        Ok(map([("StreamDescription", describe::stream(kinesis.describe(&stream)?, shards, more))]))
    }

    fn open_shards(&self) -> usize {
        let mut kinesis = self.account.kinesis();
        let names = kinesis.stream_names();
        names.iter().filter_map(|name| kinesis.stream(name)).map(crate::kinesis::Stream::open_shard_count).sum()
    }

    fn put_record(&self) -> Result<Value, Refusal> {
        let (stream, request): (_, PutRecord) = (self.stream()?, self.read()?);
        let record = request.parse()?;
        let placed = self.account.kinesis().put_record(&stream, record)?;
        Ok(map([
            ("ShardId", placed.shard_id.to_string().into()),
            ("SequenceNumber", placed.sequence_number.as_str().into()),
            ("EncryptionType", encryption(placed.encrypted)),
        ]))
    }

    fn put_records(&self) -> Result<Value, Refusal> {
        let request: PutRecords = self.read()?;
        let records = request.records.into_iter().map(PutRecord::parse).collect::<Result<Vec<_>, _>>()?;
        let mut kinesis = self.account.kinesis();
        let stream = kinesis.stream_name(request.stream_name.as_deref(), request.stream_arn.as_deref())?.to_owned();
        let outcomes = kinesis.put_records(&stream, records)?;
        drop(kinesis);
        let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        let encrypted = outcomes.iter().flatten().any(|placed| placed.encrypted);
        Ok(map([
            ("FailedRecordCount", count(failed)),
            ("Records", list(outcomes.iter().map(put_outcome))),
            ("EncryptionType", encryption(encrypted)),
        ]))
    }

    fn consumers(&self, operation: &str) -> Result<Value, Refusal> {
        let (target, request): (StreamTarget, Paging) = (self.read()?, self.read()?);
        let mut kinesis = self.account.kinesis();
        let stream = match target.stream_arn.as_deref() {
            Some(arn) => kinesis.stream_name(target.stream_name.as_deref(), Some(arn))?,
            None => "",
        };
        let by_name = target.consumer_name.as_deref().map(|consumer| ConsumerName::Named { stream, consumer });
        let name = target.consumer_arn.as_deref().map(ConsumerName::Arn).or(by_name);
        match operation {
            "RegisterStreamConsumer" => {
                let consumer = target.consumer_name.as_deref().ok_or_else(|| missing("ConsumerName"))?;
                let registered = kinesis.register_consumer(stream, consumer)?;
                Ok(map([("Consumer", describe::consumer(&registered, None))]))
            }
            "DescribeStreamConsumer" => {
                let (arn, consumer) = kinesis.describe_consumer(&name.ok_or_else(|| missing("ConsumerARN"))?)?;
                Ok(map([("ConsumerDescription", describe::consumer(&consumer, Some(&arn)))]))
            }
            "DeregisterStreamConsumer" => {
                kinesis.deregister_consumer(&name.ok_or_else(|| missing("ConsumerARN"))?)?;
                Ok(Value::Null)
            }
            _ => {
                let after = request.next_token.unwrap_or_default();
                let mut left = kinesis.list_consumers(stream)?;
                left.retain(|consumer| consumer.name > after);
                let most = request.max_results.unwrap_or(100).max(1);
                let next = left.get(most.saturating_sub(1)).filter(|_| left.len() > most).map(|last| last.name.clone());
                left.truncate(most);
                Ok(map([
                    ("Consumers", list(left.iter().map(|consumer| describe::consumer(consumer, None)))),
                    ("NextToken", optional(next)),
                ]))
            }
        }
    }

    fn tags(&self, operation: &str) -> Result<Value, Refusal> {
        let (stream, change, request): (_, StreamChange, Paging) = (self.stream()?, self.read()?, self.read()?);
        let mut kinesis = self.account.kinesis();
        let tags = kinesis.tags_mut(&stream)?;
        match operation {
            "AddTagsToStream" => tags.extend(change.tags),
            "RemoveTagsFromStream" => tags.retain(|key, _| !change.tag_keys.contains(key)),
            _ => {
                let after = request.exclusive_start_tag_key.unwrap_or_default();
                let most = request.limit.unwrap_or(50).max(1);
                let left: Vec<_> = tags.iter().filter(|(key, _)| **key > after).collect();
                let tag = |(key, value): &(&String, &String)| map([("Key", key.as_str().into()), ("Value", value.as_str().into())]);
                return Ok(map([("Tags", list(left.iter().take(most).map(tag))), ("HasMoreTags", (left.len() > most).into())]));
            }
        }
        Ok(Value::Null)
    }

    fn change_stream(&self, operation: &str) -> Result<Value, Refusal> {
        let (stream, change): (String, StreamChange) = match operation {
            "DeleteStream"
            | "SplitShard"
            | "MergeShards"
            | "UpdateShardCount"
            | "IncreaseStreamRetentionPeriod"
            | "DecreaseStreamRetentionPeriod"
            | "UpdateMaxRecordSize"
            | "StartStreamEncryption"
            | "StopStreamEncryption" => (self.stream()?, self.read()?),
            _ => return Err(Refusal::Unknown),
        };
        let mut kinesis = self.account.kinesis();
        match operation {
            "DeleteStream" => kinesis.delete_stream(&stream, change.enforce_consumer_deletion.unwrap_or_default())?,
            "SplitShard" => {
                let shard = shard_id(change.shard_to_split.as_deref())?;
                kinesis.split_shard(&stream, shard, hash_key("NewStartingHashKey", change.new_starting_hash_key.as_deref())?)?;
            }
            "MergeShards" => {
                let shard = shard_id(change.shard_to_merge.as_deref())?;
                kinesis.merge_shards(&stream, shard, shard_id(change.adjacent_shard_to_merge.as_deref())?)?;
            }
            "UpdateShardCount" => {
                let target = change.target_shard_count.ok_or_else(|| missing("TargetShardCount"))?;
                let present = kinesis.update_shard_count(&stream, target)?;
                let arn = kinesis.describe(&stream)?.arn.clone();
                return Ok(map([
                    ("StreamName", stream.into()),
                    ("CurrentShardCount", count(present)),
                    ("TargetShardCount", target.into()),
                    ("StreamARN", arn.into()),
                ]));
            }
            "UpdateMaxRecordSize" => {
                let kib = change.max_record_size_in_kib.ok_or_else(|| missing("MaxRecordSizeInKiB"))?;
                kinesis.set_max_record_size(&stream, kib)?;
            }
            "StartStreamEncryption" => {
                let key = change.key_id.ok_or_else(|| missing("KeyId"))?;
                kinesis.set_encryption(&stream, Some(key))?;
            }
            "StopStreamEncryption" => kinesis.set_encryption(&stream, None)?,
            _ => {
                let hours = change.retention_period_hours.ok_or_else(|| missing("RetentionPeriodHours"))?;
                kinesis.set_retention(&stream, hours, operation.starts_with("Increase"))?;
            }
        }
        Ok(Value::Null)
    }
}

fn encryption(encrypted: bool) -> Value {
    if encrypted { "KMS" } else { "NONE" }.into()
}

fn put_outcome(outcome: &PutOutcome) -> Value {
    match outcome {
        Ok(placed) => map([("SequenceNumber", placed.sequence_number.as_str().into()), ("ShardId", placed.shard_id.to_string().into())]),
        Err(refused) => map([("ErrorCode", refused.kind.code().into()), ("ErrorMessage", refused.message.as_str().into())]),
    }
}

/// Writes the answer of GetRecords: everything but the records is small.
fn write_get_records(format: Format, answer: &GetRecordsAnswer) -> Vec<u8> {
    let mut out = Vec::new();
    let children = list(answer.child_shards.iter().map(describe::child_shard));
    match format {
        Format::Json => {
            out.extend_from_slice(b"{\"Records\":");
            write_records(format, &answer.records, &mut out);
            if let Some(next) = &answer.next_iterator {
                // A token is base64 and needs no escape.
                out.extend_from_slice(format!(",\"NextShardIterator\":\"{next}\"").as_bytes());
            }
            out.extend_from_slice(format!(",\"MillisBehindLatest\":{}", answer.millis_behind_latest).as_bytes());
            if !answer.child_shards.is_empty() {
                out.extend_from_slice(b",\"ChildShards\":");
                out.extend_from_slice(&format.write(&children));
            }
            out.push(b'}');
        }
        Format::Cbor => {
            let optional = u64::from(answer.next_iterator.is_some()) + u64::from(!answer.child_shards.is_empty());
            cbor_head(5, 2 + optional, &mut out);
            cbor_text("Records", &mut out);
            write_records(format, &answer.records, &mut out);
            if let Some(next) = &answer.next_iterator {
                cbor_text("NextShardIterator", &mut out);
                cbor_text(next, &mut out);
            }
            cbor_text("MillisBehindLatest", &mut out);
            cbor_head(0, answer.millis_behind_latest.unsigned_abs(), &mut out);
            if !answer.child_shards.is_empty() {
                cbor_text("ChildShards", &mut out);
                out.extend_from_slice(&format.write(&children));
            }
        }
    }
    out
}
