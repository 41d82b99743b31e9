//! Canned streams: the load source of a benchmark.
//!
//! Promises distinct, rising sequence numbers in every shard, a payload of the asked size, and no cost per record but a copy. The payloads repeat: every
//! answer carries the same records under new numbers. All records are there from the beginning, or arrive at a steady pace with a stamp of
//! when they were handed on. Never takes records of its own.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::sequence::SequenceNumber;
use super::shard::{Shard, ShardId};
use crate::clock::Millis;

/// What to make up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CannedSpec {
    /// Name of the stream to create.
    pub stream: String,
    /// Its shards.
    pub shards: u32,
    /// Records of one answer or event.
    #[serde(default = "default_records", alias = "records_per_answer")]
    pub records_per_answer: usize,
    /// Payload of a record in bytes.
    #[serde(default = "default_bytes")]
    pub bytes: usize,
    /// Records of the whole stream, spread evenly over its shards; absent means endless.
    #[serde(default)]
    pub total: Option<u64>,
    /// Records of the whole stream that arrive in a second, in full answers and evenly over its shards; absent means that all are there
    /// already. Each payload of such a stream begins with a stamp of [`STAMP`] digits: the microseconds since the epoch, by the
    /// machine's clock, at which its answer was written.
    #[serde(default, alias = "records_per_second")]
    pub records_per_second: Option<u64>,
}

/// Bytes of a stamp; a multiple of three, so that it stands alone in base64 too. The digits fill its front.
pub const STAMP: usize = 18;

/// Different partition keys of an answer, when it has so many records.
const PARTITION_KEYS: usize = 1_000;

fn default_records() -> usize {
    500
}

fn default_bytes() -> usize {
    1024
}

/// A canned stream's recipe.
#[derive(Debug)]
pub(crate) struct Canned {
    records_of_shard: u64,
    created_at: Millis,
    shards: u64,
    /// Between two answers of one shard, where records arrive by and by.
    interval_ms: Option<f64>,
    template: Arc<Template>,
}

/// The records that every answer repeats.
#[derive(Debug)]
pub struct Template {
    /// Payloads.
    pub payloads: Vec<Bytes>,
    /// One partition key per payload.
    pub partition_keys: Vec<String>,
    /// What all records say of their arrival.
    pub arrived_at: Millis,
    /// Whether each payload begins with a stamp.
    pub stamped: bool,
    /// The encoded form for each wire format, made on first use by whoever writes answers.
    pub encoded: [std::sync::OnceLock<EncodedTemplate>; 2],
}

/// Encoded records with holes for their numbers.
#[derive(Debug)]
pub struct EncodedTemplate {
    /// The records one after the other, as they stand in a list.
    pub bytes: Vec<u8>,
    /// Where each record's 56 digits stand in `bytes`.
    pub numbers_at: Vec<usize>,
    /// Where each record's payload begins in `bytes`, in the format's own encoding.
    pub payloads_at: Vec<usize>,
    /// Where each record ends in `bytes`, without the separator that follows.
    pub ends_at: Vec<usize>,
}

/// A run of made-up records.
#[derive(Clone, Debug)]
pub struct CannedBatch {
    /// Which records.
    pub template: Arc<Template>,
    /// How many of them.
    pub count: usize,
    /// Place of the first one in its shard, from 1.
    pub first_place: u64,
    generation: u64,
    shard: ShardId,
}

impl CannedBatch {
    /// The number of the `index`-th record of the batch.
    #[must_use]
    pub fn number(&self, index: usize) -> SequenceNumber {
        SequenceNumber::new(self.generation, self.shard.0, self.first_place + index as u64)
    }

    /// Payload bytes of the batch.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.template.payloads.iter().take(self.count).map(Bytes::len).sum()
    }
}

impl Canned {
    pub(crate) fn new(spec: &CannedSpec, seed: u64, now: Millis) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x6361_6e6e_6564);
        let count = spec.records_per_answer.clamp(1, 10_000);
        let stamped = spec.records_per_second.is_some();
        let bytes = if stamped { spec.bytes.max(STAMP) } else { spec.bytes };
        let payloads = (0..count)
            .map(|_| {
                // Letters, as most records are text: they compress a little, and by no repetition.
                (0..bytes).map(|_| random.alphabetic() as u8).collect()
            })
            .collect();
        let template = Template {
            payloads,
            partition_keys: (0..count).map(|index| format!("key-{:05}", index % PARTITION_KEYS)).collect(),
            arrived_at: now,
            stamped,
            encoded: Default::default(),
        };
        let shards = u64::from(spec.shards.max(1));
        // An endless shard still has a last place, so far away that it is never reached.
        let records_of_shard = spec.total.map_or(1_000_000_000_000, |total| total.div_ceil(shards));
        let interval_ms = spec.records_per_second.map(|rate| count as f64 * shards as f64 * 1e3 / rate.max(1) as f64);
        Self { records_of_shard, created_at: now, shards, interval_ms, template: Arc::new(template) }
    }

    /// How many records of a shard have arrived by `now`: always whole answers.
    pub(crate) fn arrived(&self, shard: ShardId, now: Millis) -> u64 {
        let Some(interval) = self.interval_ms else { return self.records_of_shard };
        let answers = ((now - self.created_at) as f64 - self.offset_ms(shard, interval)) / interval;
        // Below nothing is nothing.
        (answers as u64).saturating_mul(self.template.payloads.len() as u64).min(self.records_of_shard)
    }

    /// When the record behind the first `position` of a shard arrives.
    pub(crate) fn arrives_at(&self, shard: ShardId, position: u64) -> Millis {
        let Some(interval) = self.interval_ms else { return self.created_at };
        let answers = position / self.template.payloads.len() as u64 + 1;
        self.created_at + (answers as f64 * interval + self.offset_ms(shard, interval)).ceil() as Millis
    }

    /// The shards take turns: their answers do not come at once.
    fn offset_ms(&self, shard: ShardId, interval: f64) -> f64 {
        interval * shard.0 as f64 / self.shards as f64
    }

    pub(crate) fn created_at(&self) -> Millis {
        self.created_at
    }

    /// The next records of a shard; `None` at its end.
    pub(crate) fn batch(&self, shard: &Shard, position: u64, most: usize, now: Millis) -> Option<CannedBatch> {
        let left = usize::try_from(self.arrived(shard.id, now).saturating_sub(position)).unwrap_or(usize::MAX);
        let count = self.template.payloads.len().min(most).min(left);
        (count > 0).then(|| CannedBatch {
            template: Arc::clone(&self.template),
            count,
            first_place: position + 1,
            generation: shard.generation,
            shard: shard.id,
        })
    }
}
