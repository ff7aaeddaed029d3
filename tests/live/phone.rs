//! A phone that registers with a password (RFC 3261 section 10 and 22) and takes every call: what sipp cannot be in one scenario, for its
//! registrations and its calls come and go in any order on one socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use md5::{Digest as _, Md5};
use tokio::net::UdpSocket;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::LIMIT;
use crate::harness::node::Node;

/// What it answers a call with; nobody listens, and nothing is sent.
const SDP: &str =
    "v=0\r\no=phone 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 8\r\n";

/// A phone of one user at one node. It is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Phone {
    user: String,
    /// As whom it authenticates.
    authenticates: String,
    server: SocketAddr,
    socket: Arc<UdpSocket>,
    call_id: String,
    sequence: AtomicU32,
    answers: Mutex<mpsc::Receiver<String>>,
    calls: Arc<AtomicUsize>,
    ear: JoinHandle<()>,
}

impl Phone {
    /// Takes a port of its own. `user` is what it calls itself, and authenticates as.
    pub(crate) async fn new(node: &Node, user: &str) -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a port is free"));
        let (answered, answers) = mpsc::channel(16);
        let calls = Arc::new(AtomicUsize::new(0));
        let ear = tokio::spawn(listen(Arc::clone(&socket), answered, Arc::clone(&calls)));
        let call_id = format!("phone-{}-{}", std::process::id(), port(&socket));
        let server = node.sip.parse().expect("the node's address");
        let (user, answers, sequence) = (user.to_owned(), Mutex::new(answers), AtomicU32::new(1));
        Self { authenticates: user.clone(), user, server, socket, call_id, sequence, answers, calls, ear }
    }

    /// The same with another authentication user name than its SIP user.
    pub(crate) fn authenticating_as(mut self, username: &str) -> Self {
        self.authenticates = username.to_owned();
        self
    }

    /// Registers for an hour; the last status that it is given.
    pub(crate) async fn register(&self, password: &str) -> u16 {
        let mut answers = self.answers.lock().await;
        let challenge = self.ask("", &mut answers).await;
        let value = |name: &str| {
            let text = challenge.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
            text.unwrap_or_else(|| panic!("no {name} in {challenge}")).to_owned()
        };
        let (realm, nonce, opaque) = (value("realm"), value("nonce"), value("opaque"));
        let (user, uri) = (&self.authenticates, format!("sip:{}", self.server));
        let secret = hex(&format!("{user}:{realm}:{password}"));
        let response = hex(&format!("{secret}:{nonce}:00000001:c:auth:{}", hex(&format!("REGISTER:{uri}"))));
        let authorization = format!(
            "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", algorithm=MD5, \
             response=\"{response}\", opaque=\"{opaque}\", qop=auth, nc=00000001, cnonce=\"c\"\r\n"
        );
        status(&self.ask(&authorization, &mut answers).await)
    }

    /// How many calls have come to it.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn ask(&self, authorization: &str, answers: &mut mpsc::Receiver<String>) -> String {
        let (user, server, port) = (&self.user, self.server, port(&self.socket));
        let sequence = self.sequence.fetch_add(1, Ordering::SeqCst);
        let request = format!(
            "REGISTER sip:{server} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK-{port}-{sequence}\r\n\
             From: <sip:{user}@{server}>;tag=phone\r\nTo: <sip:{user}@{server}>\r\nCall-ID: {}\r\nCSeq: {sequence} REGISTER\r\n\
             Contact: <sip:{user}@127.0.0.1:{port}>\r\nMax-Forwards: 70\r\nExpires: 3600\r\n{authorization}Content-Length: 0\r\n\r\n",
            self.call_id
        );
        self.socket.send_to(request.as_bytes(), server).await.expect("loopback takes a packet");
        let answer = async {
            loop {
                let answer = answers.recv().await.expect("it listens");
                if header(&answer, "CSeq").starts_with(&format!("{sequence} ")) {
                    return answer;
                }
            }
        };
        timeout(LIMIT, answer).await.expect("the node answers a REGISTER")
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.ear.abort();
    }
}

/// Hands answers on, and takes calls: each is answered at once, and hung up when the other side does.
async fn listen(socket: Arc<UdpSocket>, answered: mpsc::Sender<String>, calls: Arc<AtomicUsize>) {
    let mut packet = vec![0; 65_536];
    let mut taken = Vec::new();
    while let Ok((length, from)) = socket.recv_from(&mut packet).await {
        let message = String::from_utf8_lossy(&packet[..length]).into_owned();
        let method = message.split(' ').next().unwrap_or_default();
        let body = match method {
            "SIP/2.0" => {
                let _ = answered.send(message).await;
                continue;
            }
            "ACK" => continue,
            "INVITE" => SDP,
            _ => "",
        };
        if method == "INVITE" && !taken.contains(&header(&message, "Call-ID")) {
            taken.push(header(&message, "Call-ID"));
            calls.fetch_add(1, Ordering::SeqCst);
        }
        let vias: String =
            message.lines().filter(|line| line.starts_with("Via:")).map(|via| format!("{via}\r\n")).collect();
        let answer = format!(
            "SIP/2.0 200 OK\r\n{vias}From: {}\r\nTo: {};tag=taken\r\nCall-ID: {}\r\nCSeq: {}\r\n\
             Contact: <sip:phone@127.0.0.1:{}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            header(&message, "From"),
            header(&message, "To").split(";tag=").next().unwrap_or_default(),
            header(&message, "Call-ID"),
            header(&message, "CSeq"),
            port(&socket),
            body.len(),
        );
        let _ = socket.send_to(answer.as_bytes(), from).await;
    }
}

fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().expect("it is bound").port()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

fn header(message: &str, name: &str) -> String {
    let line = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_default().to_owned()
}

fn hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
