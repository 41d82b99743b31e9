//! A producer's side: one data key with its copies for all readers, made together and replaced together.

use super::config::CryptoConfig;
use super::data_key::{DataKey, RawKey, TAG_BYTES, VECTOR_BYTES, random};
use crate::wire::messages::EncryptionKey;
use bytes::Bytes;
use connector_sdk::Error;
use std::fmt;

/// A data key and its wrapped copies. Replaced as a whole, so that no entry names a copy of another key.
pub(crate) struct Sealer {
    key: DataKey,
    /// `encryption_keys`, encoded as a field of the metadata.
    copies: Vec<u8>,
}

impl Sealer {
    /// A fresh data key, wrapped for every key that the configuration names. Reads the keys' files.
    ///
    /// # Errors
    /// `Configuration`, naming the key that cannot be used.
    pub(crate) fn new(config: &CryptoConfig) -> Result<Self, Error> {
        let raw = RawKey::new(random());
        let mut copies = Vec::new();
        for name in config.names() {
            let refused = |why| {
                Error::configuration(format!("encrypting for the key `{name}`: {why}"))
                    .with_hint("correct its place in `cryptoKeyReaderConfig`, or its file")
            };
            let wrapped = config.public_key(name).and_then(|key| key.wrap(&raw)).map_err(refused)?;
            copies.push(EncryptionKey { key: name.to_owned(), value: wrapped.into(), metadata: Vec::new() });
        }
        let mut field = Vec::new();
        prost::encoding::message::encode_repeated(13, &copies, &mut field);
        Ok(Self { key: DataKey::new(&raw), copies: field })
    }

    /// The data key's wrapped copies, as the field `encryption_keys` of the metadata.
    pub(crate) fn copies(&self) -> &[u8] {
        &self.copies
    }

    /// Bytes that sealing adds to metadata and payload together.
    pub(crate) fn overhead(&self) -> usize {
        self.copies.len() + 2 + VECTOR_BYTES + TAG_BYTES
    }

    /// Seals a payload in place; gives `encryption_param`.
    pub(crate) fn seal(&self, payload: &mut Vec<u8>) -> [u8; VECTOR_BYTES] {
        self.key.seal(payload)
    }

    /// Opens what this sealer sealed.
    pub(crate) fn open(&self, param: &[u8], payload: &[u8]) -> Option<Bytes> {
        self.key.open(param, payload).map(Bytes::from)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}
