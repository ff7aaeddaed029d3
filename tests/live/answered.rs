//! A call is answered, both sides see what they should, and either may hang up.

use std::net::SocketAddr;
use std::time::Duration;

use crate::harness::plan::Plan;
use crate::harness::rtp::{PCMA, PCMU, Packet, Rtp, media_address};
use crate::harness::sipp::{FOREVER_MS, carrier, centre};
use crate::harness::site::{Backend, Preparation};
use crate::harness::trace::Dialog;
use crate::harness::{LIMIT, until};

crate::on_both!(caller_hangs_up, client_hangs_up, held_and_resumed);

const DID: &str = "+442079460001";

async fn caller_hangs_up(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer().set("ring_ms", 200)).await;
    let plan = Plan::new().client("alpha", &alpha, ("send_headers = true", "")).campaign("Solar leads", DID, "");
    let site = site.start(&plan.link("alpha", "")).await;

    let call = site.call("caller", &carrier::call().set("did", DID).set("talk_ms", 400)).await;

    assert_eq!(call.statuses(), [100, 180, 200], "ring-back comes before the answer");
    assert_eq!(call.hung_up_here(), Some(true));
    let record = site.record(&call).await;
    assert_eq!(record.attempts(), ["alpha answered"]);
    assert_eq!(record.text("dialstatus"), "ANSWER");
    assert_eq!(record.text("hung_up_by"), "caller");
    assert_eq!(record.number("sip_code"), Some(200));
    assert_eq!(record.text("dialled_number"), DID);
    assert_eq!(record.text("caller_number"), "+442071838750");
    assert_eq!(record.text("caller_name"), "Ada Byron");
    assert_eq!(record.text("campaign_name"), "Solar leads");
    assert!(record.number("talk_ms").is_some_and(|ms| ms > 0), "{record:?}");
    assert!(record.number("ring_ms").is_some_and(|ms| ms > 0), "{record:?}");

    let leg = &alpha.trace.dialogs()[0];
    assert_eq!(leg.hung_up_here(), Some(false), "the call centre is told with BYE");
    let from = leg.invite().header("From").expect("an INVITE has a From");
    assert!(from.contains("Ada Byron") && from.contains("+442071838750"), "the caller's identity: {from}");
    assert_eq!(leg.invite().header("X-CapConduit-Call-Id"), Some(record.text("call_id")));
    assert_eq!(leg.invite().header("X-CapConduit-Campaign"), Some("Solar leads"));
    site.finish().await;
}

async fn client_hangs_up(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer().set("talk_ms", 300)).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    let site = site.start(&plan).await;

    let call = site.call("caller", &carrier::call().set("did", DID).set("talk_ms", 10_000)).await;

    assert_eq!(call.outcome(), Some(200));
    assert_eq!(call.hung_up_here(), Some(false), "the carrier is told with BYE");
    let record = site.record(&call).await;
    assert_eq!(record.attempts(), ["alpha answered"]);
    assert_eq!(record.text("hung_up_by"), "client");
    let invite = alpha.trace.dialogs()[0].invite().clone();
    assert_eq!(invite.header("X-CapConduit-Call-Id"), None, "headers only where the client asks for them");
    site.finish().await;
}

/// How many INVITEs of all calls have been answered with 200.
fn answers(calls: &[Dialog]) -> usize {
    calls.iter().flat_map(|call| call.messages.iter()).filter(|m| m.status("INVITE") == Some(200)).count()
}

/// A hold is the caller's own (`sendonly`): no music is played here, and what the caller sends instead is heard.
async fn assert_on_hold((caller, from_caller): (&mut Rtp, SocketAddr), centre: &Rtp) {
    const WHILE: Duration = Duration::from_millis(400);
    let sound = |packet: &Packet| packet.is_sound(PCMU) || packet.is_sound(PCMA);
    caller.forget();
    centre.forget();
    assert!(centre.receive(WHILE, sound).await.is_none(), "a held call centre hears nothing that nobody sent");
    caller.send_tone(from_caller, PCMU, 10).await;
    assert!(centre.receive(LIMIT, sound).await.is_some(), "the caller's own music is heard");
}

async fn held_and_resumed(backend: Backend) {
    let site = Preparation::new(backend);
    let (mut ear, mut mouth) = (Rtp::bind("127.0.0.2", site.port()).await, Rtp::bind("127.0.0.11", site.port()).await);
    let alpha = site.centre("alpha", centre::answer().set("rtp_port", mouth.port())).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    let site = site.start(&plan).await;

    let scenario = carrier::hold()
        .set("did", DID)
        .set("rtp_port", ear.port())
        .set("hold_ms", FOREVER_MS)
        .set("talk_ms", FOREVER_MS);
    let mut caller = site.begin("caller", &scenario, 1, 1);
    let calls = caller.reach("the hold is answered", |calls| answers(calls) == 2).await;
    let from_centre = media_address(alpha.trace.dialogs()[0].invite());
    let from_caller =
        calls[0].find(false, |m| m.status("INVITE") == Some(200)).map(media_address).expect("it was answered");
    assert_on_hold((&mut ear, from_caller), &mouth).await;
    caller.go_on().await;
    caller.reach("the resume is answered", |calls| answers(calls) == 3).await;
    ear.forget();
    mouth.send_tone(from_centre, PCMU, 10).await;
    ear.send_tone(from_caller, PCMU, 10).await;
    assert!(
        ear.receive(LIMIT, |packet| packet.is_sound(PCMU)).await.is_some(),
        "the caller hears again after the hold"
    );
    assert!(mouth.receive(LIMIT, |packet| packet.is_sound(PCMU)).await.is_some(), "and is heard");
    ear.assert_one_stream("the caller");
    mouth.assert_one_stream("the call centre");

    caller.go_on().await;
    let call = caller.finish(LIMIT).await.remove(0);
    let held = call.find(false, |m| m.status("INVITE") == Some(200) && m.header("CSeq") == Some("2 INVITE"));
    let held = held.expect("the hold is answered");
    assert!(held.text.contains("a=recvonly"), "a hold is answered as one: {}", held.text);
    let leg = alpha.trace.dialogs().remove(0);
    let told = leg.messages.iter().filter(|m| m.method() == Some("INVITE")).count();
    assert_eq!(told, 1, "media goes on as it was, and nobody need be told: {leg:?}");
    assert_eq!(site.record(&call).await.text("hung_up_by"), "caller");
    until("the call centre got its BYE", || alpha.trace.dialogs()[0].ended_at().is_some()).await;
    site.finish().await;
}
