//! Static keys in the parameter: `{"accessKey":"...","secretKey":"..."}`, with `sessionToken` where the key is a temporary one.
//!
//! They are used as they are and never refreshed.

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use connector_sdk::Problem;
use secrecy::{ExposeSecret, SecretString};

use super::param::Param;
use super::{CredentialPlugin, CredentialSource, Opening, Surroundings};

/// What a blank `awsCredentialPluginName` means.
pub(crate) struct StaticKeysPlugin;

/// The names of the keys; the role plugin takes the same ones as its base.
pub(super) const KEYS: [&str; 3] = ["accessKey", "secretKey", "sessionToken"];

const EXAMPLE: &str = "write a JSON object like `{\"accessKey\":\"...\",\"secretKey\":\"...\"}`, or name a plugin in \
                       `awsCredentialPluginName`";

impl CredentialPlugin for StaticKeysPlugin {
    fn class_name(&self) -> &'static str {
        ""
    }

    fn summary(&self) -> &'static str {
        "static keys in the parameter"
    }

    fn validate(&self, param: Option<&SecretString>) -> Result<Box<dyn CredentialSource>, Vec<Problem>> {
        let mut param = Param::read(param, &KEYS, EXAMPLE)?;
        let keys = StaticKeys::read(&mut param);
        param.finish(keys).map(|keys| Box::new(keys) as Box<dyn CredentialSource>)
    }
}

/// A pair of keys, perhaps with a session token.
#[derive(Debug, Clone)]
pub(super) struct StaticKeys {
    access_key: SecretString,
    secret_key: SecretString,
    session_token: Option<SecretString>,
}

impl StaticKeys {
    /// Takes the keys out of a parameter; `None` when a problem was noted.
    pub(super) fn read(param: &mut Param) -> Option<Self> {
        let access_key = param.required_secret("accessKey");
        let secret_key = param.required_secret("secretKey");
        let session_token = param.optional_secret("sessionToken");
        Some(Self { access_key: access_key?, secret_key: secret_key?, session_token })
    }

    /// The keys in the SDK's form, which neither prints nor serialises the secret.
    pub(super) fn credentials(&self) -> Credentials {
        Credentials::new(
            self.access_key.expose_secret(),
            self.secret_key.expose_secret(),
            self.session_token.as_ref().map(|token| token.expose_secret().to_owned()),
            None,
            "awsCredentialPluginParam",
        )
    }
}

impl CredentialSource for StaticKeys {
    fn describe(&self) -> String {
        "the keys in `awsCredentialPluginParam`".to_owned()
    }

    fn open<'a>(&'a self, _surroundings: &'a Surroundings) -> Opening<'a> {
        Box::pin(async { SharedCredentialsProvider::new(self.credentials()) })
    }
}
