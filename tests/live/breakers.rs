//! A call centre that is down costs a few callers a moment, and nobody a call; it comes back by itself.

use crate::harness::plan::Plan;
use crate::harness::record::Record;
use crate::harness::sipp::{CENTRE_IP, Sipp, carrier, centre};
use crate::harness::site::{Backend, Preparation, Site};
use crate::harness::{LIMIT, until};

crate::on_both!(a_call_centre_that_is_down_is_passed_over_and_comes_back);

const DID: &str = "+442079460001";
const BREAKER: &str = "[breaker]\nclient_failures = 3\nclient_pause_seconds = 4\nclient_pause_max_seconds = 4";

async fn one_call(site: &Site, name: &str) -> Record {
    let dialog = site.call(name, &carrier::call().set("did", DID)).await;
    assert_eq!(dialog.outcome(), Some(200), "{name}: {:?}", dialog.statuses());
    site.record(&dialog).await
}

/// Calls until one has probed: its record. Those before it went to beta at once.
async fn probe(site: &Site, name: &str) -> Record {
    for n in 0.. {
        assert!(n < 1000, "nobody has probed:\n{}", site.controller.log());
        let record = one_call(site, &format!("{name}-{n}")).await;
        if record.attempts() != ["beta answered"] {
            return record;
        }
    }
    unreachable!("the loop ends by itself")
}

async fn a_call_centre_that_is_down_is_passed_over_and_comes_back(backend: Backend) {
    let site = Preparation::new(backend).configured("", "progress_timeout_ms = 3000").sections(BREAKER);
    let alpha = site.centre("alpha", centre::reject().set("status", "503 Service Unavailable")).await;
    let beta = site.centre("beta", centre::answer()).await;
    let plan = Plan::new()
        .client("alpha", &alpha, ("", ""))
        .client("beta", &beta, ("", ""))
        .campaign("Solar", DID, "")
        .link("alpha", "forwarding_priority = 1")
        .link("beta", "forwarding_priority = 2");
    let site = site.start(&plan).await;

    for n in 1..=3 {
        let record = one_call(&site, &format!("congested-{n}")).await;
        assert_eq!(record.attempts(), ["alpha congestion", "beta answered"]);
    }
    until("the breaker opens", || site.controller.log().contains("client cannot be reached")).await;
    assert_eq!(site.controller.gauge("capconduit_client_breaker_open").await, 1.0);
    let burst = site.begin("burst", &carrier::call().set("did", DID), 5, 50).finish(LIMIT).await;
    for dialog in &burst {
        assert_eq!(dialog.outcome(), Some(200), "{:?}", dialog.statuses());
        let record = site.record(dialog).await;
        assert_eq!(record.attempts(), ["beta answered"]);
        let why = site.controller.run(&["why", record.text("call_id")]).await;
        assert!(why.contains("client not reached since"), "{why}");
    }
    assert_eq!(alpha.trace.dialogs().len(), 3, "it is left alone");

    // Its process dies: nothing listens at its port.
    let port = alpha.port;
    drop(alpha);
    let record = probe(&site, "dead").await;
    assert_eq!(record.attempts().len(), 2, "the caller goes on to the next: {record:?}");
    assert_eq!(record.attempts()[1], "beta answered");
    until("it stays open", || site.controller.log().contains("client still cannot be reached")).await;

    let alpha =
        Sipp::centre(site.folder(), &site.ports, "centre-alpha-again", &centre::answer(), (CENTRE_IP, port)).await;
    let record = probe(&site, "back").await;
    assert_eq!(record.attempts(), ["alpha answered"], "one call tries it");
    until("the breaker closes", || site.controller.log().contains("client can be reached again")).await;
    for n in 1..=3 {
        let record = one_call(&site, &format!("as-before-{n}")).await;
        assert_eq!(record.attempts(), ["alpha answered"], "it is offered calls as before");
    }
    assert_eq!(alpha.trace.answered(), 4);
    site.finish().await;
}

/// The node has UDP over IPv4 and nothing else. What Asterisk says of a client that it cannot send to is the same 503 as a client's own.
#[tokio::test]
async fn a_client_whose_transport_the_node_has_not_got_is_told_of_and_its_breaker_stays_out_of_it() {
    let site = Preparation::new(Backend::Sqlite).sections(BREAKER);
    let (alpha, beta) = (site.centre("alpha", centre::answer()).await, site.centre("beta", centre::answer()).await);
    let plan = Plan::new()
        .client("alpha", &alpha, ("", "transport = \"tcp\""))
        .client("beta", &beta, ("", ""))
        .campaign("Solar", DID, "")
        .link("alpha", "forwarding_priority = 1")
        .link("beta", "forwarding_priority = 2");
    let site = site.start(&plan).await;
    let told = "client alpha is reached by tcp, for which the node has no transport";
    until("it is told", || site.controller.log().contains(told)).await;
    let (sound, report) = site.controller.doctor().await;
    assert!(!sound && report.contains(told), "{report}");
    for n in 1..=5 {
        let record = one_call(&site, &format!("unsent-{n}")).await;
        assert_eq!(record.attempts(), ["alpha congestion", "beta answered"]);
    }
    assert!(!site.controller.log().contains("client cannot be reached"));
    site.finish().await;
}
