//! Calls that nobody can take end with the status that tells the carrier so, and are recorded all the same.

use crate::harness::plan::Plan;
use crate::harness::sipp::{carrier, centre};
use crate::harness::site::{Backend, Preparation};

crate::on_both!(calls_that_cannot_be_routed);

async fn calls_that_cannot_be_routed(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new()
        .client("alpha", &alpha, ("", ""))
        .campaign("Full", "+442079460001", "")
        .link("alpha", "max_concurrency = 0")
        .campaign("Paused", "+442079460002", "status = \"paused\"")
        .link("alpha", "")
        .campaign("Spent", "+442079460003", "")
        .link("alpha", "total_calls_allowed = 0")
        .campaign("Closed", "+442079460004", "")
        .link("alpha", "status = \"paused\"")
        .campaign("Full for its own", "+442079460005", "rejections = { all_full = 503 }")
        .link("alpha", "max_concurrency = 0")
        .campaign("Closed for its own", "+442079460006", "rejections = { no_active_link = 410 }")
        .link("alpha", "status = \"paused\"");
    let site = site.start(&plan).await;

    for (did, status) in [
        ("+442079460001", 486),
        ("+442079460002", 404),
        ("+442079460003", 486),
        ("+442079460004", 480),
        ("+442079460005", 503),
        ("+442079460006", 410),
        ("+442079460999", 404),
        ("0044207946", 404),
        ("sales", 404),
    ] {
        let call = site.call(&format!("to-{did}"), &carrier::call().set("did", did)).await;
        assert_eq!(call.outcome(), Some(status), "{did}: {:?}", call.statuses());
        let record = site.record(&call).await;
        assert_eq!(record.number("sip_code"), Some(i64::from(status)), "{did}: {record:?}");
        assert_eq!(record.text("dialled_raw"), did);
        assert_eq!(record.text("hung_up_by"), "system");
        assert_eq!(record.attempts(), Vec::<String>::new());
    }
    assert_eq!(alpha.trace.dialogs().len(), 0, "nobody was dialled");
    site.finish().await;
}
