//! What a consumer needs to read encrypted entries, and what it does without it.

use crate::wire::messages::EncryptionKey;
use bytes::Bytes;

/// Opens payloads that were encrypted end to end; it holds the private keys.
pub trait Decrypt: Send + Sync {
    /// The payload of an entry with these wrapped data keys and this `encryption_param`, still compressed; nothing when none of the
    /// private keys opens it, or it was changed on its way.
    fn decrypt(&self, keys: &[EncryptionKey], param: &[u8], payload: &[u8]) -> Option<Bytes>;
}

/// What is done with an entry that cannot be decrypted (`consumerCryptoFailureAction`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CryptoFailure {
    /// It is reported instead of delivered, and stays unacknowledged.
    #[default]
    Fail,
    /// It is acknowledged and counted.
    Discard,
    /// It is delivered as it is, a whole batch as one message.
    Consume,
}
