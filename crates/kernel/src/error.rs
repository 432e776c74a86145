//! Expected failures, as programs see them: a kind from a closed list and a text.

use crate::term::Term;
use std::fmt;

/// What sort of failure it is. The names are those that programs compare with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    NotFound,
    AlreadyExists,
    Invalid,
    PermissionDenied,
    Unavailable,
    Internal,
    Canceled,
    Conflict,
    Timeout,
    RateLimited,
}

impl Kind {
    /// Each kind, in the order of the process contract.
    pub const ALL: [Kind; 10] = [
        Kind::NotFound,
        Kind::AlreadyExists,
        Kind::Invalid,
        Kind::PermissionDenied,
        Kind::Unavailable,
        Kind::Internal,
        Kind::Canceled,
        Kind::Conflict,
        Kind::Timeout,
        Kind::RateLimited,
    ];

    /// The value of `err:kind()`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::NotFound => "NotFound",
            Kind::AlreadyExists => "AlreadyExists",
            Kind::Invalid => "Invalid",
            Kind::PermissionDenied => "PermissionDenied",
            Kind::Unavailable => "Unavailable",
            Kind::Internal => "Internal",
            Kind::Canceled => "Canceled",
            Kind::Conflict => "Conflict",
            Kind::Timeout => "Timeout",
            Kind::RateLimited => "RateLimited",
        }
    }

    /// The kind with that name.
    pub fn from_name(name: &[u8]) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name().as_bytes() == name)
    }

    /// Whether trying again may help, unless an error says otherwise.
    pub fn retryable(self) -> bool {
        matches!(self, Kind::Unavailable | Kind::Timeout | Kind::RateLimited)
    }
}

/// What ended a process that did not end by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// Another process, or the server.
    Terminated,
    /// The failure of a process that it was linked with.
    Link,
    /// It held more memory than its host allows.
    Memory,
    /// It ran for too long where it cannot be suspended.
    Time,
}

/// A failure with its kind, text and what else is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// What sort of failure it is.
    pub kind: Kind,
    /// The text; never empty.
    pub message: Box<str>,
    /// Whether trying again may help.
    pub retryable: bool,
    /// What ended the process, if it was not the process itself. For the one that ended: errors that programs pass on have none.
    pub stopped: Option<Stopped>,
    /// Whatever the program attached.
    pub details: Option<Term>,
    /// Where it was raised: a traceback, for logs.
    pub stack: Option<Box<str>>,
}

impl Error {
    /// An error of a kind, with the kind's own answer on retrying.
    pub fn new(kind: Kind, message: impl Into<Box<str>>) -> Error {
        Error { kind, message: message.into(), retryable: kind.retryable(), stopped: None, details: None, stack: None }
    }

    /// The same for a process that did not end by itself.
    #[must_use]
    pub fn stopped(mut self, by: Stopped) -> Error {
        self.stopped = Some(by);
        self
    }

    /// The same with a traceback.
    pub fn with_stack(mut self, stack: impl Into<Box<str>>) -> Error {
        self.stack = Some(stack.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
