//! The plain list of connectors in this binary, one line each, and what only one of them can do. Nothing else in the runtime names
//! a connector.

use crate::config::InstanceSpec;
use connector_kinesis::config::KinesisSourceConfig;
pub use connector_kinesis::lease::{LeaseListing, LeaseView, OurView};
use connector_pulsar::{ClientConfig, PublisherFactory};
use connector_sdk::{Connector, Error, ReadySink};
use serde_json::Value;
use std::sync::Arc;

/// All connectors.
pub fn connectors() -> Vec<Arc<dyn Connector>> {
    vec![Arc::new(connector_kinesis::KinesisSourceFactory)]
}

/// The Pulsar end of a source. It never holds more than the source may have on its way.
pub fn publisher(spec: &InstanceSpec, client: ClientConfig) -> Arc<dyn ReadySink> {
    Arc::new(PublisherFactory {
        client,
        topic: spec.topic.clone(),
        producer: Some(spec.producer.clone()),
        schema: spec.schema.clone(),
        max_pending_bytes: usize::try_from(spec.settings.receive_queue_bytes).unwrap_or(usize::MAX),
    })
}

/// The connector that keeps leases.
pub const WITH_LEASES: &str = "kinesis";

/// The leases of the source with these `configs`. Reads only.
///
/// # Errors
/// A configuration that is no such source's, and what DynamoDB answers.
pub async fn leases(configs: Value) -> Result<LeaseListing, Error> {
    let config: KinesisSourceConfig = serde_json::from_value(configs).map_err(|error| Error::configuration(error.to_string()))?;
    let settings = config.into_settings().map_err(|problems| {
        let sentences: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Error::configuration(sentences.join("; "))
    })?;
    connector_kinesis::leases(&settings).await
}
