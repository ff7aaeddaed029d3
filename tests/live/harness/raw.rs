//! A carrier whose INVITEs are bytes, of which no user agent has made anything: what it sends is what the test wrote.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::LIMIT;
use super::sipp::CARRIER_IP;

/// What an INVITE says. Two that are sent differ in nothing but their Via: another branch, from another port.
#[derive(Debug, Clone)]
pub(crate) struct Invite {
    /// The Request-URI.
    pub(crate) uri: Vec<u8>,
    /// The From header without its tag.
    pub(crate) from: Vec<u8>,
    /// The tag of From.
    pub(crate) tag: String,
    /// The To header.
    pub(crate) to: Vec<u8>,
    /// The Call-ID.
    pub(crate) call_id: Vec<u8>,
    /// The number in CSeq.
    pub(crate) cseq: u32,
    /// Further headers, each with its end of line.
    pub(crate) headers: Vec<u8>,
}

impl Invite {
    /// An INVITE to `did` like any carrier's, with a Call-ID of its own.
    pub(crate) fn to(did: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("raw-{}-{n}", std::process::id());
        Self {
            uri: format!("sip:{did}@127.0.0.1").into(),
            from: b"\"Ada Byron\" <sip:+442071838750@127.0.0.2>".to_vec(),
            tag: format!("tag-{id}"),
            to: format!("<sip:{did}@127.0.0.1>").into(),
            call_id: id.into(),
            cseq: 1,
            headers: Vec::new(),
        }
    }

    /// The Call-ID as records have it: Asterisk cuts it at 255 bytes.
    pub(crate) fn recorded_id(&self) -> String {
        String::from_utf8_lossy(&self.call_id[..self.call_id.len().min(255)]).into_owned()
    }
}

/// One INVITE that was sent, and its dialog.
#[derive(Debug)]
pub(crate) struct RawCall {
    socket: UdpSocket,
    invite: Invite,
    branch: String,
    /// Every status that came, without repetitions in a row.
    pub(crate) statuses: Vec<u16>,
    /// To and Contact of the last answer.
    to: Vec<u8>,
    contact: Vec<u8>,
}

impl RawCall {
    /// Sends it to a node's SIP address, by a path of its own.
    pub(crate) async fn send(invite: &Invite, node: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let socket = UdpSocket::bind((CARRIER_IP, 0)).await.expect("the carrier's address has a free port");
        socket.connect(node).await.expect("an address");
        let branch = format!("z9hG4bK-raw-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (to, contact, statuses) = (invite.to.clone(), invite.uri.clone(), Vec::new());
        let call = Self { socket, invite: invite.clone(), branch, statuses, to, contact };
        let port = call.socket.local_addr().expect("it is bound").port();
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 {CARRIER_IP}\r\ns=-\r\nc=IN IP4 {CARRIER_IP}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        );
        let own = [format!("Contact: <sip:carrier@{CARRIER_IP}:{port}>\r\n").as_bytes(), &call.invite.headers].concat();
        call.request("INVITE", call.invite.cseq, &call.branch, &own, &sdp).await;
        call
    }

    /// Waits for the final answer, which it acknowledges.
    pub(crate) async fn outcome(&mut self) -> u16 {
        let outcome = timeout(LIMIT, async {
            loop {
                let status = self.hear().await;
                if status >= 200 {
                    return status;
                }
            }
        });
        let outcome = outcome.await.unwrap_or_else(|_| panic!("no final answer after {LIMIT:?}: {:?}", self.statuses));
        let branch = if outcome < 300 { format!("{}-ack", self.branch) } else { self.branch.clone() };
        self.request("ACK", self.invite.cseq, &branch, b"", "").await;
        outcome
    }

    /// Waits for a provisional answer.
    pub(crate) async fn until_status(&mut self, wanted: u16) {
        let heard = timeout(LIMIT, async { while self.hear().await != wanted {} });
        assert!(heard.await.is_ok(), "no {wanted} after {LIMIT:?}: {:?}", self.statuses);
    }

    /// Ends what was answered.
    pub(crate) async fn hang_up(&mut self) {
        self.request("BYE", self.invite.cseq + 1, &format!("{}-bye", self.branch), b"", "").await;
        self.until_status(200).await;
    }

    /// Gives up what was not; the caller of this waits for the [`Self::outcome`].
    pub(crate) async fn cancel(&self) {
        self.request("CANCEL", self.invite.cseq, &self.branch, b"", "").await;
    }

    async fn request(&self, method: &str, cseq: u32, branch: &str, own: &[u8], body: &str) {
        let Invite { from, tag, call_id, .. } = &self.invite;
        let uri = if matches!(method, "BYE") { &self.contact } else { &self.invite.uri };
        let to = if matches!(method, "INVITE" | "CANCEL") { &self.invite.to } else { &self.to };
        let port = self.socket.local_addr().expect("it is bound").port();
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let tail = format!("{kind}Content-Length: {}\r\n\r\n{body}", body.len());
        let message = [
            format!("{method} ").as_bytes(),
            uri,
            format!(" SIP/2.0\r\nVia: SIP/2.0/UDP {CARRIER_IP}:{port};branch={branch}\r\nMax-Forwards: 70\r\nFrom: ")
                .as_bytes(),
            from,
            format!(";tag={tag}\r\nTo: ").as_bytes(),
            to,
            b"\r\nCall-ID: ",
            call_id,
            format!("\r\nCSeq: {cseq} {method}\r\n").as_bytes(),
            own,
            tail.as_bytes(),
        ]
        .concat();
        self.socket.send(&message).await.expect("UDP takes it");
    }

    /// The status of the next answer to anything.
    async fn hear(&mut self) -> u16 {
        let mut buffer = vec![0; 65_536];
        loop {
            let length = self.socket.recv(&mut buffer).await.expect("Asterisk listens");
            let message = &buffer[..length];
            let mut lines = message.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end());
            let first = lines.next().unwrap_or_default();
            let Some(status) = first.strip_prefix(b"SIP/2.0 ") else {
                self.answer(message).await;
                continue;
            };
            let status: u16 =
                std::str::from_utf8(&status[..3]).ok().and_then(|text| text.parse().ok()).expect("a status");
            let mut of_cancel = false;
            for line in lines.take_while(|line| !line.is_empty()) {
                of_cancel |= line.starts_with(b"CSeq:") && line.ends_with(b"CANCEL");
                if let Some(to) = line.strip_prefix(b"To: ") {
                    self.to = to.to_vec();
                } else if let Some(contact) = line.strip_prefix(b"Contact: <") {
                    self.contact = contact.split(|byte| *byte == b'>').next().unwrap_or_default().to_vec();
                }
            }
            // It says that the CANCEL came, not what became of the INVITE.
            if of_cancel {
                continue;
            }
            if self.statuses.last() != Some(&status) {
                self.statuses.push(status);
            }
            return status;
        }
    }

    /// 200 to a request of Asterisk's, such as its BYE.
    async fn answer(&self, request: &[u8]) {
        let text = String::from_utf8_lossy(request);
        let kept = text
            .lines()
            .filter(|line| ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|it| line.starts_with(it)));
        let kept: String = kept.map(|line| format!("{line}\r\n")).collect();
        let answer = format!("SIP/2.0 200 OK\r\n{kept}Content-Length: 0\r\n\r\n");
        self.socket.send(answer.as_bytes()).await.expect("UDP takes it");
    }
}
