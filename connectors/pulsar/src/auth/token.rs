//! Token authentication (JWT): given as it is, or in a file that is read anew each time.

use super::{AuthData, Authentication, params};
use bytes::Bytes;
use connector_sdk::{Error, ErrorKind};
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use std::path::{Path, PathBuf};

pub(super) enum Token {
    Given(SecretString),
    File(PathBuf),
}

impl Token {
    /// `token:<jwt>`, a `file:` URI, `{"token":"..."}`, or the token itself.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(path) = params::file_path(text) {
            return if Path::new(path).is_absolute() {
                Ok(Self::File(path.into()))
            } else {
                Err("the token's `file:` URI needs an absolute path".to_owned())
            };
        }
        let token = if let Some(token) = text.strip_prefix("token:") {
            token.trim().to_owned()
        } else if text.starts_with('{') {
            params::required(&params::parse(text)?, "token")?
        } else {
            text.to_owned()
        };
        if token.is_empty() {
            return Err("the token is missing: write `token:<jwt>` or `file:///path/to/token`".to_owned());
        }
        Ok(Self::Given(token.into()))
    }
}

impl Authentication for Token {
    fn credentials(&self) -> BoxFuture<'_, Result<AuthData, Error>> {
        Box::pin(async move {
            let token = match self {
                Self::Given(token) => token.expose_secret().to_owned(),
                Self::File(path) => {
                    let text = tokio::fs::read_to_string(path).await.map_err(|error| {
                        Error::new(ErrorKind::Authentication, format!("reading the token file `{}`: {error}", path.display()))
                    })?;
                    text.trim().to_owned()
                }
            };
            Ok(AuthData { method: "token", data: Some(Bytes::from(token)) })
        })
    }
}
