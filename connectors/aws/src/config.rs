//! The two keys that name credentials in every AWS connector's configuration, and their validation.
//!
//! Validation reads no file, no environment and no network. It never repeats the parameter's text in a problem.

use connector_sdk::{Error, Problem};
use secrecy::SecretString;

use crate::client::{AwsContext, AwsSettings};
use crate::credentials::{self, CredentialSource};

/// Key of the plugin's name in a connector's configuration.
pub(crate) const PLUGIN_NAME: &str = "awsCredentialPluginName";
/// Key of the plugin's parameter in a connector's configuration.
pub(crate) const PLUGIN_PARAM: &str = "awsCredentialPluginParam";

/// Which plugin provides the credentials, and what it is told. As users write it.
#[derive(Debug, Clone, Default)]
pub struct CredentialsConfig {
    /// `awsCredentialPluginName`: a class name; absent or blank means static keys in the parameter.
    pub plugin_name: Option<String>,
    /// `awsCredentialPluginParam`: JSON text that the plugin reads; may be absent where the plugin needs none.
    pub plugin_param: Option<SecretString>,
}

impl CredentialsConfig {
    /// Checks name and parameter without the network. Problems have the paths `awsCredentialPluginName` and
    /// `awsCredentialPluginParam`, relative to the connector's own map.
    pub fn validate(&self) -> Result<ValidatedCredentials, Vec<Problem>> {
        let name = self.plugin_name.as_deref().unwrap_or_default().trim();
        let Some(plugin) = credentials::find(name) else {
            return Err(vec![credentials::unknown(name)]);
        };
        let source = plugin.validate(self.plugin_param.as_ref())?;
        Ok(ValidatedCredentials { source })
    }
}

/// Credentials whose configuration is sound; nothing has been asked of the network yet.
#[derive(Debug)]
pub struct ValidatedCredentials {
    pub(crate) source: Box<dyn CredentialSource>,
}

impl ValidatedCredentials {
    /// What provides the credentials, for messages: "the keys in `awsCredentialPluginParam`", "the role `arn:...`".
    pub fn describe(&self) -> String {
        self.source.describe()
    }

    /// Obtains the first credentials and gives what clients are built from.
    ///
    /// Errors: configuration or authentication when the answer says so, transient when nothing answered. May be called again.
    pub async fn connect(&self, settings: &AwsSettings) -> Result<AwsContext, Error> {
        AwsContext::connect(self.source.as_ref(), settings).await
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
