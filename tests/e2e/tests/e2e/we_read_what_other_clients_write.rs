//! Our consumer reads what Pulsar's own Java and Python clients wrote: each compression, batches, batches by key, chunks, encrypted payloads; with key,
//! properties and event time, every message once and each key in order.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use connector_pulsar::crypto::{CryptoConfig, Decryptor};
use connector_pulsar::{ClientConfig, Consumer, ConsumerSettings, Message, Start, Subscription};
use serde_json::json;

use crate::harness::broker;
use crate::harness::topic::Topic;
use crate::other_clients_read_what_we_write::keys;

const COUNT: usize = 20;
/// What every tenth message is long where it goes in chunks.
const LARGE: usize = 6_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// Has a client write its messages, see `tests/interop/produce`.
async fn written(client: &str, topic: &Topic, options: &[&str]) {
    let mut command = tokio::process::Command::new(crate::harness::checkout().join("tests/interop/produce"));
    command.args([client, "--url", &topic.broker.url, "--topic", &topic.name, "--count", &COUNT.to_string()]).args(options);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("the script can be run");
    assert!(output.status.success(), "{client}: {}", String::from_utf8_lossy(&output.stderr));
}

/// All messages, by our consumer, which acknowledges each.
async fn read(topic: &Topic, private_key: Option<&Path>) -> Vec<Message> {
    let subscription = Subscription { start: Start::Earliest, ..Subscription::new("ours") };
    let decrypt = private_key.map(|file| {
        let config = json!({ "cryptoKeyReaderConfig": { "privateKeys": { "reader": format!("file://{}", file.display()) } } });
        let config: CryptoConfig = serde_json::from_value(config).unwrap();
        Arc::new(Decryptor::new(&config).unwrap()) as _
    });
    let subscription = Subscription { decrypt, ..subscription };
    let settings = ConsumerSettings::new(ClientConfig::new(topic.broker.url.clone()), topic.name.clone(), subscription);
    let mut consumer = Consumer::connect(settings).await.unwrap();
    let mut messages = Vec::new();
    while messages.len() < COUNT {
        let message = tokio::time::timeout(PATIENCE, consumer.receive()).await.expect("messages come").unwrap();
        consumer.ack(message.id).await.unwrap();
        messages.push(message);
    }
    assert!(tokio::time::timeout(Duration::from_millis(500), consumer.receive()).await.is_err(), "no message comes twice");
    consumer.close(tokio::time::Instant::now() + Duration::from_secs(5)).await;
    messages
}

fn payload(number: usize, chunks: bool) -> Vec<u8> {
    let small = [format!("message {number} ").repeat(1 + number % 7).as_bytes(), &[0, 255]].concat();
    if chunks && number.is_multiple_of(10) { small.iter().copied().cycle().take(LARGE).collect() } else { small }
}

/// Each message is what was written, each key in order.
fn check(label: &str, messages: &[Message], chunks: bool) {
    let mut orders: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    for message in messages {
        let properties: BTreeMap<&str, &str> = message.properties.iter().collect();
        let number: usize = properties["number"].parse().unwrap();
        assert_eq!(properties, BTreeMap::from([("number", &*number.to_string()), ("name", "\u{e9}")]), "{label}");
        let key = format!("key \u{e9} {}", number % 3);
        assert_eq!(message.key.as_deref(), Some(key.as_bytes()), "{label}: message {number}");
        assert_eq!(message.event_time, Some(1_700_000_000_000 + number as u64), "{label}: message {number}");
        assert!(message.payload == payload(number, chunks), "{label}: the payload of message {number} differs");
        assert!(!message.encrypted && message.publish_time > 1_700_000_000_000);
        orders.entry(key.into_bytes()).or_default().push(number);
    }
    let expected: Vec<Vec<usize>> = (0..3).map(|key| (key..COUNT).step_by(3).collect()).collect();
    assert_eq!(orders.into_values().collect::<Vec<_>>(), expected, "{label}");
}

async fn from_both(options: &[&str], private_key: Option<&Path>) {
    for client in ["java", "python"] {
        let label = format!("{client} {}", options.join(" "));
        let topic = Topic::new(broker::shared().await, "theirs");
        written(client, &topic, options).await;
        check(&label, &read(&topic, private_key).await, options.contains(&"chunks"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_compression_they_know() {
    for compression in ["NONE", "LZ4", "ZLIB", "ZSTD", "SNAPPY"] {
        from_both(&["--compression", compression], None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_form_of_entry() {
    for form in ["single", "batch", "by-key", "chunks"] {
        from_both(&["--form", form], None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_they_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = keys(folder.path(), "rsa");
    for form in ["batch", "chunks"] {
        let both = ["--public-key", public.to_str().unwrap(), "--private-key", private.to_str().unwrap(), "--form", form];
        from_both(&both, Some(&private)).await;
    }
}
