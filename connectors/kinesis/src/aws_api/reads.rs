//! Polling on the SDK: shard iterators and records.

use super::answer::Reading;
use super::body::BodyTap;
use super::stream::date_time;
use super::{AwsKinesis, answer, fault};
use crate::ids::ShardId;
use crate::port::StartAt;
use crate::retrieval::{Answer, ReadError, ShardReads};
use aws_sdk_kinesis::config::{Builder, StalledStreamProtectionConfig};
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ShardIteratorType;
use connector_aws::{AnsweredAt, service_code};
use connector_sdk::{Error, Reservation};
use futures_util::future::BoxFuture;
use std::time::Duration;
use tokio::time::timeout;

/// Longest duration of reading one answer's body, up to 14 MB of it.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// What the SDK decodes in place of the records.
const NO_RECORDS: &str = r#"{"Records":[]}"#;

impl ShardReads for AwsKinesis {
    fn iterator<'a>(&'a self, shard: &'a ShardId, start: &'a StartAt) -> BoxFuture<'a, Result<String, ReadError>> {
        Box::pin(self.shard_iterator(shard, start))
    }

    fn records<'a>(
        &'a self,
        shard: &'a ShardId,
        iterator: &'a str,
        limit: u32,
        reservation: Reservation,
    ) -> BoxFuture<'a, Result<Answer, ReadError>> {
        Box::pin(self.get_records(shard, iterator, limit, reservation))
    }
}

impl AwsKinesis {
    async fn shard_iterator(&self, shard: &ShardId, start: &StartAt) -> Result<String, ReadError> {
        let call = self.stream.call("kinesis:GetShardIterator");
        let answered = AnsweredAt::new();
        let (kind, sequence, timestamp) = in_request(start);
        let request = self
            .client
            .get_shard_iterator()
            .set_stream_name(self.stream.name_in_request())
            .set_stream_arn(self.stream.arn.clone())
            .shard_id(shard.as_str())
            .shard_iterator_type(kind)
            .set_starting_sequence_number(sequence)
            .set_timestamp(timestamp)
            .customize()
            .interceptor(answered.clone());
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if fault::is_not_found(&error) => return Err(self.not_found("kinesis:GetShardIterator", shard).await),
            Err(error) => return Err(fault::of_start(&call, start, &answered, &error)),
        };
        answer.shard_iterator.ok_or_else(|| {
            ReadError::Failed(Error::transient(format!("`kinesis:GetShardIterator` on shard `{shard}` answered with no iterator")))
        })
    }

    async fn get_records(&self, shard: &ShardId, iterator: &str, limit: u32, mut reservation: Reservation) -> Result<Answer, ReadError> {
        let call = self.stream.call("kinesis:GetRecords");
        let tap = BodyTap::new(NO_RECORDS);
        let request = |settings: Option<Builder>| {
            let settings = settings.unwrap_or_default();
            self.client
                .get_records()
                .set_stream_arn(self.stream.arn.clone())
                .shard_iterator(iterator)
                .limit(i32::try_from(limit).unwrap_or(i32::MAX))
                .customize()
                // The body is read here, under a deadline of its own.
                .config_override(settings.stalled_stream_protection(StalledStreamProtectionConfig::disabled()))
                .interceptor(tap.clone())
        };
        let cbor = self.wire.cbor();
        let in_cbor = cbor.is_some();
        let answered = match request(cbor).send().await {
            Err(error) if in_cbor && self.wire.falls_back(&error) => request(None).send().await,
            answered => answered,
        };
        if let Err(error) = answered {
            return Err(match service_code(&error) {
                // The iterator is the only argument that can be wrong.
                Some("InvalidArgumentException") => ReadError::IteratorGone,
                _ if fault::is_not_found(&error) => self.not_found("kinesis:GetRecords", shard).await,
                _ => fault::of_call(&call, &error),
            });
        }
        let cut = |why: String| Error::transient(format!("`kinesis:GetRecords` on shard `{shard}`: {why}"));
        let Some(body) = tap.take() else {
            return Err(ReadError::Failed(cut("the answer has no body".to_owned())));
        };
        let mut reading = Reading::new(body.claimed().and_then(|length| usize::try_from(length).ok()));
        let whole = body.read(&mut reservation, answer::decoding_cost, |piece| reading.take(piece));
        let length = match timeout(BODY_TIMEOUT, whole).await {
            Ok(Ok(length)) => length,
            Ok(Err(ReadError::Failed(error))) => return Err(ReadError::Failed(cut(error.message().to_owned()))),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(ReadError::Failed(cut(format!("the answer was not read within {} s", BODY_TIMEOUT.as_secs())))),
        };
        let read = self.wire.read(reading, Reading::records).map_err(|error| ReadError::Failed(cut(error.message().to_owned())))?;
        Ok(Answer {
            records: read.records,
            next_iterator: read.next_iterator,
            millis_behind: read.millis_behind,
            children: read.children,
            decoding_cost: answer::decoding_cost(length),
            reservation,
        })
    }
}

/// A start as requests say it.
pub(super) fn in_request(start: &StartAt) -> (ShardIteratorType, Option<String>, Option<DateTime>) {
    match start {
        StartAt::TrimHorizon => (ShardIteratorType::TrimHorizon, None, None),
        StartAt::Timestamp(moment) => (ShardIteratorType::AtTimestamp, None, Some(date_time(*moment))),
        StartAt::Sequence(number) => (ShardIteratorType::AtSequenceNumber, Some(number.as_str().to_owned()), None),
        StartAt::After(number) => (ShardIteratorType::AfterSequenceNumber, Some(number.as_str().to_owned()), None),
    }
}
