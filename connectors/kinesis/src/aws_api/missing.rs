//! What was not found: the shard, the stream, or the fan-out consumer. The service says it of all three by the same code.
//!
//! Promised: a shard counts as gone only when a listing made after the refusal lacks it or has it closed, and, for fan-out, its
//! consumer is there. Never: a shard that ends because a consumer or a stream was removed.

use super::AwsKinesis;
use super::consumer::AwsConsumer;
use crate::ids::ShardId;
use crate::port::{Shard, ShardFilter};
use crate::retrieval::ReadError;
use connector_sdk::{Error, ErrorKind};
use tracing::warn;

impl AwsKinesis {
    /// What it means that `action` did not find the shard.
    pub(super) async fn not_found(&self, action: &str, shard: &ShardId) -> ReadError {
        match self.list_all_pages(ShardFilter::All).await {
            Ok(list) => self.judged(&list.shards, action, shard),
            // A stream that is not there is named by this one.
            Err(error) => failed(error),
        }
    }

    fn judged(&self, listed: &[Shard], action: &str, shard: &ShardId) -> ReadError {
        if listed.iter().any(|listed| listed.id == *shard && !listed.closed) {
            let stream = &self.stream.name;
            let message = format!("`{action}` did not find shard `{shard}` of stream `{stream}`, which is listed as open");
            return ReadError::Failed(Error::transient(message));
        }
        ReadError::ShardGone
    }
}

impl AwsConsumer {
    /// What it means that a subscription through the consumer `used` found nothing: where the consumer is gone it is registered
    /// again, and the subscription is worth another attempt.
    pub(super) async fn not_found(&self, action: &str, used: &str, shard: &ShardId) -> ReadError {
        // Many shards learn of it at once; one looks, and the others go on with what it found.
        let _turn = self.turn.lock().await;
        let again = || ReadError::Failed(Error::transient(format!("the fan-out consumer `{}` was registered again", self.name)));
        if *self.arn() != *used {
            return again();
        }
        let listed = match self.kinesis.list_all_pages(ShardFilter::All).await {
            Ok(list) => list.shards,
            Err(error) => return failed(error),
        };
        match self.kinesis.active_consumer(&self.name, self.given.as_deref()).await {
            Ok(arn) if arn == used => self.kinesis.judged(&listed, action, shard),
            Ok(arn) => {
                warn!(consumer = %self.name, %arn, "the fan-out consumer was removed by somebody; another of its name is used from now on");
                self.set_arn(arn);
                again()
            }
            Err(error) => failed(error),
        }
    }
}

fn failed(error: Error) -> ReadError {
    match error.kind() {
        ErrorKind::Throttled(asked) => ReadError::Throttled(asked),
        _ => ReadError::Failed(error),
    }
}
