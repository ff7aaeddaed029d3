//! What the tests and the bench read of a SIP message (RFC 3261), and the body that the bench offers.

use std::net::SocketAddr;

/// A message as received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a>(&'a str);

impl<'a> Message<'a> {
    /// Reads a datagram; `None` where it is no text.
    pub(crate) fn read(datagram: &'a [u8]) -> Option<Self> {
        std::str::from_utf8(datagram).ok().map(Self)
    }

    /// The status of a response; `None` for a request.
    pub(crate) fn status(self) -> Option<u16> {
        self.0.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The method of a request.
    pub(crate) fn method(self) -> &'a str {
        self.0.split(' ').next().unwrap_or_default()
    }

    /// The first header of this name, as Asterisk spells it: the long form.
    pub(crate) fn header(self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// Every header of this name.
    pub(crate) fn all(self, name: &str) -> impl Iterator<Item = &'a str> {
        let lines = self.0.split("\r\n").take_while(|line| !line.is_empty());
        lines.filter_map(move |line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    }

    /// The method that a response answers.
    pub(crate) fn answers(self) -> Option<&'a str> {
        self.header("CSeq")?.split(' ').nth(1)
    }

    /// The user part of the URI in From: who calls.
    pub(crate) fn caller(self) -> Option<&'a str> {
        self.header("From")?.split_once("sip:")?.1.split('@').next()
    }

    /// The URI in Contact.
    pub(crate) fn contact(self) -> Option<&'a str> {
        self.header("Contact")?.split_once('<')?.1.split('>').next()
    }

    /// What follows the headers.
    pub(crate) fn body(self) -> &'a str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// The branch of the topmost Via: which transaction it belongs to.
    pub(crate) fn branch(self) -> Option<&'a str> {
        self.header("Via")?.split_once("branch=")?.1.split([';', ',']).next()
    }

    /// The number in CSeq.
    pub(crate) fn sequence(self) -> Option<u32> {
        self.header("CSeq")?.split(' ').next()?.parse().ok()
    }

    /// Where the sender of this wants its audio, by its SDP.
    pub(crate) fn media(self) -> Option<SocketAddr> {
        let line = |key: &str| self.body().lines().find_map(|line| line.trim_end().strip_prefix(key));
        let ip = line("c=IN IP4 ")?;
        let port = line("m=audio ")?.split(' ').next()?;
        format!("{ip}:{port}").parse().ok()
    }

    /// The headers that a response repeats, its To with `tag` where there is none yet.
    pub(crate) fn repeated(self, tag: &str) -> String {
        let mut text = String::with_capacity(512);
        for via in self.all("Via") {
            text += &format!("Via: {via}\r\n");
        }
        for name in ["From", "To", "Call-ID", "CSeq"] {
            let value = self.header(name).unwrap_or_default();
            let tagged = name == "To" && !value.contains(";tag=") && !tag.is_empty();
            text += &if tagged { format!("To: {value};tag={tag}\r\n") } else { format!("{name}: {value}\r\n") };
        }
        text
    }
}

/// The end of a message that has no body.
pub(crate) const EMPTY: &str = "Content-Length: 0\r\n\r\n";

/// The end of a message with an offer or answer: one codec, a port that nobody sends to.
pub(crate) fn with_body(local: SocketAddr) -> String {
    let ip = local.ip();
    let body = format!(
        "v=0\r\no=bench 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n"
    );
    carrying(&body)
}

/// The end of a message with this session description.
pub(crate) fn carrying(body: &str) -> String {
    format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
