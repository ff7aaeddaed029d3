//! A call centre whose every answer the test says.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::sleep;

use super::line::{Heard, Line, TAG, end};
use super::media::Media;
use super::sdp;

/// Where it takes calls.
#[derive(Debug)]
pub(crate) struct Centre {
    /// Its SIP address.
    pub(crate) ip: &'static str,
    /// Its SIP port.
    pub(crate) port: u16,
    /// Its audio.
    pub(crate) media: Media,
    line: Line,
}

/// One call, as the call centre sees it.
#[derive(Debug)]
pub(crate) struct Leg {
    invite: Heard,
}

impl Centre {
    /// Opens it; calls wait until the test looks for them.
    pub(crate) fn open(ip: &'static str, port: u16, media: Media) -> Self {
        let line = Line::open(ip, port, &sdp::audio(media.address()));
        Self { ip, port, media, line }
    }

    /// Waits for its one call.
    pub(crate) async fn rung(&self) -> Leg {
        Leg { invite: self.line.wait("the call centre is called", |one| one.is("INVITE")).await }
    }

    /// How many calls came.
    pub(crate) fn calls(&self) -> usize {
        self.line.heard().iter().filter(|one| one.is("INVITE")).count()
    }

    /// Its own SDP, for an offer of audio alone.
    pub(crate) fn body(&self) -> String {
        sdp::audio(self.media.address())
    }

    /// Answers a call with a status and a body (none: empty); when.
    pub(crate) fn respond(&self, leg: &Leg, status: u16, body: &str) -> Duration {
        let message = leg.invite.message();
        let contact = format!("Contact: <sip:centre@{}>\r\n", self.line.address);
        let text = format!("SIP/2.0 {status} As the test says\r\n{}{contact}{}", message.repeated(TAG), end(body));
        self.line.send(&text, leg.invite.from)
    }

    /// Answers with 200 and its own SDP; when. Video and others that are offered are declined.
    pub(crate) async fn answer(&self, leg: &Leg) -> Duration {
        let body = sdp::declining(&self.body(), leg.invite.message().body());
        let at = self.respond(leg, 200, &body);
        self.line.wait("the answer is acknowledged", |one| one.is("ACK")).await;
        at
    }

    /// Refuses a call, and waits until that is acknowledged.
    pub(crate) async fn refuse(&self, leg: &Leg, status: u16) {
        self.respond(leg, status, "");
        self.line.wait("the refusal is acknowledged", |one| one.is("ACK")).await;
    }

    /// Whether it was told that the call is over.
    pub(crate) fn was_ended(&self) -> bool {
        self.line.heard().iter().any(|one| one.is("BYE") || one.is("CANCEL"))
    }

    /// Waits until it is told that the call is over.
    pub(crate) async fn ended(&self) {
        self.line.wait("the call centre is told of the end", |one| one.is("BYE") || one.is("CANCEL")).await;
    }

    /// Lets so much be said. What is waited for here is time itself: nothing may happen in it.
    pub(crate) async fn goes_on(&self, length: Duration) {
        sleep(length).await;
    }
}

impl Leg {
    /// Where Asterisk wants the call centre's audio.
    pub(crate) fn media(&self) -> SocketAddr {
        self.invite.message().media().expect("Asterisk offers audio")
    }
}
