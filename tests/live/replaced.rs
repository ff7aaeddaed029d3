//! A node that has `res_pjsip_refer` loaded, as many sites have: an INVITE with Replaces (RFC 3891) takes a party's place in Asterisk, whatever
//! `allow_transfer` says. Nobody else gets anything of the call: it ends, and its record says why.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use capconduit::needs::MODULES;

use crate::harness::LIMIT;
use crate::harness::plan::Plan;
use crate::harness::sipp::{CARRIER_IP, CENTRE_IP, FOREVER_MS, carrier, centre};
use crate::harness::site::{Backend, Preparation};
use crate::harness::trace::{Dialog, Message};
use crate::harness::until;

const DID: &str = "+442079460001";

#[tokio::test]
async fn by_the_client_the_call_ends() {
    replaced_by(CENTRE_IP, "leg_replaced(1)").await;
}

#[tokio::test]
async fn by_the_carrier_the_call_ends() {
    replaced_by(CARRIER_IP, "caller_replaced").await;
}

async fn replaced_by(ip: &'static str, told: &str) {
    let modules = format!("{MODULES}load = res_pjsip_refer.so\n");
    let site = Preparation::new(Backend::Sqlite).asterisk_file("modules.conf", &modules);
    let mut alpha = site.centre("alpha", centre::answer()).await;
    // So that its own INVITE is known to be the client's.
    let by_ip = format!("identify_by_ip = [\"{CENTRE_IP}\"]");
    let plan = Plan::new().client("alpha", &alpha, ("", &by_ip)).campaign("Solar", DID, "").link("alpha", "");
    let site = site.start(&plan).await;
    let scenario = carrier::call().set("did", DID).set("talk_ms", FOREVER_MS);
    let mut caller = site.begin("caller", &scenario, 1, 1);
    let calls = caller.reach("the call is up", |calls| calls.iter().any(Dialog::answered)).await;
    let legs = alpha.reach("so is its leg", |legs| legs.iter().any(Dialog::answered)).await;

    // The tags as Asterisk has them: its own first.
    let replaces = if ip == CENTRE_IP {
        let leg = &legs[0];
        let theirs = leg.find(true, |message| message.status("INVITE") == Some(200)).expect("it was answered");
        of_dialog(&leg.call_id, tag(leg.invite(), "From"), tag(theirs, "To"))
    } else {
        let call = &calls[0];
        let ours = call.find(false, |message| message.status("INVITE") == Some(200)).expect("it was answered");
        of_dialog(&call.call_id, tag(ours, "To"), tag(call.invite(), "From"))
    };
    let taker = Taker::new(ip, &site.nodes[0].sip);
    let heard = taker.take(&replaces, site.ports.run(2)).await;
    assert!(heard.iter().any(|line| line.contains(" 200 ")), "Asterisk lets it: {heard:?}");

    let calls = caller.finish(LIMIT).await;
    assert_eq!(
        (calls.len(), calls[0].hung_up_here()),
        (1, Some(false)),
        "the caller is told, and is not left in silence"
    );
    let record = site.record(&calls[0]).await;
    assert_eq!((record.text("ending"), record.text("hung_up_by")), ("completed", "system"), "{record:?}");
    assert!(record.0["timeline"].to_string().contains(told), "{record:?}");
    assert_eq!(record.attempts(), ["alpha answered"]);
    assert_eq!(site.records(1).await.len(), 1, "who took the place is no call");
    site.finish().await;
}

/// Who sends an INVITE with Replaces.
struct Taker {
    socket: UdpSocket,
    at: SocketAddr,
    node: String,
}

impl Taker {
    fn new(ip: &str, node: &str) -> Self {
        let socket = UdpSocket::bind((ip, 0)).expect("a port");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out");
        Self { at: socket.local_addr().expect("it is bound"), socket, node: node.to_owned() }
    }

    /// Takes the place, and waits until Asterisk hangs it up; the first lines of what it heard.
    async fn take(&self, replaces: &str, media: u16) -> Vec<String> {
        let ip = self.at.ip();
        let body =
            format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {media} RTP/AVP 0 8\r\n");
        let more = format!("Replaces: {replaces}\r\nRequire: replaces\r\nContent-Type: application/sdp\r\n");
        self.send("INVITE", "", &more, &body);
        let mut heard: Vec<String> = Vec::new();
        until("who took the place is hung up", || {
            let mut datagram = [0; 4096];
            while let Ok((length, _)) = self.socket.recv_from(&mut datagram) {
                let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
                if text.starts_with("SIP/2.0 200") && text.contains("1 INVITE") {
                    let to = text.split("To:").nth(1).and_then(|rest| rest.split("tag=").nth(1)).unwrap_or_default();
                    self.send("ACK", &format!(";tag={}", to.split("\r\n").next().unwrap_or_default()), "", "");
                }
                heard.push(text.lines().next().unwrap_or_default().to_owned());
            }
            heard.iter().any(|line| line.starts_with("BYE"))
        })
        .await;
        heard
    }

    fn send(&self, method: &str, to: &str, more: &str, body: &str) {
        let Self { at, node, .. } = self;
        let message = format!(
            "{method} sip:123@{node} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK-{method}-taker\r\nFrom: <sip:taker@{at}>;tag=taker\r\n\
             To: <sip:123@{node}>{to}\r\nCall-ID: taker@{at}\r\nCSeq: 1 {method}\r\nContact: <sip:taker@{at}>\r\nMax-Forwards: 70\r\n{more}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.socket.send_to(message.as_bytes(), node).expect("loopback takes it");
    }
}

fn of_dialog(call_id: &str, asterisks: String, others: String) -> String {
    format!("{call_id};to-tag={asterisks};from-tag={others}")
}

fn tag(message: &Message, header: &str) -> String {
    let value = message.header(header).unwrap_or_default();
    let tag = value.split("tag=").nth(1).unwrap_or_default();
    tag.split([';', '>']).next().unwrap_or_default().trim().to_owned()
}
