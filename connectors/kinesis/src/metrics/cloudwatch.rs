//! The sink behind which CloudWatch is: PutMetricData, one call per batch, no retries of its own.

use std::time::Duration;

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{Dimension as AwsDimension, MetricDatum, StandardUnit, StatisticSet};
use aws_smithy_types::DateTime;
use connector_aws::{AwsContext, Call, Endpoint, Pool, ServiceSettings};
use connector_sdk::Error;
use futures_util::future::BoxFuture;

use super::datum::Datum;
use super::flusher::MetricsSink;
use super::names::Unit;

/// Longest duration of one call; the KCL's.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Puts datums into one namespace.
#[derive(Debug, Clone)]
pub struct CloudWatchSink {
    client: Client,
    namespace: String,
    region: String,
}

impl CloudWatchSink {
    /// A sink for the namespace, which is the application's name; `endpoint` is `cloudwatchEndpoint` where it was given.
    pub fn new(context: &AwsContext, endpoint: Option<Endpoint>, namespace: impl Into<String>) -> Self {
        let settings = ServiceSettings {
            endpoint,
            max_attempts: 1,
            attempt_timeout: Some(CALL_TIMEOUT),
            operation_timeout: Some(CALL_TIMEOUT),
            pool: Pool::Shared,
        };
        let client = Client::new(&context.service(&settings));
        Self { client, namespace: namespace.into(), region: context.region().to_owned() }
    }

    async fn put_batch(&self, datums: &[Datum]) -> Result<(), Error> {
        let data = datums.iter().map(encode).collect();
        let answer = self.client.put_metric_data().namespace(&self.namespace).set_metric_data(Some(data)).send().await;
        match answer {
            Ok(_) => Ok(()),
            Err(error) => Err(Call::new("cloudwatch:PutMetricData", "namespace", &self.namespace, &self.region).failed(&error)),
        }
    }
}

impl MetricsSink for CloudWatchSink {
    fn put<'a>(&'a self, datums: &'a [Datum]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.put_batch(datums))
    }

    fn name(&self) -> &str {
        &self.namespace
    }
}

fn encode(datum: &Datum) -> MetricDatum {
    let unit = match datum.metric.unit() {
        Unit::Count => StandardUnit::Count,
        Unit::Bytes => StandardUnit::Bytes,
        Unit::Milliseconds => StandardUnit::Milliseconds,
    };
    let values = datum.statistic;
    let statistic =
        StatisticSet::builder().sample_count(values.count).sum(values.sum).minimum(values.minimum).maximum(values.maximum).build();
    let dimension = |name: &str, value: &str| AwsDimension::builder().name(name).value(value).build();
    let mut dimensions = vec![dimension("Operation", datum.operation().name())];
    dimensions.extend(datum.dimension.pair().map(|(name, value)| dimension(name, value)));
    MetricDatum::builder()
        .metric_name(datum.metric.name())
        .set_dimensions(Some(dimensions))
        .timestamp(DateTime::from_millis(i64::try_from(datum.at).unwrap_or(i64::MAX)))
        .statistic_values(statistic)
        .unit(unit)
        .build()
}

#[cfg(test)]
#[path = "cloudwatch_tests.rs"]
mod tests;
