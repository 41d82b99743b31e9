//! Splitting and merging, alone and as UpdateShardCount plans them.
//!
//! Promises that the open shards tile the hash space at every instant and that every shard but a first one names its parents.

use super::Kinesis;
use super::error::{ErrorKind, KinesisError};
use super::hash_key::{HashRange, even_start};
use super::shard::ShardId;
use super::stream::{Change, Stream, StreamStatus, index_of};
use crate::clock::Millis;

impl Kinesis {
    /// Splits an open shard at `new_start`, the first hash key of its upper child.
    ///
    /// # Errors
    /// InvalidArgument for a closed shard or a key that is not inside its range; ResourceInUse unless ACTIVE.
    pub fn split_shard(&mut self, stream: &str, shard: ShardId, new_start: u128) -> Result<(), KinesisError> {
        self.tick();
        let now = self.now();
        let due = now + self.settings.update_stream_ms;
        let found = self.active_stream(stream)?;
        let parent = found.shard(shard, now)?;
        if !parent.is_open() {
            return Err(ErrorKind::InvalidArgument.because(format!("Shard {shard} in stream {stream} is closed and cannot be split")));
        }
        if new_start <= parent.range.start || new_start > parent.range.end {
            return Err(ErrorKind::InvalidArgument.because(format!(
                "NewStartingHashKey {new_start} used in SplitShard() on shard {shard} in stream {stream} is not inside {} to {}",
                parent.range.start, parent.range.end
            )));
        }
        found.begin(&[(due, Change::Split { shard, at: new_start })], due);
        self.tick();
        Ok(())
    }

    /// Merges two open neighbours.
    ///
    /// # Errors
    /// InvalidArgument unless both are open and adjacent; ResourceInUse unless ACTIVE.
    pub fn merge_shards(&mut self, stream: &str, shard: ShardId, adjacent: ShardId) -> Result<(), KinesisError> {
        self.tick();
        let now = self.now();
        let due = now + self.settings.update_stream_ms;
        let found = self.active_stream(stream)?;
        let (one, other) = (found.shard(shard, now)?, found.shard(adjacent, now)?);
        if !one.is_open() || !other.is_open() {
            return Err(ErrorKind::InvalidArgument
                .because(format!("Shards {shard} and {adjacent} in stream {stream} must both be open to be merged")));
        }
        let touching = |low: HashRange, high: HashRange| low.end.checked_add(1) == Some(high.start);
        if !touching(one.range, other.range) && !touching(other.range, one.range) {
            return Err(
                ErrorKind::InvalidArgument.because(format!("Shards {shard} and {adjacent} in stream {stream} are not an adjacent pair"))
            );
        }
        found.begin(&[(due, Change::Merge { left: shard, right: adjacent })], due);
        self.tick();
        Ok(())
    }

    /// Changes the number of open shards to `target` even ones, by splits and then merges; returns the present number.
    ///
    /// # Errors
    /// InvalidArgument beyond double or half of the present number; ResourceInUse unless ACTIVE.
    pub fn update_shard_count(&mut self, stream: &str, target: u32) -> Result<usize, KinesisError> {
        self.tick();
        let (now, takes) = (self.now(), self.settings.update_stream_ms);
        let found = self.active_stream(stream)?;
        let present = found.open_shard_count();
        let wanted = usize::try_from(target).unwrap_or(usize::MAX);
        if wanted == 0 || wanted > present * 2 || wanted < present.div_ceil(2) {
            return Err(ErrorKind::InvalidArgument.because(format!(
                "UpdateShardCount cannot go below half or over double your current open shard count. Current open shard count: {present} Target shard count: {target}"
            )));
        }
        let steps = [(now + takes / 2, Change::EvenSplits { target }), (now + takes, Change::EvenMerges { target })];
        found.begin(&steps, now + takes);
        self.tick();
        Ok(present)
    }
}

impl Stream {
    /// Enters UPDATING until `end`, with `steps` on the way.
    fn begin(&mut self, steps: &[(Millis, Change)], end: Millis) {
        self.status = StreamStatus::Updating;
        self.pending.extend_from_slice(steps);
        self.pending.push((end, Change::Updated));
    }

    pub(super) fn split(&mut self, shard: ShardId, at: u128, now: Millis) {
        let range = self.shards[index_of(shard)].range;
        let lower = HashRange { start: range.start, end: at - 1 };
        let upper = HashRange { start: at, end: range.end };
        self.replace(&[shard], &[lower, upper], now);
    }

    pub(super) fn merge(&mut self, one: ShardId, other: ShardId, now: Millis) {
        let (first, second) = (self.shards[index_of(one)].range, self.shards[index_of(other)].range);
        let whole = HashRange { start: first.start.min(second.start), end: first.end.max(second.end) };
        self.replace(&[one, other], &[whole], now);
    }

    /// Splits at each boundary of `target` even shards which is not a boundary yet.
    pub(super) fn even_splits(&mut self, target: u32, now: Millis) {
        for index in 1..u128::from(target) {
            let boundary = even_start(index, target.into());
            let shard = self.shard_for(boundary);
            if shard.range.start != boundary {
                let id = shard.id;
                self.split(id, boundary, now);
            }
        }
    }

    /// Merges neighbours until only the boundaries of `target` even shards are left.
    pub(super) fn even_merges(&mut self, target: u32, now: Millis) {
        for index in 0..u128::from(target) {
            let start = even_start(index, target.into());
            let last = index + 1 == u128::from(target);
            let end = if last { u128::MAX } else { even_start(index + 1, target.into()) - 1 };
            loop {
                let left = self.shard_for(start);
                let (id, reach) = (left.id, left.range.end);
                if reach >= end {
                    break;
                }
                let right = self.shard_for(reach + 1).id;
                self.merge(id, right, now);
            }
        }
    }
}
