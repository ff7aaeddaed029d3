//! Typed ARI client: events and requests of one Asterisk node.
//!
//! One task per Stasis application holds its WebSocket. The task's reader decodes each frame, answers the waiting
//! request itself when the frame is a response, and puts events into the one bounded queue of the consumer.
//!
//! # Overflow policy
//! The reader never waits for the consumer: Asterisk closes a socket that is read too slowly, and a queue inside
//! Asterisk that grows makes it ignore INVITEs. When the consumer's queue is full, the client drops the socket of the
//! application whose event did not fit (new calls then take the dialplan's fallback instead of piling up), tells the
//! consumer [`NodeEventKind::Down`] with [`DownReason::Lagged`] as soon as there is room, waits until the queue is
//! drained to half, and reconnects. Events in between are lost; the following [`NodeEventKind::Up`] means: compare with Asterisk's own lists.
//!
//! # Requests
//! [`Lane::send`] queues the request before it returns, so requests travel in the order of the calls, nothing awaited
//! in between. A request whose deadline passes in the queue is never sent (`NotSent`); one that was handed to the
//! socket and got no answer is `OutcomeUnknown`. Dropping a [`Pending`] does not cancel its request.

mod app;
mod backoff;
mod body;
mod claim;
mod clock;
mod connection;
mod endpoint;
mod error;
mod event;
mod http;
mod lane;
mod late;
mod listing;
mod meters;
mod model;
mod node;
mod node_event;
mod request;
mod settings;
mod shared;
#[cfg(test)]
pub(crate) mod simulated;
mod socket;
#[cfg(test)]
pub(crate) mod testing;
mod ticket;
mod tls;
mod tls_client;
mod turn;
mod ws;

pub use claim::Claim;
pub use clock::{Clock, Moment};
pub use endpoint::{BadEndpoint, Endpoint};
pub use error::{BadNode, Error, REQUEST_OUTCOMES};
pub use event::{EVENT_KINDS, Event};
pub use http::AT_ONCE as REQUESTS_AT_ONCE;
pub use lane::Lane;
pub use late::Late;
pub use listing::Listing;
pub use meters::metric;
pub use model::{Application, Bridge, CallerId, Channel, ChannelState, EndpointState, Info, Subject, Variable};
pub use node::{Node, NodeHandle, NotRenewed};
pub use node_event::{DownReason, NodeEvent, NodeEventKind};
pub use request::{DISALLOWED_EVENTS, HangUpReason, REQUEST_KINDS, Request};
pub use settings::{Settings, Transport, is_https};
pub use ticket::{Pending, Response};
pub use tls::{TlsFault, fault as tls_fault};
pub use turn::{SLICE, Turn};
