//! A site that moves over: its old dialplan dials by itself on the same Asterisk, and reports its calls with the AGI script that is
//! delivered for that.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::person::{ADMIN_PASSWORD, Person};
use crate::harness::plan::Plan;
use crate::harness::sipp::{FOREVER_MS, carrier, centre};
use crate::harness::site::{Backend, Preparation, Site};
use crate::harness::trace::Dialog;

crate::on_both!(calls_of_the_old_dialplan_are_recorded_and_counted_once);

/// The DID that has moved; the old dialplan has `+44207946001n`, which dials `client-n`.
const MOVED: &str = "+442079460001";
const TOKEN: &str = "only for this test, but long enough";

/// What a site's old dialplan looks like, in little.
const OLD_DIALPLAN: &str = "
[capconduit-inbound](+)
exten => _+44207946001X,1,Goto(old,${EXTEN},1)

[old]
exten => _+44207946001X,1,Set(SIP_CALL_ID=${CHANNEL(pjsip,call-id)})
 same => n,Set(EFFECTIVE_CCS_ID=7${EXTEN:-1})
 same => n,Set(CAMPAIGN_ID=51)
 same => n,Set(DID_ID=999)
 same => n,Dial(PJSIP/client-${EXTEN:-1},1)
 same => n,Hangup(${HANGUPCAUSE})
; A name in Latin-1, which is no UTF-8.
exten => +442079460010,1,Set(CALLERID(name)=${URIDECODE(Zo%EB)})
 same => n,Set(SIP_CALL_ID=${CHANNEL(pjsip,call-id)})
 same => n,Hangup(17)
exten => h,1,AGI({{script}},http://{{api}},{{token}})
";

/// The modules that the old dialplan needs beside ours.
const OLD_MODULES: &str = "
load = res_speech.so
load = res_agi.so
load = func_cdr.so
";

/// A site whose Asterisk has the old dialplan as well.
fn with_old_dialplan(backend: Backend) -> Preparation {
    let ours = |file: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("asterisk").join(file);
        std::fs::read_to_string(path).expect("a file that is delivered")
    };
    let sections = format!("[internal]\nlog_call_token = \"{TOKEN}\"\nlegacy_time_zone = \"Europe/London\"\n");
    let site = Preparation::new(backend).sections(&sections);
    let script = site.file("log_call.agi", &ours("legacy/log_call.agi"));
    let token = site.file("log_call.token", &format!("{TOKEN}\n"));
    let dialplan = [("{{script}}", script), ("{{token}}", token), ("{{api}}", site.api())];
    let dialplan = dialplan.iter().fold(OLD_DIALPLAN.to_owned(), |text, (name, value)| text.replace(name, value));
    site.asterisk_file("extensions.conf", &(ours("etc/extensions.conf") + &dialplan))
        .asterisk_file("modules.conf", &(ours("etc/modules.conf") + OLD_MODULES))
        .asterisk_file("cdr.conf", "[general]\nenable = yes\n")
}

async fn calls_of_the_old_dialplan_are_recorded_and_counted_once(backend: Backend) {
    let site = with_old_dialplan(backend);
    let answering = site.centre("1", centre::answer().set("ring_ms", 100)).await;
    let busy = site.centre("2", centre::reject()).await;
    let silent = site.centre("3", centre::silent()).await;
    let ringing = site.centre("4", centre::answer().set("ring_ms", FOREVER_MS)).await;
    let plan = Plan::new()
        .client("client-1", &answering, ("", ""))
        .client("client-2", &busy, ("", ""))
        .client("client-3", &silent, ("", ""))
        .client("client-4", &ringing, ("", ""))
        .campaign("Solar", MOVED, "")
        .link("client-1", "total_calls_allowed = 2")
        .link("client-2", "count_on = \"attempted\"\nstatus = \"paused\"")
        .link("client-3", "status = \"paused\"")
        .link("client-4", "status = \"paused\"");
    let site = site.start(&plan).await;
    let admin = Person::log_in(site.controller.api(), "admin", ADMIN_PASSWORD).await;
    name_old_ids(&admin).await;

    let call = old_call(&site, "answered", 1, 1500).await;
    assert_eq!(call.outcome(), Some(200), "the old dialplan's call is answered: {:?}", call.statuses());
    let (record, seen) = reported(&site, &admin, &call, "completed", "client-1 answered").await;
    let talked = record["talk_ms"].as_i64().expect("a number");
    assert!(talked >= 500, "{talked} ms instead of 1500 or so");
    assert_eq!(
        (&record["dialstatus"], &record["hung_up_by"], &record["q850_cause"]),
        (&json!("ANSWER"), &json!("caller"), &json!(16))
    );
    assert_eq!(
        (&record["dialled_number"], &record["caller_number"]),
        (&json!("+442079460011"), &json!("+442071838750"))
    );
    assert_eq!((&record["caller_name"], &seen["campaign_name"]), (&json!("Ada Byron"), &json!("Solar")));
    assert_eq!(seen["unknown_ids"], json!(["did_id=999"]));
    assert_eq!(total(&admin, 1).await, 1, "it counts");
    repeat(&site, &record).await;
    assert_eq!(total(&admin, 1).await, 1, "once");

    let call = old_call(&site, "busy", 2, 200).await;
    let (record, _) = reported(&site, &admin, &call, "nobody_answered", "client-2 busy").await;
    assert_eq!((&record["dialstatus"], &record["q850_cause"]), (&json!("BUSY"), &json!(17)));
    assert_eq!(total(&admin, 2).await, 1, "as the link says: attempts");
    let call = old_call(&site, "silent", 3, 200).await;
    let (record, _) = reported(&site, &admin, &call, "nobody_answered", "client-3 no_answer").await;
    assert_eq!((&record["dialstatus"], &record["talk_ms"]), (&json!("NOANSWER"), &json!(0)));
    let cancelled = site.call("cancelled", &carrier::cancel().set("did", "+442079460014").set("cancel_ms", 300)).await;
    let (record, _) = reported(&site, &admin, &cancelled, "caller_cancelled", "client-4 cancelled").await;
    assert_eq!((&record["dialstatus"], &record["hung_up_by"]), (&json!("CANCEL"), &json!("caller")));
    assert_eq!(total(&admin, 3).await, 0);

    let named = old_call(&site, "named", 0, 200).await;
    let record = site.record(&named).await;
    assert_eq!(record.text("caller_name"), "Zo\u{fffd}", "{record:?}");
    assert_eq!(record.0["legacy"]["unreadable_fields"], json!(["caller_name"]), "{record:?}");

    // The link's total holds over both worlds: one call there, one here, and that is all.
    for (name, status, ending) in [("here", 200, "completed"), ("full", 486, "all_full")] {
        let call = site.call(name, &carrier::call().set("did", MOVED)).await;
        assert_eq!(call.outcome(), Some(status), "{name}: {:?}", call.statuses());
        let record = site.record(&call).await;
        assert_eq!((record.text("ending"), &record.0["legacy"]), (ending, &Value::Null));
    }
    site.finish().await;
}

/// Says which objects the old dialplan's ids stand for.
async fn name_old_ids(admin: &Person) {
    for (kind, items) in [
        ("links", json!([1, 2, 3, 4].map(|id| json!({"id": id, "legacy_id": format!("7{id}")})))),
        ("campaigns", json!([{"id": 1, "legacy_id": "51"}])),
    ] {
        let (status, answer) =
            admin.send(Method::PUT, &format!("/legacy_ids/{kind}"), Some(json!({ "items": items }))).await;
        assert_eq!(status, 200, "{answer:#}");
    }
}

/// A call to the old dialplan's DID of `client-n`.
async fn old_call(site: &Site, name: &str, n: u32, talk_ms: u32) -> Dialog {
    let scenario = carrier::call().set("did", format!("+44207946001{n}")).set("talk_ms", talk_ms);
    site.call(name, &scenario).await
}

/// The record of an old dialplan's call: as it is stored, and as the API shows it.
async fn reported(site: &Site, admin: &Person, call: &Dialog, ending: &str, attempt: &str) -> (Value, Value) {
    let record = site.record(call).await;
    assert_eq!((record.text("ending"), record.attempts()), (ending, vec![attempt.to_owned()]), "{record:?}");
    let seen = admin.read(&format!("/calls/{}", record.text("call_id"))).await;
    assert_eq!((&seen["handled_by"], &seen["ending"]), (&json!("old_dialplan"), &json!(ending)), "{seen:#}");
    (record.0, seen)
}

/// Counted calls of a link.
async fn total(admin: &Person, link: u32) -> i64 {
    let link = admin.read(&format!("/campaigns/1/links/{link}")).await;
    link["current_total_calls"].as_i64().expect("a number")
}

/// The same call is reported again: it is known.
async fn repeat(site: &Site, record: &Value) {
    let body = json!({"uniqueid": record["uniqueid"], "dialstatus": "ANSWER", "effective_ccs_id": 71});
    let url = format!("http://{}/api/internal/log_call", site.controller.api());
    let request = reqwest::Client::new().post(url).header("X-Internal-API-Token", TOKEN).json(&body);
    let answer = request.send().await.expect("the API answers");
    assert_eq!(answer.status().as_u16(), 200);
    let known: Value = answer.json().await.expect("JSON");
    assert_eq!((&known["call_id"], &known["counted"]), (&record["call_id"], &json!(true)));
}
