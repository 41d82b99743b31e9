//! What EFFECTIVELY_ONCE keeps in `pulsarConnect`: whatever a number, a producer's name or a route depends on, and what the checkpoint
//! covers at the broker. It is written together with the checkpoint it belongs to, never by itself before or after.

use crate::config::MessageKeyMode;
use crate::ids::{Checkpoint, SequenceNumber};
use bytestring::ByteString;
use connector_sdk::Covered;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How a record's number is made: `ordinal << 24 | index`, see [`record_number`]. Another way is another version, and another epoch.
pub const NUMBERING: u32 = 1;

/// Bits of a record's number that tell what came out of one Kinesis record apart.
const INDEX_BITS: u32 = 24;
const LARGEST_INDEX: u64 = (1 << INDEX_BITS) - 1;
const LARGEST_ORDINAL: u64 = (1 << 39) - 1;

/// What EFFECTIVELY_ONCE keeps of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exact {
    /// The full name of the topic that the records of this epoch go to.
    pub topic: ByteString,
    /// Partitions of the topic that records are routed over; 0: it is not partitioned.
    pub partitions: u32,
    /// The hash that chooses a key's partition, by its configured name.
    pub hashing: ByteString,
    /// What the key is.
    pub key_mode: MessageKeyMode,
    /// The version of the numbering: see [`NUMBERING`].
    pub numbering: u32,
    /// The highest number that the checkpoint covers, by partition of the topic.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub covered: BTreeMap<u32, Covered>,
    /// Numbers beyond the checkpoint that must never be sent under the producer's own name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub spent: BTreeSet<u64>,
    /// No send that the checkpoint does not cover is older than this, in milliseconds since the epoch.
    pub uncovered_since: u64,
    /// The first record behind a checkpoint that has no number itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextRecord>,
}

/// The first record behind a checkpoint that is a sentinel, or whose own record has expired, and its number. It holds only for that
/// checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextRecord {
    /// The checkpoint, as the KCL writes it.
    pub checkpoint: ByteString,
    /// The checkpoint's sub-sequence number.
    pub sub: u64,
    /// The record's sequence number, decimal digits.
    pub sequence: ByteString,
    /// The record's ordinal.
    pub ordinal: u64,
}

impl NextRecord {
    /// The first record behind `checkpoint`.
    pub fn behind(checkpoint: &Checkpoint, first: &SequenceNumber, ordinal: u64) -> Self {
        Self { checkpoint: checkpoint.text().into(), sub: checkpoint.sub(), sequence: first.text().clone(), ordinal }
    }

    /// Whether it is about this checkpoint.
    pub fn is_behind(&self, checkpoint: &Checkpoint) -> bool {
        Checkpoint::parse(&self.checkpoint, self.sub).is_some_and(|mine| mine.cmp(checkpoint).is_eq())
    }

    /// Whether it is this record.
    pub fn is(&self, sequence: &SequenceNumber) -> bool {
        SequenceNumber::parse(self.sequence.clone()).is_some_and(|mine| mine.cmp(sequence).is_eq())
    }
}

/// The number of what came out of a Kinesis record: its ordinal in the shard (from 1), and its index in the record. None where it
/// would not be the only one of its kind: 2^39 records a shard and 2^24 messages a record have numbers.
pub fn record_number(ordinal: u64, index: u64) -> Option<u64> {
    (ordinal <= LARGEST_ORDINAL && index <= LARGEST_INDEX).then_some(ordinal << INDEX_BITS | index)
}

/// The highest number before those of the Kinesis record `ordinal`.
pub fn last_number_before(ordinal: u64) -> u64 {
    (ordinal << INDEX_BITS).saturating_sub(1)
}

/// The ordinal and the index of a number.
pub fn parts_of_number(number: u64) -> (u64, u64) {
    (number >> INDEX_BITS, number & LARGEST_INDEX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_number_is_refused_before_it_is_another_records() {
        assert_eq!(record_number(7, 2), Some(7 << 24 | 2));
        assert_eq!(record_number(1, LARGEST_INDEX).unwrap() + 1, record_number(2, 0).unwrap());
        assert_eq!(record_number(1, LARGEST_INDEX + 1), None);
        assert!(record_number(LARGEST_ORDINAL, LARGEST_INDEX).unwrap() < 1 << 63);
        assert_eq!(record_number(LARGEST_ORDINAL + 1, 0), None);
        assert_eq!((last_number_before(1), last_number_before(2)), (LARGEST_INDEX, 1 << 24 | LARGEST_INDEX));
        assert_eq!(parts_of_number(7 << 24 | 2), (7, 2));
    }

    #[test]
    fn the_next_record_holds_for_its_checkpoint_alone() {
        let at = |sequence, sub| Checkpoint::parse(sequence, sub).unwrap();
        let first = SequenceNumber::parse("4958").unwrap();
        let next = NextRecord::behind(&Checkpoint::TrimHorizon, &first, 1);
        assert!(next.is_behind(&Checkpoint::TrimHorizon) && next.is(&first));
        assert!(!next.is_behind(&Checkpoint::Latest) && !next.is_behind(&at("4957", 0)));
        let expired = NextRecord::behind(&at("4957", 2), &first, 1);
        assert!(expired.is_behind(&at("4957", 2)) && !expired.is_behind(&at("4957", 3)));
    }
}
