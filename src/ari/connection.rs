//! One connection of one application's socket, from the handshake to its end: reader, writer, ping.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout, timeout_at};
use tokio_tungstenite::tungstenite::{self, Bytes, Message};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::app::App;
use super::clock::Moment;
use super::error::Error;
use super::event::{Event, Frame, RestResponse, decode};
use super::late::{Late, Lateness};
use super::model::Info;
use super::node_event::{DownReason, NodeEvent, NodeEventKind};
use super::request::{DISALLOWED_EVENTS, Request};
use super::shared::Shared;
use super::ticket::{Outgoing, Response, Ticket};
use super::turn::Turn;
use super::ws;

/// How often the peer is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_millis(500);
/// A socket that was silent for this long is dead. Less than 3 s, so that a half-open connection is found within
/// 3 s; more than two pings, so that one lost second does not cost the connection.
const DEAD_AFTER: Duration = Duration::from_millis(2750);
const _: () = assert!(DEAD_AFTER.as_millis() < 3000 && DEAD_AFTER.as_millis() > 2 * PING_EVERY.as_millis());
/// Events kept back at most while the filter is being set.
const HELD_MAX: usize = 10_000;
/// Requests written before the socket is flushed, at most.
const BATCH: usize = 64;
/// Fewer requests than this that wait are no queue: one of them may take its time.
const CROWD: usize = 32;
/// Longest wait for the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(200);

/// A connection that is to be opened anew waits for a moment without a request under way, so long at most.
const RENEWED_AFTER: Duration = Duration::from_secs(1);
/// How often it looks whether there is one.
const LOOK_WHETHER_QUIET: Duration = Duration::from_millis(2);

/// Why a connection was given up.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) reason: DownReason,
    /// For the log.
    pub(super) detail: String,
    /// Whether the consumer was told `Up`, and so must be told `Down`.
    pub(super) was_up: bool,
}

/// A step of the reader that ends the connection.
type Step = Result<(), (DownReason, String)>;

/// Requests that were sent and have no answer yet.
#[derive(Debug)]
struct Inflight<'a> {
    app: &'a App,
    requests: Mutex<Requests>,
}

#[derive(Debug, Default)]
struct Requests {
    /// By request id.
    tickets: HashMap<u64, Ticket>,
    /// Ids in the order of sending, with when each was queued; the first is under way, further ones may be answered already.
    order: VecDeque<(u64, Duration)>,
}

impl<'a> Inflight<'a> {
    fn new(app: &'a App) -> Self {
        Self { app, requests: Mutex::default() }
    }

    fn with<R>(&self, act: impl FnOnce(&mut Requests) -> R) -> R {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let done = act(&mut requests);
        while requests.order.front().is_some_and(|(id, _)| !requests.tickets.contains_key(id)) {
            requests.order.pop_front();
        }
        let crowded = requests.tickets.len() >= CROWD;
        self.app.wait_since(requests.order.front().filter(|_| crowded).map(|(_, queued_at)| *queued_at));
        done
    }

    fn sent(&self, id: u64, ticket: Ticket) {
        self.with(|requests| {
            requests.order.push_back((id, ticket.queued_at()));
            requests.tickets.insert(id, ticket);
        });
    }

    /// Hands an answer to the one who waits for it. One that comes after its deadline finds nobody.
    fn answer(&self, response: RestResponse) {
        let id = response.request_id.parse().ok();
        if let Some(ticket) = id.and_then(|id: u64| self.with(|requests| requests.tickets.remove(&id))) {
            let body = response.message_body.unwrap_or_default();
            ticket.finish(Response::from_parts(response.status_code, &response.reason_phrase, body));
        }
    }

    fn is_empty(&self) -> bool {
        self.with(|requests| requests.tickets.is_empty())
    }

    fn drop_late(&self) {
        self.with(|requests| requests.tickets.retain(|_, ticket| !ticket.is_late()));
    }
}

impl Drop for Inflight<'_> {
    fn drop(&mut self) {
        self.app.wait_since(None);
    }
}

/// One connected socket.
#[derive(Debug)]
pub(super) struct Connection<'a> {
    pub(super) shared: &'a Shared,
    pub(super) app: &'a App,
    pub(super) events: &'a mpsc::Sender<NodeEvent>,
    pub(super) shutdown: &'a CancellationToken,
    pub(super) depth: &'a metrics::Gauge,
}

impl Connection<'_> {
    /// Holds the connection until it ends. When it returns, every request under way has its outcome.
    pub(super) async fn hold(self, stream: ws::Stream, found: Info) -> Ended {
        let (sink, frames) = stream.split();
        let (queue, requests) = mpsc::unbounded_channel();
        let inflight = Inflight::new(self.app);
        let (reason, detail) = tokio::select! {
            () = self.node_taken() => (DownReason::Replaced, "another controller has the node".to_owned()),
            ended = self.read(frames, &inflight, found, queue) => ended,
            ended = self.write(sink, &inflight, requests) => ended,
        };
        let was_up = self.app.is_up();
        self.app.set(None);
        Ended { reason, detail, was_up }
    }

    /// Ready when another controller has taken the node's first application: the others go with it.
    async fn node_taken(&self) {
        if self.app.index() == 0 || self.shared.claim.is_none() {
            return std::future::pending().await;
        }
        // Fails only when the sender is gone, which `shared` holds.
        drop(self.shared.holds.subscribe().wait_for(|holds| !holds).await);
    }

    /// Reads until the connection ends. Events that come before the filter is set are kept back, so that `Up` is
    /// the first the consumer hears of this connection, and none is lost.
    async fn read(
        &self,
        mut frames: SplitStream<ws::Stream>,
        inflight: &Inflight<'_>,
        found: Info,
        queue: mpsc::UnboundedSender<Outgoing>,
    ) -> (DownReason, String) {
        let filter = Request::SetEventFilter { app: self.app.name(), disallowed: DISALLOWED_EVENTS }.render();
        let mut filter_set = pin!(self.shared.ask(&filter));
        let mut opening = Some((queue, found, Vec::new()));
        let mut heard = self.shared.clock.mono();
        let (mut lateness, mut turn) = (Lateness::new(heard), Turn::default());
        loop {
            let dead_at = self.shared.clock.instant(heard + DEAD_AFTER);
            let step = tokio::select! {
                biased;
                answer = &mut filter_set, if opening.is_some() => match opening.take() {
                    Some((queue, found, held)) => self.come_up(answer, queue, found, held),
                    None => Ok(()),
                },
                frame = timeout_at(dead_at, frames.next()) => {
                    let at = self.shared.clock.now();
                    heard = at.mono;
                    let came = matches!(frame, Ok(Some(Ok(_))));
                    if came {
                        lateness.hear(at.mono);
                    }
                    let held = opening.as_mut().map(|(_, _, held)| held);
                    let step = self.take(frame.map_err(|_| ()), at, &mut lateness, inflight, held);
                    if came {
                        self.app.hear(lateness.until());
                    }
                    step
                }
            };
            if let Err(ended) = step {
                return ended;
            }
            // What was read at once may be hundreds of frames, each of which wakes somebody on the same thread.
            turn.did().await;
        }
    }

    /// The filter is set: opens the way for requests, says `Up`, and passes on what came before.
    fn come_up(
        &self,
        answer: Result<Response, Error>,
        queue: mpsc::UnboundedSender<Outgoing>,
        found: Info,
        held: Vec<(Moment, Event)>,
    ) -> Step {
        if let Err(error) = answer {
            return Err((DownReason::Lost, format!("the event filter could not be set: {error}")));
        }
        let (node, app, version) = (&self.shared.name, self.app.name(), &found.version);
        if self.shared.aside {
            debug!(%node, app, %version, "connected to Asterisk");
        } else {
            info!(%node, app, %version, "connected to Asterisk");
        }
        self.app.set(Some(queue));
        if self.app.index() == 0 {
            self.shared.holds.send_replace(true);
        }
        self.tell(self.shared.clock.now(), None, NodeEventKind::Up(found))?;
        held.into_iter().try_for_each(|(at, event)| self.publish(at, None, event))
    }

    /// One frame, or none in time (`Err`).
    fn take(
        &self,
        frame: Result<Option<Result<Message, tungstenite::Error>>, ()>,
        at: Moment,
        lateness: &mut Lateness,
        inflight: &Inflight<'_>,
        held: Option<&mut Vec<(Moment, Event)>>,
    ) -> Step {
        let text = match frame {
            Err(()) => return Err((DownReason::Silent, format!("nothing heard for {DEAD_AFTER:?}"))),
            Ok(None) => return Err((DownReason::Lost, "closed".to_owned())),
            Ok(Some(Err(error))) => return Err((DownReason::Lost, error.to_string())),
            Ok(Some(Ok(Message::Close(_)))) => return Err((DownReason::Lost, "closed by Asterisk".to_owned())),
            Ok(Some(Ok(Message::Text(text)))) => text,
            // Pings are answered by the library; any frame counts as a sign of life.
            Ok(Some(Ok(_))) => return Ok(()),
        };
        match (decode(&text), held) {
            (Ok(Frame::Response(response)), _) => inflight.answer(response),
            (Ok(Frame::Event(event)), None) => return self.publish(at, lateness.of(at, event.timestamp()), event),
            (Ok(Frame::Event(_)), Some(held)) if held.len() >= HELD_MAX => {
                return Err((DownReason::Lagged, format!("more than {HELD_MAX} events before the filter was set")));
            }
            (Ok(Frame::Event(event)), Some(held)) => held.push((at, event)),
            (Err(error), _) => {
                self.shared.meters.undecodable();
                warn!(node = %self.shared.name, app = self.app.name(), %error, "an event could not be read; it is skipped");
            }
        }
        Ok(())
    }

    /// Passes an event on; the one that says the application was taken over is the connection's last.
    fn publish(&self, at: Moment, late: Option<Late>, event: Event) -> Step {
        self.shared.meters.event(event.kind());
        let replaced =
            matches!(&event, Event::ApplicationReplaced { application, .. } if application == self.app.name());
        self.tell(at, late, NodeEventKind::Event(event))?;
        if replaced {
            return Err((DownReason::Replaced, "another controller uses the same application name".to_owned()));
        }
        Ok(())
    }

    /// Never waits: a full queue ends the connection.
    fn tell(&self, at: Moment, late: Option<Late>, kind: NodeEventKind) -> Step {
        let event = NodeEvent { node: self.shared.index, app: self.app.index(), at, late, kind };
        let told = self.events.try_send(event).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => (DownReason::Lagged, "the event queue is full".to_owned()),
            mpsc::error::TrySendError::Closed(_) => (DownReason::Shutdown, "nobody reads the events".to_owned()),
        });
        self.measure_depth();
        told
    }

    fn measure_depth(&self) {
        let depth = self.events.max_capacity() - self.events.capacity();
        self.depth.set(u32::try_from(depth).unwrap_or(u32::MAX));
    }

    /// Writes requests in the order of their queueing, and pings, until the connection breaks or shutdown.
    async fn write(
        &self,
        mut sink: SplitSink<ws::Stream, Message>,
        inflight: &Inflight<'_>,
        mut requests: mpsc::UnboundedReceiver<Outgoing>,
    ) -> (DownReason, String) {
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        let (mut next_id, mut renewed_by) = (0_u64, None);
        let one_by_one = self.shared.http().tls().is_some();
        loop {
            let written = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => {
                    // The other side may be gone: its farewell is not waited for long.
                    drop(timeout(CLOSE_TIMEOUT, sink.close()).await);
                    return (DownReason::Shutdown, String::new());
                }
                () = self.app.renewal.notified(), if renewed_by.is_none() => {
                    renewed_by = Some(self.shared.clock.mono() + RENEWED_AFTER);
                    Ok(())
                }
                () = sleep(LOOK_WHETHER_QUIET), if renewed_by.is_some() => {
                    let now = self.shared.clock.mono();
                    if inflight.is_empty() || renewed_by.is_some_and(|by| now >= by) {
                        drop(timeout(CLOSE_TIMEOUT, sink.close()).await);
                        return (DownReason::Renewed, String::new());
                    }
                    Ok(())
                }
                _ = ping.tick() => {
                    self.measure_depth();
                    inflight.drop_late();
                    sink.send(Message::Ping(Bytes::new())).await
                }
                count = requests.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        // The reader dropped the way in: the connection never came up.
                        return (DownReason::Lost, "given up".to_owned());
                    }
                    write_batch(&mut sink, inflight, &mut batch, &mut next_id, one_by_one).await
                }
            };
            if let Err(error) = written {
                return (DownReason::Lost, error.to_string());
            }
        }
    }
}

/// Writes what waits. Over TLS each request is flushed by itself (`one_by_one`), which makes it a record of its own: Asterisk's thread for a
/// socket's requests waits for the socket to become readable, which what TLS has decrypted already does not make it (22.10.1), so that a
/// request in one record with another lay there until the next ping, up to [`PING_EVERY`].
async fn write_batch(
    sink: &mut SplitSink<ws::Stream, Message>,
    inflight: &Inflight<'_>,
    batch: &mut Vec<Outgoing>,
    next_id: &mut u64,
    one_by_one: bool,
) -> Result<(), tungstenite::Error> {
    for Outgoing { request, ticket } in batch.drain(..) {
        // Wait for room first: what is still queued may be given up, and then is certain not to have been sent.
        futures_util::future::poll_fn(|cx| sink.poll_ready_unpin(cx)).await?;
        let id = *next_id;
        *next_id += 1;
        match ws::frame(id, &request) {
            Ok(frame) if ticket.start() => {
                inflight.sent(id, ticket);
                sink.start_send_unpin(Message::text(frame))?;
                if one_by_one {
                    sink.flush().await?;
                }
            }
            Ok(_) => {}
            Err(error) => ticket.finish(Err(Error::Protocol(error.to_string()))),
        }
    }
    sink.flush().await
}
