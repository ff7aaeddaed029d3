//! Asterisk itself dies under its calls and starts again: what is known of them is recorded, and no slot leaks.

use std::time::Duration;

use capconduit::clock::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::{sleep, timeout};

use crate::harness::plan::Plan;
use crate::harness::record::Record;
use crate::harness::sipp::{CARRIER_IP, FOREVER_MS, Sipp, carrier, centre};
use crate::harness::site::{Backend, Preparation, Site};
use crate::harness::{LIMIT, until};

crate::on_both!(killed_and_started_again_under_calls);

const DID: &str = "+442079460001";
/// So much later than it was sent a frame may be read where the machine is busy.
const READ_LATER: TimeDelta = TimeDelta::seconds(5);

async fn answered(site: &Site, node: usize, name: &str, calls: u32, talk_ms: u32) -> Sipp {
    let scenario = carrier::call().set("did", DID).set("talk_ms", talk_ms);
    let mut sipp = site.begin_at(&site.nodes[node], CARRIER_IP, name, &scenario, (calls, 10));
    let all = |dialogs: &[crate::harness::trace::Dialog]| dialogs.iter().filter(|call| call.answered()).count();
    sipp.reach("the calls are answered", |dialogs| all(dialogs) == usize::try_from(calls).unwrap_or(0)).await;
    // The caller's 200 is Asterisk's: a node that dies with it takes along what the controller has not heard yet.
    let heard = || site.controller.log().matches(" -> answered(1) -> talking(1)").count();
    let live = site.controller.gauge("capconduit_calls_live").await;
    until("the controller has heard of it", || heard() as f64 >= live).await;
    sipp
}

fn moment(record: &Record, field: &str) -> DateTime<Utc> {
    record.text(field).parse().expect("a time")
}

/// kill -9 of one of two nodes under calls: noticed at once, permits held until it answers again, then free and the calls recorded
/// as lost around the moment of its death; the other node's calls go on.
async fn killed_and_started_again_under_calls(backend: Backend) {
    let site = Preparation::new(backend).nodes(2);
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan =
        Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "max_concurrency = 3");
    let mut site = site.start(&plan).await;
    let elsewhere = answered(&site, 1, "elsewhere", 1, FOREVER_MS).await;
    let doomed = answered(&site, 0, "doomed", 2, FOREVER_MS).await;

    let died = Clock::start().now().wall;
    site.nodes[0].process().kill();
    until("the death is noticed", || site.controller.log().contains("node disconnected")).await;
    let full = site.begin_at(&site.nodes[1], CARRIER_IP, "full", &carrier::call().set("did", DID), (1, 1));
    let full = full.finish(LIMIT).await.remove(0);
    assert_eq!(full.outcome(), Some(486), "without evidence the slots stay taken: {:?}", full.statuses());

    site.nodes[0].start_again();
    site.nodes[0].ready().await;
    let fresh = timeout(LIMIT, async {
        while site.nodes[0].heartbeat_age().await.is_none_or(|age| age > 2) {
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(fresh.await.is_ok(), "calls are taken again:\n{}", site.controller.log());
    assert_eq!(site.controller.gauge("capconduit_permits_held").await, 1.0, "the other node's");
    let after = site.call("after", &carrier::call().set("did", DID)).await;
    assert_eq!(after.outcome(), Some(200), "{:?}", after.statuses());

    let dead = doomed.trace.dialogs();
    assert_eq!(dead.len(), 2);
    for call in &dead {
        let record = site.record(call).await;
        assert_eq!((record.text("ending"), record.attempts()), ("lost", vec!["alpha answered".to_owned()]));
        let (after, before) = (moment(&record, "ended_after"), moment(&record, "ended_before"));
        assert!(after - READ_LATER <= died && died <= before, "{after} {died:?} {before}");
        assert!(died - after < TimeDelta::seconds(1) + READ_LATER, "it was heard each second: {after} {died:?}");
        assert_eq!(moment(&record, "ended_at"), after);
        assert_eq!(record.number("talk_ms"), Some((after - moment(&record, "answered_at")).num_milliseconds()));
    }
    drop(doomed);
    elsewhere.go_on().await;
    let talked = elsewhere.finish(LIMIT).await.remove(0);
    assert_eq!(talked.hung_up_here(), Some(true), "the other node did not notice");
    assert_eq!(site.record(&talked).await.text("ending"), "completed");
    site.finish().await;
}
