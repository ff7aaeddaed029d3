//! The other side of a node in the simulation: whoever holds it is Asterisk. Everything between `Lane::send` and the socket, and between
//! the answer and the one who waits for it, stays the real code.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::sync::mpsc;

use super::app::App;
use super::clock::{Clock, Moment};
use super::http::{Http, StandIn};
use super::late::{Late, Lateness};
use super::meters::Meters;
use super::node::NodeHandle;
use super::request::Rendered;
use super::settings::{Settings, Transport};
use super::shared::Shared;
use super::ticket::{Outgoing, Response, Ticket};

/// A request that has left the controller.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) body: Option<Value>,
    pub(crate) reply: Reply,
}

impl Asked {
    fn new(Outgoing { request, ticket }: Outgoing) -> Self {
        let Rendered { method, path, query, body, .. } = request;
        Self { method, path, query, body, reply: Reply(ticket) }
    }

    /// A query parameter; empty where it is absent.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.query.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value.as_str())
    }

    /// A text of the body; empty where it is absent.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.body.as_ref().and_then(|body| body[name].as_str()).unwrap_or_default()
    }
}

/// Where the answer goes. Dropped, the connection is lost before the answer came.
#[derive(Debug)]
pub(crate) struct Reply(Ticket);

impl Reply {
    /// The request's bytes leave. `false`: it was given up meanwhile and must not be carried out.
    pub(crate) fn start(&self) -> bool {
        self.0.start()
    }

    /// Asterisk's answer arrives.
    pub(crate) fn answer(self, status: u16, body: String) {
        self.0.finish(Response::from_parts(status, "refused", body));
    }
}

/// Asterisk's end of one node.
#[derive(Debug)]
pub(crate) struct Side {
    app: Arc<App>,
    socket: Option<mpsc::UnboundedReceiver<Outgoing>>,
    http: mpsc::UnboundedReceiver<Outgoing>,
    lateness: Lateness,
    heard: Duration,
}

impl Side {
    fn new(app: Arc<App>, http: mpsc::UnboundedReceiver<Outgoing>) -> Self {
        Self { app, socket: None, http, lateness: Lateness::new(Duration::ZERO), heard: Duration::ZERO }
    }

    /// Opens the way for requests.
    pub(crate) fn connect(&mut self, at: Duration) {
        self.lateness = Lateness::new(at);
        self.hear(at);
        let (queue, requests) = mpsc::unbounded_channel();
        self.app.set(Some(queue));
        self.socket = Some(requests);
    }

    /// A frame reaches the controller.
    pub(crate) fn hear(&mut self, at: Duration) {
        self.lateness.hear(at);
        self.app.hear(self.lateness.until());
        self.heard = at;
    }

    /// Monotonic time of the last frame.
    pub(crate) fn heard(&self) -> Duration {
        self.heard
    }

    /// Monotonic time up to which everything was heard.
    pub(crate) fn all_heard(&self) -> Duration {
        self.lateness.until()
    }

    /// Whether what came last came late.
    pub(crate) fn late(&mut self, at: Moment, timestamp: Option<DateTime<Utc>>) -> Option<Late> {
        let late = self.lateness.of(at, timestamp);
        self.app.hear(self.lateness.until());
        late
    }

    /// Whether the controller believes it to be there.
    pub(crate) fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// The controller notices that the socket is gone. Requests that had not left are told so.
    pub(crate) fn disconnect(&mut self) {
        self.app.set(None);
        self.socket = None;
    }

    /// The next request over the socket, if one has come.
    pub(crate) fn poll_socket(&mut self, context: &mut std::task::Context<'_>) -> Option<Asked> {
        match self.socket.as_mut()?.poll_recv(context) {
            std::task::Poll::Ready(outgoing) => outgoing.map(Asked::new),
            std::task::Poll::Pending => None,
        }
    }

    /// The next request over HTTP, if one has come.
    pub(crate) fn poll_http(&mut self, context: &mut std::task::Context<'_>) -> Option<Asked> {
        match self.http.poll_recv(context) {
            std::task::Poll::Ready(outgoing) => outgoing.map(Asked::new),
            std::task::Poll::Pending => None,
        }
    }
}

/// A node whose Asterisk is whoever holds the other side; nothing of it touches a network.
pub(crate) fn node(index: usize, settings: &Settings, clock: Clock) -> (NodeHandle, Side) {
    // It is never used to connect, and takes milliseconds to make.
    static CLIENT: OnceLock<Http> = OnceLock::new();
    let mut http = CLIENT.get_or_init(|| Http::new(settings).expect("valid settings")).clone();
    let (queue, asked) = mpsc::unbounded_channel();
    let meters = Arc::new(Meters::new(&settings.name, settings.metrics_prefix));
    http.stand_in = Some(StandIn { meters, clock, queue });
    let settings = Settings { transport: Transport::Websocket, ..settings.clone() };
    let handle = NodeHandle::without_sockets(Shared::new(index, &settings, http, clock, false, None));
    let side = Side::new(handle.first_app(), asked);
    (handle, side)
}
