//! Live calls, the use of caps, and hanging up.

use reqwest::Method;
use serde_json::{Value, json};

use crate::fake_ari::{Behaviour, FakeCall};
use crate::on_both_databases;
use crate::site::Site;
use crate::traffic::{ALIAS, FOREIGN, OWN, Traffic, no_canary};

on_both_databases!(live_calls_and_caps_are_shown_by_right, an_operator_hangs_up_what_it_may_see);

/// A call of each seller, both talking: acme's with north, because the rival's has the only place at south.
async fn talking(site: Site) -> (Traffic, FakeCall, FakeCall) {
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::answers(0), Behaviour::answers(0));
    let foreign = traffic.call(FOREIGN);
    foreign.answered().await;
    let own = traffic.call(OWN);
    own.answered().await;
    // Asterisk answers the caller by itself; the controller learns of it a moment later.
    let all_talk = async {
        loop {
            let calls = traffic.get("admin", "/live/calls").await;
            let calls = calls["items"].as_array().expect("items");
            if calls.len() == 2 && calls.iter().all(|call| call["state"] == "talking") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::patience::PATIENCE, all_talk).await.expect("both talk");
    (traffic, own, foreign)
}

async fn live_calls_and_caps_are_shown_by_right(site: Site) {
    let (traffic, own, foreign) = talking(site).await;
    let all = traffic.get("staff", "/live/calls?limit=1").await;
    assert_eq!(all["items"][0]["did"], OWN, "the newest comes first");
    assert_eq!(all["items"][0]["attempt"]["client"]["client_identifier"], "north-canary");
    let cursor = all["next_cursor"].as_str().expect("there is another");
    let next = traffic.get("staff", &format!("/live/calls?limit=1&cursor={cursor}")).await;
    assert_eq!((&next["items"][0]["did"], &next["next_cursor"]), (&json!(FOREIGN), &Value::Null));
    let mine = traffic.get("acme", "/live/calls").await;
    no_canary(&mine);
    assert_eq!(mine["items"].as_array().map(Vec::len), Some(1));
    let call = &mine["items"][0];
    assert!(call["age_ms"].as_u64() >= call["talk_ms"].as_u64(), "{call:#}");
    assert_eq!((&call["seller_name"], &call["attempt"]["client"]["name"]), (&json!("Acme"), &json!("North")));

    let links = traffic.get("acme", "/live/links").await;
    no_canary(&links);
    let [north, south] = links["items"].as_array().expect("items").as_slice() else { panic!("two links: {links:#}") };
    assert_eq!((&south["client"]["name"], &south["used"], &south["limit"]), (&json!(ALIAS), &json!(0), &json!(7)));
    assert_eq!((&south["client_used"], &south["client_limit"]), (&Value::Null, &Value::Null));
    assert_eq!((&north["used"], &north["limit"], &north["campaign_used"]), (&json!(1), &Value::Null, &json!(1)));
    let links = traffic.get("admin", "/live/links").await;
    assert_eq!(links["items"].as_array().map(Vec::len), Some(3));
    assert_eq!((&links["items"][1]["client_used"], &links["items"][1]["client_limit"]), (&json!(1), &json!(1)));

    own.hang_up();
    foreign.hang_up();
    // Why south was passed over is told without the figures of the rival's call.
    traffic.records(2).await;
    let call = traffic.get("acme", "/calls").await["items"][0]["call_id"].clone();
    let detail = traffic.get("acme", &format!("/calls/{}", call.as_str().expect("an id"))).await;
    no_canary(&detail);
    let south = &detail["decision"]["links"][1];
    assert_eq!(south["verdict"], "client_full");
    assert_eq!(south["explanation"], "The client takes no more calls at the moment.");
    traffic.settle().await;
}

async fn an_operator_hangs_up_what_it_may_see(site: Site) {
    let (traffic, own, foreign) = talking(site).await;
    let id_of = async |did: &str| {
        let calls = traffic.get("admin", "/live/calls").await;
        let found = calls["items"].as_array().expect("items").iter().find(|call| call["did"] == did).cloned();
        found.expect("it is live")["call_id"].as_str().expect("an id").to_owned()
    };
    let (own_id, foreign_id) = (id_of(OWN).await, id_of(FOREIGN).await);
    for absent in [foreign_id.as_str(), "00000000-0000-8000-8000-000000000000", "nonsense"] {
        let path = format!("/live/calls/{absent}");
        assert_eq!(traffic.refused("acme", Method::DELETE, &path, None).await, 404, "{absent}");
    }
    for (who, id, call) in [("acme", &own_id, &own), ("staff", &foreign_id, &foreign)] {
        let path = format!("/live/calls/{id}");
        assert_eq!(traffic.send(who, Method::DELETE, &path, None).await.0, 202);
        call.ended().await;
    }
    for record in traffic.records(2).await {
        assert_eq!((record.ending.as_str(), record.hung_up_by.as_str()), ("operator", "system"));
        assert!(record.answered_at.is_some() && record.sip_code == Some(200));
    }
    assert_eq!(traffic.refused("admin", Method::DELETE, &format!("/live/calls/{own_id}"), None).await, 404);
    traffic.settle().await;
}
