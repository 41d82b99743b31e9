//! AWS credentials and client construction, shared by every AWS connector.
//!
//! The way through it: [`CredentialsConfig::validate`] finds every mistake without the network and gives [`ValidatedCredentials`];
//! [`ValidatedCredentials::connect`] obtains the first credentials and gives an [`AwsContext`]; [`AwsContext::service`] makes the
//! `SdkConfig` from which a client of one service is built. [`Call::failed`] turns what such a client answers into an error that
//! the engine can act on and a person can read; [`AnsweredAt`] reads the service's own clock.
//!
//! Promised: credentials that expire are replaced before they do, and a refresh that fails early costs nothing. Never: a secret in
//! a log, an error or a serialised form; a request without a deadline on connecting; a retry that the caller did not ask for.

mod answered_at;
mod client;
mod config;
mod credentials;
mod endpoint;
mod error;
mod error_codes;
mod pool;
#[cfg(test)]
mod stand_in;

pub use answered_at::AnsweredAt;
pub use client::{AwsContext, AwsSettings, Pool, ServiceSettings};
pub use config::{CredentialsConfig, ValidatedCredentials};
pub use credentials::plugins;
pub use endpoint::{DEFAULT_REGION, Endpoint, parse_region};
pub use error::{Call, service_code};
