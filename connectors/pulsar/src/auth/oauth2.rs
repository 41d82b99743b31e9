//! OAuth2 client credentials: a token from the issuer, kept until shortly before it expires.
//!
//! The issuer is asked at the first handshake, never while a configuration is read. Several connections that need a token at
//! once ask once.

use super::{AuthData, Authentication, params};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use connector_sdk::{Error, ErrorKind};
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

pub(super) struct OAuth2 {
    issuer: String,
    metadata_path: String,
    key: KeySource,
    audience: Option<String>,
    scope: Option<String>,
    trust_file: Option<PathBuf>,
    connect_timeout: Duration,
    read_timeout: Duration,
    /// Part of a token's life after which it is renewed.
    renew_at: f64,
    cached: Mutex<Option<Cached>>,
}

enum KeySource {
    File(PathBuf),
    Inline(SecretString),
}

struct Cached {
    token: SecretString,
    until: Instant,
}

#[derive(Deserialize)]
struct KeyFile {
    client_id: String,
    client_secret: SecretString,
}

#[derive(Deserialize)]
struct Metadata {
    token_endpoint: String,
}

#[derive(Deserialize)]
struct Granted {
    access_token: SecretString,
    #[serde(default)]
    expires_in: Option<u64>,
}

#[derive(Deserialize, Default)]
struct Denied {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

impl OAuth2 {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let params = params::parse(text)?;
        let optional = |name: &str| params.get(name).filter(|value| !value.is_empty()).cloned();
        let kind = optional("type").unwrap_or_else(|| "client_credentials".to_owned());
        if kind != "client_credentials" {
            return Err(format!("`type` `{kind}` is not offered, only `client_credentials`"));
        }
        if let Some(method) = optional("tokenEndpointAuthMethod").filter(|method| method != "client_secret_post") {
            return Err(format!("`tokenEndpointAuthMethod` `{method}` is not offered, only `client_secret_post`"));
        }
        let issuer = params::required(&params, "issuerUrl")?;
        if !issuer.starts_with("http://") && !issuer.starts_with("https://") {
            return Err("`issuerUrl` is not an http or https URL".to_owned());
        }
        Ok(Self {
            issuer,
            metadata_path: optional("wellKnownMetadataPath").unwrap_or_else(|| "/.well-known/openid-configuration".to_owned()),
            key: key_source(&params::required(&params, "privateKey")?)?,
            audience: optional("audience"),
            scope: optional("scope"),
            trust_file: optional("trustCertsFilePath").map(Into::into),
            connect_timeout: duration(&params, "connectTimeout", Duration::from_secs(10))?,
            read_timeout: duration(&params, "readTimeout", Duration::from_secs(30))?,
            renew_at: percent(&params)?,
            cached: Mutex::new(None),
        })
    }

    async fn fetch(&self) -> Result<Cached, Error> {
        let key = self.key_file().await?;
        let client = self.client().await?;
        let url = format!("{}/{}", self.issuer.trim_end_matches('/'), self.metadata_path.trim_start_matches('/'));
        let metadata: Metadata = async { client.get(&url).send().await?.error_for_status()?.json().await }
            .await
            .map_err(|error| http_error(&format!("asking the issuer's metadata at `{url}`"), &error))?;
        let doing = format!("asking for a token at `{}`", metadata.token_endpoint);
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", key.client_id.as_str()),
            ("client_secret", key.client_secret.expose_secret()),
        ];
        form.extend(self.audience.as_deref().map(|audience| ("audience", audience)));
        form.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
        let asked = Instant::now();
        let answer = client.post(&metadata.token_endpoint).form(&form).send().await.map_err(|error| http_error(&doing, &error))?;
        let status = answer.status();
        if status.is_client_error() && status.as_u16() != 429 {
            let denied: Denied = answer.json().await.unwrap_or_default();
            let reason = format!("{doing}: status {}: {} {}", status.as_u16(), denied.error, denied.error_description);
            return Err(Error::new(ErrorKind::Authentication, reason.trim_end().to_owned())
                .with_hint("check the key file's `client_id` and `client_secret`, the `audience` and the `scope`"));
        }
        let granted: Granted =
            async { answer.error_for_status()?.json().await }.await.map_err(|error: reqwest::Error| http_error(&doing, &error))?;
        let life = Duration::from_secs(granted.expires_in.unwrap_or(3_600));
        Ok(Cached { token: granted.access_token, until: asked + life.mul_f64(self.renew_at) })
    }

    async fn key_file(&self) -> Result<KeyFile, Error> {
        let text = match &self.key {
            KeySource::Inline(text) => text.expose_secret().to_owned(),
            KeySource::File(path) => tokio::fs::read_to_string(path)
                .await
                .map_err(|error| Error::new(ErrorKind::Authentication, format!("reading the key file `{}`: {error}", path.display())))?,
        };
        // The parser's words may hold parts of the secret and are not passed on.
        serde_json::from_str(&text).map_err(|_| {
            Error::new(ErrorKind::Authentication, "the OAuth2 key file is not a JSON object with `client_id` and `client_secret`")
        })
    }

    async fn client(&self) -> Result<reqwest::Client, Error> {
        let doing = "setting up the client for the OAuth2 issuer";
        let tls = crate::tls::client_config(self.trust_file.as_deref(), false, true, None).await.map_err(|error| error.context(doing))?;
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(self.connect_timeout)
            .timeout(self.connect_timeout + self.read_timeout)
            .build()
            .map_err(|error| http_error(doing, &error))
    }
}

impl Authentication for OAuth2 {
    fn credentials(&self) -> BoxFuture<'_, Result<AuthData, Error>> {
        Box::pin(async move {
            // An async lock: who comes second waits for the first one's token instead of asking again.
            let mut cached = self.cached.lock().await;
            let fresh = match cached.take() {
                Some(cached) if Instant::now() < cached.until => cached,
                _ => self.fetch().await?,
            };
            let data = Bytes::from(fresh.token.expose_secret().to_owned());
            *cached = Some(fresh);
            Ok(AuthData { method: "token", data: Some(data) })
        })
    }
}

fn http_error(doing: &str, error: &reqwest::Error) -> Error {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let refused = error.status().is_some_and(|status| status.is_client_error() && status.as_u16() != 429);
    let kind = if refused { ErrorKind::Configuration } else { ErrorKind::Transient };
    Error::new(kind, format!("{doing}: {cause}")).with_hint("check the OAuth2 `issuerUrl` and that it can be reached")
}

fn key_source(url: &str) -> Result<KeySource, String> {
    if let Some(path) = params::file_path(url) {
        return Ok(KeySource::File(path.into()));
    }
    let data = url
        .strip_prefix("data:application/json;base64,")
        .ok_or("`privateKey` is neither a `file:` nor a `data:application/json;base64,` URL")?;
    let bytes = STANDARD.decode(data).map_err(|_| "`privateKey` is not valid base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "`privateKey` is not text")?;
    Ok(KeySource::Inline(text.into()))
}

fn percent(params: &BTreeMap<String, String>) -> Result<f64, String> {
    let Some(text) = params.get("earlyTokenRefreshPercent").filter(|text| !text.is_empty()) else {
        return Ok(0.9);
    };
    let number: f64 = text.parse().map_err(|_| "`earlyTokenRefreshPercent` is not a number")?;
    // Java takes 1 to 100, and fractions of 1.
    let part = if number > 1.0 { number / 100.0 } else { number };
    if part > 0.0 && part <= 1.0 { Ok(part) } else { Err("`earlyTokenRefreshPercent` is not between 0 and 100".to_owned()) }
}

/// Durations as Java writes them, in the forms that matter here: `PT10S`, `PT1M30S`, `PT0.5S`; or a plain number of milliseconds.
fn duration(params: &BTreeMap<String, String>, name: &str, default: Duration) -> Result<Duration, String> {
    let Some(text) = params.get(name).filter(|text| !text.is_empty()) else {
        return Ok(default);
    };
    let wrong = || format!("`{name}` is not a duration such as `PT10S`");
    if let Ok(millis) = text.parse::<u64>() {
        return Ok(Duration::from_millis(millis));
    }
    let upper = text.to_ascii_uppercase();
    let mut rest = upper.strip_prefix("PT").ok_or_else(wrong)?;
    let mut seconds = 0.0;
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        let number: f64 = rest[..at].parse().map_err(|_| wrong())?;
        seconds += number
            * match rest.as_bytes().get(at) {
                Some(b'H') => 3_600.0,
                Some(b'M') => 60.0,
                Some(b'S') => 1.0,
                _ => return Err(wrong()),
            };
        rest = &rest[at + 1..];
    }
    if !rest.is_empty() { Err(wrong()) } else { Duration::try_from_secs_f64(seconds).map_err(|_| wrong()) }
}
