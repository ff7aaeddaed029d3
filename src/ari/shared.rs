//! What all parts of one node's client share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::app::App;
use super::claim::Claim;
use super::clock::{Clock, micros};
use super::error::Error;
use super::http::Http;
use super::meters::Meters;
use super::model::{Info, Variable};
use super::request::{Rendered, Request};
use super::settings::{Settings, Transport};
use super::ticket::Response;

/// One node, as all parts of its client know it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) index: usize,
    pub(super) name: Arc<str>,
    pub(super) meters: Arc<Meters>,
    http: ArcSwap<Http>,
    pub(super) clock: Clock,
    /// In microseconds.
    request_timeout: AtomicU64,
    pub(super) apps: Vec<Arc<App>>,
    /// Whether it is there for a moment only, beside the node's own: nothing of it is counted, nor told above DEBUG.
    pub(super) aside: bool,
    /// With which mark the applications are claimed; `None`: they are taken whoever has them.
    pub(super) claim: Option<Claim>,
    /// Whether the first application's socket is this client's, or was lost without another having taken it: then the others are, too.
    pub(super) holds: watch::Sender<bool>,
    configured: Transport,
    over_websocket: AtomicBool,
}

impl Shared {
    /// What [`Settings`] say; `aside` and `claim` as in the fields.
    pub(super) fn new(
        index: usize,
        settings: &Settings,
        http: Http,
        clock: Clock,
        aside: bool,
        claim: Option<Claim>,
    ) -> Self {
        let apps = settings.apps.iter().zip(0..).map(|(name, index)| Arc::new(App::new(index, name.clone()))).collect();
        let shared = Self {
            index,
            name: Arc::from(settings.name.as_str()),
            meters: Arc::new(Meters::new(&settings.name, settings.metrics_prefix)),
            http: ArcSwap::from_pointee(http),
            clock,
            request_timeout: AtomicU64::new(0),
            apps,
            aside,
            claim,
            holds: watch::Sender::new(false),
            configured: settings.transport,
            over_websocket: AtomicBool::new(settings.transport == Transport::Websocket),
        };
        shared.set_request_timeout(settings.request_timeout);
        shared
    }

    /// One request over HTTP.
    pub(super) async fn ask(&self, request: &Rendered) -> Result<Response, Error> {
        self.http().call(request, self.request_timeout()).await
    }

    /// The HTTP client with the credentials in use.
    pub(super) fn http(&self) -> Arc<Http> {
        self.http.load_full()
    }

    /// Uses this one from now on.
    pub(super) fn use_http(&self, http: Http) {
        self.http.store(Arc::new(http));
    }

    /// Deadline of each request.
    pub(super) fn request_timeout(&self) -> Duration {
        Duration::from_micros(self.request_timeout.load(Ordering::Relaxed))
    }

    pub(super) fn set_request_timeout(&self, timeout: Duration) {
        self.request_timeout.store(micros(timeout), Ordering::Relaxed);
    }

    /// Whether requests travel over the sockets.
    pub(super) fn is_over_websocket(&self) -> bool {
        self.over_websocket.load(Ordering::Acquire)
    }

    /// A global variable, over HTTP; empty where it is not set.
    pub(super) async fn global(&self, variable: &str) -> Result<String, Error> {
        let answer = self.ask(&Request::GetGlobal { variable }.render()).await?;
        answer.json::<Variable>().map(|variable| variable.value)
    }

    /// Chooses the transport for the Asterisk that was found; it may have been upgraded since the last connection.
    pub(super) fn choose_transport(&self, found: &Info) {
        let over_websocket = match self.configured {
            Transport::Websocket => true,
            Transport::Http => false,
            Transport::Auto => found.has_rest_over_websocket(),
        };
        self.over_websocket.store(over_websocket, Ordering::Release);
    }
}
