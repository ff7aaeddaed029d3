//! Sets a site up over its API, as its people would: the admin makes the seller and the call centres, the seller its DIDs, campaigns
//! and links. What they make is written down in `plan.toml`.

use std::collections::HashMap;

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::harness::LIMIT;

use super::harness::controller::Controller;
use super::harness::person::{ADMIN_PASSWORD, Person};

/// Of every seller; the demo lives on loopback and as long as its folder.
pub(crate) const SELLER_PASSWORD: &str = "quiet harbour at noon";

/// What was made of a kind, by name.
type Ids = HashMap<String, i64>;

/// Makes everything of the plan, and returns when routing knows it.
pub(crate) async fn set_up(controller: &Controller, plan: &str) {
    let plan: Value = toml::from_str(plan).expect("plan.toml is TOML");
    let admin = Person::log_in(controller.api(), "admin", ADMIN_PASSWORD).await;
    let clients = make_clients(&admin, &plan).await;
    println!("  set up      over the API, by admin: {}", counted(&plan, &["sellers", "clients"]));
    for seller in list(&plan, "sellers") {
        let (username, first) = (text(seller, "username"), "changed at the first log-in");
        let new = json!({ "username": username, "name": seller["name"], "role": "seller", "password": first });
        admin.make("/users", new).await;
        let session = Person::log_in_first(controller.api(), username, first, SELLER_PASSWORD).await;
        make_campaigns(&session, &plan, username, &clients).await;
        println!("              over the API, by the seller {username}: {}", counted(&plan, &["dids", "campaigns"]));
        until_routed(&session, &plan).await;
    }
}

/// `7 clients, 3 dids`.
fn counted(plan: &Value, kinds: &[&str]) -> String {
    let part = |kind: &&str| match list(plan, kind).len() {
        1 => format!("1 {}", kind.trim_end_matches('s')),
        n => format!("{n} {kind}"),
    };
    kinds.iter().map(part).collect::<Vec<_>>().join(", ").replace("dids", "DIDs")
}

async fn make_clients(admin: &Person, plan: &Value) -> Ids {
    let mut ids = Ids::new();
    for client in list(plan, "clients") {
        let mut new = client.as_object().cloned().unwrap_or_default();
        let identifier = new.remove("identifier").unwrap_or_default();
        new.insert("client_identifier".to_owned(), identifier.clone());
        let made = admin.make("/clients", Value::Object(new)).await;
        ids.insert(identifier.as_str().unwrap_or_default().to_owned(), id(&made));
    }
    ids
}

async fn make_campaigns(seller: &Person, plan: &Value, username: &str, clients: &Ids) {
    let mut dids = Ids::new();
    for did in list(plan, "dids").iter().filter(|did| did["seller"] == username) {
        let made = seller.make("/dids", json!({ "number": did["number"] })).await;
        dids.insert(text(did, "number").to_owned(), id(&made));
    }
    for campaign in list(plan, "campaigns").iter().filter(|campaign| campaign["seller"] == username) {
        let made = seller.make("/campaigns", without(campaign, &["seller", "dids", "links"])).await;
        let path = format!("/campaigns/{}", id(&made));
        for number in list(campaign, "dids") {
            seller.does(Method::PUT, &format!("{path}/dids/{}", dids[number.as_str().unwrap_or_default()]), None).await;
        }
        for link in list(campaign, "links") {
            let mut new =
                json!({ "client_id": clients[text(link, "client")], "max_concurrency": null, "status": "active" });
            if let (Some(new), Value::Object(said)) = (new.as_object_mut(), without(link, &["client"])) {
                new.extend(said);
            }
            seller.make(&format!("{path}/links"), new).await;
        }
    }
}

/// Waits until a call to any of the plan's numbers would find a call centre: a change counts within a second.
async fn until_routed(seller: &Person, plan: &Value) {
    let routed = tokio::time::timeout(LIMIT, async {
        for did in list(plan, "dids") {
            let call = json!({ "did": did["number"] });
            // 404 until the DID itself is known there.
            while list(&seller.send(Method::POST, "/route", Some(call.clone())).await.1, "candidates").is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    });
    assert!(routed.await.is_ok(), "after {LIMIT:?} routing does not know what the API took");
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

fn id(made: &Value) -> i64 {
    made["id"].as_i64().expect("what is made has an id")
}

fn without(of: &Value, keys: &[&str]) -> Value {
    let all = of.as_object().into_iter().flatten();
    let kept = all.filter(|(key, _)| !keys.contains(&key.as_str())).map(|(key, value)| (key.clone(), value.clone()));
    Value::Object(kept.collect::<Map<_, _>>())
}
