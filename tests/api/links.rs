//! Links: made paused, with a cap, to clients that the seller may use.

use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::site::Site;

async fn client(admin: &Caller, identifier: &str, access: &str) -> Value {
    let sip = json!({ "host": "203.0.113.7" });
    let body = json!({ "client_identifier": identifier, "name": identifier, "sip": sip, "access": access });
    admin.post("/clients", body).await.expect(201)["id"].clone()
}

async fn a_link_is_made_paused_with_a_cap_that_must_be_said(site: Site) {
    let (admin, acme) = (site.as_admin().await, site.as_seller("acme").await);
    let client = client(&admin, "north", "all").await;
    let campaign = acme.post("/campaigns", json!({ "name": "Solar" })).await.expect(201)["id"].clone();
    let links = format!("/campaigns/{campaign}/links");
    assert_eq!(acme.post(&links, json!({ "client_id": client })).await.wrong_fields(), ["max_concurrency"]);
    for (field, value) in [
        ("weight", json!(0)),
        ("weight", json!(10_001)),
        ("ring_timeout_seconds", json!(601)),
        ("total_calls_allowed", json!(-1)),
        ("forwarding_priority", json!(2_147_483_648_i64)),
        ("count_on", json!("ringing")),
        ("current_total_calls", json!(0)),
    ] {
        let mut body = json!({ "client_id": client, "max_concurrency": 2 });
        body[field] = value.clone();
        assert_eq!(acme.post(&links, body).await.wrong_fields(), [field], "{value}");
    }
    let body = json!({ "client_id": client, "max_concurrency": null });
    let made = acme.post(&links, body.clone()).await.expect(201);
    let wanted = json!({
        "id": made["id"], "campaign_id": campaign, "client_id": client, "client_name": "north",
        "client_withdrawn": false, "max_concurrency": null, "counted_since": null,
        "total_calls_allowed": null, "current_total_calls": 0, "forwarding_priority": 1, "weight": 1,
        "ring_timeout_seconds": null, "count_on": "answered", "status": "paused", "version": 1,
    });
    assert_eq!(made, wanted);
    acme.post(&links, body).await.refused(409, "link_exists");
    let path = format!("{links}/{}", made["id"]);
    let active = acme.patch(&path, json!({ "status": "active", "max_concurrency": 0 })).await.expect(200);
    assert_eq!(
        (&active["status"], &active["max_concurrency"], &active["version"]),
        (&json!("active"), &json!(0), &json!(2))
    );
    assert_eq!(acme.get(&links).await.expect(200)["items"], json!([active]));
    let stale = |request: reqwest::RequestBuilder| request.header("If-Match", "\"1\"");
    acme.send(Method::DELETE, &path, stale).await.refused(412, "stale");
    admin.patch(&format!("/clients/{client}"), json!({ "status": "archived" })).await.refused(409, "in_use");
    acme.delete(&path).await.expect(204);
    acme.get(&path).await.refused(404, "not_found");
    site.settle().await;
}

async fn a_withdrawn_clients_state_is_not_told_by_a_link(site: Site) {
    let (admin, acme) = (site.as_admin().await, site.as_seller("acme").await);
    let (client, alive) = (client(&admin, "north", "all").await, client(&admin, "south", "all").await);
    let campaign = acme.post("/campaigns", json!({ "name": "Solar" })).await.expect(201)["id"].clone();
    let links = format!("/campaigns/{campaign}/links");
    for client in [&client, &alive] {
        let made = acme.post(&links, json!({ "client_id": client, "max_concurrency": 2 })).await.expect(201);
        let path = format!("{links}/{}", made["id"]);
        acme.patch(&path, json!({ "status": "archived" })).await.expect(200);
        admin.patch(&format!("/clients/{client}"), json!({ "access": "selected" })).await.expect(200);
    }
    // One of them is archived, the other is not: to the seller neither is there, whether it makes a link or brings one back.
    admin.patch(&format!("/clients/{client}"), json!({ "status": "archived" })).await.expect(200);
    let listed = acme.get(&format!("{links}?status=archived")).await.expect(200);
    let mut answers = Vec::new();
    for link in listed["items"].as_array().expect("links") {
        let revived = acme.patch(&format!("{links}/{}", link["id"]), json!({ "status": "paused" })).await;
        answers.push(revived.refused(404, "not_found"));
    }
    for client in [&client, &alive, &json!(999_999)] {
        let body = json!({ "client_id": client, "max_concurrency": 2 });
        answers.push(acme.post(&links, body).await.refused(404, "not_found"));
    }
    assert!(answers.len() == 5 && answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    site.settle().await;
}

async fn what_is_not_visible_is_not_there_in_path_and_body(site: Site) {
    let (admin, staff) = (site.as_admin().await, site.as_staff().await);
    let (acme, other) = (site.as_seller("acme").await, site.as_seller("other").await);
    let (open, closed) = (client(&admin, "open", "all").await, client(&admin, "closed", "selected").await);
    let campaign = acme.post("/campaigns", json!({ "name": "Solar" })).await.expect(201);
    let links = format!("/campaigns/{}/links", campaign["id"]);
    let body = |client: &Value| json!({ "client_id": client, "max_concurrency": 1 });
    // A client that is not for the seller, whoever asks, and one that does not exist.
    let hidden = acme.post(&links, body(&closed)).await;
    hidden.refused(404, "not_found");
    assert_eq!(acme.post(&links, body(&json!(999_999))).await.text, hidden.text);
    admin.post(&links, body(&closed)).await.refused(404, "not_found");
    let named = format!("/clients/{closed}/sellers/{}", campaign["seller_id"]);
    staff.send(Method::PUT, &named, |request| request).await.expect(204);
    let made = acme.post(&links, body(&closed)).await.expect(201);
    assert_eq!(made["client_name"], json!("closed"));
    let path = format!("{links}/{}", made["id"]);
    staff.delete(&named).await.expect(204);
    for (who, name) in [(&acme, json!(null)), (&staff, json!("closed"))] {
        let link = who.get(&path).await.expect(200);
        assert_eq!((&link["client_name"], &link["client_withdrawn"]), (&name, &json!(true)), "revoked");
    }

    let own = other.post("/campaigns", json!({ "name": "Wind" })).await.expect(201)["id"].clone();
    for refused in [
        other.get(&links).await,
        other.post(&links, body(&open)).await,
        other.get(&path).await,
        other.patch(&path, json!({ "weight": 2 })).await,
        other.delete(&path).await,
        other.get(&format!("/campaigns/{own}/links/{}", made["id"])).await,
        other.patch(&format!("/campaigns/{own}/links/{}", made["id"]), json!({ "weight": 2 })).await,
    ] {
        refused.refused(404, "not_found");
    }
    staff.post(&links, body(&open)).await.refused(403, "role");
    staff.delete(&path).await.refused(403, "role");
    assert_eq!(staff.patch(&path, json!({ "weight": 2 })).await.wrong_fields(), ["weight"]);
    assert_eq!(staff.patch(&path, json!({ "status": "active" })).await.expect(200)["status"], json!("active"));
    site.settle().await;
}

crate::on_both_databases!(
    a_withdrawn_clients_state_is_not_told_by_a_link,
    a_link_is_made_paused_with_a_cap_that_must_be_said,
    what_is_not_visible_is_not_there_in_path_and_body,
);
