//! What a refused or broken read means to its caller.

use super::stream::millis_of;
use crate::port::StartAt;
use crate::retrieval::ReadError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use connector_aws::{AnsweredAt, Call, service_code};
use connector_sdk::{Error, ErrorKind};

/// Whether the service found nothing. Of what, the code does not say: see [`super::missing`].
pub(super) fn is_not_found<E>(error: &SdkError<E, HttpResponse>) -> bool
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    service_code(error) == Some("ResourceNotFoundException")
}

/// The meaning of a refusal, by its code.
pub(super) fn of_call<E>(call: &Call<'_>, error: &SdkError<E, HttpResponse>) -> ReadError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    match service_code(error) {
        Some("ExpiredIteratorException") => ReadError::IteratorGone,
        Some("ResourceInUseException") => ReadError::Busy,
        _ => {
            let failed = call.failed(error);
            match failed.kind() {
                ErrorKind::Throttled(asked) => ReadError::Throttled(asked),
                _ => ReadError::Failed(failed),
            }
        }
    }
}

/// The same for a call that says where to begin: a time that the service has not reached yet is refused as an argument. The
/// service's clock decides, in whole seconds rounded down; without it a refused time counts as future, for that is only waited for.
pub(super) fn of_start<E>(call: &Call<'_>, start: &StartAt, answered: &AnsweredAt, error: &SdkError<E, HttpResponse>) -> ReadError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let refused = service_code(error) == Some("InvalidArgumentException");
    match start {
        StartAt::Timestamp(moment) if refused && millis_of(answered).is_none_or(|now| *moment > now) => ReadError::FutureTimestamp,
        _ => of_call(call, error),
    }
}

/// An error that arrived as an event of a subscription. Whether something was not found, and what, the next subscription tells.
pub(super) fn of_event(subject: &str, code: &str, message: &str) -> ReadError {
    let said = || format!("{subject} was ended: {} (`{code}`)", message.trim_end_matches('.'));
    match code {
        "ResourceInUseException" => ReadError::Busy,
        "LimitExceededException" | "ThrottlingException" | "ProvisionedThroughputExceededException" | "KMSThrottlingException" => {
            ReadError::Throttled(None)
        }
        "KMSAccessDeniedException" | "AccessDeniedException" => ReadError::Failed(
            Error::new(ErrorKind::Authentication, said())
                .with_hint("allow `kinesis:SubscribeToShard`, and `kms:Decrypt` on the stream's KMS key, for this identity"),
        ),
        "KMSDisabledException" | "KMSInvalidStateException" | "KMSNotFoundException" | "KMSOptInRequired" => {
            ReadError::Failed(Error::configuration(said()).with_hint("enable the stream's KMS key, or encrypt the stream with another one"))
        }
        _ => ReadError::Failed(Error::transient(said())),
    }
}
