//! The calls on the stream as a whole: describe it, list its shards.

use super::{AwsKinesis, StreamName};
use crate::ids::{HashRange, SequenceNumber};
use crate::port::{Shard, ShardFilter, ShardList, StreamApi, StreamDescription};
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{HashKeyRange, Shard as ListedShard, ShardFilter as RequestFilter, ShardFilterType};
use connector_aws::AnsweredAt;
use connector_sdk::Error;
use futures_util::future::BoxFuture;
use std::time::UNIX_EPOCH;

impl StreamApi for AwsKinesis {
    fn describe(&self) -> BoxFuture<'_, Result<StreamDescription, Error>> {
        Box::pin(self.describe_summary())
    }

    fn list_shards(&self, filter: ShardFilter) -> BoxFuture<'_, Result<ShardList, Error>> {
        Box::pin(self.list_all_pages(filter))
    }
}

impl AwsKinesis {
    pub(super) async fn describe_summary(&self) -> Result<StreamDescription, Error> {
        let call = self.stream.call("kinesis:DescribeStreamSummary");
        let answered = AnsweredAt::new();
        let request = self
            .client
            .describe_stream_summary()
            .set_stream_name(self.stream.name_in_request())
            .set_stream_arn(self.stream.arn.clone())
            .customize()
            .interceptor(answered.clone());
        let answer = request.send().await.map_err(|error| call.failed(&error))?;
        let Some(summary) = answer.stream_description_summary else {
            return Err(Error::transient(format!("stream `{}` was described by an empty answer", self.stream.name)));
        };
        Ok(StreamDescription {
            name: summary.stream_name.into(),
            arn: summary.stream_arn.into(),
            created_at: millis(&summary.stream_creation_timestamp).unwrap_or_default(),
            retention_hours: u32::try_from(summary.retention_period_hours).unwrap_or_default(),
            answered_at: millis_of(&answered),
        })
    }

    pub(super) async fn list_all_pages(&self, filter: ShardFilter) -> Result<ShardList, Error> {
        let call = self.stream.call("kinesis:ListShards");
        let answered = AnsweredAt::new();
        let mut shards = Vec::new();
        let mut token = None;
        loop {
            let request = match token.take() {
                // A token stands for stream and filter; naming them again is refused.
                Some(token) => self.client.list_shards().next_token(token),
                None => self
                    .client
                    .list_shards()
                    .set_stream_name(self.stream.name_in_request())
                    .set_stream_arn(self.stream.arn.clone())
                    .set_shard_filter(in_request(filter)),
            };
            // The first page's answer fills the cell; later ones find it filled.
            let page = request.customize().interceptor(answered.clone()).send().await.map_err(|error| call.failed(&error))?;
            for shard in page.shards.unwrap_or_default() {
                shards.push(listed(&self.stream, shard)?);
            }
            token = page.next_token;
            if token.is_none() {
                return Ok(ShardList { shards, answered_at: millis_of(&answered) });
            }
        }
    }
}

fn in_request(filter: ShardFilter) -> Option<RequestFilter> {
    let (kind, timestamp) = match filter {
        ShardFilter::All => return None,
        ShardFilter::AtLatest => (ShardFilterType::AtLatest, None),
        ShardFilter::AtTrimHorizon => (ShardFilterType::AtTrimHorizon, None),
        ShardFilter::AtTimestamp(moment) => (ShardFilterType::AtTimestamp, Some(date_time(moment))),
    };
    Some(RequestFilter::builder().r#type(kind).set_timestamp(timestamp).build().expect("the type is set"))
}

fn listed(stream: &StreamName, shard: ListedShard) -> Result<Shard, Error> {
    let unreadable = |what: &str| {
        Error::transient(format!(
            "`kinesis:ListShards` on stream `{}` gave shard `{}` without readable {what}",
            stream.name, shard.shard_id
        ))
    };
    let range = shard.hash_key_range.as_ref().and_then(hash_range).ok_or_else(|| unreadable("hash keys"))?;
    let numbers = shard.sequence_number_range.as_ref().ok_or_else(|| unreadable("sequence numbers"))?;
    let starts_at =
        SequenceNumber::parse(numbers.starting_sequence_number.as_str()).ok_or_else(|| unreadable("starting sequence number"))?;
    Ok(Shard {
        closed: numbers.ending_sequence_number.is_some(),
        id: shard.shard_id.into(),
        range,
        parent: shard.parent_shard_id.map(Into::into),
        adjacent_parent: shard.adjacent_parent_shard_id.map(Into::into),
        starts_at,
    })
}

fn hash_range(range: &HashKeyRange) -> Option<HashRange> {
    Some(HashRange { start: range.starting_hash_key.parse().ok()?, end: range.ending_hash_key.parse().ok()? })
}

/// The service's clock at an answer, in milliseconds since the epoch.
pub(super) fn millis_of(answered: &AnsweredAt) -> Option<u64> {
    let since = answered.get()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

fn millis(moment: &DateTime) -> Option<u64> {
    u64::try_from(moment.to_millis().ok()?).ok()
}

/// A time in a request, to the millisecond.
pub(super) fn date_time(millis: u64) -> DateTime {
    DateTime::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}
