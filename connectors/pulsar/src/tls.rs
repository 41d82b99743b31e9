//! TLS with rustls: trust file or the system's roots, client certificates, host names verified unless told otherwise.

use crate::auth::ClientCertificate;
use connector_sdk::{Error, ErrorKind};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;

/// A configuration for connections to a broker; files are read anew each time, so rotated ones are taken up.
///
/// # Errors
/// [`ErrorKind::Authentication`] when a file cannot be read or holds no usable certificate or key.
pub(crate) async fn client_config(
    trust_file: Option<&Path>,
    insecure: bool,
    verify_hostname: bool,
    client: Option<&ClientCertificate>,
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = verifier(trust_file, insecure, verify_hostname, &provider).await?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(format!("setting up TLS: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match client {
        None => Ok(builder.with_no_client_auth()),
        Some(files) => {
            let chain = certificates(&files.certificate).await?;
            let key = read(&files.key).await?;
            let key = PrivateKeyDer::from_pem_slice(&key)
                .map_err(|error| wrong(format!("`{}` holds no private key in PEM: {error}", files.key.display())))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| wrong(format!("the client certificate cannot be used: {error}")))
        }
    }
}

/// Why a certificate was not accepted; rustls's own words hold debug prints.
fn refused(refusal: &CertificateError) -> &'static str {
    match refusal {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is not valid yet",
        CertificateError::UnknownIssuer => "has an issuer that is not trusted",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "is for another host name",
        CertificateError::Revoked => "was revoked",
        CertificateError::BadEncoding | CertificateError::BadSignature => "is damaged",
        _ => "was not accepted",
    }
}

/// The error of a TLS handshake, by what a person can do about it.
pub(crate) fn handshake_error(doing: &str, error: &std::io::Error) -> Error {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        let text = format!("{doing}: {error}");
        return match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                Error::transient(text).with_hint("it closed the connection; check that the port speaks TLS")
            }
            _ => Error::transient(text),
        };
    };
    let message = match tls {
        rustls::Error::InvalidCertificate(refusal) => format!("{doing}: the broker's certificate {}", refused(refusal)),
        other => format!("{doing}: {other}"),
    };
    match tls {
        rustls::Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            Error::new(ErrorKind::Authentication, message).with_hint(
                "the broker's certificate is for another host name: use that name in the service URL, or turn host name verification off",
            )
        }
        rustls::Error::InvalidCertificate(_) => Error::new(ErrorKind::Authentication, message)
            .with_hint("give the authority that signed the broker's certificate as the TLS trust file (`--tls-trust-cert-path`), and check this machine's clock"),
        rustls::Error::AlertReceived(_) => Error::new(ErrorKind::Authentication, message)
            .with_hint("the broker refused the TLS handshake; it may demand a client certificate (`AuthenticationTls`)"),
        rustls::Error::InvalidMessage(_) => Error::new(ErrorKind::Configuration, message)
            .with_hint("the port does not speak TLS; use its TLS port, or `pulsar://` instead of `pulsar+ssl://`"),
        _ => Error::transient(message),
    }
}

async fn verifier(
    trust_file: Option<&Path>,
    insecure: bool,
    verify_hostname: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    if insecure {
        return Ok(Arc::new(Lenient { chain: None, provider: Arc::clone(provider) }));
    }
    let mut roots = RootCertStore::empty();
    match trust_file {
        Some(path) => {
            for certificate in certificates(path).await? {
                roots.add(certificate).map_err(|error| wrong(format!("a certificate in `{}` cannot be used: {error}", path.display())))?;
            }
        }
        None => {
            let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs)
                .await
                .map_err(|error| Error::transient(format!("reading the system's certificate authorities: {error}")))?;
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(wrong("the system has no certificate authorities".to_owned())
                    .with_hint("give the one that signed the broker's certificate as the TLS trust file"));
            }
        }
    }
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| wrong(format!("setting up TLS: {error}")))?;
    if verify_hostname {
        return Ok(chain);
    }
    Ok(Arc::new(Lenient { chain: Some(chain), provider: Arc::clone(provider) }))
}

async fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read(path).await?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(wrong(format!("`{}` holds no certificate in PEM", path.display()))),
        Err(error) => Err(wrong(format!("`{}` cannot be read as PEM: {error}", path.display()))),
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, Error> {
    tokio::fs::read(path).await.map_err(|error| wrong(format!("reading `{}`: {error}", path.display())))
}

fn wrong(message: String) -> Error {
    Error::new(ErrorKind::Authentication, message)
}

/// What the user chose when turning verification off: no check of the name, or (without `chain`) none of the certificate at all.
/// Signatures of the handshake are verified all the same.
#[derive(Debug)]
struct Lenient {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        // The chain is verified before the name, so an error about the name says that the chain was good.
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
#[path = "tls_tests/mod.rs"]
mod tests;
