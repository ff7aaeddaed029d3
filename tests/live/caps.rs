//! No cap is ever exceeded, as counted by the call centre's own side, and shares are exact.

use crate::harness::plan::Plan;
use crate::harness::sipp::{FOREVER_MS, carrier, centre};
use crate::harness::site::{Backend, Preparation};
use crate::harness::trace::Dialog;
use crate::harness::{LIMIT, until};

crate::on_both!(concurrency_cap_of_two_with_ten_at_once, total_cap_of_five_with_twenty_at_once, weights_three_to_one);

const DID: &str = "+442079460001";

async fn concurrency_cap_of_two_with_ten_at_once(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer().set("ring_ms", 100)).await;
    let plan =
        Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "max_concurrency = 2");
    let site = site.start(&plan).await;

    // Three waves, so that slots are given back and taken again.
    for wave in 1..=3 {
        let scenario = carrier::call().set("did", DID).set("talk_ms", FOREVER_MS);
        let mut callers = site.begin(&format!("wave-{wave}"), &scenario, 10, 500);
        let settled = |calls: &[Dialog]| {
            let settled = calls.iter().filter(|call| call.answered() || call.ended_at().is_some());
            settled.count() == 10
        };
        callers.reach("all have an answer", settled).await;
        callers.go_on().await;
        let calls = callers.finish(LIMIT).await;
        let with = |status: u16| calls.iter().filter(|call| call.outcome() == Some(status)).count();
        assert_eq!((with(200), with(486)), (2, 8), "wave {wave}");
        site.idle().await;
    }

    assert_eq!(alpha.trace.most_at_once(), 2);
    let records = site.records(30).await;
    assert_eq!(records.iter().filter(|record| record.text("dialstatus") == "ANSWER").count(), 6);
    site.finish().await;
}

async fn total_cap_of_five_with_twenty_at_once(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer().set("ring_ms", 300)).await;
    let plan = Plan::new()
        .client("alpha", &alpha, ("", ""))
        .campaign("Solar", DID, "")
        .link("alpha", "total_calls_allowed = 5");
    let site = site.start(&plan).await;

    let scenario = carrier::call().set("did", DID).set("talk_ms", 300);
    let calls = site.begin("carrier", &scenario, 20, 500).finish(LIMIT).await;

    let with = |status: u16| calls.iter().filter(|call| call.outcome() == Some(status)).count();
    assert_eq!((with(200), with(486)), (5, 15));
    assert_eq!(alpha.trace.answered(), 5);
    let records = site.records(20).await;
    assert_eq!(records.iter().filter(|record| record.text("dialstatus") == "ANSWER").count(), 5);
    // What was counted stays counted: nothing more is let through afterwards.
    let later = site.call("later", &carrier::call().set("did", DID)).await;
    assert_eq!(later.outcome(), Some(486));
    site.finish().await;
}

async fn weights_three_to_one(backend: Backend) {
    let site = Preparation::new(backend);
    let heavy = site.centre("heavy", centre::answer()).await;
    let light = site.centre("light", centre::answer()).await;
    let plan = Plan::new()
        .client("heavy", &heavy, ("", ""))
        .client("light", &light, ("", ""))
        .campaign("Solar", DID, "routing_strategy = \"weighted\"")
        .link("heavy", "weight = 3")
        .link("light", "weight = 1");
    let site = site.start(&plan).await;

    let scenario = carrier::call().set("did", DID).set("talk_ms", 50);
    let calls = site.begin("carrier", &scenario, 40, 20).finish(LIMIT).await;

    assert!(calls.iter().all(|call| call.outcome() == Some(200)));
    until("both call centres have seen every call end", || {
        heavy.trace.dialogs().iter().chain(&light.trace.dialogs()).all(|leg| leg.ended_at().is_some())
    })
    .await;
    assert_eq!((heavy.trace.answered(), light.trace.answered()), (30, 10));
    site.records(40).await;
    site.finish().await;
}
