//! A source as Pulsar IO's users write it. The comments are the schema's descriptions.
//!
//! Everything of upstream's form is known here; what is not built is refused by name in [`super::not_built`], never ignored.

use connector_pulsar::ProducerConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Pulsar IO's SourceConfig.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SourceConfig {
    /// Pulsar tenant. Default: `public`.
    pub tenant: Option<String>,
    /// Pulsar namespace, without the tenant. Default: `default`.
    pub namespace: Option<String>,
    /// The connector's name.
    pub name: Option<String>,
    /// The connector's class, such as `org.apache.pulsar.io.kinesis.KinesisSource`; it can stand in for `archive`.
    pub class_name: Option<String>,
    /// Where the records go: `topic`, `tenant/namespace/topic` or `persistent://tenant/namespace/topic`.
    pub topic_name: Option<String>,
    /// How messages are produced.
    pub producer_config: Option<ProducerConfig>,
    /// Payloads are published as they are: must be absent.
    pub serde_class_name: Option<String>,
    /// What the payloads are, declared at the broker: `bytes` (also when absent), `string`, `json`, `avro`, or `auto_produce` for the
    /// schema that the topic has. Payloads are published as they are.
    pub schema_type: Option<String>,
    /// Of the schema: `schema` (the definition, in Avro's JSON) or `schemaFile` (a file with it); `validate`: `true` to hold payloads
    /// against it; any others are declared with the schema.
    pub schema_properties: Option<BTreeMap<String, String>>,
    /// The connector's own configuration.
    pub configs: Option<Map<String, Value>>,
    /// Secrets by name, in the form of the secrets provider.
    pub secrets: Option<Map<String, Value>>,
    /// How many instances run. Default: 1.
    #[schemars(range(min = 1, max = 1000))]
    pub parallelism: Option<u32>,
    /// What is promised about each record. Default: `ATLEAST_ONCE`.
    pub processing_guarantees: Option<ProcessingGuarantees>,
    /// What the instance asks of a scheduler; it means nothing in this process.
    pub resources: Option<Resources>,
    /// The connector's short name, such as `kinesis`; it can stand in for `archive`.
    pub source_type: Option<String>,
    /// Which connector: `builtin://kinesis`.
    pub archive: Option<String>,
    /// Flags of a Java machine; they mean nothing here.
    pub runtime_flags: Option<String>,
    /// Options of a scheduler's runtime; they mean nothing in this process.
    pub custom_runtime_options: Option<String>,
    /// Batch sources are not offered: must be absent.
    pub batch_source_config: Option<Map<String, Value>>,
    /// How messages are gathered into batches, over `producerConfig.batchBuilder`: `DEFAULT` or `KEY_BASED`.
    pub batch_builder: Option<String>,
    /// A topic for log lines is not offered: must be absent.
    pub log_topic: Option<String>,
}

/// What is promised about each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProcessingGuarantees {
    /// Each record arrives, perhaps more than once after a crash.
    #[serde(rename = "ATLEAST_ONCE")]
    AtLeastOnce,
    /// No record arrives twice; a crash may lose what was on its way.
    #[serde(rename = "ATMOST_ONCE")]
    AtMostOnce,
    /// Each record arrives once; the topic's broker deduplicates.
    #[serde(rename = "EFFECTIVELY_ONCE")]
    EffectivelyOnce,
    /// Not offered for sources.
    #[serde(rename = "MANUAL")]
    Manual,
}

/// What the instance asks of a scheduler.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// Cores.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub cpu: Option<f64>,
    /// Bytes of memory.
    #[schemars(range(min = 1))]
    pub ram: Option<u64>,
    /// Bytes of disk.
    #[schemars(range(min = 1))]
    pub disk: Option<u64>,
}
