//! EFFECTIVELY_ONCE on a broker that keeps the numbers of producers: every record is in the topic once, whatever is killed.

use std::time::Duration;

use serde_json::json;

use crate::harness::broker;
use crate::harness::namespace::Namespace;
use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;

const KILLS: usize = 10;

impl Setup {
    /// As [`Setup::new`], with EFFECTIVELY_ONCE.
    pub(crate) fn exactly_once(stream: &Stream, topic: &Topic) -> Self {
        Self::new(stream, topic).top("processingGuarantees", "EFFECTIVELY_ONCE")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effectively_once_a_stop_replays_nothing() {
    let namespace = Namespace::with_deduplication(broker::shared().await).await;
    let stream = Stream::start(3).await;
    let topic = namespace.partitioned("stop", 2).await;
    let setup = Setup::exactly_once(&stream, &topic).metrics();
    let feed = stream.feed(1_000, 100);
    let follower = topic.follow().await;
    for _ in 0..3 {
        let source = setup.start().await;
        let before = follower.messages().len();
        follower.at_least(before + 2_000, Duration::from_secs(60)).await;
        source.stop().await;
        let leases = setup.leases().await;
        assert!(leases["leases"].as_array().unwrap().iter().all(|lease| lease["clean"] == true), "{leases:#}");
    }
    let put = feed.stop().await;
    let source = setup.start().await;
    follower.at_least(put, Duration::from_secs(60)).await;
    assert_eq!(source.metric("pulsar_connect_pulsar_deduplicated_total").await, 0.0);
    source.stop().await;
    drop(follower);
    stream.truth().compare(&topic.read_all().await).assert_exact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effectively_once_survives_kill_nine() {
    let random = &mut fastrand::Rng::new();
    let namespace = Namespace::with_deduplication(broker::shared().await).await;
    let stream = Stream::start(3).await;
    let topic = namespace.partitioned("kill-nine", 2).await;
    let mut setup = Setup::exactly_once(&stream, &topic);
    let feed = stream.feed(1_000, 100);
    let follower = topic.follow().await;
    for kill in 0..KILLS {
        setup.set_config("useEnhancedFanOut", kill % 2 == 0);
        let source = setup.start().await;
        // Every third one dies at any moment of its start, the others while they publish.
        if kill % 3 != 2 {
            let before = follower.messages().len();
            follower.at_least(before + random.usize(1..3_000), Duration::from_secs(60)).await;
        }
        tokio::time::sleep(Duration::from_millis(random.u64(0..2_000))).await;
        source.kill_nine().await;
    }
    let put = feed.stop().await;
    let source = setup.start().await;
    follower.different(put, Duration::from_secs(120)).await;
    source.stop().await;
    drop(follower);
    stream.truth().compare(&topic.read_all().await).assert_exact();
}

/// What is guaranteed is said before anything runs and at each start; what is in doubt shows in the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effectively_once_says_what_it_guarantees() {
    let namespace = Namespace::with_deduplication(broker::shared().await).await;
    let stream = Stream::start(1).await;
    let topic = namespace.partitioned("said", 2).await;
    let mut setup = Setup::exactly_once(&stream, &topic);
    let validated = setup.command(&["validate"]).await;
    let sentences: Vec<&str> = validated.lines().skip(1).map(str::trim).filter(|line| !line.starts_with("note:")).collect();
    assert!(sentences[0].starts_with("EFFECTIVELY_ONCE: every record is published once"), "{validated}");
    assert!(sentences[0].contains(&format!("set-deduplication {} --enable", namespace.name)), "{validated}");
    stream.put_numbered(0, 500, 50);
    let mut source = setup.start().await;
    for sentence in &sentences {
        source.says(&["INFO", sentence], Duration::from_secs(60)).await;
    }
    let follower = topic.follow().await;
    follower.at_least(500, Duration::from_secs(60)).await;
    drop(follower);
    let table = setup.command(&["leases", "--source-config-file"]).await;
    assert!(table.lines().next().unwrap().contains("EPOCH") && table.contains("in doubt"), "{table}");
    source.stop().await;
    let table = setup.command(&["leases", "--source-config-file"]).await;
    assert!(table.contains("clean") && !table.contains("in doubt"), "{table}");
    let leases = setup.leases().await;
    let lease = &leases["leases"][0];
    assert_eq!((&lease["clean"], &lease["ordinal"], &lease["exact"]["partitions"]), (&json!(true), &json!(500), &json!(2)), "{leases:#}");
    let last = lease["exact"]["lastNumbers"].as_object().unwrap().values().map(|number| number["ordinal"].as_u64().unwrap()).max();
    assert_eq!(last, Some(500), "{leases:#}");

    setup.set_config("acceptDuplicates", true);
    assert!(setup.command(&["validate"]).await.contains("may be published twice (`acceptDuplicates`)"));
    setup.set_top("processingGuarantees", "ATLEAST_ONCE");
    assert!(setup.command(&["validate"]).await.contains("ATLEAST_ONCE: every record is published"));
}
