//! How much one GetRecords call asks for, and what its answer may cost: learnt from the answers before it.
//!
//! An answer costs most while it is decoded: base64 inside JSON is 1.4 times the payload, and the payload stands beside it. The
//! guess may be wrong; then the call is given up and made again with fewer records, down to one, for which any room is made.

use crate::port::RawRecord;
use connector_sdk::Share;

/// What a record is taken to cost before any has been seen.
const UNKNOWN_RECORD: u64 = 16 * 1024;
/// The most an answer costs, but for one of a single record: 10 MiB of payload, once in base64 and once decoded, and a little.
const LARGEST_ANSWER: u64 = 26 << 20;
/// The least that is held for a call: an answer without records, or with a few small ones.
const SMALLEST_ANSWER: u64 = 16 * 1024;
/// By how much fewer records are asked for after an answer that was too large.
const RETREAT: u32 = 8;

/// What the next call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    /// Records at most.
    pub(super) limit: u32,
    /// Bytes to hold before the call.
    pub(super) bytes: u64,
}

/// The memory of a shard's answers.
#[derive(Debug)]
pub(super) struct Demand {
    max_records: u32,
    /// The cost of a record while it is decoded: rises at once, falls slowly.
    per_record: u64,
    /// Records at most, after an answer that was too large.
    ceiling: u32,
    /// What an answer of one record is known to need.
    single: u64,
    /// Whether the last answer was behind the tip: then the next is expected to be full.
    behind: bool,
    /// What the last answer cost.
    last: u64,
}

impl Demand {
    pub(super) fn new(max_records: u32) -> Self {
        let max_records = max_records.max(1);
        Self { max_records, per_record: UNKNOWN_RECORD, ceiling: max_records, single: 0, behind: true, last: 0 }
    }

    /// The next call. A shard takes about its even part of the budget at a time, so that others are not kept waiting.
    pub(super) fn ask(&self, share: &Share) -> Ask {
        let most = share.most();
        let part = share.guaranteed().max(most / 4).min(LARGEST_ANSWER);
        // With little left, little is asked for, but not so little that the calls outweigh what they bring.
        let room = part.min(most.saturating_sub(share.held()).max(part / 4));
        let fitting = u32::try_from(room / self.per_record).unwrap_or(u32::MAX);
        let limit = fitting.clamp(1, self.ceiling);
        let full = u64::from(limit).saturating_mul(self.per_record).min(LARGEST_ANSWER);
        let expected = if self.behind { full } else { full.min(self.last.saturating_mul(2)) };
        Ask { limit, bytes: expected.max(if limit == 1 { self.single } else { 0 }).max(SMALLEST_ANSWER) }
    }

    /// An answer came.
    pub(super) fn answered(&mut self, records: &[RawRecord], decoding_cost: u64, millis_behind: u64) {
        self.ceiling = self.max_records;
        self.single = 0;
        self.behind = millis_behind > 0;
        self.last = decoding_cost;
        if let Some(now) = decoding_cost.checked_div(records.len() as u64) {
            let now = now.max(1);
            self.per_record = now.max(self.per_record - (self.per_record - now.min(self.per_record)) / 4);
        }
    }

    /// The answer to an ask for `limit` records would have cost `bytes`, for which there was no room.
    pub(super) fn too_large(&mut self, limit: u32, bytes: u64) {
        self.behind = true;
        self.ceiling = (limit / RETREAT).max(1);
        self.per_record = self.per_record.max(bytes / u64::from(limit.max(1)));
        // Of an answer of several the least a record of it can cost is known, and that it was not enough.
        self.single = if limit == 1 { bytes } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use connector_sdk::ByteBudget;
    use proptest::prelude::*;

    fn records(count: usize) -> Vec<RawRecord> {
        let record = RawRecord {
            sequence: crate::ids::SequenceNumber::parse("1").unwrap(),
            partition_key: Some("k".into()),
            data: bytes::Bytes::new(),
            arrived_at: None,
            encryption: crate::port::Encryption::None,
        };
        vec![record; count]
    }

    #[test]
    fn small_records_open_the_limit_and_large_ones_close_it_at_once() {
        let share = ByteBudget::new(64 << 20).share();
        let mut demand = Demand::new(10_000);
        for _ in 0..20 {
            demand.answered(&records(1000), 3_000_000, 500);
        }
        assert!(demand.ask(&share).limit > 5_000, "records of 1 KiB: {}", demand.ask(&share).limit);
        demand.answered(&records(10), 26 << 20, 500);
        assert!(demand.ask(&share).limit <= 10);
    }

    #[test]
    fn at_the_tip_little_is_held() {
        let share = ByteBudget::new(64 << 20).share();
        let mut demand = Demand::new(10_000);
        assert!(demand.ask(&share).bytes > 1 << 20, "nothing is known yet");
        demand.answered(&[], 100, 0);
        assert_eq!(demand.ask(&share).bytes, SMALLEST_ANSWER);
        assert!(demand.ask(&share).limit > 1000);
    }

    #[test]
    fn an_answer_that_never_fits_comes_down_to_one_record_and_is_held_whole() {
        let budget = ByteBudget::new(1 << 20);
        let share = budget.share();
        let mut demand = Demand::new(10_000);
        let mut calls = 0;
        loop {
            let ask = demand.ask(&share);
            calls += 1;
            if ask.bytes >= 25 << 20 {
                assert_eq!(ask.limit, 1);
                break;
            }
            demand.too_large(ask.limit, 25 << 20);
        }
        assert!(calls <= 5, "{calls} calls");
    }

    proptest! {
        #[test]
        fn an_ask_never_exceeds_what_one_answer_can_cost(answers in prop::collection::vec((0usize..50, 0u64..30 << 20, 0u64..2, any::<bool>()), 0..30)) {
            let share = ByteBudget::new(64 << 20).share();
            let mut demand = Demand::new(10_000);
            for (count, cost, behind, refused) in answers {
                let ask = demand.ask(&share);
                prop_assert!((1..=10_000).contains(&ask.limit));
                prop_assert!(ask.bytes <= LARGEST_ANSWER || ask.limit == 1);
                if refused { demand.too_large(ask.limit, cost) } else { demand.answered(&records(count), cost, behind) }
            }
        }
    }
}
