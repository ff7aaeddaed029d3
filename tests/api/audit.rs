//! The audit as each role sees it.

use reqwest::Method;
use serde_json::Value;

use crate::fake_ari::Behaviour;
use crate::on_both_databases;
use crate::site::Site;
use crate::traffic::{FOREIGN, OWN, Traffic, no_canary};

on_both_databases!(a_hang_up_is_noted_and_shown_by_right);

async fn hang_up(traffic: &Traffic, who: &str, did: &str) -> String {
    let call = traffic.call(did);
    call.answered().await;
    let live = traffic.get("admin", "/live/calls").await;
    let id = live["items"][0]["call_id"].as_str().expect("it is live").to_owned();
    let path = format!("/live/calls/{id}");
    assert_eq!(traffic.send(who, Method::DELETE, &path, None).await.0, 202);
    call.ended().await;
    traffic.site.asterisk.until_empty().await;
    format!("call:{id}")
}

fn objects(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("items").iter().filter_map(|line| line["object"].as_str()).collect()
}

async fn a_hang_up_is_noted_and_shown_by_right(site: Site) {
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::answers(0), Behaviour::answers(0));
    let own = hang_up(&traffic, "acme", OWN).await;
    let foreign = hang_up(&traffic, "staff", FOREIGN).await;
    traffic.records(2).await;

    let all = traffic.get("admin", "/audit?action=call.hang_up").await;
    assert_eq!(objects(&all), [&foreign, &own], "the newest comes first");
    assert_eq!((&all["items"][0]["actor"], &all["items"][1]["actor"]), (&"staff".into(), &"acme".into()));
    let line = &all["items"][1];
    assert_eq!(line["user_id"], traffic.users["acme"].0);
    assert!(line["credential"].as_str().is_some_and(|with| with.starts_with("token:")), "{line:#}");
    assert_eq!(line["address"], "127.0.0.1");

    let first = traffic.get("admin", "/audit?action=call.hang_up&limit=1").await;
    let cursor = first["next_cursor"].as_str().expect("there is another");
    let second = traffic.get("admin", &format!("/audit?action=call.hang_up&limit=1&cursor={cursor}")).await;
    assert_eq!((objects(&first), objects(&second)), (vec![foreign.as_str()], vec![own.as_str()]));
    assert_eq!(objects(&traffic.get("admin", &format!("/audit?object={own}")).await), [&own]);

    let seen = traffic.get("acme", "/audit").await;
    no_canary(&seen);
    assert!(objects(&seen).contains(&own.as_str()) && !objects(&seen).contains(&foreign.as_str()), "{seen:#}");
    assert!(seen["items"].as_array().expect("items").iter().all(|line| line["actor"] == "acme"), "{seen:#}");
    let others = format!("/audit?user_id={}", traffic.users["staff"]);
    assert!(objects(&traffic.get("acme", &others).await).is_empty());
    assert_eq!(traffic.refused("staff", Method::GET, "/audit", None).await, 403);
    traffic.settle().await;
}
