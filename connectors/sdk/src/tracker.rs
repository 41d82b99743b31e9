//! How far one partition is settled: the only place that decides it.
//!
//! Pure and without I/O. Records are tracked in the partition's order and resolved in any order; the watermark is the position of
//! the last record of the settled prefix. It never passes a record that is not settled, whatever the order of the answers.

use std::collections::VecDeque;
use std::ops::Range;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    Settled,
    /// Resolved without being settled (failed, or given back): the watermark stops before it for good.
    Open,
}

#[derive(Debug)]
struct Entry<P> {
    position: P,
    bytes: u64,
    state: State,
}

/// Tracks the records of one partition between hand-over and settlement.
///
/// Numbers are given out by [`AckTracker::track`], one a record, rising by one from 0.
#[derive(Debug)]
pub struct AckTracker<P> {
    front: u64,
    entries: VecDeque<Entry<P>>,
    watermark: Option<P>,
    settled: u64,
    ahead: u64,
    pending: u64,
    pending_bytes: u64,
}

impl<P> Default for AckTracker<P> {
    fn default() -> Self {
        Self { front: 0, entries: VecDeque::new(), watermark: None, settled: 0, ahead: 0, pending: 0, pending_bytes: 0 }
    }
}

impl<P> AckTracker<P> {
    /// Tracks the next record of the partition and gives its number. `bytes` is what its resolution frees.
    pub fn track(&mut self, position: P, bytes: u64) -> u64 {
        let number = self.front + self.entries.len() as u64;
        self.entries.push_back(Entry { position, bytes, state: State::Pending });
        self.pending += 1;
        self.pending_bytes += bytes;
        number
    }

    /// The records `numbers` are settled: receipt in, dropped by policy, or in the dead letter topic. Returns the bytes freed.
    pub fn settle(&mut self, numbers: Range<u64>) -> u64 {
        let freed = self.resolve(numbers, State::Settled);
        while self.entries.front().is_some_and(|entry| entry.state == State::Settled) {
            let entry = self.entries.pop_front().expect("the front was just seen");
            self.front += 1;
            self.settled += 1;
            self.ahead -= 1;
            self.watermark = Some(entry.position);
        }
        freed
    }

    /// The records `numbers` left the way without being settled: they will be read again. Returns the bytes freed.
    pub fn leave_open(&mut self, numbers: Range<u64>) -> u64 {
        self.resolve(numbers, State::Open)
    }

    fn resolve(&mut self, numbers: Range<u64>, state: State) -> u64 {
        let mut freed = 0;
        for number in numbers {
            // A number below the front was settled before: an answer that comes twice changes nothing.
            let Some(index) = number.checked_sub(self.front) else { continue };
            let Some(entry) = self.entries.get_mut(index as usize) else { continue };
            if entry.state == State::Pending {
                entry.state = state;
                self.ahead += u64::from(state == State::Settled);
                freed += entry.bytes;
                self.pending -= 1;
                self.pending_bytes -= entry.bytes;
            }
        }
        freed
    }

    /// The position up to which, inclusively, everything is settled; none before the first.
    pub fn watermark(&self) -> Option<&P> {
        self.watermark.as_ref()
    }

    /// The position of the record with this number, while it stands beyond the watermark.
    pub fn position(&self, number: u64) -> Option<&P> {
        self.entries.get(number.checked_sub(self.front)? as usize).map(|entry| &entry.position)
    }

    /// Records handed over whose fate is not known yet.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Bytes of [`AckTracker::pending`].
    pub fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// How many records the watermark has passed.
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// Records settled beyond the watermark: a restart would read them again.
    pub fn settled_ahead(&self) -> u64 {
        self.ahead
    }

    /// Whether everything ever tracked is settled.
    pub fn is_settled(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number the next tracked record gets.
    pub fn next_number(&self) -> u64 {
        self.front + self.entries.len() as u64
    }
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
