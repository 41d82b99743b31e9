//! What the shards of an instance show of themselves: lag, parked records, losses. Written once an answer, read by the status.

use crate::ids::ShardId;
use connector_sdk::ParkedShard;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many losses are kept to be shown.
const NEWEST_LOSSES: usize = 10;

/// The board of one instance.
#[derive(Default)]
pub(crate) struct Board {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    shards: BTreeMap<ShardId, View>,
    losses: VecDeque<String>,
    expired_spans: u64,
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
}

/// A shard's place on the board; taken down when it is dropped.
pub(crate) struct Place {
    board: Arc<Board>,
    shard: ShardId,
}

impl Board {
    /// A place for `shard`.
    pub(crate) fn place(self: &Arc<Self>, shard: &ShardId) -> Place {
        self.lock().shards.insert(shard.clone(), View::default());
        Place { board: Arc::clone(self), shard: shard.clone() }
    }

    /// All shards' views, by shard.
    pub(crate) fn views(&self) -> Vec<(ShardId, View)> {
        self.lock().shards.iter().map(|(shard, view)| (shard.clone(), view.clone())).collect()
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
        }
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
        self.board.lock().shards.remove(&self.shard);
    }
}
