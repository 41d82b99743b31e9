//! A broker that is killed and restarted, or that stands still for half a minute, while records flow: nothing is lost, the order is kept.

use std::time::Duration;

use crate::harness::broker;
use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;

const RATE: usize = 500;
const PAUSE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_and_restarted() {
    let (broker, _alone) = broker::breakable().await;
    let stream = Stream::start(2).await;
    let topic = Topic::partitioned(broker, "killed", 2).await;
    let setup = Setup::new(&stream, &topic).metrics();
    let mut source = setup.start().await;
    let feed = stream.feed(RATE, 50);
    source.shows("pulsar_source_written_total", 1_000.0, Duration::from_secs(60)).await;
    broker.kill().await;
    broker.up().await;
    let written = source.metric("pulsar_source_written_total").await;
    source.shows("pulsar_source_written_total", written + 1_000.0, Duration::from_secs(90)).await;
    let put = feed.stop().await;
    source.shows("pulsar_source_written_total", put as f64, Duration::from_secs(60)).await;
    assert!(source.runs());
    source.stop().await;
    let comparison = stream.truth().compare(&topic.read_all().await);
    comparison.assert_whole();
    assert_eq!(comparison.sent, put);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stands_still_for_half_a_minute() {
    let (broker, _alone) = broker::breakable().await;
    let stream = Stream::start(2).await;
    let topic = Topic::new(broker, "paused");
    let setup = Setup::new(&stream, &topic).polling().metrics();
    let mut source = setup.start().await;
    let feed = stream.feed(RATE, 50);
    source.shows("pulsar_source_written_total", 1_000.0, Duration::from_secs(60)).await;
    broker.signal("pause").await;
    tokio::time::sleep(PAUSE).await;
    assert!(source.runs());
    broker.signal("resume").await;
    let written = source.metric("pulsar_source_written_total").await;
    source.shows("pulsar_source_written_total", written + 1_000.0, Duration::from_secs(90)).await;
    let put = feed.stop().await;
    source.shows("pulsar_source_written_total", put as f64, Duration::from_secs(60)).await;
    source.stop().await;
    let comparison = stream.truth().compare(&topic.read_all().await);
    comparison.assert_whole();
    assert_eq!(comparison.sent, put);
}
