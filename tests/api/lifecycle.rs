//! "Status and lifecycle" of the issue, sentence by sentence.

use capconduit::auth::principal::Actor;
use capconduit::clock::Clock;
use capconduit::plan::UserStatus;
use capconduit::store::users::{self, Changes, UserError};
use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::fake_ari::Behaviour;
use crate::on_both_databases;
use crate::site::{Database, PASSWORD, Site};
use crate::traffic::{FOREIGN, OWN, Traffic};

on_both_databases!(
    pausing_stops_new_attempts_and_ends_no_call,
    what_is_archived_is_read_only_and_hidden,
    what_is_referred_to_is_not_deleted_and_says_by_what,
    records_keep_names_and_stay_with_their_seller,
    stopping_a_sellers_routing_pauses_each_campaign_as_if_by_itself,
    a_seller_that_apply_disables_loses_its_sessions,
);

/// The objects of acme in the traffic plan, as paths.
struct Objects {
    did: String,
    campaign: String,
    links: [String; 2],
    clients: [String; 2],
}

fn id(page: &Value, field: &str, value: &str) -> i64 {
    let items = page["items"].as_array().expect("items");
    let found = items.iter().find(|item| item[field] == value).unwrap_or_else(|| panic!("{value} in {page:#}"));
    found["id"].as_i64().expect("an id")
}

async fn objects(traffic: &Traffic) -> Objects {
    let campaign = format!("/campaigns/{}", id(&traffic.get("admin", "/campaigns").await, "name", "Solar"));
    let links = traffic.get("admin", &format!("{campaign}/links")).await;
    let path = |index: usize| format!("{campaign}/links/{}", links["items"][index]["id"]);
    let clients = traffic.get("admin", "/clients").await;
    let client = |name: &str| format!("/clients/{}", id(&clients, "client_identifier", name));
    Objects {
        did: format!("/dids/{}", id(&traffic.get("admin", "/dids").await, "number", OWN)),
        links: [path(0), path(1)],
        clients: [client("north-canary"), client("south-canary")],
        campaign,
    }
}

async fn patch(traffic: &Traffic, path: &str, change: Value) -> Value {
    let (status, body) = traffic.send("admin", Method::PATCH, path, Some(change)).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn pausing_stops_new_attempts_and_ends_no_call(site: Site) {
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::busy(), Behaviour::answers(0));
    let of = objects(&traffic).await;
    let talking = traffic.call(OWN);
    talking.answered().await;
    let cases: [(&[&str], &str); 4] = [
        (&[&of.did], "unknown_did"),
        (&[&of.campaign], "inactive_campaign"),
        (&[&of.links[0], &of.links[1]], "no_active_link"),
        (&[&of.clients[0], &of.clients[1]], "no_active_link"),
    ];
    for (count, (paths, ending)) in cases.iter().enumerate() {
        for path in *paths {
            assert_eq!(patch(&traffic, path, json!({ "status": "paused" })).await["status"], "paused");
        }
        traffic.until_in_force().await;
        traffic.call(OWN).ended().await;
        let record = traffic.records(count + 1).await.pop().expect("one");
        assert_eq!((record.ending.as_str(), record.attempts.len()), (*ending, 0), "{paths:?}");
        assert_eq!(traffic.get("acme", "/live/calls").await["items"][0]["state"], "talking", "{paths:?}");
        for path in *paths {
            patch(&traffic, path, json!({ "status": "active" })).await;
        }
        traffic.until_in_force().await;
    }
    talking.hang_up();
    let records = traffic.records(cases.len() + 1).await;
    assert!(records.iter().any(|record| record.ending == "completed"));
    traffic.settle().await;
}

async fn what_is_archived_is_read_only_and_hidden(site: Site) {
    let (admin, acme) = (site.as_admin().await, site.as_seller("acme").await);
    let sip = json!({ "host": "203.0.113.7" });
    let client = json!({ "client_identifier": "north", "name": "North", "sip": sip });
    let client = admin.post("/clients", client).await.expect(201)["id"].clone();
    let did = acme.post("/dids", json!({ "number": OWN })).await.expect(201)["id"].clone();
    let campaign = acme.post("/campaigns", json!({ "name": "Solar" })).await.expect(201)["id"].clone();
    let (campaigns, links) = ("/campaigns".to_owned(), format!("/campaigns/{campaign}/links"));
    let link = json!({ "client_id": client, "max_concurrency": 1 });
    let link = acme.post(&links, link.clone()).await.expect(201)["id"].clone();
    // A client is held by its link, so the link goes first.
    let (client_path, seller) = (format!("/clients/{client}"), acme.get("/auth/me").await.expect(200));
    let told = admin.patch(&client_path, json!({ "status": "archived" })).await.refused(409, "in_use");
    assert!(told["detail"].as_str().is_some_and(|detail| detail.contains("1 link")), "{told}");
    let cases: [(&Caller, &str, &Value, Value); 4] = [
        (&acme, &links, &link, json!({ "weight": 2 })),
        (&admin, "/clients", &client, json!({ "name": "South" })),
        (&acme, &campaigns, &campaign, json!({ "name": "Wind" })),
        (&admin, "/dids", &did, json!({ "seller_id": seller["user"]["id"] })),
    ];
    for (caller, list, id, change) in &cases {
        let path = format!("{list}/{id}");
        assert_eq!(caller.patch(&path, json!({ "status": "archived" })).await.expect(200)["status"], "archived");
        assert_eq!(caller.get(list).await.expect(200)["items"], json!([]), "{list} hides it");
        let archived = caller.get(&format!("{list}?status=archived")).await.expect(200);
        assert_eq!(archived["items"][0]["id"], **id, "{list} shows it to who asks");
        if *list != "/dids" {
            caller.patch(&path, change.clone()).await.refused(409, "archived");
        }
    }
    // Nor what belongs to it.
    let put = async |caller: &Caller, path: String| caller.send(Method::PUT, &path, |request| request).await;
    put(&acme, format!("/campaigns/{campaign}/dids/{did}")).await.refused(409, "archived");
    put(&admin, format!("{client_path}/sellers/{}", seller["user"]["id"])).await.refused(409, "archived");
    acme.patch(&format!("{links}/{link}"), json!({ "status": "paused" })).await.refused(409, "archived");
    // It comes back by its status, together with other changes.
    let back = acme.patch(&format!("/campaigns/{campaign}"), json!({ "status": "paused", "name": "Wind" })).await;
    assert_eq!(back.expect(200)["name"], "Wind");
    // A link is not brought back to an archived client, and an archived DID feeds nothing.
    acme.patch(&format!("{links}/{link}"), json!({ "status": "paused" })).await.refused(409, "archived");
    put(&acme, format!("/campaigns/{campaign}/dids/{did}")).await.refused(409, "archived");
    acme.patch(&format!("/dids/{did}"), json!({ "status": "active" })).await.expect(200);
    put(&acme, format!("/campaigns/{campaign}/dids/{did}")).await.expect(204);
    site.settle().await;
}

async fn what_is_referred_to_is_not_deleted_and_says_by_what(site: Site) {
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::busy(), Behaviour::answers(0).hanging_up_after(50));
    let of = objects(&traffic).await;
    let refused = async |path: &str, by: &[&str]| {
        let (status, body) = traffic.send("admin", Method::DELETE, path, None).await;
        assert_eq!((status, &body["code"]), (409, &json!("in_use")), "{path}: {body}");
        let detail = body["detail"].as_str().expect("a sentence");
        assert!(by.iter().all(|by| detail.contains(by)), "{path}: {detail}");
    };
    refused(&of.did, &["1 campaign"]).await;
    refused(&of.campaign, &["2 links", "1 DID"]).await;
    refused(&of.clients[1], &["2 links"]).await;
    traffic.call(OWN).ended().await;
    traffic.records(1).await;
    refused(&of.did, &["1 campaign", "records of calls"]).await;
    refused(&of.campaign, &["2 links", "1 DID", "records of calls"]).await;
    refused(&of.clients[0], &["1 link", "records of calls"]).await;
    let counted: Vec<_> = [0, 1].into_iter().map(|index| &of.links[index]).collect();
    for path in counted {
        refused(path, &["records of calls"]).await;
    }
    traffic.settle().await;
}

async fn records_keep_names_and_stay_with_their_seller(site: Site) {
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::busy(), Behaviour::answers(0).hanging_up_after(50));
    let of = objects(&traffic).await;
    traffic.call(OWN).ended().await;
    traffic.records(1).await;
    let before = traffic.get("staff", "/calls").await;
    let call = before["items"][0].clone();
    assert_eq!((&call["campaign_name"], &call["client"]["name"]), (&json!("Solar"), &json!("North")));
    let (acme, rival) = (traffic.users["acme"], traffic.users["rival"]);
    let admin = traffic.site.as_admin().await;
    for (path, change) in [
        (&of.campaign, json!({ "name": "Renamed" })),
        (&of.clients[0], json!({ "name": "Renamed" })),
        (&format!("/users/{acme}"), json!({ "name": "Renamed" })),
    ] {
        admin.patch(path, change).await.expect(200);
    }
    // A DID changes hands only while no campaign has it.
    let sell = json!({ "seller_id": rival.0 });
    for who in ["admin", "staff"] {
        let (status, body) = traffic.send(who, Method::PATCH, &of.did, Some(sell.clone())).await;
        assert_eq!((status, &body["code"]), (409, &json!("in_use")), "{body}");
    }
    let did = of.did.strip_prefix("/dids/").expect("an id");
    let tie = format!("{}/dids/{did}", of.campaign);
    assert_eq!(traffic.send("acme", Method::DELETE, &tie, None).await.0, 204);
    assert_eq!(traffic.send("staff", Method::PATCH, &of.did, Some(sell)).await.1["seller_id"], rival.0);
    assert_eq!(traffic.get("staff", "/calls").await, before, "nothing of the record has changed");
    assert_eq!(traffic.get("acme", "/calls").await["items"][0]["call_id"], call["call_id"]);
    for query in ["".to_owned(), format!("?did_id={did}"), format!("?did={OWN}").replace('+', "%2B")] {
        assert_eq!(traffic.get("rival", &format!("/calls{query}")).await["items"], json!([]), "{query}");
    }
    assert_eq!(traffic.get("rival", "/dids").await["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(traffic.refused("acme", Method::GET, &of.did, None).await, 404);
    let path = format!("/calls/{}", call["call_id"].as_str().expect("an id"));
    assert_eq!(traffic.refused("rival", Method::GET, &path, None).await, 404);
    traffic.settle().await;
}

async fn stopping_a_sellers_routing_pauses_each_campaign_as_if_by_itself(site: Site) {
    let traffic = Traffic::on(site).await;
    let admin = traffic.site.as_admin().await;
    let of = objects(&traffic).await;
    let before = admin.get(&of.campaign).await.expect(200);
    let path = format!("/users/{}", traffic.users["acme"]);
    // Whoever asks, and whatever it believed the user to be, must say.
    let unsaid = Changes { status: Some(UserStatus::Disabled), ..Changes::default() };
    let (who, now) = (traffic.users["acme"], Clock::start().now().wall);
    let refused = users::update(&traffic.site.db, Actor::System("cli"), who, unsaid, now).await;
    assert!(matches!(refused, Err(UserError::RoutingUnsaid)), "{refused:?}");
    admin.patch(&path, json!({ "status": "disabled", "stop_routing": true })).await.expect(200);
    let after = admin.get(&of.campaign).await.expect(200);
    assert_eq!(
        (&after["status"], &after["version"]),
        (&json!("paused"), &json!(before["version"].as_i64().expect("a number") + 1))
    );
    // Whoever has read it before does not overwrite that.
    let stale = |request: reqwest::RequestBuilder| {
        request.header("If-Match", format!("\"{}\"", before["version"])).json(&json!({ "status": "active" }))
    };
    admin.send(Method::PATCH, &of.campaign, stale).await.refused(412, "stale");
    let object = of.campaign.replace("/campaigns/", "campaign:");
    let lines = admin.get(&format!("/audit?object={object}")).await.expect(200);
    let line = &lines["items"][0];
    assert_eq!(
        (&line["action"], &line["actor"], &line["address"]),
        (&json!("campaign.update"), &json!("admin"), &json!("127.0.0.1"))
    );
    assert_eq!((&line["before"]["status"], &line["after"]["status"]), (&json!("active"), &json!("paused")));
    assert_eq!(line["after"]["version"], after["version"]);
    // The rival's goes on.
    traffic.clients(Behaviour::answers(0), Behaviour::answers(0));
    traffic.until_in_force().await;
    traffic.call(OWN).ended().await;
    let foreign = traffic.call(FOREIGN);
    foreign.answered().await;
    foreign.hang_up();
    let endings: Vec<_> = traffic.records(2).await.into_iter().map(|record| record.ending).collect();
    assert_eq!(endings, ["inactive_campaign", "completed"]);
    traffic.settle().await;
}

async fn a_seller_that_apply_disables_loses_its_sessions(site: Site) {
    let plan = |status: &str| format!("[[sellers]]\nusername = \"acme\"\nname = \"Acme\"\nstatus = \"{status}\"\n");
    site.apply(&plan("active")).await;
    let (admin, acme) = (site.as_admin().await, site.as_seller("acme").await);
    let path = format!("/users/{}", acme.get("/auth/me").await.expect(200)["user"]["id"]);
    let version = async || admin.get(&path).await.expect(200)["version"].as_i64().expect("a number");
    let first = version().await;
    site.apply(&plan("disabled")).await;
    assert_eq!(version().await, first + 1);
    site.apply(&plan("active")).await;
    assert_eq!(version().await, first + 2);
    acme.get("/auth/me").await.refused(401, "credential");
    // Left out of the plan it is disabled too (records or campaigns would keep it), or gone.
    let acme = site.as_user("acme").await;
    site.apply("").await;
    acme.get("/auth/me").await.refused(401, "credential");
    site.as_nobody()
        .post("/auth/login", json!({ "username": "acme", "password": PASSWORD }))
        .await
        .refused(401, "credentials");
    site.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_sellers_may_not_make_dids_staff_do() {
    let site = Site::start_with(Database::Sqlite, |config| config.policy.sellers_may_create_dids = false).await;
    let (acme, staff) = (site.as_seller("acme").await, site.as_staff().await);
    let did = json!({ "number": OWN });
    acme.post("/dids", did.clone()).await.refused(403, "sellers_create_no_dids");
    acme.post("/dids/bulk", json!({ "items": [did] })).await.refused(403, "sellers_create_no_dids");
    let seller = acme.get("/auth/me").await.expect(200)["user"]["id"].clone();
    let made = staff.post("/dids", json!({ "number": OWN, "seller_id": seller })).await.expect(201);
    assert_eq!(acme.get("/dids").await.expect(200)["items"][0]["id"], made["id"]);
    acme.patch(&format!("/dids/{}", made["id"]), json!({ "status": "paused" })).await.expect(200);
    site.settle().await;
}
