//! LATEST is one moment of the application, whatever dies after it; what expired unread is said with its span.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use local_aws::{Clock, Fault, FaultAction, Options, Service};
use serde_json::{Value, json};

use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;
use crate::harness::wait::until_true;
use crate::harness::{broker, http};

const HOUR: i64 = 3_600_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latest_on_idle_shards_loses_nothing_to_kill_nine() {
    let stream = Stream::start(3).await;
    let topic = Topic::new(broker::shared().await, "latest");
    let setup = Setup::new(&stream, &topic).config("initialPositionInStream", "LATEST");
    let source = setup.start().await;
    let table = stream.application();
    until_true("all leases taken", Duration::from_secs(60), async || stream.owners(&table).await.values().sum::<usize>() == 3).await;
    source.kill_nine().await;
    stream.put_numbered(0, 300, 60);
    let source = setup.start().await;
    let follower = topic.follow().await;
    follower.at_least(300, Duration::from_secs(60)).await;
    drop(follower);
    source.stop().await;
    stream.truth().compare(&topic.read_all().await).assert_exact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latest_is_one_moment_even_when_the_first_start_dies_between_two_rows() {
    let stream = Stream::start(4).await;
    let topic = Topic::new(broker::shared().await, "latest-rows");
    let setup = Setup::new(&stream, &topic).config("initialPositionInStream", "LATEST");
    let table = stream.application();
    // The third row's answer never comes while the process lives.
    let never = FaultAction::Latency { ms: HOUR };
    stream.local.add_fault(Fault { resource: Some(table.clone()), ..Fault::new(Service::DynamoDb, never).on("PutItem").skipping(2) });
    let source = setup.start().await;
    until_true("two rows", Duration::from_secs(60), async || stream.rows(&table).await.len() == 2).await;
    source.kill_nine().await;
    assert_eq!(stream.rows(&table).await.len(), 2);
    stream.local.clear_faults();
    stream.put_numbered(0, 400, 80);
    // A moment of its own, were the rest of the rows given one, would be whole seconds after these records.
    let put_at = SystemTime::now();
    until_true("two seconds to pass", Duration::from_secs(5), async || put_at.elapsed().unwrap() > Duration::from_millis(2_100)).await;
    let source = setup.start().await;
    let follower = topic.follow().await;
    follower.at_least(400, Duration::from_secs(60)).await;
    drop(follower);
    source.stop().await;
    stream.truth().compare(&topic.read_all().await).assert_exact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_expired_while_down_are_said_with_their_span() {
    // The stream lives 30 hours ago and is moved to the present by a step; the source's own clock cannot be moved, so what it
    // noted by that clock is moved back by as much.
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let stream = Stream::start_with(2, Options { clock: Clock::stepped(now - 30 * HOUR), ..Options::unlimited() }).await;
    let topic = Topic::new(broker::shared().await, "expired");
    let setup = Setup::new(&stream, &topic).polling();
    stream.put_numbered(0, 200, 50);
    let source = setup.start().await;
    let follower = topic.follow().await;
    follower.at_least(200, Duration::from_secs(60)).await;
    let table = stream.application();
    until_true("both shards noted as caught up", Duration::from_secs(30), async || {
        let rows = stream.rows(&table).await;
        rows.len() == 2 && rows.values().all(|row| row["pulsarConnect"]["S"].as_str().is_some_and(|text| text.contains("caughtUpAt")))
    })
    .await;
    source.stop().await;

    for (key, row) in stream.rows(&table).await {
        let mut noted: Value = serde_json::from_str(row["pulsarConnect"]["S"].as_str().unwrap()).unwrap();
        noted["caughtUpAt"] = json!(noted["caughtUpAt"].as_i64().unwrap() - 30 * HOUR);
        let change = json!({
            "TableName": table, "Key": { "leaseKey": { "S": key } }, "UpdateExpression": "SET pulsarConnect = :noted",
            "ExpressionAttributeValues": { ":noted": { "S": noted.to_string() } },
        });
        http::dynamodb(stream.local.url(), "UpdateItem", &change).await.unwrap();
    }
    stream.local.advance(60_000).unwrap();
    stream.put_numbered(200, 100, 50);
    stream.local.advance(30 * HOUR - 60_000).unwrap();
    stream.put_numbered(300, 100, 50);

    let mut source = setup.start().await;
    follower.at_least(300, Duration::from_secs(60)).await;
    drop(follower);
    let said = source.says(&["ERROR", "expired before they were read", "shardId-000000000000"], Duration::from_secs(30)).await;
    // The span, as instants: from the day the source was last there to the oldest record there is.
    let instants: Vec<&str> = said
        .split(|c: char| c.is_whitespace() || "=\"`,;".contains(c))
        .filter(|word| word.len() > 18 && word.ends_with('Z') && word.contains('T'))
        .collect();
    assert!(instants.len() >= 2 && instants.iter().any(|one| *one != instants[0]), "no span in: {said}");
    source.stop().await;
    let truth = stream.truth();
    let expired = |data: &[u8]| (200..300).any(|index| data == format!("record {index}").as_bytes());
    truth.without(|sent| expired(&sent.data)).compare(&topic.read_all().await).assert_exact();
}
