//! What each error code of the AWS services in use means for the engine, and what to tell the reader.
//!
//! A code that is not listed is judged by its HTTP status. In hints `{action}`, `{what}` and `{name}` are the call's own.

/// What an error code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Passes by waiting.
    Transient,
    /// The service asks for patience.
    Throttled,
    /// Keys or permissions were refused.
    Authentication,
    /// Something named is not there or does not fit.
    Configuration,
    /// A condition on a row did not hold.
    Fenced,
}

const PERMISSION: &str = "allow the action `{action}` on it for this identity";
const WRONG_KEYS: &str = "check the access key and the secret key (a temporary key needs its `sessionToken` too)";
const EXPIRED: &str = "give new credentials, or use a plugin that refreshes them by itself";
const ABSENT: &str = "create the {what} `{name}`, or correct its name, the region or the endpoint";
const KEY_USE: &str = "allow `kms:Decrypt` on the stream's KMS key for this identity";
const KEY_STATE: &str = "enable the stream's KMS key, or encrypt the stream with another one";
const CLOCK: &str = "check this machine's clock and the secret key";

/// The class of an error code, and the hint for it.
pub(crate) fn class_of(code: &str, status: u16) -> (Class, Option<&'static str>) {
    // Some protocols send a namespace before or a suffix behind the code.
    let code = code.rsplit('#').next().unwrap_or(code);
    let code = code.split(':').next().unwrap_or(code);
    match code {
        "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation" | "AuthorizationError" | "NotAuthorized" => {
            (Class::Authentication, Some(PERMISSION))
        }
        "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidAccessKeyId" | "InvalidToken" | "AuthFailure" => {
            (Class::Authentication, Some(WRONG_KEYS))
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "IncompleteSignature" | "RequestTimeTooSkewed" | "RequestExpired" => {
            (Class::Authentication, Some(CLOCK))
        }
        "ExpiredTokenException" | "ExpiredToken" | "TokenRefreshRequired" => (Class::Authentication, Some(EXPIRED)),
        "MissingAuthenticationTokenException" | "MissingAuthenticationToken" => (Class::Authentication, Some(WRONG_KEYS)),
        "OptInRequired" | "SubscriptionRequiredException" => {
            (Class::Authentication, Some("enable the service for this account and region"))
        }
        "RegionDisabledException" => (Class::Configuration, Some("enable STS in this region, or set `region` to another one")),
        "IDPRejectedClaim" | "InvalidIdentityToken" | "ExpiredWebIdentityToken" => {
            (Class::Authentication, Some("check the web identity token and the role's trust policy"))
        }

        "KMSAccessDeniedException" => (Class::Authentication, Some(KEY_USE)),
        "KMSDisabledException" | "KMSInvalidStateException" | "KMSNotFoundException" | "KMSOptInRequired" => {
            (Class::Configuration, Some(KEY_STATE))
        }
        "KMSThrottlingException" => (Class::Throttled, None),

        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "ProvisionedThroughputExceededException"
        | "LimitExceededException"
        | "LimitExceeded"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded"
        | "SlowDown" => (Class::Throttled, None),

        "ConditionalCheckFailedException" => (Class::Fenced, None),
        // Busy with another change, or an iterator that grew old: the caller asks again.
        "ResourceInUseException" | "ExpiredIteratorException" | "ExpiredNextTokenException" | "TransactionInProgressException" => {
            (Class::Transient, None)
        }
        "InternalFailure"
        | "InternalServerError"
        | "InternalServerErrorException"
        | "InternalFailureException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "IDPCommunicationError" => (Class::Transient, None),

        "ResourceNotFoundException" | "ResourceNotFound" => (Class::Configuration, Some(ABSENT)),
        "UnknownOperationException" | "UnknownOperation" | "InvalidAction" => {
            (Class::Configuration, Some("the endpoint does not know this action: check that it is that of the service"))
        }
        "ItemCollectionSizeLimitExceededException" | "TableNotFoundException" => (Class::Configuration, None),
        "ValidationException"
        | "ValidationError"
        | "InvalidArgumentException"
        | "InvalidParameterValue"
        | "InvalidParameterCombination"
        | "MissingParameter"
        | "MalformedPolicyDocument"
        | "PackedPolicyTooLarge" => (Class::Configuration, None),
        _ => match status {
            429 => (Class::Throttled, None),
            401 | 403 => (Class::Authentication, Some(PERMISSION)),
            400..=499 => (Class::Configuration, None),
            _ => (Class::Transient, None),
        },
    }
}
