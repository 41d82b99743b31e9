//! Where the next call of a shard begins: where its reader asked to begin, until a record has been seen.

use crate::ids::SequenceNumber;
use crate::port::{RawRecord, StartAt};

/// The place in a shard that everything before it has been handed on.
#[derive(Debug, Clone)]
pub(super) struct Cursor(StartAt);

impl Cursor {
    /// Begins where the reader asks.
    pub(super) fn new(start: StartAt) -> Self {
        Self(start)
    }

    /// Where a new iterator or subscription begins.
    pub(super) fn start(&self) -> &StartAt {
        &self.0
    }

    /// These records are handed on now.
    pub(super) fn pass(&mut self, records: &[RawRecord]) {
        if let Some(last) = records.last() {
            self.0 = StartAt::After(last.sequence.clone());
        }
    }

    /// The service says that everything through this number has been delivered.
    pub(super) fn pass_to(&mut self, continuation: SequenceNumber) {
        self.0 = StartAt::After(continuation);
    }
}
