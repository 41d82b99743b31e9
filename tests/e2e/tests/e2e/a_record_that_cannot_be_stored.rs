//! One record too large among good ones, under each `onRecordError`: only the culprit is judged, whether the broker's own limit forbids it or the topic's.

use std::time::Duration;

use bytes::Bytes;
use local_aws::NewRecord;

use crate::harness::broker;
use crate::harness::oracle::Truth;
use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;
use crate::harness::wait::until_true;

const GOOD: usize = 600;
/// Bytes of an entry that the topic takes at most: less than a batch of the good ones.
const TOPIC_LIMIT: &str = "65536";

/// Which limit the record is beyond.
#[derive(Clone, Copy)]
enum Limit {
    /// 5 MiB, told when connecting.
    Broker,
    /// Learnt by a refusal only.
    Topic,
}

struct Case {
    stream: Stream,
    topic: Topic,
    setup: Setup,
    /// What is put after the record that cannot be stored lies behind it in its shard.
    culprit: Culprit,
}

struct Culprit {
    shard: String,
    number: String,
    data: Bytes,
}

async fn case(label: &str, limit: Limit) -> Case {
    let broker = broker::shared().await;
    let stream = Stream::start(2).await;
    let topic = Topic::new(broker, label);
    topic.create().await;
    let size = match limit {
        Limit::Broker => 6 * 1024 * 1024,
        Limit::Topic => {
            broker.administer("POST", &format!("{}/maxMessageSize", topic.path()), TOPIC_LIMIT).await;
            // The call only announces the policy: it holds when the topic refuses.
            topic.probe_until_refused(70_000).await;
            100 * 1024
        }
    };
    stream.put_numbered(0, GOOD, 40);
    let mut bytes = vec![0; size];
    fastrand::fill(&mut bytes);
    let data = Bytes::from(bytes);
    stream.put([NewRecord::new("culprit", data.clone())]);
    stream.put_numbered(GOOD, GOOD, 40);
    let truth = stream.truth();
    let found = truth.records().iter().find(|sent| sent.key == "culprit").unwrap();
    let culprit = Culprit { shard: found.shard.clone(), number: found.number.clone(), data };
    let setup = Setup::new(&stream, &topic);
    Case { stream, topic, setup, culprit }
}

impl Case {
    fn behind_and_culprit(&self) -> Truth {
        self.stream.truth().without(|sent| sent.shard == self.culprit.shard && sent.number >= self.culprit.number)
    }

    fn without_culprit(&self) -> Truth {
        self.stream.truth().without(|sent| sent.key == "culprit")
    }
}

/// Fails: the shard stands at the record, the other one goes on, and a restart tries again.
async fn fails(label: &str, limit: Limit) {
    let case = case(label, limit).await;
    let before = case.behind_and_culprit();
    let follower = case.topic.follow().await;
    for _ in 0..2 {
        let mut source = case.setup.start().await;
        source.says(&["ERROR", &case.culprit.shard, &case.culprit.number], Duration::from_secs(60)).await;
        follower.different(before.len(), Duration::from_secs(60)).await;
        let table = case.stream.application();
        // It keeps its lease: the poison must not wander.
        until_true("both leases held", Duration::from_secs(20), async || case.stream.owners(&table).await.values().sum::<usize>() == 2)
            .await;
        source.signal("TERM");
        let (code, log) = source.ends(Duration::from_secs(60)).await;
        println!("{log}");
        before.compare(&case.topic.read_all().await).assert_exact();
        let rows = case.stream.rows(&table).await;
        let last = before.records().iter().filter(|sent| sent.shard == case.culprit.shard).map(|sent| sent.number.as_str()).max();
        assert_eq!(rows[&case.culprit.shard]["checkpoint"]["S"].as_str(), last, "progress is stored up to the record");
        assert_eq!(code, 0, "nothing beyond the stored progress was published:\n{log}");
    }
    drop(follower);

    let setup = case.setup.flag("--exit-on-error", "");
    let (code, log) = setup.start().await.ends(Duration::from_secs(60)).await;
    assert_eq!(code, 3, "{log}");
    assert!(log.contains(&case.culprit.number), "{log}");
}

async fn drops(label: &str, limit: Limit) {
    let mut case = case(label, limit).await;
    case.setup.set_config("onRecordError", "drop");
    let rest = case.without_culprit();
    let source = case.setup.start().await;
    let follower = case.topic.follow().await;
    follower.different(rest.len(), Duration::from_secs(60)).await;
    drop(follower);
    let log = source.stop().await;
    assert!(
        log.lines().any(|line| line.contains("dropped") && line.contains(&case.culprit.number) && line.contains(&case.culprit.shard)),
        "{log}"
    );
    rest.compare(&case.topic.read_all().await).assert_exact();
}

async fn becomes_a_dead_letter(label: &str, limit: Limit) {
    let mut case = case(label, limit).await;
    let letters = case.topic.beside("dead");
    case.setup.set_config("onRecordError", "dead-letter");
    case.setup.set_config("deadLetterTopic", letters.name.clone());
    let rest = case.without_culprit();
    let source = case.setup.start().await;
    let follower = case.topic.follow().await;
    follower.different(rest.len(), Duration::from_secs(60)).await;
    let dead = letters.follow().await;
    dead.at_least(1, Duration::from_secs(60)).await;
    drop((follower, dead));
    source.stop().await;
    rest.compare(&case.topic.read_all().await).assert_exact();
    let dead = letters.read_all().await;
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0].key.as_deref(), Some("culprit"));
    let said: Vec<&str> = dead[0].properties.iter().map(|(_, value)| value.as_str()).collect();
    assert!(said.iter().any(|text| text.contains(&case.culprit.number)), "who it is: {said:?}");
    assert!(said.contains(&case.culprit.data.len().to_string().as_str()), "how large it is: {said:?}");
    assert!(!dead[0].value.is_empty() && case.culprit.data.starts_with(&dead[0].value), "the first bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_brokers_limit_parks_the_shard() {
    fails("too-large-fail", Limit::Broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_topics_limit_parks_the_shard() {
    fails("refused-fail", Limit::Topic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_brokers_limit_is_dropped() {
    drops("too-large-drop", Limit::Broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_topics_limit_is_dropped() {
    drops("refused-drop", Limit::Topic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_brokers_limit_becomes_a_dead_letter() {
    becomes_a_dead_letter("too-large-dead", Limit::Broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_topics_limit_becomes_a_dead_letter() {
    becomes_a_dead_letter("refused-dead", Limit::Topic).await;
}
