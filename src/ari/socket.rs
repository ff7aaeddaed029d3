//! One application's socket over time: connect, hold, tell, and connect again.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::app::App;
use super::backoff::Backoff;
use super::claim::{Claim, Globals, LOOK_EVERY, YIELD};
use super::clock;
use super::connection::{Connection, Ended};
use super::error::Error;
use super::model::Info;
use super::node_event::{DownReason, NodeEvent, NodeEventKind};
use super::request::Request;
use super::shared::Shared;
use super::ws;

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
/// How often a full queue is looked at again; the socket is closed meanwhile.
const DRAIN_POLL: Duration = Duration::from_millis(10);

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
            shared.meters.reconnects(0);
            shared.meters.event_queue_depth()
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
                    let since = self.shared.clock.mono();
                    let held = async {
                        #[cfg(test)]
                        super::testing::panic_if_asked(self.app.name());
                        self.connection().hold(stream, found).await
                    };
                    // Unwind safe: after a panic the connection is never used again, and what it shares are channels and locks of which
                    // no change is left half done.
                    let held = AssertUnwindSafe(held).catch_unwind().await;
                    let ended = held.unwrap_or_else(|_| self.panicked());
                    if self.shared.clock.mono().saturating_sub(since) >= GOOD_AFTER {
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
                self.shared.meters.reconnects(1);
            }
            if self.until_shutdown(sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// A panic while it was read or written ends the connection alone; what was missed is found by comparing, as after any other. What it
    /// said, and where, is told by the process's panic hook.
    fn panicked(&self) -> Ended {
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
        let (mark, beat, epoch) = tokio::try_join!(
            self.shared.global(&claim.mark),
            self.shared.global(&claim.heartbeat),
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
        let http = self.shared.http();
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
            self.shared.meters.disconnect(reason);
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
