//! A stream: its shards, its consumers, its settings and what is still to happen to it.

use std::collections::BTreeMap;

use super::canned::Canned;
use super::consumers::Consumer;
use super::error::{ErrorKind, KinesisError};
use super::hash_key::HashRange;
use super::shard::{Shard, ShardId};
use crate::clock::Millis;

/// One hour, the unit of retention, in milliseconds.
pub(crate) const HOUR: Millis = 3_600_000;

/// Where a stream is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStatus {
    /// Not usable yet.
    Creating,
    /// Usable.
    Active,
    /// Usable, and a reshard or a change of encryption is under way.
    Updating,
    /// On its way out.
    Deleting,
}

impl StreamStatus {
    /// As it stands in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Active => "ACTIVE",
            Self::Updating => "UPDATING",
            Self::Deleting => "DELETING",
        }
    }
}

/// Something that takes effect at a later time.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Created,
    Deleted,
    Split {
        shard: ShardId,
        at: u128,
    },
    Merge {
        left: ShardId,
        right: ShardId,
    },
    /// Splits at every even boundary of the target that is not one yet.
    EvenSplits {
        target: u32,
    },
    /// Merges away every boundary that is not one of the target.
    EvenMerges {
        target: u32,
    },
    Encryption {
        key: Option<String>,
    },
    /// Ends UPDATING.
    Updated,
}

/// A stream of the machine.
#[derive(Debug)]
pub struct Stream {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// When it was created.
    pub created_at: Millis,
    /// Where it is in its life.
    pub status: StreamStatus,
    /// How long records are kept, in milliseconds.
    pub retention: Millis,
    /// ON_DEMAND rather than PROVISIONED.
    pub on_demand: bool,
    /// The largest record taken, payload and partition key, in bytes.
    pub max_record_bytes: usize,
    /// The KMS key while encryption is on.
    pub kms_key: Option<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Consumers by name.
    pub consumers: BTreeMap<String, Consumer>,
    /// All shards ever, by index.
    pub shards: Vec<Shard>,
    /// The open shards by the start of their range.
    open: Vec<ShardId>,
    /// Generations handed out; grows with every shard so that children's numbers lie above their parents'.
    pub(crate) generation: u64,
    /// Tells this stream from earlier ones of the same name; tokens carry it.
    pub(crate) incarnation: u64,
    pub(crate) pending: Vec<(Millis, Change)>,
    pub(crate) canned: Option<Canned>,
}

impl Stream {
    /// A stream without shards.
    pub(crate) fn new(name: &str, arn: String, incarnation: u64, generation: u64, now: Millis) -> Self {
        Self {
            name: name.to_owned(),
            arn,
            created_at: now,
            status: StreamStatus::Creating,
            retention: 24 * HOUR,
            on_demand: false,
            max_record_bytes: 1024 * 1024,
            kms_key: None,
            tags: BTreeMap::new(),
            consumers: BTreeMap::new(),
            shards: Vec::new(),
            open: Vec::new(),
            generation,
            incarnation,
            pending: Vec::new(),
            canned: None,
        }
    }

    /// The shard of this id, unless its retention is over.
    pub(crate) fn shard(&self, id: ShardId, now: Millis) -> Result<&Shard, KinesisError> {
        usize::try_from(id.0)
            .ok()
            .and_then(|index| self.shards.get(index))
            .filter(|shard| !self.is_forgotten(shard, now))
            .ok_or_else(|| self.no_shard(id))
    }

    /// As [`Stream::shard`], to be changed.
    pub(crate) fn shard_mut(&mut self, id: ShardId, now: Millis) -> Result<&mut Shard, KinesisError> {
        self.shard(id, now)?;
        let index = usize::try_from(id.0).expect("the shard was found by this index");
        Ok(&mut self.shards[index])
    }

    fn no_shard(&self, id: ShardId) -> KinesisError {
        ErrorKind::ResourceNotFound.because(format!("Shard {id} in stream {} does not exist", self.name))
    }

    /// Whether a closed shard has outlived the retention.
    pub(crate) fn is_forgotten(&self, shard: &Shard, now: Millis) -> bool {
        shard.closed_at.is_some_and(|closed| closed + self.retention < now)
    }

    /// The open shards in the order of their hash ranges.
    pub fn open_shards(&self) -> impl Iterator<Item = &Shard> {
        self.open.iter().map(|id| &self.shards[index_of(*id)])
    }

    /// How many shards are open.
    #[must_use]
    pub fn open_shard_count(&self) -> usize {
        self.open.len()
    }

    /// The open shard which `hash` falls into.
    pub(crate) fn shard_for(&mut self, hash: u128) -> &mut Shard {
        let after = self.open.partition_point(|id| self.shards[index_of(*id)].range.start <= hash);
        // The first open shard starts at 0, so at least one starts at or below any hash.
        let id = self.open[after - 1];
        &mut self.shards[index_of(id)]
    }

    /// Opens a shard and returns its id.
    pub(crate) fn open_shard(&mut self, range: HashRange, parents: Vec<ShardId>, now: Millis) -> ShardId {
        let id = ShardId(self.shards.len() as u64);
        self.generation = (self.generation + 1).max(now.unsigned_abs());
        self.shards.push(Shard::new(id, range, parents, self.generation, now));
        let at = self.open.partition_point(|other| self.shards[index_of(*other)].range.start < range.start);
        self.open.insert(at, id);
        id
    }

    /// Closes `parents` and opens `ranges` in their place: the one way in which the hash space is recut.
    pub(crate) fn replace(&mut self, parents: &[ShardId], ranges: &[HashRange], now: Millis) {
        self.open.retain(|id| !parents.contains(id));
        let children: Vec<ShardId> = ranges.iter().map(|range| self.open_shard(*range, parents.to_vec(), now)).collect();
        for parent in parents {
            self.shards[index_of(*parent)].close(children.clone(), now);
        }
    }

    /// The oldest moment that is still covered: the start of the stream or of the retention.
    pub(crate) fn horizon(&self, now: Millis) -> Millis {
        self.created_at.max(now - self.retention)
    }
}

/// The index of a shard that is known to exist.
pub(crate) fn index_of(id: ShardId) -> usize {
    usize::try_from(id.0).expect("shard ids of a stream are indices into its shards")
}
