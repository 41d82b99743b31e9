//! End-to-end encryption of payloads, in the form that Pulsar's Java client writes and reads.
//!
//! A payload is sealed by AES-256-GCM under a data key that lives for hours; the data key travels in each entry's metadata, wrapped
//! for the public key of each reader. What it promises: a data key is replaced together with all its wrapped copies, a key that
//! cannot be read is known before anything is sent, and nothing is ever sent in clear where encryption is configured. What it never
//! does: print, log or store a private key or a data key.

mod config;
mod data_key;
mod decryptor;
mod der;
mod ecies;
mod key_reader;
mod private_key;
mod public_key;
mod sealer;

pub use config::{ConsumerCryptoFailureAction, CryptoConfig, KeyReaderConfig, ProducerCryptoFailureAction};
pub use decryptor::{Decrypt, Decryptor};
pub use key_reader::KeyLocation;
pub(crate) use sealer::Sealer;

#[cfg(test)]
mod crypto_tests;
#[cfg(test)]
pub(crate) mod test_keys;
