#![allow(clippy::unwrap_used)]
use super::{AckHandle, Acknowledgements};
use crate::{ByteBudget, Error, ErrorKind, Fence};
use std::sync::Arc;

fn acks(budget: &ByteBudget, bytes: u64) -> Arc<Acknowledgements<u64>> {
    let acks = Acknowledgements::new(budget.share(), Fence::new());
    acks.share().charge(bytes);
    acks
}

#[test]
fn a_dropped_handle_is_never_a_success() {
    let budget = ByteBudget::new(1000);
    let acks = acks(&budget, 30);
    let mut handle = acks.track([(1, 10), (2, 10), (3, 10)]);
    handle.split_to(1).ack();
    drop(handle);
    assert_eq!(acks.watermark(), Some(1));
    assert_eq!(budget.used(), 0, "what left the way holds no bytes");
    assert!(acks.failure().is_none());
    assert!(!acks.read(crate::AckTracker::is_settled));
}

#[test]
fn neighbours_merge_and_strangers_do_not() {
    let budget = ByteBudget::new(1000);
    let (one, other) = (acks(&budget, 4), acks(&budget, 1));
    let mut all = one.track((0..4).map(|position| (position, 1)));
    let (mut first, second, third) = (all.split_to(1), all.split_to(1), all.split_to(1));
    let third = first.try_merge(third).unwrap_err();
    first.try_merge(second).unwrap();
    first.try_merge(third).unwrap();
    let stranger = first.try_merge(other.track([(9, 1)])).unwrap_err();
    assert_eq!(first.len(), 3);
    first.ack();
    assert_eq!(one.watermark(), Some(2));
    stranger.ack();
    all.ack();
    assert_eq!((one.watermark(), other.watermark()), (Some(3), Some(9)));
}

#[test]
fn nothing_behind_a_failure_may_be_written_any_more() {
    let budget = ByteBudget::new(1000);
    let (acks, other) = (acks(&budget, 2), acks(&budget, 1));
    let mut behind = acks.track([(1, 1), (2, 1)]);
    let culprit = behind.split_to(1);
    let stranger = other.track([(9, 1)]);
    assert!(!behind.is_fenced());
    culprit.fail(Error::new(ErrorKind::Data, "too large"));
    assert!(behind.is_fenced(), "from the very moment of the failure");
    assert!(!stranger.is_fenced(), "other partitions go on");
    stranger.ack();
}

#[test]
fn what_stands_before_a_failure_is_still_written_until_the_right_is_lost() {
    let budget = ByteBudget::new(1000);
    let fence = Fence::new();
    let acks = Acknowledgements::new(budget.share(), fence.clone());
    acks.share().charge(5);
    let mut all = acks.track((0..5).map(|position| (position, 1)));
    let (first, second, culprit) = (all.split_to(1), all.split_to(1), all.split_to(1));
    culprit.fail(Error::new(ErrorKind::Data, "too large"));
    assert!(all.is_fenced() && !second.is_fenced() && !first.is_fenced());
    let mut before = first;
    before.try_merge(second).unwrap();
    assert!(!before.is_partly_fenced());
    before.split_to(1).ack();
    assert_eq!(acks.watermark(), Some(0), "up to the record");
    assert!(!fence.has_fallen(), "the right to the partition stays");
    fence.fall();
    assert!(before.is_fenced());
}

#[test]
fn a_handle_across_a_failure_is_fenced_in_part() {
    let budget = ByteBudget::new(1000);
    let acks = acks(&budget, 4);
    let mut all = acks.track((0..4).map(|position| (position, 1)));
    let first = all.split_to(1);
    assert!(!all.is_partly_fenced());
    first.fail(Error::new(ErrorKind::Data, "too large"));
    assert!(all.is_fenced() && all.is_partly_fenced());
    let other = self::acks(&budget, 4);
    let whole = other.track((0..4).map(|position| (position, 1)));
    let sink: Arc<dyn crate::AckSink> = Arc::clone(&other) as _;
    sink.resolve(2..3, crate::Outcome::Failed(Error::new(ErrorKind::Data, "too large")));
    assert!(whole.is_partly_fenced() && !whole.is_fenced());
}

#[test]
fn the_earliest_failure_is_the_one_that_counts() {
    let budget = ByteBudget::new(1000);
    let acks = acks(&budget, 5);
    let mut all = acks.track((0..5).map(|position| (position * 10, 1)));
    let handles: Vec<AckHandle> = (0..5).map(|_| all.split_to(1)).collect();
    for (index, handle) in handles.into_iter().enumerate().rev() {
        match index {
            1 | 3 => handle.fail(Error::new(ErrorKind::Data, format!("record {index}"))),
            _ => handle.ack(),
        }
    }
    let (position, cause) = acks.failure().unwrap();
    assert_eq!((position, cause.message()), (10, "record 1"));
    assert_eq!(acks.watermark(), Some(0), "the watermark stands before the failure");
}

#[tokio::test(start_paused = true)]
async fn quiet_waits_for_the_last_answer() {
    let budget = ByteBudget::new(1000);
    let acks = acks(&budget, 2);
    let mut all = acks.track([(1, 1), (2, 1)]);
    let first = all.split_to(1);
    let waiting = tokio::spawn({
        let acks = Arc::clone(&acks);
        async move { acks.quiet().await }
    });
    tokio::task::yield_now().await;
    all.ack();
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "record 1 is still on its way");
    first.give_back();
    waiting.await.unwrap();
}
