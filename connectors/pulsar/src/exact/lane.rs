//! One lane: the records of one lineage on one partition of the topic, in order, and what they may have to wait for.
//!
//! As long as nothing is wrong a lane is only a producer. What the broker may have forgotten is read back first; a number that was
//! refused and overtaken is written down before anything else is sent, and then goes, at its turn, under the late name.

use crate::machine::{ProducerId, Withdrawn};
use connector_sdk::{ByteString, Error, Lineage};
use std::collections::VecDeque;
use std::time::Instant;

/// The two names of a lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Its own.
    Main,
    /// The one for spent numbers.
    Late,
}

impl Which {
    pub(super) fn name(self, lineage: &Lineage) -> ByteString {
        match self {
            Self::Main => lineage.name().clone(),
            Self::Late => lineage.late_name(),
        }
    }
}

/// A producer of a lane.
#[derive(Debug, Default)]
pub(super) struct Door {
    pub(super) producer: Option<ProducerId>,
    /// When it was last opened and looked at; none while it is not.
    pub(super) admitted: Option<Instant>,
    /// The broker's word at its latest opening, which was not looked at yet.
    pub(super) told: Option<Told>,
    /// When its last number was last asked for.
    pub(super) asked: Option<Instant>,
    /// The highest number known to have been sent under its name before it was opened.
    pub(super) last: Option<u64>,
    /// What was found in the topic under its name, where the broker's word was not enough.
    pub(super) found: Option<Found>,
}

/// A broker's word on a name, at an opening.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// The highest number it knows.
    pub(super) last: Option<u64>,
    /// Whether something was written of which nobody knows whether it is stored.
    pub(super) unknown: bool,
}

/// What reading the topic back has shown.
#[derive(Debug)]
pub(super) struct Found {
    /// Numbers that are stored, rising.
    pub(super) numbers: Vec<u64>,
    /// A number up to this that is not among them can never be stored under this name; 0 where not everything could be read.
    pub(super) through: u64,
}

/// What a number turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// It is in the topic.
    Stored,
    /// It is not, and higher ones are.
    Missing,
    /// Nothing was found out about it.
    Beyond,
}

impl Found {
    /// The highest number that is known to have been sent.
    pub(super) fn last(&self) -> u64 {
        self.through.max(self.numbers.last().copied().unwrap_or(0))
    }

    pub(super) fn look(&self, number: u64) -> Finding {
        if self.numbers.binary_search(&number).is_ok() {
            Finding::Stored
        } else if number <= self.through {
            Finding::Missing
        } else {
            Finding::Beyond
        }
    }
}

/// What a lane waits for before its next record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Wait {
    /// Nothing.
    #[default]
    Nothing,
    /// What the topic holds under one of its names.
    ReadBack,
    /// That the use of the partition, declared in this version, is written down: nothing was ever sent there.
    Declared(u64),
    /// That the producer is open again, to read the topic back then, because of a refusal of numbers up to this.
    Reopened(Option<u64>),
    /// Receipts for everything that a producer has.
    Quiet(Which),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) main: Door,
    pub(super) late: Door,
    /// Records that wait for their turn.
    pub(super) held: VecDeque<Withdrawn>,
    pub(super) wait: Wait,
    /// Why nothing can be promised here any more.
    pub(super) refusal: Option<Error>,
    /// When a record last came.
    pub(super) used: Option<Instant>,
    /// So much its producer had accepted when it was last looked at for idleness.
    pub(super) idle_at: Option<u64>,
    /// Where the topic ends may not be asked.
    pub(super) is_closed_to_readers: bool,
}

impl Lane {
    /// Whether records go straight to the producer.
    pub(super) fn is_plain(&self) -> bool {
        self.held.is_empty() && self.wait == Wait::Nothing && self.main.found.is_none() && self.refusal.is_none()
    }

    /// Whether what has to be found out about one of its names keeps the other waiting.
    pub(super) fn is_finding_out(&self) -> bool {
        matches!(self.wait, Wait::ReadBack | Wait::Declared(_) | Wait::Reopened(_))
    }

    pub(super) fn door(&mut self, which: Which) -> &mut Door {
        match which {
            Which::Main => &mut self.main,
            Which::Late => &mut self.late,
        }
    }

    /// Takes records back, each at its turn: several refusals may bring them in pieces, the later ones last.
    pub(super) fn hold(&mut self, items: Vec<Withdrawn>) {
        for item in items.into_iter().rev() {
            let turn = self.held.partition_point(|held| held.record.sequence < item.record.sequence);
            self.held.insert(turn, item);
        }
    }

    /// The highest number known to have been sent under its names by owners before.
    pub(super) fn last(&self) -> Option<u64> {
        self.main.last.max(self.late.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_below_the_highest_found_can_never_be_stored() {
        let found = Found { numbers: vec![5, 9], through: 9 };
        assert_eq!([4, 5, 8, 9, 10].map(|number| found.look(number)), {
            use Finding::{Beyond, Missing, Stored};
            [Missing, Stored, Missing, Stored, Beyond]
        });
        let partly = Found { numbers: vec![5, 9], through: 0 };
        assert_eq!([4, 5, 8, 9, 10].map(|number| partly.look(number)), {
            use Finding::{Beyond, Stored};
            [Beyond, Stored, Beyond, Stored, Beyond]
        });
        assert_eq!((found.last(), partly.last()), (9, 9));
    }
}
