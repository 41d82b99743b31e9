#![allow(clippy::unwrap_used)]
use connector_aws::{AwsSettings, CredentialsConfig};
use connector_sdk::ErrorKind;

use super::*;
use crate::metrics::datum::Dimension;
use crate::metrics::names::Metric;
use crate::metrics::statistic::Statistic;

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
    let keys = r#"{"accessKey":"AKIAEXAMPLE","secretKey":"s3cret"}"#.to_owned();
    let config = CredentialsConfig { plugin_name: None, plugin_param: Some(keys.into()) };
    let context = config.validate().unwrap().connect(&AwsSettings::default()).await.unwrap();
    let endpoint = Endpoint::parse("cloudwatchEndpoint", &url).unwrap();
    let sink = CloudWatchSink::new(&context, Some(endpoint), "orders-app");
    let error = sink.put(&[datum(Metric::RecordsProcessed, Dimension::Application)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    let said = error.message();
    assert!(said.starts_with("`cloudwatch:PutMetricData` on namespace `orders-app` in `us-east-1` could not be sent"), "{said}");
}
