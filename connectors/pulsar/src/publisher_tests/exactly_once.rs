//! What the publisher does with numbers that are given: the test plays the source, whose row is the lineage.

use super::*;
use connector_sdk::{Fence, Lineage, LineageSpec, Lineages, MessageId};
use std::collections::BTreeSet;
use tokio::time::{sleep, timeout};

struct Exactly {
    cluster: Cluster,
    publisher: Publisher,
    lineages: Lineages,
    /// Confirms what is declared, as a source whose writes succeed.
    _writer: Option<Task<()>>,
    lineage: Arc<Lineage>,
    seen: Arc<Seen>,
}

fn spec(in_doubt: bool) -> LineageSpec {
    LineageSpec {
        partition: "shard-1".into(),
        name: "app/orders/shard-1/1".into(),
        partitions: 0,
        in_doubt,
        doubt_from: None,
        covered: BTreeMap::new(),
        spent: BTreeSet::new(),
        uncovered_since: 1_700_000_000_000,
        fence: Fence::new(),
    }
}

fn store(lineage: &Arc<Lineage>, through: u64) {
    let (_, version) = lineage.spent_beyond(through);
    lineage.stored(through, lineage.coverage(through), version);
}

async fn exactly(cluster: Cluster, spec: LineageSpec, stores: bool) -> Exactly {
    exactly_with(ProducerConfig::default(), cluster, spec, stores).await
}

async fn exactly_with(producer: ProducerConfig, cluster: Cluster, spec: LineageSpec, stores: bool) -> Exactly {
    let lineages = Lineages::default();
    let settings = PublisherSettings {
        guarantee: Guarantee::EffectivelyOnce,
        producer: Some(producer),
        exactly_once: Some(ExactlyOnce { lineages: lineages.clone(), accept_duplicates: false }),
        ..settings()
    };
    let publisher = connect(&cluster, settings).await.unwrap();
    assert_eq!(lineages.shape().await.partitions, 0);
    let lineage = lineages.open(spec);
    let writer = stores.then(|| {
        let lineage = Arc::clone(&lineage);
        Task::spawn("writer", async move {
            loop {
                lineage.until(|lineage| lineage.has_to_store().then_some(())).await;
                store(&lineage, 0);
            }
        })
    });
    let seen = Arc::new(Seen { halts: true.into(), ..Seen::default() });
    Exactly { cluster, publisher, lineages, _writer: writer, lineage, seen }
}

impl Exactly {
    async fn send(&mut self, ordinals: Range<u64>) {
        self.send_sized(ordinals, |_| 10).await;
    }

    async fn send_sized(&mut self, ordinals: Range<u64>, size: impl Fn(u64) -> usize) {
        let first = ordinals.start;
        let records = ordinals.map(|ordinal| Record { sequence: Some(ordinal << 24), ..record(ordinal, size(ordinal)) }).collect();
        let mut batch = batch(&self.seen, first, records);
        batch.lineage = Some(Arc::clone(&self.lineage));
        Sink::write(&mut self.publisher, batch).await.unwrap();
    }

    fn stored(&self) -> Vec<u64> {
        let state = self.cluster.state();
        let records = state.entries.values().flatten().flat_map(|entry| &entry.records);
        records.map(|record| std::str::from_utf8(&record.value[..8]).unwrap().parse().unwrap()).collect()
    }

    async fn flushed(&self) -> bool {
        timeout(Duration::from_secs(60), self.publisher.flush()).await.is_ok()
    }
}

fn deduplicating() -> Cluster {
    let cluster = Cluster::new();
    cluster.state().deduplicates = true;
    cluster
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_before_the_use_of_the_topic_is_written_down() {
    let mut exactly = exactly(deduplicating(), spec(false), false).await;
    exactly.send(1..4).await;
    assert!(!exactly.flushed().await);
    assert!(exactly.stored().is_empty());
    assert_eq!(exactly.lineage.used(), [0]);
    store(&exactly.lineage, 0);
    assert!(exactly.flushed().await);
    assert_eq!((exactly.stored(), exactly.seen.numbers("settled")), (vec![1, 2, 3], vec![1, 2, 3]));
    let opened = exactly.cluster.state().opened.last().cloned().unwrap();
    assert_eq!((opened.producer_name.as_deref(), opened.user_provided_producer_name), (Some("app/orders/shard-1/1"), Some(true)));
    assert_eq!(exactly.lineage.coverage(3 << 24)[&0].number, 3 << 24);
}

#[tokio::test(start_paused = true)]
async fn a_replay_goes_in_single_messages_until_it_is_past_the_last_number() {
    let cluster = deduplicating();
    cluster.state().highest.insert(("persistent://public/default/orders".into(), "app/orders/shard-1/1".into()), 5 << 24);
    let covered = BTreeMap::from([(0, connector_sdk::Covered { number: 1 << 24, message: Some(MessageId { ledger: 7, entry: 1 }) })]);
    let mut exactly = exactly(cluster, LineageSpec { covered, ..spec(true) }, true).await;
    exactly.send(2..9).await;
    assert!(exactly.flushed().await);
    assert_eq!(exactly.stored(), [6, 7, 8], "what the broker has is not stored again");
    assert_eq!(exactly.seen.numbers("settled"), [2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(exactly.publisher.facts().deduplicated.get(), 4, "one verdict for each");
    assert_eq!(exactly.cluster.state().entries.values().flatten().count(), 1, "what lies beyond is one batch again");
    let end = timeout(Duration::from_secs(5), exactly.lineage.until(Lineage::doubt_end)).await.unwrap();
    assert_eq!(end, 5 << 24);
}

#[tokio::test(start_paused = true)]
async fn a_topic_without_deduplication_gets_one_record_which_is_named() {
    let mut exactly = exactly(Cluster::new(), spec(false), true).await;
    exactly.send(1..9).await;
    sleep(Duration::from_secs(60)).await;
    assert!(exactly.seen.numbers("settled").is_empty());
    assert_eq!(exactly.stored(), [1], "one, to see whether its number is kept");
    assert_eq!(exactly.seen.numbers("failed"), [1]);
    let reason = exactly.seen.reasons.lock().unwrap()[0].to_string();
    assert!(reason.contains("`49591/0`") && reason.contains("set-deduplication public/default --enable"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_first_receipt_that_crosses_an_unload_is_no_proof() {
    let mut exactly = exactly(Cluster::new(), spec(false), true).await;
    exactly.cluster.state().keep_receipts = true;
    exactly.send(1..9).await;
    sleep(Duration::from_secs(1)).await;
    exactly.cluster.unload(None);
    exactly.cluster.release_receipts();
    exactly.cluster.state().keep_receipts = false;
    sleep(Duration::from_secs(60)).await;
    assert_eq!((exactly.stored(), exactly.seen.numbers("failed")), (vec![1], vec![1]), "the opening that follows shows that it is off");
    assert!(exactly.seen.numbers("settled").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_verdict_that_no_replay_explains_is_refused_with_both_numbers() {
    let mut exactly = exactly(deduplicating(), spec(false), true).await;
    exactly.send(1..3).await;
    assert!(exactly.flushed().await);
    // Somebody else sends under the name.
    *exactly.cluster.state().highest.values_mut().next().unwrap() = 900 << 24;
    exactly.send(3..5).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(exactly.stored(), [1, 2]);
    let reason = exactly.seen.reasons.lock().unwrap()[0].to_string();
    assert!(reason.contains(&(4u64 << 24).to_string()) && reason.contains("last number was"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_comes_back_gets_nothing_twice() {
    let mut exactly = exactly(deduplicating(), spec(false), true).await;
    exactly.send(1..3).await;
    assert!(exactly.flushed().await);
    exactly.cluster.state().keep_receipts = true;
    exactly.send(3..9).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(exactly.stored().len(), 8, "stored, and nobody was told");
    exactly.cluster.kill("one");
    exactly.send(9..12).await;
    exactly.cluster.state().keep_receipts = false;
    exactly.cluster.start("one");
    assert!(exactly.flushed().await);
    assert_eq!(exactly.stored(), (1..12).collect::<Vec<_>>());
    assert_eq!(exactly.seen.numbers("settled"), (1..12).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_lineage_that_is_over_closes_its_producers_and_gives_its_records_back() {
    let mut exactly = exactly(deduplicating(), spec(false), true).await;
    exactly.send(1..3).await;
    assert!(exactly.flushed().await);
    exactly.cluster.state().keep_receipts = true;
    exactly.send(3..5).await;
    sleep(Duration::from_secs(1)).await;
    exactly.lineage.fence().fall();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(exactly.seen.numbers("given back"), [3, 4], "of unknown outcome: the next owner sends them under the same numbers");
    let sealed = timeout(Duration::from_secs(5), exactly.lineages.seal(vec!["app/orders/shard-1/1".into()], "orders".into(), 0)).await;
    assert_eq!(sealed.unwrap().unwrap(), Some(4 << 24));
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_and_overtaken_is_written_down_and_published_late() {
    let single = serde_json::from_str(r#"{"batchingConfig":{"enabled":false}}"#).unwrap();
    let mut exactly = exactly_with(single, deduplicating(), spec(false), false).await;
    exactly.send_sized(1..2, |_| 2_000).await;
    sleep(Duration::from_secs(1)).await;
    store(&exactly.lineage, 0);
    assert!(exactly.flushed().await, "the topic takes 2,000 bytes");
    // Both are on the wire before the refusal of the first is known.
    exactly.cluster.state().topic_limit = Some(1_000);
    exactly.send_sized(2..4, |ordinal| if ordinal == 2 { 1_900 } else { 10 }).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(exactly.stored(), [1, 3]);
    assert!(exactly.lineage.is_spent(2 << 24) && exactly.lineage.has_to_store());
    exactly.send(4..6).await;
    exactly.cluster.state().topic_limit = None;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(exactly.stored(), [1, 3], "nothing goes before it is written down");
    store(&exactly.lineage, 1 << 24);
    assert!(exactly.flushed().await);
    assert_eq!(exactly.stored(), [1, 3, 2, 4, 5]);
    let late = exactly.cluster.state().opened.iter().any(|open| open.producer_name.as_deref() == Some("app/orders/shard-1/1-late"));
    assert!(late, "under a name of its own");
    assert_eq!(exactly.seen.numbers("settled"), [1, 2, 3, 4, 5]);
}

/// The refusals come one after the other: what the second one brings back stands behind what the first one did.
#[tokio::test(start_paused = true)]
async fn what_two_refusals_bring_back_is_published_late_in_order() {
    let single = serde_json::from_str(r#"{"batchingConfig":{"enabled":false}}"#).unwrap();
    let mut exactly = exactly_with(single, deduplicating(), spec(false), false).await;
    exactly.send_sized(1..2, |_| 2_000).await;
    sleep(Duration::from_secs(1)).await;
    store(&exactly.lineage, 0);
    assert!(exactly.flushed().await);
    exactly.cluster.state().topic_limit = Some(1_000);
    exactly.send_sized(2..6, |ordinal| if ordinal < 5 { 1_900 } else { 10 }).await;
    sleep(Duration::from_secs(1)).await;
    exactly.cluster.state().topic_limit = None;
    store(&exactly.lineage, 1 << 24);
    assert!(exactly.flushed().await);
    assert_eq!(exactly.stored(), [1, 5, 2, 3, 4]);
    assert_eq!(exactly.seen.numbers("settled").len(), 5);
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_read_back_nothing_is_guessed() {
    // Used before, and the broker knows no number: it may have forgotten.
    let covered = BTreeMap::from([(0, connector_sdk::Covered { number: 7, message: Some(MessageId { ledger: 7, entry: 1 }) })]);
    let mut exactly = exactly(deduplicating(), LineageSpec { covered, ..spec(true) }, true).await;
    exactly.send(1..4).await;
    // What was on its way to storage is given time to get there.
    sleep(Duration::from_secs(5)).await;
    assert!(exactly.stored().is_empty());
    assert_eq!(exactly.seen.numbers("failed"), [1]);
    let reason = exactly.seen.reasons.lock().unwrap()[0].to_string();
    assert!(reason.contains("cannot be read back") && reason.contains("acceptDuplicates"), "{reason}");
    assert!(timeout(Duration::from_secs(60), exactly.lineage.until(Lineage::doubt_end)).await.is_err(), "where doubt ends is not known");
}
