//! What the shards of an instance show of themselves: lag, parked records, losses. Written once an answer, read by the status.

use crate::ids::ShardId;
use connector_sdk::ParkedShard;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How many sentences of a kind are kept to be shown.
const NEWEST: usize = 10;

/// The board of one instance.
#[derive(Default)]
pub(crate) struct Board {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    shards: BTreeMap<ShardId, View>,
    /// What shards that were taken down left beyond their stored checkpoints, until they are opened again.
    left: BTreeMap<ShardId, u64>,
    losses: VecDeque<String>,
    doubles: VecDeque<String>,
    expired_spans: u64,
    lost_records: u64,
}

/// What is shown of one shard.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// Milliseconds behind the tip; none before the first answer.
    pub(crate) millis_behind: Option<u64>,
    /// Records handed out beyond the stored checkpoint.
    pub(crate) beyond_checkpoint: u64,
    /// The record it stands at.
    pub(crate) parked: Option<ParkedShard>,
    /// Whether nothing more of it is handed on.
    pub(crate) drained: bool,
    /// What it waits for before anything is handed on.
    pub(crate) waiting_for: Option<String>,
}

/// A shard's place on the board; taken down when it is dropped.
pub(crate) struct Place {
    board: Arc<Board>,
    shard: ShardId,
}

impl Board {
    /// A place for `shard`.
    pub(crate) fn place(self: &Arc<Self>, shard: &ShardId) -> Place {
        let mut inner = self.lock();
        inner.left.remove(shard);
        inner.shards.insert(shard.clone(), View::default());
        drop(inner);
        Place { board: Arc::clone(self), shard: shard.clone() }
    }

    /// All shards' views, by shard.
    pub(crate) fn views(&self) -> Vec<(ShardId, View)> {
        self.lock().shards.iter().map(|(shard, view)| (shard.clone(), view.clone())).collect()
    }

    /// Records beyond the stored checkpoints: of shards that run, and of shards that ended with some left.
    pub(crate) fn beyond_checkpoint(&self) -> u64 {
        let inner = self.lock();
        inner.shards.values().map(|view| view.beyond_checkpoint).sum::<u64>() + inner.left.values().sum::<u64>()
    }

    /// ATMOST_ONCE: records whose checkpoint is stored and that were cut out before they were known to be published.
    pub(crate) fn lost_records(&self) -> u64 {
        self.lock().lost_records
    }

    /// Waits until no shard hands on anything more.
    pub(crate) async fn drained(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that a change between look and wait is not missed.
            changed.as_mut().enable();
            if self.lock().shards.values().all(|view| view.drained) {
                return;
            }
            changed.await;
        }
    }

    /// Changes what is shown of a shard that has a place.
    pub(crate) fn show(&self, shard: &ShardId, change: impl FnOnce(&mut View)) {
        if let Some(view) = self.lock().shards.get_mut(shard) {
            change(view);
            if view.drained {
                self.changed.notify_waiters();
            }
        }
    }

    /// Keeps what may be stored twice to be shown, in a sentence.
    pub(crate) fn doubled(&self, sentence: String) {
        keep(&mut self.lock().doubles, sentence);
    }

    /// The newest of what may be stored twice, in sentences.
    pub(crate) fn doubles(&self) -> Vec<String> {
        self.lock().doubles.iter().cloned().collect()
    }

    /// The newest losses, in sentences, and how many there were.
    pub(crate) fn losses(&self) -> (Vec<String>, u64) {
        let inner = self.lock();
        (inner.losses.iter().cloned().collect(), inner.expired_spans)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Changes what is shown.
    pub(crate) fn show(&self, change: impl FnOnce(&mut View)) {
        self.board.show(&self.shard, change);
    }

    /// Counts records that are covered by a checkpoint and will not be published.
    pub(crate) fn lost_records(&self, count: u64) {
        self.board.lock().lost_records += count;
    }

    /// Keeps a loss to be shown.
    pub(crate) fn lost(&self, sentence: String) {
        let mut inner = self.board.lock();
        keep(&mut inner.losses, sentence);
        inner.expired_spans += 1;
    }
}

/// Keeps the newest.
fn keep(sentences: &mut VecDeque<String>, sentence: String) {
    if sentences.len() == NEWEST {
        sentences.pop_front();
    }
    sentences.push_back(sentence);
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.board.lock();
        if let Some(view) = inner.shards.remove(&self.shard)
            && view.beyond_checkpoint > 0
        {
            inner.left.insert(self.shard.clone(), view.beyond_checkpoint);
        }
        drop(inner);
        self.board.changed.notify_waiters();
    }
}
