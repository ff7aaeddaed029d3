//! Whether a campaign is ready, and a cap that is lowered below its use.

use reqwest::Method;
use serde_json::{Value, json};

use crate::fake_ari::Behaviour;
use crate::on_both_databases;
use crate::site::Site;
use crate::traffic::{ALIAS, FOREIGN, OWN, Traffic, no_canary};

on_both_databases!(
    what_is_in_the_way_is_told_by_campaign_and_link,
    a_seller_reads_of_a_full_client_no_more_than_that,
    a_cap_below_its_use_drops_no_call_and_lets_none_in,
);

/// Acme's campaign, and its links to south and north.
async fn ids(traffic: &Traffic) -> (i64, [i64; 2]) {
    let links = traffic.get("admin", "/live/links").await;
    let of = |name: &str| {
        let links = links["items"].as_array().expect("items").iter();
        let mut own = links.filter(|link| link["campaign_name"] == "Solar");
        own.find(|link| link["client"]["name"] == name).cloned().expect("a link")
    };
    let id = |link: &Value| link["link_id"].as_i64().expect("an id");
    let (south, north) = (of("South canary"), of("North"));
    (south["campaign_id"].as_i64().expect("an id"), [id(&south), id(&north)])
}

async fn readiness(traffic: &Traffic, who: &str, campaign: i64) -> Value {
    traffic.get(who, &format!("/campaigns/{campaign}/readiness")).await
}

fn codes(obstacles: &Value) -> Vec<&str> {
    obstacles.as_array().expect("obstacles").iter().map(|one| one["code"].as_str().expect("a code")).collect()
}

/// The obstacles of one link.
fn of_link(readiness: &Value, link: i64) -> &Value {
    let links = readiness["links"].as_array().expect("links");
    links.iter().find(|one| one["link_id"] == link).expect("the link")
}

/// Changes something as admin, and waits until it is in force.
async fn set(traffic: &Traffic, path: &str, change: Value) {
    let (status, body) = traffic.send("admin", Method::PATCH, path, Some(change)).await;
    assert_eq!(status, 200, "{path}: {body:#}");
    traffic.until_in_force().await;
}

async fn what_is_in_the_way_is_told_by_campaign_and_link(site: Site) {
    let traffic = Traffic::on(site).await;
    let (campaign, [south, north]) = ids(&traffic).await;
    let (own, links) = (format!("/campaigns/{campaign}"), format!("/campaigns/{campaign}/links"));
    let ready = readiness(&traffic, "acme", campaign).await;
    no_canary(&ready);
    assert_eq!((&ready["ready"], codes(&ready["obstacles"]).len()), (&json!(true), 0), "{ready:#}");
    assert_eq!(of_link(&ready, south)["client"]["name"], ALIAS);
    for path in [format!("/campaigns/{campaign}/readiness"), "/campaigns/999999/readiness".to_owned()] {
        assert_eq!(traffic.refused("rival", Method::GET, &path, None).await, 404, "{path}");
    }
    set(&traffic, &format!("{links}/{north}"), json!({ "status": "paused", "max_concurrency": 0 })).await;
    let one = readiness(&traffic, "acme", campaign).await;
    assert_eq!((&one["ready"], &of_link(&one, north)["ready"]), (&json!(true), &json!(false)), "south is left");
    assert_eq!(codes(&of_link(&one, north)["obstacles"]), ["link_paused", "link_full"]);
    assert_eq!(of_link(&one, north)["obstacles"][1]["explanation"], "The link is full: 0 of 0 in use.");
    set(&traffic, &format!("{links}/{south}"), json!({ "total_calls_allowed": 0 })).await;
    let none = readiness(&traffic, "staff", campaign).await;
    assert_eq!((&none["ready"], codes(&none["obstacles"])), (&json!(false), vec!["no_ready_link"]));
    assert_eq!(codes(&of_link(&none, south)["obstacles"]), ["total_reached"]);
    let did = traffic.get("acme", "/dids").await["items"][0]["id"].clone();
    set(&traffic, &format!("/dids/{did}"), json!({ "status": "paused" })).await;
    set(&traffic, &own, json!({ "status": "paused", "max_concurrency": 0 })).await;
    let paused = readiness(&traffic, "acme", campaign).await;
    assert_eq!(codes(&paused["obstacles"]), ["campaign_paused", "no_active_did", "no_ready_link"]);
    assert_eq!(codes(&of_link(&paused, south)["obstacles"]), ["total_reached", "campaign_full"]);
    let (status, made) = traffic.send("acme", Method::POST, "/campaigns", Some(json!({ "name": "New" }))).await;
    assert_eq!(status, 201);
    traffic.until_in_force().await;
    let new = readiness(&traffic, "acme", made["id"].as_i64().expect("an id")).await;
    assert_eq!(codes(&new["obstacles"]), ["no_did", "no_link"]);
    set(&traffic, &format!("/campaigns/{}", made["id"]), json!({ "status": "archived" })).await;
    let archived = readiness(&traffic, "acme", made["id"].as_i64().expect("an id")).await;
    assert_eq!(codes(&archived["obstacles"]), ["campaign_archived"]);
    traffic.settle().await;
}

async fn a_seller_reads_of_a_full_client_no_more_than_that(site: Site) {
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::answers(0), Behaviour::answers(0));
    let (campaign, [south, _]) = ids(&traffic).await;
    let foreign = traffic.call(FOREIGN);
    foreign.answered().await;
    let own = readiness(&traffic, "acme", campaign).await;
    no_canary(&own);
    let obstacle = &of_link(&own, south)["obstacles"][0];
    assert_eq!(obstacle["code"], "client_full");
    assert_eq!(obstacle["explanation"], "The client takes no more calls at the moment.");
    let seen = readiness(&traffic, "admin", campaign).await;
    assert_eq!(of_link(&seen, south)["obstacles"][0]["explanation"], "The client is full: 1 of 1 in use.");
    foreign.hang_up();
    traffic.records(1).await;
    traffic.settle().await;
}

async fn a_cap_below_its_use_drops_no_call_and_lets_none_in(site: Site) {
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::busy(), Behaviour::answers(0));
    let (campaign, [_, north]) = ids(&traffic).await;
    let link = format!("/campaigns/{campaign}/links/{north}");
    let talking = [traffic.call(OWN), traffic.call(OWN)];
    for call in &talking {
        call.answered().await;
    }
    set(&traffic, &link, json!({ "max_concurrency": 1 })).await;
    assert_eq!(codes(&of_link(&readiness(&traffic, "acme", campaign).await, north)["obstacles"]), ["link_full"]);
    traffic.call(OWN).ended().await;
    assert!(talking.iter().all(|call| call.end().is_none()), "both go on");
    talking[0].hang_up();
    traffic.records(2).await;
    traffic.call(OWN).ended().await;
    assert!(talking[1].end().is_none(), "it is still full, by the one that is left");
    talking[1].hang_up();
    traffic.records(4).await;
    let next = traffic.call(OWN);
    next.answered().await;
    next.hang_up();
    let records = traffic.records(5).await;
    assert_eq!(records.iter().filter(|call| call.answered_at.is_some()).count(), 3);
    traffic.settle().await;
}
