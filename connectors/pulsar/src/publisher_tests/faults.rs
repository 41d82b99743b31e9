//! Brokers that die, freeze, move or forget to answer: time passes, nothing else happens.

use super::*;
use crate::error::code;
use std::collections::BTreeSet;

/// Each record's first appearance, in the order of the topic.
fn first_appearances(numbers: &[u64]) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    numbers.iter().copied().filter(|number| seen.insert(*number)).collect()
}

/// Repeated entries are the same bytes: as many different frames as different first numbers.
fn repeats_are_identical(cluster: &Cluster) {
    let state = cluster.state();
    for entries in state.entries.values() {
        let mut frames = BTreeMap::new();
        for entry in entries {
            let before = frames.insert(entry.records[0].value.clone(), entry.frame.clone());
            assert!(before.is_none_or(|before| before == entry.frame), "an entry was repeated with other bytes");
        }
    }
}

async fn outage(fault: impl AsyncFn(&Cluster)) -> (Cluster, Publisher, Arc<Seen>) {
    let cluster = Cluster::new();
    cluster.start("two");
    let mut publisher = connect(&cluster, settings()).await.unwrap();
    let seen = Arc::new(Seen::default());
    for first in (0..3_000).step_by(100) {
        publish(&mut publisher, &seen, first..first + 100, 200).await;
        match first {
            // Stored, and their receipts lost with what follows.
            1_000 => cluster.state().keep_receipts = true,
            2_000 => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                fault(&cluster).await;
                cluster.state().keep_receipts = false;
            }
            _ => {}
        }
    }
    publisher.flush().await.unwrap();
    assert_eq!(first_appearances(&cluster.numbers("orders")), (0..3_000).collect::<Vec<_>>());
    assert_eq!(seen.numbers("settled").len(), 3_000);
    assert_eq!(publisher.facts().in_flight_records.get(), 0);
    repeats_are_identical(&cluster);
    (cluster, publisher, seen)
}

#[tokio::test(start_paused = true)]
async fn a_killed_broker_is_waited_for_and_everything_goes_again_in_order() {
    let (cluster, publisher, _) = outage(async |cluster| {
        cluster.kill("one");
        tokio::time::sleep(Duration::from_secs(40)).await;
        cluster.start("one");
    })
    .await;
    let facts = publisher.facts();
    assert!(facts.resends.get() > 0 && facts.disconnects.get() > 0 && facts.reopens.get() == 1);
    assert!(cluster.numbers("orders").len() > 3_000, "what was stored without a receipt is there twice");
}

#[tokio::test(start_paused = true)]
async fn a_frozen_broker_is_noticed_and_costs_time_only() {
    let (_, publisher, _) = outage(async |cluster| {
        cluster.freeze(true);
        tokio::time::sleep(Duration::from_secs(60)).await;
        cluster.freeze(false);
    })
    .await;
    assert!(publisher.facts().disconnects.get() > 0);
}

#[tokio::test(start_paused = true)]
async fn an_unloaded_topic_is_opened_again_on_the_same_connection() {
    let (_, publisher, _) = outage(async |cluster| cluster.unload(None)).await;
    let facts = publisher.facts();
    assert_eq!((facts.reopens.get(), facts.disconnects.get()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_assigned_broker_is_used_without_a_lookup() {
    let (cluster, publisher, _) = outage(async |cluster| {
        cluster.state().lookups.clear();
        cluster.unload(Some("pulsar://two:6650"));
    })
    .await;
    assert_eq!(publisher.facts().reopens.get(), 1);
    let state = cluster.state();
    assert!(state.lookups.is_empty(), "{:?}", state.lookups);
    assert_eq!(state.connects.last().unwrap().0, "two");
}

#[tokio::test(start_paused = true)]
async fn an_assigned_broker_that_is_not_there_is_looked_up() {
    let (cluster, ..) = outage(async |cluster| {
        cluster.state().lookups.clear();
        cluster.unload(Some("pulsar://nowhere:6650"));
    })
    .await;
    assert_eq!(cluster.state().lookups, ["one"]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expires_while_running_is_waited_for() {
    let (_, publisher, _) = outage(async |cluster| {
        cluster.state().token = Some("other");
        cluster.kill("one");
        cluster.start("one");
        tokio::time::sleep(Duration::from_secs(600)).await;
        cluster.state().token = None;
    })
    .await;
    assert!(publisher.facts().errors.get() > 100);
    assert_eq!(Sink::watch(&publisher).waiting_for(), None);
}

#[tokio::test(start_paused = true)]
async fn at_most_once_counts_unknown_outcomes_and_repeats_nothing() {
    let cluster = Cluster::new();
    let settings = PublisherSettings { guarantee: Guarantee::AtMostOnce, ..settings() };
    let mut publisher = connect(&cluster, settings).await.unwrap();
    let seen = Arc::new(Seen::default());
    publish(&mut publisher, &seen, 0..100, 200).await;
    publisher.flush().await.unwrap();
    cluster.state().keep_receipts = true;
    publish(&mut publisher, &seen, 100..200, 200).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    cluster.kill("one");
    tokio::time::sleep(Duration::from_millis(50)).await;
    publish(&mut publisher, &seen, 200..300, 200).await;
    cluster.state().keep_receipts = false;
    cluster.start("one");
    publisher.flush().await.unwrap();
    assert_eq!(cluster.numbers("orders"), (0..300).collect::<Vec<_>>(), "none doubled; here the unknown ones had been stored");
    assert_eq!(publisher.facts().lost_records.get(), 100);
    assert_eq!(seen.numbers("settled").len(), 300, "settled includes unknown");
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_puts_nothing_more_on_the_wire_and_spares_the_others() {
    let cluster = Cluster::new();
    let mut publisher = connect(&cluster, settings()).await.unwrap();
    let (lost, held) = (Arc::new(Seen::default()), Arc::new(Seen::default()));
    publish(&mut publisher, &held, 0..10, 200).await;
    publisher.flush().await.unwrap();
    cluster.kill("one");
    tokio::time::sleep(Duration::from_millis(50)).await;
    for first in (100..200).step_by(10) {
        publish(&mut publisher, &lost, first..first + 10, 200).await;
        publish(&mut publisher, &held, first + 1_000..first + 1_010, 200).await;
    }
    lost.fenced.store(true, Ordering::Relaxed);
    cluster.start("one");
    publisher.flush().await.unwrap();
    let expected: Vec<u64> = (0..10).chain(1_100..1_200).collect();
    assert_eq!(cluster.numbers("orders"), expected);
    assert_eq!(lost.numbers("given back").len(), 100);
    assert_eq!(held.numbers("settled").len(), 110);
    assert_eq!(publisher.facts().fenced_records.get(), 100);
}

#[tokio::test(start_paused = true)]
async fn after_a_reconnect_an_entry_is_repeated_only_if_it_holds_records_of_a_lease_that_is_held() {
    let cluster = Cluster::new();
    let mut publisher = connect(&cluster, settings()).await.unwrap();
    let (lost, held) = (Arc::new(Seen::default()), Arc::new(Seen::default()));
    publish(&mut publisher, &held, 0..10, 1_000).await;
    publisher.flush().await.unwrap();
    cluster.state().keep_receipts = true;
    // One entry of the lost lease alone, one of both.
    publish(&mut publisher, &lost, 100..110, 100).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    publish(&mut publisher, &lost, 110..115, 100).await;
    publish(&mut publisher, &held, 115..120, 100).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    lost.fenced.store(true, Ordering::Relaxed);
    cluster.kill("one");
    cluster.state().keep_receipts = false;
    cluster.start("one");
    publisher.flush().await.unwrap();
    let expected: Vec<u64> = (0..10).chain(100..120).chain(110..120).collect();
    assert_eq!(cluster.numbers("orders"), expected);
    assert_eq!(lost.numbers("given back"), (100..110).collect::<Vec<_>>());
    assert_eq!(lost.numbers("settled"), (110..115).collect::<Vec<_>>());
    repeats_are_identical(&cluster);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_opens_and_refuses_what_is_sent_is_always_said() {
    let cluster = Cluster::new();
    let mut publisher = connect(&cluster, settings()).await.unwrap();
    let watch = Sink::watch(&publisher);
    cluster.state().send_error = Some((code::METADATA, "Messages must be encrypted"));
    let seen = Arc::new(Seen::default());
    publish(&mut publisher, &seen, 0..3, 10).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    // Opened again, with what was sent not answered yet.
    cluster.state().keep_receipts = true;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(publisher.facts().reopens.get() >= 1);
    let waiting = watch.waiting_for().unwrap();
    assert!(waiting.contains("Messages must be encrypted; end-to-end encryption is required"), "{waiting}");
    cluster.state().send_error = None;
    cluster.release_receipts();
    publisher.flush().await.unwrap();
    assert_eq!((seen.numbers("settled"), cluster.numbers("orders")), (vec![0, 1, 2], vec![0, 1, 2]));
    assert_eq!(watch.waiting_for(), None);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_migrated_is_looked_up_in_the_other_cluster() {
    let (cluster, publisher, _) = outage(async |cluster| cluster.migrate("pulsar://two:6650")).await;
    assert_eq!(cluster.state().lookups.last().map(String::as_str), Some("two"));
    assert_eq!(publisher.facts().reopens.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_name_in_use_is_waited_for_and_said() {
    let cluster = Cluster::new();
    cluster.state().open_errors = vec![(code::PRODUCER_BUSY, "Producer with name 'a' is already connected to topic"); 3];
    let publisher = Publisher::start(settings(), Arc::new(cluster.clone())).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let waiting = Sink::watch(&publisher.0).waiting_for().unwrap();
    assert!(waiting.contains("already connected") && waiting.contains("waited for"), "{waiting}");
    publisher.1.await.unwrap().unwrap();
    assert_eq!(cluster.state().opened.len(), 4);
}
