#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::sync::Arc;

use connector_aws::{AwsSettings, CredentialsConfig};
use connector_sdk::ErrorKind;
use local_aws::{AccessRules, Denied, LocalAws, Options, Service};

use super::*;
use crate::config::MetricsLevel;
use crate::ids::ShardId;
use crate::metrics::datum::Dimension;
use crate::metrics::names::Metric;
use crate::metrics::statistic::Statistic;
use crate::metrics::{Facts, FlushSettings, Flusher};

async fn sink(url: &str) -> CloudWatchSink {
    let keys = r#"{"accessKey":"AKIAEXAMPLE","secretKey":"s3cret"}"#.to_owned();
    let config = CredentialsConfig { plugin_name: None, plugin_param: Some(keys.into()) };
    let context = config.validate().unwrap().connect(&AwsSettings::default()).await.unwrap();
    CloudWatchSink::new(&context, Some(Endpoint::parse("cloudwatchEndpoint", url).unwrap()), "orders-app")
}

fn datum(metric: Metric, dimension: Dimension) -> Datum {
    let statistic = Statistic { count: 2.0, sum: 10.0, minimum: 3.0, maximum: 7.0 };
    Datum { metric, dimension, statistic, at: 1_800_000_000_123 }
}

#[test]
fn a_datum_is_encoded_as_the_kcl_names_it() {
    let encoded = encode(&datum(Metric::GetRecordsTime, Dimension::Shard("shardId-000000000003".into())));
    assert_eq!(encoded.metric_name(), Some("KinesisDataFetcher.getRecords.Time"));
    assert_eq!(encoded.unit(), Some(&StandardUnit::Milliseconds));
    assert_eq!(encoded.value(), None);
    assert_eq!(encoded.timestamp().unwrap().to_millis().unwrap(), 1_800_000_000_123);
    let set = encoded.statistic_values().unwrap();
    let values = (set.sample_count(), set.sum(), set.minimum(), set.maximum());
    assert_eq!(values, (Some(2.0), Some(10.0), Some(3.0), Some(7.0)));
    let dimensions: Vec<_> = encoded.dimensions().iter().map(|d| (d.name().unwrap(), d.value().unwrap())).collect();
    assert_eq!(dimensions, [("Operation", "ProcessTask"), ("ShardId", "shardId-000000000003")]);

    let tracker = encode(&datum(Metric::TrackerMillisBehindLatest, Dimension::Application));
    assert_eq!(tracker.dimensions().len(), 1);
    assert_eq!(tracker.dimensions()[0].value(), Some("ApplicationTracker"));
}

#[tokio::test]
async fn a_cloudwatch_that_is_away_is_named_with_its_action_and_namespace() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let sink = sink(&url).await;
    let error = sink.put(&[datum(Metric::RecordsProcessed, Dimension::Application)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    let said = error.message();
    assert!(said.starts_with("`cloudwatch:PutMetricData` on namespace `orders-app` in `us-east-1` could not be sent"), "{said}");
}

/// Facts of many shards at DETAILED, put over the wire by the flusher's last flush, and what the stand-in decoded of them.
#[tokio::test]
async fn what_is_measured_arrives_in_the_namespace_over_the_wire() {
    let local = LocalAws::start(Options::default()).await.unwrap();
    let facts = Facts::new(MetricsLevel::Detailed, "tenant/ns/orders/0/host-x");
    for number in 0..400 {
        let shard = facts.shard(&ShardId::from(format!("shardId-{number:012}")));
        shard.processed(10, 1_000, 250);
        shard.processed(2, 50, 0);
        shard.get_records(Duration::from_millis(5), number % 2 == 0);
    }
    facts.renewed_leases(400, 3, Duration::from_millis(40), true);
    let expected = 400 * 5 + 1 + 4;
    let settings = FlushSettings { buffer_time: Duration::from_secs(3_600), max_queue_size: 10_000 };
    let sink = Arc::new(sink(local.url()).await);
    let clock = connector_sdk::Clock::from_fn(|| 1_800_000_000_000);
    let flusher = Flusher::start(facts, sink, settings, clock);
    flusher.stop(tokio::time::Instant::now() + Duration::from_secs(30)).await;

    let arrived = local.metrics();
    assert_eq!(arrived.len(), expected);
    assert!(arrived.iter().all(|datum| datum.namespace == "orders-app" && datum.access_key_id == "AKIAEXAMPLE"));
    let dimensions = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let of = |operation: &str, name: &str, beside: Option<(&str, &str)>| {
        let mut pairs = vec![("Operation", operation)];
        pairs.extend(beside);
        let dimensions: BTreeMap<String, String> = dimensions(&pairs);
        let found: Vec<_> = arrived.iter().filter(|datum| datum.name == name && datum.dimensions == dimensions).collect();
        assert_eq!(found.len(), 1, "{operation} {name}");
        let set = found[0].statistics.unwrap();
        (found[0].unit.clone().unwrap(), [set.sample_count, set.sum, set.minimum, set.maximum])
    };
    let shard = Some(("ShardId", "shardId-000000000007"));
    let worker = Some(("WorkerIdentifier", "tenant/ns/orders/0/host-x"));
    assert_eq!(of("ProcessTask", "RecordsProcessed", shard), ("Count".to_owned(), [2.0, 12.0, 2.0, 10.0]));
    assert_eq!(of("ProcessTask", "DataBytesProcessed", shard), ("Bytes".to_owned(), [2.0, 1_050.0, 50.0, 1_000.0]));
    assert_eq!(of("ProcessTask", "MillisBehindLatest", shard), ("Milliseconds".to_owned(), [2.0, 250.0, 0.0, 250.0]));
    let failed = of("ProcessTask", "KinesisDataFetcher.getRecords.Success", shard);
    assert_eq!(failed, ("Count".to_owned(), [1.0, 0.0, 0.0, 0.0]));
    let tracker = of("ApplicationTracker", "MillisBehindLatest", None);
    assert_eq!(tracker, ("Milliseconds".to_owned(), [800.0, 100_000.0, 0.0, 250.0]));
    assert_eq!(of("RenewAllLeases", "LostLeases", worker), ("Count".to_owned(), [1.0, 3.0, 3.0, 3.0]));
    local.shutdown().await;
}

#[tokio::test]
async fn a_cloudwatch_that_forbids_is_said_with_the_permission() {
    let local = LocalAws::start(Options::default()).await.unwrap();
    let denied = vec![Denied { service: Service::CloudWatch, operation: None }];
    local.set_access(AccessRules { denied, ..AccessRules::default() });
    let error = sink(local.url()).await.put(&[datum(Metric::RecordsProcessed, Dimension::Application)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(error.hint().unwrap().contains("allow the action `cloudwatch:PutMetricData`"), "{error}");
    local.shutdown().await;
}
