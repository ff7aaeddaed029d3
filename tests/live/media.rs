//! What the parties hear: audio both ways, through another codec, digits, and early media.

use std::net::SocketAddr;

use crate::harness::LIMIT;
use crate::harness::plan::Plan;
use crate::harness::rtp::{PCMA, PCMU, Rtp, media_address};
use crate::harness::sipp::{FOREVER_MS, Scenario, Sipp, carrier, centre};
use crate::harness::site::{Backend, Preparation, Site};

crate::on_both!(
    audio_and_digits_both_ways,
    audio_between_different_codecs,
    early_media_reaches_the_caller,
    answered_after_anothers_early_media,
    without_early_media_the_caller_rings_until_it_is_answered,
);

const DID: &str = "+442079460001";

/// Both parties' audio sockets and the addresses they send to.
struct Talk {
    caller: Rtp,
    centre: Rtp,
    from_caller: SocketAddr,
    from_centre: SocketAddr,
}

async fn site_with(backend: Backend, answer: Scenario, sip: &str) -> (Site, Sipp, Rtp, Rtp) {
    let site = Preparation::new(backend);
    let caller = Rtp::bind("127.0.0.2", site.port()).await;
    let agent = Rtp::bind("127.0.0.11", site.port()).await;
    let alpha = site.centre("alpha", answer.set("rtp_port", agent.port())).await;
    let plan = Plan::new().client("alpha", &alpha, ("", sip)).campaign("Solar", DID, "").link("alpha", "");
    (site.start(&plan).await, alpha, caller, agent)
}

/// Waits for the answer, and until Asterisk's bridge of both parties has changed to its `technology`; returns where both sides have to
/// send. Who speaks while it changes is heard through the core first (`calls/machine/meeting.rs`): phones have nothing to send so early.
async fn talk(site: &Site, technology: &str, call: &mut Sipp, alpha: &Sipp, (caller, agent): (Rtp, Rtp)) -> Talk {
    let calls = call.reach("the call is answered", |calls| calls.iter().any(|call| call.answered())).await;
    let answer = calls[0].find(false, |message| message.status("INVITE") == Some(200)).expect("it was answered");
    let from_centre = media_address(alpha.trace.dialogs()[0].invite());
    site.nodes[0].until_bridged_by(technology).await;
    Talk { caller, centre: agent, from_caller: media_address(answer), from_centre }
}

impl Talk {
    /// Sound from each side arrives at the other, in the codec that the other speaks.
    async fn assert_heard(&mut self, caller_codec: u8, centre_codec: u8) {
        self.caller.send_tone(self.from_caller, caller_codec, 15).await;
        let heard = self.centre.receive(LIMIT, |packet| packet.is_sound(centre_codec)).await;
        assert!(heard.is_some(), "the call centre hears the caller in payload type {centre_codec}");
        self.centre.send_tone(self.from_centre, centre_codec, 15).await;
        let heard = self.caller.receive(LIMIT, |packet| packet.is_sound(caller_codec)).await;
        assert!(heard.is_some(), "the caller hears the call centre in payload type {caller_codec}");
    }

    fn assert_one_stream_each(&self) {
        self.caller.assert_one_stream("the caller");
        self.centre.assert_one_stream("the call centre");
    }
}

async fn audio_and_digits_both_ways(backend: Backend) {
    let answer = centre::answer().set("payloads", "0 101");
    let (site, alpha, caller, agent) = site_with(backend, answer, "").await;
    let scenario = carrier::call().set("did", DID).set("rtp_port", caller.port()).set("payloads", "0 101");
    let mut call = site.begin("caller", &scenario.set("talk_ms", FOREVER_MS), 1, 1);
    let mut talk = talk(&site, "native_rtp", &mut call, &alpha, (caller, agent)).await;

    talk.assert_heard(PCMU, PCMU).await;
    talk.caller.send_dtmf(talk.from_caller, 5).await;
    assert!(talk.centre.receive(LIMIT, |packet| packet.is_dtmf_end(5)).await.is_some(), "the caller's 5 arrives");
    talk.centre.send_dtmf(talk.from_centre, 9).await;
    assert!(talk.caller.receive(LIMIT, |packet| packet.is_dtmf_end(9)).await.is_some(), "the call centre's 9 arrives");
    talk.assert_one_stream_each();

    call.go_on().await;
    let ended = call.finish(LIMIT).await.remove(0);
    assert_eq!(site.record(&ended).await.attempts(), ["alpha answered"]);
    site.finish().await;
}

async fn audio_between_different_codecs(backend: Backend) {
    let answer = centre::answer().set("payloads", "8 101");
    let (site, alpha, caller, agent) = site_with(backend, answer, "codecs = [\"alaw\"]").await;
    let scenario = carrier::call().set("did", DID).set("rtp_port", caller.port()).set("payloads", "0 101");
    let mut call = site.begin("caller", &scenario.set("talk_ms", FOREVER_MS), 1, 1);
    let mut talk = talk(&site, "simple_bridge", &mut call, &alpha, (caller, agent)).await;

    talk.assert_heard(PCMU, PCMA).await;
    talk.assert_one_stream_each();

    call.go_on().await;
    call.finish(LIMIT).await;
    site.finish().await;
}

/// The announcement of a call centre that then is busy is heard, and after it the next one's ringing, in the audio.
async fn early_media_reaches_the_caller(backend: Backend) {
    let site = Preparation::new(backend);
    let caller = Rtp::bind("127.0.0.2", site.port()).await;
    let mut announcer = Rtp::bind("127.0.0.11", site.port()).await;
    let early = centre::early().set("early_ms", 2500).set("then", "reject").set("rtp_port", announcer.port());
    let early = site.centre("early", early).await;
    let ringing = site.centre("ringing", centre::answer().set("ring_ms", FOREVER_MS)).await;
    let plan = Plan::new()
        .client("early", &early, ("", ""))
        .client("ringing", &ringing, ("", ""))
        .campaign("Solar", DID, "dial_timeout_seconds = 5")
        .link("early", "forwarding_priority = 1")
        .link("ringing", "forwarding_priority = 2\nring_timeout_seconds = 3");
    let site = site.start(&plan).await;
    let scenario = carrier::call().set("did", DID).set("rtp_port", caller.port()).set("payloads", "0 101");
    let mut call = site.begin("caller", &scenario, 1, 1);

    crate::harness::until("the first call centre announces", || !early.trace.dialogs().is_empty()).await;
    let to = media_address(early.trace.dialogs()[0].invite());
    let in_progress = |calls: &[crate::harness::trace::Dialog]| calls.iter().any(|c| c.statuses().contains(&183));
    let (calls, ()) = tokio::join!(call.reach("the carrier gets 183", in_progress), announcer.send_tone(to, PCMA, 40));
    let progress = calls[0].find(false, |message| message.status("INVITE") == Some(183)).expect("it was just there");
    assert!(progress.sdp("m=audio ").is_some(), "early media needs SDP: {}", progress.text);
    let heard = caller.receive(LIMIT, |packet| packet.is_sound(PCMU)).await;
    assert!(heard.is_some(), "the caller hears the announcement before any answer");

    crate::harness::until("the next call centre rings", || !ringing.trace.dialogs().is_empty()).await;
    caller.forget();
    let heard = caller.receive(LIMIT, |packet| packet.is_sound(PCMU)).await;
    assert!(heard.is_some(), "the next one's ringing is heard in the audio");

    let call = call.finish(LIMIT).await.remove(0);
    assert_eq!(call.outcome(), Some(480));
    assert_eq!(site.record(&call).await.attempts(), ["early busy", "ringing no_answer"]);
    site.finish().await;
}

/// After early media of a busy call centre the next one answers: both hear each other, and the call ends like any other.
async fn answered_after_anothers_early_media(backend: Backend) {
    let site = Preparation::new(backend);
    let caller = Rtp::bind("127.0.0.2", site.port()).await;
    let agent = Rtp::bind("127.0.0.11", site.port()).await;
    let early = site.centre("early", centre::early().set("then", "reject")).await;
    let answer = centre::answer().set("ring_ms", 300).set("rtp_port", agent.port()).set("payloads", "0 101");
    let good = site.centre("good", answer).await;
    let plan = Plan::new()
        .client("early", &early, ("", ""))
        .client("good", &good, ("", ""))
        .campaign("Solar", DID, "")
        .link("early", "forwarding_priority = 1")
        .link("good", "forwarding_priority = 2");
    let site = site.start(&plan).await;
    let scenario = carrier::call().set("did", DID).set("rtp_port", caller.port()).set("payloads", "0 101");
    let mut call = site.begin("caller", &scenario.set("talk_ms", FOREVER_MS), 1, 1);

    let mut talk = talk(&site, "native_rtp", &mut call, &good, (caller, agent)).await;
    talk.assert_heard(PCMU, PCMU).await;
    talk.assert_one_stream_each();

    call.go_on().await;
    let call = call.finish(LIMIT).await.remove(0);
    assert_eq!(call.outcome(), Some(200));
    assert_eq!(site.record(&call).await.attempts(), ["early busy", "good answered"]);
    site.finish().await;
}

/// With a campaign that passes no early media the carrier gets 180 and nothing of the announcement, and both hear each other after the answer.
async fn without_early_media_the_caller_rings_until_it_is_answered(backend: Backend) {
    let site = Preparation::new(backend);
    let caller = Rtp::bind("127.0.0.2", site.port()).await;
    let mut agent = Rtp::bind("127.0.0.11", site.port()).await;
    let early = centre::early().set("early_ms", 3000).set("then", "answer").set("payloads", "0 101");
    let early = site.centre("early", early.set("rtp_port", agent.port())).await;
    let plan =
        Plan::new().client("early", &early, ("", "")).campaign("Solar", DID, "early_media = false").link("early", "");
    let site = site.start(&plan).await;
    let scenario = carrier::call().set("did", DID).set("rtp_port", caller.port()).set("payloads", "0 101");
    let mut call = site.begin("caller", &scenario.set("talk_ms", FOREVER_MS), 1, 1);

    let rings = |calls: &[crate::harness::trace::Dialog]| calls.iter().any(|c| c.statuses().contains(&180));
    call.reach("the carrier gets 180", rings).await;
    agent.send_tone(media_address(early.trace.dialogs()[0].invite()), PCMU, 25).await;
    let mut talk = talk(&site, "native_rtp", &mut call, &early, (caller, agent)).await;
    let heard = talk.caller.receive(std::time::Duration::from_millis(100), |packet| packet.is_sound(PCMU)).await;
    assert!(heard.is_none(), "nothing of the announcement was heard");
    talk.assert_heard(PCMU, PCMU).await;
    talk.assert_one_stream_each();

    call.go_on().await;
    let call = call.finish(LIMIT).await.remove(0);
    assert!(call.outcome() == Some(200) && !call.statuses().contains(&183), "{:?}", call.statuses());
    assert_eq!(site.record(&call).await.attempts(), ["early answered"]);
    site.finish().await;
}
