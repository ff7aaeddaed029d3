//! A carrier's caller whose every step the test says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::line::{Heard, Line, end};
use super::media::Media;
use super::sdp;
use crate::harness::until;

/// Calls of this process; with the process's id it tells all calls apart.
static CALLS: AtomicU32 = AtomicU32::new(1);

/// One call.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Its audio.
    pub(crate) media: Media,
    /// Its SIP Call-ID.
    pub(crate) call_id: String,
    line: Line,
    to: SocketAddr,
    did: String,
    number: u32,
}

impl Caller {
    /// Sends an INVITE with `offer` from `ip` and `port` to Asterisk at `to` (host:port).
    pub(crate) fn call(did: &str, to: &str, (ip, port): (&str, u16), media: Media, offer: &str) -> Self {
        let to: SocketAddr = to.parse().expect("an address of ours");
        let call_id = format!("{}-{}-ua", std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed));
        let line = Line::open(ip, port, offer);
        let caller = Self { media, call_id, line, to, did: did.to_owned(), number: 1 };
        caller
            .line
            .send(&caller.request("INVITE", &format!("sip:{did}@{to}"), &format!("<sip:{did}@{to}>"), offer), to);
        caller
    }

    fn request(&self, method: &str, uri: &str, to: &str, body: &str) -> String {
        let (local, call_id, number) = (self.line.address, &self.call_id, self.number);
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bK-{call_id}-{number}{}\r\n\
             From: <sip:+442071838750@{ip}>;tag=c\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {number} {method}\r\n\
             Contact: <sip:carrier@{local}>\r\nMax-Forwards: 70\r\n{}",
            if method == "BYE" { "b" } else { "" },
            end(body),
            ip = local.ip(),
        )
    }

    /// Every status that its first INVITE was answered with, in order, without repetitions in a row.
    pub(crate) fn statuses(&self) -> Vec<u16> {
        let heard = self.line.heard();
        let first = heard.iter().filter(|one| one.message().sequence() == Some(1));
        let mut statuses: Vec<u16> = first.filter_map(|one| one.status("INVITE")).collect();
        statuses.dedup();
        statuses
    }

    /// Waits for this answer to its first INVITE. Fails at once when there was another final one.
    pub(crate) async fn status(&self, status: u16) -> Heard {
        let mut found = None;
        until(&format!("the caller gets {status}, after {:?}", self.statuses()), || {
            found = self.line.heard().into_iter().find(|one| one.status("INVITE") == Some(status));
            let settled = self.statuses().iter().any(|one| *one >= 200);
            assert!(found.is_some() || !settled, "the caller gets {:?} instead of {status}", self.statuses());
            found.is_some()
        })
        .await;
        found.expect("it was just there")
    }

    /// Waits for the answer (it is acknowledged already); where Asterisk wants its audio, and when the answer came.
    pub(crate) async fn answered(&self) -> (SocketAddr, Duration) {
        let answer = self.status(200).await;
        (answer.message().media().expect("an answer has SDP"), answer.at)
    }

    /// Asks for another direction of its audio (`sendonly`: the other side is on hold), and waits for the answer.
    pub(crate) async fn ask_for(&mut self, direction: &str) {
        let answer = self.status(200).await;
        self.number += 1;
        let body = sdp::directed(self.media.address(), direction, self.number);
        self.line.set_body(&body);
        let (uri, to) = dialog(&answer);
        self.line.send(&self.request("INVITE", &uri, &to, &body), self.to);
        let number = Some(self.number);
        let is_answer = |one: &Heard| one.message().sequence() == number && one.status("INVITE") >= Some(200);
        let answer = self.line.wait(&format!("{direction} is answered"), is_answer).await;
        assert_eq!(answer.status("INVITE"), Some(200), "{direction} is agreed to");
    }

    /// Hangs up an answered call, and waits until that is acknowledged.
    pub(crate) async fn hang_up(&mut self) {
        let answer = self.status(200).await;
        self.media.hush();
        self.number += 1;
        let (uri, to) = dialog(&answer);
        self.line.send(&self.request("BYE", &uri, &to, ""), self.to);
        self.line.wait("the BYE is answered", |one| one.status("BYE").is_some()).await;
    }

    /// Gives up a call that is not answered, and waits for the end of it.
    pub(crate) async fn cancel(&mut self) {
        let (to, did) = (self.to, self.did.clone());
        self.media.hush();
        self.line.send(&self.request("CANCEL", &format!("sip:{did}@{to}"), &format!("<sip:{did}@{to}>"), ""), to);
        self.line.wait("the call is given up", |one| one.status("INVITE") == Some(487)).await;
    }

    /// Whether the other side hung up.
    pub(crate) fn was_hung_up(&self) -> bool {
        self.line.heard().iter().any(|one| one.is("BYE"))
    }
}

/// Request-URI and To of requests within the dialog that an answer made.
fn dialog(answer: &Heard) -> (String, String) {
    let message = answer.message();
    (
        message.contact().expect("an answer has a Contact").to_owned(),
        message.header("To").unwrap_or_default().to_owned(),
    )
}
