//! What a caller sends that Asterisk cannot write as JSON harms nobody else: the dialplan refuses it, and where an older copy of it does
//! not, the controller finds its way around the one channel.

use tokio::time::timeout;

use crate::doctor::FIRST_DIALPLAN;
use crate::harness::LIMIT;
use crate::harness::plan::Plan;
use crate::harness::raw::Invite;
use crate::harness::sipp::{FOREVER_MS, Sipp, carrier, centre};
use crate::harness::site::{Backend, Preparation, Site};

crate::on_both!(
    bytes_that_ari_cannot_tell_are_refused_and_recorded,
    bytes_that_ari_can_tell_are_a_call_like_others,
    the_last_resort_is_not_for_them,
    a_caller_whom_no_list_shows_keeps_no_node_closed,
);

const DID: &str = "+442079460001";

async fn site_of(site: Preparation) -> (Site, Sipp) {
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    (site.start(&plan).await, alpha)
}

/// An INVITE whose Request-URI, Call-ID or caller is something else than usual.
fn invite(uri: &[u8], call_id: &[u8], from: &[u8]) -> Invite {
    let mut invite = Invite::to(DID);
    if !uri.is_empty() {
        invite.uri = [b"sip:", uri, b"@127.0.0.1"].concat();
    }
    invite.call_id.extend(call_id);
    if !from.is_empty() {
        invite.from = [b"\"Ada Byron\" <sip:", from, b"@127.0.0.2>"].concat();
    }
    invite
}

async fn bytes_that_ari_cannot_tell_are_refused_and_recorded(backend: Backend) {
    let (site, alpha) = site_of(Preparation::new(backend)).await;
    let cut = [&[b'1'; 78][..], b"%C3%A9"].concat();
    let long = [&[b'a'; 254][..], "é".as_bytes()].concat();
    for (what, uri, call_id, from, status) in [
        ("number", &b"+4420794601%FF"[..], &b""[..], &b""[..], 484),
        ("its first byte", b"%FF4420794601", b"", b"", 484),
        ("number cut in a character", &cut, b"", b"", 484),
        ("overlong", b"1%C0%80", b"", b"", 484),
        ("overlong of three", b"1%E0%80%80", b"", b"", 484),
        ("surrogate", b"1%ED%A0%80", b"", b"", 484),
        ("too high", b"1%F4%90%80%80", b"", b"", 484),
        ("torn", b"1%F0%9F%98", b"", b"", 484),
        ("Call-ID", b"", b"\xff", b"", 403),
        ("caller", b"", b"", b"+44%FF20", 403),
    ] {
        let invite = invite(uri, call_id, from);
        let mut call = site.send(0, &invite).await;
        assert_eq!(call.outcome().await, status, "{what}");
        let record = site.records_of(&invite, 1).await.remove(0);
        assert_eq!(
            (record.text("ending"), record.number("sip_code")),
            ("failed", Some(i64::from(status))),
            "{what}: {record:?}"
        );
        let seller = if uri.is_empty() { "Acme Leads" } else { "" };
        assert_eq!(record.text("seller_name"), seller, "{what}: counted to whose DID it is: {record:?}");
        assert!(record.0["timeline"].to_string().contains("is no UTF-8"), "{what}: {record:?}");
    }
    // Asterisk cuts the Call-ID at 255 bytes, here in the midst of a character.
    let mut long_id = Invite::to(DID);
    long_id.call_id = long;
    let mut call = site.send(0, &long_id).await;
    assert_eq!(call.outcome().await, 403);
    assert_eq!(site.records_of(&long_id, 1).await[0].text("seller_name"), "Acme Leads");
    assert_eq!(site.nodes[0].leftovers().await, [""; 0]);
    assert_eq!(alpha.trace.dialogs().len(), 0, "nobody was dialled");
    let after = site.call("after", &carrier::call().set("did", DID)).await;
    assert_eq!(after.outcome(), Some(200));
    site.finish().await;
}

/// Other letters, quotes, control characters, what looks like the dialplan's own: none of it is more than text.
async fn bytes_that_ari_can_tell_are_a_call_like_others(backend: Backend) {
    let (site, alpha) = site_of(Preparation::new(backend)).await;
    for (what, call_id, name) in [
        ("letters", "é€😀".as_bytes(), "Zoë 😀".as_bytes()),
        ("the dialplan's signs", b"${EPOCH}\"$[1+1],)(^", b"${EPOCH}$[1+1], )(^|"),
        ("a name of another encoding", b"", b"M\xfcller"),
        ("a name cut in a character", b"", &[&[b'a'; 78][..], "é".as_bytes()].concat()),
    ] {
        let mut invite = invite(b"", call_id, b"");
        invite.from = [b"\"", name, b"\" <sip:+442071838750@127.0.0.2>"].concat();
        // To is told encoded.
        invite.to = [b"\"\xfc\" <sip:", DID.as_bytes(), b"@127.0.0.1>"].concat();
        let mut call = site.send(0, &invite).await;
        assert_eq!(call.outcome().await, 200, "{what}: {:?}", call.statuses);
        call.hang_up().await;
        let record = site.records_of(&invite, 1).await.remove(0);
        assert_eq!((record.text("ending"), record.text("caller_number")), ("completed", "+442071838750"), "{what}");
    }
    // Names of Asterisk's own extensions, signs and letters: numbers that nobody has.
    for uri in [&b"h"[..], b"T", b"i", b"%22%20%3D%20%22h", b"%20", b"%C3%A91", b"$%7BEPOCH%7D", b"malformed"] {
        let invite = invite(uri, b"", b"");
        let mut call = site.send(0, &invite).await;
        assert_eq!(call.outcome().await, 404, "{}", uri.escape_ascii());
        assert_eq!(site.records_of(&invite, 1).await[0].text("ending"), "unknown_did");
    }
    assert_eq!(alpha.trace.dialogs().len(), 4);
    site.finish().await;
}

async fn the_last_resort_is_not_for_them(backend: Backend) {
    let site = Preparation::new(backend);
    let overflow = site.centre("overflow", centre::answer()).await;
    let (mut site, _alpha) = site_of(site.last_resort(&overflow)).await;
    site.controller.process().kill();
    let bad = invite(b"", b"\xff", b"");
    let mut call = site.send(0, &bad).await;
    assert_eq!(call.outcome().await, 403);
    assert_eq!(overflow.trace.dialogs().len(), 0);
    site.controller.serve(&site.nodes).await;
    assert_eq!(site.records_of(&bad, 1).await[0].text("ending"), "failed");
    site.finish().await;
}

/// With an older dialplan such a caller comes into Stasis: no event tells of it, and as long as it lives Asterisk lists no channel.
async fn a_caller_whom_no_list_shows_keeps_no_node_closed(backend: Backend) {
    let site = Preparation::new(backend).asterisk_file("extensions.conf", FIRST_DIALPLAN);
    let (mut site, alpha) = site_of(site).await;
    let mut talking = site.begin("talking", &carrier::call().set("did", DID).set("talk_ms", FOREVER_MS), 1, 1);
    talking.reach("the call is answered", |calls| calls.iter().any(|call| call.answered())).await;

    let invites = [invite(b"", b"\xff", b""), invite(b"+4420794601%FF", b"", b"")];
    let mut calls = Vec::new();
    for invite in &invites {
        let mut call = site.send(0, invite).await;
        call.until_status(100).await;
        calls.push(call);
    }
    // 100 is sent before the channel is made.
    let unlisted = timeout(LIMIT, async { while site.nodes[0].get("channels").await.is_some() {} });
    assert!(unlisted.await.is_ok(), "Asterisk lists them");
    let arrived = timeout(LIMIT, async {
        // The two who talk, and these.
        let there = |app: &serde_json::Value| app["channel_ids"].as_array().map(Vec::len) == Some(4);
        while !site.nodes[0].get("applications/capconduit-1").await.as_ref().is_some_and(there) {}
    });
    assert!(arrived.await.is_ok(), "both come into the application");
    site.controller.process().kill();
    site.controller.serve(&site.nodes).await;
    for (call, invite) in calls.iter_mut().zip(&invites) {
        assert_eq!(call.outcome().await, 503, "they are ended");
        let record = site.records_of(invite, 1).await.remove(0);
        assert!(record.0["timeline"].to_string().contains("malformed"), "{record:?}");
    }
    let routed = site.call("routed", &carrier::call().set("did", DID)).await;
    assert_eq!(routed.outcome(), Some(200), "the node takes calls: {:?}", routed.statuses());
    assert_eq!(alpha.trace.dialogs()[0].ended_at(), None, "and the talk goes on");
    talking.go_on().await;
    let talked = talking.finish(LIMIT).await.remove(0);
    assert_eq!(talked.hung_up_here(), Some(true));
    assert_eq!(site.record(&talked).await.text("ending"), "completed", "it was taken over");
    site.finish().await;
}
