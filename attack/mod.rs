//! An attack on the API beside calls on a real Asterisk: whatever connections do, calls, log-ins and `/readyz` go on.
//!
//! All attackers at once, from many addresses, each beginning again as soon as it is cut off: half heads, silent connections, slow bodies,
//! readers that read nothing, heads without end, and connections that come and go.

#![allow(clippy::disallowed_methods, reason = "what is measured is real time")]
#![allow(clippy::panic, reason = "what cannot be measured is no result, and says so")]

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use capconduit::descriptors::{self, Needs};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::harness::person::ADMIN_PASSWORD;
use crate::harness::plan::Plan;
use crate::harness::sipp::{carrier, centre};
use crate::harness::site::{Backend, Preparation, Site};

const DID: &str = "+442079460001";
/// Calls a second.
const RATE: u32 = 20;
/// Addresses that attackers come from: with as many connections each as one address may have, several times what there may be in all.
const ADDRESSES: u8 = 40;
/// Connections of each kind that are held at once.
const HALF_HEADS: u32 = 1500;
const SILENT: u32 = 500;
const SLOW_BODIES: u32 = 500;
const SLOW_READERS: u32 = 300;
/// What comes as quickly as it is answered.
const FLOODS: u32 = 20;
/// Descriptors of the attackers themselves.
const DESCRIPTORS: usize = 8192;
/// Longest wait for an answer: longer than that is none. How long is too long for people is another matter.
const PATIENCE: Duration = Duration::from_secs(60);
/// What people put up with.
const LOG_IN_AT_MOST: Duration = Duration::from_secs(1);

/// What a connection of the attackers does.
#[derive(Debug, Clone, Copy)]
enum Kind {
    HalfHead,
    Silent,
    SlowBody,
    SlowReader,
    Endless,
    Churn,
}

/// How one kind of question to the API fared.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    count: u32,
    wrong: Vec<String>,
    longest: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    attacks: u64,
    calls: u32,
    failed: Vec<String>,
    completed: f64,
    log_ins: Asked,
    readiness: Asked,
    ended: Vec<String>,
}

impl Outcome {
    /// No call failed, and whoever asked was answered rightly.
    pub(crate) fn is_clean(&self) -> bool {
        let right = |asked: &Asked| asked.count > 0 && asked.wrong.is_empty();
        self.failed.is_empty()
            && self.completed == f64::from(self.calls)
            && right(&self.log_ins)
            && right(&self.readiness)
    }

    /// Nor did anybody wait for longer than people do: a matter of the machine as well.
    pub(crate) fn is_quick(&self) -> bool {
        self.log_ins.longest <= LOG_IN_AT_MOST
    }

    /// All of it, for people.
    pub(crate) fn report(&self) -> String {
        let mut text = String::new();
        let asked =
            |asked: &Asked| format!("{} asked, {} wrong, longest {:?}", asked.count, asked.wrong.len(), asked.longest);
        // Writing into a text cannot fail.
        let _ = writeln!(text, "attackers' connections  {}", self.attacks);
        let _ = writeln!(
            text,
            "calls                   {}, {} failed, {} completed",
            self.calls,
            self.failed.len(),
            self.completed
        );
        let _ = writeln!(text, "log-in                  {}", asked(&self.log_ins));
        let _ = writeln!(text, "/readyz                 {}", asked(&self.readiness));
        for line in
            self.ended.iter().chain(&self.failed).chain(&self.log_ins.wrong).chain(&self.readiness.wrong).take(40)
        {
            let _ = writeln!(text, "  {line}");
        }
        text
    }
}

/// Attacks for so long, beside as many calls as that takes.
pub(crate) async fn attack(lasting: Duration) -> (Outcome, Site) {
    descriptors::take(Needs { connections: 0, rest: DESCRIPTORS });
    let preparation = Preparation::new(Backend::Sqlite).media("61000-64999").logging("info");
    let alpha = preparation.centre("alpha", centre::answer()).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    let site = preparation.start(&plan).await;
    let api: SocketAddr = site.controller.api().parse().expect("an address");

    let made = Arc::new(AtomicU64::new(0));
    let mut attackers = JoinSet::new();
    let kinds = [
        (Kind::HalfHead, HALF_HEADS),
        (Kind::Silent, SILENT),
        (Kind::SlowBody, SLOW_BODIES),
        (Kind::SlowReader, SLOW_READERS),
        (Kind::Endless, FLOODS),
        (Kind::Churn, FLOODS),
    ];
    for (n, kind) in kinds.into_iter().flat_map(|(kind, count)| (0..count).map(move |n| (n, kind))) {
        let from = IpAddr::from([127, 0, 1, u8::try_from(n % u32::from(ADDRESSES)).unwrap_or(0) + 1]);
        attackers.spawn(again_and_again(kind, from, api, Arc::clone(&made)));
    }
    let calls = RATE * u32::try_from(lasting.as_secs()).expect("minutes");
    let carrier = site.begin("attacked", &carrier::call().set("did", DID), calls, RATE);
    let (log_ins, readiness, dialogs) = tokio::join!(
        ask(lasting, Duration::from_secs(1), || log_in(api)),
        ask(lasting, Duration::from_millis(250), || ready(api)),
        carrier.finish(lasting + Duration::from_secs(60)),
    );
    attackers.shutdown().await;
    site.idle().await;

    let failed = dialogs.iter().filter(|call| call.outcome() != Some(200));
    let mut failed: Vec<_> = failed.map(|call| format!("call {}: {:?}", call.call_id, call.statuses())).collect();
    if dialogs.len() != calls as usize {
        failed.push(format!("{} calls were made, not {calls}", dialogs.len()));
    }
    let metrics = site.controller.metrics().await.expect("metrics answer");
    let completed = metrics.lines().find_map(|line| line.strip_prefix("capconduit_calls_total{ending=\"completed\"} "));
    let ended = metrics.lines().filter(|line| line.starts_with("capconduit_api_connections_ended_total"));
    let outcome = Outcome {
        attacks: made.load(Ordering::Relaxed),
        calls,
        failed,
        completed: completed.and_then(|count| count.parse().ok()).unwrap_or_default(),
        log_ins,
        readiness,
        ended: ended.map(str::to_owned).collect(),
    };
    (outcome, site)
}

/// Asks every so often; whatever takes longer than that is asked for less often.
async fn ask<F: Future<Output = Result<(), String>>>(
    lasting: Duration,
    every: Duration,
    question: impl Fn() -> F,
) -> Asked {
    let (begin, mut ticks, mut asked) = (Instant::now(), interval(every), Asked::default());
    while begin.elapsed() < lasting {
        ticks.tick().await;
        let asking = Instant::now();
        let answer = timeout(PATIENCE, question()).await.unwrap_or_else(|_| Err("no answer".to_owned()));
        asked.count += 1;
        asked.longest = asked.longest.max(asking.elapsed());
        asked.wrong.extend(answer.err().map(|wrong| format!("at {:?}: {wrong}", begin.elapsed())));
    }
    asked
}

/// With a new connection, as everybody has who comes now.
async fn log_in(api: SocketAddr) -> Result<(), String> {
    let body = json!({ "username": "admin", "password": ADMIN_PASSWORD });
    let request = client().post(format!("http://{api}/api/v1/auth/login")).json(&body);
    is_200(request).await
}

async fn ready(api: SocketAddr) -> Result<(), String> {
    is_200(client().get(format!("http://{api}/readyz"))).await
}

/// Somebody who waits: how long they had to is told apart, and a machine that is busy otherwise is no fault of the API's.
fn client() -> reqwest::Client {
    reqwest::Client::builder().tcp_user_timeout(PATIENCE).build().expect("a client without anything special")
}

async fn is_200(request: reqwest::RequestBuilder) -> Result<(), String> {
    let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
    let status = answer.status();
    let text = answer.text().await.map_err(|error| format!("{error:?}"))?;
    if status == 200 { Ok(()) } else { Err(format!("{status}: {text}")) }
}

async fn again_and_again(kind: Kind, from: IpAddr, api: SocketAddr, made: Arc<AtomicU64>) {
    loop {
        made.fetch_add(1, Ordering::Relaxed);
        // Cut off, however it is done: that is what an attacker expects.
        let _ = once(kind, from, api).await;
        // The attackers and the attacked share one machine: the processor is not what is attacked.
        sleep(Duration::from_millis(250)).await;
    }
}

async fn once(kind: Kind, from: IpAddr, api: SocketAddr) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    if matches!(kind, Kind::SlowReader) {
        socket.set_recv_buffer_size(4096)?;
    }
    socket.bind(SocketAddr::new(from, 0))?;
    let mut stream = socket.connect(api).await?;
    match kind {
        Kind::Silent => until_closed(&mut stream).await,
        Kind::HalfHead => drip(&mut stream, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Part: ").await,
        Kind::SlowBody => {
            let head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n";
            drip(&mut stream, head).await
        }
        Kind::SlowReader => {
            stream.write_all(b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n").await?;
            // A reset is noticed by writing alone, as nothing is read.
            loop {
                sleep(Duration::from_secs(1)).await;
                stream.write_all(b"\r\n").await?;
            }
        }
        Kind::Endless => {
            stream.write_all(b"GET / HTTP/1.1\r\n").await?;
            loop {
                stream.write_all(&[b"X: ".as_slice(), &[b'x'; 8192], b"\r\n"].concat()).await?;
            }
        }
        Kind::Churn => Ok(()),
    }
}

/// A beginning, and then a byte a second.
async fn drip(stream: &mut TcpStream, begin: &[u8]) -> std::io::Result<()> {
    stream.write_all(begin).await?;
    loop {
        if let Ok(closed) = timeout(Duration::from_secs(1), until_closed(stream)).await {
            return closed;
        }
        stream.write_all(b"x").await?;
    }
}

async fn until_closed(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut part = [0; 1024];
    while stream.read(&mut part).await? > 0 {}
    Ok(())
}
