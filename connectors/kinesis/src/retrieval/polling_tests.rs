#![allow(clippy::unwrap_used)]
use super::super::script::{
    ScriptedShard, Trouble, children, no_facts, number_of, read_to_the_end, record, records_of, sequence, shard_id,
};
use super::*;
use connector_sdk::ByteBudget;
use proptest::prelude::*;

const IDLE: Duration = Duration::from_millis(1500);

fn polling(shard: &ScriptedShard) -> Polling {
    let settings = PollingSettings { max_records: 10_000, idle_time_between_reads: IDLE };
    Polling::new(Arc::new(shard.clone()), settings, no_facts(), Random::seeded(1))
}

fn open(shard: &ScriptedShard, start: StartAt, share: &Share) -> Box<dyn Retrieval> {
    polling(shard).open(&shard_id(), start, share.clone())
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        3 => Just(Trouble::Nothing),
        1 => Just(Trouble::Throttle),
        2 => Just(Trouble::LoseIterator),
        1 => Just(Trouble::Break(0)),
        1 => Just(Trouble::Hang),
        1 => Just(Trouble::Contradict),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever goes wrong, and however often the reader drops its wait.
    #[test]
    fn no_record_is_skipped_or_repeated_and_the_pace_is_kept(
        sizes in prop::collection::vec(0usize..3000, 0..60),
        chunk in 1usize..20,
        troubles in prop::collection::vec(trouble(), 0..40),
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
            let patience = || Duration::from_millis(if random.below(3) == 0 { random.below(400) } else { 100_000 });
            let (numbers, end) = read_to_the_end(&polling(&shard), start, &share, patience).await;
            assert_eq!(numbers, (skip + 1..=sizes.len()).collect::<Vec<_>>());
            assert_eq!(end, children());
            assert_eq!(budget.used(), 0, "everything was given back");
            let calls = &shard.state().calls;
            assert!(calls.windows(6).all(|six| six[5].0 - six[0].0 >= Duration::from_secs(1)), "at most five calls in a second");
        });
    }
}

#[tokio::test(start_paused = true)]
async fn five_calls_a_second_and_no_idle_wait_while_behind() {
    let shard = ScriptedShard::new(&[10; 60], false);
    shard.state().chunk = 2;
    let share = ByteBudget::new(64 << 20).share();
    let mut retrieval = open(&shard, StartAt::TrimHorizon, &share);
    let begun = Instant::now();
    for _ in 0..30 {
        drop(retrieval.fetch().await.unwrap());
    }
    let calls: Vec<_> = shard.state().calls.iter().map(|(moment, _)| *moment).collect();
    assert_eq!(calls[0], begun, "nothing is waited for before the first call");
    assert!(calls.windows(6).all(|six| six[5] - six[0] >= Duration::from_secs(1)), "at most five calls in a second");
    assert!(calls[29] - calls[0] < Duration::from_millis(30 * 210), "no idle wait while behind");
    assert_eq!(shard.state().iterators, 1);
}

#[tokio::test(start_paused = true)]
async fn at_the_tip_the_idle_time_passes_between_calls() {
    let shard = ScriptedShard::new(&[10], false);
    let share = ByteBudget::new(64 << 20).share();
    let mut retrieval = open(&shard, StartAt::TrimHorizon, &share);
    for _ in 0..4 {
        drop(retrieval.fetch().await.unwrap());
    }
    let calls = shard.state().calls.clone();
    assert!(calls.windows(2).all(|pair| pair[1].0 - pair[0].0 == IDLE));
}

#[tokio::test(start_paused = true)]
async fn a_lost_iterator_is_replaced_behind_the_last_record() {
    let shard = ScriptedShard::new(&[10; 4], false).with_troubles([Trouble::Nothing, Trouble::Nothing, Trouble::LoseIterator]);
    shard.state().chunk = 2;
    let share = ByteBudget::new(64 << 20).share();
    let mut retrieval = open(&shard, StartAt::TrimHorizon, &share);
    assert_eq!(records_of(&mut *retrieval).await.records, [record(1, 10), record(2, 10)]);
    assert_eq!(records_of(&mut *retrieval).await.records, [record(3, 10), record(4, 10)]);
    assert_eq!(shard.state().iterators, 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_called_while_the_budget_is_spent() {
    let shard = ScriptedShard::new(&[10; 4], false);
    let budget = ByteBudget::new(1 << 20);
    let share = budget.share();
    let all = share.reserve(1 << 20).await;
    let mut retrieval = open(&shard, StartAt::TrimHorizon, &share);
    assert!(tokio::time::timeout(Duration::from_secs(600), retrieval.fetch()).await.is_err());
    assert!(shard.state().calls.is_empty());
    drop(all);
    assert_eq!(records_of(&mut *retrieval).await.records.len(), 4);
    assert!(budget.peak() <= 1 << 20);
}

#[tokio::test(start_paused = true)]
async fn answers_that_grow_beyond_the_room_are_asked_for_again_with_fewer_records() {
    let mut sizes = vec![100; 200];
    sizes.extend([200 << 10; 40]);
    let shard = ScriptedShard::new(&sizes, true);
    let budget = ByteBudget::new(2 << 20);
    let share = budget.share();
    let (numbers, _) = read_to_the_end(&polling(&shard), StartAt::TrimHorizon, &share, || Duration::MAX).await;
    assert_eq!(numbers, (1..=240).collect::<Vec<_>>());
    assert!(budget.peak() <= 2 << 20, "{}", budget.peak());
}

#[tokio::test(start_paused = true)]
async fn a_record_larger_than_the_budget_passes_alone() {
    let shard = ScriptedShard::new(&[100, 10 << 20, 100], true);
    let budget = ByteBudget::new(1 << 20);
    let share = budget.share();
    let (numbers, _) = read_to_the_end(&polling(&shard), StartAt::TrimHorizon, &share, || Duration::MAX).await;
    assert_eq!(numbers, [1, 2, 3]);
    assert!(budget.peak() < 30 << 20);
}

#[tokio::test(start_paused = true)]
async fn throttles_are_waited_out_for_as_long_as_they_last() {
    let shard = ScriptedShard::new(&[10], false).with_troubles([Trouble::Throttle; 50]);
    let share = ByteBudget::new(64 << 20).share();
    let begun = Instant::now();
    assert_eq!(records_of(&mut *open(&shard, StartAt::TrimHorizon, &share)).await.records.len(), 1);
    assert!(begun.elapsed() > Duration::from_secs(50), "with growing pauses");
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
async fn a_shard_that_is_gone_ends_without_children() {
    for troubles in [vec![Trouble::Gone], vec![Trouble::Nothing, Trouble::Gone]] {
        let shard = ScriptedShard::new(&[10], false).with_troubles(troubles);
        let share = ByteBudget::new(64 << 20).share();
        let mut retrieval = open(&shard, StartAt::TrimHorizon, &share);
        for _ in 0..2 {
            let fetched = retrieval.fetch().await.unwrap();
            assert!(fetched.end && fetched.children.is_empty() && fetched.records.is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_in_the_future_is_told_and_then_reached() {
    let shard = ScriptedShard::new(&[10], false);
    let share = ByteBudget::new(64 << 20).share();
    let mut retrieval = open(&shard, StartAt::Timestamp(5), &share);
    for _ in 0..3 {
        assert!(matches!(retrieval.fetch().await, Err(FetchError::FutureTimestamp)));
    }
    shard.state().now = 5;
    assert_eq!(number_of(&records_of(&mut *retrieval).await.records[0].sequence), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_contradicts_itself_is_asked_for_again() {
    let shard = ScriptedShard::new(&[10; 2], true).with_troubles([Trouble::Nothing, Trouble::Contradict, Trouble::Contradict]);
    let share = ByteBudget::new(64 << 20).share();
    let fetched = open(&shard, StartAt::TrimHorizon, &share).fetch().await.unwrap();
    assert_eq!((fetched.records.len(), fetched.end, fetched.children), (2, true, children()));
    assert_eq!(shard.state().calls.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_does_not_waste_its_call() {
    let shard = ScriptedShard::new(&[10; 3], false);
    let share = ByteBudget::new(64 << 20).share();
    let mut retrieval = open(&shard, StartAt::TrimHorizon, &share);
    assert!(tokio::time::timeout(Duration::from_millis(1), retrieval.fetch()).await.is_err());
    assert_eq!(records_of(&mut *retrieval).await.records.len(), 3);
    assert_eq!(shard.state().calls.len(), 1);
}
