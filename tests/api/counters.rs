//! The count of a link over the API: who resets it, and what routing makes of it.

use reqwest::Method;
use serde_json::{Value, json};

use capconduit::auth::principal::Actor;
use capconduit::clock::Clock;
use capconduit::id::{CampaignId, LinkId};
use capconduit::store::change::{Editor, Owner};
use capconduit::store::links;

use crate::fake_ari::Behaviour;
use crate::on_both_databases;
use crate::site::Site;
use crate::traffic::{OWN, Traffic};

on_both_databases!(
    an_admin_resets_a_count_that_it_knows,
    routing_goes_on_by_the_new_count_and_calls_in_flight_still_count,
);

/// Acme's link to north: path of its campaign's links, id.
async fn north(traffic: &Traffic) -> (i64, i64) {
    let links = traffic.get("admin", "/live/links").await;
    let found =
        links["items"].as_array().expect("items").iter().find(|link| link["client"]["name"] == "North").cloned();
    let link = found.expect("a link to north");
    (link["campaign_id"].as_i64().expect("an id"), link["link_id"].as_i64().expect("an id"))
}

fn path((campaign, link): (i64, i64)) -> String {
    format!("/campaigns/{campaign}/links/{link}")
}

async fn reset(traffic: &Traffic, who: &str, link: (i64, i64), expected: Value) -> (u16, Value) {
    let body = json!({ "expected": expected });
    traffic.send(who, Method::POST, &format!("{}/reset-counter", path(link)), Some(body)).await
}

/// One answered call to north.
async fn counted_call(traffic: &Traffic, calls: usize) {
    traffic.clients(Behaviour::busy(), Behaviour::answers(5).hanging_up_after(20));
    traffic.call(OWN).ended().await;
    traffic.records(calls).await;
}

async fn an_admin_resets_a_count_that_it_knows(site: Site) {
    let traffic = Traffic::on(site).await;
    let link = north(&traffic).await;
    counted_call(&traffic, 1).await;
    let before = traffic.get("acme", &path(link)).await;
    assert_eq!((&before["current_total_calls"], &before["counted_since"]), (&json!(1), &Value::Null));
    for who in ["staff", "acme", "rival"] {
        assert_eq!(reset(&traffic, who, link, json!(1)).await.0, 403, "{who}");
    }
    for wrong in [json!(-1), json!("1"), Value::Null] {
        assert_eq!(reset(&traffic, "admin", link, wrong).await.0, 422);
    }
    assert_eq!(reset(&traffic, "admin", (link.0, 999_999), json!(1)).await.0, 404);
    let (status, problem) = reset(&traffic, "admin", link, json!(0)).await;
    assert_eq!((status, &problem["code"]), (409, &json!("counter_changed")));
    assert_eq!((&problem["errors"][0]["field"], &problem["errors"][0]["detail"]), (&json!("expected"), &json!("1")));
    let (status, after) = reset(&traffic, "admin", link, json!(1)).await;
    assert_eq!((status, &after["current_total_calls"], &after["version"]), (200, &json!(0), &before["version"]));
    assert!(after["counted_since"].is_string());
    assert_eq!(traffic.get("acme", &path(link)).await, after);
    let audit = traffic.get("admin", "/audit?action=link.counter.reset").await;
    let line = &audit["items"][0];
    assert_eq!((&line["before"]["current_total_calls"], &line["actor"]), (&json!(1), &json!("admin")));
    traffic.settle().await;
}

async fn routing_goes_on_by_the_new_count_and_calls_in_flight_still_count(site: Site) {
    let traffic = Traffic::on(site).await;
    let link = north(&traffic).await;
    let allowed = json!({ "total_calls_allowed": 2 });
    assert_eq!(traffic.send("acme", Method::PATCH, &path(link), Some(allowed)).await.0, 200);
    traffic.until_in_force().await;
    counted_call(&traffic, 1).await;
    traffic.clients(Behaviour::busy(), Behaviour::answers(5));
    let in_flight = traffic.call(OWN);
    in_flight.answered().await;
    let verdict = async || {
        let preview = traffic.send("acme", Method::POST, "/route", Some(json!({ "did": OWN }))).await.1;
        let links = preview["decision"]["links"].as_array().expect("links").clone();
        let of_north = links.into_iter().find(|seen| seen["link_id"] == link.1).expect("north");
        (of_north["verdict"].clone(), of_north["total_used"].clone())
    };
    assert_eq!(verdict().await, (json!("total_reached"), json!(1)));

    // As another process would: nothing but the database tells this one.
    let (realtime, clock) = (&traffic.site.config.realtime, Clock::start());
    let (actor, at) = (Actor::System("cli"), clock.now().wall);
    let editor = Editor { db: &traffic.site.db, realtime, actor, at, owner: Owner::Anyone };
    let reset = links::reset_counter(&editor, CampaignId(link.0), LinkId(link.1), 1, || clock.now().wall).await;
    assert_eq!(reset.expect("reset").current_total_calls, 0);
    traffic.until_in_force().await;
    assert_eq!(verdict().await, (json!("candidate"), json!(0)), "without a restart");

    in_flight.hang_up();
    traffic.records(2).await;
    assert_eq!(verdict().await, (json!("candidate"), json!(1)), "it was in flight, and counts");
    counted_call(&traffic, 3).await;
    assert_eq!(verdict().await, (json!("total_reached"), json!(2)));
    assert_eq!(traffic.get("admin", &path(link)).await["current_total_calls"], 2);
    traffic.settle().await;
}
