//! User name and password.

use super::{AuthData, Authentication, params};
use bytes::Bytes;
use connector_sdk::Error;
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};

pub(super) struct Basic {
    user: String,
    password: SecretString,
}

impl Basic {
    /// `{"userId":"...","password":"..."}` or the same as pairs.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let params = params::parse(text)?;
        let user = params::required(&params, "userId")?;
        Ok(Self { user, password: params::required(&params, "password")?.into() })
    }
}

impl Authentication for Basic {
    fn credentials(&self) -> BoxFuture<'_, Result<AuthData, Error>> {
        Box::pin(async move {
            let both = format!("{}:{}", self.user, self.password.expose_secret());
            Ok(AuthData { method: "basic", data: Some(Bytes::from(both)) })
        })
    }
}
