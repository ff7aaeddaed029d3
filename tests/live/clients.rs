//! Call centres may answer calls and nothing else: their own INVITEs and transfers reach nothing.

use crate::harness::LIMIT;
use crate::harness::plan::Plan;
use crate::harness::sipp::{CENTRE_IP, carrier, centre};
use crate::harness::site::{Backend, Preparation, Site};

crate::on_both!(own_calls_reach_nothing, a_password_opens_no_way_out, transfers_reach_nothing);

const DID: &str = "+442079460001";

async fn own_calls_reach_nothing(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer()).await;
    let known = format!("identify_by_ip = [\"{CENTRE_IP}\"]");
    let plan = Plan::new().client("alpha", &alpha, ("", &known)).campaign("Solar", DID, "").link("alpha", "");
    let site = site.start(&plan).await;

    // As itself, to a DID and to whatever else it may hope for; and as a stranger on the same network.
    for (name, ip, target) in [
        ("did", CENTRE_IP, DID),
        ("itself", CENTRE_IP, "alpha"),
        ("carrier", CENTRE_IP, "carrier-1"),
        ("stranger", "127.0.0.66", DID),
    ] {
        let from = format!("<sip:alpha@{ip}>");
        let scenario = carrier::call().set("did", target).set("from", from);
        let calls = site.begin_at(&site.nodes[0], ip, name, &scenario, (1, 1)).finish(LIMIT).await;
        let outcome = calls[0].outcome();
        assert!(outcome.is_some_and(|status| (400..500).contains(&status)), "{name}: {:?}", calls[0].statuses());
    }

    assert_eq!(alpha.trace.dialogs().len(), 0, "nobody was called");
    assert_only_the_carriers_call_counts(&site).await;
    site.finish().await;
}

/// A carrier's call is routed and recorded; had an earlier one been, there would be its record as well.
async fn assert_only_the_carriers_call_counts(site: &Site) {
    let call = site.call("carriers", &carrier::call().set("did", DID)).await;
    assert_eq!(call.outcome(), Some(200), "the carrier's call is routed: {:?}", call.statuses());
    let records = site.records(1).await;
    assert_eq!(records[0].text("sip_call_id"), call.call_id, "no other call is routed, or recorded as one");
}

async fn a_password_opens_no_way_out(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new()
        .client("alpha", &alpha, ("", ""))
        .registering_client("beta", "beta-s-secret")
        .campaign("Solar", DID, "")
        .link("alpha", "");
    let site = site.start(&plan).await;

    for target in [DID, "alpha", "beta", "carrier-1"] {
        let scenario = centre::register().set("username", "beta").set("password", "beta-s-secret").set("did", target);
        let name = format!("beta-to-{target}");
        let calls = site.begin_at(&site.nodes[0], CENTRE_IP, &name, &scenario, (1, 1)).finish(LIMIT).await;
        // What is repeated was only late.
        let answers = |method: &str| {
            let mut statuses: Vec<_> = calls[0].messages.iter().filter_map(|m| m.status(method)).collect();
            statuses.dedup();
            statuses
        };
        assert_eq!(answers("REGISTER"), [401, 200], "{target}: its password is right");
        let mut invite = answers("INVITE");
        invite.retain(|status| *status > 100);
        invite.dedup();
        assert_eq!(invite, [401, 403], "{target}: it is known, and refused");
    }

    assert_eq!(alpha.trace.dialogs().len(), 0, "nobody was called");
    assert_only_the_carriers_call_counts(&site).await;
    site.finish().await;
}

async fn transfers_reach_nothing(backend: Backend) {
    let site = Preparation::new(backend);
    let beta = site.centre("beta", centre::answer()).await;
    let target = format!("sip:beta@{}:{}", beta.ip, beta.port);
    let alpha = site.centre("alpha", centre::refer().set("target", target)).await;
    let plan = Plan::new()
        .client("alpha", &alpha, ("", ""))
        .client("beta", &beta, ("", ""))
        .campaign("Solar", DID, "")
        .link("alpha", "");
    let site = site.start(&plan).await;

    let call = site.call("caller", &carrier::call().set("did", DID).set("talk_ms", 700)).await;

    assert_eq!(call.hung_up_here(), Some(true), "the call goes on as if nothing had been asked");
    let leg = alpha.trace.dialogs().remove(0);
    assert!(leg.messages.iter().any(|message| message.method() == Some("REFER")), "it was asked for: {leg:?}");
    let answer = leg.messages.iter().find_map(|message| message.status("REFER"));
    assert!(answer.is_none_or(|status| status >= 400), "REFER was answered with {answer:?}");
    assert_eq!(beta.trace.dialogs().len(), 0, "the target was not called");
    assert_eq!(site.records(1).await[0].attempts(), ["alpha answered"]);
    site.finish().await;
}
