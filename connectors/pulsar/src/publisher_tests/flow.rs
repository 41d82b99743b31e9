//! Records on their way when nothing fails: order, partitions, batches, bounds, the end.

use super::*;
use crate::routing::HashingScheme;
use crate::wire::unpack::unpack;

const TOPIC: &str = "persistent://public/default/orders";

#[tokio::test(start_paused = true)]
async fn records_arrive_bit_for_bit_in_order_and_in_full_batches() {
    let cluster = Cluster::new();
    cluster.state().max_message_size = 5_242_880;
    let mut publisher = connect(&cluster, settings()).await.unwrap();
    let seen = Arc::new(Seen::default());
    for first in (0..20_000).step_by(500) {
        publish(&mut publisher, &seen, first..first + 500, 100).await;
    }
    publisher.flush().await.unwrap();
    let expected: Vec<Record> = (0..20_000).map(|number| record(number, 100)).collect();
    let received = cluster.records("orders");
    assert_eq!(received.len(), expected.len());
    for (received, expected) in received.iter().zip(&expected) {
        assert_eq!((&received.value, &received.key), (&expected.value, &expected.key));
    }
    assert_eq!(seen.numbers("settled").len(), 20_000);
    let facts = publisher.facts();
    let fill = facts.entry_records.get() / facts.entries.get();
    assert!(fill >= 800, "{fill} records in an entry of at most 1,000");
    assert_eq!((facts.in_flight_records.get(), facts.in_flight_bytes.get(), facts.stored_records.get()), (0, 0, 20_000));
}

#[tokio::test(start_paused = true)]
async fn a_batch_above_the_brokers_maximum_is_cut_in_halves() {
    let cluster = Cluster::new();
    cluster.state().max_message_size = 50_000;
    let mut publisher = connect(&cluster, settings()).await.unwrap();
    let seen = Arc::new(Seen::default());
    publish(&mut publisher, &seen, 0..1_000, 100).await;
    publisher.flush().await.unwrap();
    assert_eq!(cluster.numbers("orders"), (0..1_000).collect::<Vec<_>>());
    assert_eq!(cluster.state().entries[TOPIC].len(), 4);
}

#[tokio::test(start_paused = true)]
async fn keys_choose_partitions_as_java_does() {
    let cluster = Cluster::new();
    cluster.state().partitions.insert(TOPIC.into(), 4);
    let mut publisher = connect(&cluster, settings()).await.unwrap();
    let seen = Arc::new(Seen::default());
    publish(&mut publisher, &seen, 0..1_000, 10).await;
    publisher.flush().await.unwrap();
    let mut total = 0;
    for partition in 0..4 {
        let records = cluster.records(&format!("orders-partition-{partition}"));
        total += records.len();
        for record in records {
            assert_eq!(HashingScheme::Murmur3_32.hash(&record.key.unwrap()) % 4, partition);
        }
        assert!(cluster.numbers(&format!("orders-partition-{partition}")).is_sorted());
    }
    assert_eq!(total, 1_000);
    assert_eq!(seen.numbers("settled").len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_grows_is_switched_only_when_everything_before_is_answered() {
    let cluster = Cluster::new();
    cluster.state().partitions.insert(TOPIC.into(), 2);
    let mut publisher = connect(&cluster, settings()).await.unwrap();
    let seen = Arc::new(Seen::default());
    publish(&mut publisher, &seen, 0..100, 10).await;
    publisher.flush().await.unwrap();
    cluster.state().keep_receipts = true;
    publish(&mut publisher, &seen, 100..200, 10).await;
    cluster.state().partitions.insert(TOPIC.into(), 3);
    tokio::time::sleep(Duration::from_secs(61)).await;
    publish(&mut publisher, &seen, 200..300, 10).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(seen.numbers("settled").len(), 100);
    assert!(cluster.numbers("orders-partition-2").is_empty(), "nothing goes by the new number before the old one is answered");
    cluster.release_receipts();
    publisher.flush().await.unwrap();
    assert_eq!(seen.numbers("settled").len(), 300);
    let grown = cluster.records("orders-partition-2");
    assert!(!grown.is_empty() && cluster.numbers("orders-partition-2").iter().all(|number| *number >= 200));
    assert!(grown.iter().all(|record| HashingScheme::Murmur3_32.hash(record.key.as_ref().unwrap()) % 3 == 2));
}

#[tokio::test(start_paused = true)]
async fn the_producer_config_decides_batches_and_compression() {
    let cluster = Cluster::new();
    let producer = serde_json::from_str(r#"{"compressionType":"ZLIB","batchingConfig":{"batchingMaxMessages":10}}"#).unwrap();
    let mut publisher = connect(&cluster, PublisherSettings { producer: Some(producer), ..settings() }).await.unwrap();
    let seen = Arc::new(Seen::default());
    let records = (0..100).map(|_| Record { value: b"the same ".repeat(20).into(), ..Record::default() }).collect();
    Sink::write(&mut publisher, batch(&seen, 0, records)).await.unwrap();
    publisher.flush().await.unwrap();
    let entries = cluster.state().entries[TOPIC].clone();
    assert_eq!(entries.len(), 10);
    for entry in entries {
        let frame = crate::wire::frame::decode(&mut bytes::BytesMut::from(&entry.frame[..]), 1 << 20).unwrap().unwrap();
        assert_eq!(unpack(frame.entry).unwrap().metadata.compression, Some(Compression::Zlib.number()));
        assert_eq!(entry.records.len(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn without_batching_every_record_is_an_entry() {
    let cluster = Cluster::new();
    let producer = serde_json::from_str(r#"{"batchingConfig":{"enabled":false}}"#).unwrap();
    let mut publisher = connect(&cluster, PublisherSettings { producer: Some(producer), ..settings() }).await.unwrap();
    let seen = Arc::new(Seen::default());
    publish(&mut publisher, &seen, 0..2_000, 10).await;
    publisher.flush().await.unwrap();
    assert_eq!(cluster.state().entries[TOPIC].len(), 2_000);
    assert_eq!(cluster.numbers("orders"), (0..2_000).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_single_record_is_sent_without_waiting_for_the_batch_delay() {
    let cluster = Cluster::new();
    let mut publisher = connect(&cluster, settings()).await.unwrap();
    let seen = Arc::new(Seen::default());
    for number in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        publish(&mut publisher, &seen, number..number + 1, 10).await;
        while seen.numbers("settled").len() as u64 <= number {
            tokio::task::yield_now().await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO, "no time had to pass");
    }
}

#[tokio::test(start_paused = true)]
async fn room_is_bounded_and_a_dropped_wait_takes_none() {
    let cluster = Cluster::new();
    let producer = serde_json::from_str(r#"{"maxPendingMessages":100}"#).unwrap();
    let settings = PublisherSettings { producer: Some(producer), max_pending_bytes: 10_000, ..settings() };
    let mut publisher = connect(&cluster, settings).await.unwrap();
    let watch = Sink::watch(&publisher);
    let seen = Arc::new(Seen::default());
    cluster.state().keep_receipts = true;
    let first = publisher.reserve(10, 9_999).await.unwrap();
    assert_eq!(watch.room(), WriteRoom::Full);
    assert!(tokio::time::timeout(Duration::from_secs(60), publisher.reserve(1, 2)).await.is_err(), "no bytes left");
    assert!(tokio::time::timeout(Duration::from_secs(60), publisher.reserve(91, 1)).await.is_err(), "no records left");
    first.submit(batch(&seen, 0, (0..10).map(|number| record(number, 10)).collect()));
    assert!(tokio::time::timeout(Duration::from_secs(60), publisher.reserve(1, 2)).await.is_err(), "freed by the receipt only");
    cluster.release_receipts();
    publisher.flush().await.unwrap();
    // Larger than all the room there is: alone, but not for ever.
    publish(&mut publisher, &seen, 10..311, 1_000).await;
    publisher.flush().await.unwrap();
    assert_eq!(seen.numbers("settled").len(), 311);
    drop(publisher.reserve(100, 10_000).await.unwrap());
    assert_eq!(watch.room(), WriteRoom::Free);
    assert_eq!((watch.in_flight(), watch.written()), (0, 311));
}

#[tokio::test(start_paused = true)]
async fn closing_flushes_and_gives_back_what_is_not_answered_in_time() {
    let cluster = Cluster::new();
    let mut publisher = connect(&cluster, settings()).await.unwrap();
    let seen = Arc::new(Seen::default());
    publish(&mut publisher, &seen, 0..10, 10).await;
    publisher.flush().await.unwrap();
    cluster.state().keep_receipts = true;
    publish(&mut publisher, &seen, 10..20, 10).await;
    let began = Instant::now();
    publisher.close(began + Duration::from_secs(3)).await;
    assert!(began.elapsed() >= Duration::from_secs(3) && began.elapsed() < Duration::from_secs(4));
    assert_eq!(seen.numbers("settled"), (0..10).collect::<Vec<_>>());
    assert_eq!(seen.numbers("given back"), (10..20).collect::<Vec<_>>());
    assert_eq!(publisher.reserve(1, 1).await.err().unwrap().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_publisher_gives_everything_back() {
    let cluster = Cluster::new();
    let mut publisher = connect(&cluster, settings()).await.unwrap();
    let seen = Arc::new(Seen::default());
    cluster.state().keep_receipts = true;
    publish(&mut publisher, &seen, 0..50, 10).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(publisher);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(seen.numbers("given back").len(), 50);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_hears_of_the_end_and_an_idle_publisher_closes_at_once() {
    let cluster = Cluster::new();
    let publisher = connect(&cluster, settings()).await.unwrap();
    let held = publisher.reserve(10, 8 << 20).await.unwrap();
    let stop = publisher.stop.clone();
    let (waited, ()) = tokio::join!(publisher.reserve(1, 1), async { stop.cancel() });
    assert_eq!(waited.err().unwrap().kind(), ErrorKind::Closed);
    drop(held);
    let began = Instant::now();
    // The cluster cannot be reached, and nothing has to be flushed.
    cluster.kill("one");
    let (mut idle, _started) = Publisher::start(settings(), Arc::new(cluster)).unwrap();
    idle.close(began + Duration::from_secs(30)).await;
    assert!(began.elapsed() < Duration::from_secs(1));
}
