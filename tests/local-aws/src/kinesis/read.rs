//! GetRecords.
//!
//! Promises rule by rule: at most 10,000 records and 10 MiB an answer; the next iterator is absent if and only if child shards are given, which happens
//! on the answer that delivers the last record of a closed shard, or after it; the distance behind the tip is 0 only at the tip.

use super::Kinesis;
use super::canned::CannedBatch;
use super::error::{ErrorKind, KinesisError};
use super::hash_key::HashRange;
use super::records::StoredRecord;
use super::shard::{Shard, ShardId};
use super::stream::{Stream, index_of};
use crate::clock::Millis;

/// Most records of an answer.
const MOST_RECORDS: usize = 10_000;
/// Most bytes of an answer.
pub(super) const MOST_BYTES: usize = 10 * 1024 * 1024;
/// How long a shard refuses reads after a full answer.
const REFUSAL_AFTER_FULL_ANSWER: Millis = 5_000;

/// Records of an answer or an event.
#[derive(Clone, Debug)]
pub enum RecordBatch {
    /// Records that were put.
    Stored(Vec<StoredRecord>),
    /// Records made up for a benchmark.
    Canned(CannedBatch),
}

impl RecordBatch {
    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Stored(records) => records.len(),
            Self::Canned(batch) => batch.count,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A shard that took over from the one which ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildShard {
    /// Its id.
    pub shard_id: ShardId,
    /// One parent after a split, both after a merge.
    pub parents: Vec<ShardId>,
    /// Its part of the hash space.
    pub range: HashRange,
}

/// The answer of GetRecords.
#[derive(Clone, Debug)]
pub struct GetRecordsAnswer {
    /// The records in order.
    pub records: RecordBatch,
    /// Where to go on; absent if and only if `child_shards` is not empty.
    pub next_iterator: Option<String>,
    /// How far the reader is behind the tip, in milliseconds.
    pub millis_behind_latest: Millis,
    /// The shards that follow a closed one which is read to its end.
    pub child_shards: Vec<ChildShard>,
}

impl Kinesis {
    /// The stream and the shard a token is for; for faults that name a shard. `None` for a token that is not ours.
    #[must_use]
    pub fn shard_of_iterator(&self, token: &str) -> Option<(String, ShardId)> {
        self.read_iterator(token).ok().map(|state| (state.stream, state.shard))
    }

    /// Reads on from a token, at most `limit` records (10,000 when absent).
    ///
    /// # Errors
    /// ExpiredIterator, InvalidArgument for a forged token or a bad limit, ProvisionedThroughputExceeded over the shard's rate, ResourceNotFound.
    pub fn get_records(&mut self, token: &str, limit: Option<usize>) -> Result<GetRecordsAnswer, KinesisError> {
        self.tick();
        let most = limit.unwrap_or(MOST_RECORDS);
        if !(1..=MOST_RECORDS).contains(&most) {
            return Err(ErrorKind::Validation.because(format!(
                "1 validation error detected: Value '{most}' at 'limit' failed to satisfy constraint: 1 to {MOST_RECORDS}"
            )));
        }
        let state = self.read_iterator(token)?;
        let now = self.now();
        let limited = self.settings.limits.reads;
        let stream = self.stream_mut(&state.stream)?;
        let (retention, incarnation) = (stream.retention, stream.incarnation);
        let limited = limited && stream.canned.is_none();
        let name = stream.name.clone();
        let shard = stream.shard_mut(state.shard, now)?;
        if limited {
            admit_read(&name, shard, now)?;
        }
        let position = state.position.max(shard.trim(retention, now) as u64);
        let page = stream.page(state.shard, position, most, MOST_BYTES, now);
        if limited {
            account_read(&mut stream.shards[index_of(state.shard)], page.bytes, now);
        }
        let next_iterator = page.children.is_empty().then(|| self.iterator_token(&name, incarnation, state.shard, page.next));
        Ok(GetRecordsAnswer { records: page.records, next_iterator, millis_behind_latest: page.millis_behind, child_shards: page.children })
    }
}

fn admit_read(stream: &str, shard: &mut Shard, now: Millis) -> Result<(), KinesisError> {
    let refused = now < shard.reads_refused_until || !shard.read_calls.admits(1.0, now) || !shard.read_bytes.admits(1.0, now);
    if refused {
        return Err(ErrorKind::ProvisionedThroughputExceeded.because(format!("Rate exceeded for shard {} in stream {stream}.", shard.id)));
    }
    shard.read_calls.take(1.0, now);
    Ok(())
}

fn account_read(shard: &mut Shard, bytes: usize, now: Millis) {
    shard.read_bytes.take(bytes as f64, now);
    // A full answer is one which another small record would not have fitted into.
    if bytes + 1024 >= MOST_BYTES {
        shard.reads_refused_until = now + REFUSAL_AFTER_FULL_ANSWER;
    }
}

/// A run of records from a position, and what follows it.
pub(super) struct Page {
    pub(super) records: RecordBatch,
    /// Payload and partition keys, in bytes.
    pub(super) bytes: usize,
    /// How many records of the shard lie before the next one.
    pub(super) next: u64,
    pub(super) millis_behind: Millis,
    /// Not empty if and only if the shard is closed and read to its end.
    pub(super) children: Vec<ChildShard>,
}

impl Stream {
    /// Records of a shard from `position` on, at least one if there is any.
    pub(super) fn page(&self, id: ShardId, position: u64, most: usize, most_bytes: usize, now: Millis) -> Page {
        let shard = &self.shards[index_of(id)];
        let len = self.len_of(shard, now);
        let (records, bytes, behind) = match &self.canned {
            Some(canned) => {
                let batch = canned.batch(shard, position, most, now);
                let bytes = batch.as_ref().map_or(0, CannedBatch::payload_bytes);
                let records = batch.map_or_else(|| RecordBatch::Stored(Vec::new()), RecordBatch::Canned);
                (records, bytes, now - canned.created_at())
            }
            None => {
                let (records, bytes) = take(&shard.records[position.min(len) as usize..], most, most_bytes);
                let behind = records.last().map_or(0, |last| now - last.arrived_at);
                (RecordBatch::Stored(records), bytes, behind)
            }
        };
        let next = position.min(len) + records.len() as u64;
        let at_tip = next == len;
        let children = if at_tip && !shard.is_open() { self.children_of(shard) } else { Vec::new() };
        // Behind means behind, even within the millisecond in which the records arrived.
        let millis_behind = if at_tip { 0 } else { behind.max(1) };
        Page { records, bytes, next, millis_behind, children }
    }

    fn children_of(&self, shard: &Shard) -> Vec<ChildShard> {
        let child = |id: &ShardId| {
            let child = &self.shards[index_of(*id)];
            ChildShard { shard_id: child.id, parents: child.parents.clone(), range: child.range }
        };
        shard.children.iter().map(child).collect()
    }
}

/// The longest run from the front within both bounds, but never none.
fn take(records: &[StoredRecord], most: usize, most_bytes: usize) -> (Vec<StoredRecord>, usize) {
    let mut bytes = 0;
    let mut taken = Vec::with_capacity(records.len().min(most));
    for record in records.iter().take(most) {
        let size = record.data.len() + record.partition_key.len();
        if !taken.is_empty() && bytes + size > most_bytes {
            break;
        }
        bytes += size;
        taken.push(record.clone());
    }
    (taken, bytes)
}
