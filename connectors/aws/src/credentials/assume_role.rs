//! An assumed role: STS credentials for `roleArn`, asked for with base keys of one's own or with the default chain.
//!
//! Each AssumeRole is one call with few attempts; [`Refreshing`] decides when. The lifetime counts from the `Date` of STS's answer,
//! so that a machine whose clock is wrong neither uses expired credentials nor asks without need.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_sts::Client;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_types::region::Region;
use connector_sdk::{Error, ErrorKind, Problem};
use secrecy::SecretString;

use super::default_chain::DefaultChain;
use super::param::Param;
use super::refresh::Refreshing;
use super::static_keys::{KEYS, StaticKeys};
use super::{CredentialPlugin, CredentialSource, Opening, Surroundings};
use crate::answered_at::AnsweredAt;
use crate::client::{AwsContext, Pool, ServiceSettings, base_config};
use crate::config::PLUGIN_PARAM;
use crate::endpoint::{Endpoint, parse_region};
use crate::error::{Call, service_code};

/// What STS accepts as a session's duration, in seconds. A stand-in at an `endpoint` of its own may accept less.
const DURATION_SECONDS: std::ops::RangeInclusive<u32> = 900..=43_200;
/// A difference between our clock and STS's that is taken for a wrong clock, not for the way of the answer.
const CLOCK_IS_WRONG: Duration = Duration::from_secs(5);

const EXAMPLE: &str = "write a JSON object like \
                       `{\"roleArn\":\"arn:aws:iam::123456789012:role/orders\",\"roleSessionName\":\"pulsar\"}`";

/// `STSAssumeRoleProviderPlugin`.
pub(crate) struct AssumeRolePlugin;

impl CredentialPlugin for AssumeRolePlugin {
    fn class_name(&self) -> &'static str {
        "STSAssumeRoleProviderPlugin"
    }

    fn summary(&self) -> &'static str {
        "a role assumed by STS"
    }

    fn validate(&self, param: Option<&SecretString>) -> Result<Box<dyn CredentialSource>, Vec<Problem>> {
        let own = ["roleArn", "roleSessionName", "externalId", "region", "durationSeconds", "endpoint"];
        let known: Vec<&str> = own.into_iter().chain(KEYS).collect();
        let mut param = Param::read(param, &known, EXAMPLE)?;
        let role = AssumedRole::read(&mut param);
        param.finish(role).map(|role| Box::new(role) as Box<dyn CredentialSource>)
    }
}

/// A role to assume, and with what.
#[derive(Debug)]
struct AssumedRole {
    role_arn: String,
    session_name: String,
    external_id: Option<String>,
    region: Option<Region>,
    endpoint: Option<Endpoint>,
    duration_seconds: Option<u32>,
    base: Option<StaticKeys>,
}

impl AssumedRole {
    /// Reads every key and notes every problem; `None` when a needed value is not there.
    fn read(param: &mut Param) -> Option<Self> {
        let role_arn = param.required("roleArn");
        let session_name = param.required("roleSessionName");
        let external_id = param.optional("externalId");
        let region = param.optional("region").map(|text| parse_region(&path("region"), &text));
        let endpoint = param.optional("endpoint").map(|text| Endpoint::parse(&path("endpoint"), &text));
        let duration_seconds = param.number("durationSeconds");
        let base = KEYS.iter().any(|key| param.has(key)).then(|| StaticKeys::read(param));

        if let Some(arn) = role_arn.as_deref().filter(|arn| !is_role_arn(arn)) {
            param.problem(
                Problem::new(path("roleArn"), format!("`{arn}` is not the ARN of a role"))
                    .hint("write it like `arn:aws:iam::123456789012:role/orders`"),
            );
        }
        if session_name.as_deref().is_some_and(|name| !is_session_name(name)) {
            param.problem(
                Problem::new(path("roleSessionName"), "is not a session name")
                    .hint("write 2 to 64 letters, digits or characters of `_+=,.@-`"),
            );
        }
        if let Some(seconds) = duration_seconds {
            let allowed = if endpoint.is_some() { 1..=*DURATION_SECONDS.end() } else { DURATION_SECONDS };
            if !allowed.contains(&seconds) {
                param.problem(Problem::new(path("durationSeconds"), format!("{seconds} is out of range")).hint(format!(
                    "write {} to {}",
                    allowed.start(),
                    allowed.end()
                )));
            }
        }
        // Both are looked at before either ends the reading: every problem is to be found at once.
        let (region, endpoint) = (noted(param, region), noted(param, endpoint));
        let base = match base {
            Some(None) => return None,
            Some(keys) => keys,
            None => None,
        };
        Some(Self {
            role_arn: role_arn?,
            session_name: session_name?,
            external_id,
            region: region?,
            endpoint: endpoint?,
            duration_seconds,
            base,
        })
    }
}

/// The JSON path of a key inside the parameter.
fn path(key: &str) -> String {
    format!("{PLUGIN_PARAM}.{key}")
}

/// Notes the problem of an optional value; `Some(None)` is "absent and fine".
fn noted<T>(param: &mut Param, value: Option<Result<T, Problem>>) -> Option<Option<T>> {
    match value.transpose() {
        Ok(value) => Some(value),
        Err(problem) => {
            param.problem(problem);
            None
        }
    }
}

/// `arn:partition:iam::account:role/name`.
fn is_role_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    matches!(parts.as_slice(), ["arn", partition, "iam", "", account, role]
        if !partition.is_empty() && !account.is_empty() && role.strip_prefix("role/").is_some_and(|name| !name.is_empty()))
}

fn is_session_name(text: &str) -> bool {
    (2..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
}

impl CredentialSource for AssumedRole {
    fn describe(&self) -> String {
        format!("the role `{}`", self.role_arn)
    }

    fn open<'a>(&'a self, surroundings: &'a Surroundings) -> Opening<'a> {
        Box::pin(async {
            let mut surroundings = surroundings.clone();
            if let Some(region) = &self.region {
                surroundings.region = region.clone();
            }
            let base = match &self.base {
                Some(keys) => SharedCredentialsProvider::new(keys.credentials()),
                None => DefaultChain { unused_param: false }.open(&surroundings).await,
            };
            let config = base_config(&surroundings.region, &surroundings.pool, base).await;
            let context = AwsContext::from_parts(config, surroundings.region.clone(), surroundings.pool.clone());
            let client = Client::new(&context.service(&ServiceSettings {
                endpoint: self.endpoint.clone(),
                max_attempts: 3,
                attempt_timeout: Some(Duration::from_secs(5)),
                operation_timeout: Some(Duration::from_secs(9)),
                pool: Pool::Shared,
            }));
            let provider = RoleProvider {
                client,
                role_arn: self.role_arn.clone(),
                session_name: self.session_name.clone(),
                external_id: self.external_id.clone(),
                duration_seconds: self.duration_seconds,
                region: surroundings.region.to_string(),
            };
            SharedCredentialsProvider::new(Refreshing::new(SharedCredentialsProvider::new(provider), self.describe()))
        })
    }
}

/// Calls AssumeRole each time it is asked.
#[derive(Debug)]
struct RoleProvider {
    client: Client,
    role_arn: String,
    session_name: String,
    external_id: Option<String>,
    duration_seconds: Option<u32>,
    region: String,
}

impl RoleProvider {
    async fn assume(&self) -> Result<Credentials, CredentialsError> {
        let answered = AnsweredAt::new();
        let asked = SystemTime::now();
        let answer = self
            .client
            .assume_role()
            .role_arn(&self.role_arn)
            .role_session_name(&self.session_name)
            .set_external_id(self.external_id.clone())
            .set_duration_seconds(self.duration_seconds.map(|seconds| i32::try_from(seconds).unwrap_or(i32::MAX)))
            .customize()
            .interceptor(answered.clone())
            .send()
            .await
            .map_err(|error| CredentialsError::provider_error(self.failed(&error)))?;
        let issued = answer.credentials.ok_or_else(|| {
            CredentialsError::provider_error(Error::new(
                ErrorKind::Transient,
                format!("`sts:AssumeRole` on the role `{}` was answered without credentials", self.role_arn),
            ))
        })?;
        let expiry = SystemTime::try_from(issued.expiration)
            .map_err(|_| CredentialsError::unhandled("the expiration of the credentials is not a time"))?;
        Ok(Credentials::new(
            issued.access_key_id,
            issued.secret_access_key,
            Some(issued.session_token),
            Some(by_our_clock(expiry, answered.get(), asked)),
            "STSAssumeRole",
        ))
    }

    fn failed(&self, error: &SdkError<AssumeRoleError, HttpResponse>) -> Error {
        let failed = Call::new("sts:AssumeRole", "the role", &self.role_arn, &self.region).failed(error);
        match service_code(error) {
            // Two sides must agree, and which one did not is rarely in AWS's words.
            Some("AccessDenied" | "AccessDeniedException") => failed.with_hint(
                "allow the action `sts:AssumeRole` on it for this identity, and let the role's trust policy name this identity and \
                 its `externalId`",
            ),
            _ => failed,
        }
    }
}

/// The expiry on our own clock: the service's says when, its `Date` says how long from now.
fn by_our_clock(expiry: SystemTime, answered: Option<SystemTime>, asked: SystemTime) -> SystemTime {
    let Some(answered) = answered else { return expiry };
    let off = match answered.duration_since(asked) {
        Ok(ahead) => ahead,
        Err(behind) => behind.duration(),
    };
    if off < CLOCK_IS_WRONG {
        return expiry;
    }
    match expiry.duration_since(answered) {
        Ok(lifetime) => asked + lifetime,
        Err(_) => expiry,
    }
}

impl ProvideCredentials for RoleProvider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.assume())
    }
}

#[cfg(test)]
#[path = "assume_role_tests.rs"]
mod tests;
