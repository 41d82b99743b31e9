//! What a Kinesis call can be refused with.
//!
//! Carries the service's own error codes; never an error of the transport.

/// A refusal, by the service's name and with a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct KinesisError {
    /// Which of the service's errors it is.
    pub kind: ErrorKind,
    /// What was wrong.
    pub message: String,
}

/// The service's error codes which the machine itself gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No such stream, shard or consumer.
    ResourceNotFound,
    /// The resource is in the wrong state, or its name is taken.
    ResourceInUse,
    /// A parameter is outside what the service takes.
    InvalidArgument,
    /// A parameter is of the wrong form.
    Validation,
    /// More resources than allowed.
    LimitExceeded,
    /// A shard's rate was passed.
    ProvisionedThroughputExceeded,
    /// A shard iterator older than five minutes.
    ExpiredIterator,
    /// A page token that is too old.
    ExpiredNextToken,
}

impl ErrorKind {
    /// The code as it stands in `__type`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::ResourceInUse => "ResourceInUseException",
            Self::InvalidArgument => "InvalidArgumentException",
            Self::Validation => "ValidationException",
            Self::LimitExceeded => "LimitExceededException",
            Self::ProvisionedThroughputExceeded => "ProvisionedThroughputExceededException",
            Self::ExpiredIterator => "ExpiredIteratorException",
            Self::ExpiredNextToken => "ExpiredNextTokenException",
        }
    }

    /// The error of this kind with `message`.
    #[must_use]
    pub fn because(self, message: impl Into<String>) -> KinesisError {
        KinesisError { kind: self, message: message.into() }
    }
}
