//! The API's connections: how many there may be, how long their peers may keep them waiting, and what is answered where no request can be
//! read. HTTP itself is hyper's; poem's own server has none of these bounds.
//!
//! | a peer that | is met by |
//! | --- | --- |
//! | opens many connections | [`gate`]: a bound in all and by address; the longest waiting gives way |
//! | sends a head or a body slowly, or nothing | [`pulse`]: a deadline each, whose end closes the connection |
//! | reads slowly | the same, for the time without a byte taken: its stream or export ends with the connection |
//! | sends what is no HTTP | [`refusal`]: a problem document with our headers |

mod accepting;
mod gate;
mod pulse;
mod refusal;
mod serving;
mod wire;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::body::{Body as HttpBody, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, Response};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::accepting::Outage;
use self::gate::{Gate, Held, Place, Refused};
use self::pulse::{Late, Patience};
use self::refusal::Unanswered;
use self::serving::{Serving, received};
use self::wire::Wire;
use crate::clock::Clock;
use crate::config;
use crate::telemetry::name;

pub(crate) use gate::LEAVING_AT_MOST;

/// Bytes of a request's line and headers at most, and of an answer that wait here to be written.
const BUFFER: usize = 64 * 1024;
/// Bytes that wait in a socket to be sent, about: few, so that it shows soon when none are taken.
const UNSENT: u32 = 128 * 1024;
/// How long answers under way may take once the process stops.
const CLOSE_AT_MOST: Duration = Duration::from_secs(1);
/// After the last answer, what a peer still sends is thrown away for so long, and so much of it: closed at once, the kernel would take
/// the answer back.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;
/// Refused connections are told in the log so often at most.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What bounds a listener's connections.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// How many there may be.
    pub(super) most: usize,
    /// Addresses apart, from which many people's connections come, how many of one address.
    most_of_address: usize,
    unbounded: Vec<config::Network>,
    patience: Patience,
}

impl Terms {
    pub(super) fn new(api: &config::Api, most: usize) -> Self {
        Self {
            most,
            most_of_address: api.connections_per_address,
            unbounded: api.trusted_proxies.clone(),
            patience: Patience { header: api.header, body: api.body, idle: api.idle, stall: api.stall },
        }
    }
}

/// One listener, and what its connections share.
struct Server<E> {
    endpoint: E,
    gate: Arc<Gate>,
    patience: Patience,
    clock: Clock,
    local: SocketAddr,
    stop: CancellationToken,
}

/// Serves `endpoint` until `stop`, and then for a moment what is under way.
pub(super) async fn serve(
    listener: TcpListener,
    endpoint: impl Endpoint<Output = Response> + 'static,
    terms: Terms,
    clock: Clock,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let gate = Gate::new(terms.most, terms.most_of_address, terms.unbounded);
    let local = listener.local_addr()?;
    let server = Arc::new(Server { endpoint, gate, patience: terms.patience, clock, local, stop });
    let (connections, abandoned) = (TaskTracker::new(), CancellationToken::new());
    let (mut outage, mut told) = (Outage::default(), None);
    loop {
        let next = async {
            server.gate.settled().await;
            listener.accept().await
        };
        let Some(accepted) = server.stop.run_until_cancelled(next).await else { break };
        match accepted {
            Ok((socket, peer)) => {
                if let Some(count) = outage.succeeded(clock.now().mono) {
                    tracing::info!(count, "the API takes connections again");
                }
                match server.admit(peer.ip()) {
                    Ok((held, place)) => {
                        let connection = Arc::clone(&server).connection(socket, peer, held, place);
                        connections.spawn(abandoned.clone().run_until_cancelled_owned(connection));
                    }
                    Err(refused) => server.turn_away(socket, peer, refused, &mut told),
                }
            }
            Err(error) => {
                let Some((pause, first)) = outage.failed(&error, clock.now().mono) else { continue };
                if first {
                    tracing::error!(%error, "the API cannot take connections; trying again");
                }
                server.stop.run_until_cancelled(sleep(pause)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if timeout(CLOSE_AT_MOST, connections.wait()).await.is_err() {
        abandoned.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// Why a connection ended: the label of [`name::API_CONNECTIONS_ENDED`].
fn note(reason: &'static str) {
    metrics::counter!(name::API_CONNECTIONS_ENDED, "reason" => reason).increment(1);
}

impl<E: Endpoint<Output = Response> + 'static> Server<E> {
    fn admit(&self, peer: IpAddr) -> Result<(Arc<Held>, Place), Refused> {
        let held = Held::new(self.clock.now().mono);
        let place = self.gate.enter(peer, &held)?;
        Ok((held, place))
    }

    /// Without a word, which would take a place; with a reset, which leaves nothing behind in the kernel either.
    fn turn_away(&self, socket: TcpStream, peer: SocketAddr, refused: Refused, told: &mut Option<Duration>) {
        reset(&socket);
        drop(socket);
        let (reason, key) = match refused {
            Refused::Full => ("full", "api.connections"),
            Refused::Address => ("address", "api.connections_per_address"),
        };
        note(reason);
        let now = self.clock.now().mono;
        if told.is_none_or(|told| now.saturating_sub(told) >= TELL_EVERY) {
            *told = Some(now);
            tracing::warn!(address = %peer.ip(), key, "a connection to the API was refused: there are too many");
        }
    }

    /// One connection to its end.
    async fn connection(self: Arc<Self>, socket: TcpStream, peer: SocketAddr, held: Arc<Held>, place: Place) {
        prepare(&socket, self.patience.stall);
        let io = TokioIo::new(Wire::new(socket, Arc::clone(&held), self.clock));
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let serving = Serving::begin(&held, self.clock);
            let addresses = (LocalAddr(Addr::SocketAddr(self.local)), RemoteAddr(Addr::SocketAddr(peer)));
            let request = received((request, addresses.0, addresses.1, Scheme::HTTP).into(), &held, self.clock);
            let answer = self.endpoint.get_response(request);
            async move {
                let answer = hyper::Response::from(answer.await);
                Ok::<_, Infallible>(answer.map(|body| serving.answers(body)))
            }
        });
        let mut http = http1::Builder::new();
        // Deadlines are kept here, each by itself; the library's counts idle time as part of the next head's.
        http.header_read_timeout(None).max_buf_size(BUFFER).max_header_size(BUFFER);
        let mut connection = http.serve_connection(io, service);
        let end = self.until_end(Pin::new(&mut connection), &held).await;
        let wire = connection.into_parts().io.into_inner();
        note(end.reason());
        // At once, or as soon as it must give way while something is still being said.
        held.leave.run_until_cancelled(self.part(wire, end, &held)).await;
        drop(place);
    }

    /// Until it ends by itself, its peer is late, it must give way, or the process stops and nothing is under way.
    async fn until_end(
        &self,
        mut connection: Pin<&mut (impl Future<Output = hyper::Result<()>> + Stoppable)>,
        held: &Held,
    ) -> End {
        let (mut leave, mut stop) = (pin!(held.leave.cancelled()), pin!(self.stop.cancelled()));
        let (mut timer, mut stopping) = (pin!(sleep_until(self.clock.instant(self.clock.now().mono))), false);
        poll_fn(|cx| {
            if !stopping && stop.as_mut().poll(cx).is_ready() {
                stopping = true;
                connection.as_mut().stop();
            }
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended.map_or_else(End::Failed, |()| End::Closed));
            }
            if leave.as_mut().poll(cx).is_ready() {
                return Poll::Ready(End::GaveWay);
            }
            let Some((at, late)) = held.pulse().due(self.patience) else { return Poll::Pending };
            let at: Instant = self.clock.instant(at);
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            timer.as_mut().poll(cx).map(|()| End::Late(late))
        })
        .await
    }

    /// Says what is to be said, and closes.
    async fn part(&self, mut wire: Wire, end: End, held: &Held) {
        let unanswered = match &end {
            End::Failed(error) if error.is_parse_version_h2() => Some(Unanswered::Http2),
            End::Failed(_) | End::Closed => wire.refused.map(Unanswered::Unreadable),
            End::Late(late) => held.pulse().can_be_told().then_some(Unanswered::Late(*late)),
            End::GaveWay => None,
        };
        if matches!(end, End::Late(Late::Stall)) {
            // What it does not take would stay in the kernel.
            return reset(&wire.socket);
        }
        let socket = &mut wire.socket;
        if let Some(unanswered) = unanswered
            && let Some(answer) = unanswered.bytes(self.clock).await
            && timeout(LINGER, socket.write_all(&answer)).await.is_err()
        {
            return reset(socket);
        }
        if !wire.ended {
            // Whatever comes of it, the socket is closed.
            let _ = timeout(LINGER, throw_away(socket)).await;
        }
    }
}

/// How a connection ended.
enum End {
    /// Either side closed it between requests.
    Closed,
    /// It broke, or what came was no request.
    Failed(hyper::Error),
    /// Its peer kept it waiting for too long.
    Late(Late),
    /// Another needed its place.
    GaveWay,
}

impl End {
    fn reason(&self) -> &'static str {
        match self {
            Self::Closed | Self::Failed(_) => "closed",
            Self::Late(Late::Header { .. }) => "header",
            Self::Late(Late::Body) => "body",
            Self::Late(Late::Idle) => "idle",
            Self::Late(Late::Stall) => "stalled",
            Self::GaveWay => "gave_way",
        }
    }
}

/// Lets a connection end when what is under way has been answered.
trait Stoppable {
    fn stop(self: Pin<&mut Self>);
}

impl<S, B> Stoppable for http1::Connection<TokioIo<Wire>, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: HttpBody + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn stop(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// What the kernel is told. Where it does not know one of these it does without; the deadlines here hold all the same.
fn prepare(socket: &TcpStream, stall: Duration) {
    let (socket, told) = (SockRef::from(socket), "a socket option of the API was not taken");
    // Ours shows first where bytes wait to be written; the kernel's, where a few were sent to somebody who is gone without a word.
    let unacknowledged = Some(stall * 2);
    for set in [
        socket.set_tcp_nodelay(true),
        socket.set_tcp_notsent_lowat(UNSENT),
        socket.set_tcp_user_timeout(unacknowledged),
    ] {
        set.unwrap_or_else(|error| tracing::debug!(%error, "{told}"));
    }
}

/// Closes with a reset.
fn reset(socket: &TcpStream) {
    socket.set_zero_linger().unwrap_or_else(|error| tracing::debug!(%error, "a socket of the API was not reset"));
}

async fn throw_away(socket: &mut TcpStream) -> std::io::Result<()> {
    socket.shutdown().await?;
    let mut rest = socket.take(LINGER_BYTES as u64);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.map(drop)
}
