//! Asterisk nodes over the API: how they are, and who may give a silent one's calls up.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::fake_ari::{Behaviour, CallerEnd};
use crate::on_both_databases;
use crate::patience::PATIENCE;
use crate::site::Site;
use crate::traffic::{OWN, Traffic};

on_both_databases!(
    a_node_is_shown_as_it_is,
    readiness_tells_when_every_call_falls_back,
    a_silent_node_is_released_by_an_admin_who_knows_its_calls,
    a_node_is_drained_by_an_admin_and_takes_calls_again,
);

async fn node(traffic: &Traffic) -> Value {
    traffic.get("staff", "/nodes").await["items"][0].clone()
}

async fn until_connected(traffic: &Traffic, connected: bool) {
    let poll = async {
        while node(traffic).await["connected"] != connected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, poll).await.expect("its state changes");
}

async fn release(traffic: &Traffic, who: &str, name: &str, expected: Value) -> (u16, Value) {
    let body = json!({ "expected": expected });
    traffic.send(who, Method::POST, &format!("/nodes/{name}/release"), Some(body)).await
}

async fn a_node_is_shown_as_it_is(site: Site) {
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::busy(), Behaviour::answers(0));
    let call = traffic.call(OWN);
    call.answered().await;
    let shown = node(&traffic).await;
    for (field, value) in [("name", json!("pbx")), ("connected", json!(true)), ("ready", json!(true))] {
        assert_eq!(shown[field], value, "{field}");
    }
    let figures = ["live_calls", "permits_held", "drift", "drift_repaired"].map(|field| shown[field].clone());
    assert_eq!(figures, [json!(1), json!(1), json!(0), json!(0)]);
    assert!(
        ["version", "startup_time", "since", "last_heard_at"].iter().all(|field| shown[*field].is_string()),
        "{shown}"
    );
    assert_eq!(traffic.refused("acme", Method::GET, "/nodes", None).await, 403);
    call.hang_up();
    traffic.records(1).await;
    assert_eq!(node(&traffic).await["live_calls"], 0);
    traffic.settle().await;
}

/// Connected and compared it is all the while; its dialplan hands calls to somebody else.
async fn readiness_tells_when_every_call_falls_back(site: Site) {
    let traffic = Traffic::on(site).await;
    let tokens = traffic.site.log_in("admin", crate::site::PASSWORD).await;
    let admin = traffic.site.outside().with_access_token(tokens["access_token"].as_str().expect("a token"));
    let told = async |status: u16, fault: &str| {
        let poll = async {
            loop {
                let answer = admin.get("/readyz").await;
                let faults =
                    serde_json::from_str::<Value>(&answer.text).expect("JSON")["details"]["nodes"][0]["faults"]
                        .to_string();
                if answer.status == status && faults.contains(fault) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, poll).await.is_err() {
            panic!("no {status} with {fault:?}: {}", admin.get("/readyz").await.text);
        }
    };
    told(200, "[]").await;
    for (variable, wrong, fault, status) in [
        ("CAPCONDUIT_APP", "other", "every call falls back", 503),
        ("CAPCONDUIT_APPS", "9", "some calls fall back", 200),
        ("CAPCONDUIT_DIALPLAN", "1", "older than this controller", 200),
    ] {
        let right = traffic.site.asterisk.global(variable).expect("the dialplan sets it");
        traffic.site.asterisk.set_global(variable, wrong);
        told(status, fault).await;
        traffic.site.asterisk.set_global(variable, &right);
        told(200, "[]").await;
    }
    traffic.settle().await;
}

async fn a_silent_node_is_released_by_an_admin_who_knows_its_calls(site: Site) {
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::busy(), Behaviour::answers(0));
    let call = traffic.call(OWN);
    call.answered().await;
    let (status, problem) = release(&traffic, "admin", "pbx", json!(1)).await;
    assert_eq!((status, &problem["code"]), (409, &json!("node_connected")));

    traffic.site.asterisk.refuse_connections(true);
    traffic.site.asterisk.drop_sockets();
    until_connected(&traffic, false).await;
    for who in ["staff", "acme"] {
        assert_eq!(release(&traffic, who, "pbx", json!(1)).await.0, 403, "{who}");
    }
    assert_eq!(release(&traffic, "admin", "nowhere", json!(1)).await.0, 404);
    for wrong in [json!(-1), json!("1"), Value::Null] {
        assert_eq!(release(&traffic, "admin", "pbx", wrong).await.0, 422);
    }
    let (status, problem) = release(&traffic, "admin", "pbx", json!(0)).await;
    assert_eq!((status, &problem["code"]), (409, &json!("calls_changed")));
    assert_eq!(problem["errors"][0]["detail"], "1");
    assert_eq!(node(&traffic).await["permits_held"], 1, "nothing was released so far");

    let (status, released) = release(&traffic, "admin", "pbx", json!(1)).await;
    assert_eq!((status, &released["connected"]), (200, &json!(false)), "{released}");
    let record = traffic.records(1).await.remove(0);
    assert_eq!((record.ending.as_str(), record.ended_after), ("lost", Some(record.ended_at)));
    let shown = node(&traffic).await;
    assert_eq!((&shown["live_calls"], &shown["permits_held"]), (&json!(0), &json!(0)));
    let audit = traffic.get("admin", "/audit?action=node.release").await;
    let lines = audit["items"].as_array().expect("items");
    assert_eq!(
        (lines.len(), &lines[0]["object"], &lines[0]["before"]["live_calls"]),
        (1, &json!("node:pbx"), &json!(1))
    );

    // It was only silent: what lives of the call is hung up, and it has no second record.
    traffic.site.asterisk.refuse_connections(false);
    until_connected(&traffic, true).await;
    call.ended().await;
    assert_eq!(traffic.records(1).await.len(), 1);
    traffic.settle().await;
}

async fn a_node_is_drained_by_an_admin_and_takes_calls_again(site: Site) {
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::busy(), Behaviour::answers(0));
    let call = traffic.call(OWN);
    call.answered().await;
    let order = async |who: &str, method: Method, name: &str| {
        traffic.send(who, method, &format!("/nodes/{name}/drain"), None).await
    };
    for who in ["staff", "acme"] {
        assert_eq!(order(who, Method::POST, "pbx").await.0, 403, "{who}");
        assert_eq!(order(who, Method::DELETE, "pbx").await.0, 403, "{who}");
    }
    assert_eq!(order("admin", Method::POST, "nowhere").await.0, 404);

    for _ in 0..2 {
        let (status, drained) = order("admin", Method::POST, "pbx").await;
        let told = ["drained", "ready", "live_calls"].map(|field| drained[field].clone());
        assert_eq!((status, told), (200, [json!(true), json!(false), json!(1)]), "{drained}");
    }
    let mark = traffic.site.asterisk.global("CAPCONDUIT_DRAINED").expect("it stands in the node");
    assert!(mark.parse::<i64>().is_ok_and(|epoch| epoch > 0), "{mark}");
    assert!(matches!(traffic.call(OWN).ended().await, CallerEnd::Continued { exten, .. } if exten == "drained"));
    assert_eq!(call.end(), None, "talks go on");

    let (status, shown) = order("admin", Method::DELETE, "pbx").await;
    assert_eq!((status, &shown["drained"]), (200, &json!(false)), "{shown}");
    let next = traffic.call(OWN);
    next.answered().await;
    for call in [&call, &next] {
        call.hang_up();
    }
    traffic.records(2).await;
    let audit = traffic.get("admin", "/audit?action=node.drain").await;
    assert_eq!(audit["items"].as_array().map(Vec::len), Some(2), "{audit}");

    traffic.site.asterisk.refuse_connections(true);
    traffic.site.asterisk.drop_sockets();
    until_connected(&traffic, false).await;
    let (status, problem) = order("admin", Method::POST, "pbx").await;
    assert_eq!((status, &problem["code"]), (409, &json!("node_away")));
    traffic.site.asterisk.refuse_connections(false);
    until_connected(&traffic, true).await;
    traffic.settle().await;
}
