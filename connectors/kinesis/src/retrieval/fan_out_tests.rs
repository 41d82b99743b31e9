#![allow(clippy::unwrap_used)]
use super::super::script::{ScriptedShard, Trouble, children, no_facts, read_to_the_end, records_of, sequence, shard_id};
use super::*;
use connector_sdk::ByteBudget;
use proptest::prelude::*;

fn fan_out(shard: &ScriptedShard) -> FanOut {
    FanOut::new(Arc::new(shard.clone()), FanOutSettings::default(), no_facts(), Random::seeded(1))
}

fn open(shard: &ScriptedShard, start: StartAt, share: &Share) -> Box<dyn Retrieval> {
    fan_out(shard).open(&shard_id(), start, share.clone())
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        1 => Just(Trouble::Nothing),
        1 => Just(Trouble::Throttle),
        1 => Just(Trouble::Busy),
        1 => Just(Trouble::Hang),
        1 => Just(Trouble::Contradict),
        3 => (0usize..4).prop_map(Trouble::Break),
        3 => (0usize..4).prop_map(Trouble::End),
        2 => (0usize..4).prop_map(Trouble::Silence),
        2 => (0usize..4).prop_map(Trouble::Evicted),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever goes wrong, and however often the reader drops its wait.
    #[test]
    fn no_record_is_skipped_or_repeated(
        sizes in prop::collection::vec(0usize..3000, 0..60),
        chunk in 1usize..10,
        troubles in prop::collection::vec(trouble(), 0..30),
        skip in 0usize..60,
        seed: u64,
        bytes in 2_000u64..60_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let shard = ScriptedShard::new(&sizes, true).with_troubles(troubles);
            shard.state().chunk = chunk;
            let budget = ByteBudget::new(bytes);
            let share = budget.share();
            let skip = skip.min(sizes.len());
            let start = if skip == 0 { StartAt::TrimHorizon } else { StartAt::After(sequence(skip)) };
            let random = Random::seeded(seed);
            let patience = || Duration::from_millis(if random.below(3) == 0 { random.below(20) } else { 200_000 });
            let (numbers, end) = read_to_the_end(&fan_out(&shard), start, &share, patience).await;
            assert_eq!(numbers, (skip + 1..=sizes.len()).collect::<Vec<_>>());
            assert_eq!(end, children());
            assert_eq!(budget.used(), 0, "everything was given back");
        });
    }
}

#[tokio::test(start_paused = true)]
async fn an_ended_subscription_is_made_again_at_once_after_its_last_number() {
    let shard = ScriptedShard::new(&[10; 6], false).with_troubles([Trouble::End(2)]);
    shard.state().chunk = 2;
    let share = ByteBudget::new(64 << 20).share();
    let mut retrieval = open(&shard, StartAt::TrimHorizon, &share);
    let begun = Instant::now();
    for _ in 0..3 {
        assert_eq!(records_of(&mut *retrieval).await.records.len(), 2);
    }
    let subscriptions = shard.state().subscriptions.clone();
    assert_eq!(subscriptions[0], (begun, StartAt::TrimHorizon), "nothing is waited for before the first subscription");
    assert_eq!(subscriptions[1].1, StartAt::After(sequence(4)));
    assert!(begun.elapsed() < Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn a_silent_subscription_is_given_up_after_a_minute_of_reading() {
    let shard = ScriptedShard::new(&[10; 2], false).with_troubles([Trouble::Silence(1)]);
    shard.state().chunk = 1;
    let share = ByteBudget::new(64 << 20).share();
    let mut retrieval = open(&shard, StartAt::TrimHorizon, &share);
    drop(records_of(&mut *retrieval).await);
    // Time in which nobody reads does not count.
    tokio::time::advance(Duration::from_secs(1000)).await;
    assert!(timeout(Duration::from_secs(40), retrieval.fetch()).await.is_err());
    tokio::time::advance(Duration::from_secs(1000)).await;
    assert_eq!(shard.state().subscriptions.len(), 1);
    let begun = Instant::now();
    assert_eq!(records_of(&mut *retrieval).await.records.len(), 1);
    assert!((20..22).contains(&begun.elapsed().as_secs()), "{:?} after 40 s", begun.elapsed());
    assert_eq!(shard.state().subscriptions[1].1, StartAt::After(sequence(1)));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_while_the_budget_is_spent_and_the_subscription_is_given_up() {
    let shard = ScriptedShard::new(&[1000; 4], false);
    shard.state().chunk = 2;
    let budget = ByteBudget::new(10_000);
    let share = budget.share();
    let mut retrieval = open(&shard, StartAt::TrimHorizon, &share);
    let first = records_of(&mut *retrieval).await;
    let rest = share.reserve(10_000 - share.held()).await;
    assert!(timeout(Duration::from_secs(600), retrieval.fetch()).await.is_err());
    assert_eq!(shard.state().events, 1, "no event is read without room");
    assert_eq!(shard.state().subscriptions.len(), 1, "nor a subscription made");
    assert_eq!(budget.used(), 10_000);
    drop((first, rest));
    assert_eq!(records_of(&mut *retrieval).await.records.len(), 2);
    assert_eq!(shard.state().subscriptions[1].1, StartAt::After(sequence(2)), "the unread subscription had been given up");
}

#[tokio::test(start_paused = true)]
async fn a_short_lack_of_room_keeps_the_subscription() {
    let shard = ScriptedShard::new(&[1000; 4], false);
    shard.state().chunk = 2;
    let share = ByteBudget::new(10_000).share();
    let mut retrieval = open(&shard, StartAt::TrimHorizon, &share);
    drop(records_of(&mut *retrieval).await);
    let all = share.reserve(10_000).await;
    assert!(timeout(Duration::from_secs(4), retrieval.fetch()).await.is_err());
    drop(all);
    assert_eq!(records_of(&mut *retrieval).await.records.len(), 2);
    assert_eq!(shard.state().subscriptions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_event_larger_than_the_budget_passes_alone() {
    let shard = ScriptedShard::new(&[100, 10 << 20, 100], true);
    shard.state().chunk = 1;
    let budget = ByteBudget::new(1 << 20);
    let (numbers, _) = read_to_the_end(&fan_out(&shard), StartAt::TrimHorizon, &budget.share(), || Duration::MAX).await;
    assert_eq!(numbers, [1, 2, 3]);
    assert!(budget.peak() < 30 << 20);
}

#[tokio::test(start_paused = true)]
async fn a_shard_held_by_another_subscription_is_asked_for_until_it_is_free() {
    let shard = ScriptedShard::new(&[10], false).with_troubles([Trouble::Busy; 12]);
    let share = ByteBudget::new(64 << 20).share();
    assert_eq!(records_of(&mut *open(&shard, StartAt::TrimHorizon, &share)).await.records.len(), 1);
    let calls = shard.state().subscriptions.clone();
    assert!(calls.windows(2).all(|pair| (250..5_010).contains(&(pair[1].0 - pair[0].0).as_millis())));
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_gone_ends_without_children() {
    let shard = ScriptedShard::new(&[10], false).with_troubles([Trouble::Gone]);
    let share = ByteBudget::new(64 << 20).share();
    let mut retrieval = open(&shard, StartAt::TrimHorizon, &share);
    for _ in 0..2 {
        let fetched = retrieval.fetch().await.unwrap();
        assert!(fetched.end && fetched.children.is_empty() && fetched.records.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_stays_away_is_told() {
    let shard = ScriptedShard::new(&[10], false).with_troubles([Trouble::Break(0); 6]);
    let share = ByteBudget::new(64 << 20).share();
    let mut retrieval = open(&shard, StartAt::TrimHorizon, &share);
    assert!(matches!(retrieval.fetch().await, Err(FetchError::Failed(_))));
    assert_eq!(records_of(&mut *retrieval).await.records.len(), 1, "and it goes on when it is asked again");
}

#[tokio::test(start_paused = true)]
async fn a_time_in_the_future_is_told_and_then_reached() {
    let shard = ScriptedShard::new(&[10], false);
    let share = ByteBudget::new(64 << 20).share();
    let mut retrieval = open(&shard, StartAt::Timestamp(5), &share);
    assert!(matches!(retrieval.fetch().await, Err(FetchError::FutureTimestamp)));
    shard.state().now = 5;
    assert_eq!(records_of(&mut *retrieval).await.records.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_does_not_waste_its_subscription() {
    let shard = ScriptedShard::new(&[10; 3], false);
    let share = ByteBudget::new(64 << 20).share();
    let mut retrieval = open(&shard, StartAt::TrimHorizon, &share);
    assert!(timeout(Duration::from_millis(1), retrieval.fetch()).await.is_err());
    assert_eq!(records_of(&mut *retrieval).await.records.len(), 3);
    assert_eq!(shard.state().subscriptions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_rest_lets_go_of_the_connection_and_goes_on_behind_the_last_answer() {
    let shard = ScriptedShard::new(&[10; 4], false);
    shard.state().chunk = 2;
    let share = ByteBudget::new(64 << 20).share();
    let mut retrieval = open(&shard, StartAt::TrimHorizon, &share);
    let first = records_of(&mut *retrieval).await;
    retrieval.rest();
    drop(first);
    assert_eq!(share.held(), 0, "nothing is held for what was announced");
    assert_eq!(records_of(&mut *retrieval).await.records.len(), 2);
    assert_eq!(shard.state().subscriptions[1].1, StartAt::After(sequence(2)));
}
