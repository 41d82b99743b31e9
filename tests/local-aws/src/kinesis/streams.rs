//! Streams as a whole: creating, deleting, retention, encryption, tags, and the passing of time.

use std::collections::BTreeMap;

use super::consumers::ConsumerStatus;
use super::error::{ErrorKind, KinesisError};
use super::hash_key::{HashRange, even_start};
use super::stream::{Change, HOUR, Stream, StreamStatus};
use super::{CannedSpec, Kinesis, canned, check_name};
use crate::clock::Millis;

/// Most shards of a new stream, so that a slip of a digit does not fill the memory.
const MOST_SHARDS: u32 = 20_000;
/// Shards of a new on-demand stream.
const ON_DEMAND_SHARDS: u32 = 4;

impl Kinesis {
    /// Creates a stream with even hash ranges; `shards` absent means on-demand.
    ///
    /// # Errors
    /// ResourceInUse for a name that is taken, Validation and InvalidArgument for what cannot be.
    pub fn create_stream(&mut self, name: &str, shards: Option<u32>, tags: BTreeMap<String, String>) -> Result<(), KinesisError> {
        self.tick();
        check_name("StreamName", name)?;
        if self.streams.contains_key(name) {
            return Err(ErrorKind::ResourceInUse.because(format!("Stream {name} under account {} already exists.", self.settings.account)));
        }
        let count = shards.unwrap_or(ON_DEMAND_SHARDS);
        if count == 0 || count > MOST_SHARDS {
            return Err(ErrorKind::InvalidArgument.because(format!("ShardCount must be between 1 and {MOST_SHARDS}, not {count}")));
        }
        let now = self.now();
        let arn = format!("arn:aws:kinesis:{}:{}:stream/{name}", self.settings.region, self.settings.account);
        self.incarnations += 1;
        let mut stream = Stream::new(name, arn, self.incarnations, self.generation, now);
        stream.on_demand = shards.is_none();
        stream.tags = tags;
        for index in 0..u128::from(count) {
            let last = index + 1 == u128::from(count);
            let end = if last { u128::MAX } else { even_start(index + 1, count.into()) - 1 };
            stream.open_shard(HashRange { start: even_start(index, count.into()), end }, Vec::new(), now);
        }
        stream.pending.push((now + self.settings.create_stream_ms, Change::Created));
        self.streams.insert(name.to_owned(), stream);
        self.tick();
        Ok(())
    }

    /// Creates a stream whose records are made up as they are read: the load source of a benchmark. It takes no records of its own.
    ///
    /// # Errors
    /// As [`Kinesis::create_stream`].
    pub fn create_canned_stream(&mut self, spec: &CannedSpec) -> Result<(), KinesisError> {
        self.create_stream(&spec.stream, Some(spec.shards), BTreeMap::new())?;
        let canned = canned::Canned::new(spec, self.settings.seed, self.now());
        self.stream_mut(&spec.stream)?.canned = Some(canned);
        Ok(())
    }

    /// Deletes a stream and everything in it.
    ///
    /// # Errors
    /// ResourceInUse while it has consumers and `with_consumers` is not set; ResourceNotFound.
    pub fn delete_stream(&mut self, name: &str, with_consumers: bool) -> Result<(), KinesisError> {
        self.tick();
        let due = self.now() + self.settings.delete_stream_ms;
        let stream = self.stream_mut(name)?;
        if !with_consumers && !stream.consumers.is_empty() {
            return Err(ErrorKind::ResourceInUse
                .because(format!("Stream {name} has registered consumers: deregister them, or set EnforceConsumerDeletion")));
        }
        stream.status = StreamStatus::Deleting;
        stream.pending = vec![(due, Change::Deleted)];
        self.tick();
        Ok(())
    }

    /// Sets the retention; `increase` says which of the two calls was made.
    ///
    /// # Errors
    /// InvalidArgument outside 24 to 8,760 hours or against the direction of the call.
    pub fn set_retention(&mut self, name: &str, hours: i64, increase: bool) -> Result<(), KinesisError> {
        self.tick();
        let stream = self.active_stream(name)?;
        let (present, wanted) = (stream.retention, hours.saturating_mul(HOUR));
        if !(24..=8760).contains(&hours) {
            return Err(ErrorKind::InvalidArgument.because(format!("RetentionPeriodHours must be between 24 and 8760, not {hours}")));
        }
        if (increase && wanted < present) || (!increase && wanted > present) {
            let way = if increase { "lower" } else { "higher" };
            return Err(
                ErrorKind::InvalidArgument.because(format!("RetentionPeriodHours {hours} is {way} than the present {}", present / HOUR))
            );
        }
        stream.retention = wanted;
        Ok(())
    }

    /// Sets the largest record, in KiB.
    ///
    /// # Errors
    /// InvalidArgument outside 1,024 to 10,240.
    pub fn set_max_record_size(&mut self, name: &str, kib: usize) -> Result<(), KinesisError> {
        self.tick();
        if !(1024..=10_240).contains(&kib) {
            return Err(ErrorKind::InvalidArgument.because(format!("MaxRecordSizeInKiB must be between 1024 and 10240, not {kib}")));
        }
        self.active_stream(name)?.max_record_bytes = kib * 1024;
        Ok(())
    }

    /// Starts (`Some(key)`) or stops encryption; records put from then on carry it.
    ///
    /// # Errors
    /// ResourceInUse unless the stream is ACTIVE.
    pub fn set_encryption(&mut self, name: &str, key: Option<String>) -> Result<(), KinesisError> {
        self.tick();
        let due = self.now() + self.settings.update_stream_ms;
        let stream = self.active_stream(name)?;
        stream.status = StreamStatus::Updating;
        stream.pending.push((due, Change::Encryption { key }));
        stream.pending.push((due, Change::Updated));
        self.tick();
        Ok(())
    }

    /// Tags of a stream, to be changed.
    ///
    /// # Errors
    /// ResourceNotFound.
    pub fn tags_mut(&mut self, name: &str) -> Result<&mut BTreeMap<String, String>, KinesisError> {
        self.tick();
        Ok(&mut self.stream_mut(name)?.tags)
    }

    /// Names of all streams in order.
    pub fn stream_names(&mut self) -> Vec<String> {
        self.tick();
        self.streams.keys().cloned().collect()
    }

    /// A stream after the passing of time.
    ///
    /// # Errors
    /// ResourceNotFound.
    pub fn describe(&mut self, name: &str) -> Result<&Stream, KinesisError> {
        self.tick();
        self.stream_ref(name)
    }

    /// A stream that may be changed; ResourceInUse in every state but ACTIVE.
    pub(super) fn active_stream(&mut self, name: &str) -> Result<&mut Stream, KinesisError> {
        let account = self.settings.account.clone();
        let stream = self.stream_mut(name)?;
        if stream.status == StreamStatus::Active {
            Ok(stream)
        } else {
            Err(ErrorKind::ResourceInUse
                .because(format!("Stream {name} under account {account} not ACTIVE, instead in state {}", stream.status.as_str())))
        }
    }

    /// Does what has become due. Every call of the API does this first; an owner that wants subscriptions to notice in time calls it at [`Kinesis::next_due`].
    pub fn tick(&mut self) {
        let now = self.now();
        let mut gone = Vec::new();
        for stream in self.streams.values_mut() {
            settle_consumers(stream, now);
            // In the order they were asked for; a change never waits for a later one.
            while stream.pending.first().is_some_and(|(due, _)| *due <= now) {
                let (due, change) = stream.pending.remove(0);
                if matches!(change, Change::Deleted) {
                    gone.push(stream.name.clone());
                    break;
                }
                stream.apply(change, due);
            }
        }
        for name in gone {
            if let Some(stream) = self.streams.remove(&name) {
                // A later stream of this name begins above, so that old numbers are never taken for its own.
                self.generation = self.generation.max(stream.generation);
                stream.shards.iter().for_each(super::Shard::wake);
            }
        }
    }

    /// When the next change becomes due.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
        let changes = self.streams.values().filter_map(|stream| stream.pending.first().map(|(due, _)| *due));
        let consumers = self.streams.values().flat_map(|stream| stream.consumers.values());
        let settling = consumers.filter(|consumer| consumer.status != ConsumerStatus::Active).map(|consumer| consumer.settles_at);
        changes.chain(settling).min()
    }
}

fn settle_consumers(stream: &mut Stream, now: Millis) {
    let mut left = false;
    stream.consumers.retain(|_, consumer| {
        if consumer.settles_at <= now && consumer.status == ConsumerStatus::Creating {
            consumer.status = ConsumerStatus::Active;
        }
        let leaves = consumer.settles_at <= now && consumer.status == ConsumerStatus::Deleting;
        left |= leaves;
        !leaves
    });
    if left {
        stream.open_shards().for_each(super::Shard::wake);
    }
}

impl Stream {
    /// Applies a change as of `at`.
    fn apply(&mut self, change: Change, at: Millis) {
        match change {
            Change::Created | Change::Updated => self.status = StreamStatus::Active,
            Change::Deleted => {}
            Change::Encryption { key } => self.kms_key = key,
            Change::Split { shard, at: hash } => self.split(shard, hash, at),
            Change::Merge { left, right } => self.merge(left, right, at),
            Change::EvenSplits { target } => self.even_splits(target, at),
            Change::EvenMerges { target } => self.even_merges(target, at),
        }
    }
}
