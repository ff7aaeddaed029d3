//! Campaigns: own and foreign, and the DIDs that feed them.

use capconduit::auth::roles::Role;
use reqwest::Method;
use serde_json::json;

use crate::site::Site;

async fn sellers_manage_their_own_and_do_not_see_others(site: Site) {
    let (acme, other) = (site.as_seller("acme").await, site.as_seller("other").await);
    let made = acme.post("/campaigns", json!({ "name": "canary", "max_concurrency": 5 })).await.expect(201);
    let path = format!("/campaigns/{}", made["id"]);
    assert_eq!(
        (&made["routing_strategy"], &made["dial_timeout_seconds"], &made["status"], &made["version"]),
        (&json!("priority"), &json!(20), &json!("active"), &json!(1))
    );
    let did = acme.post("/dids", json!({ "number": "+442071234567" })).await.expect(201);
    let tie = format!("{path}/dids/{}", did["id"]);
    acme.send(Method::PUT, &tie, |request| request).await.expect(204);
    acme.send(Method::PUT, &tie, |request| request).await.expect(204);
    let dids = acme.get(&format!("{path}/dids")).await.expect(200);
    assert_eq!((&dids["items"][0]["id"], &dids["items"][0]["campaign_ids"]), (&did["id"], &json!([made["id"]])));
    for refused in [
        other.get(&path).await,
        other.patch(&path, json!({ "name": "mine" })).await,
        other.delete(&path).await,
        other.get(&format!("{path}/dids")).await,
        other.send(Method::PUT, &tie, |request| request).await,
        other.delete(&tie).await,
    ] {
        refused.refused(404, "not_found");
        assert!(!refused.text.contains("canary"), "{}", refused.text);
    }
    assert_eq!(other.get("/campaigns").await.expect(200)["items"], json!([]));
    // A name is taken only where the seller itself has it, and another's DID is not there.
    let own = other.post("/campaigns", json!({ "name": "canary" })).await.expect(201);
    let foreign = format!("/campaigns/{}/dids/{}", own["id"], did["id"]);
    other.send(Method::PUT, &foreign, |request| request).await.refused(404, "not_found");
    acme.post("/campaigns", json!({ "name": "canary" })).await.refused(409, "name_taken");
    assert_eq!(acme.post("/campaigns", json!({ "name": "x", "seller_id": 1 })).await.wrong_fields(), ["seller_id"]);
    assert_eq!(acme.patch(&path, json!({ "seller_id": 1 })).await.wrong_fields(), ["seller_id"]);
    acme.delete(&path).await.refused(409, "in_use");
    acme.delete(&tie).await.expect(204);
    acme.delete(&path).await.expect(204);
    site.settle().await;
}

async fn staff_change_the_status_alone(site: Site) {
    let (admin, staff) = (site.as_admin().await, site.as_staff().await);
    let acme = site.user("acme", Role::Seller).await;
    assert_eq!(admin.post("/campaigns", json!({ "name": "Solar" })).await.wrong_fields(), ["seller_id"]);
    let made = admin.post("/campaigns", json!({ "name": "Solar", "seller_id": acme })).await.expect(201);
    let path = format!("/campaigns/{}", made["id"]);
    staff.post("/campaigns", json!({ "name": "Wind", "seller_id": acme })).await.refused(403, "role");
    staff.delete(&path).await.refused(403, "role");
    for field in [
        "routing_strategy",
        "dial_timeout_seconds",
        "setup_budget_seconds",
        "max_duration_seconds",
        "max_concurrency",
        "early_media",
        "rejections",
    ] {
        let value = match field {
            "routing_strategy" => json!("weighted"),
            "early_media" => json!(false),
            "rejections" => json!({ "all_full": 503 }),
            _ => json!(7),
        };
        assert_eq!(staff.patch(&path, json!({ field: value })).await.wrong_fields(), [field]);
    }
    assert_eq!(staff.patch(&path, json!({ "name": "Mine" })).await.wrong_fields(), ["name"]);
    assert_eq!(staff.patch(&path, json!({ "status": "paused" })).await.expect(200)["status"], json!("paused"));
    assert_eq!(staff.get(&path).await.expect(200)["seller_id"], json!(acme));
    site.settle().await;
}

async fn ranges_merges_and_versions(site: Site) {
    let acme = site.as_seller("acme").await;
    for (field, value) in [
        ("dial_timeout_seconds", json!(0)),
        ("dial_timeout_seconds", json!(601)),
        ("dial_timeout_seconds", json!(null)),
        ("setup_budget_seconds", json!(3601)),
        ("max_duration_seconds", json!(0)),
        ("max_concurrency", json!(-1)),
        ("routing_strategy", json!("random")),
        ("status", json!(7)),
        ("name", json!("line\nbreak")),
        ("early", json!(true)),
        ("early_media", json!(null)),
        ("early_media", json!("no")),
    ] {
        let mut body = json!({ "name": "x" });
        body[field] = value.clone();
        assert_eq!(acme.post("/campaigns", body).await.wrong_fields(), [field], "{value}");
    }
    let body = json!({ "name": "Solar", "setup_budget_seconds": 30, "max_concurrency": 0 });
    let made = acme.post("/campaigns", body).await.expect(201);
    let path = format!("/campaigns/{}", made["id"]);
    let merged = acme.patch(&path, json!({ "setup_budget_seconds": null })).await.expect(200);
    assert_eq!((&merged["setup_budget_seconds"], &merged["max_concurrency"]), (&json!(null), &json!(0)));
    let with = |version: &'static str| {
        move |request: reqwest::RequestBuilder| request.header("If-Match", version).json(&json!({ "name": "Wind" }))
    };
    acme.send(Method::PATCH, &path, with("\"1\"")).await.refused(412, "stale");
    acme.send(Method::PATCH, &path, with("abc")).await.refused(400, "malformed");
    assert_eq!(acme.send(Method::PATCH, &path, with("\"2\"")).await.expect(200)["version"], json!(3));
    acme.patch(&path, json!({ "status": "archived" })).await.expect(200);
    acme.patch(&path, json!({ "name": "Sun" })).await.refused(409, "archived");
    acme.patch(&path, json!({ "name": "Sun", "status": "paused" })).await.expect(200);
    site.settle().await;
}

async fn media_and_rejections_are_the_campaigns_own(site: Site) {
    let acme = site.as_seller("acme").await;
    let made = acme.post("/campaigns", json!({ "name": "Solar" })).await.expect(201);
    let none = json!({ "inactive_campaign": null, "no_active_link": null, "all_full": null, "nobody_answered": null });
    assert_eq!((&made["early_media"], &made["rejections"]), (&json!(true), &none));
    let path = format!("/campaigns/{}", made["id"]);
    for wrong in [json!(403.5), json!(481), json!(200), json!("486")] {
        let fields = acme.patch(&path, json!({ "rejections": { "all_full": wrong } })).await.wrong_fields();
        assert!(fields.iter().all(|field| field.ends_with("all_full")), "{wrong}: {fields:?}");
    }
    let fields = acme.patch(&path, json!({ "rejections": { "unknown_did": 404 } })).await.wrong_fields();
    assert_eq!(fields, ["rejections.unknown_did"], "that is before any campaign is known");
    let patch = json!({ "early_media": false, "rejections": { "all_full": 503, "nobody_answered": 486 } });
    acme.patch(&path, patch).await.expect(200);
    let merged = acme.patch(&path, json!({ "rejections": { "all_full": null } })).await.expect(200);
    assert_eq!((&merged["early_media"], &merged["rejections"]["all_full"]), (&json!(false), &json!(null)));
    assert_eq!(merged["rejections"]["nobody_answered"], json!(486), "what is absent stays");
    let cleared = acme.patch(&path, json!({ "rejections": null })).await.expect(200);
    assert_eq!(cleared["rejections"], none);
    assert_eq!(acme.get(&path).await.expect(200), cleared);
    site.settle().await;
}

async fn a_did_feeds_one_active_campaign(site: Site) {
    let acme = site.as_seller("acme").await;
    let did = acme.post("/dids", json!({ "number": "+442071234567" })).await.expect(201)["id"].clone();
    let mut ids = Vec::new();
    for name in ["A", "B", "C", "D"] {
        ids.push(acme.post("/campaigns", json!({ "name": name })).await.expect(201)["id"].clone());
    }
    let ties = ids.iter().map(|id| {
        let (acme, path) = (acme.clone(), format!("/campaigns/{id}/dids/{did}"));
        async move { acme.send(Method::PUT, &path, |request| request).await }
    });
    let answers = futures_util::future::join_all(ties).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 204);
    assert_eq!((won.len(), lost.len()), (1, 3));
    for answer in lost {
        answer.refused(409, "did_in_active_campaign");
    }
    site.settle().await;
}

crate::on_both_databases!(
    sellers_manage_their_own_and_do_not_see_others,
    staff_change_the_status_alone,
    ranges_merges_and_versions,
    media_and_rejections_are_the_campaigns_own,
    a_did_feeds_one_active_campaign,
);
