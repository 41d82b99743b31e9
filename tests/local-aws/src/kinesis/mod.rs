//! Kinesis as a pure state machine.
//!
//! Promises the service's rules (numbers, lineage, iterators, filters, limits, retention, fan-out) under a clock that its owner injects; the same calls at
//! the same times give the same answers. Never opens a socket, starts a task or reads the wall clock: whoever owns it carries its answers to the wire.

mod canned;
mod consumers;
mod error;
mod hash_key;
mod iterators;
mod limits;
mod listing;
mod put;
mod read;
mod records;
mod reshard;
mod sequence;
mod settings;
mod shard;
mod stream;
mod streams;
mod subscriptions;

use std::collections::{BTreeMap, HashMap};

pub use canned::{CannedBatch, CannedSpec, EncodedTemplate, STAMP, Template};
pub use consumers::{Consumer, ConsumerName, ConsumerStatus};
pub use error::{ErrorKind, KinesisError};
pub use hash_key::{HashRange, even_start, hash_of};
pub use iterators::StartingPosition;
pub use limits::Limits;
pub use listing::{ListShardsRequest, ShardFilter, ShardPage};
pub use put::PutOutcome;
pub use read::{ChildShard, GetRecordsAnswer, RecordBatch};
pub use records::{NewRecord, Placed, StoredRecord};
pub use sequence::SequenceNumber;
pub use settings::KinesisSettings;
pub use shard::{NotAShardId, Shard, ShardId};
pub use stream::{Stream, StreamStatus};
pub use subscriptions::{SubscriptionEvent, SubscriptionId, SubscriptionStep};

use crate::clock::{Clock, Millis};

/// The machine.
#[derive(Debug)]
pub struct Kinesis {
    settings: KinesisSettings,
    clock: Clock,
    streams: BTreeMap<String, Stream>,
    subscriptions: HashMap<SubscriptionId, subscriptions::Subscription>,
    /// The last successful subscribe of a consumer (by ARN) to a shard.
    subscribed: HashMap<(String, ShardId), (Millis, SubscriptionId)>,
    next_subscription: u64,
    /// How many streams were created.
    incarnations: u64,
    /// The highest generation among shards of streams that are gone.
    generation: u64,
}

impl Kinesis {
    /// An account without streams.
    #[must_use]
    pub fn new(settings: KinesisSettings, clock: Clock) -> Self {
        Self {
            settings,
            clock,
            streams: BTreeMap::new(),
            subscriptions: HashMap::new(),
            subscribed: HashMap::new(),
            next_subscription: 0,
            incarnations: 0,
            generation: 0,
        }
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &KinesisSettings {
        &self.settings
    }

    /// The settings, to be changed; they hold from the next call.
    pub fn settings_mut(&mut self) -> &mut KinesisSettings {
        &mut self.settings
    }

    /// The clock of the machine.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A stream as it is, for assertions.
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<&Stream> {
        self.streams.get(name)
    }

    /// The name behind a StreamName or a StreamARN.
    ///
    /// # Errors
    /// InvalidArgument when neither is given, or the ARN is none, or the two differ.
    pub fn stream_name<'a>(&self, name: Option<&'a str>, arn: Option<&'a str>) -> Result<&'a str, KinesisError> {
        match (name, arn) {
            (Some(name), None) => Ok(name),
            (None, Some(arn)) => name_in_arn(arn),
            (Some(name), Some(arn)) if name_in_arn(arn)? == name => Ok(name),
            (Some(name), Some(arn)) => Err(ErrorKind::InvalidArgument.because(format!("StreamARN {arn} is not that of StreamName {name}"))),
            (None, None) => Err(ErrorKind::InvalidArgument.because("StreamARN or StreamName must be provided")),
        }
    }

    fn now(&self) -> Millis {
        self.clock.now()
    }

    fn stream_ref(&self, name: &str) -> Result<&Stream, KinesisError> {
        self.streams.get(name).ok_or_else(|| self.no_stream(name))
    }

    fn stream_mut(&mut self, name: &str) -> Result<&mut Stream, KinesisError> {
        let missing = if self.streams.contains_key(name) { None } else { Some(self.no_stream(name)) };
        match (self.streams.get_mut(name), missing) {
            (Some(stream), _) => Ok(stream),
            (None, missing) => Err(missing.expect("a stream is either there or missing")),
        }
    }

    fn no_stream(&self, name: &str) -> KinesisError {
        ErrorKind::ResourceNotFound.because(format!("Stream {name} under account {} not found.", self.settings.account))
    }
}

/// The stream's name in its ARN.
fn name_in_arn(arn: &str) -> Result<&str, KinesisError> {
    arn.strip_prefix("arn:aws")
        .and_then(|rest| rest.split_once(":kinesis:"))
        .and_then(|(_, rest)| rest.split_once(":stream/"))
        .map(|(_, name)| name)
        .filter(|name| !name.is_empty() && !name.contains('/'))
        .ok_or_else(|| ErrorKind::InvalidArgument.because(format!("StreamARN {arn} is not the ARN of a stream")))
}

/// Names of streams and consumers: 1 to 128 of letters, digits, `_`, `.`, `-`.
fn check_name(field: &str, name: &str) -> Result<(), KinesisError> {
    let fits = (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if fits {
        Ok(())
    } else {
        Err(ErrorKind::Validation.because(format!(
            "1 validation error detected: Value '{name}' at '{field}' failed to satisfy constraint: 1 to 128 characters of [a-zA-Z0-9_.-]"
        )))
    }
}

#[cfg(test)]
mod tests;
