//! A consumer's side: private keys by name, and the data keys they have unwrapped.

use super::config::CryptoConfig;
use super::data_key::DataKey;
use super::key_reader::KeyLocation;
use super::private_key::PrivateKey;
use crate::wire::messages::EncryptionKey;
use bytes::Bytes;
use connector_sdk::Error;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Data keys that are kept unwrapped; a producer changes its own every few hours.
const KEPT_DATA_KEYS: usize = 1_024;

/// Opens payloads that were encrypted end to end.
pub trait Decrypt: Send + Sync + fmt::Debug {
    /// The payload of an entry with these wrapped data keys and this `encryption_param`, still compressed; nothing when none of the
    /// private keys opens it, or it was changed on its way.
    fn decrypt(&self, keys: &[EncryptionKey], param: &[u8], payload: &[u8]) -> Option<Bytes>;
}

/// Private keys as `cryptoConfig` names them.
pub struct Decryptor {
    by_name: HashMap<String, Arc<PrivateKey>>,
    default: Option<Arc<PrivateKey>>,
    /// By their wrapped form.
    unwrapped: Mutex<HashMap<Bytes, Arc<DataKey>>>,
}

impl Decryptor {
    /// Reads and parses the private keys.
    ///
    /// # Errors
    /// `Configuration`, naming the key that cannot be used.
    pub fn new(config: &CryptoConfig) -> Result<Self, Error> {
        let load = |name: &str, place: &KeyLocation| {
            let key = place.read().and_then(|pem| PrivateKey::from_pem(&pem));
            key.map(Arc::new).map_err(|why| Error::configuration(format!("the private key `{name}` cannot be used: {why}")))
        };
        let (places, default) = config.private_keys();
        let mut by_name = HashMap::new();
        for (name, place) in &places {
            by_name.insert(name.clone(), load(name, place)?);
        }
        let default = default.map(|place| load("defaultPrivateKey", &place)).transpose()?;
        Ok(Self { by_name, default, unwrapped: Mutex::default() })
    }

    fn data_key(&self, copy: &EncryptionKey) -> Option<Arc<DataKey>> {
        if let Some(key) = self.unwrapped.lock().unwrap_or_else(PoisonError::into_inner).get(&copy.value) {
            return Some(Arc::clone(key));
        }
        let private = self.by_name.get(&copy.key).or(self.default.as_ref())?;
        let key = Arc::new(DataKey::new(&private.unwrap(&copy.value)?));
        let mut unwrapped = self.unwrapped.lock().unwrap_or_else(PoisonError::into_inner);
        if unwrapped.len() >= KEPT_DATA_KEYS {
            unwrapped.clear();
        }
        unwrapped.insert(copy.value.clone(), Arc::clone(&key));
        Some(key)
    }
}

impl Decrypt for Decryptor {
    fn decrypt(&self, keys: &[EncryptionKey], param: &[u8], payload: &[u8]) -> Option<Bytes> {
        keys.iter().find_map(|copy| self.data_key(copy)?.open(param, payload)).map(Bytes::from)
    }
}

impl fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<&String> = self.by_name.keys().collect();
        names.sort();
        f.debug_struct("Decryptor").field("keys", &names).field("default", &self.default.is_some()).finish_non_exhaustive()
    }
}
