//! Several workers on one table: even shares, takeover, resharding, and shards that fail.

use super::world::{FAILOVER, NOW, Setup, Stream, new_table, soon, until};
use crate::config::MetricsLevel;
use crate::lease::{Fault, OperationKind};
use crate::metrics::{Facts, Metric};
use aws_sdk_dynamodb::types::AttributeValue;
use connector_sdk::Failures;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const SHARD_0: &str = "shardId-000000000000";
const SHARD_1: &str = "shardId-000000000001";

#[tokio::test(start_paused = true)]
async fn a_second_worker_comes_to_half_by_stealing_one_at_a_time() {
    let (stream, table) = (Stream::with_shards(6), new_table());
    let setup = Setup::new(&stream, &table);
    let (one, mut first) = setup.start().await.unwrap();
    until("the first has all", || stream.running_under(&one) == 6).await;
    let (two, mut second) = setup.seeded(2).start().await.unwrap();
    let mut most = 0;
    let deadline = Instant::now() + FAILOVER * 6;
    while stream.running_under(&two) < 3 {
        assert!(Instant::now() < deadline, "never even");
        sleep(Duration::from_millis(10)).await;
        let now = stream.running_under(&two);
        assert!(now <= most + 1, "more than one was stolen in a round");
        most = most.max(now);
    }
    sleep(FAILOVER * 10).await;
    assert_eq!((stream.running_under(&one), stream.running_under(&two)), (3, 3), "even shares stay");
    assert_eq!((stream.has_stolen(&one), stream.has_stolen(&two)), (false, true), "only a steal is one from a living owner");
    first.stop(soon()).await;
    second.stop(soon()).await;
    stream.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_is_replaced_within_the_failover_time_and_a_scan() {
    let (stream, table) = (Stream::with_shards(4), new_table());
    let setup = Setup::new(&stream, &table);
    let (one, first) = setup.start().await.unwrap();
    let (two, mut second) = setup.seeded(2).start().await.unwrap();
    until("they share", || stream.running_under(&one) == 2 && stream.running_under(&two) == 2).await;
    drop(first);
    let died = Instant::now();
    until("the second has all", || stream.running_under(&two) == 4).await;
    assert!(died.elapsed() <= FAILOVER * 2, "{:?}", died.elapsed());
    second.stop(soon()).await;
    stream.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_hands_over_at_the_others_next_look() {
    let (stream, table) = (Stream::with_shards(4), new_table());
    let setup = Setup::new(&stream, &table);
    let (one, mut first) = setup.start().await.unwrap();
    let (two, mut second) = setup.seeded(2).start().await.unwrap();
    until("they share", || stream.running_under(&one) == 2 && stream.running_under(&two) == 2).await;
    first.stop(soon()).await;
    let stopped = Instant::now();
    until("the second has all", || stream.running_under(&two) == 4).await;
    assert!(stopped.elapsed() <= FAILOVER, "{:?}", stopped.elapsed());
    second.stop(soon()).await;
    stream.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn children_of_a_split_start_when_the_parent_is_finished_and_its_row_goes_later() {
    let (stream, table) = (Stream::with_shards(2), new_table());
    let (_, mut coordinator) = Setup::new(&stream, &table).start().await.unwrap();
    until("both run", || stream.running() == 2).await;
    stream.reshard(&[SHARD_0], 2);
    until("the parent is finished", || stream.is_finished(SHARD_0)).await;
    let finished = Instant::now();
    until("the children run", || stream.running() == 3).await;
    assert!(finished.elapsed() < Duration::from_secs(1), "children waited {:?}", finished.elapsed());
    let parent = table.lease(SHARD_0).unwrap();
    assert_eq!(parent.children.len(), 2);
    until("the parent's row is removed", || table.lease(SHARD_0).is_none()).await;
    assert!(table.lease("shardId-000000000002").is_some());
    sleep(Duration::from_secs(300)).await;
    assert!(table.lease(SHARD_0).is_none(), "it is not created again");
    coordinator.stop(soon()).await;
    stream.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn the_child_of_a_merge_starts_after_both_parents_wherever_they_run() {
    let (stream, table) = (Stream::with_shards(2), new_table());
    let setup = Setup::new(&stream, &table);
    let (one, mut first) = setup.start().await.unwrap();
    let (two, mut second) = setup.seeded(2).start().await.unwrap();
    until("they share", || stream.running_under(&one) == 1 && stream.running_under(&two) == 1).await;
    // The first parent stands still: its reader fails at every start for a while.
    stream.reshard(&[SHARD_0, SHARD_1], 1);
    until("both parents are finished and the child runs", || stream.is_running("shardId-000000000002")).await;
    first.stop(soon()).await;
    second.stop(soon()).await;
    stream.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn doublings_one_after_the_other_keep_every_generation_in_order() {
    let (stream, table) = (Stream::with_shards(2), new_table());
    let setup = Setup::new(&stream, &table);
    let (_, mut first) = setup.start().await.unwrap();
    let (_, mut second) = setup.seeded(2).start().await.unwrap();
    until("both run", || stream.running() == 2).await;
    let mut generation = vec![SHARD_0.to_owned(), SHARD_1.to_owned()];
    for _ in 0..3 {
        let mut children = Vec::new();
        for parent in &generation {
            children.extend(stream.reshard(&[parent], 2).into_iter().map(|id| id.to_string()));
        }
        generation = children;
    }
    until("the last generation runs", || generation.iter().all(|shard| stream.is_running(shard))).await;
    assert_eq!(stream.running(), 16);
    first.stop(soon()).await;
    second.stop(soon()).await;
    stream.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_fails_is_started_again_after_growing_pauses_and_its_error_is_kept() {
    let (stream, table) = (Stream::with_shards(1), new_table());
    stream.fail_starts(SHARD_0, 5);
    let (_, mut coordinator) = Setup::new(&stream, &table).start().await.unwrap();
    until("it recovers", || stream.published(SHARD_0) > 2).await;
    let starts = stream.starts_of(SHARD_0);
    let pauses: Vec<Duration> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses.len(), 5);
    for (index, pause) in pauses.iter().enumerate() {
        let longest = Duration::from_secs(1 << index);
        assert!(*pause >= longest / 2 && *pause <= longest + Duration::from_millis(50), "pause {index}: {pause:?}");
    }
    let errors = coordinator.status().errors();
    assert_eq!(errors.len(), 5);
    assert_eq!(errors[0].shard.as_ref().unwrap().as_str(), SHARD_0);
    assert_eq!(table.lease(SHARD_0).unwrap().owner_switches, 0, "the lease was kept all the time");
    coordinator.stop(soon()).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_stolen_while_its_shard_waited_is_not_started_on_an_old_belief() {
    let (stream, table) = (Stream::with_shards(1), new_table());
    stream.fail_starts(SHARD_0, 3);
    let (_, mut coordinator) = Setup::new(&stream, &table).start().await.unwrap();
    // It failed three times and waits for two to four seconds; somebody takes the lease right after its renewal.
    until("it failed three times", || stream.starts_of(SHARD_0).len() == 3).await;
    let row = table.lease(SHARD_0).unwrap();
    let mut item = row.encode();
    item.insert("leaseOwner".to_owned(), AttributeValue::S("another".to_owned()));
    item.insert("leaseCounter".to_owned(), AttributeValue::N((row.counter + 1).to_string()));
    let stolen = Instant::now();
    table.put(item);
    sleep(Duration::from_millis(4_200)).await;
    assert!(stolen.elapsed() < FAILOVER);
    assert_eq!(stream.starts_of(SHARD_0).len(), 3, "it was started although another had the lease");
    assert_eq!(coordinator.status().leases_held(), 0);
    coordinator.stop(soon()).await;
}

#[tokio::test(start_paused = true)]
async fn a_table_that_does_not_answer_costs_the_leases_at_the_failover_time_and_no_sooner() {
    let (stream, table) = (Stream::with_shards(2), new_table());
    let (_, mut coordinator) = Setup::new(&stream, &table).start().await.unwrap();
    until("both run", || stream.running() == 2).await;
    let cut = Instant::now();
    table.set_hook(|operation| (operation.kind == OperationKind::Update).then_some(Fault::Slow(Duration::from_secs(3_600))));
    until("both are fenced off", || stream.running() == 0).await;
    assert!(cut.elapsed() <= FAILOVER && cut.elapsed() >= FAILOVER / 2, "{:?}", cut.elapsed());
    table.set_hook(|_| None);
    until("both run again", || stream.running() == 2).await;
    coordinator.stop(soon()).await;
    stream.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn no_worker_holds_more_than_its_maximum() {
    let (stream, table) = (Stream::with_shards(5), new_table());
    let setup = Setup { max_leases: 2, ..Setup::new(&stream, &table) };
    let (one, mut first) = setup.start().await.unwrap();
    sleep(FAILOVER * 8).await;
    assert_eq!(stream.running_under(&one), 2);
    first.stop(soon()).await;
    stream.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_is_replaced_although_the_shards_cannot_be_listed() {
    let (stream, table) = (Stream::with_shards(4), new_table());
    let setup = Setup::new(&stream, &table);
    let (one, first) = setup.start().await.unwrap();
    let (two, mut second) = setup.seeded(2).start().await.unwrap();
    until("they share", || stream.running_under(&one) == 2 && stream.running_under(&two) == 2).await;
    stream.fail_listings(true);
    until("a listing failed", || !second.status().errors().is_empty()).await;
    drop(first);
    let died = Instant::now();
    until("the second has all", || stream.running_under(&two) == 4).await;
    assert!(died.elapsed() <= FAILOVER * 2, "{:?}", died.elapsed());
    stream.fail_listings(false);
    second.stop(soon()).await;
    stream.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_stolen_and_freed_although_the_side_tables_cannot_be_read() {
    let (stream, table) = (Stream::with_shards(2), new_table());
    let (worker, mut coordinator) = Setup::new(&stream, &table).start().await.unwrap();
    until("both run", || stream.running_under(&worker) == 2).await;
    table.set_hook(|operation| (operation.kind == OperationKind::Table).then_some(Fault::Throttled));
    until("a look failed", || !coordinator.status().errors().is_empty()).await;
    let row = table.lease(SHARD_0).unwrap();
    let mut item = row.encode();
    item.remove("leaseOwner");
    item.insert("leaseCounter".to_owned(), AttributeValue::N((row.counter + 1).to_string()));
    table.put(item);
    until("it is noticed", || stream.running_under(&worker) == 1).await;
    until("it is taken again", || stream.running_under(&worker) == 2).await;
    coordinator.stop(soon()).await;
    stream.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn each_kept_error_is_told() {
    let (stream, table) = (Stream::with_shards(1), new_table());
    stream.fail_starts(SHARD_0, 2);
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    let failures = Failures::to(move |error| listener.lock().unwrap().push(error.message().to_owned()));
    let (_, mut coordinator) = Setup { failures, ..Setup::new(&stream, &table) }.start().await.unwrap();
    until("it recovers", || stream.published(SHARD_0) > 2).await;
    let kept: Vec<String> = coordinator.status().errors().iter().map(|kept| kept.error.message().to_owned()).collect();
    assert_eq!(kept.len(), 2);
    assert_eq!(*told.lock().unwrap(), kept);
    coordinator.stop(soon()).await;
}

#[tokio::test(start_paused = true)]
async fn checkpoints_child_leases_and_waits_for_parents_are_measured() {
    let (stream, table) = (Stream::with_shards(2), new_table());
    let facts = Facts::new(MetricsLevel::Detailed, "worker");
    let (_, mut coordinator) = Setup { facts: Some(facts.clone()), ..Setup::new(&stream, &table) }.start().await.unwrap();
    until("both run", || stream.running() == 2).await;
    stream.reshard(&[SHARD_0], 2);
    until("the children run", || stream.running() == 3).await;
    let measured: HashSet<Metric> = facts.drain(NOW).into_iter().map(|datum| datum.metric).collect();
    for metric in [Metric::UpdateLeaseTime, Metric::ShutdownCreateLeaseSuccess] {
        assert!(measured.contains(&metric), "{metric:?}");
    }
    coordinator.stop(soon()).await;
}
