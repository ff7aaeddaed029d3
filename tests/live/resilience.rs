//! The controller dies, hangs and comes back: talks go on, callers never hear dead air, nothing is lost or leaked.

use tokio::time::{Duration, sleep, timeout};

use crate::harness::plan::Plan;
use crate::harness::sipp::{Sipp, carrier, centre};
use crate::harness::site::{Backend, Preparation, Site};
use crate::harness::{LIMIT, until};

crate::on_both!(killed_while_a_call_is_up, stopped_controller_is_bypassed, told_to_stop_while_a_call_is_up);

const DID: &str = "+442079460001";

async fn site_of(backend: Backend, settings: &str) -> (Site, Sipp) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", settings);
    (site.start(&plan).await, alpha)
}

/// kill -9: the parties talk on, new calls get 503 from the dialplan, the next start adopts the call with its permit.
async fn killed_while_a_call_is_up(backend: Backend) {
    let (mut site, alpha) = site_of(backend, "max_concurrency = 1").await;
    let mut talking = site.begin("talking", &carrier::call().set("did", DID).set("talk_ms", 9000), 1, 1);
    talking.reach("the call is answered", |calls| calls.iter().any(|call| call.answered())).await;

    site.controller.process().kill();
    let refused = site.call("refused", &carrier::call().set("did", DID)).await;
    assert_eq!(refused.outcome(), Some(503), "the dialplan's fallback takes it: {:?}", refused.statuses());
    assert_eq!(site.nodes[0].spooled().len(), 1, "and leaves a line to import");
    assert_eq!(alpha.trace.dialogs()[0].ended_at(), None, "the parties talk on");

    site.controller.serve(&site.nodes).await;
    let full = site.call("full", &carrier::call().set("did", DID)).await;
    assert_eq!(full.outcome(), Some(486), "the adopted call holds its slot: {:?}", full.statuses());
    let talked = talking.finish(LIMIT).await.remove(0);
    assert_eq!(talked.hung_up_here(), Some(true), "the call lived until its caller hung up");
    let record = site.record(&talked).await;
    assert_eq!(record.text("dialstatus"), "ANSWER", "{record:?}");
    assert_eq!(alpha.trace.most_at_once(), 1);
    site.idle().await;
    let after = site.call("after", &carrier::call().set("did", DID)).await;
    assert_eq!(after.outcome(), Some(200), "the slot is free again");
    site.finish().await;
}

/// SIGSTOP: the socket stays open, so only the heartbeat tells; within seconds calls go to the last resort.
async fn stopped_controller_is_bypassed(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer()).await;
    let overflow = site.centre("overflow", centre::answer()).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    let mut site = site.last_resort(&overflow).start(&plan).await;

    site.controller.process().signal("STOP");
    site.nodes[0].until_stale().await;
    let bypassed = site.call("bypassed", &carrier::call().set("did", DID)).await;
    assert_eq!(bypassed.outcome(), Some(200), "{:?}", bypassed.statuses());
    assert_eq!((alpha.trace.dialogs().len(), overflow.trace.answered()), (0, 1), "the last resort took it");

    site.controller.process().signal("CONT");
    let fresh = timeout(LIMIT, async {
        while site.nodes[0].heartbeat_age().await.is_none_or(|age| age > 2) {
            sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(fresh.await.is_ok(), "a continued controller beats again");
    let routed = site.call("routed", &carrier::call().set("did", DID)).await;
    assert_eq!(routed.outcome(), Some(200));
    assert_eq!(site.record(&routed).await.attempts(), ["alpha answered"], "and routes again");
    site.finish().await;
}

/// SIGTERM: new calls fall back at once, and stay so; the running call ends as ever, and then the process.
async fn told_to_stop_while_a_call_is_up(backend: Backend) {
    let site = Preparation::new(backend).wired();
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    let mut site = site.start(&plan).await;
    let mut talking = site.begin("talking", &carrier::call().set("did", DID).set("talk_ms", 6000), 1, 1);
    talking.reach("the call is answered", |calls| calls.iter().any(|call| call.answered())).await;

    site.controller.process().signal("TERM");
    let draining = timeout(LIMIT, async {
        while site.controller.readiness().await != Some(503) {
            sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(draining.await.is_ok(), "/readyz says that no calls are taken");
    let late = site.call("late", &carrier::call().set("did", DID)).await;
    assert_eq!(late.outcome(), Some(503), "the dialplan's fallback takes it: {:?}", late.statuses());
    // Connecting anew compares Asterisk's lists with the controller's, which must not make it take calls again.
    site.wires[0].cut();
    until("the controller connects again", || site.controller.log().matches("node connected").count() == 2).await;
    let later = site.call("later", &carrier::call().set("did", DID)).await;
    assert_eq!(later.outcome(), Some(503), "and the next one as well: {:?}", later.statuses());
    assert_eq!(site.nodes[0].spooled().len(), 2, "each leaves a line to import");
    assert_eq!(site.controller.readiness().await, Some(503));
    assert_eq!(alpha.trace.dialogs()[0].ended_at(), None, "the parties talk on");

    let talked = talking.finish(LIMIT).await.remove(0);
    assert_eq!(talked.hung_up_here(), Some(true), "the call lived until its caller hung up");
    assert_eq!(site.controller.process().wait(LIMIT).await, Some(0), "{}", site.controller.log());
    let record = site.record(&talked).await;
    assert_eq!((record.text("ending"), record.text("hung_up_by")), ("completed", "caller"), "{record:?}");
    assert!(site.nodes[0].heartbeat_age().await.is_some_and(|age| age > 3600), "withdrawn, and never beaten again");

    site.controller.serve(&site.nodes).await;
    let after = site.call("after", &carrier::call().set("did", DID)).await;
    assert_eq!(after.outcome(), Some(200), "the next start takes calls");
    site.finish().await;
}
