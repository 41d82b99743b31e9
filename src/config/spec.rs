//! What a configuration comes to once everything in it was checked: all that the engine needs to run instances, and nothing it
//! would have to check again. An [`InstanceSpec`] cannot be made from a configuration with a problem in it.

use bytestring::ByteString;
use connector_pulsar::topic::TopicName;
use connector_pulsar::{ClientConfig, ProducerConfig, SchemaConfig};
use connector_sdk::{ConnectorInfo, Guarantee, Identity, ReadySource, SourceSettings};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// One connector, ready to run: what all its instances share.
#[derive(Clone)]
pub struct InstanceSpec {
    /// Pulsar tenant.
    pub tenant: ByteString,
    /// Pulsar namespace, without the tenant.
    pub namespace: ByteString,
    /// The connector's name.
    pub name: ByteString,
    /// How many instances run.
    pub parallelism: NonZeroU32,
    /// Where the records go.
    pub topic: TopicName,
    /// What is promised about each record.
    pub guarantee: Guarantee,
    /// Which connector it is.
    pub connector: ConnectorInfo,
    /// The connector's checked configuration, from which any number of instances are opened.
    pub source: Arc<dyn ReadySource>,
    /// What the engine has to know of the source; `dead_letter_topic` is set exactly when dead letters were asked for.
    pub settings: SourceSettings,
    /// Where dead letters go, as a full name.
    pub dead_letter_topic: Option<TopicName>,
    /// How messages are produced.
    pub producer: ProducerConfig,
    /// What the payloads are.
    pub schema: SchemaConfig,
    /// Sentences to log once, at the start: what was taken and means nothing here, what was chosen for the user.
    pub notes: Vec<String>,
}

impl InstanceSpec {
    /// Who instance number `instance` (from 0) is.
    pub fn identity(&self, instance: u32) -> Identity {
        Identity {
            tenant: self.tenant.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            instance,
            instances: self.parallelism.get(),
        }
    }
}

impl InstanceSpec {
    /// What this configuration guarantees, and on what conditions, in sentences for a person.
    pub fn promise(&self) -> Vec<String> {
        super::promise::sentences(self.guarantee, &self.topic, &self.settings, self.dead_letter_topic.as_ref())
    }
}

impl fmt::Debug for InstanceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceSpec({}/{}/{}, {} to {})", self.tenant, self.namespace, self.name, self.connector.name, self.topic)
    }
}

/// How `sources localrun` runs a connector in this process.
#[derive(Debug, Clone)]
pub struct LocalRunOptions {
    /// The Pulsar cluster.
    pub broker: ClientConfig,
    /// Port of the metrics page; none is served without it.
    pub metrics_port_start: Option<u16>,
    /// How long a stop may take before what is left is given up and counted.
    pub stop_timeout: Duration,
    /// Whether the first failure ends the run instead of being retried.
    pub exit_on_error: bool,
    /// Whether a person watches: one line a second on the terminal.
    pub terminal: bool,
}
