//! One Asterisk node: the handle others hold, and what it tells its consumer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::claim::Claim;
use super::error::{BadNode, Error};
use super::event::Event;
use super::http::{Http, HttpLane};
use super::late::Late;
use super::meters::Meters;
use super::model::{Application, Bridge, Channel, Info, Module, Variable};
use super::request::{Rendered, Request, one_of};
use super::socket::{App, Socket};
use super::ticket::{Outgoing, Pending, Response, Ticket};
use crate::clock::{Clock, Now};
use crate::config;
use crate::in_force::InForce;

/// A list may be long: it gets this many times a request's deadline.
const LIST_PATIENCE: u32 = 5;
/// How many requests are under way where a list is asked for one by one.
const ONE_BY_ONE_AT_ONCE: usize = 16;

/// What Asterisk lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T> {
    /// What it tells.
    pub told: Vec<T>,
    /// Ids of what is there and of which it can tell nothing: some text of it is no UTF-8, which JSON has no way to say.
    pub untold: Vec<String>,
}

/// What a node tells its one consumer.
#[derive(Debug, Clone)]
pub struct NodeEvent {
    /// Index of the node in the configuration.
    pub node: usize,
    /// Index of the application, from 0; its name ends in this + 1.
    pub app: u16,
    /// When it was read from the socket.
    pub at: Now,
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
    /// The consumer's queue was full: see the overflow policy in [`crate::ari`].
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

/// What all parts of one node share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) index: usize,
    pub(super) name: Arc<str>,
    pub(super) meters: Arc<Meters>,
    pub(super) http: InForce<Http>,
    pub(super) clock: Clock,
    pub(super) request_timeout: InForce<Duration>,
    pub(super) apps: Vec<Arc<App>>,
    /// Whether it is there for a moment only, beside the node's own: nothing of it is counted, nor told above DEBUG.
    pub(super) aside: bool,
    /// With which mark the applications are claimed; `None`: they are taken whoever has them.
    pub(super) claim: Option<Claim>,
    /// Whether the first application's socket is ours, or was lost without another having taken it: then the other applications are ours.
    pub(super) holds: watch::Sender<bool>,
    configured: config::Transport,
    over_websocket: AtomicBool,
}

impl Shared {
    /// One request over HTTP.
    pub(super) async fn ask(&self, request: &Rendered) -> Result<Response, Error> {
        self.http.now().call(request, self.request_timeout.copy()).await
    }

    /// A global variable, over HTTP; empty where it is not set.
    pub(super) async fn global(&self, variable: &str) -> Result<String, Error> {
        let answer = self.ask(&Request::GetGlobal { variable }.render()).await?;
        answer.json::<Variable>().map(|variable| variable.value)
    }

    /// Chooses the transport for the Asterisk that was found; it may have been upgraded since the last connection.
    pub(super) fn choose_transport(&self, found: &Info) {
        let over_websocket = match self.configured {
            config::Transport::Websocket => true,
            config::Transport::Http => false,
            config::Transport::Auto => found.has_rest_over_websocket(),
        };
        self.over_websocket.store(over_websocket, Ordering::Release);
    }
}

/// Why a node's new credentials are not used.
#[derive(Debug, thiserror::Error)]
pub enum NotRenewed {
    /// They cannot be used at all.
    #[error(transparent)]
    BadNode(#[from] BadNode),
    /// It refused them, or was not reached.
    #[error(transparent)]
    Request(#[from] Error),
}

/// What a client is for.
enum Kind {
    /// The controller's own, with or without regard for others.
    Claiming(Option<Claim>),
    /// There for a moment.
    Aside,
}

/// A client of one Asterisk node.
#[derive(Debug)]
pub struct Node;

impl Node {
    /// Starts one task per application, which connects, and reconnects until `shutdown`.
    ///
    /// `index` labels the events; `request_timeout` is each request's deadline. Events of all nodes may go into
    /// the same queue.
    ///
    /// # Errors
    /// [`BadNode`] when the URL or the credentials cannot be used at all. That Asterisk cannot be reached is no error.
    pub fn spawn(
        index: usize,
        node: &config::Node,
        request_timeout: Duration,
        events: &mpsc::Sender<NodeEvent>,
        clock: Clock,
        shutdown: &CancellationToken,
    ) -> Result<NodeHandle, BadNode> {
        Self::start(index, node, request_timeout, events, clock, shutdown, Kind::Claiming(None))
    }

    /// As [`Self::spawn`]; where another controller has the node's applications, this one waits until it leaves, and yields to one that
    /// takes them. `instance` names this controller, over restarts.
    ///
    /// # Errors
    /// As [`Self::spawn`].
    pub fn spawn_claiming(
        index: usize,
        node: &config::Node,
        request_timeout: Duration,
        events: &mpsc::Sender<NodeEvent>,
        clock: Clock,
        shutdown: &CancellationToken,
        instance: &str,
    ) -> Result<NodeHandle, BadNode> {
        let claim = Claim { instance: instance.to_owned(), app: node.app.clone() };
        Self::start(index, node, request_timeout, events, clock, shutdown, Kind::Claiming(Some(claim)))
    }

    /// As [`Self::spawn`], for a moment, beside the node's own: its metrics and the log stay as if this were not there.
    ///
    /// # Errors
    /// As [`Self::spawn`].
    pub fn spawn_aside(
        index: usize,
        node: &config::Node,
        request_timeout: Duration,
        events: &mpsc::Sender<NodeEvent>,
        clock: Clock,
        shutdown: &CancellationToken,
    ) -> Result<NodeHandle, BadNode> {
        Self::start(index, node, request_timeout, events, clock, shutdown, Kind::Aside)
    }

    /// A client without sockets, which asks over HTTP only and hears no events.
    ///
    /// # Errors
    /// As [`Self::spawn`].
    pub fn over_http(
        index: usize,
        node: &config::Node,
        request_timeout: Duration,
        clock: Clock,
    ) -> Result<NodeHandle, BadNode> {
        let shared = Self::shared(index, node, request_timeout, clock, Kind::Aside)?;
        Ok(NodeHandle { shared, tasks: TaskTracker::new() })
    }

    fn start(
        index: usize,
        node: &config::Node,
        request_timeout: Duration,
        events: &mpsc::Sender<NodeEvent>,
        clock: Clock,
        shutdown: &CancellationToken,
        kind: Kind,
    ) -> Result<NodeHandle, BadNode> {
        let shared = Self::shared(index, node, request_timeout, clock, kind)?;
        let tasks = TaskTracker::new();
        for app in &shared.apps {
            tasks.spawn(Socket::new(&shared, app, events.clone(), shutdown.clone()).run());
        }
        tasks.close();
        Ok(NodeHandle { shared, tasks })
    }

    fn shared(
        index: usize,
        node: &config::Node,
        request_timeout: Duration,
        clock: Clock,
        kind: Kind,
    ) -> Result<Arc<Shared>, BadNode> {
        let apps = (1..=node.apps.max(1)).map(|n| Arc::new(App::new(n - 1, format!("{}-{n}", node.app)))).collect();
        Ok(Arc::new(Shared {
            index,
            name: Arc::from(node.name.as_str()),
            meters: Arc::new(Meters::new(&node.name)),
            http: Http::new(node)?.into(),
            clock,
            request_timeout: request_timeout.into(),
            apps,
            aside: matches!(kind, Kind::Aside),
            claim: if let Kind::Claiming(claim) = kind { claim } else { None },
            holds: watch::Sender::new(false),
            configured: node.transport,
            over_websocket: AtomicBool::new(node.transport == config::Transport::Websocket),
        }))
    }
}

#[cfg(test)]
impl Node {
    /// A node whose Asterisk is whoever holds the other side; nothing of it touches a network.
    pub(crate) fn simulated(
        index: usize,
        node: &config::Node,
        request_timeout: Duration,
        clock: Clock,
    ) -> (NodeHandle, super::simulated::Side) {
        let (http, asked) = super::simulated::Http::new(&node.name, clock);
        let app = Arc::new(App::new(0, format!("{}-1", node.app)));
        let shared = Arc::new(Shared {
            index,
            name: Arc::from(node.name.as_str()),
            meters: Arc::new(Meters::new(&node.name)),
            http: http.client(node).into(),
            clock,
            request_timeout: request_timeout.into(),
            apps: vec![Arc::clone(&app)],
            aside: false,
            claim: None,
            holds: watch::Sender::new(true),
            configured: config::Transport::Websocket,
            over_websocket: AtomicBool::new(true),
        });
        (NodeHandle { shared, tasks: TaskTracker::new() }, super::simulated::Side::new(app, asked))
    }
}

/// The way to one Asterisk node. Clones are the same node.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

impl NodeHandle {
    /// The node's configured name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Index of the node in the configuration.
    #[must_use]
    pub fn index(&self) -> usize {
        self.shared.index
    }

    /// How many applications (and sockets) it has.
    #[must_use]
    pub fn apps(&self) -> u16 {
        u16::try_from(self.shared.apps.len()).unwrap_or(u16::MAX)
    }

    /// Name of an application; `app` counts from 0 and wraps around.
    #[must_use]
    pub fn app_name(&self, app: u16) -> &str {
        self.app(app).name()
    }

    /// Whether an application's socket is connected and takes part.
    #[must_use]
    pub fn is_up(&self, app: u16) -> bool {
        self.app(app).is_up()
    }

    /// Monotonic time of the last frame on an application's socket, of whatever kind: then the node lived. `None` before the first.
    #[must_use]
    pub fn heard(&self, app: u16) -> Option<Duration> {
        self.app(app).heard()
    }

    /// The monotonic time of the last frame on an application's socket, where it has been silent since for longer than a socket that works.
    #[must_use]
    pub(crate) fn silent_since(&self, app: u16) -> Option<Duration> {
        self.app(app).silent_since(self.shared.clock.now().mono)
    }

    /// How long the oldest request on each of its sockets has waited for its answer, in the mean: Asterisk carries the requests of a socket
    /// out one after the other, so this is how far it is behind. Zero where few wait, and over HTTP, where it has a thread for each
    /// connection.
    #[must_use]
    pub fn waited(&self) -> Duration {
        let now = self.shared.clock.now().mono;
        self.shared.apps.iter().map(|app| app.waited(now)).sum::<Duration>() / u32::from(self.apps().max(1))
    }

    /// A new ordered way for requests; one per call. `app` counts from 0 and wraps around.
    #[must_use]
    pub fn lane(&self, app: u16) -> Lane {
        let http = Arc::new(HttpLane::new(Http::clone(&self.shared.http.now())));
        Lane { shared: Arc::clone(&self.shared), app: Arc::clone(self.app(app)), http }
    }

    /// All channels of the node, always over HTTP: a long list overflows the stack of Asterisk's socket thread. Where Asterisk cannot write
    /// the list, because it cannot write one of the channels, those of its applications and those that are `known` are asked for one by one.
    ///
    /// # Errors
    /// Any [`Error`]; a list changes nothing, so it may be asked for again.
    pub async fn list_channels(&self, known: impl FnOnce() -> Vec<String>) -> Result<Listing<Channel>, Error> {
        self.listing("list_channels", "channels", known, |application| application.channel_ids).await
    }

    /// All bridges of the node, likewise.
    ///
    /// # Errors
    /// Any [`Error`]; a list changes nothing, so it may be asked for again.
    pub async fn list_bridges(&self, known: impl FnOnce() -> Vec<String>) -> Result<Listing<Bridge>, Error> {
        self.listing("list_bridges", "bridges", known, |application| application.bridge_ids).await
    }

    /// Who this Asterisk is, over HTTP, whether a socket is connected or not.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn info(&self) -> Result<Info, Error> {
        self.http(Request::GetInfo).await?.json()
    }

    /// Any request over HTTP, whether a socket is connected or not; for health checks.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn http(&self, request: Request<'_>) -> Result<Response, Error> {
        self.shared.ask(&request.render()).await
    }

    /// A global variable, over HTTP; empty where it is not set.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn global(&self, variable: &str) -> Result<String, Error> {
        self.shared.global(variable).await
    }

    /// Names of the modules that run, over HTTP.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn running_modules(&self) -> Result<BTreeSet<String>, Error> {
        let modules: Vec<Module> = self.http(Request::ListModules).await?.json()?;
        Ok(modules.into_iter().filter(|module| module.status == "Running").map(|module| module.name).collect())
    }

    /// The global variable, with its value at this time of the node's, that tells other controllers whose the applications are; `None`
    /// where they are not claimed.
    #[must_use]
    pub fn mark(&self, epoch: &str) -> Option<(String, String)> {
        self.shared.claim.as_ref().map(|claim| (claim.variable(), claim.mark(epoch)))
    }

    /// How long each request may take from now on.
    pub fn set_request_timeout(&self, timeout: Duration) {
        self.shared.request_timeout.put(timeout);
    }

    /// Uses the node's new credentials, should it take them: at once for HTTP, and every socket is opened anew, one after the other, each
    /// when no request of it is under way (after a second in any case).
    ///
    /// # Errors
    /// Where the node does not take them; then the old ones stay in use.
    pub async fn renew(&self, node: &config::Node) -> Result<(), NotRenewed> {
        let http = Http::new(node)?;
        http.call(&Request::GetInfo.render(), self.shared.request_timeout.copy()).await?;
        self.shared.http.put(http);
        for app in &self.shared.apps {
            app.renew().await;
        }
        Ok(())
    }

    /// Ready when, after shutdown, every socket is closed.
    pub async fn closed(&self) {
        self.tasks.wait().await;
    }

    fn app(&self, app: u16) -> &Arc<App> {
        &self.shared.apps[usize::from(app) % self.shared.apps.len()]
    }

    /// A collection as it is listed, else one by one.
    async fn listing<T>(
        &self,
        kind: &'static str,
        collection: &str,
        known: impl FnOnce() -> Vec<String>,
        of: fn(Application) -> Vec<String>,
    ) -> Result<Listing<T>, Error>
    where
        T: serde::de::DeserializeOwned + Send + 'static,
    {
        match self.list(kind, collection).await {
            Err(Error::Rejected { status: 500, .. }) => self.one_by_one(collection, known(), of).await,
            list => Ok(Listing { told: list?, untold: Vec::new() }),
        }
    }

    /// The objects of our applications and those that are known, each by a request of its own.
    async fn one_by_one<T>(
        &self,
        collection: &str,
        known: Vec<String>,
        of: fn(Application) -> Vec<String>,
    ) -> Result<Listing<T>, Error>
    where
        T: serde::de::DeserializeOwned,
    {
        let mut ids: BTreeSet<String> = known.into_iter().collect();
        for app in &self.shared.apps {
            // An application that is not there says nothing about its channels: what is not listed would be taken for gone.
            ids.extend(of(self.http(Request::GetApplication { app: app.name() }).await?.json()?));
        }
        let ask = |id: String| async move {
            let request = Rendered::get("get_one", one_of(collection, &id));
            let answer = self.shared.ask(&request).await;
            (id, answer)
        };
        let mut answers = stream::iter(ids).map(ask).buffered(ONE_BY_ONE_AT_ONCE);
        let mut listing = Listing { told: Vec::new(), untold: Vec::new() };
        while let Some((id, answer)) = answers.next().await {
            match answer {
                // What it cannot write it answers with nothing, and 200 (22.10.1). 500 may be any trouble, of a good channel, too.
                Ok(answer) if answer.is_empty() => listing.untold.push(id),
                Ok(answer) => listing.told.push(answer.json()?),
                Err(error) if error.status() == Some(404) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(listing)
    }

    async fn list<T>(&self, kind: &'static str, path: &str) -> Result<Vec<T>, Error>
    where
        T: serde::de::DeserializeOwned + Send + 'static,
    {
        let timeout = self.shared.request_timeout.copy() * LIST_PATIENCE;
        self.shared.http.now().list(&Rendered::get(kind, path.to_owned()), timeout).await
    }
}

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
    /// The monotonic time of the last frame on its socket, where that has been silent since.
    pub(crate) fn silent_since(&self) -> Option<Duration> {
        self.app.silent_since(self.shared.clock.now().mono)
    }

    /// Queues a request at once, behind all earlier ones of this lane; nothing is awaited. While the application's socket is
    /// down nothing is sent, over HTTP neither: what would follow from it could not be seen. The answer's deadline
    /// starts now. Needs a tokio runtime.
    pub fn send(&self, request: Request<'_>) -> Pending {
        let shared = &self.shared;
        let request = request.render();
        let (ticket, pending) =
            Ticket::issue(&shared.meters, request.kind, shared.clock, shared.request_timeout.copy());
        let outgoing = Outgoing { request, ticket };
        if shared.over_websocket.load(Ordering::Acquire) {
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
