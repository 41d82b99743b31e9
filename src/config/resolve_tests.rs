#![allow(clippy::unwrap_used)]

use super::*;
use crate::registry::connectors;
use connector_sdk::OnRecordError;
use serde_json::json;

const KEYS: &str = r#"{"accessKey":"AKIAEXAMPLE","secretKey":"test"}"#;

fn sound() -> Value {
    json!({
        "name": "orders", "archive": "builtin://kinesis", "topicName": "orders",
        "configs": { "awsKinesisStreamName": "orders", "awsRegion": "eu-west-1", "awsCredentialPluginParam": KEYS }
    })
}

/// The sound document with `more` on top of it, `configs.` keys inside; null takes a key away.
fn with(more: Value) -> Map<String, Value> {
    let mut document = sound();
    for (key, value) in more.as_object().unwrap() {
        let (place, key) = match key.strip_prefix("configs.") {
            Some(key) => (&mut document["configs"], key),
            None => (&mut document, key.as_str()),
        };
        let place = place.as_object_mut().unwrap();
        match value {
            Value::Null => place.remove(key),
            value => place.insert(key.to_owned(), value.clone()),
        };
    }
    document.as_object().unwrap().clone()
}

fn resolved_in(provider: SecretsProvider, environment: Environment<'_>, more: Value) -> Result<InstanceSpec, Vec<Problem>> {
    let connectors = connectors();
    resolve(with(more), Surroundings { connectors: &connectors, secrets: provider, environment })
}

fn resolved(more: Value) -> Result<InstanceSpec, Vec<Problem>> {
    resolved_in(SecretsProvider::Unnamed, &|_| None, more)
}

#[test]
fn what_is_not_written_has_pulsars_defaults() {
    let spec = resolved(json!({})).unwrap();
    assert_eq!(spec.identity(0).full_name(), "public/default/orders");
    assert_eq!(spec.topic.as_str(), "persistent://public/default/orders");
    assert_eq!(spec.parallelism.get(), 1);
    assert_eq!(spec.guarantee, Guarantee::AtLeastOnce);
    assert_eq!(spec.connector.name, "kinesis");
    assert_eq!(spec.settings.on_record_error, OnRecordError::Fail);
    assert_eq!(spec.dead_letter_topic, None);
    assert_eq!(spec.producer, connector_pulsar::ProducerConfig::default());
    assert_eq!(spec.notes, Vec::<String>::new());
}

#[test]
fn every_key_has_its_place() {
    let spec = resolved(json!({
        "tenant": "acme", "namespace": "shop", "topicName": "acme/shop/orders", "parallelism": "3", "processingGuarantees": "ATMOST_ONCE",
        "producerConfig": { "compressionType": "ZSTD", "maxPendingMessages": 0, "batchBuilder": "" }, "schemaType": "BYTES",
        "batchBuilder": "DEFAULT", "logTopic": "", "configs.onRecordError": "dead-letter", "configs.deadLetterTopic": "acme/shop/dead",
        "configs.receiveQueueBytes": "1048576"
    }))
    .unwrap();
    assert_eq!(spec.identity(2).to_string(), "acme/shop/orders/2");
    assert_eq!((spec.parallelism.get(), spec.identity(2).instances), (3, 3));
    assert_eq!(spec.guarantee, Guarantee::AtMostOnce);
    assert_eq!(spec.producer.compression_type, Some(connector_pulsar::Compression::Zstd));
    assert_eq!(spec.settings.receive_queue_bytes, 1 << 20);
    assert_eq!(spec.dead_letter_topic.unwrap().as_str(), "persistent://acme/shop/dead");
}

#[test]
fn each_mistake_is_named_with_path_cause_and_hint() {
    for (more, path, cause, hint) in [
        (json!({"topicName": null}), "topicName", "no topic is named", "set `topicName`"),
        (json!({"topicName": ""}), "topicName", "no topic is named", "set `topicName`"),
        (json!({"topicName": "a b"}), "topicName", "is not a topic name", ""),
        (json!({"name": null}), "name", "name is missing", "name it"),
        (json!({"name": "a/b"}), "name", "`a/b` cannot be a name", "slashes"),
        (json!({"tenant": "a/b"}), "tenant", "cannot be a tenant", "slashes"),
        (json!({"parallelism": 0}), "parallelism", "0 is out of bounds", "from 1 to 1000"),
        (json!({"parallelism": "many"}), "parallelism", "must be a whole number", ""),
        (json!({"procesingGuarantees": "ATLEAST_ONCE"}), "procesingGuarantees", "not known", "did you mean `processingGuarantees`?"),
        (json!({"processingGuarantees": "ATLEAST_ONC"}), "processingGuarantees", "not known here", "`ATLEAST_ONCE`"),
        (
            json!({"processingGuarantees": "EFFECTIVELY_ONCE", "topicName": "non-persistent://a/b/c"}),
            "processingGuarantees",
            "keeps nothing",
            "persistent topic",
        ),
        (json!({"processingGuarantees": "MANUAL"}), "processingGuarantees", "never progress", "`ATLEAST_ONCE`"),
        (json!({"schemaType": "PROTOBUF"}), "schemaType", "`protobuf` is not offered", "`avro`"),
        (json!({"schemaType": "AVRO"}), "schemaProperties.schema", "needs its definition", "`schemaFile`"),
        (json!({"serdeClassName": "com.example.Serde"}), "serdeClassName", "cannot be loaded", "remove"),
        (json!({"serdeClassName": "com.example.Serde", "schemaType": "bytes"}), "serdeClassName", "only one of", "remove"),
        (json!({"batchSourceConfig": {"discoveryTriggererClassName": "x"}}), "batchSourceConfig", "not offered", "remove"),
        (json!({"batchBuilder": "OTHER"}), "batchBuilder", "`OTHER` is not known", "`DEFAULT`"),
        (json!({"logTopic": "logs"}), "logTopic", "cannot be published", "remove"),
        (
            json!({"producerConfig": {"cryptoConfig": {"encryptionKeys": ["k"]}}}),
            "producerConfig.cryptoConfig.encryptionKeys",
            "`k` cannot be used",
            "`defaultPublicKey`",
        ),
        (json!({"producerConfig": {"compressionType": "GZIP"}}), "producerConfig.compressionType", "not known here", "`SNAPPY`"),
        (json!({"producerConfig": {"maxPending": 5}}), "producerConfig.maxPending", "not known", "`maxPendingMessages`"),
        (json!({"resources": {"cpu": 0}}), "resources.cpu", "out of bounds", "positive"),
        (json!({"archive": null}), "archive", "no connector is named", "`builtin://kinesis`"),
        (json!({"archive": "builtin://kinesys"}), "archive", "no connector `kinesys`", "did you mean `builtin://kinesis`?"),
        (json!({"archive": "builtin://kafka"}), "archive", "no connector `kafka`", "`builtin://kinesis`"),
        (json!({"archive": "connectors/pulsar-io-kinesis-4.0.8.nar"}), "archive", "is a Java package", "`builtin://kinesis`"),
        (json!({"archive": "https://example.com/kinesis.nar"}), "archive", "is a Java package", "`builtin://kinesis`"),
        (json!({"sourceType": "mysql"}), "sourceType", "no connector `mysql`", "`builtin://kinesis`"),
        (json!({"className": "org.apache.pulsar.io.kinesis.KinesisSink"}), "className", "no connector for the class", "KinesisSource"),
        (json!({"configs": "text"}), "configs", "must be an object", "without quotes"),
        (json!({"configs.awsRegoin": "eu-west-1"}), "configs.awsRegoin", "not known", "did you mean `awsRegion`?"),
        (json!({"configs.initialPositionInStream": "Latest"}), "configs.initialPositionInStream", "not known here", "`LATEST`"),
        (json!({"configs.awsKinesisStreamName": null}), "configs.awsKinesisStreamName", "name is missing", "such as `orders`"),
        (json!({"configs.awsRegion": null}), "configs.awsRegion", "neither a region", "`eu-west-1`"),
        (json!({"configs.initialPositionInStream": "AT_TIMESTAMP"}), "configs.startAtTime", "no time is given", "2026"),
        (json!({"configs.maxRecords": 10001}), "configs.maxRecords", "out of bounds", "from 1 to 10000"),
        (json!({"configs.topicName": "orders"}), "configs.topicName", "not known", "write it beside `configs`"),
        (json!({"awsRegion": "eu-west-1"}), "awsRegion", "not known", "under `configs`"),
        (
            json!({"configs.awsCredentialPluginParam": {"accessKey": "a"}}),
            "configs.awsCredentialPluginParam",
            "must be a text",
            "in quotes",
        ),
        (
            json!({"configs.onRecordError": "dead-letter", "configs.deadLetterTopic": "a b"}),
            "configs.deadLetterTopic",
            "is not a topic name",
            "",
        ),
        (
            json!({"configs.onRecordError": "dead-letter", "configs.deadLetterTopic": "public/default/orders"}),
            "configs.deadLetterTopic",
            "refused the record",
            "another topic",
        ),
    ] {
        let problems = resolved(more.clone()).unwrap_err();
        let at_path = problems.iter().find(|problem| problem.path == path);
        let problem = at_path.unwrap_or_else(|| panic!("{more}: {problems:?}"));
        assert!(problem.cause.contains(cause), "{more}: {}", problem.cause);
        assert!(problem.hint.as_deref().unwrap_or_default().contains(hint), "{more}: {:?}", problem.hint);
        let allowed = if more.get("configs").is_some() { 4 } else { 1 };
        assert!(problems.len() <= allowed, "{more}: more than what is wrong: {problems:?}");
    }
}

#[test]
fn all_mistakes_are_found_at_once_and_none_follows_from_another() {
    let problems = resolved(json!({
        "nmae": "x", "parallelism": -1, "schemaType": "JSON", "topicName": null, "configs.awsKinesisStream": "orders", "configs.awsRegion": 5.5,
        "configs.startAtTime": "tomorrow", "configs.useEnhancedFanOut": "maybe", "configs.kinesisRecordProperties": "red,blue",
        "configs.awsCredentialPluginParam": "{}"
    }))
    .unwrap_err();
    let mut paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "configs.awsCredentialPluginParam.accessKey",
            "configs.awsCredentialPluginParam.secretKey",
            "configs.awsKinesisStream",
            "configs.awsRegion",
            "configs.kinesisRecordProperties",
            "configs.kinesisRecordProperties",
            "configs.startAtTime",
            "configs.useEnhancedFanOut",
            "nmae",
            "parallelism",
            "schemaProperties.schema",
            "topicName",
        ]
    );
}

#[test]
fn the_connector_is_named_in_any_of_the_ways_of_pulsar() {
    let class = "org.apache.pulsar.io.kinesis.KinesisSource";
    for more in [
        json!({"archive": "builtin://kinesis"}),
        json!({"archive": "kinesis"}),
        json!({"archive": null, "sourceType": "kinesis"}),
        json!({"archive": null, "className": class}),
        json!({"archive": "builtin://kinesis", "sourceType": "kinesis", "className": class}),
    ] {
        let spec = resolved(more.clone()).unwrap();
        assert_eq!(spec.connector.name, "kinesis", "{more}");
        assert!(spec.notes.is_empty(), "{more}");
    }
    let spec = resolved(json!({"archive": "connectors/pulsar-io-kinesis.nar", "className": class})).unwrap();
    assert!(spec.notes[0].contains("`archive` is not loaded"), "{:?}", spec.notes);
}

#[test]
fn what_means_nothing_is_taken_and_named_once() {
    let spec = resolved(json!({
        "resources": { "cpu": 1.0, "ram": 1_073_741_824 }, "runtimeFlags": "-Xmx1g", "customRuntimeOptions": "{}",
        "producerConfig": { "useThreadLocalProducers": true }, "configs.startAtTime": 0
    }))
    .unwrap();
    for key in ["resources", "runtimeFlags", "customRuntimeOptions", "useThreadLocalProducers", "startAtTime"] {
        assert_eq!(spec.notes.iter().filter(|note| note.contains(key)).count(), 1, "{key}: {:?}", spec.notes);
    }
}

#[test]
fn references_to_the_environment_are_filled_in_wherever_they_stand() {
    let environment = |name: &str| (name == "STREAM").then(|| "orders-7".to_owned());
    for provider in [SecretsProvider::Unnamed, SecretsProvider::Environment] {
        let spec = resolved_in(provider, &environment, json!({"configs.awsKinesisStreamName": "${STREAM}"}));
        assert!(spec.is_ok(), "{provider:?}");
        let problems = resolved_in(provider, &environment, json!({"configs.awsKinesisStreamName": "${STREEM}"})).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].path, "configs.awsKinesisStreamName");
        assert_eq!(problems[0].cause, "the environment variable `STREEM` is not set");
    }
    // Pulsar IO's clear-text provider leaves such a text as it is; it is no stream's name then.
    let problems = resolved_in(SecretsProvider::ClearText, &environment, json!({"configs.awsKinesisStreamName": "${STREAM}"})).unwrap_err();
    assert!(problems[0].cause.contains("`${STREAM}` is not a stream's name"));
}

#[test]
fn only_a_whole_text_is_a_reference() {
    let environment = |_: &str| Some("filled".to_owned());
    let connectors = connectors();
    let surroundings = Surroundings { connectors: &connectors, secrets: SecretsProvider::Environment, environment: &environment };
    let document = with(json!({"configs.applicationName": "${NAME}", "configs.workerIdentifier": "a-${NAME}"}));
    let (_, configs) = resolve_configs(document, surroundings).unwrap();
    assert_eq!(configs["applicationName"], "filled");
    assert_eq!(configs["workerIdentifier"], "a-${NAME}");
}

#[test]
fn secrets_come_from_their_provider_and_win_over_configs() {
    let environment = |name: &str| (name == "awsCredentialPluginParam").then(|| KEYS.to_owned());
    let broken = json!({"configs.awsCredentialPluginParam": "broken"});
    assert!(resolved(broken.clone()).is_err());
    let mut clear = broken.clone();
    clear["secrets"] = json!({ "awsCredentialPluginParam": KEYS });
    assert!(resolved(clear.clone()).is_ok());
    assert!(resolved_in(SecretsProvider::ClearText, &|_| None, clear.clone()).is_ok());

    let mut kubernetes = broken;
    kubernetes["secrets"] = json!({ "awsCredentialPluginParam": { "path": "aws", "key": "keys" } });
    assert!(resolved_in(SecretsProvider::Environment, &environment, kubernetes.clone()).is_ok());
    let problems = resolved_in(SecretsProvider::Environment, &|_| None, kubernetes.clone()).unwrap_err();
    assert_eq!(problems[0].path, "secrets.awsCredentialPluginParam");
    assert!(problems[0].cause.contains("environment variable `awsCredentialPluginParam` is not set"));
    let problems = resolved(kubernetes).unwrap_err();
    assert!(problems.iter().any(|problem| problem.path == "secrets.awsCredentialPluginParam" && problem.cause.contains("takes a text")));
}

#[test]
fn a_secret_that_nobody_asks_for_is_named() {
    let spec = resolved(json!({"secrets": {"password": "x"}})).unwrap();
    assert!(spec.notes[0].contains("`secrets.password` means nothing here"), "{:?}", spec.notes);
}

#[test]
fn secrets_providers_are_known_with_and_without_their_package() {
    let full = "org.apache.pulsar.functions.secretsprovider.EnvironmentBasedSecretsProvider";
    assert_eq!(SecretsProvider::named("p", full), Ok(SecretsProvider::Environment));
    assert_eq!(SecretsProvider::named("p", "ClearTextSecretsProvider"), Ok(SecretsProvider::ClearText));
    assert_eq!(SecretsProvider::named("p", ""), Ok(SecretsProvider::Unnamed));
    let problem = SecretsProvider::named("--flag", "EnvironmentSecretsProvider").unwrap_err();
    assert_eq!(problem.path, "--flag");
    assert!(problem.hint.unwrap().contains("did you mean"));
}

#[test]
fn a_secret_stands_in_no_problem_and_no_print() {
    let problems = resolved(json!({
        "configs.awsCredentialPluginParam": "{\"accessKey\":\"AKIAEXAMPLE\",\"secretKey\":", "configs.awsRegion": null
    }))
    .unwrap_err();
    assert!(problems.iter().all(|problem| !problem.to_string().contains("AKIAEXAMPLE")), "{problems:?}");
    assert!(!format!("{:?}", resolved(json!({})).unwrap()).contains("AKIAEXAMPLE"));
}
