//! What the shards of an instance show of themselves: lag, parked records, losses. Written once an answer, read by the status.

use crate::ids::ShardId;
use connector_sdk::ParkedShard;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How many losses are kept to be shown.
const NEWEST_LOSSES: usize = 10;

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
        if let Some(view) = self.board.lock().shards.get_mut(&self.shard) {
            change(view);
            if view.drained {
                self.board.changed.notify_waiters();
            }
        }
    }

    /// Counts records that are covered by a checkpoint and will not be published.
    pub(crate) fn lost_records(&self, count: u64) {
        self.board.lock().lost_records += count;
    }

    /// Keeps a loss to be shown.
    pub(crate) fn lost(&self, sentence: String) {
        let mut inner = self.board.lock();
        if inner.losses.len() == NEWEST_LOSSES {
            inner.losses.pop_front();
        }
        inner.losses.push_back(sentence);
        inner.expired_spans += 1;
    }
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
