//! A data key wrapped for an elliptic-curve key: the `ECIES` of BouncyCastle, which Pulsar's Java client uses with its defaults.
//!
//! The wrapped form is `V || C || T`: the uncompressed ephemeral point; the data key XORed with a key stream; HMAC-SHA1 of C and of
//! the length of an encoding vector that is not there, eight zero bytes. Key stream and MAC key come from KDF2 with SHA-1 over V and
//! the x-coordinate of the agreement.

use super::data_key::{KEY_BYTES, RawKey};
use super::der::without_zeros;
use p256::elliptic_curve::bigint::Encoding;
use p256::elliptic_curve::ecdh::{self, EphemeralSecret};
use p256::elliptic_curve::group::Group;
use p256::elliptic_curve::sec1::{FromEncodedPoint, ModulusSize, ToEncodedPoint};
use p256::elliptic_curve::{AffinePoint, CurveArithmetic, FieldBytesSize, PublicKey, SecretKey};
use ring::{digest, hmac};
use rsa::rand_core::OsRng;
use secrecy::zeroize::Zeroizing;
use std::marker::PhantomData;

/// What errors call the curves whose keys are taken.
pub(super) const CURVES: &str = "`secp256r1`, `secp384r1` and `secp521r1`";

const MAC_KEY_BYTES: usize = 16;
const MAC_BYTES: usize = 20;
const LENGTH_OF_NOTHING: [u8; 8] = [0; 8];

/// One curve: what it is told by, and both directions of wrapping on it.
pub(super) trait Curve: Send + Sync {
    /// Whether base point (SEC 1) and order are this curve's: how keys with spelt-out parameters name it.
    fn is(&self, base: &[u8], order: &[u8]) -> bool;
    /// Whether these bytes (SEC 1) are a point of the curve.
    fn has_point(&self, point: &[u8]) -> bool;
    /// Whether this scalar is a private key of the curve.
    fn has_secret(&self, scalar: &[u8]) -> bool;
    /// The data key wrapped for the owner of the point; nothing when it is no point of the curve.
    fn wrap(&self, point: &[u8], data_key: &RawKey) -> Option<Vec<u8>>;
    /// The data key that was wrapped for the owner of the scalar; nothing when it was wrapped for somebody else.
    fn unwrap(&self, scalar: &[u8], wrapped: &[u8]) -> Option<RawKey>;
}

struct On<C>(PhantomData<C>);

static P256: On<p256::NistP256> = On(PhantomData);
static P384: On<p384::NistP384> = On(PhantomData);
static P521: On<p521::NistP521> = On(PhantomData);

/// The curve with this object identifier, in DER's bytes.
pub(super) fn curve_of_oid(oid: &[u8]) -> Option<&'static dyn Curve> {
    match oid {
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07] => Some(&P256),
        [0x2b, 0x81, 0x04, 0x00, 0x22] => Some(&P384),
        [0x2b, 0x81, 0x04, 0x00, 0x23] => Some(&P521),
        _ => None,
    }
}

/// The curve with this base point and order.
pub(super) fn curve_of_parameters(base: &[u8], order: &[u8]) -> Option<&'static dyn Curve> {
    let all: [&'static dyn Curve; 3] = [&P256, &P384, &P521];
    all.into_iter().find(|curve| curve.is(base, order))
}

impl<C> Curve for On<C>
where
    C: CurveArithmetic,
    FieldBytesSize<C>: ModulusSize,
    AffinePoint<C>: FromEncodedPoint<C> + ToEncodedPoint<C>,
{
    fn is(&self, base: &[u8], order: &[u8]) -> bool {
        let own = C::ORDER.to_be_bytes();
        let generator = PublicKey::<C>::from_sec1_bytes(base).is_ok_and(|point| point.to_projective() == C::ProjectivePoint::generator());
        generator && without_zeros(own.as_ref()) == order
    }

    fn has_point(&self, point: &[u8]) -> bool {
        PublicKey::<C>::from_sec1_bytes(point).is_ok()
    }

    fn has_secret(&self, scalar: &[u8]) -> bool {
        SecretKey::<C>::from_slice(scalar).is_ok()
    }

    fn wrap(&self, point: &[u8], data_key: &RawKey) -> Option<Vec<u8>> {
        let theirs = PublicKey::<C>::from_sec1_bytes(point).ok()?;
        let mine = EphemeralSecret::<C>::random(&mut OsRng);
        let mut out = mine.public_key().to_encoded_point(false).as_bytes().to_vec();
        let (mac_key, stream) = derive(&out, mine.diffie_hellman(&theirs).raw_secret_bytes());
        let masked: Vec<u8> = data_key.iter().zip(stream.iter()).map(|(byte, mask)| byte ^ mask).collect();
        out.extend_from_slice(&masked);
        out.extend_from_slice(hmac::sign(&mac_key, &authenticated(&masked)).as_ref());
        Some(out)
    }

    fn unwrap(&self, scalar: &[u8], wrapped: &[u8]) -> Option<RawKey> {
        let mine = SecretKey::<C>::from_slice(scalar).ok()?;
        let (ephemeral, behind) = wrapped.split_at_checked(wrapped.len().checked_sub(KEY_BYTES + MAC_BYTES)?)?;
        let (masked, tag) = behind.split_at_checked(KEY_BYTES)?;
        let theirs = PublicKey::<C>::from_sec1_bytes(ephemeral).ok()?;
        let agreed = ecdh::diffie_hellman(mine.to_nonzero_scalar(), theirs.as_affine());
        let (mac_key, stream) = derive(ephemeral, agreed.raw_secret_bytes());
        hmac::verify(&mac_key, &authenticated(masked), tag).ok()?;
        let mut key = RawKey::default();
        for ((out, byte), mask) in key.iter_mut().zip(masked).zip(stream.iter()) {
            *out = byte ^ mask;
        }
        Some(key)
    }
}

fn authenticated(masked: &[u8]) -> Vec<u8> {
    [masked, &LENGTH_OF_NOTHING].concat()
}

/// KDF2 with SHA-1 over the ephemeral point and the agreement: the MAC key, then the key stream.
fn derive(ephemeral: &[u8], agreed: &[u8]) -> (hmac::Key, Zeroizing<[u8; KEY_BYTES]>) {
    let mut derived = Zeroizing::new([0; MAC_KEY_BYTES + KEY_BYTES]);
    for (block, counter) in derived.chunks_mut(20).zip(1u32..) {
        let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        for part in [ephemeral, agreed, &counter.to_be_bytes()] {
            hash.update(part);
        }
        block.copy_from_slice(&hash.finish().as_ref()[..block.len()]);
    }
    let (mac_key, stream) = derived.split_at(MAC_KEY_BYTES);
    let mut key_stream = Zeroizing::new([0; KEY_BYTES]);
    key_stream.copy_from_slice(stream);
    (hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, mac_key), key_stream)
}
