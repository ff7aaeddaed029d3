//! The fake Asterisk's port, on a thread of its own: HTTP for the few requests that come that way, and the WebSocket of the events, which
//! carries the others. It must cost less than what it measures, so the frames are read and written here, many at a time.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::orders::{Order, Outcome, Wish};
use super::wire::{CLOSE, PING, TEXT};
use super::world::{Asked, World};

/// How often it is looked what is due, while anything is.
const TICK: Duration = Duration::from_millis(1);
/// Bytes read at once at most.
const READ: usize = 256 * 1024;

/// A fake Asterisk that runs until this is dropped.
#[derive(Debug)]
pub(super) struct Fake {
    /// Its base URL.
    pub(super) url: String,
    /// Its thread's folder in /proc.
    pub(super) thread: PathBuf,
    orders: mpsc::UnboundedSender<Order>,
}

impl Fake {
    /// Starts it.
    pub(super) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("an open socket");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (orders, taken) = mpsc::unbounded_channel();
        let (told, thread) = std::sync::mpsc::channel();
        let started = std::thread::Builder::new().name("fake-ari".to_owned()).spawn(move || {
            let me = std::fs::read_link("/proc/thread-self").expect("Linux says which thread this is");
            told.send(Path::new("/proc").join(me)).expect("the one who starts it waits");
            run(listener, taken);
        });
        // It ends when its orders do.
        drop(started.expect("the system grants a thread"));
        let thread = thread.recv().expect("the thread runs");
        Self { url, thread, orders }
    }

    /// Keeps its thread on one core.
    pub(super) fn pin(&self, core: &str) {
        let thread = self.thread.file_name().expect("a number");
        // Where that cannot be done it shares the cores, which is only less steady.
        drop(Command::new("taskset").args(["-c", "-p", core]).arg(thread).output());
    }

    /// Makes calls, and says what came of them.
    pub(super) async fn make(&self, wish: Wish) -> Outcome {
        self.order(|told| Order::Make(wish, told)).await
    }

    /// Has the callers hang up, so many in a second, and says what came of that.
    pub(super) async fn hang_up(&self, per_second: f64) -> Outcome {
        self.order(|told| Order::HangUp(per_second, told)).await
    }

    async fn order(&self, order: impl FnOnce(oneshot::Sender<Outcome>) -> Order) -> Outcome {
        let (told, outcome) = oneshot::channel();
        self.orders.send(order(told)).expect("the fake's thread lives");
        outcome.await.expect("the fake's thread lives")
    }
}

/// What the fake's tasks share; all of them are on its one thread.
#[derive(Debug)]
struct Shared {
    world: RefCell<World>,
    /// There is something to be written.
    news: Notify,
}

fn run(listener: std::net::TcpListener, orders: mpsc::UnboundedReceiver<Order>) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("the system grants something to wait with");
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::from_std(listener).expect("an open socket");
        let shared = Rc::new(Shared { world: RefCell::new(World::new()), news: Notify::new() });
        spawn_local(accept(listener, Rc::clone(&shared)));
        drive(&shared, orders).await;
    });
}

/// Carries out orders, and has happen what is due.
async fn drive(shared: &Shared, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let busy = shared.world.borrow().is_busy();
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => shared.world.borrow_mut().take(order),
                None => return,
            },
            _ = tick.tick(), if busy => {}
        }
        shared.world.borrow_mut().turn();
        shared.news.notify_one();
    }
}

async fn accept(listener: TcpListener, shared: Rc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("an open socket");
        spawn_local(serve(stream, Rc::clone(&shared)));
    }
}

/// One connection: requests one after the other, or the WebSocket from the first on.
async fn serve(mut stream: TcpStream, shared: Rc<Shared>) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        if let Some(key) = &request.websocket_key {
            let accept = derive_accept_key(key.as_bytes());
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            if stream.write_all(head.as_bytes()).await.is_ok() {
                hold(&stream, buffer, &shared).await;
            }
            return;
        }
        let answer = shared.world.borrow_mut().answer_http(&request.asked());
        shared.news.notify_one();
        let head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            answer.status,
            answer.reason,
            answer.body.len()
        );
        if stream.write_all(format!("{head}{}", answer.body).as_bytes()).await.is_err() {
            return;
        }
    }
}

// ---- the WebSocket

/// Holds the application's socket until it is closed, or the controller has another one.
async fn hold(stream: &TcpStream, mut input: Vec<u8>, shared: &Shared) {
    let connection = shared.world.borrow_mut().wire.connect();
    loop {
        let waits = shared.world.borrow().wire.has_output();
        let ready = tokio::select! {
            ready = stream.readable() => ready,
            ready = stream.writable(), if waits => ready,
            () = shared.news.notified() => Ok(()),
        };
        if ready.is_err() || !step(stream, &mut input, shared, connection) {
            break;
        }
        // A socket that is never empty keeps the clock from nothing.
        tokio::task::yield_now().await;
    }
    shared.world.borrow_mut().wire.disconnect(connection);
}

/// Reads what has come, carries it out, and writes what there is to say. `false`: the connection is over.
fn step(stream: &TcpStream, input: &mut Vec<u8>, shared: &Shared, connection: u64) -> bool {
    input.reserve(READ);
    match stream.try_read_buf(input) {
        Ok(0) => return false,
        Err(error) if error.kind() != ErrorKind::WouldBlock => return false,
        Ok(_) | Err(_) => {}
    }
    let mut world = shared.world.borrow_mut();
    world.wire.look_at_the_clock();
    world.wire.has(connection) && take_frames(input, &mut world) && world.wire.write(stream).is_ok()
}

/// Takes the frames that are there as a whole. `false`: the other side closes.
fn take_frames(input: &mut Vec<u8>, world: &mut World) -> bool {
    let mut at = 0;
    while let Some(payload) = first_payload(&input[at..]) {
        let end = at + payload.end;
        let (head, body) = input[at..end].split_at_mut(payload.start);
        let opcode = head[0] & 0x0f;
        let mask: [u8; 4] = head[head.len() - 4..].try_into().expect("a head ends with its mask, of four bytes");
        for four in body.chunks_mut(mask.len()) {
            four.iter_mut().zip(mask).for_each(|(byte, key)| *byte ^= key);
        }
        match opcode {
            TEXT => take_text(body, world),
            PING => world.wire.pong(body),
            CLOSE => return false,
            _ => {}
        }
        at = end;
    }
    input.drain(..at);
    true
}

/// Where the payload of the first frame is; `None`: it is not there as a whole. A client's frames are masked, and the controller's are
/// never parts of a longer message.
fn first_payload(input: &[u8]) -> Option<Range<usize>> {
    let (length, head) = match usize::from(*input.get(1)? & 0x7f) {
        126 => (usize::from(u16::from_be_bytes(input.get(2..4)?.try_into().ok()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(input.get(2..10)?.try_into().ok()?)).ok()?, 10),
        length => (length, 2),
    };
    let start = head + 4;
    (input.len() >= start + length).then_some(start..start + length)
}

/// A request, as it comes over the WebSocket.
#[derive(Deserialize)]
struct RestRequest<'a> {
    request_id: &'a str,
    method: &'a str,
    uri: &'a str,
    #[serde(borrow, default)]
    query_strings: Vec<Pair<'a>>,
    #[serde(borrow, default)]
    message_body: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Pair<'a> {
    name: &'a str,
    #[serde(borrow)]
    value: Cow<'a, str>,
}

fn take_text(text: &[u8], world: &mut World) {
    // Anything else the fake does not know either.
    let Ok(request) = serde_json::from_slice::<RestRequest<'_>>(text) else { return };
    let parameter = |name: &str| {
        let pair = request.query_strings.iter().find(|pair| pair.name == name);
        pair.map_or("", |pair| &*pair.value)
    };
    let (variable, value) = (parameter("variable"), parameter("value"));
    let asked = Asked { method: request.method, path: request.uri, variable, value, body: &request.message_body };
    world.answer(request.request_id, &asked);
}

// ---- HTTP

/// A request, as it comes over HTTP.
#[derive(Debug)]
struct Request {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    body: String,
    /// Where it asks for a WebSocket.
    websocket_key: Option<String>,
}

impl Request {
    fn asked(&self) -> Asked<'_> {
        let parameter = |name: &str| {
            let pair = self.query.iter().find(|(other, _)| other == name);
            pair.map_or("", |(_, value)| value.as_str())
        };
        let (variable, value) = (parameter("variable"), parameter("value"));
        Asked { method: &self.method, path: &self.path, variable, value, body: &self.body }
    }
}

/// The next request of a connection; `None` at its end.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..end].to_vec()).ok()?;
    let header = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let length: usize = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while buffer.len() < end + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8_lossy(&buffer[end..end + length]).into_owned();
    let mut line = head.lines().next()?.split(' ');
    let (method, target) = (line.next()?.to_owned(), line.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = pairs.map(|(name, value)| (decoded(name), decoded(value))).collect();
    let path = path.strip_prefix("/ari/")?.to_owned();
    let websocket_key = header("sec-websocket-key");
    buffer.drain(..end + length);
    Some(Request { method, path, query, body, websocket_key })
}
