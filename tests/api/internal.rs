//! Reports of the old dialplan.

use capconduit::cdr::record::CallRecord;
use capconduit::store::records;
use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::{Answer, Caller};
use crate::fake_ari::Behaviour;
use crate::site::{Database, Site};
use crate::traffic::{FOREIGN, OWN, Traffic, no_canary};

const TOKEN: &str = "only for this test, but long enough";
const PATH: &str = "/api/internal/log_call";
/// Acme's links, by their ids on the old platform (1 and 2 here), and its rival's.
const NORTH: &str = "71";
const SOUTH: &str = "72";
const RIVALS: &str = "73";

/// As `on_both_databases!`, with the token configured and the plan in force.
macro_rules! reporting {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::migrating(super::Database::Sqlite).await).await; })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::migrating(super::Database::Postgres).await).await; })+
        }
    };
}

reporting!(
    a_report_is_recorded_once_and_counted_at_once,
    a_report_after_a_reset_counts_after_it_whatever_its_times_say,
    a_commit_that_fails_is_counted_until_its_repeat,
    what_is_unknown_is_recorded_and_flagged_and_counts_nowhere,
    a_call_that_was_handled_here_is_not_logged_again,
    only_who_knows_the_token_reports,
    a_field_that_cannot_be_read_never_costs_the_call,
);

/// A site that is moving over.
async fn migrating(database: Database) -> Traffic {
    let site = Site::start_with(database, |config| config.internal.log_call_token = Some(TOKEN.into())).await;
    let traffic = Traffic::on(site).await;
    let (acme, rival) = (traffic.users["acme"].0, traffic.users["rival"].0);
    for (kind, ids, offset) in [
        ("links", vec![1, 2, 3], 70),
        ("campaigns", vec![1, 2], 50),
        ("dids", vec![1, 2], 80),
        ("users", vec![acme, rival], 30),
    ] {
        let items: Vec<_> = ids.iter().map(|id| json!({"id": id, "legacy_id": (id + offset).to_string()})).collect();
        let (path, body) = (format!("/legacy_ids/{kind}"), json!({ "items": items }));
        let (status, answer) = traffic.send("admin", Method::PUT, &path, Some(body)).await;
        assert_eq!(status, 200, "{answer}");
    }
    traffic
}

async fn send(caller: &Caller, token: Option<&str>, body: String) -> Answer {
    let change = |request: reqwest::RequestBuilder| match token {
        Some(token) => request.header("X-Internal-API-Token", token).body(body),
        None => request.body(body),
    };
    caller.send(Method::POST, PATH, change).await
}

async fn report(traffic: &Traffic, body: Value) -> Answer {
    send(&traffic.site.outside(), Some(TOKEN), body.to_string()).await
}

fn call(uniqueid: &str, link: &str, dialstatus: &str) -> Value {
    json!({"uniqueid": uniqueid, "dnid": OWN, "caller_number": "+447700900123", "caller_name": "Ann", "start": "2026-11-22 14:00:00",
        "answer": "2026-11-22 14:00:07", "end": "2026-11-22 14:01:07", "dialstatus": dialstatus, "hangupcause": "16",
        "effective_ccs_id": link, "user_id": "", "campaign_id": 51})
}

/// What routing believes to be counted against acme's link by its client's place in the preview.
async fn total_in_routing(traffic: &Traffic, link: i64) -> Value {
    let (status, preview) = traffic.send("admin", Method::POST, "/route", Some(json!({"did": OWN}))).await;
    assert_eq!(status, 200, "{preview}");
    let links = preview["decision"]["links"].as_array().expect("links");
    links.iter().find(|one| one["link_id"] == link).expect("the link")["total_used"].clone()
}

async fn stored_total(traffic: &Traffic, link: i64) -> String {
    let select = format!("SELECT CAST(current_total_calls AS TEXT) FROM campaign_client_settings WHERE id = {link}");
    traffic.site.sql(&select).await.expect("read").remove(0)
}

async fn a_report_is_recorded_once_and_counted_at_once(traffic: Traffic) {
    let first = report(&traffic, call("pbx-1.1", NORTH, "ANSWER")).await.expect(201);
    assert_eq!(
        (&first["handled_by"], &first["counted"], &first["unknown_ids"]),
        (&json!("old_dialplan"), &json!(true), &json!([]))
    );
    assert_eq!(total_in_routing(&traffic, 1).await, 1, "in the same moment");
    assert_eq!(report(&traffic, call("pbx-1.1", NORTH, "ANSWER")).await.expect(200), first, "the same answer");
    let mut other = call("pbx-1.1", SOUTH, "BUSY");
    other["start"] = json!("2026-11-22 13:00:00");
    assert_eq!(report(&traffic, other).await.expect(200), first, "whatever it says");

    // Several at once, and each more than once.
    let many: Vec<_> = (0..12).map(|n| report(&traffic, call(&format!("pbx-2.{}", n % 4), NORTH, "ANSWER"))).collect();
    let answers = futures_util::future::join_all(many).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!((made, answers.iter().filter(|answer| answer.status == 200).count()), (4, 8));
    assert_eq!((total_in_routing(&traffic, 1).await, stored_total(&traffic, 1).await), (json!(5), "5".to_owned()));

    let busy = report(&traffic, call("pbx-3.1", NORTH, "BUSY")).await.expect(201);
    assert_eq!(busy["counted"], false, "by the link's count_on");
    assert_eq!((total_in_routing(&traffic, 1).await, stored_total(&traffic, 1).await), (json!(5), "5".to_owned()));

    let seen = traffic.get("acme", &format!("/calls/{}", first["call_id"].as_str().expect("an id"))).await;
    no_canary(&seen);
    for (field, value) in [
        ("handled_by", json!("old_dialplan")),
        ("ending", json!("completed")),
        ("talk_ms", json!(60_000)),
        ("did", json!(OWN)),
        ("arrived_at", json!("2026-11-22T14:00:00+00:00")),
        ("caller", json!("+447700900123")),
        ("campaign_name", json!("Solar")),
        ("link_id", json!(1)),
        ("seller_name", json!("Acme")),
        ("node", json!("pbx")),
        ("did_id", json!(1)),
        ("unknown_ids", Value::Null),
    ] {
        assert_eq!(seen[field], value, "{field} in {seen:#}");
    }
    assert_eq!(seen["attempts"][0]["outcome"], "answered");
    traffic.settle().await;
}

async fn a_report_after_a_reset_counts_after_it_whatever_its_times_say(traffic: Traffic) {
    report(&traffic, call("pbx-1.1", NORTH, "ANSWER")).await.expect(201);
    let (status, _) =
        traffic.send("admin", Method::POST, "/campaigns/1/links/1/reset-counter", Some(json!({"expected": 1}))).await;
    assert_eq!(status, 200);
    traffic.until_in_force().await;
    // By its clock it ended long before.
    report(&traffic, call("pbx-1.2", NORTH, "ANSWER")).await.expect(201);
    assert_eq!((total_in_routing(&traffic, 1).await, stored_total(&traffic, 1).await), (json!(1), "1".to_owned()));
    traffic.settle().await;
}

/// Only PostgreSQL has something that fails as late as that.
async fn a_commit_that_fails_is_counted_until_its_repeat(traffic: Traffic) {
    let statements = [
        "CREATE FUNCTION late_fault() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''late''; END'",
        "CREATE CONSTRAINT TRIGGER late_fault AFTER INSERT ON call_logs DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION late_fault()",
    ];
    if traffic.site.sql(statements[0]).await.is_ok() {
        traffic.site.sql(statements[1]).await.expect("the trigger");
        for _ in 0..2 {
            assert_eq!(report(&traffic, call("pbx-1.1", NORTH, "ANSWER")).await.status, 500);
            assert_eq!(total_in_routing(&traffic, 1).await, 1, "once, for it may be stored");
        }
        traffic.site.sql("DROP TRIGGER late_fault ON call_logs").await.expect("dropped");
    }
    report(&traffic, call("pbx-1.1", NORTH, "ANSWER")).await.expect(201);
    assert_eq!((total_in_routing(&traffic, 1).await, stored_total(&traffic, 1).await), (json!(1), "1".to_owned()));
    traffic.settle().await;
}

async fn what_is_unknown_is_recorded_and_flagged_and_counts_nowhere(traffic: Traffic) {
    let mut strange = call("1.1", "999", "ANSWER");
    (strange["did_id"], strange["user_id"], strange["campaign_id"]) = (json!(998), json!("997"), json!("996"));
    let logged = report(&traffic, strange).await.expect(201);
    let ids = json!(["effective_ccs_id=999", "campaign_id=996", "user_id=997", "did_id=998"]);
    assert_eq!((&logged["counted"], &logged["unknown_ids"]), (&json!(false), &ids));
    let path = format!("/calls/{}", logged["call_id"].as_str().expect("an id"));
    let record = traffic.get("staff", &path).await;
    assert_eq!((&record["unknown_ids"], &record["attempts"], &record["seller_id"]), (&ids, &json!([]), &Value::Null));
    assert_eq!(traffic.refused("acme", Method::GET, &path, None).await, 404, "nobody knows whose it is");

    // Nothing but the number: it is the DID's owner's.
    let plain = json!({"uniqueid": "1.2", "dnid": "+442079999999", "dialstatus": "CHANUNAVAIL"});
    let logged = report(&traffic, plain).await.expect(201);
    let path = format!("/calls/{}", logged["call_id"].as_str().expect("an id"));
    assert_eq!(traffic.get("rival", &path).await["did"], FOREIGN);
    assert_eq!(traffic.refused("acme", Method::GET, &path, None).await, 404);

    // Acme's link with the rest of its rival's: the link decides, and nothing of the rival's gets into acme's record.
    let mut mixed = call("1.3", SOUTH, "ANSWER");
    (mixed["did_id"], mixed["user_id"], mixed["campaign_id"]) =
        (json!(82), json!(traffic.users["rival"].0 + 30), json!(52));
    let logged = report(&traffic, mixed).await.expect(201);
    assert_eq!(logged["unknown_ids"].as_array().map(Vec::len), Some(3), "{logged}");
    assert_eq!(logged["counted"], true, "its client took the call all the same");
    let seen = traffic.get("acme", &format!("/calls/{}", logged["call_id"].as_str().expect("an id"))).await;
    no_canary(&seen);
    assert_eq!(
        (&seen["seller_name"], &seen["campaign_name"], &seen["did_id"]),
        (&json!("Acme"), &json!("Solar"), &Value::Null)
    );

    // A link that all is full of is so for calls here as well.
    traffic
        .site
        .sql("UPDATE campaign_client_settings SET total_calls_allowed = 1 WHERE id = 3")
        .await
        .expect("written");
    traffic.site.sql("UPDATE routing_revision SET revision = revision + 1").await.expect("written");
    let mut rivals = call("1.4", RIVALS, "ANSWER");
    (rivals["campaign_id"], rivals["dnid"]) = (json!(52), json!(FOREIGN));
    assert_eq!(report(&traffic, rivals).await.expect(201)["counted"], true);
    traffic.until_in_force().await;
    traffic.clients(Behaviour::answers(0), Behaviour::answers(0));
    traffic.call(FOREIGN).ended().await;
    let refused = |found: &CallRecord| found.legacy.is_none() && found.ending == "all_full";
    assert!(traffic.records(5).await.iter().any(refused), "the total holds over both worlds");
    traffic.settle().await;
}

async fn a_call_that_was_handled_here_is_not_logged_again(traffic: Traffic) {
    traffic.clients(Behaviour::answers(0), Behaviour::answers(0));
    let live = traffic.call(OWN);
    live.answered().await;
    let posted = call(live.id(), NORTH, "ANSWER");
    let while_live = report(&traffic, posted.clone()).await.expect(200);
    assert_eq!((&while_live["handled_by"], &while_live["counted"]), (&json!("capconduit"), &Value::Null));
    live.hang_up();
    // In whatever moment between its end and its record it is reported.
    let mut posts = 0;
    while records::recent(&traffic.site.db, 10).await.expect("read").is_empty() {
        assert_eq!(report(&traffic, posted.clone()).await.expect(200), while_live);
        posts += 1;
    }
    assert!(posts > 0, "the record was not awaited");
    assert_eq!(report(&traffic, posted).await.expect(200), while_live);
    let found = traffic.records(1).await;
    assert!(found[0].legacy.is_none() && found[0].call_id.to_string() == while_live["call_id"], "{found:?}");
    assert_eq!(stored_total(&traffic, 1).await, "0", "south took it");
    traffic.settle().await;
}

async fn only_who_knows_the_token_reports(traffic: Traffic) {
    let outside = traffic.site.outside();
    let good = call("1.1", NORTH, "ANSWER");
    for token in [None, Some(""), Some("wrong"), Some(&TOKEN[1..])] {
        send(&outside, token, good.to_string()).await.refused(401, "credential");
    }
    // Who may do all that users may do does not thereby report calls.
    let (status, _) = traffic.send("admin", Method::POST, "/../../api/internal/log_call", Some(good)).await;
    assert!((400..500).contains(&status), "{status}");
    send(&outside, Some(TOKEN), "{".to_owned()).await.refused(400, "malformed");
    send(&outside, Some(TOKEN), "\u{0}".to_owned()).await.refused(400, "malformed");
    send(&outside, Some(TOKEN), "[]".to_owned()).await.refused(422, "invalid");
    send(&outside, Some(TOKEN), format!("{{\"x\": \"{}\"}}", "x".repeat(20_000))).await.refused(413, "too_large");
    assert_eq!(report(&traffic, json!({"node": "pbx"})).await.wrong_fields(), ["uniqueid"], "it says nothing");
    for hostile in ["\u{0}", "'; DROP TABLE call_logs", "\u{1F4DE}", &"9".repeat(3000)] {
        let body = json!({"uniqueid": format!("h{}", hostile.len()), "dnid": hostile, "caller_number": hostile, "caller_name": hostile,
            "caller_presentation": hostile});
        report(&traffic, body).await.expect(201);
    }
    traffic.settle().await;
}

async fn a_field_that_cannot_be_read_never_costs_the_call(traffic: Traffic) {
    let wrong = json!({"uniqueid": "a b", "start": "soon", "dialstatus": {}, "hangupcause": 900, "did_id": "\u{0}", "node": "ü",
        "dnid": OWN});
    let logged = report(&traffic, wrong.clone()).await.expect(201);
    let fields = json!(["dialstatus", "did_id", "hangupcause", "node", "start", "uniqueid"]);
    assert_eq!(logged["unreadable_fields"], fields, "{logged}");
    assert_eq!(report(&traffic, wrong).await.expect(200), logged, "and once");
    let path = format!("/calls/{}", logged["call_id"].as_str().expect("an id"));
    assert_eq!(traffic.get("staff", &path).await["unreadable_fields"], fields);
    assert_eq!(traffic.get("acme", &path).await["unreadable_fields"], Value::Null);

    // What databases and scripts write for nothing, and a cause in words.
    let mut odd = call("pbx-1.9", NORTH, "ANSWER");
    (odd["answer"], odd["hangupcause"], odd["did_id"]) =
        (json!("0000-00-00 00:00:00"), json!("NORMAL_CLEARING"), json!("None"));
    let logged = report(&traffic, odd).await.expect(201);
    assert_eq!((&logged["unreadable_fields"], &logged["counted"]), (&json!([]), &json!(true)), "{logged}");
    let seen = traffic.get("acme", &format!("/calls/{}", logged["call_id"].as_str().expect("an id"))).await;
    assert_eq!((&seen["q850_cause"], &seen["talk_ms"]), (&json!(16), &json!(0)), "{seen:#}");

    // A name in Latin-1, as an old PBX has it.
    let text = call("pbx-1.10", NORTH, "ANSWER").to_string();
    let bytes: Vec<u8> =
        text.replace("Ann", "Zo~").bytes().map(|byte| if byte == b'~' { 0xeb } else { byte }).collect();
    let change = |request: reqwest::RequestBuilder| request.header("X-Internal-API-Token", TOKEN).body(bytes);
    let logged = traffic.site.outside().send(Method::POST, PATH, change).await.expect(201);
    assert_eq!(logged["unreadable_fields"], json!(["caller_name"]), "{logged}");
    let seen = traffic.get("acme", &format!("/calls/{}", logged["call_id"].as_str().expect("an id"))).await;
    assert_eq!(seen["caller_name"], "Zo\u{fffd}", "{seen:#}");

    // A field that is there twice: neither of the two is taken, and who may have asked for privacy has it.
    let text = call("pbx-1.11", NORTH, "ANSWER").to_string();
    let twins =
        r#", "answer": "2026-11-22 14:00:30", "caller_presentation": "prohib", "caller_presentation": "allowed"}"#;
    let text = format!("{}{twins}", text.strip_suffix('}').expect("an object"));
    let logged = send(&traffic.site.outside(), Some(TOKEN), text).await.expect(201);
    assert_eq!(logged["unreadable_fields"], json!(["answer", "caller_presentation"]), "{logged}");
    let seen = traffic.get("acme", &format!("/calls/{}", logged["call_id"].as_str().expect("an id"))).await;
    assert_eq!((&seen["caller"], &seen["caller_name"]), (&Value::Null, &Value::Null), "{seen:#}");
    traffic.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_there_is_no_such_path() {
    let site = Site::start(Database::Sqlite).await;
    for token in [None, Some(""), Some(TOKEN)] {
        send(&site.outside(), token, "{}".to_owned()).await.refused(404, "not_found");
    }
    site.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_are_not_listed_are_refused_and_several_nodes_are_told_apart() {
    let elsewhere = |config: &mut capconduit::config::Config| {
        config.internal.log_call_token = Some(TOKEN.into());
        config.internal.log_call_from = vec!["10.0.0.0/8".parse().expect("a network")];
        config.api.trusted_proxies = vec!["127.0.0.1".parse().expect("a network")];
        let second = capconduit::config::Node { name: "second".into(), app: "other".into(), ..config.nodes[0].clone() };
        config.nodes.push(second);
    };
    let site = Site::start_with(Database::Sqlite, elsewhere).await;
    let outside = site.outside();
    send(&outside, Some(TOKEN), "{}".to_owned()).await.refused(403, "address");
    let forwarded = |body: Value| {
        let change = move |request: reqwest::RequestBuilder| {
            request.header("X-Internal-API-Token", TOKEN).header("X-Forwarded-For", "10.1.2.3").json(&body)
        };
        outside.send(Method::POST, PATH, change)
    };
    let unsaid = forwarded(json!({"uniqueid": "1.1"})).await.expect(201);
    assert_eq!(unsaid["unreadable_fields"], json!(["node"]), "it stays a call, of an unknown node");
    for node in ["second", "an-old-one"] {
        forwarded(json!({"uniqueid": "1.1", "node": node})).await.expect(201);
    }
    forwarded(json!({"uniqueid": "1.1", "node": "second"})).await.expect(200);
    site.settle().await;
}
