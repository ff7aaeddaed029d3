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

mod backoff;
mod claim;
mod connection;
mod error;
mod event;
mod http;
mod late;
mod meters;
mod model;
mod node;
mod request;
#[cfg(test)]
pub(crate) mod simulated;
mod socket;
mod ticket;
mod tls;
mod ws;

pub use error::{BadNode, Error, REQUEST_OUTCOMES};
pub use event::{EVENT_KINDS, Event};
pub(crate) use http::AT_ONCE as REQUESTS_AT_ONCE;
pub use late::Late;
pub use model::{Application, Bridge, CallerId, Channel, ChannelState, Endpoint, Info, Subject, Variable};
pub use node::{DownReason, Lane, Listing, Node, NodeEvent, NodeEventKind, NodeHandle};
pub use request::{DISALLOWED_EVENTS, HangUpReason, REQUEST_KINDS, Request};
pub use ticket::{Pending, Response};
