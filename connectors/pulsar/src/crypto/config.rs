//! `cryptoConfig` of a source, as Pulsar IO's users write it. Checked without the network: the keys are read and parsed.

use super::key_reader::KeyLocation;
use super::public_key::PublicKey;
use connector_sdk::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The key reader that is built in; others are Java classes, which cannot be loaded.
const KEY_READER: &str = "org.apache.pulsar.client.impl.DefaultCryptoKeyReader";

/// End-to-end encryption. Empty means off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CryptoConfig {
    /// `org.apache.pulsar.client.impl.DefaultCryptoKeyReader`, which is also meant when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crypto_key_reader_class_name: Option<String>,
    /// Where the keys are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crypto_key_reader_config: Option<KeyReaderConfig>,
    /// Names of the keys that each data key is wrapped for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_keys: Option<Vec<String>>,
    /// What is done when encryption fails. Nothing is ever sent in clear: `SEND` acts as `FAIL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producer_crypto_failure_action: Option<ProducerCryptoFailureAction>,
    /// What a consumer does with what it cannot decrypt; a source has no consumer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer_crypto_failure_action: Option<ConsumerCryptoFailureAction>,
}

/// Places of keys by their names: `file:///path/key.pem` or `data:application/x-pem-file;base64,...`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KeyReaderConfig {
    /// The public key of names that `publicKeys` does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_public_key: Option<KeyLocation>,
    /// Public keys by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_keys: Option<BTreeMap<String, KeyLocation>>,
    /// The private key of names that `privateKeys` does not have; for consumers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_private_key: Option<KeyLocation>,
    /// Private keys by name; for consumers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_keys: Option<BTreeMap<String, KeyLocation>>,
}

/// What a producer does when it cannot encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ProducerCryptoFailureAction {
    /// It does not start.
    #[default]
    Fail,
    /// The Java client may then send in clear. Here, encryption cannot fail once the keys were read.
    Send,
}

/// What a consumer does with what it cannot decrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ConsumerCryptoFailureAction {
    /// It stops at the message until a key opens it.
    #[default]
    Fail,
    /// The message is acknowledged and dropped.
    Discard,
    /// The message is handed on as it is, a batch as one message.
    Consume,
}

impl CryptoConfig {
    /// The key names to wrap for; empty when encryption is off.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.encryption_keys.iter().flatten().map(|name| name.trim()).filter(|name| !name.is_empty())
    }

    /// Whether payloads are encrypted.
    pub(crate) fn is_on(&self) -> bool {
        self.names().next().is_some()
    }

    fn keys(&self) -> KeyReaderConfig {
        self.crypto_key_reader_config.clone().unwrap_or_default()
    }

    /// The public key with this name.
    ///
    /// # Errors
    /// In words for people.
    pub(super) fn public_key(&self, name: &str) -> Result<PublicKey, String> {
        let keys = self.keys();
        let place = keys.public_keys.and_then(|mut keys| keys.remove(name)).or(keys.default_public_key).filter(KeyLocation::is_given);
        let place = place.ok_or("neither `publicKeys` nor `defaultPublicKey` says where it is")?;
        PublicKey::from_pem(&place.read()?)
    }

    /// Places of private keys by name, and of the one for all other names.
    pub(super) fn private_keys(&self) -> (BTreeMap<String, KeyLocation>, Option<KeyLocation>) {
        let keys = self.keys();
        (keys.private_keys.unwrap_or_default(), keys.default_private_key.filter(KeyLocation::is_given))
    }

    /// Every problem of a producer's, with paths below `cryptoConfig`.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(class) = self.class().filter(|class| *class != KEY_READER) {
            problems.push(
                Problem::new("cryptoKeyReaderClassName", format!("the Java class `{class}` cannot be loaded"))
                    .hint(format!("write `{KEY_READER}`, and the keys' places in `cryptoKeyReaderConfig`")),
            );
            return problems;
        }
        let keys = self.keys();
        let any_place =
            keys.default_public_key.as_ref().is_some_and(KeyLocation::is_given) || keys.public_keys.is_some_and(|keys| !keys.is_empty());
        if !self.is_on() && (self.class().is_some() || any_place) {
            problems.push(
                Problem::new("encryptionKeys", "no key is named, so nothing would be encrypted")
                    .hint("name the keys of `publicKeys` to encrypt for, or remove `cryptoConfig`"),
            );
        }
        for name in self.names() {
            if let Err(why) = self.public_key(name) {
                problems.push(
                    Problem::new("encryptionKeys", format!("the public key `{name}` cannot be used: {why}"))
                        .hint("say where it is in `cryptoKeyReaderConfig`, by `publicKeys` or `defaultPublicKey`"),
                );
            }
        }
        problems
    }

    /// What means nothing here, in sentences.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.is_on() && self.producer_crypto_failure_action == Some(ProducerCryptoFailureAction::Send) {
            notes.push(
                "`cryptoConfig.producerCryptoFailureAction` acts as `FAIL`: what is to be encrypted is never sent in clear".to_owned(),
            );
        }
        notes
    }

    fn class(&self) -> Option<&str> {
        self.crypto_key_reader_class_name.as_deref().map(str::trim).filter(|class| !class.is_empty())
    }
}
