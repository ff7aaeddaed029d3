//! API tokens.

use chrono::{TimeDelta, Utc};
use serde_json::json;

use crate::site::Site;

async fn a_token_is_shown_once_used_and_revoked(site: Site) {
    let acme = site.as_seller("acme").await;
    let made = acme.post("/auth/tokens", json!({ "name": "nightly", "scope": "read" })).await.expect(201);
    let secret = made["secret"].as_str().expect("a secret");
    assert!(secret.starts_with("cck_") && secret.len() == 4 + 43, "{secret}");
    assert_eq!(made["token"]["last_used_at"], json!(null));
    let script = site.as_nobody().with_api_token(secret);
    let me = script.get("/auth/me").await.expect(200);
    assert_eq!((&me["user"]["username"], &me["scope"]), (&json!("acme"), &json!("read")));
    let listed = acme.get("/auth/tokens").await;
    assert!(!listed.text.contains(secret));
    let listed = listed.expect(200)["items"][0].clone();
    assert!(listed["last_used_at"].is_string(), "{listed}");
    let path = format!("/auth/tokens/{}", listed["id"]);
    site.as_staff().await.delete(&path).await.refused(404, "not_found");
    acme.delete(&path).await.expect(204);
    script.get("/auth/me").await.refused(401, "credential");
    acme.delete(&path).await.refused(404, "not_found");
    site.settle().await;
}

async fn no_token_manages_users_tokens_or_passwords(site: Site) {
    let admin = site.as_admin().await;
    let made = admin.post("/auth/tokens", json!({ "name": "all", "scope": "write" })).await.expect(201);
    let script = site.as_nobody().with_api_token(made["secret"].as_str().expect("a secret"));
    script.get("/auth/me").await.expect(200);
    script.get("/users").await.refused(403, "token");
    script.post("/users", json!({ "username": "x", "name": "X", "role": "admin" })).await.refused(403, "token");
    script.get("/auth/tokens").await.refused(403, "token");
    script.post("/auth/tokens", json!({ "name": "more", "scope": "write" })).await.refused(403, "token");
    let change = json!({ "current_password": crate::site::PASSWORD, "new_password": "seven quiet lamps below" });
    script.post("/auth/password", change).await.refused(403, "token");
    site.settle().await;
}

async fn a_token_ends_with_its_time_and_with_its_owner(site: Site) {
    let (admin, acme) = (site.as_admin().await, site.as_seller("acme").await);
    let past = json!({ "name": "old", "scope": "read", "expires_at": "2020-01-01T00:00:00Z" });
    assert_eq!(acme.post("/auth/tokens", past).await.wrong_fields(), ["expires_at"]);
    for far in ["+10000-01-01T00:00:00Z", "+262000-01-01T00:00:00Z"] {
        let far = json!({ "name": "far", "scope": "read", "expires_at": far });
        assert_eq!(acme.post("/auth/tokens", far).await.wrong_fields(), ["expires_at"]);
    }
    #[allow(clippy::disallowed_methods, reason = "a time that the application compares with its own clock")]
    let soon = Utc::now() + TimeDelta::days(1);
    let body = json!({ "name": "short", "scope": "write", "expires_at": soon });
    let made = acme.post("/auth/tokens", body).await.expect(201);
    let script = site.as_nobody().with_api_token(made["secret"].as_str().expect("a secret"));
    let id = script.get("/auth/me").await.expect(200)["user"]["id"].clone();
    let path = format!("/users/{id}");
    admin.patch(&path, json!({ "status": "disabled", "stop_routing": true })).await.expect(200);
    script.get("/auth/me").await.refused(401, "credential");
    admin.patch(&path, json!({ "status": "active" })).await.expect(200);
    script.get("/auth/me").await.expect(200);
    site.sql("UPDATE api_tokens SET expires_at = '2020-01-01T00:00:00+00:00'").await.expect("its time has come");
    script.get("/auth/me").await.refused(401, "credential");
    site.settle().await;
}

async fn an_admin_sees_and_revokes_everybodys(site: Site) {
    let (admin, acme) = (site.as_admin().await, site.as_seller("acme").await);
    let made = acme.post("/auth/tokens", json!({ "name": "a", "scope": "read" })).await.expect(201);
    admin.post("/auth/tokens", json!({ "name": "b", "scope": "read" })).await.expect(201);
    let names = |listed: serde_json::Value| -> Vec<String> {
        listed["items"].as_array().expect("a list").iter().map(|item| item["name"].to_string()).collect()
    };
    assert_eq!(names(acme.get("/auth/tokens").await.expect(200)), ["\"a\""]);
    assert_eq!(names(admin.get("/auth/tokens").await.expect(200)), ["\"a\"", "\"b\""]);
    admin.delete(&format!("/auth/tokens/{}", made["token"]["id"])).await.expect(204);
    assert!(names(acme.get("/auth/tokens").await.expect(200)).is_empty());
    site.settle().await;
}

crate::on_both_databases!(
    a_token_is_shown_once_used_and_revoked,
    no_token_manages_users_tokens_or_passwords,
    a_token_ends_with_its_time_and_with_its_owner,
    an_admin_sees_and_revokes_everybodys,
);
