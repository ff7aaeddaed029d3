//! Call centres may answer calls and nothing else: their own INVITEs and transfers reach nothing.

use crate::harness::LIMIT;
use crate::harness::plan::Plan;
use crate::harness::sipp::{CENTRE_IP, carrier, centre};
use crate::harness::site::{Backend, Preparation};

crate::on_both!(own_calls_reach_nothing, transfers_reach_nothing);

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
    assert_eq!(site.records(0).await.len(), 0, "no such call is routed, or recorded as one");
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
