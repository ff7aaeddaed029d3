//! What the configuration chooses: several Stasis applications, requests over HTTP, the DID in To, the longest talk.

use std::collections::BTreeSet;

use crate::harness::plan::Plan;
use crate::harness::sipp::{FOREVER_MS, carrier, centre};
use crate::harness::site::{Backend, Preparation, Site};
use crate::harness::trace::Dialog;
use crate::harness::{LIMIT, until};

crate::on_both!(
    two_applications_over_http_by_the_to_header,
    talks_end_at_their_limit,
    a_configuration_is_read_anew_while_a_call_is_up,
);

const DID: &str = "+442079460001";
const OTHER_DID: &str = "+442079460002";

async fn two_applications_over_http_by_the_to_header(backend: Backend) {
    let node = "apps = 2\ntransport = \"http\"\ndid_from = \"to\"";
    let site = Preparation::new(backend).applications(2).configured(node, "").wired();
    let alpha = site.centre("alpha", centre::answer()).await;
    let wrong = site.centre("wrong", centre::answer()).await;
    let plan = Plan::new()
        .client("alpha", &alpha, ("", ""))
        .client("wrong", &wrong, ("", ""))
        .campaign("Solar", DID, "")
        .link("alpha", "")
        .campaign("Wind", OTHER_DID, "")
        .link("wrong", "");
    let site = site.start(&plan).await;

    // The dialplan draws an application for each call: that twenty draw the same one happens once in half a million.
    let scenario = carrier::call().set("did", OTHER_DID).set("to", DID).set("talk_ms", FOREVER_MS);
    let mut callers = site.begin("callers", &scenario, 20, 40);
    let all = |calls: &[Dialog]| calls.iter().filter(|call| call.answered()).count() == 20;
    callers.reach("all calls are answered", all).await;
    let channels = site.nodes[0].get("channels").await.expect("the node lists its channels");
    let mut applications = [BTreeSet::new(), BTreeSet::new()];
    for channel in channels.as_array().into_iter().flatten() {
        let data = channel["dialplan"]["app_data"].as_str().unwrap_or_default();
        let (application, rest) = data.split_once(',').unwrap_or((data, ""));
        applications[usize::from(rest.starts_with("leg"))].insert(application.to_owned());
    }
    let both = BTreeSet::from(["capconduit-1", "capconduit-2"].map(str::to_owned));
    assert_eq!(applications, [both.clone(), both], "callers and legs are in both: {channels}");

    callers.go_on().await;
    let calls = callers.finish(LIMIT).await;
    assert!(calls.iter().all(|call| call.outcome() == Some(200) && call.hung_up_here() == Some(true)));
    let records = site.records(20).await;
    for record in &records {
        assert_eq!((record.text("dialled_number"), record.text("campaign_name")), (DID, "Solar"), "{record:?}");
        assert_eq!(record.attempts(), ["alpha answered"]);
    }
    assert_eq!((alpha.trace.answered(), wrong.trace.dialogs().len()), (20, 0), "To decides, not the Request-URI");
    assert!(site.wires[0].carried("POST /ari/channels/create"), "requests go over HTTP");
    site.finish().await;
}

/// By the configuration, and where the campaign says otherwise, by the campaign.
async fn talks_end_at_their_limit(backend: Backend) {
    let site = Preparation::new(backend).configured("", "max_duration_seconds = 1");
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new()
        .client("alpha", &alpha, ("", ""))
        .campaign("Short", DID, "")
        .link("alpha", "")
        .campaign("Longer", OTHER_DID, "max_duration_seconds = 3")
        .link("alpha", "");
    let site = site.start(&plan).await;

    let call = |name: &str, did: &str| {
        let scenario = carrier::call().set("did", did).set("talk_ms", 15_000);
        site.begin(name, &scenario, 1, 1)
    };
    let (short, longer) = (call("short", DID), call("longer", OTHER_DID));
    for (caller, limit_ms, less_than) in [(short, 1000, 3000), (longer, 3000, 15_000)] {
        let call = caller.finish(LIMIT).await.remove(0);
        assert_eq!((call.outcome(), call.hung_up_here()), (Some(200), Some(false)), "the caller is told with BYE");
        let record = site.record(&call).await;
        assert_eq!((record.text("ending"), record.text("hung_up_by")), ("max_duration", "system"), "{record:?}");
        assert_eq!(record.text("dialstatus"), "ANSWER");
        let talked = record.number("talk_ms").expect("a record has its talk time");
        assert!((limit_ms..less_than).contains(&talked), "{talked} ms instead of {limit_ms}");
    }
    for leg in alpha.trace.dialogs() {
        assert_eq!(leg.hung_up_here(), Some(false), "the call centre is told with BYE: {leg:?}");
    }
    assert_eq!(alpha.trace.answered(), 2);
    site.finish().await;
}

/// SIGHUP: what may change does, a password that the node does not take is not used, and the talk goes on all the while.
async fn a_configuration_is_read_anew_while_a_call_is_up(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    let mut site = site.start(&plan).await;
    let mut talking = site.begin("talking", &carrier::call().set("did", DID).set("talk_ms", FOREVER_MS), 1, 1);
    talking.reach("the call is answered", |calls| calls.iter().any(|call| call.answered())).await;
    let unknown = || carrier::call().set("did", OTHER_DID);
    assert_eq!(site.call("before", &unknown()).await.outcome(), Some(404));

    let file = site.folder().join("capconduit.toml");
    let before = std::fs::read_to_string(&file).expect("the configuration");
    let mut read = 0;
    let mut again = async |site: &mut Site, text: String, said: &str| {
        std::fs::write(&file, text).expect("it is written");
        site.controller.process().signal("HUP");
        read += 1;
        let log = || site.controller.log();
        let told = |log: &str| {
            log.matches("the configuration was read anew").count() + log.matches("nothing is changed").count()
        };
        until("it was read", || told(&log()) == read && log().contains(said)).await;
    };
    let other = format!("[rejections]\nunknown_did = 410\n{before}");
    again(&mut site, other.clone(), "rejections.unknown_did").await;
    assert_eq!(site.call("after", &unknown()).await.outcome(), Some(410));
    again(&mut site, other.replace("password = \"", "password = \"not-"), "does not take its new password").await;
    assert_eq!(
        site.call("refused", &carrier::call().set("did", DID)).await.outcome(),
        Some(200),
        "the old one is used"
    );
    again(&mut site, "[calls]\nmax_live = 0\n".to_owned(), "calls.max_live = 0").await;
    assert_eq!(site.call("still", &unknown()).await.outcome(), Some(410), "a faulty file changes nothing");
    again(&mut site, before.clone(), "rejections.unknown_did").await;
    assert_eq!(site.call("back", &unknown()).await.outcome(), Some(404));

    talking.go_on().await;
    assert_eq!(talking.finish(LIMIT).await.remove(0).hung_up_here(), Some(true), "the talk went on");
    site.finish().await;
}
