//! The caller gives up: the call centre stops ringing, and a cap is never left taken.

use std::time::Duration;

use crate::harness::plan::Plan;
use crate::harness::sipp::{FOREVER_MS, carrier, centre};
use crate::harness::site::{Backend, Preparation};
use crate::harness::until;

crate::on_both!(caller_cancels_while_it_rings, cancel_races_the_answer);

const DID: &str = "+442079460001";

async fn caller_cancels_while_it_rings(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer().set("ring_ms", FOREVER_MS)).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    let site = site.start(&plan).await;

    let call = site.call("caller", &carrier::cancel().set("did", DID)).await;

    assert_eq!(call.outcome(), Some(487));
    let record = site.record(&call).await;
    assert_eq!(record.attempts(), ["alpha cancelled"]);
    assert_eq!((record.text("dialstatus"), record.text("hung_up_by")), ("CANCEL", "caller"));
    assert_eq!(record.number("sip_code"), Some(487));
    let cancelled = || alpha.trace.dialogs()[0].find(false, |m| m.method() == Some("CANCEL")).is_some();
    until("the call centre gets a CANCEL", cancelled).await;
    site.finish().await;
}

/// Forty calls whose CANCEL leaves within milliseconds of the call centre's answer, on either side of it.
async fn cancel_races_the_answer(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer().set("ring_ms", 200)).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    let site = site.start(&plan).await;

    let mut answered = 0;
    for cancel_ms in [192, 196, 200, 204] {
        let scenario = carrier::cancel().set("did", DID).set("cancel_ms", cancel_ms);
        let calls = site.begin(&format!("after-{cancel_ms}"), &scenario, 10, 20).finish(Duration::from_secs(30)).await;
        assert_eq!(calls.len(), 10);
        for call in calls {
            let outcome = call.outcome();
            assert!(matches!(outcome, Some(200 | 487)), "{:?}", call.statuses());
            answered += usize::from(outcome == Some(200));
        }
    }

    let records = site.records(40).await;
    let with = |status: &str| records.iter().filter(|record| record.text("dialstatus") == status).count();
    assert_eq!(with("ANSWER") + with("CANCEL"), 40, "a race is one or the other");
    assert_eq!(with("ANSWER"), answered, "the record says what the carrier saw");
    until("no call is left at the call centre", || alpha.trace.dialogs().iter().all(|leg| leg.ended_at().is_some()))
        .await;
    site.finish().await;
}
