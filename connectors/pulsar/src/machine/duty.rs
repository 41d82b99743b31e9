//! Who must be told about which records: the handles of an entry's records, in order, neighbours merged.

use connector_sdk::{AckHandle, Error, PartitionId};

/// Consecutive records of one source partition.
#[derive(Debug)]
pub struct Duty {
    /// Where they came from, to name them in messages.
    pub partition: PartitionId,
    /// Decides their fate.
    pub handle: AckHandle,
}

/// The duties of an entry; together they cover its records in order. Dropping it gives all records back.
#[derive(Debug, Default)]
pub(crate) struct Duties(Vec<Duty>);

impl Duties {
    /// Adds one behind the others. The partition is only cloned when the handle does not continue the last one.
    pub(crate) fn push(&mut self, partition: &PartitionId, handle: AckHandle) {
        let handle = match self.0.last_mut() {
            Some(last) => match last.handle.try_merge(handle) {
                Ok(()) => return,
                Err(handle) => handle,
            },
            None => handle,
        };
        self.0.push(Duty { partition: partition.clone(), handle });
    }

    pub(crate) fn ack(self) {
        for duty in self.0 {
            duty.handle.ack();
        }
    }

    pub(crate) fn give_back(self) {
        for duty in self.0 {
            duty.handle.give_back();
        }
    }

    /// The first cannot be stored, and those behind it are not to be.
    pub(crate) fn fail(self, cause: Error) {
        for duty in self.0 {
            duty.handle.fail(cause.clone());
        }
    }

    /// The partition of the first.
    pub(crate) fn partition(&self) -> Option<&PartitionId> {
        self.0.first().map(|duty| &duty.partition)
    }

    pub(crate) fn any_fenced(&self) -> bool {
        self.0.iter().any(|duty| duty.handle.is_partly_fenced())
    }

    pub(crate) fn all_fenced(&self) -> bool {
        self.0.iter().all(|duty| duty.handle.is_fenced())
    }

    /// One duty for each record.
    pub(crate) fn into_singles(self) -> impl Iterator<Item = Duty> {
        self.0.into_iter().flat_map(|mut duty| {
            let count = duty.handle.len();
            (0..count).map(move |_| Duty { partition: duty.partition.clone(), handle: duty.handle.split_to(1) })
        })
    }
}
