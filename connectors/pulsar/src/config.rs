//! What users write about the Pulsar side: `producerConfig` of a source, and the client flags of `sources localrun`.
//!
//! Only parsed and checked here; no file is opened and nothing is resolved. What is not built is refused with a sentence.

use crate::url::ServiceUrl;
use crate::wire::compression::Compression;
use connector_sdk::Problem;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// How messages are produced. Zero and blank values count as absent, because clients written in Go send them for every key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProducerConfig {
    /// The most messages that may be on their way to one topic partition. Default: 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending_messages: Option<u32>,
    /// The most messages that may be on their way over all partitions of the topic. Default: 50000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending_messages_across_partitions: Option<u32>,
    /// A matter of the Java client's threads; it means nothing here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_thread_local_producers: Option<bool>,
    /// How messages are gathered into batches: `DEFAULT`. `KEY_BASED` is not offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_builder: Option<String>,
    /// How batches are compressed. Default: LZ4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression_type: Option<Compression>,
    /// End-to-end encryption. It is not offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crypto_config: Option<Map<String, Value>>,
    /// Batching.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batching_config: Option<BatchingConfig>,
}

/// How messages are gathered into batches.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchingConfig {
    /// Whether messages are gathered at all. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// How long a batch may wait for more messages, in milliseconds. Default: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batching_max_publish_delay_ms: Option<u64>,
    /// For how many batch delays messages without key stay with one partition. Default: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_robin_router_batching_partition_switch_frequency: Option<u32>,
    /// The most messages in one batch. Default: 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batching_max_messages: Option<u32>,
    /// The most bytes in one batch, before compression. Default: 131072.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batching_max_bytes: Option<u32>,
    /// How messages are gathered: `DEFAULT`. `KEY_BASED` is not offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_builder: Option<String>,
}

impl ProducerConfig {
    /// Every problem, with paths relative to `producerConfig`.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.crypto_config.as_ref().is_some_and(|crypto| !crypto.is_empty()) {
            problems.push(
                Problem::new("cryptoConfig", "messages cannot be encrypted by this runtime, and are never sent in clear where encryption was asked for")
                    .hint("remove `cryptoConfig` if the messages may be stored in clear"),
            );
        }
        problems.extend(batch_builder_problem("batchBuilder", self.batch_builder.as_deref()));
        if let Some(batching) = &self.batching_config {
            problems.extend(batch_builder_problem("batchingConfig.batchBuilder", batching.batch_builder.as_deref()));
        }
        problems
    }

    /// Sentences on keys that are taken and mean nothing here.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.use_thread_local_producers == Some(true) {
            notes.push("`producerConfig.useThreadLocalProducers` means nothing here: one producer for each topic partition serves all threads".to_owned());
        }
        notes
    }
}

/// The problem of a `batchBuilder` other than the default; `path` is where it stands.
pub fn batch_builder_problem(path: &str, builder: Option<&str>) -> Option<Problem> {
    match builder.map(str::trim) {
        None | Some("" | "DEFAULT") => None,
        Some("KEY_BASED") => Some(
            Problem::new(path, "batches by key (`KEY_BASED`) are not offered, and would change how messages are stored")
                .hint("remove it or write `DEFAULT`; a `Key_Shared` subscription needs `batchingConfig.enabled: false` instead"),
        ),
        Some(other) => Some(Problem::new(path, format!("`{other}` is not a batch builder")).hint("write `DEFAULT`")),
    }
}

/// How the Pulsar cluster is reached.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `pulsar://host:6650` or `pulsar+ssl://host:6651`, several hosts by commas.
    pub service_url: String,
    /// Class name of a Java authentication plugin, or the short name of its method.
    pub auth_plugin: Option<String>,
    /// The plugin's parameters, in any form that Java's plugin takes.
    pub auth_params: Option<SecretString>,
    /// TLS even where the scheme is `pulsar://`.
    pub use_tls: bool,
    /// Takes any certificate, without looking who signed it.
    pub tls_allow_insecure: bool,
    /// Whether the certificate must name the host.
    pub tls_hostname_verification: bool,
    /// PEM file of the authorities that may sign the broker's certificate; the system's when absent.
    pub tls_trust_certs_path: Option<PathBuf>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            service_url: "pulsar://localhost:6650".to_owned(),
            auth_plugin: None,
            auth_params: None,
            use_tls: false,
            tls_allow_insecure: false,
            tls_hostname_verification: true,
            tls_trust_certs_path: None,
        }
    }
}

impl ClientConfig {
    /// Every problem that can be found without network; the paths are the flags of `sources localrun`.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = self.service_url.parse::<ServiceUrl>() {
            problems.push(Problem::new("--broker-service-url", error.to_string()));
        }
        problems
    }
}
