//! Previews of decisions.

use reqwest::Method;
use serde_json::{Value, json};

use crate::fake_ari::Behaviour;
use crate::on_both_databases;
use crate::site::Site;
use crate::traffic::{ALIAS, FOREIGN, OWN, Traffic, no_canary};

on_both_databases!(a_preview_says_what_would_happen_and_changes_nothing, what_is_not_allowed_in_a_preview_is_named);

async fn preview(traffic: &Traffic, who: &str, body: Value) -> Value {
    let (status, body) = traffic.send(who, Method::POST, "/route", Some(body)).await;
    assert_eq!(status, 200, "{body:#}");
    body
}

async fn a_preview_says_what_would_happen_and_changes_nothing(site: Site) {
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::answers(0), Behaviour::answers(0));
    let asked = json!({"did": OWN, "caller": "+447700900123", "time": "2027-03-01T09:30:00+01:00"});
    let first = preview(&traffic, "acme", asked.clone()).await;
    no_canary(&first);
    assert_eq!(first["refusal"], Value::Null);
    assert_eq!(first["time"], "2027-03-01T08:30:00+00:00");
    let use_before = traffic.get("admin", "/live/links").await;
    let links = &first["decision"]["links"];
    let [north, south] = [&links[0]["link_id"], &links[1]["link_id"]];
    assert_eq!(first["candidates"], json!([south, north]));
    for _ in 0..3 {
        assert_eq!(preview(&traffic, "acme", asked.clone()).await, first, "asking changes nothing");
    }
    let full = json!({"did": OWN, "usage": [{"link_id": south, "used": 7}]});
    let assumed = preview(&traffic, "acme", full).await;
    assert_eq!(assumed["candidates"], json!([north]));
    assert_eq!(assumed["decision"]["links"][1]["verdict"], "link_full");
    assert_eq!(assumed["decision"]["links"][1]["explanation"], "The link is full: 7 of 7 in use.");
    // What the client still takes cannot be found out by assuming.
    for used in 0..7 {
        let body = json!({"did": OWN, "usage": [{"link_id": south, "used": used}]});
        assert_eq!(preview(&traffic, "acme", body).await["decision"]["links"][1]["verdict"], "candidate", "{used}");
    }
    assert_eq!(preview(&traffic, "acme", asked.clone()).await, first, "nor does assuming");
    assert_eq!(traffic.get("admin", "/live/links").await, use_before, "no permit, no count");

    let call = traffic.call(FOREIGN);
    call.answered().await;
    let busy = preview(&traffic, "acme", asked.clone()).await;
    no_canary(&busy);
    let south = &busy["decision"]["links"][1];
    assert_eq!((&south["client"]["name"], &south["verdict"]), (&json!(ALIAS), &json!("client_full")));
    let seen = preview(&traffic, "staff", asked).await;
    assert_eq!(seen["decision"]["links"][1]["explanation"], "The client is full: 1 of 1 in use.");
    call.hang_up();
    traffic.settle().await;
}

async fn what_is_not_allowed_in_a_preview_is_named(site: Site) {
    let traffic = Traffic::on(site).await;
    let unknown = json!({"did": "+442070000000"});
    assert_eq!(preview(&traffic, "admin", unknown.clone()).await["refusal"], "unknown_did");
    for body in [unknown, json!({"did": FOREIGN}), json!({"did": OWN, "usage": [{"link_id": 3, "used": 1}]})] {
        assert_eq!(traffic.refused("acme", Method::POST, "/route", Some(body.clone())).await, 404, "{body}");
    }
    assert_eq!(preview(&traffic, "rival", json!({"did": FOREIGN})).await["candidates"], json!([3]));
    for body in [
        json!({}),
        json!({"did": OWN, "caller": "north"}),
        json!({"did": ""}),
        json!({"did": OWN, "colour": 1}),
        json!({"did": OWN, "time": "tomorrow"}),
        json!({"did": OWN, "time": "0001-01-01T00:00:00Z"}),
    ] {
        assert_eq!(traffic.refused("acme", Method::POST, "/route", Some(body.clone())).await, 422, "{body}");
    }
    traffic.settle().await;
}
