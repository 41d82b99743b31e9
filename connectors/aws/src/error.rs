//! From what the SDK answers to an error that the engine acts on and a person can read.
//!
//! A message names the AWS call, what it was made on, the region and AWS's own words; a hint says what to do. Nothing here is a
//! debug print, and no credential is ever part of it.

use std::error::Error as StdError;
use std::io;
use std::iter;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use connector_sdk::{Error, ErrorKind};

use crate::error_codes::{Class, class_of};

const WHERE_CREDENTIALS_MAY_BE: &str = "set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, a profile, a web identity or a role of \
                                        the host, or give keys in `awsCredentialPluginParam`";

/// One call of an AWS service, as messages name it.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    action: &'a str,
    what: &'a str,
    name: &'a str,
    region: &'a str,
}

impl<'a> Call<'a> {
    /// `action` is the name that a policy uses (`kinesis:ListShards`); `what` and `name` say on what (`stream`, `orders`).
    pub fn new(action: &'a str, what: &'a str, name: &'a str, region: &'a str) -> Self {
        Self { action, what, name, region }
    }

    /// The error of this call. Kinds: throttled and transient for what passes, authentication for what was refused,
    /// configuration for what is not there or not understood, fenced for a condition that did not hold.
    pub fn failed<E>(&self, error: &SdkError<E, HttpResponse>) -> Error
    where
        E: StdError + ProvideErrorMetadata + 'static,
    {
        if let Some(ours) = find::<Error>(error) {
            // The credentials failed before anything was sent; that error says all there is.
            return ours.clone().context(self.subject());
        }
        if let Some(credentials) = find::<CredentialsError>(error) {
            return of_credentials("the credentials", credentials).context(self.subject());
        }
        match error {
            SdkError::ServiceError(answer) => self.refused(answer.err(), answer.raw()),
            SdkError::ResponseError(answer) => self.not_understood(answer.raw()),
            SdkError::TimeoutError(_) => Error::transient(format!("{} was not answered in time", self.subject()))
                .with_hint("check that the network lets this host reach the service"),
            SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
                Some(connector) => self.not_sent(connector),
                None => Error::transient(format!("{} could not be sent", self.subject())),
            },
            other => Error::configuration(format!("{} could not be made: {}", self.subject(), words(other))),
        }
    }

    fn subject(&self) -> String {
        format!("`{}` on {} `{}` in `{}`", self.action, self.what, self.name, self.region)
    }

    /// The service answered with an error.
    fn refused<E: ProvideErrorMetadata>(&self, error: &E, answer: &HttpResponse) -> Error {
        let status = answer.status().as_u16();
        let Some(code) = error.code() else {
            return self.not_understood(answer);
        };
        let (class, hint) = class_of(code, status);
        let (kind, verb) = match class {
            Class::Throttled => (ErrorKind::Throttled(asked_patience(answer)), "was throttled"),
            Class::Transient => (ErrorKind::Transient, "failed"),
            Class::Authentication => (ErrorKind::Authentication, "was refused"),
            Class::Configuration => (ErrorKind::Configuration, "was refused"),
            Class::Fenced => (ErrorKind::Fenced, "was refused"),
        };
        let said = match error.message().map(sentence).filter(|text| !text.is_empty()) {
            Some(text) => format!("{text} (`{code}`)"),
            None => format!("`{code}`"),
        };
        let error = Error::new(kind, format!("{} {verb}: {said}", self.subject()));
        match hint {
            Some(hint) => error.with_hint(hint.replace("{action}", self.action).replace("{what}", self.what).replace("{name}", self.name)),
            None => error,
        }
    }

    /// Something answered, but not as the service does.
    fn not_understood(&self, answer: &HttpResponse) -> Error {
        let status = answer.status().as_u16();
        let message = format!("{} was answered with status {status} and no error code of AWS", self.subject());
        match status {
            429 => Error::new(ErrorKind::Throttled(asked_patience(answer)), message),
            401 | 403 => Error::new(ErrorKind::Authentication, message)
                .with_hint("something between this host and the service may have refused it, such as a proxy"),
            200..=299 | 500.. => Error::transient(message),
            _ => Error::configuration(message).with_hint("check that the endpoint is that of the service"),
        }
    }

    /// Nothing answered.
    fn not_sent(&self, error: &ConnectorError) -> Error {
        if let Some(why) = find::<rustls::Error>(error).and_then(certificate_refused) {
            let message = format!("{} could not be sent: the endpoint's certificate {why}", self.subject());
            return Error::new(ErrorKind::Authentication, message).with_hint(
                "check the address, this machine's clock, and that the certificate's issuer is in the system's trust store (or in \
                 the file that `SSL_CERT_FILE` names)",
            );
        }
        let message = format!("{} could not be sent: {}", self.subject(), words(error));
        if error.is_user() {
            return Error::configuration(message).with_hint("check the endpoint's address");
        }
        Error::transient(message).with_hint("check the endpoint, the region and that the network lets this host reach it")
    }
}

/// The service's own error code, such as `ResourceInUseException`, if it answered with one.
pub fn service_code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// The error of a credential provider; `what` names it. Gives back our own error where one is inside.
pub(crate) fn of_credentials(what: &str, error: &CredentialsError) -> Error {
    if let Some(ours) = find::<Error>(error) {
        return ours.clone();
    }
    if let Some(sts) = find::<SdkError<AssumeRoleWithWebIdentityError, HttpResponse>>(error) {
        return Call::new("sts:AssumeRoleWithWebIdentity", "the web identity of", what, "this host").failed(sts);
    }
    if let Some(sts) = find::<SdkError<AssumeRoleError, HttpResponse>>(error) {
        return Call::new("sts:AssumeRole", "the profile's role of", what, "this host").failed(sts);
    }
    let unreachable = find::<ConnectorError>(error).is_some_and(|error| error.is_io() || error.is_timeout());
    match error {
        CredentialsError::CredentialsNotLoaded(_) => Error::new(ErrorKind::Authentication, format!("{what} found no AWS credentials"))
            .with_hint(
                "set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, a profile, a web identity or a role of the host, or give \
                 keys in `awsCredentialPluginParam`",
            ),
        CredentialsError::ProviderTimedOut(_) => {
            Error::transient(format!("{what} gave no AWS credentials in time")).with_hint("check that its service can be reached")
        }
        CredentialsError::InvalidConfiguration(_) => Error::configuration(format!("{what} cannot be used: {}", words(error)))
            .with_hint("correct the profile files or the environment of this process"),
        _ if unreachable => Error::transient(format!("{what} could not be reached: {}", words(error))),
        _ => Error::new(ErrorKind::Authentication, format!("{what} gave no AWS credentials: {}", words(error)))
            .with_hint(WHERE_CREDENTIALS_MAY_BE),
    }
}

/// Why the other side's certificate was not accepted, if that is what failed. rustls's own words hold debug prints.
fn certificate_refused(error: &rustls::Error) -> Option<&'static str> {
    use rustls::CertificateError as Refusal;
    let refusal = match error {
        rustls::Error::InvalidCertificate(refusal) => refusal,
        rustls::Error::NoCertificatesPresented => return Some("was not shown"),
        _ => return None,
    };
    Some(match refusal {
        Refusal::Expired | Refusal::ExpiredContext { .. } => "has expired",
        Refusal::NotValidYet | Refusal::NotValidYetContext { .. } => "is not valid yet",
        Refusal::UnknownIssuer => "has an issuer that is not trusted",
        Refusal::NotValidForName | Refusal::NotValidForNameContext { .. } => "is for another host name",
        Refusal::Revoked => "was revoked",
        Refusal::BadEncoding | Refusal::BadSignature => "is damaged",
        _ => "was not accepted",
    })
}

/// How long the service asks to wait, if it says so in seconds.
fn asked_patience(answer: &HttpResponse) -> Option<Duration> {
    answer.headers().get("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs)
}

/// The first error of type `T` in the chain.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref::<T>())
}

/// The error and everything behind it. An `io::Error` hides what it holds from `source`, so it is looked into.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
        None => error.source(),
    })
}

/// The chain in words, outermost first, without what an outer error already said.
fn words(error: &(dyn StdError + 'static)) -> String {
    let mut words = String::new();
    for error in chain(error) {
        let text = sentence(&error.to_string());
        if text.is_empty() || words.contains(&text) {
            continue;
        }
        if !words.is_empty() {
            words.push_str(": ");
        }
        words.push_str(&text);
    }
    words
}

/// One line without the final stop.
fn sentence(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.trim_end_matches('.').to_owned()
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
