//! The fate of records, decided exactly once: the handle that travels with a batch, and what stands behind it.
//!
//! A handle covers consecutive records of one partition. It ends by `ack`, `fail` or `give_back`, or is split; a handle that is
//! dropped gives its records back, which is never a success. There is no allocation for a record: a handle is a pointer and two
//! numbers, and neighbours merge.

use crate::{AckTracker, Error, Fence, Share};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// What became of records.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Receipt in, dropped by policy, in the dead letter topic by its own receipt, or, in ATMOST_ONCE, unknown for good.
    Settled,
    /// Cannot be stored: the partition stops at the first of them.
    Failed(Error),
    /// Left the way unprocessed (a stop, a lost lease): to be read again.
    GivenBack,
}

/// Who learns of outcomes. Called from any thread, must not block.
pub trait AckSink: Send + Sync {
    /// The records `numbers` have this outcome.
    fn resolve(&self, numbers: Range<u64>, outcome: Outcome);

    /// Whether the record `number` may not be put on a wire any more: the right to it is lost, or it stands behind one that failed.
    /// What holds for a number holds for all above it.
    fn is_fenced(&self, number: u64) -> bool;
}

/// Decides the fate of consecutive records of one partition.
#[must_use = "dropping a handle gives its records back unprocessed"]
pub struct AckHandle {
    sink: Option<Arc<dyn AckSink>>,
    numbers: Range<u64>,
}

impl AckHandle {
    /// A handle for the records `numbers` of `sink`.
    pub fn new(sink: Arc<dyn AckSink>, numbers: Range<u64>) -> Self {
        Self { sink: Some(sink), numbers }
    }

    /// How many records it covers.
    pub fn len(&self) -> u64 {
        self.numbers.end - self.numbers.start
    }

    /// Whether it covers none.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Whether none of its records may be written any more.
    pub fn is_fenced(&self) -> bool {
        self.fences(self.numbers.start)
    }

    /// Whether some of its records, at least the last one, may not be written any more.
    pub fn is_partly_fenced(&self) -> bool {
        self.fences(self.numbers.end.saturating_sub(1).max(self.numbers.start))
    }

    fn fences(&self, number: u64) -> bool {
        self.sink.as_ref().is_some_and(|sink| sink.is_fenced(number))
    }

    /// Takes the first `count` records out into a handle of their own.
    ///
    /// # Panics
    /// When it covers fewer.
    pub fn split_to(&mut self, count: u64) -> Self {
        assert!(count <= self.len(), "a handle gives away only what it covers");
        let middle = self.numbers.start + count;
        let first = Self { sink: self.sink.clone(), numbers: self.numbers.start..middle };
        self.numbers.start = middle;
        first
    }

    /// Joins `other` when it continues this one; else gives it back unchanged.
    ///
    /// # Errors
    /// `other`, when it belongs elsewhere or does not follow.
    pub fn try_merge(&mut self, mut other: Self) -> Result<(), Self> {
        let same = match (&self.sink, &other.sink) {
            (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs),
            _ => false,
        };
        if !same || self.numbers.end != other.numbers.start {
            return Err(other);
        }
        self.numbers.end = other.numbers.end;
        other.sink = None;
        Ok(())
    }

    /// The records are settled.
    pub fn ack(self) {
        self.end(Outcome::Settled);
    }

    /// The first record cannot be stored, and those behind it are not to be.
    pub fn fail(self, cause: Error) {
        self.end(Outcome::Failed(cause));
    }

    /// The records leave the way unprocessed and are to be read again.
    pub fn give_back(self) {
        self.end(Outcome::GivenBack);
    }

    fn end(mut self, outcome: Outcome) {
        if let Some(sink) = self.sink.take()
            && !self.numbers.is_empty()
        {
            sink.resolve(self.numbers.clone(), outcome);
        }
    }
}

impl Drop for AckHandle {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take()
            && !self.numbers.is_empty()
        {
            sink.resolve(self.numbers.clone(), Outcome::GivenBack);
        }
    }
}

impl fmt::Debug for AckHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AckHandle({:?})", self.numbers)
    }
}

/// One partition's tracker, shared between the source that hands records out and the handles that come back.
///
/// Frees the byte budget as records resolve, remembers the first failure, and wakes the source at each change. What stands behind a
/// failure is not written any more; what stands before it still is, so that the partition comes to a halt exactly at that record.
pub struct Acknowledgements<P> {
    state: Mutex<State<P>>,
    share: Share,
    fence: Fence,
    /// Records from this number on stand behind one that failed.
    fenced_from: AtomicU64,
    changed: Notify,
}

struct State<P> {
    tracker: AckTracker<P>,
    failure: Option<(u64, Error)>,
}

impl<P: Clone> State<P> {
    fn failure(&self) -> Option<(P, Error)> {
        let (number, cause) = self.failure.as_ref()?;
        Some((self.tracker.position(*number)?.clone(), cause.clone()))
    }
}

impl<P: Clone + Send + Sync + 'static> Acknowledgements<P> {
    /// For a partition whose records are charged to `share` and may be written while `fence` stands.
    pub fn new(share: Share, fence: Fence) -> Arc<Self> {
        let state = Mutex::new(State { tracker: AckTracker::default(), failure: None });
        Arc::new(Self { state, share, fence, fenced_from: AtomicU64::new(u64::MAX), changed: Notify::new() })
    }

    /// The partition's share of the byte budget.
    pub fn share(&self) -> &Share {
        &self.share
    }

    /// Tracks records in order and gives the handle for all of them. Each item is a position and the bytes already reserved from
    /// the partition's share, which pass to the record and are freed when it resolves.
    pub fn track(self: &Arc<Self>, records: impl IntoIterator<Item = (P, u64)>) -> AckHandle {
        let mut state = self.lock();
        let first = state.tracker.next_number();
        for (position, bytes) in records {
            state.tracker.track(position, bytes);
        }
        let numbers = first..state.tracker.next_number();
        drop(state);
        let sink: Arc<dyn AckSink> = Arc::<Self>::clone(self);
        AckHandle::new(sink, numbers)
    }

    /// Reads the tracker.
    pub fn read<T>(&self, look: impl FnOnce(&AckTracker<P>) -> T) -> T {
        look(&self.lock().tracker)
    }

    /// The position everything is settled through.
    pub fn watermark(&self) -> Option<P> {
        self.read(|tracker| tracker.watermark().cloned())
    }

    /// The earliest record that failed, with its position and the reason.
    pub fn failure(&self) -> Option<(P, Error)> {
        self.lock().failure()
    }

    /// Waits until no record is on its way any more (each settled, failed or given back).
    pub async fn quiet(&self) {
        self.until(|state| (state.tracker.pending() == 0).then_some(())).await;
    }

    /// Waits until everything ever tracked is settled.
    pub async fn settled(&self) {
        self.until(|state| state.tracker.is_settled().then_some(())).await;
    }

    /// Waits until a record failed; gives the earliest, with its position and the reason.
    pub async fn failed(&self) -> (P, Error) {
        self.until(State::failure).await
    }

    async fn until<T>(&self, look: impl Fn(&State<P>) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that a change between look and wait is not missed.
            changed.as_mut().enable();
            if let Some(seen) = look(&self.lock()) {
                return seen;
            }
            changed.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<P>> {
        // Nothing in the critical sections panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Clone + Send + Sync + 'static> AckSink for Acknowledgements<P> {
    fn resolve(&self, numbers: Range<u64>, outcome: Outcome) {
        let mut state = self.lock();
        let freed = match outcome {
            Outcome::Settled => state.tracker.settle(numbers),
            Outcome::GivenBack => state.tracker.leave_open(numbers),
            Outcome::Failed(cause) => {
                if state.failure.as_ref().is_none_or(|(number, _)| numbers.start < *number) {
                    state.failure = Some((numbers.start, cause));
                }
                // At once, not when somebody has noticed: nothing behind a record that cannot be stored may overtake it.
                self.fenced_from.fetch_min(numbers.start.saturating_add(1), Ordering::AcqRel);
                state.tracker.leave_open(numbers)
            }
        };
        drop(state);
        self.share.release(freed);
        self.changed.notify_waiters();
    }

    fn is_fenced(&self, number: u64) -> bool {
        number >= self.fenced_from.load(Ordering::Acquire) || self.fence.has_fallen()
    }
}

#[cfg(test)]
#[path = "ack_tests.rs"]
mod tests;
