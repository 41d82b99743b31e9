//! The shards of a simulated stream: fixed records, read from any position, some of them aggregates of several.

use crate::world::World;
use bytes::Bytes;
use connector_kinesis::aggregation::{ToPack, aggregate};
use connector_kinesis::ids::{SequenceNumber, ShardId};
use connector_kinesis::port::{ChildShard, Encryption, FetchError, Fetched, RawRecord, Retrieval, RetrievalMode, StartAt};
use connector_sdk::Share;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// One message of a shard, as it is to arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Its payload.
    pub value: Bytes,
    /// Its key.
    pub key: String,
}

/// A shard's records.
#[derive(Debug, Default)]
pub struct ScriptedShard {
    raws: Vec<RawRecord>,
    expected: Vec<Expected>,
}

/// How a shard's records are made.
#[derive(Debug, Clone, Copy)]
pub struct ShardShape {
    /// Kinesis records.
    pub records: u64,
    /// Different keys.
    pub keys: u64,
    /// Bytes of a payload beside its name, at most.
    pub size: u64,
    /// Of a thousand records, how many are aggregates.
    pub aggregates_permille: u64,
    /// Of a thousand messages, how many are ten times as large.
    pub large_permille: u64,
}

impl ScriptedShard {
    /// A shard of this shape; its payloads begin with its name.
    pub fn random(world: &World, name: &str, shape: ShardShape) -> Self {
        let mut shard = Self::default();
        for at in 0..shape.records {
            let parts = if world.permille(shape.aggregates_permille) { world.between(2, 4) } else { 1 };
            let messages: Vec<Expected> = (0..parts)
                .map(|part| {
                    let mut size = world.below(shape.size + 1);
                    if world.permille(shape.large_permille) {
                        size = shape.size * 10;
                    }
                    let key = format!("k{}", world.below(shape.keys));
                    message(name, at, part, size, key)
                })
                .collect();
            shard.push(messages);
        }
        shard
    }

    /// Adds one Kinesis record with these messages: an aggregate, if there are several.
    pub fn push(&mut self, messages: Vec<Expected>) {
        let number = self.raws.len() as u64 + 1;
        let key = messages.first().map_or_else(String::new, |message| message.key.clone());
        let data = if let [message] = messages.as_slice() {
            message.value.clone()
        } else {
            aggregate(messages.iter().map(|message| ToPack {
                partition_key: message.key.as_str().into(),
                explicit_hash: None,
                data: message.value.clone(),
            }))
        };
        self.raws.push(RawRecord {
            sequence: SequenceNumber::parse((number * 10).to_string()).expect("digits"),
            partition_key: Some(key.into()),
            data,
            arrived_at: Some(crate::world::START),
            encryption: Encryption::None,
        });
        self.expected.extend(messages);
    }

    /// Every message, in order.
    pub fn expected(&self) -> &[Expected] {
        &self.expected
    }

    /// The last record's sequence number and its last message's index.
    pub fn last(&self) -> Option<(String, u64)> {
        self.raws.last().map(|raw| (raw.sequence.to_string(), 0))
    }

    fn start(&self, at: &StartAt) -> usize {
        match at {
            StartAt::TrimHorizon | StartAt::Timestamp(_) => 0,
            StartAt::Sequence(sequence) => self.raws.partition_point(|raw| raw.sequence < *sequence),
            StartAt::After(sequence) => self.raws.partition_point(|raw| raw.sequence <= *sequence),
        }
    }
}

/// A message whose payload is its name and `size` bytes.
pub fn message(shard: &str, at: u64, part: u64, size: u64, key: String) -> Expected {
    let mut value = format!("{shard}/{}.{part} ", at + 1).into_bytes();
    value.resize(value.len() + usize::try_from(size).unwrap_or_default(), b'x');
    Expected { value: value.into(), key }
}

/// All shards, as a worker reads them.
#[derive(Clone)]
pub struct Stream {
    world: World,
    shards: Arc<BTreeMap<ShardId, ScriptedShard>>,
    /// How slowly answers come.
    pause: (u64, u64),
    /// The most records of an answer.
    answer: u64,
    /// How many records of each shard there are for now.
    there: Arc<watch::Sender<usize>>,
}

impl Stream {
    /// Of each shard only the first `records` are there, until more are.
    pub fn show(&self, records: usize) {
        self.world.note(|| format!("{records} records are there"));
        self.there.send_replace(records);
    }

    /// Answers of up to `answer` records, each after a pause of so many milliseconds.
    pub fn new(world: &World, shards: BTreeMap<ShardId, ScriptedShard>, pause: (u64, u64), answer: u64) -> Self {
        Self { world: world.clone(), shards: Arc::new(shards), pause, answer, there: Arc::new(watch::Sender::new(usize::MAX)) }
    }

    /// The shards.
    pub fn shards(&self) -> &BTreeMap<ShardId, ScriptedShard> {
        &self.shards
    }
}

impl RetrievalMode for Stream {
    fn open(&self, shard: &ShardId, start: StartAt, share: Share) -> Box<dyn Retrieval> {
        let next = self.shards.get(shard).map_or(0, |shard| shard.start(&start));
        Box::new(Reading { stream: self.clone(), shard: shard.clone(), next, share, ended: false })
    }
}

struct Reading {
    stream: Stream,
    shard: ShardId,
    next: usize,
    share: Share,
    ended: bool,
}

impl Retrieval for Reading {
    fn fetch(&mut self) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        Box::pin(async move {
            let Some(shard) = self.stream.shards.get(&self.shard) else { return std::future::pending().await };
            if self.ended {
                return std::future::pending().await;
            }
            let world = &self.stream.world;
            let (low, high) = self.stream.pause;
            sleep(Duration::from_millis(world.between(low, high))).await;
            let mut there = self.stream.there.subscribe();
            let shown = there.wait_for(|there| *there > self.next || *there >= shard.raws.len()).await.map_or(0, |there| *there);
            let count = usize::try_from(world.between(1, self.stream.answer)).unwrap_or(1);
            let end = (self.next + count).min(shard.raws.len()).min(shown);
            let records = shard.raws[self.next..end].to_vec();
            let reservation = self.share.reserve(records.iter().map(RawRecord::cost).sum()).await;
            // Nothing is skipped when the answer is dropped before it is taken.
            self.next = end;
            self.ended = end == shard.raws.len();
            let children: Vec<ChildShard> = Vec::new();
            let millis_behind = if self.ended { 0 } else { 1_000 };
            Ok(Fetched { records, millis_behind, children, end: self.ended, reservation })
        })
    }
}
