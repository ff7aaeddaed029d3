//! The carrier: calls at a given rate, whatever becomes of those before (an open loop: who is slow gets no fewer calls).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::time::sleep_until;

use super::audio::{Side, Voice, Which};
use crate::harness::message::{EMPTY, Message, with_body};

/// The first interval of retransmissions (RFC 3261, T1); each doubles the one before.
const T1: Duration = Duration::from_millis(500);
/// Who has no final answer after so long gives up.
const PATIENCE: Duration = Duration::from_secs(8);
/// After the last call was begun, or should have ended, how long the rest may take.
const REST: Duration = Duration::from_secs(3);

/// When a caller's audio begins after the answer; `None`: never.
pub(crate) type Begins = Option<Duration>;

/// What callers say.
#[derive(Debug, Clone)]
pub(crate) struct Speech {
    /// Where from.
    pub(crate) voice: Voice,
    /// Call n begins as number n of these, and round.
    pub(crate) begins: &'static [Begins],
}

/// A series of calls.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    /// Where the caller sends from: says who the carrier is.
    pub(crate) from: SocketAddr,
    /// Where Asterisk takes SIP.
    pub(crate) to: SocketAddr,
    /// What is dialled.
    pub(crate) did: &'static str,
    /// How many calls.
    pub(crate) calls: usize,
    /// How many in a second.
    pub(crate) per_second: f64,
    /// How long each talks.
    pub(crate) talk: Duration,
    /// `None`: no audio.
    pub(crate) speech: Option<Speech>,
    /// The number of its first caller among those of all series at the time.
    pub(crate) first: usize,
}

/// What became of one call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Whom it came from: unique among all at the time, and passed on to the call centre.
    pub(crate) number: String,
    /// When its INVITE was sent.
    pub(crate) began: Instant,
    /// From the INVITE to the final answer.
    pub(crate) took: Option<Duration>,
    /// The final answer; `None`: gave up.
    pub(crate) status: Option<u16>,
    /// Its BYE was answered, or the other side hung up.
    pub(crate) ended: bool,
}

impl Call {
    /// From the INVITE to its 200; `None` where it was not answered so.
    pub(crate) fn set_up(&self) -> Option<Duration> {
        self.took.filter(|_| self.status == Some(200))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Begin(usize),
    Again(usize, u32),
    GiveUp(usize),
    HangUp(usize),
    HangUpAgain(usize, u32),
}

/// Tells series apart: PJSIP takes two requests of one branch for one, wherever they come from, for half a minute.
static RUN: AtomicU32 = AtomicU32::new(1);

struct Caller {
    run: u32,
    series: Series,
    socket: UdpSocket,
    local: SocketAddr,
    calls: Vec<Call>,
    /// The BYE of each answered call.
    byes: Vec<Option<String>>,
    /// Which end of the audio each has.
    ends: Vec<Option<Which>>,
    due: BinaryHeap<Reverse<(Instant, Due)>>,
    over: usize,
}

/// Carries a series out; one entry for each call, in the order of their beginning.
pub(crate) async fn call(series: Series) -> Vec<Call> {
    let socket = UdpSocket::bind(series.from).await.expect("the caller's address is free");
    let local = socket.local_addr().expect("a bound socket has an address");
    let mut due = BinaryHeap::new();
    due.push(Reverse((Instant::now() + Duration::from_millis(5), Due::Begin(0))));
    let run = RUN.fetch_add(1, Ordering::Relaxed);
    let (calls, byes, ends) = (Vec::new(), Vec::new(), Vec::new());
    let mut caller = Caller { run, series, socket, local, calls, byes, ends, due, over: 0 };
    caller.run().await;
    caller.calls
}

impl Caller {
    async fn run(&mut self) {
        let mut datagram = vec![0; 8192];
        let begun = Instant::now();
        let last = begun + Duration::from_secs_f64(self.series.calls as f64 / self.series.per_second);
        let deadline = last + PATIENCE + self.series.talk + REST;
        while self.over < self.series.calls {
            let next = self.due.peek().map_or(deadline, |Reverse((at, _))| *at);
            tokio::select! {
                biased;
                () = sleep_until(next.into()), if next <= Instant::now() => self.fire().await,
                received = self.socket.recv(&mut datagram) => {
                    let now = Instant::now();
                    if let Ok(length) = received && let Some(message) = Message::read(&datagram[..length]) {
                        self.receive(message, now).await;
                    }
                }
                () = sleep_until(next.into()) => self.fire().await,
            }
            if Instant::now() >= deadline {
                break;
            }
        }
    }

    async fn send(&self, text: &str) {
        // What the kernel does not take is lost, as on a network: it is sent again.
        let _lost = self.socket.send_to(text.as_bytes(), self.series.to).await;
    }

    async fn fire(&mut self) {
        let Some(Reverse((at, due))) = self.due.pop() else { return };
        match due {
            Due::Begin(n) => {
                self.begin(n).await;
                if n + 1 < self.series.calls {
                    // From the plan, not from now: a late one does not delay the others.
                    let next = at + Duration::from_secs_f64(1.0 / self.series.per_second);
                    self.due.push(Reverse((next, Due::Begin(n + 1))));
                }
            }
            Due::Again(n, times) => {
                if self.calls[n].took.is_none() {
                    self.send(&self.invite(n)).await;
                    self.later(T1 * 2_u32.pow(times), Due::Again(n, times + 1));
                }
            }
            Due::GiveUp(n) => {
                if self.calls[n].took.is_none() {
                    self.send(&self.request(n, "CANCEL", "i", "1 CANCEL", EMPTY)).await;
                    self.calls[n].took = Some(PATIENCE);
                    self.calls[n].ended = true;
                    self.over += 1;
                }
            }
            Due::HangUp(n) => self.hang_up(n, 0).await,
            Due::HangUpAgain(n, times) => self.hang_up(n, times).await,
        }
    }

    fn later(&mut self, after: Duration, due: Due) {
        self.due.push(Reverse((Instant::now() + after, due)));
    }

    async fn begin(&mut self, n: usize) {
        let number = format!("+4420718{:05}", self.series.first + n);
        self.ends.push(self.series.speech.as_ref().and_then(|speech| speech.voice.take(Side::Caller, &number)));
        self.calls.push(Call { number, began: Instant::now(), took: None, status: None, ended: false });
        self.byes.push(None);
        let invite = self.invite(n);
        self.calls[n].began = Instant::now();
        self.send(&invite).await;
        self.later(T1, Due::Again(n, 1));
        self.later(PATIENCE, Due::GiveUp(n));
    }

    /// Call n is answered, and wants its audio there.
    fn speak(&self, n: usize, to: Option<SocketAddr>, now: Instant) {
        if let (Some(speech), Some(end), Some(to)) = (&self.series.speech, self.ends[n], to)
            && let Some(after) = speech.begins[n % speech.begins.len()]
        {
            speech.voice.say(end, to, now + after);
        }
    }

    fn hush(&self, n: usize) {
        if let (Some(speech), Some(end)) = (&self.series.speech, self.ends[n]) {
            speech.voice.hush(end);
        }
    }

    async fn hang_up(&mut self, n: usize, times: u32) {
        if self.calls[n].ended {
            return;
        }
        self.hush(n);
        if times > 4 {
            // Nobody answers it: the call is over for us.
            self.calls[n].ended = true;
            self.over += 1;
            return;
        }
        if let Some(bye) = &self.byes[n] {
            self.send(bye).await;
        }
        self.later(T1 * 2_u32.pow(times), Due::HangUpAgain(n, times + 1));
    }

    fn request(&self, n: usize, method: &str, branch: &str, sequence: &str, end: &str) -> String {
        let (did, to, local, number) = (self.series.did, self.series.to, self.local, &self.calls[n].number);
        format!(
            "{method} sip:{did}@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bK-{n}-{run}-{branch}\r\n\
             From: <sip:{number}@{ip}>;tag=c{n}\r\nTo: <sip:{did}@{to}>\r\nCall-ID: {n}-{run}-bench\r\nCSeq: {sequence}\r\n\
             Contact: <sip:carrier@{local}>\r\nMax-Forwards: 70\r\n{end}",
            ip = local.ip(),
            run = self.run,
        )
    }

    fn invite(&self, n: usize) -> String {
        let voice = self.series.speech.as_ref().map(|speech| &speech.voice);
        let body = voice.zip(self.ends[n]).map(|(voice, end)| voice.body(end));
        self.request(n, "INVITE", "i", "1 INVITE", &body.unwrap_or_else(|| with_body(self.local)))
    }

    /// A request within the dialog that `answer` made.
    fn within(&self, n: usize, answer: Message<'_>, method: &str, sequence: &str) -> String {
        let (local, number) = (self.local, &self.calls[n].number);
        let uri = answer.contact().unwrap_or_default();
        let to = answer.header("To").unwrap_or_default();
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bK-{n}-{run}-{method}\r\n\
             From: <sip:{number}@{ip}>;tag=c{n}\r\nTo: {to}\r\nCall-ID: {n}-{run}-bench\r\nCSeq: {sequence}\r\n\
             Max-Forwards: 70\r\n{EMPTY}",
            ip = local.ip(),
            run = self.run,
        )
    }

    async fn receive(&mut self, message: Message<'_>, now: Instant) {
        let Some(n) = message.header("Call-ID").and_then(|id| id.split('-').next()?.parse::<usize>().ok()) else {
            return;
        };
        if n >= self.calls.len() {
            return;
        }
        let Some(status) = message.status() else {
            if message.method() == "BYE" {
                self.send(&format!("SIP/2.0 200 OK\r\n{}{EMPTY}", message.repeated(""))).await;
                self.finish(n);
            }
            return;
        };
        match (message.answers(), status) {
            (Some("INVITE"), 200..=299) => {
                if self.calls[n].took.is_none() {
                    self.speak(n, message.media(), now);
                }
                self.send(&self.within(n, message, "ACK", "1 ACK")).await;
                if self.calls[n].took.is_none() {
                    self.settle(n, status, now);
                    self.byes[n] = Some(self.within(n, message, "BYE", "2 BYE"));
                    self.later(self.series.talk, Due::HangUp(n));
                } else if self.calls[n].status.is_none() {
                    // It crossed our CANCEL.
                    let bye = self.within(n, message, "BYE", "2 BYE");
                    self.send(&bye).await;
                }
            }
            (Some("INVITE"), 300..) => {
                let to = message.header("To").unwrap_or_default();
                let plain = self.request(n, "ACK", "i", "1 ACK", EMPTY);
                let acknowledged = plain.lines().map(|line| match line.strip_prefix("To:") {
                    Some(_) => format!("To: {to}\r\n"),
                    None => format!("{line}\r\n"),
                });
                self.send(&acknowledged.collect::<String>()).await;
                if self.calls[n].took.is_none() {
                    self.settle(n, status, now);
                    self.finish(n);
                }
            }
            (Some("BYE"), 200..) => self.finish(n),
            _ => {}
        }
    }

    fn settle(&mut self, n: usize, status: u16, now: Instant) {
        let call = &mut self.calls[n];
        call.took = Some(now - call.began);
        call.status = Some(status);
    }

    fn finish(&mut self, n: usize) {
        self.hush(n);
        if !std::mem::replace(&mut self.calls[n].ended, true) {
            self.over += 1;
        }
    }
}
