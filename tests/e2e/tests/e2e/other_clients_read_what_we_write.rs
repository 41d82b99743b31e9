//! Pulsar's own Java and Python clients read what the source wrote: each compression, batches by key, chunks, encrypted payloads, schemas; and
//! every key lies on the partition that Java would have chosen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use local_aws::NewRecord;
use serde_json::{Value, json};

use crate::harness::broker;
use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;

/// What a client printed about each message, in the order in which it read them.
async fn read(client: &str, topic: &Topic, count: usize, more: &[&str]) -> Vec<Value> {
    let mut command = tokio::process::Command::new(crate::harness::checkout().join("tests/interop/consume"));
    command.args([client, "--url", &topic.broker.url, "--topic", &topic.name, "--count", &count.to_string(), "--idle", "60"]);
    command.args(["--subscription", &crate::harness::unique(client)]).args(more);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("the script can be run");
    assert!(output.status.success(), "{client}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// By key: the payloads in the order in which they were read.
fn by_key(messages: &[Value]) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut found: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for message in messages {
        let value = STANDARD.decode(message["value"].as_str().unwrap()).unwrap();
        found.entry(message["key"].as_str().unwrap().to_owned()).or_default().push(value);
    }
    found
}

/// What is put into the stream: `count` records with `keys` keys, and the same by key.
fn records(count: usize, keys: usize) -> (Vec<NewRecord>, BTreeMap<String, Vec<Vec<u8>>>) {
    let mut expected: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    let records = (0..count).map(|number| {
        let key = format!("key \u{e9}\u{4e16} {}", number % keys);
        let value = [format!("record {number} ").repeat(1 + number % 7).as_bytes(), &[0, 0xff]].concat();
        expected.entry(key.clone()).or_default().push(value.clone());
        NewRecord::new(key, value)
    });
    (records.collect(), expected)
}

/// Puts the records, runs a source with this configuration until both clients have read them all, and gives what each read.
async fn through(label: &str, records: Vec<NewRecord>, tops: &[(&str, Value)], clients: &[&str], more: &[&str]) -> Vec<Vec<Value>> {
    let (stream, count) = (Stream::start(1).await, records.len());
    stream.put(records);
    let topic = Topic::new(broker::shared().await, label);
    let mut setup = Setup::new(&stream, &topic).config("applicationName", label);
    for (key, value) in tops {
        setup = setup.top(key, value.clone());
    }
    let source = setup.start().await;
    let mut read_by = Vec::new();
    for client in clients {
        read_by.push(read(client, &topic, count, more).await);
    }
    source.stop().await;
    read_by
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_compression() {
    for compression in ["NONE", "LZ4", "ZLIB", "ZSTD", "SNAPPY"] {
        let (records, expected) = records(200, 7);
        let tops = [("producerConfig", json!({ "compressionType": compression }))];
        let read_by = through(&format!("read-{}", compression.to_lowercase()), records, &tops, &["java", "python"], &[]).await;
        for messages in &read_by {
            assert_eq!(by_key(messages), expected, "{compression}");
            for message in messages {
                assert!(message["event_time"].as_u64().unwrap() > 0);
                assert_eq!(message["properties"]["kinesis.partition.key"], message["key"]);
            }
        }
        for (java, python) in read_by[0].iter().zip(&read_by[1]) {
            for field in ["id", "key", "value", "event_time", "publish_time", "properties", "producer"] {
                assert_eq!(java[field], python[field], "{compression}: {field}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_by_key() {
    let (records, expected) = records(400, 5);
    let tops = [("producerConfig", json!({ "batchBuilder": "KEY_BASED" }))];
    let read_by = through("by-key", records, &tops, &["java", "python"], &[]).await;
    let mut entries: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for messages in &read_by {
        assert_eq!(by_key(messages), expected);
        for message in messages {
            let (entry, _) = message["id"].as_str().unwrap().rsplit_once(':').unwrap();
            entries.entry(entry.to_owned()).or_default().insert(message["key"].as_str().unwrap().to_owned());
        }
    }
    assert!(entries.values().all(|keys| keys.len() == 1), "an entry holds one key");
    assert!(entries.len() < 400, "batches were made");
    assert!(read_by[0].iter().any(|message| message["batch_size"].as_i64() > Some(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_in_chunks() {
    // Twice the broker's limit, of bytes that do not compress; between them small ones.
    let mut random = fastrand::Rng::with_seed(7);
    let mut expected: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    let mut large = Vec::new();
    for number in 0..6 {
        let size = if number % 2 == 0 { 9_500_000 } else { 100 };
        let value: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(size).collect();
        expected.entry("one key".to_owned()).or_default().push(value.clone());
        large.push(NewRecord::new("one key", value));
    }
    let producer = json!({ "chunkingEnabled": true, "batchingConfig": { "enabled": false } });
    let read_by = through("chunks", large, &[("producerConfig", producer)], &["java", "python"], &[]).await;
    for messages in &read_by {
        assert!(by_key(messages) == expected, "payloads differ");
    }
    let chunked: Vec<bool> = read_by[0].iter().map(|message| message["chunked"] == json!(true)).collect();
    assert_eq!(chunked, [true, false, true, false, true, false]);
}

/// Makes a pair of keys; gives the files of the private and the public one.
pub(crate) fn keys(folder: &Path, kind: &str) -> (PathBuf, PathBuf) {
    let (private, public) = (folder.join(format!("{kind}.pem")), folder.join(format!("{kind}-public.pem")));
    let made = match kind {
        "rsa" => Command::new("openssl").args(["genrsa", "-traditional", "-out"]).arg(&private).arg("2048").output(),
        // As Pulsar's documentation makes it: with the curve's parameters spelt out.
        "ec-explicit" => Command::new("openssl")
            .args(["ecparam", "-name", "secp521r1", "-genkey", "-param_enc", "explicit", "-out"])
            .arg(&private)
            .output(),
        _ => Command::new("openssl").args(["ecparam", "-name", "prime256v1", "-genkey", "-out"]).arg(&private).output(),
    };
    assert!(made.expect("`openssl` can be run").status.success());
    let algorithm = if kind == "rsa" { "rsa" } else { "ec" };
    let told = Command::new("openssl").arg(algorithm).arg("-in").arg(&private).args(["-pubout", "-out"]).arg(&public).output();
    assert!(told.unwrap().status.success());
    (private, public)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encrypted_payloads() {
    let folder = tempfile::tempdir().unwrap();
    // The Python client reads RSA only. Chunks are sealed one by one.
    for (kind, clients, chunks) in
        [("rsa", &["java", "python"][..], false), ("ec", &["java"], false), ("ec-explicit", &["java"], false), ("rsa", &["java"], true)]
    {
        let (private, public) = keys(folder.path(), kind);
        let mut producer = json!({
            "cryptoConfig": {
                "cryptoKeyReaderClassName": "org.apache.pulsar.client.impl.DefaultCryptoKeyReader",
                "cryptoKeyReaderConfig": { "publicKeys": { "reader": format!("file://{}", public.display()) } },
                "encryptionKeys": ["reader"],
                "producerCryptoFailureAction": "FAIL",
            },
        });
        let (mut records, mut expected) = records(100, 3);
        if chunks {
            producer["chunkingEnabled"] = json!(true);
            producer["batchingConfig"] = json!({ "enabled": false });
            let mut random = fastrand::Rng::with_seed(9);
            let value: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(8_000_000).collect();
            expected.entry("large".to_owned()).or_default().push(value.clone());
            records.push(NewRecord::new("large", value));
        }
        let label = format!("sealed-{kind}-{chunks}");
        let read_by =
            through(&label, records, &[("producerConfig", producer)], clients, &["--private-key", private.to_str().unwrap()]).await;
        for messages in &read_by {
            assert!(by_key(messages) == expected, "{label}: payloads differ");
        }
        assert!(read_by[0].iter().all(|message| message["encryption_keys"] == json!(["reader"])), "{label}: what was read was encrypted");
        assert_eq!(read_by[0].iter().any(|message| message["chunked"] == json!(true)), chunks);
    }
}

const ORDER: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},{"name":"cents","type":"long"}]}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas() {
    // An order "a" of 7 cents, in Avro's binary form and in JSON.
    let avro: &[u8] = &[2, b'a', 14];
    let told = r#"{"id": "a", "cents": 7}"#;
    for (kind, payload, expected) in
        [("avro", avro, told), ("json", told.as_bytes(), r#"{"id":"a","cents":7}"#), ("string", b"text", "text")]
    {
        let records = (0..20).map(|number| NewRecord::new(format!("k{number}"), payload.to_vec())).collect();
        let mut tops = vec![("schemaType", json!(kind))];
        if kind != "string" {
            tops.push(("schemaProperties", json!({ "schema": ORDER, "validate": "true" })));
        }
        let read_by = through(&format!("schema-{kind}"), records, &tops, &["java"], &["--value", "record"]).await;
        for message in &read_by[0] {
            assert_eq!(message["value"], json!(expected), "{kind}");
            assert_eq!(message["schema_version"].as_str().map(str::len), Some(16), "{kind}: the broker's version is in each message");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_topic_s_own_schema_and_one_that_does_not_fit() {
    let topic = Topic::new(broker::shared().await, "own-schema");
    topic.create().await;
    let path = topic.path().replacen("persistent/", "", 1);
    let schema = json!({ "type": "AVRO", "schema": ORDER, "properties": {} });
    topic.broker.administer("POST", &format!("schemas/{path}/schema"), &schema.to_string()).await;

    let stream = Stream::start(1).await;
    stream.put((0..10).map(|number| NewRecord::new(format!("k{number}"), vec![2, b'a', 14])));
    let source = Setup::new(&stream, &topic).config("applicationName", "own").top("schemaType", "auto_produce").start().await;
    let messages = read("java", &topic, 10, &["--value", "record"]).await;
    source.stop().await;
    assert!(messages.iter().all(|message| message["value"] == json!(r#"{"id": "a", "cents": 7}"#)));

    let source = Setup::new(&stream, &topic).config("applicationName", "other").top("schemaType", "string").start().await;
    let (code, log) = source.ends(Duration::from_secs(30)).await;
    assert_eq!(code, 3, "{log}");
    assert!(log.contains("with the schema `string`") && log.contains("IncompatibleSchema"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_keys_lie_where_java_puts_them() {
    let stream = Stream::start(2).await;
    let keys: Vec<String> = (0..10_000).map(|number| format!("customer:{number} \u{43a}\u{43b}\u{1f600}")).collect();
    stream.put(keys.iter().map(|key| NewRecord::new(key.clone(), key.clone().into_bytes())));
    for (scheme, field) in [("Murmur3_32Hash", "java_partition"), ("JavaStringHash", "java_string_partition")] {
        let topic = Topic::partitioned(broker::shared().await, "keys", 7).await;
        let setup = Setup::new(&stream, &topic).config("applicationName", scheme);
        let source = setup.top("producerConfig", json!({ "hashingScheme": scheme })).start().await;
        let messages = read("java", &topic, keys.len(), &["--value", "none"]).await;
        source.stop().await;
        let read: BTreeSet<&str> = messages.iter().map(|message| message["key"].as_str().unwrap()).collect();
        assert_eq!(read.len(), keys.len());
        let mut used = BTreeSet::new();
        for message in &messages {
            let suffix = format!("-partition-{}", message[field]);
            assert!(message["topic"].as_str().unwrap().ends_with(&suffix), "{scheme}: {message}");
            used.insert(suffix);
        }
        assert_eq!(used.len(), 7);
    }
}
