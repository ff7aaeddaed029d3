//! A client that is taken from a seller: no new call reaches it, and the seller reads its name only in records of the time before.

use reqwest::Method;
use serde_json::{Value, json};

use crate::fake_ari::Behaviour;
use crate::on_both_databases;
use crate::site::Site;
use crate::traffic::{ALIAS, OWN, Traffic, no_canary};

on_both_databases!(a_withdrawn_client_is_named_by_earlier_records_alone, a_withdrawal_is_in_force_within_a_second);

/// What the seller may not read once north is withdrawn: its old name, its new one, its endpoint.
const NAMES: [&str; 3] = ["North", "Northern lights", "north-canary"];

/// Takes the client that is called North from acme.
async fn withdraw(traffic: &Traffic) -> i64 {
    let clients = traffic.get("admin", "/clients").await;
    let north = clients["items"].as_array().expect("items").iter().find(|c| c["name"] == "North").expect("north");
    let id = north["id"].as_i64().expect("an id");
    // The rival keeps it.
    let seller = format!("/clients/{id}/sellers/{}", traffic.users["rival"]);
    assert_eq!(traffic.send("admin", Method::PUT, &seller, None).await.0, 204);
    let change = json!({"access": "selected", "name": "Northern lights"});
    let (status, body) = traffic.send("admin", Method::PATCH, &format!("/clients/{id}"), Some(change)).await;
    assert_eq!(status, 200, "{body:#}");
    traffic.until_in_force().await;
    id
}

/// Acme's link to this client, as an answer with `items` or `links` shows it.
fn of_client(list: &Value, id: i64) -> &Value {
    let found =
        list.as_array().expect("a list").iter().find(|link| link["client"]["id"] == id || link["client_id"] == id);
    found.unwrap_or_else(|| panic!("a link to client {id}: {list:#}"))
}

#[track_caller]
fn unnamed(body: &Value) {
    no_canary(body);
    let text = body.to_string();
    assert!(NAMES.iter().all(|name| !text.contains(name)), "a withdrawn client is named: {body:#}");
}

async fn a_withdrawn_client_is_named_by_earlier_records_alone(site: Site) {
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::busy(), Behaviour::answers(10).hanging_up_after(60));
    traffic.call(OWN).ended().await;
    traffic.records(1).await;
    let before = traffic.get("acme", "/calls").await;
    let north = withdraw(&traffic).await;

    let live = traffic.get("acme", "/live/links").await;
    unnamed(&live);
    let link = of_client(&live["items"], north);
    assert_eq!((&link["client_withdrawn"], &link["status"]), (&json!(true), &json!("active")));
    assert_eq!(
        of_client(&traffic.get("staff", "/live/links").await["items"], north)["client"]["name"],
        "Northern lights"
    );
    let campaign = link["campaign_id"].clone();
    let links = traffic.get("acme", &format!("/campaigns/{campaign}/links")).await;
    unnamed(&links);
    assert_eq!(of_client(&links["items"], north)["client_withdrawn"], json!(true));

    let (status, preview) = traffic.send("acme", Method::POST, "/route", Some(json!({"did": OWN}))).await;
    assert_eq!(status, 200);
    unnamed(&preview);
    let verdict = of_client(&preview["decision"]["links"], north);
    assert_eq!((&verdict["verdict"], &verdict["client"]["name"]), (&json!("client_withdrawn"), &Value::Null));
    assert_eq!(verdict["explanation"], "The client is not for you (any more).");
    assert_eq!(preview["candidates"].as_array().map(Vec::len), Some(1), "south is left");

    // Records of the time before keep the name of that time, wherever they are shown, and have not changed.
    assert_eq!(traffic.get("acme", "/calls").await, before);
    assert_eq!(before["items"][0]["client"]["name"], "North");
    let id = before["items"][0]["call_id"].as_str().expect("an id");
    let earlier = traffic.get("acme", &format!("/calls/{id}")).await;
    assert_eq!(of_client(&earlier["decision"]["links"], north)["client"]["name"], "North");
    let figures = traffic.get("acme", "/calls/summary?group_by=client").await;
    assert!(figures.to_string().contains("North") && !figures.to_string().contains("Northern"), "{figures:#}");
    let (_, csv) = traffic.send("acme", Method::GET, "/calls/export?format=csv", None).await;
    assert!(csv.as_str().is_some_and(|csv| csv.contains(",North,") && !csv.contains("Northern")), "{csv}");

    // A later call does not reach it, and its decision does not name it.
    traffic.call(OWN).ended().await;
    let later = traffic.records(2).await.remove(1);
    assert_eq!((later.attempts.len(), later.attempts[0].client_name.as_str()), (1, "South canary"));
    let later = traffic.get("acme", &format!("/calls/{}", later.call_id)).await;
    unnamed(&later);
    assert_eq!(later["attempts"][0]["client"]["name"], ALIAS);
    assert_eq!(of_client(&later["decision"]["links"], north)["verdict"], "client_withdrawn");
    let seen = traffic.get("staff", &format!("/calls/{}", later["call_id"].as_str().expect("an id"))).await;
    assert_eq!(of_client(&seen["decision"]["links"], north)["client"]["name"], "Northern lights");
    traffic.settle().await;
}

async fn a_withdrawal_is_in_force_within_a_second(site: Site) {
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::busy(), Behaviour::answers(10));
    let call = traffic.call(OWN);
    call.answered().await;
    withdraw(&traffic).await;
    // The call that is talking goes on; it keeps the name it was made under.
    let live = traffic.get("acme", "/live/calls").await;
    assert_eq!(live["items"][0]["attempt"]["client"]["name"], "North", "{live:#}");
    call.hang_up();
    traffic.records(1).await;
    traffic.settle().await;
}
