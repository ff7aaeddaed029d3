//! The ordered way of one call's requests.

use std::sync::Arc;
use std::time::Duration;

use super::app::App;
use super::http::{Http, HttpLane};
use super::request::Request;
use super::shared::Shared;
use super::ticket::{Outgoing, Pending, Ticket};

/// An ordered way for requests to one node. Clones share the order; drop it when the call is over.
///
/// Over WebSocket it is the application's socket, on which Asterisk carries requests out strictly in order. Over
/// HTTP a worker per lane sends one request after the other; after one with an unknown outcome it goes on with
/// the next, so that a call can still be hung up.
#[derive(Debug, Clone)]
pub struct Lane {
    shared: Arc<Shared>,
    app: Arc<App>,
    http: Arc<HttpLane>,
}

impl Lane {
    pub(super) fn new(shared: &Arc<Shared>, app: &Arc<App>) -> Self {
        let http = Arc::new(HttpLane::new(Http::clone(&shared.http())));
        Self { shared: Arc::clone(shared), app: Arc::clone(app), http }
    }

    /// The monotonic time of the last frame on its socket, where that has been silent since.
    #[must_use]
    pub fn silent_since(&self) -> Option<Duration> {
        self.app.silent_since(self.shared.clock.mono())
    }

    /// Queues a request at once, behind all earlier ones of this lane; nothing is awaited. While the application's socket is
    /// down nothing is sent, over HTTP neither: what would follow from it could not be seen. The answer's deadline
    /// starts now. Needs a tokio runtime.
    pub fn send(&self, request: Request<'_>) -> Pending {
        let shared = &self.shared;
        let request = request.render();
        let (ticket, pending) = Ticket::issue(&shared.meters, request.kind, shared.clock, shared.request_timeout());
        let outgoing = Outgoing { request, ticket };
        if shared.is_over_websocket() {
            self.app.send(outgoing);
        } else if self.app.is_up() {
            self.http.send(outgoing);
        }
        pending
    }

    /// Name of the lane's application.
    #[must_use]
    pub fn app_name(&self) -> &str {
        self.app.name()
    }

    /// Index of the lane's application.
    #[must_use]
    pub fn app(&self) -> u16 {
        self.app.index()
    }
}
