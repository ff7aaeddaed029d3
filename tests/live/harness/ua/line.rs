//! A SIP socket: notes all messages, and answers by itself what needs no decision of the test's.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::{sdp, since};
use crate::harness::message::{EMPTY, Message, carrying};
use crate::harness::until;

/// How often the thread looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// A message that came.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// When.
    pub(crate) at: Duration,
    /// From where.
    pub(crate) from: SocketAddr,
    text: String,
}

impl Heard {
    /// It.
    pub(crate) fn message(&self) -> Message<'_> {
        Message::read(self.text.as_bytes()).expect("it was text")
    }

    /// Its status, if it answers `method`.
    pub(crate) fn status(&self, method: &str) -> Option<u16> {
        self.message().status().filter(|_| self.message().answers() == Some(method))
    }

    /// Whether it is this request.
    pub(crate) fn is(&self, method: &str) -> bool {
        self.message().status().is_none() && self.message().method() == method
    }
}

/// The end of a message with this body; none: an empty one.
pub(super) fn end(body: &str) -> String {
    if body.is_empty() {
        return EMPTY.to_owned();
    }
    carrying(body)
}

/// What a line answers by itself: OPTIONS, BYE and others with 200; a CANCEL with 200 and 487; an INVITE within a dialog, or one that
/// is repeated, with what was last answered; the final answer to its own INVITE with ACK.
#[derive(Debug)]
pub(crate) struct Line {
    /// Where it is.
    pub(crate) address: SocketAddr,
    socket: Arc<UdpSocket>,
    heard: Arc<Mutex<Vec<Heard>>>,
    /// The SDP for whoever asks within a dialog.
    body: Arc<Mutex<String>>,
    open: Arc<AtomicBool>,
}

impl Line {
    /// Opens it.
    pub(crate) fn open(ip: &str, port: u16, body: &str) -> Self {
        let socket = UdpSocket::bind((ip, port)).unwrap_or_else(|e| panic!("cannot bind {ip}:{port}: {e}"));
        socket.set_read_timeout(Some(LOOK)).expect("a socket can time out");
        let address = socket.local_addr().expect("a bound socket has an address");
        let (socket, heard, open) = (Arc::new(socket), Arc::default(), Arc::new(AtomicBool::new(true)));
        let body = Arc::new(Mutex::new(body.to_owned()));
        let desk = Desk { address, socket: Arc::clone(&socket), heard: Arc::clone(&heard), body: Arc::clone(&body) };
        let wanted = Arc::clone(&open);
        thread::spawn(move || {
            let mut datagram = vec![0; 65_536];
            while wanted.load(Ordering::Relaxed) {
                let Ok((length, from)) = desk.socket.recv_from(&mut datagram) else { continue };
                let at = since();
                if let Ok(text) = std::str::from_utf8(&datagram[..length]) {
                    desk.receive(Heard { at, from, text: text.to_owned() });
                }
            }
        });
        Self { address, socket, heard, body, open }
    }

    /// Sends a message; when.
    pub(crate) fn send(&self, text: &str, to: SocketAddr) -> Duration {
        let at = since();
        self.socket.send_to(text.as_bytes(), to).expect("loopback takes a datagram");
        at
    }

    /// What it answers to whoever asks within a dialog.
    pub(crate) fn set_body(&self, body: &str) {
        body.clone_into(&mut self.body.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All that came, in order.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the first message that `wanted` accepts.
    pub(crate) async fn wait(&self, what: &str, wanted: impl Fn(&Heard) -> bool) -> Heard {
        let mut found = None;
        until(what, || {
            found = self.heard().into_iter().find(&wanted);
            found.is_some()
        })
        .await;
        found.expect("it was just there")
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.open.store(false, Ordering::Relaxed);
    }
}

/// The line's thread.
struct Desk {
    address: SocketAddr,
    socket: Arc<UdpSocket>,
    heard: Arc<Mutex<Vec<Heard>>>,
    body: Arc<Mutex<String>>,
}

impl Desk {
    fn send(&self, text: &str, to: SocketAddr) {
        self.socket.send_to(text.as_bytes(), to).expect("loopback takes a datagram");
    }

    fn receive(&self, heard: Heard) {
        let message = heard.message();
        match (message.status(), message.method()) {
            (Some(200..), _) if message.answers() == Some("INVITE") => self.acknowledge(&heard),
            (Some(_), _) | (None, "ACK") => {}
            (None, "INVITE") => {
                if self.is_repeated(&heard) {
                    return;
                }
                if message.header("To").is_some_and(|to| to.contains(";tag=")) {
                    let body = self.body.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let body = sdp::answering(&body, message.body());
                    let contact = format!("Contact: <sip:ua@{}>\r\n", self.address);
                    let answer = format!("SIP/2.0 200 OK\r\n{}{contact}{}", message.repeated(""), end(&body));
                    self.send(&answer, heard.from);
                }
            }
            (None, method) => {
                let tag = self.tag(method);
                self.send(&format!("SIP/2.0 200 OK\r\n{}{EMPTY}", message.repeated(tag)), heard.from);
                if method == "CANCEL" {
                    self.terminate(&heard);
                }
            }
        }
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(heard);
    }

    /// Who is asked outside of a dialog gives its own tag.
    fn tag(&self, method: &str) -> &'static str {
        if method == "BYE" { "" } else { TAG }
    }

    fn is_repeated(&self, heard: &Heard) -> bool {
        let branch = heard.message().branch().map(str::to_owned);
        let all = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().any(|one| one.is("INVITE") && one.message().branch().map(str::to_owned) == branch)
    }

    /// 487 to the INVITE that is cancelled.
    fn terminate(&self, cancel: &Heard) {
        let branch = cancel.message().branch().map(str::to_owned);
        let all = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let invite = all.iter().find(|one| one.is("INVITE") && one.message().branch().map(str::to_owned) == branch);
        if let Some(invite) = invite {
            let refusal = format!("SIP/2.0 487 Request Terminated\r\n{}{EMPTY}", invite.message().repeated(TAG));
            self.send(&refusal, invite.from);
        }
    }

    /// A refusal's ACK belongs to the INVITE's transaction, an answer's has its own (RFC 3261, 17.1.1.3 and 13.2.2.4).
    fn acknowledge(&self, heard: &Heard) {
        let message = heard.message();
        let number = message.sequence().unwrap_or(1);
        let refused = message.status().is_some_and(|status| status >= 300);
        let branch = message.branch().unwrap_or_default();
        let branch = if refused { branch.to_owned() } else { format!("{branch}-ack") };
        let header = |name: &str| message.header(name).unwrap_or_default().to_owned();
        let uri = message.contact().map_or_else(|| format!("sip:{}", heard.from), str::to_owned);
        let ack = format!(
            "ACK {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {};rport;branch={branch}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number} ACK\r\n\
             Max-Forwards: 70\r\n{EMPTY}",
            self.address,
            header("From"),
            header("To"),
            header("Call-ID"),
        );
        self.send(&ack, heard.from);
    }
}

/// The tag of a line that is called.
pub(super) const TAG: &str = "ua";
