//! A namespace of a test's own, with a policy of its own: above all, whether its broker keeps the numbers of producers.

use serde_json::json;

use super::broker::Broker;
use super::topic::Topic;

/// `public/NAME`, where everything is kept for ever.
#[derive(Clone)]
pub(crate) struct Namespace {
    pub(crate) broker: &'static Broker,
    /// `public/NAME`.
    pub(crate) name: String,
}

impl Namespace {
    /// One whose broker keeps the numbers of producers.
    pub(crate) async fn with_deduplication(broker: &'static Broker) -> Self {
        let namespace = Self::without_deduplication(broker).await;
        namespace.deduplication(true).await;
        namespace
    }

    /// One whose broker keeps no numbers.
    pub(crate) async fn without_deduplication(broker: &'static Broker) -> Self {
        let namespace = Self { broker, name: format!("public/{}", super::unique("once")) };
        broker.administer("PUT", &format!("namespaces/{}", namespace.name), "{\"bundles\":{\"numBundles\":1}}").await;
        namespace.policy("POST", "retention", &json!({ "retentionTimeInMinutes": -1, "retentionSizeInMB": -1 }).to_string()).await;
        namespace
    }

    /// Switches deduplication; it takes a moment to come into force.
    pub(crate) async fn deduplication(&self, on: bool) {
        self.policy("POST", "deduplication", if on { "true" } else { "false" }).await;
    }

    /// One call on a policy of the namespace.
    pub(crate) async fn policy(&self, method: &str, policy: &str, body: &str) {
        self.broker.administer(method, &format!("namespaces/{}/{policy}", self.name), body).await;
    }

    /// A topic nobody has used, without partitions.
    pub(crate) fn topic(&self, label: &str) -> Topic {
        Topic { broker: self.broker, name: format!("persistent://{}/{}", self.name, super::unique(label)), partitions: 0, token: None }
    }

    /// A new topic with `partitions` partitions.
    pub(crate) async fn partitioned(&self, label: &str, partitions: u32) -> Topic {
        let topic = Topic { partitions, ..self.topic(label) };
        self.broker.administer("PUT", &format!("{}/partitions", topic.path()), &partitions.to_string()).await;
        topic
    }
}
