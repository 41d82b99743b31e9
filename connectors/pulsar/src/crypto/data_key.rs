//! The key that seals payloads: AES-256-GCM, a fresh random vector for each payload, the tag behind the text.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use secrecy::zeroize::Zeroizing;

/// Bytes of a data key.
pub(super) const KEY_BYTES: usize = 32;
/// Bytes of `encryption_param`.
pub(super) const VECTOR_BYTES: usize = NONCE_LEN;
/// Bytes that a sealed payload is longer.
pub(super) const TAG_BYTES: usize = 16;

/// A data key's bytes while it is being wrapped or unwrapped: cleared when dropped, without a printed form of interest.
pub(super) type RawKey = Zeroizing<[u8; KEY_BYTES]>;

/// A data key in use. Cannot be printed, nor read back.
pub(super) struct DataKey(LessSafeKey);

impl DataKey {
    pub(super) fn new(raw: &RawKey) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &raw[..]).expect("a data key has as many bytes as the cipher asks for")))
    }

    /// Seals in place, behind which the tag is put; gives the vector for the metadata.
    pub(super) fn seal(&self, payload: &mut Vec<u8>) -> [u8; VECTOR_BYTES] {
        let vector = random::<VECTOR_BYTES>();
        let nonce = Nonce::assume_unique_for_key(vector);
        self.0.seal_in_place_append_tag(nonce, Aad::empty(), payload).expect("payloads are far below the cipher's limit");
        vector
    }

    /// What was sealed, or nothing when key, vector or bytes are not those.
    pub(super) fn open(&self, vector: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let nonce = Nonce::try_assume_unique_for_key(vector).ok()?;
        let mut text = sealed.to_vec();
        let size = self.0.open_in_place(nonce, Aad::empty(), &mut text).ok()?.len();
        text.truncate(size);
        Some(text)
    }
}

/// Fresh bytes from the system's generator.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system's random generator is there once it has been used");
    bytes
}
