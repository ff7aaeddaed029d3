//! One application's socket over time: connect, hold, tell, and connect again.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::backoff::Backoff;
use super::claim::{Claim, Globals, LOOK_EVERY, YIELD};
use super::connection::{Connection, Ended};
use super::error::Error;
use super::late::silent_since;
use super::model::Info;
use super::node::{DownReason, NodeEvent, NodeEventKind, Shared};
use super::request::Request;
use super::ticket::Outgoing;
use super::ws;
use crate::clock;
use crate::panics::{self, Panic};
use crate::telemetry::name;

/// Longest wait for TCP, TLS and the WebSocket handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Shortest and longest wait before connecting again. The longest leaves most of the two seconds in which calls are routed again
/// after Asterisk answers again for connecting and comparing; to be refused twice a second costs neither side anything.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));
/// A connection that lived this long was good: the next wait is the shortest again.
const GOOD_AFTER: Duration = Duration::from_secs(5);
/// Wait after another controller took over an application that is not claimed, so that two of them do not snatch it from each other many
/// times a second.
const REPLACED_PAUSE: Duration = Duration::from_secs(10);
/// Wait before a node is tried again whose certificate could not be accepted: somebody must mend that, and Asterisk logs each try.
const LASTING_PAUSE: Duration = Duration::from_secs(5);
/// How long a socket that is opened anew may take to come up before the next one's turn.
const RENEWED_WITHIN: Duration = Duration::from_secs(10);
/// How often a full queue is looked at again; the socket is closed meanwhile.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// One Stasis application, as its lanes see it.
#[derive(Debug)]
pub(super) struct App {
    index: u16,
    name: String,
    /// `Some` while the socket is up.
    requests: Mutex<Option<mpsc::UnboundedSender<Outgoing>>>,
    /// Monotonic time in microseconds up to which everything from the other side was heard; 0 before its first frame.
    heard: AtomicU64,
    /// Monotonic time in microseconds at which the oldest request was queued that has no answer yet; 0 where few wait.
    waiting: AtomicU64,
    /// Asks the socket to be opened anew.
    pub(super) renewal: Notify,
    /// How often it came up.
    connections: watch::Sender<u64>,
}

impl App {
    pub(super) fn new(index: u16, name: String) -> Self {
        Self {
            index,
            name,
            requests: Mutex::new(None),
            heard: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            renewal: Notify::new(),
            connections: watch::Sender::new(0),
        }
    }

    /// Has its socket opened anew, where it has one, and waits until that is up.
    pub(super) async fn renew(&self) {
        let mut connections = self.connections.subscribe();
        connections.mark_unchanged();
        if self.is_up() {
            self.renewal.notify_one();
            // Where it does not come up soon, the log says why.
            drop(timeout(RENEWED_WITHIN, connections.changed()).await);
        }
    }

    pub(super) fn index(&self) -> u16 {
        self.index
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Everything was heard up to this monotonic time.
    pub(super) fn hear(&self, mono: Duration) {
        self.heard.store(micros(mono), Ordering::Relaxed);
    }

    /// Since when the oldest request waits for its answer; `None` where few do.
    pub(super) fn wait_since(&self, queued_at: Option<Duration>) {
        self.waiting.store(queued_at.map_or(0, micros), Ordering::Relaxed);
    }

    /// How long the oldest request has waited for its answer; zero where few do.
    pub(super) fn waited(&self, now: Duration) -> Duration {
        match self.waiting.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => now.saturating_sub(Duration::from_micros(since)),
        }
    }

    /// Up to when everything was heard, should nothing more come; `None` before the first frame.
    pub(super) fn heard(&self) -> Option<Duration> {
        Some(Duration::from_micros(self.heard.load(Ordering::Relaxed))).filter(|heard| !heard.is_zero())
    }

    /// Up to when everything was heard, where that is longer ago than on a socket that works.
    pub(super) fn silent_since(&self, now: Duration) -> Option<Duration> {
        silent_since(self.heard()?, now)
    }

    pub(super) fn is_up(&self) -> bool {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Queues a request for the socket. Without one it is dropped, and its ticket says that it was not sent.
    pub(super) fn send(&self, outgoing: Outgoing) {
        if let Some(requests) = self.requests.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            drop(requests.send(outgoing));
        }
    }

    /// Opens (`Some`) or closes the way for requests.
    pub(super) fn set(&self, requests: Option<mpsc::UnboundedSender<Outgoing>>) {
        if requests.is_some() {
            self.connections.send_modify(|count| *count += 1);
        }
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner) = requests;
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Why no connection came about.
struct Failure {
    /// For the log.
    text: String,
    /// Whether trying again soon is of no use.
    lasting: bool,
}

/// The task of one application's socket.
#[derive(Debug)]
pub(super) struct Socket {
    shared: Arc<Shared>,
    app: Arc<App>,
    events: mpsc::Sender<NodeEvent>,
    shutdown: CancellationToken,
    depth: metrics::Gauge,
}

impl Socket {
    pub(super) fn new(
        shared: &Arc<Shared>,
        app: &Arc<App>,
        events: mpsc::Sender<NodeEvent>,
        shutdown: CancellationToken,
    ) -> Self {
        let depth = if shared.aside {
            metrics::Gauge::noop()
        } else {
            metrics::counter!(name::ARI_RECONNECTS, "node" => shared.name.to_string()).increment(0);
            metrics::gauge!(name::ARI_EVENT_QUEUE_DEPTH, "node" => shared.name.to_string())
        };
        Self { shared: Arc::clone(shared), app: Arc::clone(app), events, shutdown, depth }
    }

    /// Connects and reconnects until shutdown, or until the consumer is gone.
    pub(super) async fn run(self) {
        let mut backoff = BACKOFF;
        let mut last_failure = String::new();
        let mut replaced = false;
        while !self.shutdown.is_cancelled() && !self.events.is_closed() {
            if self.until_shutdown(self.may_connect(replaced)).await.is_none() {
                return;
            }
            replaced = false;
            let mut wait = backoff.next(clock::jitter());
            match self.until_shutdown(self.open()).await {
                None => return,
                Some(Err(Failure { text, lasting })) => {
                    if lasting {
                        wait = LASTING_PAUSE;
                    }
                    self.log_failure(&mut last_failure, text);
                }
                Some(Ok((stream, found))) => {
                    let since = self.shared.clock.now().mono;
                    let held = panics::caught(async {
                        panics::trap(|| format!("the connection of {}", self.app.name()));
                        self.connection().hold(stream, found).await
                    });
                    let held = held.await;
                    let ended = held.unwrap_or_else(|panic| self.panicked(&panic));
                    if self.shared.clock.now().mono.saturating_sub(since) >= GOOD_AFTER {
                        backoff.reset();
                        wait = backoff.next(clock::jitter());
                    }
                    if ended.reason == DownReason::Renewed {
                        wait = Duration::ZERO;
                    }
                    if ended.reason == DownReason::Replaced {
                        replaced = true;
                        wait = self.yield_to_other();
                    }
                    if ended.was_up {
                        last_failure.clear();
                        self.tell_down(&ended).await;
                    } else {
                        self.log_failure(&mut last_failure, ended.detail);
                    }
                }
            }
            if !self.shared.aside {
                metrics::counter!(name::ARI_RECONNECTS, "node" => self.shared.name.to_string()).increment(1);
            }
            if self.until_shutdown(sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// A panic while it was read or written ends the connection alone; what was missed is found by comparing, as after any other.
    fn panicked(&self, panic: &Panic) -> Ended {
        let (node, app) = (&self.shared.name, self.app.name());
        error!(%node, app, place = panic.place, error = panic.message, "the connection to Asterisk panicked");
        let was_up = self.app.is_up();
        self.app.set(None);
        Ended { reason: DownReason::Lost, detail: "it panicked".to_owned(), was_up }
    }

    fn connection(&self) -> Connection<'_> {
        let Self { shared, app, events, shutdown, depth } = self;
        Connection { shared, app, events, shutdown, depth }
    }

    async fn until_shutdown<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.shutdown.run_until_cancelled(work).await
    }

    /// How long to wait after another controller has taken the application.
    fn yield_to_other(&self) -> Duration {
        match (&self.shared.claim, self.app.index()) {
            (None, _) => REPLACED_PAUSE,
            (Some(_), 0) => {
                self.shared.holds.send_replace(false);
                YIELD
            }
            // The first application decides whether it ever comes back.
            (Some(_), _) => LOOK_EVERY,
        }
    }

    /// Ready when the application may be asked for: when no other controller has the node.
    async fn may_connect(&self, replaced: bool) {
        let Some(claim) = &self.shared.claim else { return };
        if self.app.index() > 0 {
            // Fails only when the sender is gone, which `shared` holds.
            drop(self.shared.holds.subscribe().wait_for(|holds| *holds).await);
            return;
        }
        let mut told = false;
        loop {
            match self.holder(claim, replaced).await {
                Ok(None) => return,
                Ok(Some(holder)) if !told => {
                    told = true;
                    let (node, app) = (&self.shared.name, self.app.name());
                    warn!(%node, app, holder, "another controller has this node; waiting until it leaves");
                    self.tell_taken().await;
                }
                // Who answers nothing cannot be connected to either, which is told there: one answer that is missing says nothing of who
                // has the node. One that was replaced has been told.
                Err(_) if !replaced => {
                    if self.shared.ask(&Request::GetInfo.render()).await.is_err() {
                        return;
                    }
                }
                Ok(Some(_)) | Err(_) => {}
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Who has the node, where it is another controller.
    async fn holder(&self, claim: &Claim, replaced: bool) -> Result<Option<String>, Error> {
        let variable = claim.variable();
        let (mark, beat, epoch) = tokio::try_join!(
            self.shared.global(&variable),
            self.shared.global("CAPCONDUIT_HEARTBEAT"),
            self.shared.global("EPOCH")
        )?;
        Ok(claim.holder(&Globals { mark, beat, epoch }, replaced))
    }

    async fn tell_taken(&self) {
        let (node, app, at) = (self.shared.index, self.app.index(), self.shared.clock.now());
        // Fails only when the consumer is gone, which ends this task, too.
        drop(self.events.send(NodeEvent { node, app, at, late: None, kind: NodeEventKind::Taken }).await);
    }

    /// The same failure over and over is one line in the log.
    fn log_failure(&self, last: &mut String, failure: String) {
        let (node, app) = (&self.shared.name, self.app.name());
        if *last == failure || self.shared.aside {
            debug!(%node, app, error = %failure, "still cannot connect to Asterisk");
        } else {
            warn!(%node, app, error = %failure, "cannot connect to Asterisk; trying again");
            *last = failure;
        }
    }

    /// Finds out what Asterisk it is, and opens the events' socket.
    async fn open(&self) -> Result<(ws::Stream, Info), Failure> {
        let http = self.shared.http.now();
        let found = self.shared.ask(&Request::GetInfo.render()).await;
        let found: Info = found.and_then(|answer| answer.json()).map_err(|error| Failure {
            text: format!("asterisk/info: {error}"),
            lasting: matches!(error, Error::Tls(_)),
        })?;
        self.shared.choose_transport(&found);
        let url = http.events_url(self.app.name());
        let connecting = ws::connect(&url, http.authorization(), http.tls().cloned());
        let failed = |why: String| Failure { text: format!("events socket: {why}"), lasting: false };
        match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(stream)) => Ok((stream, found)),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no handshake within {CONNECT_TIMEOUT:?}"))),
        }
    }

    /// Tells the consumer that the events stop here. The socket is closed already, so waiting for room is harmless;
    /// after a lag the consumer gets the time to drain half of the queue before new events come.
    async fn tell_down(&self, ended: &Ended) {
        let (node, app, reason) = (&self.shared.name, self.app.name(), ended.reason.as_str());
        if self.shared.aside {
            debug!(%node, app, reason, detail = %ended.detail, "disconnected from Asterisk");
        } else {
            if matches!(ended.reason, DownReason::Shutdown | DownReason::Renewed) {
                info!(%node, app, reason, "disconnected from Asterisk");
            } else {
                warn!(%node, app, reason, detail = %ended.detail, "lost the connection to Asterisk");
            }
            metrics::counter!(name::ARI_DISCONNECTS, "node" => node.to_string(), "reason" => reason).increment(1);
        }
        let down = NodeEvent {
            node: self.shared.index,
            app: self.app.index(),
            at: self.shared.clock.now(),
            late: None,
            kind: NodeEventKind::Down { reason: ended.reason, heard: self.app.heard().unwrap_or_default() },
        };
        if ended.reason == DownReason::Shutdown {
            // Nobody may be reading any more: do not hold up the shutdown.
            drop(self.events.try_send(down));
            return;
        }
        drop(self.until_shutdown(self.events.send(down)).await);
        while ended.reason == DownReason::Lagged
            && self.events.capacity() < self.events.max_capacity() / 2
            && !self.events.is_closed()
            && self.until_shutdown(sleep(DRAIN_POLL)).await.is_some()
        {}
    }
}
