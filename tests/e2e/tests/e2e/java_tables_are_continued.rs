//! A lease table that a real Java KCL wrote, 2.7 and 3.5, and left at rest: continued at the exact record, inside an aggregate, too.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::harness::kpl::UserRecord;
use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;
use crate::harness::wait::until;
use crate::harness::{broker, checkout};

const SHARDS: usize = 2;
/// User records of each shard that Java processes before it stops.
const PROCESSED: usize = 37;
const APPLICATION: &str = "moved-from-java";

/// Aggregates of five user records and single records in turn, so that Java's last record lies inside an aggregate.
fn fill(stream: &Stream) {
    for index in 0..120 {
        let key = format!("customer-{index}");
        if index % 3 == 2 {
            stream.put([local_aws::NewRecord::new(key, format!("single {index}").into_bytes())]);
            continue;
        }
        let part = |part| UserRecord {
            partition_key: key.clone(),
            explicit_hash_key: None,
            data: Bytes::from(format!("aggregate {index} part {part}")),
        };
        stream.put_aggregate(&key, (0..5).map(part).collect());
    }
}

/// Runs a worker until it has checkpointed and stopped; the last checkpoint of each shard as it printed it.
async fn java(version: &str, stream: &Stream) -> HashMap<String, (String, usize)> {
    let url = stream.local.url();
    let mut command = tokio::process::Command::new(checkout().join("tests/rig/kcl/run"));
    command.arg(version).env("STREAM", &stream.name).env("APP", APPLICATION).env("WORKER", "java").env("METRICS", "NONE");
    command.env("KINESIS_ENDPOINT", url).env("DYNAMODB_ENDPOINT", url).env("CLOUDWATCH_ENDPOINT", url);
    command.env("FAILOVER_MS", "3000").env("SHARD_SYNC_MS", "1000").env("IDLE_MS", "500");
    command.env("HOLD_AFTER", PROCESSED.to_string()).env("EXIT_AFTER", (PROCESSED * SHARDS).to_string());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(300), command.output())
        .await
        .expect("java came to no end")
        .expect("the script can be run");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let fields = printed.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let checkpoints = fields.filter_map(|line| match line[..] {
        [_, _, "CKPT", shard, number, sub] => Some((shard.to_owned(), (number.to_owned(), sub.parse().ok()?))),
        _ => None,
    });
    let checkpoints: HashMap<_, _> = checkpoints.collect();
    assert_eq!(checkpoints.len(), SHARDS, "java printed:\n{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    checkpoints
}

async fn continued(stream: &Stream, checkpoints: &HashMap<String, (String, usize)>) {
    assert!(checkpoints.values().any(|(_, sub)| *sub > 0), "no checkpoint lies inside an aggregate: {checkpoints:?}");
    let topic = Topic::new(broker::shared().await, "java");
    // LATEST would show at once if the rows were not honoured.
    let setup = Setup::new(stream, &topic).config("applicationName", APPLICATION).config("initialPositionInStream", "LATEST");
    let rest = stream.truth().without(|sent| (&sent.number, sent.sub) <= (&checkpoints[&sent.shard].0, checkpoints[&sent.shard].1));
    let source = setup.start().await;
    let follower = topic.follow().await;
    follower.at_least(rest.len(), Duration::from_secs(90)).await;
    drop(follower);
    source.stop().await;
    rest.compare(&topic.read_all().await).assert_exact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_kcl_2() {
    let stream = Stream::start(SHARDS as u32).await;
    fill(&stream);
    let checkpoints = java("2.7.2", &stream).await;
    continued(&stream, &checkpoints).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_kcl_3() {
    let stream = Stream::start(SHARDS as u32).await;
    fill(&stream);
    let checkpoints = java("3.5.1", &stream).await;
    // A fleet of 3.x counts as alive until its worker's row is a minute old.
    until("the java worker's row to grow old", Duration::from_secs(120), async || {
        let rows = stream.rows(APPLICATION).await;
        let newest = rows.values().filter_map(|row| row["lut"]["N"].as_str()?.parse::<u64>().ok()).max();
        let newest = newest.ok_or_else(|| format!("there is no such row among {:?}", rows.keys()))?;
        let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().saturating_sub(newest);
        if age > 61 { Ok(()) } else { Err(format!("it is {age} s old")) }
    })
    .await;
    continued(&stream, &checkpoints).await;
}
