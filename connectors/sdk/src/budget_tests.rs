#![allow(clippy::unwrap_used)]
use super::ByteBudget;
use proptest::prelude::*;

#[tokio::test(start_paused = true)]
async fn a_blocked_partition_leaves_the_others_their_part() {
    let budget = ByteBudget::new(1000);
    let shares: Vec<_> = (0..4).map(|_| budget.share()).collect();
    let mut held = Vec::new();
    while let Some(reservation) = shares[0].try_reserve(25) {
        held.push(reservation);
    }
    assert_eq!(shares[0].held(), 125 + 250, "its part and half of the lent half");
    while let Some(reservation) = shares[1].try_reserve(25) {
        held.push(reservation);
    }
    for share in &shares[2..] {
        assert!(share.try_reserve(125).is_some(), "the even part is there whatever the others hold");
    }
    assert!(budget.used() <= 1000);
}

#[tokio::test(start_paused = true)]
async fn what_could_never_fit_passes_alone() {
    let budget = ByteBudget::new(100);
    let (big, other) = (budget.share(), budget.share());
    let first = big.reserve(500).await;
    assert!(other.try_reserve(500).is_none(), "one at a time");
    let waiting = tokio::spawn(async move { other.reserve(500).await.bytes() });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(first);
    assert_eq!(waiting.await.unwrap(), 500);
    assert_eq!(budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_holds_nothing_and_blocks_nobody() {
    let budget = ByteBudget::new(120);
    let (one, two, three) = (budget.share(), budget.share(), budget.share());
    let held = (one.reserve(50).await, two.reserve(50).await);
    {
        let wait = three.reserve(50);
        tokio::pin!(wait);
        assert!(futures_util::poll!(wait.as_mut()).is_pending(), "the lent half is out");
    }
    drop(held);
    assert_eq!(budget.used(), 0);
    assert!(one.try_reserve(50).is_some(), "the dropped wait has no call on the lent half");
}

#[tokio::test(start_paused = true)]
async fn a_large_wait_is_not_starved_by_small_ones() {
    let budget = ByteBudget::new(400);
    let (large, small) = (budget.share(), budget.share());
    let first = small.reserve(200).await;
    let wait = tokio::spawn(async move { large.reserve(200).await });
    tokio::task::yield_now().await;
    // 100 of the lent half are out; the large wait needs 100 of it and takes them as soon as it can.
    drop(first);
    let granted = wait.await.unwrap();
    assert_eq!(granted.bytes(), 200);
}

proptest! {
    /// Whatever is taken and freed in whatever order: nothing leaks, and the pool holds at most its size when no request passes alone.
    #[test]
    fn the_pool_adds_up(operations in prop::collection::vec((0usize..5, 1u64..200, any::<bool>()), 1..200)) {
        let budget = ByteBudget::new(1000);
        let shares: Vec<_> = (0..5).map(|_| budget.share()).collect();
        let mut held = Vec::new();
        for (member, bytes, take) in operations {
            if take {
                held.extend(shares[member].try_reserve(bytes));
            } else if !held.is_empty() {
                drop(held.swap_remove(bytes as usize % held.len()));
            }
            let sum: u64 = held.iter().map(super::Reservation::bytes).sum();
            prop_assert_eq!(budget.used(), sum);
            prop_assert!(sum <= 1000);
        }
        held.clear();
        prop_assert_eq!(budget.used(), 0);
    }
}

#[test]
fn a_reservation_grows_only_as_far_as_the_rules_allow() {
    let budget = ByteBudget::new(100);
    let share = budget.share();
    let mut held = share.try_reserve(60).unwrap();
    assert!(held.try_grow_by(40));
    assert!(!held.try_grow_by(1));
    assert_eq!((held.bytes(), budget.used()), (100, 100));
    drop(held);
    assert_eq!(budget.used(), 0);
}
