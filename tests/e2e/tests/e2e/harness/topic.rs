//! A topic as an independent client sees it: the crate `pulsar` reads every message from the first, partition by partition, in the order of the topic.

use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use pulsar::consumer::InitialPosition;
use pulsar::{Authentication, Consumer, ConsumerOptions, Pulsar, SubType, TokioExecutor};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::broker::Broker;
use super::wait::until;

/// Longest time for the client to reach a broker that runs, and between two messages that are known to be there.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct Topic {
    pub(crate) broker: &'static Broker,
    /// `persistent://public/default/...`
    pub(crate) name: String,
    /// 0: not partitioned.
    pub(crate) partitions: u32,
    pub(crate) token: Option<String>,
}

/// A message as it lies in the topic.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Index of the topic's partition.
    pub(crate) partition: u32,
    pub(crate) key: Option<String>,
    pub(crate) key_is_base64: bool,
    pub(crate) value: Vec<u8>,
    pub(crate) properties: Vec<(String, String)>,
    /// Milliseconds since the epoch.
    pub(crate) event_time: Option<u64>,
    /// Milliseconds since the epoch, by the producer.
    pub(crate) publish_time: u64,
    /// The name of the producer, where the client tells it.
    pub(crate) producer: String,
}

impl Message {
    /// Whether it was published under a name for numbers that were refused and overtaken.
    pub(crate) fn is_late(&self) -> bool {
        self.producer.ends_with("-late")
    }

    fn is_no_probe(&self) -> bool {
        self.key.as_deref() != Some(PROBE)
    }

    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The key of messages that a test sent itself.
const PROBE: &str = "probe";

type Client = Consumer<Vec<u8>, TokioExecutor>;

impl Topic {
    /// A topic nobody has used, without partitions; the broker makes it at its first use.
    pub(crate) fn new(broker: &'static Broker, label: &str) -> Self {
        let name = format!("persistent://public/default/{}", super::unique(label));
        Self { broker, name, partitions: 0, token: None }
    }

    /// A new topic with `partitions` partitions.
    pub(crate) async fn partitioned(broker: &'static Broker, label: &str, partitions: u32) -> Self {
        let topic = Self { partitions, ..Self::new(broker, label) };
        topic.broker.administer("PUT", &format!("{}/partitions", topic.path()), &partitions.to_string()).await;
        topic
    }

    /// The topic in admin paths.
    pub(crate) fn path(&self) -> String {
        self.name.replacen("://", "/", 1)
    }

    /// Makes the topic, which has no partitions, before its first use.
    pub(crate) async fn create(&self) {
        self.broker.administer("PUT", &self.path(), "").await;
    }

    /// Gives it more partitions, while it is used or not.
    pub(crate) async fn grow(&mut self, partitions: u32) {
        self.broker.administer("POST", &format!("{}/partitions", self.path()), &partitions.to_string()).await;
        self.partitions = partitions;
    }

    /// The names of its partitions; its own where it has none.
    pub(crate) fn parts(&self) -> Vec<String> {
        match self.partitions {
            0 => vec![self.name.clone()],
            partitions => (0..partitions).map(|at| format!("{}-partition-{at}", self.name)).collect(),
        }
    }

    /// Takes all of it away from its broker: producers have to find it again.
    pub(crate) async fn unload(&self) {
        self.broker.administer("PUT", &format!("{}/unload", self.path()), "").await;
    }

    /// Deletes everything that is in it; nobody may be using it.
    pub(crate) async fn lose_everything(&self) {
        // Only a ledger that is written no more can be deleted.
        self.unload().await;
        for part in self.parts() {
            let path = part.replacen("://", "/", 1);
            until(&format!("`{part}` to be empty"), PATIENCE, async || {
                self.broker.administer("DELETE", &format!("{path}/truncate"), "").await;
                let stats = self.broker.ask(&format!("{path}/internalStats")).await?;
                let left = stats["numberOfEntries"].as_u64().unwrap_or(u64::MAX);
                if left == 0 { Ok(()) } else { Err(anyhow::anyhow!("it has {left} entries")) }
            })
            .await;
        }
    }

    /// Deletes it with all partitions, whoever uses it.
    pub(crate) async fn delete(&self) {
        let what = if self.partitions == 0 { "" } else { "/partitions" };
        self.broker.administer("DELETE", &format!("{}{what}?force=true", self.path()), "").await;
    }

    /// Waits until every partition keeps numbers of producers, or none does.
    pub(crate) async fn keeps_numbers(&self, yes: bool) {
        let wanted = if yes { "Enabled" } else { "Disabled" };
        for part in self.parts() {
            let path = part.replacen("://", "/", 1);
            until(&format!("deduplication of `{part}` to be {wanted}"), PATIENCE, async || {
                let stats = self.broker.ask(&format!("{path}/stats")).await?;
                let status = stats["deduplicationStatus"].as_str().unwrap_or_default().to_owned();
                if status == wanted { Ok(()) } else { Err(anyhow::anyhow!("it is {status}")) }
            })
            .await;
        }
    }

    /// Announces the largest entry that the topic takes; it holds when a probe is refused, or taken.
    pub(crate) async fn limit(&self, bytes: usize) {
        self.broker.administer("POST", &format!("{}/maxMessageSize", self.path()), &bytes.to_string()).await;
    }

    /// Reads as the role of a token.
    pub(crate) fn with_token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    /// Another topic on the same broker.
    pub(crate) fn beside(&self, suffix: &str) -> Self {
        Self { name: format!("{}-{suffix}", self.name), partitions: 0, ..self.clone() }
    }

    async fn consumer(&self, partition: u32) -> Client {
        let name = if self.partitions == 0 { self.name.clone() } else { format!("{}-partition-{partition}", self.name) };
        until(&format!("a consumer of `{name}`"), PATIENCE, async || {
            let mut builder = Pulsar::builder(&self.broker.url, TokioExecutor);
            if let Some(token) = &self.token {
                builder = builder.with_auth(Authentication { name: "token".to_owned(), data: token.clone().into_bytes() });
            }
            let client = builder.build().await?;
            let consumer = client
                .consumer()
                .with_topic(&name)
                .with_subscription(super::unique("reader"))
                .with_subscription_type(SubType::Exclusive)
                .with_batch_size(1000)
                .with_options(ConsumerOptions { initial_position: InitialPosition::Earliest, ..ConsumerOptions::default() });
            consumer.build::<Vec<u8>>().await
        })
        .await
    }

    fn indexes(&self) -> std::ops::Range<u32> {
        0..self.partitions.max(1)
    }

    /// All messages that are in the topic now, in order, one partition after the other.
    pub(crate) async fn read_all(&self) -> Vec<Message> {
        let mut messages = Vec::new();
        for partition in self.indexes() {
            let mut consumer = self.consumer(partition).await;
            let last = consumer.get_last_message_id().await.expect("the broker tells the last message")[0].clone();
            // The broker's way to say that there is none.
            if last.entry_id == u64::MAX {
                continue;
            }
            loop {
                let next = tokio::time::timeout(PATIENCE, consumer.try_next()).await;
                let message =
                    next.expect("a message that is there arrives in time").expect("the client reads").expect("a topic does not end");
                let id = message.message_id().clone();
                messages.extend(Some(taken(partition, message)).filter(Message::is_no_probe));
                let at = |id: &pulsar::message::proto::MessageIdData| (id.ledger_id, id.entry_id, id.batch_index.unwrap_or(-1));
                if at(&id) >= at(&last) {
                    break;
                }
            }
        }
        messages
    }

    /// Sends messages of `size` bytes until the topic refuses one: so long a limit takes to come into force. Readers leave them out.
    pub(crate) async fn probe_until_refused(&self, size: usize) {
        self.probe(size, false).await;
    }

    /// Sends messages of `size` bytes until the topic takes one.
    pub(crate) async fn probe_until_taken(&self, size: usize) {
        self.probe(size, true).await;
    }

    async fn probe(&self, size: usize, wanted: bool) {
        let client = Pulsar::builder(&self.broker.url, TokioExecutor).build().await.expect("the broker runs");
        let part = self.parts().remove(0);
        until(&format!("`{part}` to {} {size} bytes", if wanted { "take" } else { "refuse" }), PATIENCE, async || {
            let mut producer = client.producer().with_topic(&part).build().await.map_err(|error| error.to_string())?;
            let probe = pulsar::producer::Message { payload: vec![0; size], partition_key: Some(PROBE.to_owned()), ..Default::default() };
            let taken = match producer.send_non_blocking(probe).await {
                Ok(receipt) => receipt.await.is_ok(),
                Err(_) => false,
            };
            drop(producer.close().await);
            if taken == wanted { Ok(()) } else { Err(if taken { "it was taken" } else { "it was refused" }.to_owned()) }
        })
        .await;
    }

    /// The first `count` messages, read by Pulsar's own Java client.
    pub(crate) async fn read_with_java(&self, count: usize) -> Vec<Message> {
        let mut command = tokio::process::Command::new(super::checkout().join("tests/interop/consume"));
        command.args(["java", "--url", &self.broker.url, "--topic", &self.name, "--count", &count.to_string(), "--idle", "60"]);
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("the script can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).expect("JSON is UTF-8");
        printed.lines().map(told_by_java).collect()
    }

    /// Reads in the background from now on, everything from the first message.
    pub(crate) async fn follow(&self) -> Follower {
        let got: Arc<Mutex<Vec<Message>>> = Arc::default();
        let mut tasks = Vec::new();
        for partition in self.indexes() {
            let (mut consumer, got) = (self.consumer(partition).await, Arc::clone(&got));
            tasks.push(tokio::spawn(async move {
                while let Ok(Some(message)) = consumer.try_next().await {
                    let message = Some(taken(partition, message)).filter(Message::is_no_probe);
                    got.lock().expect("nobody panics while holding it").extend(message);
                }
            }));
        }
        Follower { got, tasks }
    }
}

fn taken(partition: u32, message: pulsar::consumer::Message<Vec<u8>>) -> Message {
    let metadata = message.payload.metadata;
    Message {
        partition,
        key_is_base64: metadata.partition_key_b64_encoded(),
        event_time: metadata.event_time.filter(|time| *time > 0),
        publish_time: metadata.publish_time,
        producer: metadata.producer_name,
        key: metadata.partition_key,
        properties: metadata.properties.into_iter().map(|pair| (pair.key, pair.value)).collect(),
        value: message.payload.data,
    }
}

fn told_by_java(line: &str) -> Message {
    let told: Value = serde_json::from_str(line).expect("one JSON object a line");
    let properties = told["properties"].as_object().expect("properties are an object");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Message {
        partition: 0,
        key: told["key"].as_str().map(str::to_owned),
        key_is_base64: false,
        value: STANDARD.decode(text(&told["value"])).expect("the value is base64"),
        properties: properties.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        event_time: told["event_time"].as_u64().filter(|time| *time > 0),
        publish_time: told["publish_time"].as_u64().expect("a message has a publish time"),
        producer: String::new(),
    }
}

/// What has arrived so far.
pub(crate) struct Follower {
    got: Arc<Mutex<Vec<Message>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Follower {
    /// Everything so far; in order within a partition.
    pub(crate) fn messages(&self) -> MutexGuard<'_, Vec<Message>> {
        self.got.lock().expect("nobody panics while holding it")
    }

    /// Waits until so many messages came, doubled ones included.
    pub(crate) async fn at_least(&self, count: usize, within: Duration) {
        until(&format!("{count} messages"), within, async || {
            let seen = self.messages().len();
            if seen >= count { Ok(()) } else { Err(format!("{seen} messages")) }
        })
        .await;
    }

    /// Waits until so many different records came.
    pub(crate) async fn different(&self, count: usize, within: Duration) {
        let (mut seen, mut at) = (std::collections::HashSet::new(), 0);
        until(&format!("{count} different records"), within, async || {
            let messages = self.messages();
            for message in &messages[at..] {
                let number = message.property(super::oracle::NUMBER).unwrap_or_default().to_owned();
                seen.insert((number, message.property(super::oracle::SUB).unwrap_or("0").to_owned()));
            }
            at = messages.len();
            if seen.len() >= count { Ok(()) } else { Err(format!("{} different records in {at} messages", seen.len())) }
        })
        .await;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
