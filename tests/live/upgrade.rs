//! Start, stop, start while calls come: who is not answered was told so by the fallback, and nobody is forgotten.

use tokio::time::{Duration, sleep};

use crate::harness::LIMIT;
use crate::harness::plan::Plan;
use crate::harness::sipp::{carrier, centre};
use crate::harness::site::{Backend, Preparation};

crate::on_both!(no_call_fails_but_in_the_fallback);

const DID: &str = "+442079460001";

async fn no_call_fails_but_in_the_fallback(backend: Backend) {
    let site = Preparation::new(backend).configured("", "drain_seconds = 2");
    let alpha = site.centre("alpha", centre::answer().set("ring_ms", 100)).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    let mut site = site.start(&plan).await;

    // Short talks and long ones: some end while it drains, some under nobody, some under the next start.
    let short = site.begin("short", &carrier::call().set("did", DID).set("talk_ms", 400), 72, 8);
    let long = site.begin("long", &carrier::call().set("did", DID).set("talk_ms", 5000), 18, 2);
    sleep(Duration::from_secs(3)).await;
    site.controller.process().signal("TERM");
    assert_eq!(site.controller.process().wait(LIMIT).await, Some(0), "{}", site.controller.log());
    site.controller.serve(&site.nodes).await;

    let calls: Vec<_> = short.finish(LIMIT).await.into_iter().chain(long.finish(LIMIT).await).collect();
    site.idle().await;
    let records = site.controller.records().await;
    let answered = calls.iter().filter(|call| call.outcome() == Some(200)).count();
    let fallen: Vec<_> = calls.iter().filter(|call| call.outcome() == Some(503)).collect();
    // Where the machine stood still for so long that Asterisk was taken for dead, a client may have been given up.
    if !site.controller.stood_still() {
        assert_eq!(answered + fallen.len(), calls.len(), "nobody heard anything else");
    }
    let by_controller =
        |call: &str| records.iter().any(|one| one["sip_call_id"] == call && one["ending"] != "fallback");
    let refused: Vec<&str> = fallen.iter().map(|call| call.call_id.as_str()).filter(|id| by_controller(id)).collect();
    assert_eq!(refused, Vec::<&str>::new(), "only the fallback refuses: {}", site.controller.log());
    assert!(calls.iter().filter(|call| call.outcome() == Some(200)).all(|call| call.hung_up_here() == Some(true)));
    site.finish().await;
}
