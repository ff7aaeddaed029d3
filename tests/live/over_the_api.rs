//! Everything made over the API, by those who do so in life: calls go there, with no reload and no restart.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::harness::LIMIT;
use crate::harness::person::{ADMIN_PASSWORD, Person};
use crate::harness::plan::Plan;
use crate::harness::sipp::{carrier, centre};
use crate::harness::site::{Backend, Preparation, Site};
use crate::harness::trace::Dialog;

crate::on_both!(a_new_client_takes_calls_at_once_and_its_seller_reads_why);

const DID: &str = "+442079460001";
const PASSWORDS: [&str; 2] = ["lantern mule saves orange", "copper window nine ducks"];

async fn a_new_client_takes_calls_at_once_and_its_seller_reads_why(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer()).await;
    // Somebody else's plan, which names nothing of what follows.
    let site = site.start(&Plan::new()).await;
    let admin = Person::log_in(site.controller.api(), "admin", ADMIN_PASSWORD).await;
    let seller = new_seller(&site, &admin).await;
    let did = seller.make("/dids", json!({"number": DID})).await;
    let campaign = seller.make("/campaigns", json!({"name": "Solar"})).await;
    let tied = format!("/campaigns/{}/dids/{}", campaign["id"], did["id"]);
    assert!(seller.send(Method::PUT, &tied, None).await.0 < 300, "the DID feeds the campaign");

    let sip = json!({"host": alpha.ip, "port": alpha.port});
    let client =
        admin.make("/clients", json!({"client_identifier": "alpha", "name": "Centre alpha", "sip": sip})).await;
    let links = format!("/campaigns/{}/links", campaign["id"]);
    let link = seller.make(&links, json!({"client_id": client["id"], "max_concurrency": 20})).await;
    let path = format!("{links}/{}", link["id"]);
    let (status, link) = seller.send(Method::PATCH, &path, Some(json!({"status": "active"}))).await;
    assert_eq!((status, &link["status"]), (200, &json!("active")));

    // A caller who tries again and again, until a call gets through: without a restart there is nothing to wait for but that.
    let scenario = carrier::call().set("did", DID).set("talk_ms", 400);
    let tries = async {
        for n in 0.. {
            let call = site.call(&format!("try-{n}"), &scenario).await;
            if call.outcome() == Some(200) {
                return call;
            }
        }
        unreachable!("it is tried for ever")
    };
    let first = timeout(LIMIT, tries).await.expect("a call reaches the client");
    let mut calls = site.begin("caller", &scenario, 15, 10).finish(LIMIT).await;
    assert!(calls.iter().all(|call| call.outcome() == Some(200)), "from then on all are routed: {calls:?}");
    calls.insert(0, first);
    reads_its_call(&seller, &calls, [&did["id"], &campaign["id"], &link["id"]], &client["id"]).await;
    site.finish().await;
}

/// A seller made by the admin, with the password that it chose at its first log-in.
async fn new_seller(site: &Site, admin: &Person) -> Person {
    let user = json!({"username": "bright", "name": "Bright Leads", "role": "seller", "password": PASSWORDS[0]});
    admin.make("/users", user).await;
    let first = Person::log_in(site.controller.api(), "bright", PASSWORDS[0]).await;
    let change = json!({"current_password": PASSWORDS[0], "new_password": PASSWORDS[1]});
    assert!(first.send(Method::POST, "/auth/password", Some(change)).await.0 < 300, "the seller chose a password");
    Person::log_in(site.controller.api(), "bright", PASSWORDS[1]).await
}

/// The record, the decision and the summary, as the seller reads them.
async fn reads_its_call(seller: &Person, calls: &[Dialog], [did, campaign, link]: [&Value; 3], client: &Value) {
    let mut page = Value::Null;
    let answered = calls.iter().filter(|call| call.outcome() == Some(200)).count();
    let found = async {
        while page["items"].as_array().is_none_or(|items| items.len() < answered) {
            sleep(Duration::from_millis(50)).await;
            page = seller.read(&format!("/calls?answered=true&link_id={link}")).await;
        }
    };
    assert!(timeout(LIMIT, found).await.is_ok(), "each call has its record: {page:#}");
    // The newest comes first: the first that was answered is the last.
    let id = page["items"][answered - 1]["call_id"].as_str().expect("a call has an id").to_owned();
    let record = seller.read(&format!("/calls/{id}")).await;
    let call = calls.iter().find(|call| call.outcome() == Some(200)).expect("one is answered");
    assert_eq!(record["sip_call_id"], call.call_id, "{record:#}");
    for (field, expected) in [
        ("did_id", did),
        ("campaign_id", campaign),
        ("link_id", link),
        ("did", &json!(DID)),
        ("ending", &json!("completed")),
    ] {
        assert_eq!(&record[field], expected, "{field}: {record:#}");
    }
    assert_eq!(record["attempts"][0]["outcome"], "answered");
    assert_eq!(&record["client"]["id"], client);
    assert_eq!(record["client"]["client_identifier"], Value::Null, "its endpoint is not for sellers");
    assert_eq!(&record["decision"]["candidates"], &json!([link]));
    assert_eq!(record["decision"]["links"][0]["verdict"], "candidate");
    let summary = seller.read("/calls/summary?group_by=link&time_zone=Europe/London").await;
    let group = summary["groups"].as_array().into_iter().flatten().find(|group| &group["id"] == link);
    assert_eq!(group.expect("the link has its place")["figures"]["answered"], answered, "{summary:#}");
}
