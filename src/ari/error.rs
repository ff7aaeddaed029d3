//! What can go wrong with a request, told apart by what the caller may do next.

use super::tls::TlsFault;

/// Failure of one ARI request.
///
/// The variants differ in what is known about Asterisk's state: after `NotSent`, `Tls` and `Rejected` nothing was
/// done; after `OutcomeUnknown` and `Protocol` it may have been, so the request must not be blindly repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Asterisk answered with a status other than 2xx: it refused, and nothing was done.
    #[error("Asterisk refused the request: {status} {message}")]
    Rejected {
        /// HTTP status, such as 404.
        status: u16,
        /// Asterisk's own words (the `message` of its JSON body, else the reason phrase).
        message: String,
    },
    /// No byte of the request reached the socket: the node is not connected, or the deadline passed in the queue.
    #[error("the request was not sent: {0}")]
    NotSent(&'static str),
    /// The request was handed to the socket, and no answer came: it may or may not have been carried out.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(&'static str),
    /// No byte of the request was sent, for the node's TLS could not be accepted.
    #[error("the request was not sent: {0}")]
    Tls(TlsFault),
    /// Asterisk's answer could not be understood.
    #[error("Asterisk's answer could not be understood: {0}")]
    Protocol(String),
}

impl Error {
    /// The status of a refusal; `None` for every other failure.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Rejected { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether its deadline passed, be it for want of an answer or of its turn: the node is slow or hangs.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        matches!(self, Self::OutcomeUnknown(NO_ANSWER) | Self::NotSent(LATE_IN_QUEUE))
    }

    /// A word for metrics and logs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Rejected { .. } => "rejected",
            Self::NotSent(_) | Self::Tls(_) => "not_sent",
            Self::OutcomeUnknown(_) => "outcome_unknown",
            Self::Protocol(_) => "protocol",
        }
    }
}

/// How requests come out, for metrics: [`Error::kind`], and what is none.
pub const REQUEST_OUTCOMES: &[&str] = &["ok", "rejected", "not_sent", "outcome_unknown", "protocol"];

/// The deadline passed before the request was sent.
pub(super) const LATE_IN_QUEUE: &str = "its deadline passed before its turn came";
/// The deadline passed after it.
pub(super) const NO_ANSWER: &str = "no answer came before the deadline";

/// [`Settings`](super::Settings) from which no client can be made.
#[derive(Debug, thiserror::Error)]
#[error("asterisk node {node:?}: {field} {value:?} cannot be used: {reason}")]
pub struct BadNode {
    /// The node's name.
    pub node: String,
    /// Which of the settings.
    pub field: &'static str,
    /// Its value; the password is never shown.
    pub value: String,
    /// What is wrong or what is allowed.
    pub reason: String,
}
