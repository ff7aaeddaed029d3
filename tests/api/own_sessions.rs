//! Sessions as their users see and end them, how many there may be, and what a new password takes away.

use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::site::{PASSWORD, Site};

const OTHER: &str = "seven quiet lamps below";

fn ids(listed: &Value) -> Vec<String> {
    let items = listed["items"].as_array().expect("items").iter();
    items.map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
}

async fn end(caller: &Caller, id: &str) -> crate::caller::Answer {
    caller.delete(&format!("/auth/sessions/{id}")).await
}

async fn a_user_sees_and_ends_its_sessions_and_nobody_elses(site: Site) {
    let (first, other) = (site.as_seller("acme").await, site.as_seller("rival").await);
    let second = site.as_user("acme").await;
    let listed = first.get("/auth/sessions").await.expect(200);
    let [newest, oldest] = listed["items"].as_array().expect("items").as_slice() else { panic!("{listed:#}") };
    assert_eq!((&newest["current"], &oldest["current"]), (&json!(false), &json!(true)), "newest first");
    assert_eq!((&newest["username"], &newest["address"]), (&json!("acme"), &json!("127.0.0.1")));
    let foreign = ids(&other.get("/auth/sessions").await.expect(200)).remove(0);
    end(&first, &foreign).await.refused(404, "not_found");
    for absent in ["00000000-0000-8000-8000-000000000000", "7", "x"] {
        end(&first, absent).await.refused(404, "not_found");
    }
    other.get("/auth/me").await.expect(200);
    let rival = site.user("rival", capconduit::auth::roles::Role::Seller).await;
    let of_another = first.get(&format!("/auth/sessions?user_id={rival}")).await.expect(200);
    assert_eq!(of_another["items"], json!([]));
    let newest = newest["id"].as_str().expect("an id");
    end(&first, newest).await.expect(204);
    second.get("/auth/me").await.refused(401, "credential");
    end(&first, newest).await.refused(404, "not_found");
    assert_eq!(ids(&first.get("/auth/sessions").await.expect(200)).len(), 1);
    // No API token sees or ends sessions.
    let made = first.post("/auth/tokens", json!({ "name": "t", "scope": "write" })).await.expect(201);
    let script = site.as_nobody().with_api_token(made["secret"].as_str().expect("a secret"));
    script.get("/auth/sessions").await.refused(403, "token");
    let own = ids(&first.get("/auth/sessions").await.expect(200)).remove(0);
    end(&script, &own).await.refused(403, "token");
    end(&first, &own).await.expect(204);
    first.get("/auth/me").await.refused(401, "credential");
    site.settle().await;
}

async fn an_admin_sees_and_ends_anybodys_in_pages(site: Site) {
    let acme = site.as_seller("acme").await;
    let user = acme.get("/auth/me").await.expect(200)["user"]["id"].clone();
    for _ in 0..4 {
        site.as_user("acme").await;
    }
    let admin = site.as_admin().await;
    assert_eq!(ids(&admin.get("/auth/sessions").await.expect(200)).len(), 6);
    let (mut seen, mut path) = (Vec::new(), format!("/auth/sessions?user_id={user}&limit=2"));
    loop {
        let page = admin.get(&path).await.expect(200);
        seen.extend(ids(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/auth/sessions?user_id={user}&limit=2&cursor={cursor}");
    }
    let whole = ids(&admin.get(&format!("/auth/sessions?user_id={user}")).await.expect(200));
    assert!(seen == whole && whole.len() == 5, "{seen:?} {whole:?}");
    end(&admin, &whole[4]).await.expect(204);
    acme.get("/auth/me").await.refused(401, "credential");
    let line = admin.get("/audit?action=session.close").await.expect(200)["items"][0].clone();
    assert_eq!((&line["actor"], &line["before"]["user"]), (&json!("admin"), &json!("acme")));
    site.settle().await;
}

/// With one session more than there may be the oldest ends; with as many as there may be, none does.
async fn with_one_session_too_many_the_oldest_ends(mut site: Site) {
    site.user("acme", capconduit::auth::roles::Role::Seller).await;
    site.config.auth.sessions_per_user = 3;
    site.restart().await;
    let other = site.as_admin().await;
    let mut opened = Vec::new();
    for _ in 0..3 {
        opened.push(site.as_user("acme").await);
    }
    for caller in &opened {
        caller.get("/auth/me").await.expect(200);
    }
    let last = site.as_user("acme").await;
    opened[0].get("/auth/me").await.refused(401, "credential");
    for caller in opened[1..].iter().chain([&last]) {
        caller.get("/auth/me").await.expect(200);
    }
    other.get("/auth/me").await.expect(200);
    let line = other.get("/audit?action=session.close").await.expect(200)["items"][0].clone();
    assert_eq!(line["after"]["because"], "sessions_per_user");
    site.settle().await;
}

async fn one_token_too_many_is_refused(mut site: Site) {
    let admin = site.as_admin().await;
    site.config.auth.tokens_per_user = 3;
    site.restart().await;
    let acme = site.as_seller("acme").await;
    let make = |caller: &Caller, n: u32| {
        let caller = caller.clone();
        async move { caller.post("/auth/tokens", json!({ "name": format!("t{n}"), "scope": "read" })).await }
    };
    // Many at once are no way around it.
    let answers = futures_util::future::join_all((0..6).map(|n| make(&acme, n))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 3);
    let refused = make(&acme, 7).await;
    refused.refused(409, "too_many_tokens");
    assert!(refused.text.contains('3'), "{}", refused.text);
    make(&admin, 8).await.expect(201);
    let id = acme.get("/auth/tokens").await.expect(200)["items"][0]["id"].clone();
    acme.delete(&format!("/auth/tokens/{id}")).await.expect(204);
    make(&acme, 9).await.expect(201);
    site.settle().await;
}

async fn a_new_password_takes_the_tokens_away_where_that_is_asked(site: Site) {
    let (acme, admin) = (site.as_seller("acme").await, site.as_admin().await);
    let token = |caller: &Caller| {
        let (caller, nobody) = (caller.clone(), site.as_nobody());
        async move {
            let made = caller.post("/auth/tokens", json!({ "name": "t", "scope": "read" })).await.expect(201);
            nobody.with_api_token(made["secret"].as_str().expect("a secret"))
        }
    };
    let (script, foreign) = (token(&acme).await, token(&admin).await);
    let change = |old: &str, new: &str, rest: Value| {
        let mut body = json!({ "current_password": old, "new_password": new });
        if !rest.is_null() {
            body["revoke_tokens"] = rest;
        }
        let acme = acme.clone();
        async move { acme.post("/auth/password", body).await.expect(204) }
    };
    change(PASSWORD, OTHER, Value::Null).await;
    change(OTHER, PASSWORD, json!(false)).await;
    script.get("/auth/me").await.expect(200);
    change(PASSWORD, OTHER, json!(true)).await;
    script.get("/auth/me").await.refused(401, "credential");
    foreign.get("/auth/me").await.expect(200);
    acme.get("/auth/me").await.expect(200);
    let revoked = admin.get("/audit?action=token.revoke").await.expect(200);
    assert_eq!(revoked["items"].as_array().map(Vec::len), Some(1), "it is in the audit");
    // By an admin, likewise.
    let (script, user) = (token(&acme).await, acme.get("/auth/me").await.expect(200)["user"]["id"].clone());
    let path = format!("/users/{user}");
    let set = |body: Value| admin.send(Method::PATCH, &path, move |request| request.json(&body));
    assert_eq!(set(json!({ "revoke_tokens": true })).await.wrong_fields(), ["revoke_tokens"]);
    set(json!({ "password": PASSWORD })).await.expect(200);
    site.user("acme", capconduit::auth::roles::Role::Seller).await;
    script.get("/auth/me").await.expect(200);
    set(json!({ "password": PASSWORD, "revoke_tokens": true })).await.expect(200);
    site.user("acme", capconduit::auth::roles::Role::Seller).await;
    script.get("/auth/me").await.refused(401, "credential");
    site.settle().await;
}

crate::on_both_databases!(
    a_user_sees_and_ends_its_sessions_and_nobody_elses,
    an_admin_sees_and_ends_anybodys_in_pages,
    with_one_session_too_many_the_oldest_ends,
    one_token_too_many_is_refused,
    a_new_password_takes_the_tokens_away_where_that_is_asked,
);
