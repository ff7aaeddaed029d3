//! Calls that the dialplan's fallback took while the controller was dead: each has one record when it lives again.

use std::time::Duration;

use capconduit::needs::DIALPLAN;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::harness::person::Person;
use crate::harness::plan::Plan;
use crate::harness::record::Record;
use crate::harness::sipp::{carrier, centre};
use crate::harness::site::{Backend, Preparation, Site};
use crate::harness::{LIMIT, until};

crate::on_both!(
    refused_calls_are_recorded_for_their_seller,
    calls_of_the_last_resort_are_recorded,
    callers_who_gave_up_unseen_are_recorded,
    a_caller_who_gives_up_before_its_headers_are_read_is_recorded,
    callers_whom_the_controller_sends_there_are_recorded,
    calls_that_are_too_many_are_refused_by_the_dialplan_and_recorded,
);

const DID: &str = "+442079460001";
const PASSWORD: &str = "copper window nine ducks";

/// No last resort: 503, a record at the next start, which also a rotation meanwhile does not keep from being written.
async fn refused_calls_are_recorded_for_their_seller(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    let mut site = site.start(&plan).await;
    let seller = seller(&site).await;

    site.controller.process().kill();
    let mut refused = Vec::new();
    for name in ["first", "second"] {
        refused.push(site.call(name, &carrier::call().set("did", DID)).await);
        assert_eq!(refused[refused.len() - 1].outcome(), Some(503));
    }
    site.controller.serve(&site.nodes).await;
    for call in &refused {
        let record = fallen(&site, &call.call_id).await;
        for (field, expected) in [
            ("node", "pbx-1"),
            ("seller_name", "Acme Leads"),
            ("campaign_name", "Solar"),
            ("dialled_number", DID),
            ("caller_number", "+442071838750"),
            ("caller_name", "Ada Byron"),
            ("caller_presentation", "allowed"),
            ("dialstatus", "CONGESTION"),
            ("hung_up_by", "system"),
        ] {
            assert_eq!(record.text(field), expected, "{field}: {record:?}");
        }
        assert_eq!((record.number("sip_code"), record.number("q850_cause")), (Some(503), Some(42)), "{record:?}");
        assert_eq!(record.attempts(), [""; 0]);
    }
    let page = seller.read("/calls?ending=fallback").await;
    let shown: Vec<&str> =
        page["items"].as_array().into_iter().flatten().filter_map(|one| one["did"].as_str()).collect();
    assert_eq!(shown, [DID, DID], "{page:#}");

    // Killed again, the file rotated while nobody reads it, and one more call in the new file.
    site.controller.process().kill();
    refused.push(site.call("third", &carrier::call().set("did", DID)).await);
    let spool = site.nodes[0].spool();
    std::fs::rename(&spool, spool.with_extension("log.1")).expect("the test may rename it");
    refused.push(site.call("fourth", &carrier::call().set("did", DID)).await);
    site.controller.serve(&site.nodes).await;
    for call in &refused[2..] {
        fallen(&site, &call.call_id).await;
    }
    assert_eq!(site.controller.records().await.len(), 4, "and none has two");
    // For the accounts, all lines are in one file again, which is read from its beginning.
    let rotated = std::fs::read(spool.with_extension("log.1")).expect("it is there");
    std::fs::write(&spool, [rotated, std::fs::read(&spool).expect("it is there")].concat()).expect("it can be written");
    let routed = site.call("routed", &carrier::call().set("did", DID)).await;
    assert_eq!(routed.outcome(), Some(200));
    site.finish().await;
}

/// A last resort, and DIDs in the To header: who answered, who hung up, what was withheld.
async fn calls_of_the_last_resort_are_recorded(backend: Backend) {
    let site = Preparation::new(backend).configured("did_from = \"to\"", "");
    let alpha = site.centre("alpha", centre::answer()).await;
    let overflow = site.centre("overflow", centre::answer().set("ring_ms", 500).set("talk_ms", 1500)).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    let mut site = site.last_resort(&overflow).start(&plan).await;

    site.controller.process().kill();
    let call = || carrier::call().set("did", "trunk-7").set("to", DID);
    let hangs_up = site.call("hangs-up", &call().set("talk_ms", 300)).await;
    let anonymous = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";
    let listens = site.call("listens", &call().set("talk_ms", 20_000).set("from", anonymous)).await;
    let cancels = site.call("cancels", &carrier::cancel().set("did", DID).set("cancel_ms", 100)).await;
    site.controller.serve(&site.nodes).await;

    for (call, dialstatus, sip_code, by) in
        [(&hangs_up, "ANSWER", 200, "caller"), (&listens, "ANSWER", 200, "client"), (&cancels, "CANCEL", 487, "caller")]
    {
        assert_eq!(call.outcome(), Some(u16::try_from(sip_code).expect("a status")), "{:?}", call.statuses());
        let record = fallen(&site, &call.call_id).await;
        assert_eq!((record.text("dialstatus"), record.text("hung_up_by")), (dialstatus, by), "{record:?}");
        assert_eq!((record.number("sip_code"), record.text("campaign_name")), (Some(sip_code), "Solar"), "{record:?}");
        assert!(record.0["timeline"].to_string().contains("dialled the last resort PJSIP/overflow"), "{record:?}");
        assert_eq!(record.attempts(), [""; 0], "the last resort is no client");
    }
    let (talked, waited) = (fallen(&site, &hangs_up.call_id).await, fallen(&site, &listens.call_id).await);
    let talk = |record: &Record| record.number("talk_ms").expect("a number");
    // Not what it rang, and not what the caller would have stayed for.
    assert!(talk(&talked) >= 200 && (1300..15_000).contains(&talk(&waited)), "{talked:?} {waited:?}");
    assert_eq!((talked.text("caller_name"), waited.text("caller_presentation")), ("Ada Byron", "withheld"));
    assert_eq!(waited.0["caller_raw"], json!(null));
    site.finish().await;
}

/// A controller that hangs with its socket open, and dies: who called meanwhile and gave up is in no event that anybody read.
async fn callers_who_gave_up_unseen_are_recorded(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer().set("ring_ms", 5000)).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    let mut site = site.start(&plan).await;
    let seen = site.call("seen", &carrier::cancel().set("did", DID).set("cancel_ms", 400)).await;
    assert_eq!(seen.outcome(), Some(487));
    assert_eq!(site.record(&seen).await.attempts(), ["alpha cancelled"]);
    assert_eq!(site.nodes[0].spooled(), [""; 0], "somebody took it: there is no line");

    let impatient = || carrier::impatient().set("did", DID).set("cancel_ms", 400);
    site.controller.process().signal("STOP");
    let read_later = site.call("read-later", &impatient()).await;
    site.controller.process().signal("CONT");
    let later = site.record(&read_later).await;
    assert_eq!((later.text("ending"), later.text("hung_up_by")), ("caller_cancelled", "caller"), "{later:?}");

    site.controller.process().signal("STOP");
    let unseen = site.call("unseen", &impatient()).await;
    assert_eq!(unseen.outcome(), Some(487), "{:?}", unseen.statuses());
    site.controller.process().kill();
    site.controller.serve(&site.nodes).await;
    let record = recorded(&site, &unseen.call_id).await;
    for (field, expected) in [
        ("ending", "caller_cancelled"),
        ("hung_up_by", "caller"),
        ("dialstatus", "CANCEL"),
        ("seller_name", "Acme Leads"),
        ("campaign_name", "Solar"),
        ("caller_number", "+442071838750"),
    ] {
        assert_eq!(record.text(field), expected, "{field}: {record:?}");
    }
    assert_eq!((record.number("sip_code"), record.attempts()), (Some(487), vec![]), "{record:?}");
    assert!(record.0["timeline"].to_string().contains("nobody took it"), "{record:?}");
    site.finish().await;
}

/// A machine that stands still for a moment: the caller has gone before the dialplan comes to look at its headers.
async fn a_caller_who_gives_up_before_its_headers_are_read_is_recorded(backend: Backend) {
    let slow = DIALPLAN.replacen("; Who asks for privacy", " same => n,Wait(5)\n; Who asks for privacy", 1);
    assert_ne!(slow, DIALPLAN);
    let site = Preparation::new(backend).asterisk_file("extensions.conf", &slow);
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    let site = site.start(&plan).await;
    let gone = site.call("gone", &carrier::impatient().set("did", DID).set("cancel_ms", 400)).await;
    assert_eq!(gone.outcome(), Some(487), "{:?}", gone.statuses());
    let record = recorded(&site, &gone.call_id).await;
    assert_eq!((record.text("ending"), record.text("campaign_name")), ("caller_cancelled", "Solar"), "{record:?}");
    // What it asked for nobody had read.
    assert_eq!(record.text("caller_presentation"), "withheld", "{record:?}");
    site.finish().await;
}

/// Callers who had passed the dialplan's check before the node was drained: the controller sends them to the fallback itself.
async fn callers_whom_the_controller_sends_there_are_recorded(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    let mut site = site.start(&plan).await;
    site.controller.run(&["drain", "pbx-1"]).await;
    until("the controller knows", || site.controller.log().contains("the node is being emptied")).await;
    // Meanwhile it does not look whether the node is drained still.
    site.controller.process().signal("STOP");
    site.nodes[0].set("CAPCONDUIT_DRAINED", "0").await;
    site.nodes[0].beat_from_the_future(0).await;
    let callers = site.begin("callers", &carrier::call().set("did", DID), 3, 3);
    let arrived = timeout(LIMIT, async {
        loop {
            let app = site.nodes[0].get("applications/capconduit-1").await.expect("the application is there");
            if app["channel_ids"].as_array().map(Vec::len) == Some(3) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(arrived.await.is_ok(), "the dialplan hands them over");
    site.nodes[0].set("CAPCONDUIT_DRAINED", "1").await;
    site.controller.process().signal("CONT");
    let sent = callers.finish(LIMIT).await;
    let reasons = site.nodes[0].spooled();
    assert!(reasons.len() == 3 && reasons.iter().all(|line| line.contains(" reason=drained ")), "{reasons:?}");
    for call in &sent {
        assert_eq!(call.outcome(), Some(503), "{:?}", call.statuses());
        assert_eq!(fallen(&site, &call.call_id).await.number("sip_code"), Some(503));
    }
    site.finish().await;
}

/// What the controller wants refused the dialplan refuses, before the controller hears of it.
async fn calls_that_are_too_many_are_refused_by_the_dialplan_and_recorded(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "").link("alpha", "");
    let mut site = site.start(&plan).await;
    until_shed(&site, "0").await;
    let here = || carrier::call().set("did", DID);
    assert_eq!(site.call("before", &here()).await.outcome(), Some(200));

    // With each heartbeat it says again what it wants refused: while the dialplan's part is tried it stands still.
    site.controller.process().signal("STOP");
    site.nodes[0].beat_from_the_future(0).await;
    site.nodes[0].set("CAPCONDUIT_SHED", "100").await;
    let refused = site.call("refused", &here()).await;
    site.controller.process().signal("CONT");
    assert_eq!(refused.outcome(), Some(503), "{:?}", refused.statuses());
    let record = fallen(&site, &refused.call_id).await;
    assert_eq!((record.number("sip_code"), record.text("campaign_name")), (Some(503), "Solar"), "{record:?}");
    assert!(record.0["timeline"].to_string().contains("fallback: overloaded"), "{record:?}");
    assert_eq!(record.attempts(), [""; 0]);

    until_shed(&site, "0").await;
    assert_eq!(site.call("after", &here()).await.outcome(), Some(200));
    site.finish().await;
}

/// Waits until the node knows of this percentage.
async fn until_shed(site: &Site, percent: &str) {
    let told = timeout(LIMIT, async {
        while site.nodes[0].get("asterisk/variable?variable=CAPCONDUIT_SHED").await != Some(json!({ "value": percent }))
        {
            sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(told.await.is_ok(), "the share stays another than {percent} %:\n{}", site.controller.log());
}

/// The record of a call that fell back, once the controller has come to it.
async fn fallen(site: &Site, call_id: &str) -> Record {
    let record = recorded(site, call_id).await;
    assert_eq!(record.text("ending"), "fallback", "{record:?}");
    record
}

/// The record of a call, once the controller has come to it.
async fn recorded(site: &Site, call_id: &str) -> Record {
    let found = timeout(LIMIT, async {
        loop {
            let records = site.controller.records().await;
            if let Some(record) = records.into_iter().find(|one| one["sip_call_id"] == call_id) {
                return Record(record);
            }
            sleep(Duration::from_millis(100)).await;
        }
    });
    let found = found.await;
    assert!(found.is_ok(), "no record of {call_id}:\n{}", site.controller.log());
    found.expect("asserted above")
}

/// The plan's seller, logged in.
async fn seller(site: &Site) -> Person {
    let told = site.controller.run(&["user", "password", "acme"]).await;
    let given = told.trim_end().rsplit(": ").next().expect("the password is told");
    Person::log_in_first(site.controller.api(), "acme", given, PASSWORD).await
}
