//! What a broker's refusals mean: its error codes as kinds the engine acts on, and sentences with a remedy.

use connector_sdk::{Error, ErrorKind};

/// Codes of `ServerError` that this client tells apart.
pub(crate) mod code {
    /// Trouble in the metadata store; also the answer for namespaces that are not there and for messages that are to be encrypted.
    pub(crate) const METADATA: i32 = 1;
    /// The write or the topic failed; the producer must be opened anew.
    pub(crate) const PERSISTENCE: i32 = 2;
    /// The credentials were refused.
    pub(crate) const AUTHENTICATION: i32 = 3;
    /// The role may not do this.
    pub(crate) const AUTHORIZATION: i32 = 4;
    /// The broker or the bundle is not ready: look up again.
    pub(crate) const SERVICE_NOT_READY: i32 = 6;
    /// Backlog quota, policy `producer_request_hold`.
    pub(crate) const BLOCKED_QUOTA_HOLD: i32 = 7;
    /// Backlog quota, policy `producer_exception`.
    pub(crate) const BLOCKED_QUOTA: i32 = 8;
    /// The checksum did not fit on arrival.
    pub(crate) const CHECKSUM: i32 = 9;
    /// No such topic.
    pub(crate) const TOPIC_NOT_FOUND: i32 = 11;
    /// Asked too often.
    pub(crate) const TOO_MANY_REQUESTS: i32 = 14;
    /// The topic is sealed.
    pub(crate) const TOPIC_TERMINATED: i32 = 15;
    /// The producer's name is in use, or the topic's producer limit is reached.
    pub(crate) const PRODUCER_BUSY: i32 = 16;
    /// Not a topic name.
    pub(crate) const INVALID_TOPIC_NAME: i32 = 17;
    /// The topic demands a schema.
    pub(crate) const INCOMPATIBLE_SCHEMA: i32 = 18;
    /// Refused for what it is.
    pub(crate) const NOT_ALLOWED: i32 = 22;
    /// Another producer has the topic for itself.
    pub(crate) const PRODUCER_FENCED: i32 = 25;
    /// Another consumer has the subscription for itself, or its consumer limit is reached.
    pub(crate) const CONSUMER_BUSY: i32 = 5;
    /// No such subscription, and none may be made.
    pub(crate) const SUBSCRIPTION_NOT_FOUND: i32 = 12;
}

/// The error for a broker's refusal of what a consumer was `doing`.
pub(crate) fn refused_consumer(code: i32, message: &str, doing: &str) -> Error {
    let error = refused(code, message, doing);
    let (kind, hint) = match code {
        code::AUTHORIZATION => (ErrorKind::Authentication, "grant the role `consume` on the topic, its namespace or the subscription"),
        code::CONSUMER_BUSY => (ErrorKind::Transient, "close the other consumer of the subscription, or share it"),
        code::SUBSCRIPTION_NOT_FOUND => {
            (ErrorKind::Configuration, "create the subscription, or allow automatic subscription creation in its namespace")
        }
        _ => return error,
    };
    Error::new(kind, error.message()).with_hint(hint)
}

/// The error for a broker's refusal of `doing`, with the broker's own message.
pub(crate) fn refused(code: i32, message: &str, doing: &str) -> Error {
    let said = sentence(message);
    let absent = looks_absent(&said);
    let encryption = said.to_ascii_lowercase().contains("encrypt");
    let (kind, hint) = match code {
        code::AUTHENTICATION => (
            ErrorKind::Authentication,
            Some("check the client authentication plugin, its parameters and that the token or certificate has not expired"),
        ),
        code::AUTHORIZATION => (ErrorKind::Authentication, Some("grant the role `produce` on the topic or its namespace")),
        // The only word on it: the same code stands for trouble that passes.
        code::METADATA if encryption => (
            ErrorKind::Configuration,
            Some(
                "end-to-end encryption is required there; name the readers' public keys in `producerConfig.cryptoConfig`, \
                 or lift the demand with `pulsar-admin namespaces set-encryption-required --disable`",
            ),
        ),
        code::METADATA | code::NOT_ALLOWED | code::SERVICE_NOT_READY | code::TOPIC_NOT_FOUND | 0 if absent => {
            (ErrorKind::Configuration, Some("create the tenant and the namespace, or correct the topic's name"))
        }
        code::TOPIC_NOT_FOUND => (ErrorKind::Configuration, Some("create the topic, or allow automatic topic creation in its namespace")),
        code::INVALID_TOPIC_NAME => (ErrorKind::Configuration, Some("correct the topic's name")),
        code::INCOMPATIBLE_SCHEMA => (
            ErrorKind::Configuration,
            Some("declare the topic's own schema by `schemaType` and `schemaProperties`, or write `auto_produce` to take it as it is"),
        ),
        code::NOT_ALLOWED => (ErrorKind::Configuration, None),
        code::TOPIC_TERMINATED => (ErrorKind::Configuration, Some("the topic was terminated and takes no more messages; choose another")),
        code::PRODUCER_FENCED => (ErrorKind::Fenced, Some("another producer has the topic for itself")),
        code::PRODUCER_BUSY => {
            (ErrorKind::Transient, Some("the owner before is still connected, or the topic takes no more producers: it is waited for"))
        }
        code::SERVICE_NOT_READY => (ErrorKind::Transient, Some("the topic is moving or its broker starting: it is waited for")),
        code::TOO_MANY_REQUESTS => (ErrorKind::Throttled(None), None),
        code::BLOCKED_QUOTA | code::BLOCKED_QUOTA_HOLD => {
            (ErrorKind::Throttled(None), Some("the topic's backlog quota is used up; let its subscriptions catch up or raise the quota"))
        }
        _ => (ErrorKind::Transient, None),
    };
    let error = Error::new(kind, format!("{doing}: the broker answered `{}`: {said}", name(code)));
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// A broker's code by its protocol name.
pub(crate) fn name(code: i32) -> &'static str {
    match code {
        0 => "UnknownError",
        code::METADATA => "MetadataError",
        code::PERSISTENCE => "PersistenceError",
        code::AUTHENTICATION => "AuthenticationError",
        code::AUTHORIZATION => "AuthorizationError",
        code::SERVICE_NOT_READY => "ServiceNotReady",
        code::BLOCKED_QUOTA_HOLD => "ProducerBlockedQuotaExceededError",
        code::BLOCKED_QUOTA => "ProducerBlockedQuotaExceededException",
        code::CHECKSUM => "ChecksumError",
        10 => "UnsupportedVersionError",
        code::TOPIC_NOT_FOUND => "TopicNotFound",
        code::TOO_MANY_REQUESTS => "TooManyRequests",
        code::TOPIC_TERMINATED => "TopicTerminatedError",
        code::PRODUCER_BUSY => "ProducerBusy",
        code::INVALID_TOPIC_NAME => "InvalidTopicName",
        code::INCOMPATIBLE_SCHEMA => "IncompatibleSchema",
        code::NOT_ALLOWED => "NotAllowedError",
        code::PRODUCER_FENCED => "ProducerFenced",
        code::CONSUMER_BUSY => "ConsumerBusy",
        code::SUBSCRIPTION_NOT_FOUND => "SubscriptionNotFound",
        13 => "ConsumerNotFound",
        19 => "ConsumerAssignError",
        _ => "an error of a newer protocol",
    }
}

/// The first line of a broker's message, without stack traces and final stop.
fn sentence(message: &str) -> String {
    let line = message.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given").trim();
    line.trim_end_matches('.').chars().take(400).collect()
}

/// Brokers answer for a namespace or tenant that is not there with general codes; only their words tell.
fn looks_absent(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    (said.contains("namespace") || said.contains("tenant") || said.contains("policies") || said.contains("property"))
        && (said.contains("not found") || said.contains("does not exist") || said.contains("not exist"))
}
