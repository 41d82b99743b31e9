//! What a message can be: sealed, in batches by key, in chunks, of a schema.

use super::*;
use crate::crypto::test_keys::{P256, P256_PUBLIC};
use crate::crypto::{CryptoConfig, Decryptor, KeyLocation, KeyReaderConfig};
use crate::error::code;
use crate::wire::schema::{Schema, schema_type};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

fn producer(text: &str) -> Option<ProducerConfig> {
    Some(serde_json::from_str(text).unwrap())
}

fn schema(kind: &str, properties: &[(&str, &str)]) -> SchemaConfig {
    let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    SchemaConfig { schema_type: Some(kind.to_owned()), properties }
}

fn crypto() -> CryptoConfig {
    let url = |pem: &str| Some(KeyLocation::new(format!("data:application/x-pem-file;base64,{}", BASE64_STANDARD.encode(pem))));
    let keys = KeyReaderConfig { default_public_key: url(P256_PUBLIC), default_private_key: url(P256), ..KeyReaderConfig::default() };
    CryptoConfig { encryption_keys: Some(vec!["reader".into()]), crypto_key_reader_config: Some(keys), ..CryptoConfig::default() }
}

/// A cluster whose reader has the private key, and a publisher's configuration with the public one.
fn encrypted(text: &str) -> (Cluster, Option<ProducerConfig>) {
    let cluster = Cluster::new();
    cluster.state().reader.keys = Some(Decryptor::new(&crypto()).unwrap());
    let producer = ProducerConfig { crypto_config: Some(crypto()), ..producer(text).unwrap() };
    (cluster, Some(producer))
}

#[tokio::test(start_paused = true)]
async fn payloads_are_sealed_dead_letters_too() {
    let (cluster, producer) = encrypted("{}");
    cluster.state().topic_limit = Some(3_000);
    let settings =
        PublisherSettings { producer, on_record_error: OnRecordError::DeadLetter, dead_letter_topic: Some("dead".into()), ..settings() };
    let (mut publisher, seen) = (connect(&cluster, settings).await.unwrap(), Arc::new(Seen::default()));
    assert_eq!(cluster.state().opened[0].encrypted, Some(true));
    publish(&mut publisher, &seen, 0..50, 40).await;
    publish(&mut publisher, &seen, 50..51, 5_000).await;
    publisher.flush().await.unwrap();
    assert_eq!(cluster.numbers("orders"), (0..50).collect::<Vec<_>>());
    assert_eq!(cluster.numbers("dead"), [50]);
    assert_eq!(seen.numbers("settled").len(), 51);
    for stored in cluster.state().entries.values().flatten() {
        assert_eq!(stored.metadata.encryption_keys.len(), 1);
        let clear = &stored.records[0].value[..];
        assert!(
            !stored.frame.windows(clear.len().min(16)).any(|window| window == &clear[..clear.len().min(16)]),
            "a payload went in clear"
        );
    }
    publisher.close(Instant::now() + Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_sealed_batch_that_the_topic_refuses_is_opened_and_cut() {
    let (cluster, producer) = encrypted(r#"{"compressionType":"NONE"}"#);
    cluster.state().topic_limit = Some(2_000);
    let (mut publisher, seen) = (connect(&cluster, PublisherSettings { producer, ..settings() }).await.unwrap(), Arc::new(Seen::default()));
    publish(&mut publisher, &seen, 0..60, 100).await;
    publisher.flush().await.unwrap();
    assert_eq!(cluster.numbers("orders"), (0..60).collect::<Vec<_>>());
    assert!(publisher.facts().refused_entries.get() > 0);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_read_ends_the_start() {
    let mut crypto = crypto();
    crypto.crypto_key_reader_config = None;
    let producer = Some(ProducerConfig { crypto_config: Some(crypto), ..ProducerConfig::default() });
    let error = connect(&Cluster::new(), PublisherSettings { producer, ..settings() }).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains("producerConfig.cryptoConfig.encryptionKeys"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_by_key_holds_one_key_and_keeps_its_order() {
    let cluster = Cluster::new();
    let settings = PublisherSettings { producer: producer(r#"{"batchBuilder":"KEY_BASED"}"#), ..settings() };
    let (mut publisher, seen) = (connect(&cluster, settings).await.unwrap(), Arc::new(Seen::default()));
    // Something large first, so that no entry has to go alone.
    publish(&mut publisher, &seen, 0..1, 5_000).await;
    publisher.flush().await.unwrap();
    publish(&mut publisher, &seen, 1..101, 20).await;
    publisher.flush().await.unwrap();
    assert_eq!(seen.numbers("settled").len(), 101);
    let state = cluster.state();
    let entries = &state.entries["persistent://public/default/orders"];
    assert_eq!(entries.len(), 11, "ten keys after the first record");
    let mut before = -1;
    let mut by_key: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for entry in entries {
        let keys: std::collections::BTreeSet<_> = entry.records.iter().map(|record| record.key.clone()).collect();
        assert_eq!(keys.len(), 1);
        assert_eq!(entry.metadata.partition_key.as_deref(), entry.records[0].key.as_ref().map(|key| &key.as_bytes()[..]));
        assert_eq!(entry.metadata.sequence_id, *entry.sequences.last().unwrap(), "named by its highest number");
        assert!(entry.sequences[0] > before, "numbers rise from entry to entry");
        before = *entry.sequences.last().unwrap();
        by_key.entry(entry.records[0].key.as_ref().unwrap().to_string()).or_default().extend(entry.records.clone());
    }
    for records in by_key.values() {
        assert!(records.is_sorted_by_key(|record| record.value.slice(..8)), "order of a key");
    }
}

const CHUNKS: &str = r#"{"chunkingEnabled":true,"compressionType":"NONE","batchingConfig":{"enabled":false}}"#;

#[tokio::test(start_paused = true)]
async fn what_is_above_the_broker_s_limit_goes_in_chunks_with_nothing_in_between() {
    let cluster = Cluster::new();
    cluster.state().max_message_size = 10_000;
    let settings = PublisherSettings { producer: producer(CHUNKS), ..settings() };
    let (mut publisher, seen) = (connect(&cluster, settings).await.unwrap(), Arc::new(Seen::default()));
    publish(&mut publisher, &seen, 0..3, 100).await;
    publish(&mut publisher, &seen, 3..6, 45_000).await;
    publish(&mut publisher, &seen, 6..9, 100).await;
    publisher.flush().await.unwrap();
    assert_eq!(cluster.numbers("orders"), (0..9).collect::<Vec<_>>());
    assert_eq!(cluster.records("orders")[4].value, record(4, 45_000).value);
    assert_eq!(seen.numbers("settled").len(), 9);
    let sends: Vec<(i64, bool)> = cluster.state().sends.iter().map(|send| (send.sequence_id, send.is_chunk == Some(true))).collect();
    let mut expected: Vec<(i64, bool)> = (0..3).map(|number| (number, false)).collect();
    expected.extend((3..6).flat_map(|number| [(number, true); 5]));
    expected.extend((6..9).map(|number| (number, false)));
    assert_eq!(sends, expected);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_dies_in_the_middle_of_a_message_gets_the_rest_of_its_chunks() {
    let cluster = Cluster::new();
    cluster.state().max_message_size = 10_000;
    let settings = PublisherSettings { producer: producer(CHUNKS), ..settings() };
    let (mut publisher, seen) = (connect(&cluster, settings).await.unwrap(), Arc::new(Seen::default()));
    // Two chunks are answered; the receipts of the others die with the broker.
    cluster.state().receipts_left = Some(2);
    publish(&mut publisher, &seen, 0..2, 45_000).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(seen.numbers("settled").len(), 0, "a handle is resolved with the last chunk");
    assert_eq!(cluster.state().sends.len(), 5);
    cluster.kill("one");
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.state().receipts_left = None;
    cluster.start("one");
    publisher.flush().await.unwrap();
    let sends: Vec<i64> = cluster.state().sends.iter().map(|send| send.sequence_id).collect();
    assert_eq!(sends, [[0; 8].as_slice(), &[1; 5]].concat(), "five chunks, the three unanswered again, the next message");
    assert_eq!(seen.numbers("settled"), [0, 1]);
    assert_eq!(cluster.numbers("orders"), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_not_stored_gets_no_chunks() {
    let cluster = Cluster::new();
    cluster.state().max_message_size = 10_000;
    let settings = PublisherSettings { producer: producer(CHUNKS), topic: "non-persistent://public/default/orders".into(), ..settings() };
    let (mut publisher, seen) = (connect(&cluster, settings).await.unwrap(), Arc::new(Seen::default()));
    publish(&mut publisher, &seen, 0..1, 45_000).await;
    publisher.flush().await.unwrap();
    assert_eq!(seen.numbers("failed"), [0]);
    assert!(cluster.state().sends.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_goes_whole_where_large_messages_go_in_chunks() {
    let cluster = Cluster::new();
    cluster.state().max_message_size = 10_000;
    cluster.state().topic_limit = Some(8_000);
    let settings = PublisherSettings {
        producer: producer(CHUNKS),
        on_record_error: OnRecordError::DeadLetter,
        dead_letter_topic: Some("dead".into()),
        ..settings()
    };
    let (mut publisher, seen) = (connect(&cluster, settings).await.unwrap(), Arc::new(Seen::default()));
    // The topic refuses it as one message; with the dead letter's properties it is above the broker's limit, so that it is cut.
    publish(&mut publisher, &seen, 0..1, 9_800).await;
    publisher.flush().await.unwrap();
    let letters = cluster.records("dead");
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].value, record(0, 9_800).value);
    assert!(letters[0].properties.iter().all(|(name, _)| name != "deadLetter.truncated"));
}

const ORDER: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"}]}"#;

#[tokio::test(start_paused = true)]
async fn a_schema_is_declared_and_its_version_is_in_every_message_but_not_in_dead_letters() {
    let cluster = Cluster::new();
    let settings = PublisherSettings {
        schema: schema("json", &[("schema", ORDER), ("validate", "true")]),
        on_record_error: OnRecordError::DeadLetter,
        dead_letter_topic: Some("dead".into()),
        ..settings()
    };
    let (mut publisher, seen) = (connect(&cluster, settings).await.unwrap(), Arc::new(Seen::default()));
    let json = |number: u64| Record { value: format!("{number:08}").replacen("0000", "1000", 1).into(), ..Record::default() };
    // Numbers are JSON; the third is not.
    let mut records: Vec<Record> = (0..5).map(json).collect();
    records[2].value = "{\"id\":".into();
    Sink::write(&mut publisher, batch(&seen, 0, records)).await.unwrap();
    publisher.flush().await.unwrap();
    assert_eq!(cluster.records("orders").len(), 4);
    assert_eq!(&cluster.records("dead")[0].value[..], b"{\"id\":");
    assert_eq!(seen.numbers("settled").len(), 5);
    let state = cluster.state();
    let declared = state.opened[0].schema.clone().unwrap();
    assert_eq!((declared.kind, &declared.schema_data[..]), (schema_type::JSON, ORDER.as_bytes()));
    assert!(state.opened[1].schema.is_none(), "dead letters have no schema");
    for (topic, entries) in &state.entries {
        for entry in entries {
            assert_eq!(entry.metadata.schema_version.is_some(), topic.ends_with("orders"), "{topic}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_is_not_of_the_schema_stops_its_partition() {
    let cluster = Cluster::new();
    let settings = PublisherSettings { schema: schema("json", &[("schema", ORDER), ("validate", "true")]), ..settings() };
    let (mut publisher, seen) = (connect(&cluster, settings).await.unwrap(), Arc::new(Seen::default()));
    let record = Record { value: "no json".into(), ..Record::default() };
    Sink::write(&mut publisher, batch(&seen, 0, vec![record])).await.unwrap();
    publisher.flush().await.unwrap();
    let reason = seen.reasons.lock().unwrap()[0].to_string();
    assert!(reason.contains("is not of the schema of `persistent://public/default/orders`: it is not JSON"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn the_topic_s_own_schema_is_asked_for_at_each_opening() {
    let cluster = Cluster::new();
    let own = |name: &str| Schema { name: name.into(), schema_data: ORDER.into(), kind: schema_type::AVRO, properties: Vec::new() };
    cluster.state().schema = Some((own("one"), b"1"));
    let settings = PublisherSettings { schema: schema("AUTO_PRODUCE_BYTES", &[("validate", "true")]), ..settings() };
    let (mut publisher, seen) = (connect(&cluster, settings).await.unwrap(), Arc::new(Seen::default()));
    cluster.state().schema = Some((own("two"), b"2"));
    cluster.unload(None);
    // "a" as an Avro record.
    let record = Record { value: vec![2, b'a'].into(), ..Record::default() };
    Sink::write(&mut publisher, batch(&seen, 0, vec![record])).await.unwrap();
    publisher.flush().await.unwrap();
    assert_eq!(seen.numbers("settled"), [0]);
    let names: Vec<String> = cluster.state().opened.iter().map(|open| open.schema.clone().unwrap().name).collect();
    assert_eq!(names, ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn a_topic_without_a_schema_takes_bytes() {
    let cluster = Cluster::new();
    let settings = PublisherSettings { schema: schema("auto_produce", &[]), ..settings() };
    let (mut publisher, seen) = (connect(&cluster, settings).await.unwrap(), Arc::new(Seen::default()));
    publish(&mut publisher, &seen, 0..3, 10).await;
    publisher.flush().await.unwrap();
    let state = cluster.state();
    assert!(state.opened[0].schema.is_none());
    assert!(state.entries.values().flatten().all(|entry| entry.metadata.schema_version.is_none()), "an empty version is never copied");
}

#[tokio::test(start_paused = true)]
async fn a_schema_that_does_not_fit_ends_the_start_with_both_sides() {
    let cluster = Cluster::new();
    let refusal = (code::INCOMPATIBLE_SCHEMA, "Incompatible schema: exists schema type STRING, new schema type JSON");
    cluster.state().open_errors = vec![refusal];
    let settings_of = |schema| PublisherSettings { schema, ..settings() };
    let error = connect(&cluster, settings_of(schema("json", &[("schema", ORDER)]))).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains("with the schema `json`") && error.message().contains("exists schema type STRING"), "{error}");

    // The topic's schema changed between the question and the opening: asked again.
    cluster.state().open_errors = vec![refusal];
    cluster.state().schema = Some((Schema { name: "s".into(), kind: schema_type::STRING, ..Schema::default() }, b"1"));
    let publisher = connect(&cluster, settings_of(schema("auto_produce", &[]))).await.unwrap();
    drop(publisher);
}
