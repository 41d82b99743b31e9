//! What clients are built from: region, credentials, HTTP pools, deadlines, and the address of each service.
//!
//! A client is made by `aws_sdk_x::Client::new(&context.service(&settings))`. Settings of the environment and of profiles that
//! concern addressing (`AWS_ENDPOINT_URL_*`, `AWS_USE_FIPS_ENDPOINT`, `AWS_USE_DUALSTACK_ENDPOINT`) hold where the configuration
//! names no endpoint. Retries are the caller's: one attempt unless the settings say more.

use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::{AppName, BehaviorVersion};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::origin::Origin;
use aws_types::region::Region;
use connector_sdk::Error;

use crate::credentials::{CredentialSource, Surroundings};
use crate::endpoint::{DEFAULT_REGION, Endpoint};
use crate::error::of_credentials;
use crate::pool::HttpPool;

/// Longest wait for a TCP and TLS connection: just above one lost SYN's retransmission.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);
/// What AWS sees in the user agent as `app/...`.
const APP_NAME: &str = "pulsar-connect";

/// What [`ValidatedCredentials::connect`](crate::ValidatedCredentials::connect) needs beside the credentials.
#[derive(Debug, Clone, Default)]
pub struct AwsSettings {
    /// `awsRegion`; absent only where every service has an endpoint, then [`DEFAULT_REGION`] signs.
    pub region: Option<Region>,
}

/// Which connections a client uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pool {
    /// The context's own pool, for calls that ask and answer.
    #[default]
    Shared,
    /// A new pool for this client alone (each call of [`AwsContext::service`] makes another): long-lived streams go here.
    Dedicated,
}

/// How one service is spoken to.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// The configured address; `None` is AWS's own for the region.
    pub endpoint: Option<Endpoint>,
    /// Attempts of a call, the first included; at least 1.
    pub max_attempts: u32,
    /// Longest duration of one attempt, from sending to the whole answer; `None` only for streams.
    pub attempt_timeout: Option<Duration>,
    /// Longest duration of a call with all its attempts and waits.
    pub operation_timeout: Option<Duration>,
    /// Which connections it uses.
    pub pool: Pool,
}

impl Default for ServiceSettings {
    /// AWS's own address, one attempt of at most 10 s, shared connections.
    fn default() -> Self {
        Self {
            endpoint: None,
            max_attempts: 1,
            attempt_timeout: Some(Duration::from_secs(10)),
            operation_timeout: None,
            pool: Pool::Shared,
        }
    }
}

/// One set of credentials in one region, from which clients of any service are built. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AwsContext {
    base: SdkConfig,
    region: Region,
    pool: HttpPool,
}

impl AwsContext {
    pub(crate) async fn connect(source: &dyn CredentialSource, settings: &AwsSettings) -> Result<Self, Error> {
        let region = settings.region.clone().unwrap_or(Region::from_static(DEFAULT_REGION));
        let pool = HttpPool::new();
        let surroundings = Surroundings { region: region.clone(), pool: pool.clone() };
        let provider = source.open(&surroundings).await;
        // The first credentials are asked for here, so that a wrong key or role is said at the start and not by some later call.
        provider.provide_credentials().await.map_err(|error| of_credentials(&source.describe(), &error))?;
        let base = base_config(&region, &pool, provider).await;
        Ok(Self { base, region, pool })
    }

    /// A context around a configuration that is already there.
    pub(crate) fn from_parts(base: SdkConfig, region: Region, pool: HttpPool) -> Self {
        Self { base, region, pool }
    }

    /// The region that signs requests.
    pub fn region(&self) -> &str {
        self.region.as_ref()
    }

    /// The provider behind every client of this context.
    pub fn credentials(&self) -> Option<SharedCredentialsProvider> {
        self.base.credentials_provider()
    }

    /// What a client of one service is built from: `aws_sdk_kinesis::Client::new(&context.service(&settings))`.
    pub fn service(&self, settings: &ServiceSettings) -> SdkConfig {
        let pool = match settings.pool {
            Pool::Shared => self.pool.clone(),
            Pool::Dedicated => HttpPool::new(),
        };
        let plain = settings.endpoint.as_ref().is_some_and(Endpoint::is_plain);
        let mut builder = self
            .base
            .to_builder()
            .http_client(pool.client(plain))
            .retry_config(retry(settings.max_attempts))
            .timeout_config(timeouts(settings));
        if let Some(endpoint) = &settings.endpoint {
            // Without the origin an `AWS_ENDPOINT_URL_*` of the environment would win over the configuration.
            builder.insert_origin("endpoint_url", Origin::shared_config());
            builder.set_endpoint_url(Some(endpoint.as_str().to_owned()));
        }
        builder.build()
    }
}

/// The configuration all services begin from: environment and profile for what is about addressing, ours for the rest.
pub(crate) async fn base_config(region: &Region, pool: &HttpPool, provider: SharedCredentialsProvider) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(region.clone())
        .http_client(pool.client(false))
        .credentials_provider(provider)
        // Our providers refresh by themselves, in time; a second cache would hand out old credentials until they expire.
        .identity_cache(IdentityCache::no_cache())
        .retry_config(retry(1))
        .timeout_config(timeouts(&ServiceSettings::default()))
        .app_name(AppName::new(APP_NAME).expect("the name has only letters and a hyphen"))
        .load()
        .await
}

fn retry(max_attempts: u32) -> RetryConfig {
    RetryConfig::standard().with_max_attempts(max_attempts.max(1))
}

fn timeouts(settings: &ServiceSettings) -> TimeoutConfig {
    // Connect and read timeouts are the same everywhere: the HTTP client keeps one connector per pair of them.
    let mut builder = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT);
    builder.set_operation_attempt_timeout(settings.attempt_timeout);
    builder.set_operation_timeout(settings.operation_timeout);
    builder.build()
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
