//! Finished calls as each role sees them.

use capconduit::cdr::record::CallRecord;
use capconduit::id::CallId;
use capconduit::store::records;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fake_ari::Behaviour;
use crate::on_both_databases;
use crate::site::Site;
use crate::traffic::{ALIAS, FOREIGN, OWN, Traffic, no_canary};

on_both_databases!(
    each_role_finds_the_calls_it_may_see,
    one_call_tells_a_seller_everything_but_what_is_others,
    pages_and_filters_are_bound_to_each_other,
    figures_are_of_what_the_role_may_see,
    exports_are_whole_and_say_so,
);

/// Two calls of acme (south busy, then north answers; nobody answers) and one of its rival.
async fn with_calls(site: Site) -> Traffic {
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::busy(), Behaviour::answers(10).hanging_up_after(60));
    traffic.call(OWN).ended().await;
    traffic.call(FOREIGN).ended().await;
    traffic.clients(Behaviour::busy(), Behaviour::busy());
    traffic.call(OWN).ended().await;
    traffic.records(3).await;
    traffic
}

fn items(page: &Value) -> &Vec<Value> {
    page["items"].as_array().expect("items")
}

async fn each_role_finds_the_calls_it_may_see(site: Site) {
    let traffic = with_calls(site).await;
    for who in ["admin", "staff"] {
        let page = traffic.get(who, "/calls").await;
        assert_eq!(items(&page).len(), 3, "{who}: {page:#}");
        assert_eq!(page["items"][0]["client"]["client_identifier"], "north-canary", "the newest comes first");
        let foreign = page["items"][1]["call_id"].as_str().expect("an id");
        assert_eq!(traffic.get(who, &format!("/calls/{foreign}")).await["did"], FOREIGN);
    }
    let own = traffic.get("acme", "/calls").await;
    no_canary(&own);
    assert_eq!(items(&own).iter().map(|call| &call["did"]).collect::<Vec<_>>(), [OWN, OWN]);
    assert_eq!(
        items(&own)[1]["client"],
        json!({"id": items(&own)[1]["client"]["id"], "name": "North", "client_identifier": null})
    );
    let theirs = traffic.get("rival", "/calls").await;
    assert_eq!(items(&theirs).len(), 1);
    assert_eq!(theirs["items"][0]["client"]["name"], ALIAS);
    let foreign = theirs["items"][0]["call_id"].as_str().expect("an id");
    for absent in [foreign, "00000000-0000-8000-8000-000000000000", "nonsense"] {
        assert_eq!(traffic.refused("acme", Method::GET, &format!("/calls/{absent}"), None).await, 404, "{absent}");
    }
    for filter in [format!("seller_id={}", traffic.users["rival"]), format!("did={FOREIGN}").replace('+', "%2B")] {
        assert!(items(&traffic.get("acme", &format!("/calls?{filter}")).await).is_empty(), "{filter}");
        assert_eq!(items(&traffic.get("staff", &format!("/calls?{filter}")).await).len(), 1, "{filter}");
    }
    traffic.settle().await;
}

async fn one_call_tells_a_seller_everything_but_what_is_others(site: Site) {
    let traffic = with_calls(site).await;
    let answered = traffic.get("acme", "/calls?answered=true").await;
    let id = answered["items"][0]["call_id"].as_str().expect("an id");
    let own = traffic.get("acme", &format!("/calls/{id}")).await;
    no_canary(&own);
    let outcomes: Vec<_> =
        own["attempts"].as_array().expect("attempts").iter().map(|a| (&a["client"]["name"], &a["outcome"])).collect();
    assert_eq!(outcomes, [(&json!(ALIAS), &json!("busy")), (&json!("North"), &json!("answered"))]);
    let events: Vec<_> =
        own["timeline"].as_array().expect("events").iter().filter_map(|e| e["event"].as_str()).collect();
    assert!(events.iter().any(|event| event.ends_with(&format!("attempt 1 to {ALIAS}"))), "{events:?}");
    assert!(events.iter().any(|event| event.ends_with("attempt 2 to North")), "{events:?}");
    let south = &own["decision"]["links"][1];
    assert_eq!((&south["client"]["name"], &south["verdict"]), (&json!(ALIAS), &json!("candidate")));
    assert_eq!(
        (&south["limit"], &south["client_limit"], &south["client_used"]),
        (&json!(7), &Value::Null, &Value::Null)
    );
    let whole = traffic.get("staff", &format!("/calls/{id}")).await;
    assert_eq!(whole["decision"]["links"][1]["client_limit"], 1);
    assert_eq!(whole["attempts"][0]["client"]["name"], "South canary");
    assert!(whole["timeline"].to_string().contains("attempt 1 to south-canary"));
    traffic.settle().await;
}

async fn pages_and_filters_are_bound_to_each_other(site: Site) {
    let traffic = with_calls(site).await;
    let all = traffic.get("admin", "/calls").await;
    let first = traffic.get("admin", "/calls?limit=2").await;
    let cursor = first["next_cursor"].as_str().expect("there is more");
    let second = traffic.get("admin", &format!("/calls?limit=2&cursor={cursor}")).await;
    assert_eq!([items(&first).clone(), items(&second).clone()].concat(), *items(&all));
    assert_eq!(second["next_cursor"], Value::Null);
    for query in [
        format!("answered=true&cursor={cursor}"),
        "limit=0".to_owned(),
        "limit=201".to_owned(),
        "cursor=x".to_owned(),
        "ending=tired".to_owned(),
        "from=-5000-01-01T00:00:00Z".to_owned(),
        "to=%2B12000-01-01T00:00:00Z".to_owned(),
        "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z".to_owned(),
    ] {
        assert_eq!(traffic.refused("admin", Method::GET, &format!("/calls?{query}"), None).await, 422, "{query}");
    }
    // The same cursor under another seller's eyes is one of another list.
    assert_eq!(traffic.refused("acme", Method::GET, &format!("/calls?cursor={cursor}"), None).await, 422);
    for (query, count) in [
        ("ending=nobody_answered", 2),
        ("caller=%2B447700900123", 3),
        ("did=+442071234567", 2),
        ("min_talk_ms=1", 1),
        ("from=2026-01-01T00:00:00%2B01:00&to=2026-01-02T00:00:00Z", 0),
    ] {
        assert_eq!(items(&traffic.get("admin", &format!("/calls?{query}")).await).len(), count, "{query}");
    }
    traffic.settle().await;
}

async fn figures_are_of_what_the_role_may_see(site: Site) {
    let traffic = with_calls(site).await;
    for (who, calls, rate) in [("admin", 3, 1.0 / 3.0), ("staff", 3, 1.0 / 3.0), ("acme", 2, 0.5), ("rival", 1, 0.0)] {
        let summary = traffic.get(who, "/calls/summary?group_by=seller").await;
        assert_eq!(summary["total"]["calls"], calls, "{who}: {summary:#}");
        let found = summary["total"]["answer_rate"].as_f64().expect("a rate");
        assert!((found - rate).abs() < 1e-9, "{who}: {found}");
    }
    for by in ["hour", "day", "seller", "campaign", "did", "client", "link", "ending"] {
        let own = traffic.get("acme", &format!("/calls/summary?group_by={by}&time_zone=Asia/Kathmandu")).await;
        no_canary(&own);
        assert!(!own["groups"].as_array().expect("groups").is_empty(), "{by}");
        if let Some(begins) = own["groups"][0]["begins_at"].as_str() {
            assert!(begins.ends_with("+05:45"), "{begins}");
        }
    }
    let by_client = traffic.get("acme", "/calls/summary?group_by=client").await;
    let names: Vec<_> = by_client["groups"].as_array().expect("groups").iter().map(|g| g["name"].clone()).collect();
    assert!(names.contains(&json!(ALIAS)) && names.contains(&json!("North")), "{names:?}");
    let nothing = traffic.get("acme", "/calls/summary?group_by=day&ending=failed").await;
    assert_eq!((&nothing["total"]["calls"], &nothing["total"]["answer_rate"]), (&json!(0), &Value::Null));
    let nowhere = "/calls/summary?group_by=day&time_zone=Mars/Olympus";
    assert_eq!(traffic.refused("acme", Method::GET, nowhere, None).await, 422);
    traffic.settle().await;
}

async fn exports_are_whole_and_say_so(site: Site) {
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::busy(), Behaviour::busy());
    for did in [OWN, FOREIGN] {
        traffic.call(did).ended().await;
    }
    // More than one batch, and a caller whose name is a formula.
    let template = traffic.records(2).await.remove(0);
    let more = (0..700_i64).map(|n| CallRecord {
        call_id: CallId::derive(template.arrived_at - chrono::Duration::seconds(n + 1), "pbx", &n.to_string()),
        arrived_at: template.arrived_at - chrono::Duration::seconds(n + 1),
        caller_name: Some("=cmd|' /C calc'!A0, \"x\"".to_owned()),
        attempts: vec![],
        ..template.clone()
    });
    records::write(&traffic.site.db, &more.collect::<Vec<_>>()).await.expect("written");
    for (who, rows) in [("admin", 702), ("acme", 701), ("rival", 1)] {
        let (status, csv) = traffic.send(who, Method::GET, "/calls/export?format=csv", None).await;
        let csv = csv.as_str().expect("no JSON").to_owned();
        assert_eq!(status, 200);
        let lines: Vec<_> = csv.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), rows + 2, "heading, rows, count");
        assert!(lines[0].starts_with("call_id,arrived_at,") && lines[1].contains(",+44207"), "{}", lines[1]);
        assert_eq!(lines[rows + 1], format!("rows,{rows}"));
        let (_, ndjson) = traffic.send(who, Method::GET, "/calls/export?format=ndjson", None).await;
        let ndjson = ndjson.as_str().expect("more than one JSON").to_owned();
        let lines: Vec<Value> = ndjson.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!((lines.len(), &lines[rows]), (rows + 1, &json!({"rows": rows})));
        if who == "acme" {
            no_canary(&Value::String(csv.clone() + &ndjson));
            assert_eq!(lines[0], traffic.get(who, "/calls?limit=1").await["items"][0], "the same as in the list");
            assert!(csv.contains(",\"'=cmd|' /C calc'!A0, \"\"x\"\"\","), "no formula, one cell");
        }
    }
    let (_, none) = traffic.send("acme", Method::GET, "/calls/export?format=ndjson&ending=failed", None).await;
    assert_eq!(none, json!({"rows": 0}));
    traffic.settle().await;
}
