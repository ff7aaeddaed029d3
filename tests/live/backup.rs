//! A backup on the real thing: the controller and its disk are gone while parties talk, and the one that is restored takes their talks over.

use crate::harness::plan::Plan;
use crate::harness::sipp::{FOREVER_MS, carrier, centre};
use crate::harness::site::{Backend, Preparation};
use crate::harness::{LIMIT, until};

const DID: &str = "+442079460001";

#[tokio::test]
async fn a_restored_controller_takes_the_talks_over() {
    let site = Preparation::new(Backend::Sqlite);
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan =
        Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "max_concurrency = 3");
    let mut site = site.start(&plan).await;
    let call = |talk_ms: u32| carrier::call().set("did", DID).set("talk_ms", talk_ms);
    let ended = site.begin("ended", &call(200), 6, 3).finish(LIMIT).await;
    for call in &ended {
        assert_eq!(site.record(call).await.text("ending"), "completed");
    }
    let mut talking = site.begin("talking", &call(FOREVER_MS), 3, 10);
    talking.reach("the calls are answered", |calls| calls.iter().filter(|it| it.answered()).count() == 3).await;
    let mut told = String::new();
    while !told.contains("3 calls under way") {
        told = site.controller.run(&["journal"]).await;
    }
    let (data, archive) = (site.folder().join("data"), site.folder().join("one.tar.gz").display().to_string());
    site.controller.run(&["backup", &archive]).await;

    site.controller.process().kill();
    std::fs::remove_dir_all(&data).expect("a folder of ours");
    let into = data.display().to_string();
    let told = site.controller.run(&["restore", &archive, "--into", &into]).await;
    assert!(told.contains("calls that had not ended: 3"), "{told}");
    site.controller.serve(&site.nodes).await;
    let adopted = || site.controller.log().lines().filter(|line| line.contains("adopted")).count();
    until("they are taken over", || adopted() >= 3).await;
    let beyond = site.call("beyond", &call(200)).await;
    assert_eq!(beyond.outcome(), Some(486), "their slots are known");
    talking.go_on().await;
    for call in talking.finish(LIMIT).await {
        assert_eq!(call.hung_up_here(), Some(true), "the parties talked on");
        assert_eq!(site.record(&call).await.text("ending"), "completed");
    }
    let next = site.call("next", &call(200)).await;
    assert_eq!(next.outcome(), Some(200));
    site.finish().await;
}
