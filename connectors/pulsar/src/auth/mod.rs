//! Authentication by the names and parameter forms of Java's plugins: one provider, one file.
//!
//! A provider is asked for its credentials at each handshake and at each refresh the broker demands, so what rotates (a token
//! file, an OAuth2 token) is taken up without a restart. Credentials are never printed.

mod basic;
mod client_certificate;
mod oauth2;
mod params;
mod token;

use bytes::Bytes;
use connector_sdk::{Error, Problem};
use futures_util::future::BoxFuture;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// What a handshake carries.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthData {
    /// The method's name on the wire.
    pub method: &'static str,
    /// The credentials; absent for methods that have none.
    pub data: Option<Bytes>,
}

impl AuthData {
    /// No authentication.
    pub fn none() -> Self {
        Self { method: "none", data: None }
    }
}

impl fmt::Debug for AuthData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthData({})", self.method)
    }
}

/// Files of a client certificate, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate and its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A way to say who we are.
pub trait Authentication: Send + Sync {
    /// The credentials as they are now.
    fn credentials(&self) -> BoxFuture<'_, Result<AuthData, Error>>;

    /// The certificate to show in TLS, for methods that have one.
    fn client_certificate(&self) -> Option<&ClientCertificate> {
        None
    }
}

struct NoAuthentication;

impl Authentication for NoAuthentication {
    fn credentials(&self) -> BoxFuture<'_, Result<AuthData, Error>> {
        Box::pin(async { Ok(AuthData::none()) })
    }
}

const PREFIX: &str = "org.apache.pulsar.client.impl.auth.";
const OFFERED: &str = "`AuthenticationToken`, `AuthenticationBasic`, `oauth2.AuthenticationOAuth2` and `AuthenticationTls` are offered";

/// The provider for a plugin's class name (or the method's short name) and its parameters.
///
/// # Errors
/// A plugin that is not offered, or parameters it cannot use; found without the network.
pub fn from_plugin(plugin: Option<&str>, params: Option<&str>) -> Result<Arc<dyn Authentication>, Problem> {
    let params = params.unwrap_or_default();
    let plugin = plugin.map(str::trim).unwrap_or_default();
    let wrong = |cause: String| Problem::new("clientAuthParams", cause);
    match plugin.strip_prefix(PREFIX).unwrap_or(plugin) {
        "" | "none" | "AuthenticationDisabled" => Ok(Arc::new(NoAuthentication)),
        "AuthenticationToken" | "token" => Ok(Arc::new(token::Token::parse(params).map_err(wrong)?)),
        "AuthenticationBasic" | "basic" => Ok(Arc::new(basic::Basic::parse(params).map_err(wrong)?)),
        "oauth2.AuthenticationOAuth2" | "oauth2" => Ok(Arc::new(oauth2::OAuth2::parse(params).map_err(wrong)?)),
        "AuthenticationTls" | "tls" => Ok(Arc::new(client_certificate::Tls::parse(params).map_err(wrong)?)),
        "AuthenticationKeyStoreTls" => Err(Problem::new("clientAuthPlugin", "Java key stores cannot be read here")
            .hint("convert it to PEM and use `AuthenticationTls` with `tlsCertFile` and `tlsKeyFile`")),
        _ => Err(Problem::new("clientAuthPlugin", format!("`{plugin}` is not offered")).hint(OFFERED)),
    }
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
