use super::AckTracker;
use proptest::prelude::*;

#[test]
fn the_watermark_waits_for_the_gap() {
    let mut tracker = AckTracker::default();
    for position in 10..14 {
        tracker.track(position, 5);
    }
    assert_eq!(tracker.settle(1..4), 15);
    assert_eq!(tracker.watermark(), None, "record 10 is not settled");
    assert_eq!(tracker.settled_ahead(), 3);
    assert_eq!(tracker.settle(0..1), 5);
    assert_eq!(tracker.watermark(), Some(&13));
    assert!(tracker.is_settled());
}

#[test]
fn an_open_record_stops_the_watermark_for_good() {
    let mut tracker = AckTracker::default();
    for position in 0..3 {
        tracker.track(position, 1);
    }
    tracker.settle(0..1);
    tracker.leave_open(1..2);
    tracker.settle(1..3);
    assert_eq!(tracker.watermark(), Some(&0));
    assert_eq!(tracker.pending(), 0);
    assert!(!tracker.is_settled());
}

proptest! {
    /// Whatever the order and repetition of the answers, the watermark is the end of the settled prefix, computed naively.
    #[test]
    fn the_watermark_is_the_settled_prefix(count in 1u64..60, answers in prop::collection::vec((0u64..60, 1u64..9, any::<bool>()), 0..60)) {
        let mut tracker = AckTracker::default();
        let mut naive = vec![None; count as usize];
        let mut freed = 0;
        for position in 0..count {
            tracker.track(position, position + 1);
        }
        for (first, length, settled) in answers {
            let range = first..first + length;
            freed += if settled { tracker.settle(range.clone()) } else { tracker.leave_open(range.clone()) };
            for number in range.filter(|number| *number < count) {
                naive[number as usize].get_or_insert(settled);
            }
            let prefix = naive.iter().take_while(|fate| **fate == Some(true)).count() as u64;
            prop_assert_eq!(tracker.watermark().copied(), prefix.checked_sub(1));
            let unknown: u64 = naive.iter().enumerate().filter(|(_, fate)| fate.is_none()).map(|(index, _)| index as u64 + 1).sum();
            prop_assert_eq!(tracker.pending_bytes(), unknown);
            prop_assert_eq!(freed + unknown, count * (count + 1) / 2);
        }
    }
}
