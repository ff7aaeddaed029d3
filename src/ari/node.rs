//! One Asterisk node: the handle others hold, and what it tells its consumer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::app::App;
use super::claim::Claim;
use super::clock::Clock;
use super::error::{BadNode, Error};
use super::http::Http;
use super::lane::Lane;
use super::listing::Listing;
use super::model::{Bridge, Channel, Info, Module};
use super::node_event::NodeEvent;
use super::request::Request;
use super::settings::Settings;
use super::shared::Shared;
use super::socket::Socket;
use super::ticket::Response;

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

/// A client of one Asterisk node.
#[derive(Debug)]
pub struct Node;

impl Node {
    /// Starts one task per application, which connects, and reconnects until `shutdown`.
    ///
    /// `index` labels the events: those of all nodes may go into the same queue.
    ///
    /// # Errors
    /// [`BadNode`] when the URL or the credentials cannot be used at all, or no application is named. That Asterisk cannot be reached is no error.
    pub fn spawn(
        index: usize,
        settings: &Settings,
        events: &mpsc::Sender<NodeEvent>,
        clock: Clock,
        shutdown: &CancellationToken,
    ) -> Result<NodeHandle, BadNode> {
        Ok(Self::start(Self::shared(index, settings, clock, false, None)?, events, shutdown))
    }

    /// As [`Self::spawn`]; where another controller has the node's applications, this one waits until it leaves, and yields to one that
    /// takes them.
    ///
    /// # Errors
    /// As [`Self::spawn`].
    pub fn spawn_claiming(
        index: usize,
        settings: &Settings,
        events: &mpsc::Sender<NodeEvent>,
        clock: Clock,
        shutdown: &CancellationToken,
        claim: Claim,
    ) -> Result<NodeHandle, BadNode> {
        Ok(Self::start(Self::shared(index, settings, clock, false, Some(claim))?, events, shutdown))
    }

    /// As [`Self::spawn`], for a moment, beside the node's own: its metrics and the log stay as if this were not there.
    ///
    /// # Errors
    /// As [`Self::spawn`].
    pub fn spawn_aside(
        index: usize,
        settings: &Settings,
        events: &mpsc::Sender<NodeEvent>,
        clock: Clock,
        shutdown: &CancellationToken,
    ) -> Result<NodeHandle, BadNode> {
        Ok(Self::start(Self::shared(index, settings, clock, true, None)?, events, shutdown))
    }

    /// A client without sockets, which asks over HTTP only and hears no events.
    ///
    /// # Errors
    /// As [`Self::spawn`].
    pub fn over_http(index: usize, settings: &Settings, clock: Clock) -> Result<NodeHandle, BadNode> {
        Ok(NodeHandle::without_sockets(Self::shared(index, settings, clock, true, None)?))
    }

    fn shared(
        index: usize,
        settings: &Settings,
        clock: Clock,
        aside: bool,
        claim: Option<Claim>,
    ) -> Result<Shared, BadNode> {
        if settings.apps.is_empty() {
            let reason = "name at least one Stasis application".to_owned();
            return Err(BadNode { node: settings.name.clone(), field: "apps", value: String::new(), reason });
        }
        Ok(Shared::new(index, settings, Http::new(settings)?, clock, aside, claim))
    }

    fn start(shared: Shared, events: &mpsc::Sender<NodeEvent>, shutdown: &CancellationToken) -> NodeHandle {
        let (shared, tasks) = (Arc::new(shared), TaskTracker::new());
        for app in &shared.apps {
            tasks.spawn(Socket::new(&shared, app, events.clone(), shutdown.clone()).run());
        }
        tasks.close();
        NodeHandle { shared, tasks }
    }
}

/// The way to one Asterisk node. Clones are the same node.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

impl NodeHandle {
    pub(super) fn without_sockets(shared: Shared) -> Self {
        Self { shared: Arc::new(shared), tasks: TaskTracker::new() }
    }

    /// The application that a simulated node has.
    #[cfg(test)]
    pub(super) fn first_app(&self) -> Arc<App> {
        Arc::clone(self.app(0))
    }

    /// The node's configured name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The index that was given to its client.
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
    pub fn silent_since(&self, app: u16) -> Option<Duration> {
        self.app(app).silent_since(self.shared.clock.mono())
    }

    /// How long the oldest request on each of its sockets has waited for its answer, in the mean: Asterisk carries the requests of a socket
    /// out one after the other, so this is how far it is behind. Zero where few wait, and over HTTP, where it has a thread for each
    /// connection.
    #[must_use]
    pub fn waited(&self) -> Duration {
        let now = self.shared.clock.mono();
        self.shared.apps.iter().map(|app| app.waited(now)).sum::<Duration>() / u32::from(self.apps().max(1))
    }

    /// A new ordered way for requests; one per call. `app` counts from 0 and wraps around.
    #[must_use]
    pub fn lane(&self, app: u16) -> Lane {
        Lane::new(&self.shared, self.app(app))
    }

    /// All channels of the node, always over HTTP: a long list overflows the stack of Asterisk's socket thread. Where Asterisk cannot write
    /// the list, because it cannot write one of the channels, those of its applications and those that are `known` are asked for one by one.
    ///
    /// # Errors
    /// Any [`Error`]; a list changes nothing, so it may be asked for again.
    pub async fn list_channels(&self, known: impl FnOnce() -> Vec<String>) -> Result<Listing<Channel>, Error> {
        self.shared.list("list_channels", "channels", known, |application| application.channel_ids).await
    }

    /// All bridges of the node, likewise.
    ///
    /// # Errors
    /// Any [`Error`]; a list changes nothing, so it may be asked for again.
    pub async fn list_bridges(&self, known: impl FnOnce() -> Vec<String>) -> Result<Listing<Bridge>, Error> {
        self.shared.list("list_bridges", "bridges", known, |application| application.bridge_ids).await
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
        self.shared.claim.as_ref().map(|claim| (claim.mark.clone(), claim.mark_at(epoch)))
    }

    /// How long each request may take from now on.
    pub fn set_request_timeout(&self, timeout: Duration) {
        self.shared.set_request_timeout(timeout);
    }

    /// Uses the node's new credentials, should it take them: at once for HTTP, and every socket is opened anew, one after the other, each
    /// when no request of it is under way (after a second in any case).
    ///
    /// # Errors
    /// Where the node does not take them; then the old ones stay in use.
    pub async fn renew(&self, settings: &Settings) -> Result<(), NotRenewed> {
        let http = Http::new(settings)?;
        http.call(&Request::GetInfo.render(), self.shared.request_timeout()).await?;
        self.shared.use_http(http);
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
}
