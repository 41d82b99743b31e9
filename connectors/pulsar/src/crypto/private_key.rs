//! A reader's own private key, from PEM: `RSA PRIVATE KEY`, `EC PRIVATE KEY` or `PRIVATE KEY` (PKCS #8, unencrypted).

use super::data_key::{KEY_BYTES, RawKey};
use super::der::{CONTEXT_0, Der, OCTET_STRING, OID};
use super::ecies::{CURVES, Curve};
use super::public_key::{EC, RSA, curve};
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::rand_core::OsRng;
use rsa::{Oaep, RsaPrivateKey};
use rustls::pki_types::pem::{PemObject, SectionKind};
use secrecy::zeroize::Zeroizing;

/// A private key that data keys were wrapped for. Cannot be printed.
pub(super) enum PrivateKey {
    Rsa(Box<RsaPrivateKey>),
    Ec { curve: &'static dyn Curve, scalar: Zeroizing<Vec<u8>> },
}

const DAMAGED: &str = "the private key does not parse";

impl PrivateKey {
    /// The first key of the text.
    ///
    /// # Errors
    /// In words for people, what is wrong with it.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, String> {
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let (kind, der) = section.map_err(|_| "it is not well-formed PEM")?;
            let der = Zeroizing::new(der);
            match kind {
                SectionKind::RsaPrivateKey => return Self::rsa(&der),
                SectionKind::EcPrivateKey => return Self::ec(&der, None),
                SectionKind::PrivateKey => return Self::pkcs8(&der),
                _ => {}
            }
        }
        Err("it holds no `RSA PRIVATE KEY`, `EC PRIVATE KEY` or `PRIVATE KEY` in PEM, or only an encrypted one".to_owned())
    }

    fn pkcs8(der: &[u8]) -> Result<Self, String> {
        let mut info = Der(der).sequence().ok_or(DAMAGED)?;
        info.integer().ok_or(DAMAGED)?;
        let mut algorithm = info.sequence().ok_or(DAMAGED)?;
        let key = info.take(OCTET_STRING).ok_or(DAMAGED)?;
        match algorithm.take(OID) {
            Some(RSA) => Self::rsa(key),
            Some(EC) => Self::ec(key, curve(algorithm)),
            _ => Err("it is neither an RSA nor an elliptic-curve key".to_owned()),
        }
    }

    fn rsa(der: &[u8]) -> Result<Self, String> {
        RsaPrivateKey::from_pkcs1_der(der)
            .map(|key| Self::Rsa(Box::new(key)))
            .map_err(|error| format!("the RSA key is not usable: {error}"))
    }

    fn ec(der: &[u8], outside: Option<&'static dyn Curve>) -> Result<Self, String> {
        let mut key = Der(der).sequence().ok_or(DAMAGED)?;
        key.integer().ok_or(DAMAGED)?;
        let scalar = Zeroizing::new(key.take(OCTET_STRING).ok_or(DAMAGED)?.to_vec());
        let named = key.take(CONTEXT_0).and_then(|parameters| curve(Der(parameters)));
        let curve = named.or(outside).ok_or_else(|| format!("its curve is none of {CURVES}"))?;
        if !curve.has_secret(&scalar) {
            return Err("it is no number of its curve".to_owned());
        }
        Ok(Self::Ec { curve, scalar })
    }

    /// The data key, if it was wrapped for this key.
    pub(super) fn unwrap(&self, wrapped: &[u8]) -> Option<RawKey> {
        match self {
            Self::Rsa(key) => {
                // Blinded, so that the time it takes says nothing about the key.
                let data_key = Zeroizing::new(key.decrypt_blinded(&mut OsRng, Oaep::new::<sha1::Sha1>(), wrapped).ok()?);
                let bytes: [u8; KEY_BYTES] = data_key.as_slice().try_into().ok()?;
                Some(RawKey::new(bytes))
            }
            Self::Ec { curve, scalar } => curve.unwrap(scalar, wrapped),
        }
    }
}
