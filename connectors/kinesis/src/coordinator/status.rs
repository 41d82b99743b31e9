//! How the coordinator stands, for the status and the metrics page.

use crate::ids::ShardId;
use connector_sdk::Error;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Errors kept: the newest.
const KEPT: usize = 10;

/// A view of a coordinator that can be asked at any time.
#[derive(Debug, Default)]
pub struct CoordinatorStatus(Mutex<View>);

#[derive(Debug, Default)]
struct View {
    leases_held: usize,
    waiting: Vec<WaitingShard>,
    errors: VecDeque<KeptError>,
    waiting_for: Option<String>,
}

/// A shard whose lease is held and that does not run yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingShard {
    /// The shard.
    pub shard: ShardId,
    /// Its parents that are not finished; none when it waits to be started again after a failure.
    pub parents: Vec<ShardId>,
}

/// An error and when it came.
#[derive(Debug, Clone)]
pub struct KeptError {
    /// Milliseconds since the epoch.
    pub at: u64,
    /// The shard, where it is about one.
    pub shard: Option<ShardId>,
    /// What went wrong.
    pub error: Error,
}

impl CoordinatorStatus {
    /// Leases this worker holds.
    pub fn leases_held(&self) -> usize {
        self.view().leases_held
    }

    /// Shards whose lease is held and that do not run yet.
    pub fn waiting(&self) -> Vec<WaitingShard> {
        self.view().waiting.clone()
    }

    /// The newest ten errors, oldest first.
    pub fn errors(&self) -> Vec<KeptError> {
        self.view().errors.iter().cloned().collect()
    }

    /// What the coordinator as a whole waits for before it takes leases.
    pub fn waiting_for(&self) -> Option<String> {
        self.view().waiting_for.clone()
    }

    pub(super) fn set_leases(&self, held: usize, waiting: Vec<WaitingShard>) {
        let mut view = self.view();
        view.leases_held = held;
        view.waiting = waiting;
    }

    pub(super) fn set_waiting_for(&self, what: Option<String>) {
        self.view().waiting_for = what;
    }

    pub(super) fn keep(&self, error: KeptError) {
        let mut view = self.view();
        if view.errors.len() == KEPT {
            view.errors.pop_front();
        }
        view.errors.push_back(error);
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
