//! The default chain: environment, profiles (with SSO and processes), web identity, ECS and EKS, instance metadata (IMDSv2).
//!
//! The parameter means nothing here. What the chain finds is refreshed before it expires.

use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::imds;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::SharedCredentialsProvider;
use connector_sdk::Problem;
use secrecy::{ExposeSecret, SecretString};

use super::refresh::Refreshing;
use super::{CredentialPlugin, CredentialSource, Opening, Surroundings};

/// `AwsDefaultProviderChainPlugin`.
pub(crate) struct DefaultChainPlugin;

impl CredentialPlugin for DefaultChainPlugin {
    fn class_name(&self) -> &'static str {
        "AwsDefaultProviderChainPlugin"
    }

    fn summary(&self) -> &'static str {
        "environment, profiles, web identity, container, instance metadata"
    }

    fn validate(&self, param: Option<&SecretString>) -> Result<Box<dyn CredentialSource>, Vec<Problem>> {
        let text = param.map(|param| param.expose_secret().trim()).unwrap_or_default();
        // The Java connector demanded a parameter even here, so old configurations have something: empty, or an empty object.
        let unused = !matches!(text, "" | "{}" | "null");
        Ok(Box::new(DefaultChain { unused_param: unused }))
    }
}

/// The chain, not yet asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct DefaultChain {
    /// Whether a parameter was given that this plugin does not read.
    pub(super) unused_param: bool,
}

impl DefaultChain {
    /// The chain's provider without a cache in front of it.
    pub(super) async fn provider(self, surroundings: &Surroundings) -> DefaultCredentialsChain {
        let config =
            ProviderConfig::default().with_region(Some(surroundings.region.clone())).with_http_client(surroundings.pool.client(false));
        // Off EC2 nothing listens at the metadata address: a second attempt is enough to know, and a start says so within seconds.
        let metadata = imds::Client::builder()
            .configure(&config)
            .connect_timeout(Duration::from_secs(1))
            .read_timeout(Duration::from_secs(1))
            .max_attempts(2)
            .build();
        DefaultCredentialsChain::builder().region(surroundings.region.clone()).configure(config).imds_client(metadata).build().await
    }
}

impl CredentialSource for DefaultChain {
    fn describe(&self) -> String {
        "the default credential chain".to_owned()
    }

    fn open<'a>(&'a self, surroundings: &'a Surroundings) -> Opening<'a> {
        Box::pin(async {
            if self.unused_param {
                tracing::info!("`awsCredentialPluginParam` means nothing to the default credential chain and is not read");
            }
            let chain = self.provider(surroundings).await;
            SharedCredentialsProvider::new(Refreshing::new(SharedCredentialsProvider::new(chain), self.describe()))
        })
    }
}
