#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::MessageKeyMode;
use serde_json::{Value, json};
use std::time::Duration;

const KEYS: &str = r#"{"accessKey":"AKIAEXAMPLE","secretKey":"test"}"#;

/// What is enough to run, with `more` on top; null takes a key away.
fn settings(more: Value) -> Result<Settings, Vec<Problem>> {
    let mut configs = json!({ "awsKinesisStreamName": "orders", "awsRegion": "eu-west-1", "awsCredentialPluginParam": KEYS });
    for (key, value) in more.as_object().unwrap() {
        match value {
            Value::Null => configs.as_object_mut().unwrap().remove(key),
            value => configs.as_object_mut().unwrap().insert(key.clone(), value.clone()),
        };
    }
    serde_json::from_value::<KinesisSourceConfig>(configs).unwrap().into_settings()
}

#[test]
fn what_is_not_written_has_the_defaults_of_the_java_connector_and_the_kcl() {
    let settings = settings(json!({})).unwrap();
    assert_eq!(settings.application, Application { name: "pulsar-kinesis-orders".into(), is_default: true });
    assert_eq!(settings.initial_position, InitialPosition::Latest);
    assert_eq!(settings.checkpoint_interval, Duration::from_secs(60));
    assert_eq!(settings.backoff_time, Duration::from_secs(3));
    assert_eq!(settings.num_retries, 3);
    assert_eq!(settings.receive_queue_size, 1_000);
    assert_eq!(settings.receive_queue_bytes, 64 << 20);
    assert!(settings.retrieval.enhanced_fan_out);
    assert_eq!(settings.retrieval.consumer_name, "pulsar-kinesis-orders");
    assert_eq!(settings.retrieval.max_records, 10_000);
    let names: Vec<&str> = settings.properties.iter().map(|property| property.name()).collect();
    assert_eq!(names, ["kinesis.arrival.timestamp", "kinesis.encryption.type", "kinesis.partition.key", "kinesis.sequence.number"]);
    assert_eq!(settings.key_mode, MessageKeyMode::PartitionKey);
    assert_eq!(settings.leases.table_name, "pulsar-kinesis-orders");
    assert_eq!(settings.leases.failover_time, Duration::from_secs(10));
    assert_eq!(settings.leases.max_leases_to_steal_at_one_time, 1);
    assert!(settings.leases.cleanup_leases_upon_shard_completion);
    assert!(!settings.leases.consistent_reads);
    assert_eq!(settings.leases.billing_mode, BillingMode::PayPerRequest);
    assert_eq!(settings.metrics.level, MetricsLevel::Summary);
    assert_eq!(settings.on_record_error, OnRecordError::Fail);
    assert!(settings.notes.is_empty());
}

#[test]
fn each_mistake_is_named_with_its_key() {
    let long = "a".repeat(129);
    for (more, path, cause) in [
        (json!({"awsKinesisStreamName": null}), "awsKinesisStreamName", "is missing"),
        (json!({"awsKinesisStreamName": "  "}), "awsKinesisStreamName", "is missing"),
        (json!({"awsKinesisStreamName": "or/ders"}), "awsKinesisStreamName", "is not a stream's name"),
        (json!({"awsRegion": ""}), "awsRegion", "neither a region is given nor all of"),
        (json!({"awsRegion": null, "awsEndpoint": "http://localhost:1"}), "awsRegion", "neither a region is given nor all of"),
        (json!({"awsRegion": "Ireland"}), "awsRegion", "is not a region"),
        (json!({"awsEndpoint": "localhost:4566"}), "awsEndpoint", "scheme"),
        (json!({"dynamoEndpoint": "localhost"}), "dynamoEndpoint", "scheme"),
        (json!({"cloudwatchEndpoint": "ftp://localhost"}), "cloudwatchEndpoint", "scheme"),
        (json!({"initialPositionInStream": "AT_TIMESTAMP"}), "startAtTime", "no time is given"),
        (json!({"initialPositionInStream": "AT_TIMESTAMP", "startAtTime": " "}), "startAtTime", "no time is given"),
        (json!({"initialPositionInStream": "AT_TIMESTAMP", "startAtTime": "yesterday"}), "startAtTime", "`yesterday` is not a time"),
        (json!({"awsCredentialPluginParam": null}), "awsCredentialPluginParam", "is missing"),
        (json!({"awsCredentialPluginName": "com.example.Keys"}), "awsCredentialPluginName", "no credential plugin"),
        (json!({"applicationName": "Apache Pulsar IO Connector"}), "applicationName", "fan-out consumer"),
        (json!({"applicationName": long}), "applicationName", "fan-out consumer"),
        (json!({"applicationName": "ab", "consumerName": "abc"}), "applicationName", "DynamoDB table"),
        (json!({"leaseTableName": "a b c"}), "leaseTableName", "DynamoDB table"),
        (json!({"consumerName": "a b"}), "consumerName", "fan-out consumer"),
        (json!({"consumerArn": "orders"}), "consumerArn", "is not the ARN"),
        (json!({"streamArn": "arn:aws:sqs:eu-west-1:123456789012:orders"}), "streamArn", "is not the ARN"),
        (json!({"streamArn": "arn:aws:kinesis:eu-west-1:123456789012:stream/other"}), "awsKinesisStreamName", "is not the stream of"),
        (json!({"streamArn": "arn:aws:kinesis:us-east-1:123456789012:stream/orders"}), "awsRegion", "is not the region of"),
        (json!({"kinesisRecordProperties": "kinesis.shard.id, kinesis.shard"}), "kinesisRecordProperties", "`kinesis.shard` is not"),
        (json!({"onRecordError": "dead-letter"}), "deadLetterTopic", "no topic is given"),
        (json!({"deadLetterTopic": "dead"}), "deadLetterTopic", "does not send anything there"),
    ] {
        let problems = settings(more.clone()).unwrap_err();
        assert_eq!(problems.len(), 1, "{more}: {problems:?}");
        assert_eq!(problems[0].path, path, "{more}");
        assert!(problems[0].cause.contains(cause), "{more}: {}", problems[0].cause);
        assert!(problems[0].hint.is_some(), "{more}: no hint");
    }
}

#[test]
fn all_mistakes_are_found_at_once() {
    let problems = settings(json!({
        "awsKinesisStreamName": "", "awsRegion": null, "initialPositionInStream": "AT_TIMESTAMP", "awsCredentialPluginParam": "keys",
        "kinesisRecordProperties": "colour", "onRecordError": "dead-letter", "consumerArn": "x"
    }))
    .unwrap_err();
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    for path in [
        "awsKinesisStreamName",
        "awsRegion",
        "startAtTime",
        "awsCredentialPluginParam",
        "kinesisRecordProperties",
        "deadLetterTopic",
        "consumerArn",
    ] {
        assert!(paths.contains(&path), "{path} is not in {paths:?}");
    }
}

#[test]
fn three_endpoints_stand_for_a_region_and_two_do_without_cloudwatch() {
    let endpoints = json!({
        "awsRegion": null, "awsEndpoint": "http://localhost:1", "dynamoEndpoint": "http://localhost:2", "cloudwatchEndpoint": "http://localhost:3"
    });
    let found = settings(endpoints).unwrap().endpoints;
    assert_eq!((found.region, found.kinesis.as_deref()), (None, Some("http://localhost:1")));
    let two = json!({ "awsRegion": null, "awsEndpoint": "http://localhost:1", "dynamoEndpoint": "http://localhost:2" });
    let problems = settings(two.clone()).unwrap_err();
    assert!(problems[0].hint.as_deref().unwrap().contains("`cloudwatchEndpoint`"));
    let mut quiet = two;
    quiet["metricsLevel"] = json!("NONE");
    assert!(settings(quiet).is_ok());
}

#[test]
fn the_streams_arn_gives_name_and_region() {
    let arn = "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/orders.eu";
    let found = settings(json!({ "awsKinesisStreamName": null, "awsRegion": null, "streamArn": arn })).unwrap();
    assert_eq!(found.stream, "orders.eu");
    assert_eq!(found.endpoints.region.as_deref(), Some("cn-north-1"));
    assert_eq!(found.stream_arn.as_deref(), Some(arn));
}

#[test]
fn a_default_application_name_never_outgrows_a_consumers_name() {
    assert_eq!(default_application_name("orders"), "pulsar-kinesis-orders");
    let fits = "s".repeat(NAME_LIMIT - DEFAULT_APPLICATION_PREFIX.len());
    assert_eq!(default_application_name(&fits), format!("{DEFAULT_APPLICATION_PREFIX}{fits}"));
    let (one, other) = (format!("{}1", "s".repeat(127)), format!("{}2", "s".repeat(127)));
    let (mine, theirs) = (default_application_name(&one), default_application_name(&other));
    assert_eq!((mine.len(), theirs.len()), (NAME_LIMIT, NAME_LIMIT));
    assert_ne!(mine, theirs, "streams whose names begin alike must not share a table");
    assert!(mine.starts_with(DEFAULT_APPLICATION_PREFIX) && mine.bytes().all(is_name_byte));
}

#[test]
fn a_configured_application_name_is_a_choice_even_where_it_is_the_java_default() {
    let found = settings(json!({ "applicationName": "pulsar-kinesis" })).unwrap();
    assert_eq!(found.application, Application { name: "pulsar-kinesis".into(), is_default: false });
    assert_eq!(found.leases.table_name, "pulsar-kinesis");
}

#[test]
fn properties_are_trimmed_and_taken_once_and_blank_means_none() {
    let found = settings(json!({ "kinesisRecordProperties": " kinesis.shard.id,, kinesis.partition.key ,kinesis.shard.id" })).unwrap();
    assert_eq!(found.properties, [RecordProperty::ShardId, RecordProperty::PartitionKey]);
    assert!(settings(json!({ "kinesisRecordProperties": "" })).unwrap().properties.is_empty());
}

#[test]
fn numbers_switches_and_dates_may_be_strings() {
    let found = settings(json!({
        "checkpointInterval": "5000", "useEnhancedFanOut": "false", "initialPositionInStream": "AT_TIMESTAMP", "startAtTime": 1_769_860_800_000_u64
    }))
    .unwrap();
    assert_eq!(found.checkpoint_interval, Duration::from_secs(5));
    assert!(!found.retrieval.enhanced_fan_out);
    assert_eq!(found.initial_position, InitialPosition::AtTimestamp(1_769_860_800_000));
}

#[test]
fn what_means_nothing_beside_the_other_keys_is_said() {
    let found = settings(json!({ "startAtTime": "2026-01-31T12:00:00Z", "maxRecords": 10, "initialLeaseTableReadCapacity": 5 })).unwrap();
    for key in ["startAtTime", "maxRecords", "initialLeaseTableReadCapacity"] {
        assert!(found.notes.iter().any(|note| note.contains(key)), "{key}: {:?}", found.notes);
    }
}

#[test]
fn a_secret_is_never_printed() {
    let config: KinesisSourceConfig = serde_json::from_value(json!({ "awsCredentialPluginParam": KEYS })).unwrap();
    assert!(!format!("{config:?}").contains("AKIAEXAMPLE"));
    assert!(!format!("{:?}", settings(json!({})).unwrap()).contains("AKIAEXAMPLE"));
}
