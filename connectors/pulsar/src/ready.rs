//! The publisher as the engine opens it: configuration that was checked, opened again and again.

use crate::config::{ClientConfig, ProducerConfig};
use crate::publisher::{ExactlyOnce, Publisher, PublisherSettings};
use crate::schema::SchemaConfig;
use crate::topic::TopicName;
use connector_sdk::{DynSink, Error, Guarantee, ReadySink, SinkContext};
use futures_util::future::BoxFuture;

/// A topic to publish to, and how.
#[derive(Debug, Clone)]
pub struct PublisherFactory {
    /// The cluster and how to reach it.
    pub client: ClientConfig,
    /// Where the records go.
    pub topic: TopicName,
    /// The `producerConfig` of the source, where there is one.
    pub producer: Option<ProducerConfig>,
    /// The source's `schemaType` and `schemaProperties`.
    pub schema: SchemaConfig,
    /// Bytes on their way to the broker, at most.
    pub max_pending_bytes: usize,
}

impl ReadySink for PublisherFactory {
    fn connect(&self, context: SinkContext) -> BoxFuture<'_, Result<Box<dyn DynSink>, Error>> {
        Box::pin(async move {
            let publisher = Publisher::connect(PublisherSettings {
                client: self.client.clone(),
                topic: self.topic.to_string(),
                producer: self.producer.clone(),
                schema: self.schema.clone(),
                guarantee: context.guarantee,
                exactly_once: (context.guarantee == Guarantee::EffectivelyOnce)
                    .then(|| ExactlyOnce { lineages: context.lineages, accept_duplicates: context.accept_duplicates }),
                on_record_error: context.on_record_error,
                dead_letter_topic: context.dead_letter_topic,
                max_pending_bytes: self.max_pending_bytes,
                identity: context.identity,
                clock: context.clock,
                random: context.random,
            })
            .await?;
            Ok(Box::new(publisher) as Box<dyn DynSink>)
        })
    }

    fn destination(&self) -> String {
        format!("`{}` at {}", self.topic, self.client.service_url)
    }
}
