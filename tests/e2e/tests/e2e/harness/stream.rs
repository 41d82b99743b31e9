//! A Kinesis stream on stand-ins of this test's own, how records get into it, and the truth about what was put.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use local_aws::kinesis::ShardId;
use local_aws::{LocalAws, NewRecord, Options};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::http;
use super::kpl::{self, UserRecord};
use super::oracle::{Sent, Truth};

/// One stream, with Kinesis, DynamoDB, CloudWatch and STS of its own.
#[derive(Clone)]
pub(crate) struct Stream {
    pub(crate) local: Arc<LocalAws>,
    pub(crate) name: String,
    aggregates: Arc<Mutex<HashMap<String, Vec<UserRecord>>>>,
}

impl Stream {
    /// A stream of `shards` even shards, without limits of rate and size.
    pub(crate) async fn start(shards: u32) -> Self {
        Self::start_with(shards, Options::unlimited()).await
    }

    pub(crate) async fn start_with(shards: u32, options: Options) -> Self {
        let local = LocalAws::start(options).await.expect("the stand-ins start on a free port");
        let name = super::unique("orders");
        local.kinesis(|kinesis| kinesis.create_stream(&name, Some(shards), BTreeMap::new())).expect("the stream can be created");
        Self { local: Arc::new(local), name, aggregates: Arc::default() }
    }

    /// Puts records past HTTP and its limits.
    pub(crate) fn put(&self, records: impl IntoIterator<Item = NewRecord>) {
        self.local.kinesis(|kinesis| kinesis.load(&self.name, records)).expect("the stream takes records");
    }

    /// Puts `count` small records, numbered from `first`, under `keys` keys.
    pub(crate) fn put_numbered(&self, first: usize, count: usize, keys: usize) {
        self.put(
            (first..first + count).map(|index| NewRecord::new(format!("key-{}", index % keys), format!("record {index}").into_bytes())),
        );
    }

    /// Puts one record that holds `parts`.
    pub(crate) fn put_aggregate(&self, partition_key: &str, parts: Vec<UserRecord>) {
        let record = NewRecord::new(partition_key, kpl::aggregate(&parts));
        let placed = self.local.kinesis(|kinesis| kinesis.load(&self.name, [record])).expect("the stream takes records");
        let number = placed[0].sequence_number.to_string();
        self.aggregates.lock().expect("nobody panics while holding it").insert(number, parts);
    }

    /// Everything that was put, as a consumer should see it.
    pub(crate) fn truth(&self) -> Truth {
        let aggregates = self.aggregates.lock().expect("nobody panics while holding it");
        let mut sent = Vec::new();
        for (shard, records) in self.local.records(&self.name).into_iter().enumerate() {
            let shard = ShardId(shard as u64).to_string();
            for record in records {
                let number = record.sequence_number.to_string();
                let one = |sub: usize, key: String, data: Bytes| Sent {
                    shard: shard.clone(),
                    number: number.clone(),
                    sub,
                    key,
                    data,
                    arrived_at: Some(record.arrived_at),
                };
                match aggregates.get(&number) {
                    None => sent.push(one(0, record.partition_key.to_string(), record.data.clone())),
                    Some(parts) => {
                        sent.extend(parts.iter().enumerate().map(|(sub, part)| one(sub, part.partition_key.clone(), part.data.clone())));
                    }
                }
            }
        }
        Truth::new(sent)
    }

    /// The rows of a table by their key; empty while there is no such table.
    pub(crate) async fn rows(&self, table: &str) -> BTreeMap<String, Value> {
        let Ok(answer) = http::dynamodb(self.local.url(), "Scan", &json!({ "TableName": table, "ConsistentRead": true })).await else {
            return BTreeMap::new();
        };
        let items = answer["Items"].as_array().cloned().unwrap_or_default();
        items.into_iter().filter_map(|item| Some((item["leaseKey"]["S"].as_str()?.to_owned(), item))).collect()
    }

    /// The default application's name, which is that of its table.
    pub(crate) fn application(&self) -> String {
        format!("pulsar-kinesis-{}", self.name)
    }

    /// How many leases each owner holds, finished shards left out.
    pub(crate) async fn owners(&self, table: &str) -> BTreeMap<String, usize> {
        let mut owners = BTreeMap::new();
        for row in self.rows(table).await.into_values().filter(|row| row["checkpoint"]["S"] != "SHARD_END") {
            if let Some(owner) = row["leaseOwner"]["S"].as_str() {
                *owners.entry(owner.to_owned()).or_default() += 1;
            }
        }
        owners
    }

    /// Puts small records steadily, in the background, until told to stop.
    pub(crate) fn feed(&self, records_a_second: usize, keys: usize) -> Feed {
        let (stream, stop) = (self.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            const ROUND: Duration = Duration::from_millis(20);
            let mut ticks = tokio::time::interval(ROUND);
            let a_round = (records_a_second / 50).max(1);
            let mut next = 0;
            while !stopped.load(Ordering::Relaxed) {
                ticks.tick().await;
                stream.put_numbered(next, a_round, keys);
                next += a_round;
            }
            next
        });
        Feed { stop, task }
    }
}

/// Records on their way into a stream.
pub(crate) struct Feed {
    stop: Arc<AtomicBool>,
    task: JoinHandle<usize>,
}

impl Feed {
    /// Puts no more; how many were put.
    pub(crate) async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the feed does not panic")
    }
}
