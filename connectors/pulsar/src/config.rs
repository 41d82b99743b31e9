//! What a person configures: `producerConfig` of a source, and how the cluster is reached. Checked without the network.

use crate::auth;
use crate::crypto::CryptoConfig;
use crate::machine::Batching;
use crate::routing::HashingScheme;
use crate::url::ServiceUrl;
use crate::wire::compression::Compression;
use connector_sdk::{Error, Guarantee, Problem};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use std::path::Path;
use std::time::Duration;

/// `producerConfig` of a source. Zero and empty mean "not given", as tools that write every key send them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProducerConfig {
    /// Records on their way to one partition, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending_messages: Option<u32>,
    /// Records on their way to all partitions, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending_messages_across_partitions: Option<u32>,
    /// Without meaning here: producers are shared by design.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_thread_local_producers: Option<bool>,
    /// `DEFAULT`, or `KEY_BASED` for consumers with `Key_Shared` subscriptions: each batch holds records of one key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_builder: Option<String>,
    /// How payloads are compressed; LZ4 when not given.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "compression")]
    pub compression_type: Option<Compression>,
    /// End-to-end encryption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crypto_config: Option<CryptoConfig>,
    /// Whether a message above the broker's `maxMessageSize` is sent in chunks; needs `batchingConfig.enabled` to be false, and is
    /// not for EFFECTIVELY_ONCE. False when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunking_enabled: Option<bool>,
    /// When records are sent together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batching_config: Option<BatchingConfig>,
    /// How keys choose partitions: `Murmur3_32Hash` as Pulsar IO, or `JavaStringHash` as the Java client by itself.
    pub hashing_scheme: HashingScheme,
}

/// `batchingConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BatchingConfig {
    /// Whether records are sent together at all; true when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Milliseconds a batch may wait for more; 10 when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batching_max_publish_delay_ms: Option<u64>,
    /// Round robin stays on a partition for this many times the delay; 10 when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_robin_router_batching_partition_switch_frequency: Option<u32>,
    /// Records in a batch, at most; 1000 when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batching_max_messages: Option<u32>,
    /// Payload bytes in a batch, at most; 131072 when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batching_max_bytes: Option<u32>,
    /// `DEFAULT` or `KEY_BASED`, as `producerConfig.batchBuilder`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_builder: Option<String>,
}

/// An empty text counts as "not given".
fn compression<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Compression>, D::Error> {
    let Some(text) = Option::<String>::deserialize(input)?.filter(|text| !text.trim().is_empty()) else {
        return Ok(None);
    };
    let parsed = serde_json::from_value(serde_json::Value::String(text.trim().to_ascii_uppercase()));
    parsed.map(Some).map_err(|_| serde::de::Error::custom(format!("`{text}` is not one of `NONE`, `LZ4`, `ZLIB`, `ZSTD`, `SNAPPY`")))
}

impl ProducerConfig {
    /// Every problem, with paths below `producerConfig`.
    pub fn validate(&self, guarantee: Guarantee) -> Vec<Problem> {
        let mut problems = Vec::new();
        let crypto = self.crypto_config.iter().flat_map(CryptoConfig::validate);
        problems.extend(crypto.map(|problem| problem.under("cryptoConfig")));
        if self.chunks() && self.batching().enabled {
            problems.push(
                Problem::new("chunkingEnabled", "messages are sent in chunks only where they are not batched")
                    .hint("set `batchingConfig.enabled` to false, or remove `chunkingEnabled`"),
            );
        }
        if self.chunks() && guarantee == Guarantee::EffectivelyOnce {
            problems.push(
                Problem::new(
                    "chunkingEnabled",
                    "the broker's deduplication sees only the last chunk of a message, so EFFECTIVELY_ONCE cannot be kept for chunks",
                )
                .hint("remove `chunkingEnabled`, or write `ATLEAST_ONCE`"),
            );
        }
        if self.by_key() && self.batching().enabled && guarantee == Guarantee::EffectivelyOnce {
            problems.push(
                Problem::new(
                    "batchBuilder",
                    "in batches by key (`KEY_BASED`) the records' numbers do not rise from batch to batch, so EFFECTIVELY_ONCE cannot be kept",
                )
                .hint("remove it, write `ATLEAST_ONCE`, or set `batchingConfig.enabled` to false where consumers use `Key_Shared`"),
            );
        }
        let inner = self.batching_config.as_ref().and_then(|batching| batching.batch_builder.as_ref());
        for (path, builder) in [("batchBuilder", self.batch_builder.as_ref()), ("batchingConfig.batchBuilder", inner)] {
            match builder.map(|text| text.trim().to_ascii_uppercase()).as_deref() {
                None | Some("" | "DEFAULT" | KEY_BASED) => {}
                Some(other) => {
                    problems.push(
                        Problem::new(path, format!("`{other}` is not known")).hint("write `DEFAULT` or `KEY_BASED`, or leave it out"),
                    );
                }
            }
        }
        if self.batching().max_bytes > MOST_BATCH_BYTES {
            problems
                .push(Problem::new("batchingConfig.batchingMaxBytes", format!("more than {MOST_BATCH_BYTES} bytes do not fit a batch")));
        }
        if self.batching().delay > MOST_DELAY {
            problems.push(Problem::new("batchingConfig.batchingMaxPublishDelayMs", "more than 60000 ms is longer than a batch may wait"));
        }
        problems
    }

    /// Keys that mean nothing here, in a sentence each, for the log.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.use_thread_local_producers == Some(true) {
            notes.push(
                "`producerConfig.useThreadLocalProducers` means nothing here: producers are shared by all partitions of an instance"
                    .to_owned(),
            );
        }
        notes.extend(self.crypto_config.iter().flat_map(CryptoConfig::notes));
        notes
    }

    /// The batch builder that a source names beside its `producerConfig`, over what that says.
    pub fn set_batch_builder(&mut self, builder: Option<String>) {
        if let Some(batching) = &mut self.batching_config {
            batching.batch_builder = None;
        }
        self.batch_builder = builder;
    }

    pub(crate) fn chunks(&self) -> bool {
        self.chunking_enabled == Some(true)
    }

    /// What payloads are encrypted by, if they are.
    pub(crate) fn crypto(&self) -> Option<&CryptoConfig> {
        self.crypto_config.as_ref().filter(|config| config.is_on())
    }

    fn by_key(&self) -> bool {
        let inner = self.batching_config.as_ref().and_then(|batching| batching.batch_builder.as_ref());
        [self.batch_builder.as_ref(), inner].into_iter().flatten().any(|builder| builder.trim().eq_ignore_ascii_case(KEY_BASED))
    }

    pub(crate) fn compression(&self) -> Compression {
        self.compression_type.unwrap_or_default()
    }

    pub(crate) fn batching(&self) -> Batching {
        let default = Batching::default();
        let by_key = self.by_key();
        let Some(config) = &self.batching_config else { return Batching { by_key, ..default } };
        let given = |value: Option<u32>| value.filter(|value| *value > 0).and_then(|value| usize::try_from(value).ok());
        Batching {
            enabled: config.enabled.unwrap_or(true),
            by_key,
            max_messages: given(config.batching_max_messages).unwrap_or(default.max_messages),
            max_bytes: given(config.batching_max_bytes).unwrap_or(default.max_bytes),
            delay: config.batching_max_publish_delay_ms.filter(|ms| *ms > 0).map_or(default.delay, Duration::from_millis),
        }
    }

    pub(crate) fn round_robin_window(&self) -> Duration {
        let config = self.batching_config.as_ref();
        let times = config.and_then(|config| config.round_robin_router_batching_partition_switch_frequency).filter(|times| *times > 0);
        self.batching().delay * times.unwrap_or(10)
    }

    /// The bound in records over all partitions, when one is given.
    pub(crate) fn pending_records(&self) -> Option<usize> {
        let given = |value: Option<u32>| value.filter(|value| *value > 0);
        let bound = given(self.max_pending_messages_across_partitions).or(given(self.max_pending_messages))?;
        usize::try_from(bound).ok()
    }
}

/// The batch builder of batches by key.
const KEY_BASED: &str = "KEY_BASED";
/// The default `maxMessageSize`; a batch that is larger could not be sent whole.
const MOST_BATCH_BYTES: usize = 5_242_880;
const MOST_DELAY: Duration = Duration::from_secs(60);

/// The cluster and how to reach it, as the flags of `localrun` say it.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `pulsar://host:6650` or `pulsar+ssl://host:6651`, several hosts by commas.
    pub service_url: String,
    /// Class name of an authentication plugin.
    pub auth_plugin: Option<String>,
    /// Its parameters.
    pub auth_params: Option<SecretString>,
    /// Use TLS although the URL says `pulsar://`, as `--use-tls true` does.
    pub use_tls: bool,
    /// Accept any certificate.
    pub tls_allow_insecure_connection: bool,
    /// Compare the certificate's name with the host; on unless switched off.
    pub tls_hostname_verification_enable: bool,
    /// PEM file with the authorities to trust; the system's when absent.
    pub tls_trust_certs_file_path: Option<String>,
    /// Which of the broker's advertised listeners to use.
    pub listener_name: Option<String>,
}

impl ClientConfig {
    /// A cluster without authentication.
    pub fn new(service_url: impl Into<String>) -> Self {
        Self {
            service_url: service_url.into(),
            auth_plugin: None,
            auth_params: None,
            use_tls: false,
            tls_allow_insecure_connection: false,
            tls_hostname_verification_enable: true,
            tls_trust_certs_file_path: None,
            listener_name: None,
        }
    }

    /// Every problem that shows without the network.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = self.service_url.parse::<ServiceUrl>() {
            problems.push(Problem::new("brokerServiceUrl", error.to_string()));
        }
        match auth::from_plugin(self.auth_plugin.as_deref(), self.auth_params()) {
            Err(problem) => problems.push(problem),
            Ok(auth) => {
                let files = auth.client_certificate().map(|files| [files.certificate.clone(), files.key.clone()]);
                for file in files.into_iter().flatten().filter(|file| !file.is_file()) {
                    problems.push(Problem::new("clientAuthParams", format!("there is no file `{}`", file.display())));
                }
            }
        }
        if let Some(path) = self.tls_trust_certs_file_path.as_deref().filter(|path| !Path::new(path).is_file()) {
            problems.push(Problem::new("tlsTrustCertsFilePath", format!("there is no file `{path}`")));
        }
        problems
    }

    pub(crate) fn auth_params(&self) -> Option<&str> {
        self.auth_params.as_ref().map(ExposeSecret::expose_secret)
    }

    pub(crate) fn service(&self) -> Result<ServiceUrl, Error> {
        let mut service: ServiceUrl = self.service_url.parse().map_err(|error| Error::configuration(format!("{error}")))?;
        service.tls |= self.use_tls;
        Ok(service)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(text: &str) -> ProducerConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_empty_config_is_what_the_java_instance_builds() {
        let config = parse("{}");
        assert_eq!(config.compression(), Compression::Lz4);
        assert_eq!(
            config.batching(),
            Batching { enabled: true, by_key: false, max_messages: 1_000, max_bytes: 131_072, delay: Duration::from_millis(10) }
        );
        assert_eq!(config.hashing_scheme, HashingScheme::Murmur3_32);
        assert_eq!(config.round_robin_window(), Duration::from_millis(100));
        assert_eq!(config.pending_records(), None);
    }

    #[test]
    fn zeros_and_empty_texts_mean_not_given() {
        let config = parse(
            r#"{"maxPendingMessages":0,"maxPendingMessagesAcrossPartitions":0,"useThreadLocalProducers":false,"batchBuilder":"","compressionType":"",
                "cryptoConfig":{"cryptoKeyReaderClassName":"","cryptoKeyReaderConfig":{},"encryptionKeys":[],"producerCryptoFailureAction":"FAIL"},
                "batchingConfig":{"batchingMaxPublishDelayMs":0,"batchingMaxMessages":0}}"#,
        );
        assert!(config.validate(Guarantee::AtLeastOnce).is_empty(), "{:?}", config.validate(Guarantee::AtLeastOnce));
        assert_eq!(config.batching(), Batching::default());
        assert_eq!(config.compression(), Compression::Lz4);
        assert!(config.notes().is_empty());
    }

    #[test]
    fn every_key_has_its_effect() {
        let config = parse(
            r#"{"maxPendingMessages":500,"maxPendingMessagesAcrossPartitions":700,"compressionType":"zstd","hashingScheme":"JavaStringHash",
                "useThreadLocalProducers":true,"batchingConfig":{"enabled":false,"batchingMaxPublishDelayMs":5,"batchingMaxMessages":7,
                "batchingMaxBytes":9000,"roundRobinRouterBatchingPartitionSwitchFrequency":3,"batchBuilder":"DEFAULT"}}"#,
        );
        assert_eq!(config.pending_records(), Some(700));
        assert_eq!(config.compression(), Compression::Zstd);
        assert_eq!(config.hashing_scheme, HashingScheme::JavaString);
        assert_eq!(
            config.batching(),
            Batching { enabled: false, by_key: false, max_messages: 7, max_bytes: 9_000, delay: Duration::from_millis(5) }
        );
        assert_eq!(config.round_robin_window(), Duration::from_millis(15));
        assert_eq!(config.notes().len(), 1);
    }

    #[test]
    fn what_would_change_what_is_written_is_refused() {
        let config = parse(
            r#"{"cryptoConfig":{"encryptionKeys":["k"]},"batchBuilder":"BY_DAY","batchingConfig":{"batchBuilder":"ODD"},"chunkingEnabled":true}"#,
        );
        let paths: Vec<String> = config.validate(Guarantee::EffectivelyOnce).into_iter().map(|problem| problem.path).collect();
        let expected = ["cryptoConfig.encryptionKeys", "chunkingEnabled", "chunkingEnabled", "batchBuilder", "batchingConfig.batchBuilder"];
        assert_eq!(paths, expected);
        assert!(serde_json::from_str::<ProducerConfig>(r#"{"compressionType":"GZIP"}"#).unwrap_err().to_string().contains("SNAPPY"));
        assert!(serde_json::from_str::<ProducerConfig>(r#"{"maxPending":1}"#).is_err());
    }

    #[test]
    fn batches_by_key_and_chunks_are_taken_where_they_can_be() {
        for text in [r#"{"batchBuilder":"KEY_BASED"}"#, r#"{"batchingConfig":{"batchBuilder":"key_based"}}"#] {
            let config = parse(text);
            assert!(config.validate(Guarantee::AtLeastOnce).is_empty() && config.batching().by_key);
            assert_eq!(config.validate(Guarantee::EffectivelyOnce)[0].path, "batchBuilder");
        }
        let chunks = parse(r#"{"chunkingEnabled":true,"batchingConfig":{"enabled":false}}"#);
        assert!(chunks.validate(Guarantee::AtLeastOnce).is_empty() && chunks.chunks());
        let effectively = chunks.validate(Guarantee::EffectivelyOnce).remove(0).to_string();
        assert!(effectively.contains("only the last chunk"), "{effectively}");
        assert!(!parse(r#"{"chunkingEnabled":false}"#).chunks());
    }

    #[test]
    fn a_client_names_every_problem_at_once() {
        let mut client = ClientConfig::new("localhost:6650");
        client.auth_plugin = Some("com.example.Auth".to_owned());
        client.tls_trust_certs_file_path = Some("/nowhere/ca.pem".to_owned());
        let paths: Vec<String> = client.validate().into_iter().map(|problem| problem.path).collect();
        assert_eq!(paths, ["brokerServiceUrl", "clientAuthPlugin", "tlsTrustCertsFilePath"]);
    }
}
