//! Several Asterisk nodes on one controller: one set of caps over all of them.

use crate::harness::LIMIT;
use crate::harness::plan::Plan;
use crate::harness::sipp::{CARRIER_IP, FOREVER_MS, carrier, centre};
use crate::harness::site::{Backend, Preparation};

crate::on_both!(two_nodes_share_one_cap);

const DID: &str = "+442079460001";

async fn two_nodes_share_one_cap(backend: Backend) {
    let site = Preparation::new(backend).nodes(2);
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan =
        Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "max_concurrency = 1");
    let site = site.start(&plan).await;
    let calls = |node: usize, name: &str, talk_ms: u32| {
        let scenario = carrier::call().set("did", DID).set("talk_ms", talk_ms);
        site.begin_at(&site.nodes[node], CARRIER_IP, name, &scenario, (1, 1))
    };

    let mut first = calls(0, "first", FOREVER_MS);
    first.reach("the first node's call is answered", |calls| calls.iter().any(|call| call.answered())).await;
    let refused = calls(1, "refused", 100).finish(LIMIT).await.remove(0);
    assert_eq!(refused.outcome(), Some(486), "the other node's call is in the same slot");
    first.go_on().await;
    let first = first.finish(LIMIT).await.remove(0);
    site.idle().await;
    let second = calls(1, "second", 100).finish(LIMIT).await.remove(0);
    assert_eq!(second.outcome(), Some(200), "the slot is free again, for either node");

    assert_eq!(alpha.trace.most_at_once(), 1);
    for (call, node) in [(&first, "pbx-1"), (&refused, "pbx-2"), (&second, "pbx-2")] {
        assert_eq!(site.record(call).await.text("node"), node);
    }
    site.finish().await;
}
