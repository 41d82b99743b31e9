//! TLS client certificates: the identity is what TLS has shown, the handshake carries nothing.

use super::{AuthData, Authentication, ClientCertificate, params};
use connector_sdk::Error;
use futures_util::future::BoxFuture;

pub(super) struct Tls(ClientCertificate);

impl Tls {
    /// `tlsCertFile:..,tlsKeyFile:..` or JSON with these names.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let params = params::parse(text)?;
        let path = |name| params::required(&params, name).map(|path| params::file_path(&path).unwrap_or(&path).into());
        Ok(Self(ClientCertificate { certificate: path("tlsCertFile")?, key: path("tlsKeyFile")? }))
    }
}

impl Authentication for Tls {
    fn credentials(&self) -> BoxFuture<'_, Result<AuthData, Error>> {
        Box::pin(async { Ok(AuthData { method: "tls", data: None }) })
    }

    fn client_certificate(&self) -> Option<&ClientCertificate> {
        Some(&self.0)
    }
}
