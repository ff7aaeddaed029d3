//! The controller dies, hangs and comes back: talks go on, callers never hear dead air, nothing is lost or leaked.

use tokio::time::{Duration, sleep, timeout};

use crate::harness::plan::Plan;
use crate::harness::sipp::{FOREVER_MS, Sipp, carrier, centre};
use crate::harness::site::{Backend, Preparation, Site};
use crate::harness::{LIMIT, until};

crate::on_both!(
    what_tells_of_a_going_shows_whether_it_was_answered,
    killed_while_a_call_is_up,
    killed_while_a_call_rings,
    killed_and_away_while_a_talk_ends,
    stopped_controller_is_bypassed,
    a_node_is_drained_while_a_call_is_up,
);

const DID: &str = "+442079460001";

async fn site_of(backend: Backend, settings: &str) -> (Site, Sipp) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", settings);
    (site.start(&plan).await, alpha)
}

/// What the controller takes from the events of a channel that goes, when it may have missed the answer: their state is the last one.
async fn what_tells_of_a_going_shows_whether_it_was_answered(backend: Backend) {
    let site = Preparation::new(backend).wired();
    let alpha = site.centre("alpha", centre::answer().set("ring_ms", 500)).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    let site = site.start(&plan).await;
    let answered = site.call("answered", &carrier::call().set("did", DID)).await;
    let cancelled = site.call("cancelled", &carrier::cancel().set("did", DID)).await;
    assert_eq!((answered.outcome(), cancelled.outcome()), (Some(200), Some(487)));
    for (call, caller, leg) in [(answered, "Up", "Up"), (cancelled, "Ring", "Ringing")] {
        let record = site.record(&call).await;
        let shown = |kind, channel: &str| site.wires[0].shown(kind, channel);
        let channel = record.text("uniqueid");
        assert_eq!(shown("StasisEnd", channel), [caller], "{record:?}");
        let requests = shown("ChannelHangupRequest", channel);
        assert!(!requests.is_empty() && requests.iter().all(|state| state == caller), "{requests:?}");
        assert_eq!(shown("ChannelDestroyed", &format!("{}-1", record.text("call_id"))), [leg], "{record:?}");
    }
    site.finish().await;
}

/// kill -9: the parties talk on, new calls get 503 from the dialplan, the next start adopts the call with its permit.
async fn killed_while_a_call_is_up(backend: Backend) {
    let (mut site, alpha) = site_of(backend, "max_concurrency = 1").await;
    let mut talking = site.begin("talking", &carrier::call().set("did", DID).set("talk_ms", FOREVER_MS), 1, 1);
    talking.reach("the call is answered", |calls| calls.iter().any(|call| call.answered())).await;

    site.controller.process().kill();
    let refused = site.call("refused", &carrier::call().set("did", DID)).await;
    assert_eq!(refused.outcome(), Some(503), "the dialplan's fallback takes it: {:?}", refused.statuses());
    assert_eq!(site.nodes[0].spooled().len(), 1, "and leaves a line to import");
    assert_eq!(alpha.trace.dialogs()[0].ended_at(), None, "the parties talk on");

    site.controller.serve(&site.nodes).await;
    let full = site.call("full", &carrier::call().set("did", DID)).await;
    assert_eq!(full.outcome(), Some(486), "the adopted call holds its slot: {:?}", full.statuses());
    talking.go_on().await;
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

/// kill -9 while a client rings, after another was busy: the caller hears nothing of it, the next start goes on with the client that rang.
async fn killed_while_a_call_rings(backend: Backend) {
    let site = Preparation::new(backend);
    let busy = site.centre("busy", centre::reject()).await;
    let alpha = site.centre("alpha", centre::answer().set("ring_ms", FOREVER_MS)).await;
    let beta = site.centre("beta", centre::answer()).await;
    let caps =
        |priority: u8| format!("forwarding_priority = {priority}\nmax_concurrency = 1\nring_timeout_seconds = 4");
    let plan = Plan::new()
        .client("busy", &busy, ("", ""))
        .client("alpha", &alpha, ("", ""))
        .client("beta", &beta, ("", ""))
        .campaign("Solar", DID, "")
        .link("busy", &caps(1))
        .link("alpha", &caps(2))
        .link("beta", &caps(3));
    let mut site = site.start(&plan).await;
    let mut caller = site.begin("caller", &carrier::call().set("did", DID), 1, 1);
    caller.reach("alpha rings", |calls| calls.iter().any(|call| call.statuses().contains(&180))).await;
    until("alpha rings", || alpha.trace.dialogs().len() == 1).await;
    site.controller.process().kill();
    site.controller.serve(&site.nodes).await;
    let answered = caller.finish(LIMIT).await.remove(0);
    assert_eq!(answered.outcome(), Some(200), "{:?}", answered.statuses());
    let record = site.record(&answered).await;
    assert_eq!(record.attempts(), ["busy busy", "alpha unknown", "alpha no_answer", "beta answered"], "{record:?}");
    assert_eq!((busy.trace.dialogs().len(), alpha.trace.most_at_once()), (1, 1));
    site.finish().await;
}

/// kill -9, and the caller hangs up before the next start: the call is lost to us, not to the books.
async fn killed_and_away_while_a_talk_ends(backend: Backend) {
    let (mut site, alpha) = site_of(backend, "max_concurrency = 1\ntotal_calls_allowed = 1").await;
    let mut talking = site.begin("talking", &carrier::call().set("did", DID).set("talk_ms", FOREVER_MS), 1, 1);
    talking.reach("the call is answered", |calls| calls.iter().any(|call| call.answered())).await;
    until("the controller knows", || site.controller.log().contains("-> talking(1)")).await;
    // And the journal, some milliseconds later.
    let journal = site.folder().join("data/journal.db-wal");
    let noted = |bytes: Vec<u8>| bytes.windows(16).any(|at| at == b"\"answered_at\":\"2");
    until("the journal knows", || std::fs::read(&journal).is_ok_and(noted)).await;
    site.controller.process().kill();
    talking.go_on().await;
    let talked = talking.finish(LIMIT).await.remove(0);
    assert_eq!(talked.hung_up_here(), Some(true));
    site.controller.serve(&site.nodes).await;
    let record = site.record(&talked).await;
    assert_eq!((record.text("ending"), record.text("dialstatus")), ("lost", "ANSWER"), "{record:?}");
    let full = site.call("full", &carrier::call().set("did", DID)).await;
    assert_eq!(full.outcome(), Some(486), "its total is used up: {:?}", full.statuses());
    let why = site.controller.run(&["why", record.text("call_id")]).await;
    assert!(why.contains("its end was not seen: between"), "{why}");
    assert_eq!(alpha.trace.answered(), 1);
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
    site.nodes[0].beat_from_the_future(3600).await;
    let put_back = site.call("put_back", &carrier::call().set("did", DID)).await;
    assert_eq!(put_back.outcome(), Some(200), "{:?}", put_back.statuses());
    let taken = (alpha.trace.dialogs().len(), overflow.trace.answered());
    assert_eq!(taken, (0, 2), "a clock that was put back makes no stale beat fresh");

    site.controller.process().signal("CONT");
    let fresh = timeout(LIMIT, async {
        while site.nodes[0].heartbeat_age().await.is_none_or(|age| !(0..=2).contains(&age)) {
            sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(fresh.await.is_ok(), "a continued controller beats again");
    let routed = site.call("routed", &carrier::call().set("did", DID)).await;
    assert_eq!(routed.outcome(), Some(200));
    assert_eq!(site.record(&routed).await.attempts(), ["alpha answered"], "and routes again");
    site.finish().await;
}

/// `capconduit drain`: new calls fall back at once, and stay so whatever happens to the controller; talks end as ever.
async fn a_node_is_drained_while_a_call_is_up(backend: Backend) {
    let site = Preparation::new(backend).wired();
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    let mut site = site.start(&plan).await;
    let mut talking = site.begin("talking", &carrier::call().set("did", DID).set("talk_ms", FOREVER_MS), 1, 1);
    talking.reach("the call is answered", |calls| calls.iter().any(|call| call.answered())).await;

    let told = site.controller.run(&["drain", "pbx-1", "--no-wait"]).await;
    assert!(told.contains("drained, 1 call is left"), "{told}");
    let late = site.call("late", &carrier::call().set("did", DID)).await;
    assert_eq!(late.outcome(), Some(503), "the dialplan's fallback takes it: {:?}", late.statuses());
    until("the controller knows", || site.controller.log().contains("the node is being emptied")).await;
    // Connecting anew compares Asterisk's lists with the controller's, which must not make it take calls again.
    site.wires[0].cut();
    until("the controller connects again", || site.controller.log().matches("node connected").count() == 2).await;
    let later = site.call("later", &carrier::call().set("did", DID)).await;
    assert_eq!(later.outcome(), Some(503), "and the next one as well: {:?}", later.statuses());
    // A reload of the dialplan with `clearglobalvars = yes` takes the mark away, without anybody's having said so.
    site.nodes[0].set("CAPCONDUIT_DRAINED", "").await;
    let mark = async || -> Option<i64> {
        site.nodes[0].get("asterisk/variable?variable=CAPCONDUIT_DRAINED").await?["value"].as_str()?.parse().ok()
    };
    let again = timeout(LIMIT, async {
        while mark().await.is_none_or(|since| since <= 1) {
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(again.await.is_ok(), "it says again since when it is emptied");
    assert!(!site.controller.log().contains("takes calls again"), "{}", site.controller.log());
    let reasons = site.nodes[0].spooled();
    assert!(reasons.len() == 2 && reasons.iter().all(|line| line.contains(" reason=drained ")), "{reasons:?}");
    assert_eq!(site.controller.readiness().await, Some(503));
    assert_eq!(alpha.trace.dialogs()[0].ended_at(), None, "the parties talk on");

    // A stop holds nobody for it, and the next start leaves it drained.
    site.controller.process().signal("TERM");
    assert_eq!(site.controller.process().wait(LIMIT).await, Some(0), "{}", site.controller.log());
    let between = site.call("between", &carrier::call().set("did", DID)).await;
    assert_eq!(between.statuses(), [100, 503], "held for nobody");
    site.controller.launch();
    until("it is drained still", || site.controller.log().matches("the node is being emptied").count() == 2).await;
    until("the talk is taken over", || site.controller.log().contains("adopted: its parties were bridged")).await;

    talking.go_on().await;
    let talked = talking.finish(LIMIT).await.remove(0);
    assert_eq!(talked.hung_up_here(), Some(true), "the call lived until its caller hung up");
    let told = site.controller.run(&["drain"]).await;
    assert!(told.ends_with("drained, no call is left\n"), "{told}");
    let record = site.record(&talked).await;
    assert_eq!((record.text("ending"), record.text("hung_up_by")), ("completed", "caller"), "{record:?}");

    let told = site.controller.run(&["drain", "pbx-1", "--end"]).await;
    assert!(told.contains("takes calls again"), "{told}");
    until_ready(&site).await;
    let after = site.call("after", &carrier::call().set("did", DID)).await;
    assert_eq!(after.outcome(), Some(200), "{:?}", after.statuses());
    site.finish().await;
}

async fn until_ready(site: &Site) {
    let ready = timeout(LIMIT, async {
        while site.controller.readiness().await != Some(200) {
            sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(ready.await.is_ok(), "/readyz says that calls are taken");
}
