//! A reader's public key, from PEM: `PUBLIC KEY` or `CERTIFICATE`, RSA or elliptic curve.

use super::data_key::RawKey;
use super::der::{CONTEXT_0, Der, OCTET_STRING, OID, SEQUENCE};
use super::ecies::{self, CURVES, Curve};
use rsa::rand_core::OsRng;
use rsa::{BigUint, Oaep, RsaPublicKey};
use rustls::pki_types::pem::{PemObject, SectionKind};

/// Bits of the longest RSA key that is taken.
const MOST_RSA_BITS: usize = 16_384;
/// `1.2.840.113549.1.1.1`
pub(super) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// `1.2.840.10045.2.1`
pub(super) const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// A public key that data keys are wrapped for.
pub(super) enum PublicKey {
    Rsa(Box<RsaPublicKey>),
    Ec { curve: &'static dyn Curve, point: Vec<u8> },
}

impl PublicKey {
    /// The first key of the text.
    ///
    /// # Errors
    /// In words for people, what is wrong with it.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, String> {
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let key = match section.map_err(|_| "it is not well-formed PEM")? {
                (SectionKind::PublicKey, der) => Some(Self::from_spki(Der(&der))?),
                (SectionKind::Certificate, der) => {
                    Some(Self::from_spki(spki_of_certificate(&der).ok_or("the certificate does not parse")?)?)
                }
                (SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey, _) => {
                    return Err("it is a private key; only the public one is wanted here".to_owned());
                }
                _ => None,
            };
            if let Some(key) = key {
                return Ok(key);
            }
        }
        Err("it holds neither a `PUBLIC KEY` nor a `CERTIFICATE` in PEM".to_owned())
    }

    fn from_spki(mut der: Der<'_>) -> Result<Self, String> {
        const DAMAGED: &str = "the public key does not parse";
        let mut spki = der.sequence().ok_or(DAMAGED)?;
        let mut algorithm = spki.sequence().ok_or(DAMAGED)?;
        let key = spki.bits().ok_or(DAMAGED)?;
        match algorithm.take(OID) {
            Some(RSA) => {
                let mut numbers = Der(key).sequence().ok_or(DAMAGED)?;
                let [modulus, exponent] = [numbers.integer(), numbers.integer()].map(|bytes| bytes.map(BigUint::from_bytes_be));
                let (modulus, exponent) = (modulus.ok_or(DAMAGED)?, exponent.ok_or(DAMAGED)?);
                let key = RsaPublicKey::new_with_max_size(modulus, exponent, MOST_RSA_BITS);
                key.map(|key| Self::Rsa(Box::new(key))).map_err(|error| format!("the RSA key is not usable: {error}"))
            }
            Some(EC) => {
                let curve = curve(algorithm).ok_or_else(|| format!("its curve is none of {CURVES}"))?;
                if !curve.has_point(key) {
                    return Err("its point does not lie on its curve".to_owned());
                }
                Ok(Self::Ec { curve, point: key.to_vec() })
            }
            _ => Err("it is neither an RSA nor an elliptic-curve key".to_owned()),
        }
    }

    /// The data key wrapped for the owner of this key.
    ///
    /// # Errors
    /// When an RSA key is too short to wrap a data key.
    pub(super) fn wrap(&self, data_key: &RawKey) -> Result<Vec<u8>, String> {
        match self {
            Self::Rsa(key) => key
                .encrypt(&mut OsRng, Oaep::new::<sha1::Sha1>(), &data_key[..])
                .map_err(|error| format!("the RSA key wraps nothing: {error}")),
            Self::Ec { curve, point } => curve.wrap(point, data_key).ok_or_else(|| "its point does not lie on its curve".to_owned()),
        }
    }
}

/// The curve that the parameters of an EC key name, or spell out.
pub(super) fn curve(mut parameters: Der<'_>) -> Option<&'static dyn Curve> {
    if let Some(oid) = parameters.take(OID) {
        return ecies::curve_of_oid(oid);
    }
    let mut domain = parameters.sequence()?;
    domain.integer()?;
    domain.take(SEQUENCE)?;
    domain.take(SEQUENCE)?;
    let base = domain.take(OCTET_STRING)?;
    ecies::curve_of_parameters(base, domain.integer()?)
}

/// Where the subject's public key stands in a certificate.
fn spki_of_certificate(der: &[u8]) -> Option<Der<'_>> {
    let mut body = Der(der).sequence()?.sequence()?;
    body.take(CONTEXT_0);
    body.integer()?;
    // Signature algorithm, issuer, validity, subject.
    for _ in 0..4 {
        body.take(SEQUENCE)?;
    }
    Some(body)
}
