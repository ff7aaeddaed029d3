//! What a node tells its consumer.

use std::time::Duration;

use super::clock::Moment;
use super::event::Event;
use super::late::Late;
use super::model::Info;

/// What a node tells its one consumer.
#[derive(Debug, Clone)]
pub struct NodeEvent {
    /// The index that was given to the node's client.
    pub node: usize,
    /// Index of the application in [`Settings::apps`](super::Settings::apps).
    pub app: u16,
    /// When it was read from the socket.
    pub at: Moment,
    /// Where that was late: when it happened.
    pub late: Option<Late>,
    /// What happened.
    pub kind: NodeEventKind,
}

/// What happened on a node's socket. Between an `Up` and the next `Down` no event is lost.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "almost every value is an event; a box would be one allocation each")]
pub enum NodeEventKind {
    /// The socket is connected and its filter set: reconcile with Asterisk's lists, then decide.
    Up(Info),
    /// The socket is gone; its calls live on in Asterisk.
    Down {
        /// Why.
        reason: DownReason,
        /// Monotonic time up to which everything was heard: this may be read when the next connection has brought more.
        heard: Duration,
    },
    /// Another controller has the node's applications, by the mark that it writes; this one waits until it leaves.
    Taken,
    /// An event of the application.
    Event(Event),
}

/// Why a node's socket went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DownReason {
    /// Closed or broken by the other side or the network.
    Lost,
    /// Nothing was heard from it for too long: half open, or Asterisk hangs.
    Silent,
    /// The consumer's queue was full: see the overflow policy in the crate's documentation.
    Lagged,
    /// Another socket took the application over.
    Replaced,
    /// It is opened anew with other credentials.
    Renewed,
    /// This process is shutting down.
    Shutdown,
}

impl DownReason {
    /// Every one.
    pub const ALL: &'static [Self] = &[Self::Lost, Self::Silent, Self::Lagged, Self::Replaced, Self::Shutdown];

    /// A word for metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Silent => "silent",
            Self::Lagged => "lagged",
            Self::Replaced => "replaced",
            Self::Renewed => "renewed",
            Self::Shutdown => "shutdown",
        }
    }
}
