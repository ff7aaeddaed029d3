//! Two controllers for the same applications, as after a botched upgrade: one of them routes, and no call is theirs together.

use std::collections::HashSet;

use crate::harness::plan::Plan;
use crate::harness::sipp::{FOREVER_MS, carrier, centre};
use crate::harness::site::{Backend, Preparation};
use crate::harness::{LIMIT, until};

crate::on_both!(a_second_one_waits_and_takes_over_from_one_that_hangs);

const DID: &str = "+442079460001";
const TAKEN: &str = "another controller has this node";

/// A second controller is started beside the first under calls: it waits. The first hangs: the second takes over, talks go on. The first
/// goes on: it stays away, until the second is told to stop. Every call has one record and was dialled once.
async fn a_second_one_waits_and_takes_over_from_one_that_hangs(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan =
        Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "max_concurrency = 20");
    let mut site = site.start(&plan).await;
    let mut rival = site.rival();
    let call = |talk_ms: u32| carrier::call().set("did", DID).set("talk_ms", talk_ms);

    let steady = site.begin("steady", &call(700), 12, 4);
    rival.launch();
    until("the second waits", || [TAKEN, "API listening"].iter().all(|line| rival.log().contains(line))).await;
    assert_eq!((rival.readiness().await, site.controller.readiness().await), (Some(503), Some(200)));
    let steady = steady.finish(LIMIT).await;
    assert!(steady.iter().all(|call| call.outcome() == Some(200)), "the first routes on");

    let mut talking = site.begin("talking", &call(FOREVER_MS), 3, 10);
    talking.reach("the calls are answered", |calls| calls.iter().filter(|it| it.answered()).count() == 3).await;
    let through = site.begin("through", &call(300), 24, 3);
    site.controller.process().signal("STOP");
    rival.until_ready(&site.nodes).await;
    let during = site.call("during", &call(200)).await;
    assert_eq!(during.outcome(), Some(200), "the second routes: {:?}", during.statuses());
    site.controller.process().signal("CONT");
    until("the first stays away", || site.controller.log().contains(TAKEN)).await;
    assert_eq!((rival.readiness().await, site.controller.readiness().await), (Some(200), Some(503)));
    let after = site.begin("after", &call(300), 6, 4).finish(LIMIT).await;
    assert!(after.iter().all(|call| call.outcome() == Some(200)), "the second routes on");
    let through = through.finish(LIMIT).await;
    talking.go_on().await;
    let talked = talking.finish(LIMIT).await;
    for call in &talked {
        assert_eq!(call.hung_up_here(), Some(true), "the parties talked on");
        assert_eq!(site.record(call).await.text("ending"), "completed");
    }

    rival.process().signal("TERM");
    assert_eq!(rival.process().wait(LIMIT).await, Some(0), "{}", rival.log());
    site.controller.until_ready(&site.nodes).await;
    let back = site.call("back", &call(200)).await;
    assert_eq!(back.outcome(), Some(200), "the first has the node again: {:?}", back.statuses());

    let answered =
        [&steady, &talked, &through, &after].into_iter().flatten().filter(|call| call.answered()).count() + 2;
    until("every leg has ended", || alpha.trace.dialogs().iter().all(|leg| leg.ended_at().is_some())).await;
    let legs: HashSet<String> = alpha.trace.dialogs().into_iter().map(|leg| leg.call_id).collect();
    assert_eq!(legs.len(), answered, "each call that was answered was dialled once, and no other was");
    site.finish().await;
}
