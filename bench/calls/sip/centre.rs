//! Call centres: answer or refuse at once, and remember when who called.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::harness::message::{EMPTY, Message, with_body};

/// How often unacknowledged answers are looked through, and how old one must be to be sent again (RFC 3261, T1).
const T1: Duration = Duration::from_millis(500);
/// An answer that nobody acknowledges is sent so often.
const TIMES: u32 = 7;

/// What a call centre does with an INVITE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// 200 at once.
    Answers,
    /// 486 at once.
    IsBusy,
}

/// One INVITE.
#[derive(Debug, Clone)]
pub(crate) struct Rung {
    /// The caller's number.
    pub(crate) number: String,
    /// When it came.
    pub(crate) at: Instant,
    /// When it was answered.
    pub(crate) answered: Instant,
}

/// A call centre in a task of its own. Ends with this.
#[derive(Debug)]
pub(crate) struct Centre {
    /// Where it takes calls.
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Rung>>>,
    task: JoinHandle<()>,
}

impl Centre {
    /// Opens one.
    pub(crate) async fn open(address: SocketAddr, manner: Manner) -> Self {
        let socket = UdpSocket::bind(address).await.expect("the call centre's address is free");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let desk = Desk { socket, address, manner, seen: seen.clone(), open: HashMap::new(), calls: 0 };
        Self { address, seen, task: tokio::spawn(desk.run()) }
    }

    /// The INVITEs since the last time this was asked.
    pub(crate) fn take(&self) -> Vec<Rung> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Centre {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A call that is not over.
struct Open {
    answer: String,
    from: SocketAddr,
    sent: Instant,
    times: u32,
    acknowledged: bool,
}

struct Desk {
    socket: UdpSocket,
    address: SocketAddr,
    manner: Manner,
    seen: Arc<Mutex<Vec<Rung>>>,
    open: HashMap<String, Open>,
    calls: u64,
}

impl Desk {
    async fn run(mut self) {
        let mut datagram = vec![0; 8192];
        let mut again = interval(T1 / 2);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                received = self.socket.recv_from(&mut datagram) => {
                    let at = Instant::now();
                    if let Ok((length, from)) = received && let Some(message) = Message::read(&datagram[..length]) {
                        self.receive(message, from, at).await;
                    }
                }
                _ = again.tick() => self.repeat().await,
            }
        }
    }

    async fn send(&self, text: &str, to: SocketAddr) {
        // What the kernel does not take is lost, as on a network: it is sent again.
        let _lost = self.socket.send_to(text.as_bytes(), to).await;
    }

    async fn receive(&mut self, message: Message<'_>, from: SocketAddr, at: Instant) {
        let Some(id) = message.header("Call-ID") else { return };
        if message.status().is_some() {
            return;
        }
        match message.method() {
            "INVITE" => self.invited(message, id, from, at).await,
            "ACK" => {
                if self.manner == Manner::IsBusy {
                    self.open.remove(id);
                } else if let Some(open) = self.open.get_mut(id) {
                    open.acknowledged = true;
                }
            }
            "BYE" => {
                self.open.remove(id);
                self.send(&format!("SIP/2.0 200 OK\r\n{}{EMPTY}", message.repeated("")), from).await;
            }
            // OPTIONS (is the contact there?); a CANCEL always comes too late here.
            _ => self.send(&format!("SIP/2.0 200 OK\r\n{}{EMPTY}", message.repeated("any")), from).await,
        }
    }

    async fn invited(&mut self, message: Message<'_>, id: &str, from: SocketAddr, at: Instant) {
        if let Some(open) = self.open.get(id) {
            return self.send(&open.answer, open.from).await;
        }
        self.calls += 1;
        let repeated = message.repeated(&format!("s{}", self.calls));
        let answer = match self.manner {
            Manner::Answers => {
                let address = self.address;
                format!("SIP/2.0 200 OK\r\n{repeated}Contact: <sip:centre@{address}>\r\n{}", with_body(address))
            }
            Manner::IsBusy => format!("SIP/2.0 486 Busy Here\r\n{repeated}{EMPTY}"),
        };
        self.send(&answer, from).await;
        let answered = Instant::now();
        let number = message.caller().unwrap_or_default().to_owned();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(Rung { number, at, answered });
        let open = Open { answer, from, sent: answered, times: 1, acknowledged: false };
        self.open.insert(id.to_owned(), open);
    }

    async fn repeat(&mut self) {
        let mut due = Vec::new();
        for open in self.open.values_mut().filter(|open| !open.acknowledged && open.times < TIMES) {
            if open.sent.elapsed() >= T1 * 2_u32.pow(open.times - 1) {
                open.times += 1;
                due.push((open.answer.clone(), open.from));
            }
        }
        for (answer, to) in due {
            self.send(&answer, to).await;
        }
    }
}
