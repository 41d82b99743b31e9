//! ATMOST_ONCE under `kill -9` of the broker and of the source: nothing is doubled, and what a run lost it counted.

use std::time::Duration;

use crate::harness::broker;
use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;
use crate::harness::wait::until_true;

const WRITTEN: &str = "pulsar_source_written_total";
/// Records whose receipt did not come, and which are not sent again.
const LOST: &str = "pulsar_connect_pulsar_lost_records_total";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_most_once_doubles_nothing() {
    let (broker, _alone) = broker::breakable().await;
    let stream = Stream::start(2).await;
    let topic = Topic::partitioned(broker, "at-most-once", 2).await;
    let setup = Setup::new(&stream, &topic).top("processingGuarantees", "ATMOST_ONCE").metrics();

    let source = setup.start().await;
    let feed = stream.feed(1_000, 100);
    source.shows(WRITTEN, 2_000.0, Duration::from_secs(60)).await;
    broker.kill().await;
    broker.up().await;
    let written = source.metric(WRITTEN).await;
    source.shows(WRITTEN, written + 1_000.0, Duration::from_secs(90)).await;
    let put = feed.stop().await;
    // Everything was read and came to its end when the checkpoints stand at the last records.
    let truth = stream.truth();
    let table = stream.application();
    until_true("everything to be passed", Duration::from_secs(60), async || {
        let rows = stream.rows(&table).await;
        rows.iter().all(|(shard, row)| {
            let last = truth.records().iter().filter(|sent| sent.shard == *shard).map(|sent| sent.number.as_str()).max();
            row["checkpoint"]["S"].as_str() == last
        })
    })
    .await;
    let counted = source.metric(LOST).await as usize;
    let log = source.stop().await;
    let after_broker = truth.compare(&topic.read_all().await);
    println!("{put} records, {} lost with the broker, {counted} counted", after_broker.lost.count);
    assert!(after_broker.doubled.is_empty() && after_broker.wrong.count == 0 && after_broker.disorder.count == 0, "{after_broker}");
    assert!(after_broker.lost.count <= counted, "{counted} were counted as perhaps lost:\n{after_broker}\n{log}");
    assert_eq!(counted > 0, log.contains("may be lost"), "what is counted is said:\n{log}");

    let feed = stream.feed(1_000, 100);
    for _ in 0..3 {
        let source = setup.start().await;
        source.shows(WRITTEN, 1_000.0, Duration::from_secs(60)).await;
        source.kill_nine().await;
    }
    let put = put + feed.stop().await;
    let source = setup.start().await;
    stream.put_numbered(put, 100, 100);
    let last = format!("record {}", put + 99);
    let follower = topic.follow().await;
    until_true("the last record", Duration::from_secs(60), async || {
        follower.messages().iter().any(|message| message.value == last.as_bytes())
    })
    .await;
    drop(follower);
    let counted = counted + source.metric(LOST).await as usize;
    source.stop().await;
    let comparison = stream.truth().compare(&topic.read_all().await);
    println!("{} lost in all", comparison.lost.count);
    assert!(comparison.doubled.is_empty() && comparison.wrong.count == 0 && comparison.disorder.count == 0, "{comparison}");
    // A run loses what it had passed and not yet published: never more than it holds at a time.
    let held = 3 * (1_000 + 1_000);
    assert!(comparison.lost.count <= counted + held, "{comparison}");
}
