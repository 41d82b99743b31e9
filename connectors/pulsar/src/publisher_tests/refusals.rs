//! Records that cannot be stored, under each policy, by the broker's maximum and by a topic's own limit.

use super::*;
use crate::error::code;
use crate::routing::{HashingScheme, Router};
use connector_sdk::{Acknowledgements, ByteBudget, Fence};

async fn run(cluster: &Cluster, choice: OnRecordError, sizes: &[usize]) -> (Publisher, Arc<Seen>) {
    let dead_letter_topic = Some("dead".to_owned());
    let settings = PublisherSettings { on_record_error: choice, dead_letter_topic, ..settings() };
    let mut publisher = connect(cluster, settings).await.unwrap();
    let seen = Arc::new(Seen::default());
    let records = sizes.iter().zip(0..).map(|(size, number)| record(number, *size)).collect();
    Sink::write(&mut publisher, batch(&seen, 0, records)).await.unwrap();
    publisher.flush().await.unwrap();
    (publisher, seen)
}

const ONE_TOO_LARGE: [usize; 5] = [100, 100, 200_000, 100, 100];
const GOOD: [u64; 4] = [0, 1, 3, 4];

#[tokio::test(start_paused = true)]
async fn fail_names_the_record_and_stores_the_others() {
    let cluster = Cluster::new();
    let (publisher, seen) = run(&cluster, OnRecordError::Fail, &ONE_TOO_LARGE).await;
    assert_eq!(cluster.numbers("orders"), GOOD);
    assert_eq!((seen.numbers("settled"), seen.numbers("failed")), (GOOD.to_vec(), vec![2]));
    let reason = seen.reasons.lock().unwrap()[0].clone();
    assert_eq!(reason.kind(), ErrorKind::Data);
    for part in ["`49592/0`", "`shard-1`", "200008 bytes", "`maxMessageSize` of 100000 bytes"] {
        assert!(reason.message().contains(part), "{reason}");
    }
    assert!(reason.hint().is_some());
    assert_eq!(publisher.facts().refused_records.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn drop_counts_and_settles() {
    let cluster = Cluster::new();
    let (publisher, seen) = run(&cluster, OnRecordError::Drop, &ONE_TOO_LARGE).await;
    assert_eq!(cluster.numbers("orders"), GOOD);
    assert_eq!(seen.numbers("settled").len(), 5);
    let facts = publisher.facts();
    assert_eq!((facts.dropped_records.get(), facts.in_flight_records.get(), facts.in_flight_bytes.get()), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_says_what_it_was_and_settles_by_its_own_receipt() {
    let cluster = Cluster::new();
    let (publisher, seen) = run(&cluster, OnRecordError::DeadLetter, &ONE_TOO_LARGE).await;
    assert_eq!(cluster.numbers("orders"), GOOD);
    assert_eq!(seen.numbers("settled").len(), 5);
    let letters = cluster.records("dead");
    assert_eq!(letters.len(), 1);
    let original = record(2, 200_000);
    assert_eq!(letters[0].value, original.value[..1_024]);
    assert_eq!(letters[0].key, original.key);
    let property = |name: &str| letters[0].properties.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
    assert_eq!(property("REAL_TOPIC").as_deref(), Some("persistent://public/default/orders"));
    assert_eq!(property("deadLetter.partition").as_deref(), Some("shard-1"));
    assert_eq!(property("deadLetter.record").as_deref(), Some("49592/0"));
    assert_eq!(property("deadLetter.size").as_deref(), Some("200008"));
    assert_eq!(property("deadLetter.sha256").map(|sum| sum.len()), Some(64));
    assert!(property("deadLetter.reason").unwrap().contains("maxMessageSize"));
    assert_eq!(publisher.facts().in_flight_records.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_topics_own_limit_judges_only_the_culprit() {
    for (choice, failed) in [(OnRecordError::Fail, vec![3]), (OnRecordError::Drop, vec![]), (OnRecordError::DeadLetter, vec![])] {
        let cluster = Cluster::new();
        cluster.state().topic_limit = Some(3_000);
        let (publisher, seen) = run(&cluster, choice, &[10, 20, 30, 9_000, 40, 50]).await;
        assert_eq!(cluster.numbers("orders"), [0, 1, 2, 4, 5], "{choice:?}");
        assert_eq!(seen.numbers("failed"), failed);
        assert_eq!(seen.numbers("settled").len(), 6 - failed.len());
        assert_eq!(cluster.records("dead").len(), usize::from(choice == OnRecordError::DeadLetter));
        assert_eq!(publisher.facts().refused_entries.get(), 2, "the batch, then the culprit alone");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_topic_that_refuses_stops_the_partition() {
    let cluster = Cluster::new();
    // Its message has 1,024 bytes of the payload: too large there, too.
    cluster.state().topic_limit = Some(500);
    let (_, seen) = run(&cluster, OnRecordError::DeadLetter, &[10, 9_000, 20]).await;
    assert_eq!(cluster.numbers("orders"), [0, 2]);
    assert_eq!(seen.numbers("failed"), [1]);
    assert!(seen.reasons.lock().unwrap()[0].message().contains("`persistent://public/default/dead` refuses record `49591/0`"));
}

type Refuse<'a> = &'a dyn Fn(&Cluster, (i32, &'static str));

/// A publisher whose dead letter topic gets `change` before it is asked for, with a record that must go there.
async fn with_dead_letters(guarantee: Guarantee, change: impl FnOnce(&Cluster)) -> (Cluster, Publisher, Arc<Seen>) {
    let cluster = Cluster::new();
    let choice = OnRecordError::DeadLetter;
    let settings = PublisherSettings { on_record_error: choice, dead_letter_topic: Some("dead".into()), guarantee, ..settings() };
    let mut publisher = connect(&cluster, settings).await.unwrap();
    change(&cluster);
    let seen = Arc::new(Seen::default());
    let records = ONE_TOO_LARGE.iter().zip(0..).map(|(size, number)| record(number, *size)).collect();
    Sink::write(&mut publisher, batch(&seen, 0, records)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), publisher.flush()).await.unwrap().unwrap();
    (cluster, publisher, seen)
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_topic_whose_open_is_refused_stops_the_partition() {
    let refused = [(code::AUTHORIZATION, "no"), (code::TOPIC_NOT_FOUND, "Topic not found"), (code::METADATA, "Namespace not found")];
    let by_metadata = |cluster: &Cluster, refusal| cluster.state().metadata_error = Some(refusal);
    let by_producer = |cluster: &Cluster, refusal| cluster.state().open_errors = vec![refusal];
    let ways: [Refuse<'_>; 2] = [&by_metadata, &by_producer];
    for (refusal, way) in refused.into_iter().flat_map(|refusal| ways.map(|way| (refusal, way))) {
        let (cluster, publisher, seen) = with_dead_letters(Guarantee::AtLeastOnce, |cluster| way(cluster, refusal)).await;
        assert_eq!(cluster.numbers("orders"), GOOD);
        assert_eq!(seen.numbers("failed"), [2], "{refusal:?}");
        let reason = seen.reasons.lock().unwrap()[0].clone();
        assert_eq!(reason.kind(), ErrorKind::Data);
        for part in ["`persistent://public/default/dead`", "`49592/0`", refusal.1] {
            assert!(reason.message().contains(part), "{reason}");
        }
        assert!(Sink::watch(&publisher).waiting_for().unwrap().contains("default/dead"), "it is still asked for");
        let facts = publisher.facts();
        assert_eq!((facts.in_flight_records.get(), facts.in_flight_bytes.get()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_topic_that_cannot_be_reached_is_waited_for() {
    let busy = vec![(code::SERVICE_NOT_READY, "loading"), (code::PRODUCER_BUSY, "busy")];
    let (cluster, publisher, seen) = with_dead_letters(Guarantee::AtLeastOnce, |cluster| cluster.state().open_errors = busy).await;
    assert_eq!((seen.numbers("settled").len(), cluster.records("dead").len()), (5, 1));
    assert_eq!(Sink::watch(&publisher).waiting_for(), None);
}

#[tokio::test(start_paused = true)]
async fn credentials_refused_to_a_whole_connection_say_nothing_about_the_dead_letter_topic() {
    let cluster = Cluster::new();
    let (choice, dead_letter_topic) = (OnRecordError::DeadLetter, Some("dead".to_owned()));
    let settings = PublisherSettings { on_record_error: choice, dead_letter_topic, ..settings() };
    let mut publisher = connect(&cluster, settings).await.unwrap();
    // The letter's topic is asked for, and before the answer the connection is gone and no other is granted.
    cluster.freeze(true);
    let seen = Arc::new(Seen::default());
    Sink::write(&mut publisher, batch(&seen, 0, vec![record(0, 200_000)])).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(publisher.facts().dead_letters.get(), 1);
    cluster.state().token = Some("other");
    cluster.kill("one");
    cluster.start("one");
    cluster.freeze(false);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(Sink::watch(&publisher).waiting_for().unwrap().contains("AuthenticationError"));
    assert!(seen.outcomes.lock().unwrap().is_empty());
    cluster.state().token = None;
    publisher.flush().await.unwrap();
    assert_eq!((seen.numbers("settled"), cluster.records("dead").len()), (vec![0], 1));
}

#[tokio::test(start_paused = true)]
async fn at_most_once_drops_and_counts_what_the_dead_letter_topic_refuses() {
    let refusals: [&dyn Fn(&Cluster); 3] = [
        // The letter, its topic's partitions, its producer.
        &|cluster| cluster.state().topic_limit = Some(500),
        &|cluster| cluster.state().metadata_error = Some((code::AUTHORIZATION, "no")),
        &|cluster| cluster.state().open_errors = vec![(code::TOPIC_TERMINATED, "sealed")],
    ];
    for refuse in refusals {
        let (cluster, publisher, seen) = with_dead_letters(Guarantee::AtMostOnce, refuse).await;
        assert_eq!((cluster.numbers("orders"), cluster.records("dead").len()), (GOOD.to_vec(), 0));
        assert_eq!((seen.numbers("settled").len(), seen.numbers("failed").len()), (5, 0), "the partition goes on");
        let facts = publisher.facts();
        assert_eq!((facts.dropped_records.get(), facts.in_flight_records.get()), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn at_most_once_cannot_stop_at_a_record_and_drops_it() {
    let cluster = Cluster::new();
    let settings = PublisherSettings { guarantee: Guarantee::AtMostOnce, ..settings() };
    let mut publisher = connect(&cluster, settings).await.unwrap();
    let seen = Arc::new(Seen::default());
    Sink::write(&mut publisher, batch(&seen, 0, vec![record(0, 200_000)])).await.unwrap();
    publisher.flush().await.unwrap();
    assert_eq!(seen.numbers("settled"), [0]);
    assert_eq!(publisher.facts().dropped_records.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn batches_shrink_to_what_the_topic_takes() {
    let cluster = Cluster::new();
    cluster.state().topic_limit = Some(10_000);
    let mut publisher = connect(&cluster, settings()).await.unwrap();
    let seen = Arc::new(Seen::default());
    publish(&mut publisher, &seen, 0..5_000, 100).await;
    publisher.flush().await.unwrap();
    assert_eq!(cluster.numbers("orders"), (0..5_000).collect::<Vec<_>>());
    assert_eq!(seen.numbers("settled").len(), 5_000);
    let facts = publisher.facts();
    assert!(facts.refused_entries.get() <= 5, "{} entries refused", facts.refused_entries.get());
    // Opened again it may take more.
    cluster.state().topic_limit = None;
    cluster.unload(None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let entries = facts.entries.get();
    publish(&mut publisher, &seen, 5_000..6_000, 80).await;
    publisher.flush().await.unwrap();
    assert!(facts.entries.get() - entries <= 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_record_cuts_what_stands_behind_it_and_nothing_before_it() {
    let cluster = Cluster::new();
    cluster.state().partitions.insert("persistent://public/default/orders".into(), 2);
    let mut publisher = connect(&cluster, settings()).await.unwrap();
    let mut router = Router::new(HashingScheme::default(), None, 0, std::time::Instant::now());
    let mut on = |partition: u32, number: u64, size: usize| {
        let mut keys = (0..).map(|at| format!("key-{at}"));
        keys.find_map(|key| {
            let record = Record { key: Some(key.into()), ..record(number, size) };
            (router.route(&record, 2, std::time::Instant::now()) == partition).then_some(record)
        })
        .unwrap()
    };
    let records = vec![on(1, 0, 10), on(0, 1, 200_000), on(1, 2, 10)];
    // The second partition takes its time to open; the record that cannot be stored goes to the first.
    cluster.state().open_errors = vec![(code::SERVICE_NOT_READY, "loading")];
    let budget = ByteBudget::new(1_000_000);
    let acks = Acknowledgements::new(budget.share(), Fence::new());
    acks.share().charge(3);
    let handle = acks.track((0..3_u64).map(|position| (position, 1)));
    Sink::write(&mut publisher, Batch::new("shard-1".into(), records, handle)).await.unwrap();
    let (at, _) = acks.failed().await;
    assert_eq!((at, acks.watermark()), (1, None), "the record before it is still on its way");
    publisher.flush().await.unwrap();
    assert_eq!(acks.watermark(), Some(0), "up to the record");
    assert_eq!(cluster.numbers("orders-partition-1"), [0]);
    assert_eq!(publisher.facts().fenced_records.get(), 1);
}
