//! The caller gives up: the call centre stops ringing, and a cap is never left taken.

use crate::harness::plan::Plan;
use crate::harness::sipp::{FOREVER_MS, carrier, centre};
use crate::harness::site::{Backend, Preparation};
use crate::harness::{LIMIT, until};

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

/// Fifty calls whose CANCEL leaves long before the call centre's answer, within milliseconds of it on either side, or
/// never, because the answer is long there.
async fn cancel_races_the_answer(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer().set("ring_ms", 200)).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    let site = site.start(&plan).await;

    let (mut answered, mut cancelled) = (0, 0);
    for (cancel_ms, calls) in [(20, 5), (196, 8), (198, 8), (200, 8), (202, 8), (204, 8), (3000, 5)] {
        let scenario = carrier::cancel().set("did", DID).set("cancel_ms", cancel_ms);
        let dialogs = site.begin(&format!("after-{cancel_ms}"), &scenario, calls, 20).finish(LIMIT).await;
        for call in dialogs {
            let outcome = call.outcome();
            assert!(matches!(outcome, Some(200 | 487)), "{:?}", call.statuses());
            answered += usize::from(outcome == Some(200));
            cancelled += usize::from(outcome == Some(487));
        }
    }

    assert!(answered > 0 && cancelled > 0, "each way round at least once: {answered} answered, {cancelled} cancelled");

    let records = site.records(50).await;
    let with = |status: &str| records.iter().filter(|record| record.text("dialstatus") == status).count();
    assert_eq!(with("ANSWER") + with("CANCEL"), 50, "a race is one or the other");
    assert_eq!((with("ANSWER"), with("CANCEL")), (answered, cancelled), "the record says what the carrier saw");
    until("no call is left at the call centre", || alpha.trace.dialogs().iter().all(|leg| leg.ended_at().is_some()))
        .await;
    site.finish().await;
}
