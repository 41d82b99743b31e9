//! The error that crosses a room's wall: a kind the engine acts on, and a sentence for a person.
//!
//! The engine decides by [`ErrorKind`] and never by text. The text says what was tried, what went wrong and what to do; it never
//! holds a debug print or a secret.

use std::fmt;
use std::time::Duration;

/// What the engine does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Likely to pass by itself: unreachable, timed out, internal error of a service. Retried with back-off.
    Transient,
    /// The service asks for patience, at least for this long when it said so. Retried.
    Throttled(Option<Duration>),
    /// The configuration names something that is not there or does not fit. Ends a start.
    Configuration,
    /// Keys, tokens, roles, permissions or certificates were refused. Ends a start.
    Authentication,
    /// One record cannot be stored or decoded; the others can.
    Data,
    /// Somebody else owns the whole of it (another connector on the lease table): ends the instance, waiting does not help.
    Fenced,
    /// The connector was closed; nothing more will come.
    Closed,
}

impl ErrorKind {
    /// Whether a start gives up at once (a person must act) instead of waiting.
    pub fn ends_a_start(self) -> bool {
        matches!(self, Self::Configuration | Self::Authentication)
    }
}

/// An error with its kind, its message and, where there is one, the remedy.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
}

impl Error {
    /// A new error; `message` is lowercase, one line, without a final stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// Shorthand for [`ErrorKind::Transient`].
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Transient, message)
    }

    /// Shorthand for [`ErrorKind::Configuration`].
    pub fn configuration(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Configuration, message)
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts what was being done in front of the message.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// What the engine does about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was tried and what went wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it, when that is known.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
