//! What one side seals the other opens; data keys that BouncyCastle wrapped are unwrapped; what cannot be used is named.
#![allow(clippy::unwrap_used)]

use super::data_key::RawKey;
use super::private_key::PrivateKey;
use super::public_key::PublicKey;
use super::test_keys::*;
use super::*;
use crate::wire::messages::{EncryptionKey, MessageMetadata};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost::Message;
use std::collections::BTreeMap;

/// The bytes 0 to 31, wrapped by BouncyCastle 1.78.1 for the keys of the tests.
const BY_BOUNCY_CASTLE: [(&str, &str); 3] = [
    (
        RSA,
        "LyywFJugq3QD/xnsUk5RGuQTdm8GauVFFquU3nNprO51QSdSKgREbZiB3K2Ydzsd+MQDNGTKMXdnvXIoPN5GrcBwJL3kYDgXkR/meZv7Otr2f7npbnM5UV2C3e36ujbRquf6xq+bH0GGvO9rdd0ZejrdOabZkEtiiYhndmwCeR3vwRptTF7TI1bVygHziDa8YCxcOqIkpRw7MEynIK7BTsfM81jK4XOaxWNiCosMCrwkAbwNAw2nCLojupIj1Xq++NaDPT7vapNUWVPue26wxrqM/DIQ7b33A5cEkbEnKTq1eFTse04ijJ3Bj4LonXBWros6d7doOsCQUofiuLuQBw==",
    ),
    (
        P256,
        "BKt0Kw9l+GrxulcPurFZuSsuk5Ji83Uq7V1Q/6/5NjAV1rZJASerEdT1Uh+HCmJifxKtm+R743ikHq7zID28ErDyO6ANSd3O7C8D8eoRQ07PJYEYmY7vyqW0QHgE9nZ419f+T/nLdbAZ+OpQ8joj7iMLPNuW",
    ),
    (
        P521,
        "BAHtHvYu4IUNGWVMAK6Rkl5YG/gA43uhQYOcO2N9TFe50EKPMq+8PxkUrq3pDclF7AHMG+ULP14dTFrTBjriRzU22gGM8bbsrxtYh5g9L9J7XDXVVR2g3kM3Ik6yCR/wFAC7dIgiO8ka9sbUYd8LpZnLYZZkiAHCuE1Sae4r7hiRqUeGxzoeGxwIsOQ9RZjzsVPb14a9kvHgllj981S4fhQDn21PU8AlcPB1QBKvW2SQ1sGUMYrnCAA=",
    ),
];

fn raw() -> RawKey {
    RawKey::new(std::array::from_fn(|at| u8::try_from(at).unwrap()))
}

fn data_url(pem: &str) -> KeyLocation {
    KeyLocation::new(format!("data:application/x-pem-file;base64,{}", BASE64_STANDARD.encode(pem)))
}

fn config(public: &[(&str, &str)], private: &[(&str, &str)]) -> CryptoConfig {
    let map = |keys: &[(&str, &str)]| Some(keys.iter().map(|(name, pem)| ((*name).to_owned(), data_url(pem))).collect::<BTreeMap<_, _>>());
    CryptoConfig {
        encryption_keys: Some(public.iter().map(|(name, _)| (*name).to_owned()).collect()),
        crypto_key_reader_config: Some(KeyReaderConfig {
            public_keys: map(public),
            private_keys: map(private),
            ..KeyReaderConfig::default()
        }),
        ..CryptoConfig::default()
    }
}

/// The wrapped copies as a consumer decodes them.
fn copies(sealer: &Sealer) -> Vec<EncryptionKey> {
    let mut metadata = sealer.copies().to_vec();
    // What is required of every entry's metadata.
    metadata.extend_from_slice(&[0x0a, 0, 0x10, 0, 0x18, 0]);
    MessageMetadata::decode(&metadata[..]).unwrap().encryption_keys
}

fn problem(config: &CryptoConfig) -> String {
    let problems = config.validate();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].to_string()
}

#[test]
fn data_keys_wrapped_by_bouncy_castle_are_unwrapped() {
    for (pem, wrapped) in BY_BOUNCY_CASTLE {
        let wrapped = BASE64_STANDARD.decode(wrapped).unwrap();
        assert_eq!(PrivateKey::from_pem(pem.as_bytes()).unwrap().unwrap(&wrapped).unwrap(), raw());
    }
}

#[test]
fn what_is_wrapped_for_a_public_key_only_its_private_key_unwraps() {
    let pairs = [(RSA_PUBLIC, RSA), (RSA_CERTIFICATE, RSA_PKCS8), (P256_PUBLIC, P256), (P256_PUBLIC, P256_PKCS8), (P521_PUBLIC, P521)];
    for (public, private) in pairs {
        let wrapped = PublicKey::from_pem(public.as_bytes()).unwrap().wrap(&raw()).unwrap();
        assert_eq!(PrivateKey::from_pem(private.as_bytes()).unwrap().unwrap(&wrapped).unwrap(), raw());
        for other in [RSA, P256, P521].into_iter().filter(|other| *other != private && private != RSA_PKCS8 && private != P256_PKCS8) {
            assert!(PrivateKey::from_pem(other.as_bytes()).unwrap().unwrap(&wrapped).is_none());
        }
        for at in [0, wrapped.len() / 2, wrapped.len() - 1] {
            let mut changed = wrapped.clone();
            changed[at] ^= 1;
            assert!(PrivateKey::from_pem(private.as_bytes()).unwrap().unwrap(&changed).is_none());
        }
    }
}

#[test]
fn what_a_producer_seals_any_named_reader_opens_and_nobody_else() {
    let sealer = Sealer::new(&config(&[("a", RSA_PUBLIC), ("b", P521_PUBLIC)], &[])).unwrap();
    let mut sealed = b"a payload".to_vec();
    let param = sealer.seal(&mut sealed);
    assert_eq!(sealed.len(), 9 + 16);
    assert_eq!(&sealer.open(&param, &sealed).unwrap()[..], b"a payload");
    for (name, private) in [("a", RSA), ("b", P521)] {
        let reader = Decryptor::new(&config(&[], &[(name, private)])).unwrap();
        // The second time the data key is remembered.
        for _ in 0..2 {
            assert_eq!(&reader.decrypt(&copies(&sealer), &param, &sealed).unwrap()[..], b"a payload");
        }
        let mut changed = sealed.clone();
        changed[3] ^= 1;
        assert!(reader.decrypt(&copies(&sealer), &param, &changed).is_none());
        assert!(reader.decrypt(&copies(&sealer), &param[1..], &sealed).is_none());
    }
    let stranger = Decryptor::new(&config(&[], &[("a", P256), ("c", RSA)])).unwrap();
    assert!(stranger.decrypt(&copies(&sealer), &param, &sealed).is_none());
    let by_default = KeyReaderConfig { default_private_key: Some(data_url(RSA)), ..KeyReaderConfig::default() };
    let by_default = CryptoConfig { crypto_key_reader_config: Some(by_default), ..CryptoConfig::default() };
    assert!(Decryptor::new(&by_default).unwrap().decrypt(&copies(&sealer), &param, &sealed).is_some());
}

#[test]
fn each_sealer_has_a_data_key_of_its_own_and_each_payload_a_vector_of_its_own() {
    let config = config(&[("a", P256_PUBLIC)], &[]);
    let (one, two) = (Sealer::new(&config).unwrap(), Sealer::new(&config).unwrap());
    let (mut first, mut second) = (b"same".to_vec(), b"same".to_vec());
    let (param, other) = (one.seal(&mut first), one.seal(&mut second));
    assert_ne!(param, other);
    assert_ne!(first, second);
    assert!(two.open(&param, &first).is_none());
    assert_ne!(copies(&one)[0].value, copies(&two)[0].value);
}

#[test]
fn keys_are_read_from_files_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reader.pem");
    std::fs::write(&path, RSA_PUBLIC).unwrap();
    let path = path.display().to_string();
    for url in [format!("file://{path}"), format!("file:{path}")] {
        let mut config = config(&[("a", "")], &[]);
        config.crypto_key_reader_config =
            Some(KeyReaderConfig { default_public_key: Some(KeyLocation::new(url)), ..KeyReaderConfig::default() });
        assert!(config.validate().is_empty());
        std::fs::remove_file(&path).unwrap();
        assert!(problem(&config).contains("cannot be read"), "{}", problem(&config));
        assert!(Sealer::new(&config).unwrap_err().to_string().contains("`a`"));
        std::fs::write(&path, RSA_PUBLIC).unwrap();
    }
}

#[test]
fn what_cannot_be_used_is_named() {
    for (pem, why) in [
        (RSA, "it is a private key"),
        (SECP256K1_PUBLIC, "its curve is none of `secp256r1`"),
        ("hello", "neither a `PUBLIC KEY` nor a `CERTIFICATE`"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "does not parse"),
    ] {
        let said = problem(&config(&[("reader", pem)], &[]));
        assert!(said.contains("`reader`") && said.contains(why), "{said}");
        assert!(!said.contains("BEGIN"), "{said}");
    }
    let mut other = config(&[("reader", RSA_PUBLIC)], &[]);
    other.encryption_keys = Some(vec!["reader".into(), "writer".into()]);
    assert!(problem(&other).contains("`writer`"));
    other.encryption_keys = None;
    assert!(problem(&other).contains("nothing would be encrypted"));
    other.crypto_key_reader_class_name = Some("com.example.Vault".into());
    assert!(problem(&other).contains("`com.example.Vault` cannot be loaded"));
    let http = KeyReaderConfig { default_public_key: Some(KeyLocation::new("http://keys")), ..KeyReaderConfig::default() };
    let http = CryptoConfig { encryption_keys: Some(vec!["k".into()]), crypto_key_reader_config: Some(http), ..CryptoConfig::default() };
    assert!(problem(&http).contains("only `file:` and `data:`"));
}

#[test]
fn no_key_is_ever_printed() {
    let config = config(&[("a", P256_PUBLIC)], &[("a", P256)]);
    let inside: String = BASE64_STANDARD.encode(P256).chars().skip(60).take(20).collect();
    let printed = [
        format!("{config:?}"),
        serde_json::to_string(&config).unwrap(),
        format!("{:?}", Decryptor::new(&config).unwrap()),
        format!("{:?}", Sealer::new(&config).unwrap()),
    ];
    for text in printed {
        assert!(!text.contains(&inside) && !text.contains("BEGIN"), "{text}");
    }
}

#[test]
fn what_tools_write_when_nothing_is_meant_is_off() {
    let empty = r#"{"cryptoKeyReaderClassName":"","cryptoKeyReaderConfig":{},"encryptionKeys":[],"producerCryptoFailureAction":"FAIL","consumerCryptoFailureAction":"FAIL"}"#;
    let config: CryptoConfig = serde_json::from_str(empty).unwrap();
    assert!(config.validate().is_empty() && !config.is_on());
    let nulls =
        r#"{"cryptoKeyReaderClassName":null,"cryptoKeyReaderConfig":null,"encryptionKeys":null,"producerCryptoFailureAction":null}"#;
    assert!(!serde_json::from_str::<CryptoConfig>(nulls).unwrap().is_on());
}
