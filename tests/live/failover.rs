//! A client that cannot take a call costs the caller nothing but time: the next one is tried.

use std::net::UdpSocket;

use crate::harness::LIMIT;
use crate::harness::plan::Plan;
use crate::harness::sipp::{FOREVER_MS, Scenario, Sipp, carrier, centre};
use crate::harness::site::{Backend, Preparation};

crate::on_both!(every_refusal_leads_to_the_next_client, nobody_answers);

/// Name of the failing client, what it does, and the attempt's outcome in the record.
fn failures(redirect_to: &str) -> Vec<(&'static str, Scenario, &'static str)> {
    let reject = |status: &str| centre::reject().set("status", status).set("redirect_to", redirect_to);
    vec![
        ("busy", reject("486 Busy Here"), "busy"),
        ("busy-all", reject("600 Busy Everywhere"), "busy"),
        ("gone", reject("480 Temporarily Unavailable"), "no_answer"),
        ("declines", reject("603 Decline"), "rejected"),
        ("congested", reject("503 Service Unavailable"), "congestion"),
        ("unknown", reject("404 Not Found"), "misconfigured"),
        ("codecs", reject("488 Not Acceptable Here"), "misconfigured"),
        ("moved", reject("302 Moved Temporarily"), "redirected"),
        ("silent", centre::silent(), "no_progress"),
        // ARI does not show a 100, so that it is no progress either.
        ("trying", centre::trying(), "no_progress"),
        ("unanswered", centre::answer().set("ring_ms", FOREVER_MS), "no_answer"),
        ("early-busy", centre::early().set("then", "reject"), "busy"),
    ]
}

async fn every_refusal_leads_to_the_next_client(backend: Backend) {
    let site = Preparation::new(backend).configured("", "progress_timeout_ms = 2000");
    let trap = UdpSocket::bind(("127.0.0.99", site.port())).expect("loopback has every 127 address");
    trap.set_nonblocking(true).expect("a socket can be non-blocking");
    let failures = failures(&trap.local_addr().expect("a bound socket has an address").to_string());
    let good = site.centre("good", centre::answer()).await;
    let mut centres: Vec<Sipp> = Vec::new();
    let mut plan = Plan::new().client("good", &good, ("", ""));
    for (name, scenario, _) in &failures {
        centres.push(site.centre(name, scenario.clone()).await);
        plan = plan.client(name, &centres[centres.len() - 1], ("", ""));
    }
    let did = |n: usize| format!("+4420794601{n:02}");
    for (n, (name, ..)) in failures.iter().enumerate() {
        plan = plan.campaign(name, &did(n), "dial_timeout_seconds = 10");
        plan = plan.link(name, "forwarding_priority = 1\nring_timeout_seconds = 3");
        plan = plan.link("good", "forwarding_priority = 2");
    }
    let site = site.start(&plan).await;

    let call = |n: usize, name: &str| site.begin(&format!("to-{name}"), &carrier::call().set("did", did(n)), 1, 1);
    // A few at once: a busy machine whose Asterisk asks a database for each client has to answer within SIP's half a minute.
    let numbered: Vec<_> = failures.iter().enumerate().collect();
    for some in numbered.chunks(3) {
        let callers: Vec<Sipp> = some.iter().map(|(n, (name, ..))| call(*n, name)).collect();
        for ((_, (name, _, outcome)), caller) in some.iter().zip(callers) {
            let dialogs = caller.finish(LIMIT).await;
            assert_eq!(dialogs[0].outcome(), Some(200), "{name}: {:?}", dialogs[0].statuses());
            let record = site.record(&dialogs[0]).await;
            assert_eq!(record.attempts(), [format!("{name} {outcome}"), "good answered".to_owned()], "{record:?}");
            assert_eq!(record.text("answered_client_name"), "Centre good");
        }
    }
    assert_eq!(good.trace.answered(), failures.len());
    for (centre, (name, ..)) in centres.iter().zip(&failures) {
        assert_eq!(centre.trace.dialogs().len(), 1, "{name} was dialled once");
    }
    assert!(trap.recv_from(&mut [0; 2048]).is_err(), "a redirect must never be followed");
    site.finish().await;
}

async fn nobody_answers(backend: Backend) {
    let site = Preparation::new(backend);
    let busy = site.centre("busy", centre::reject()).await;
    let unanswered = site.centre("unanswered", centre::answer().set("ring_ms", FOREVER_MS)).await;
    let plan = Plan::new()
        .client("busy", &busy, ("", ""))
        .client("unanswered", &unanswered, ("", ""))
        .campaign("Solar", "+442079460001", "dial_timeout_seconds = 3")
        .link("busy", "forwarding_priority = 1")
        .link("unanswered", "forwarding_priority = 2");
    let site = site.start(&plan).await;

    let call = site.call("caller", &carrier::call().set("did", "+442079460001")).await;

    assert_eq!(call.outcome(), Some(480), "{:?}", call.statuses());
    let record = site.record(&call).await;
    assert_eq!(record.attempts(), ["busy busy", "unanswered no_answer"]);
    assert_eq!((record.number("sip_code"), record.text("hung_up_by")), (Some(480), "system"));
    site.finish().await;
}
