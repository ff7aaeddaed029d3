//! Log-in, refresh, log-out, passwords.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use capconduit::auth::principal::Actor;
use capconduit::auth::roles::Role;
use capconduit::auth::secrets;
use capconduit::id::UserId;
use capconduit::store::sessions::{self, NewSession};
use capconduit::store::users::{self, OwnPassword, UserError};
use reqwest::header::HeaderValue;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::site::{PASSWORD, Site};

const OTHER: &str = "seven quiet lamps below";

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}"))
}

async fn refresh(site: &Site, tokens: &Value) -> crate::caller::Answer {
    site.as_nobody().post("/auth/refresh", json!({ "refresh_token": tokens["refresh_token"] })).await
}

fn with(site: &Site, tokens: &Value) -> Caller {
    site.as_nobody().with_access_token(text(tokens, "access_token"))
}

async fn a_session_lives_from_log_in_to_log_out(site: Site) {
    let tokens = site.log_in(" ADMIN ", PASSWORD).await;
    assert_eq!((text(&tokens, "token_type"), &tokens["expires_in"]), ("Bearer", &json!(900)));
    let me = with(&site, &tokens).get("/auth/me").await.expect(200);
    assert_eq!((&me["user"]["username"], &me["credential"]), (&json!("admin"), &json!("session")));
    with(&site, &tokens).send(reqwest::Method::POST, "/auth/logout", |request| request).await.expect(204);
    with(&site, &tokens).get("/auth/me").await.refused(401, "credential");
    refresh(&site, &tokens).await.refused(401, "credentials");
    site.settle().await;
}

async fn a_refresh_token_is_good_once_and_its_second_use_ends_the_family(site: Site) {
    let first = site.log_in("admin", PASSWORD).await;
    let other = site.log_in("admin", PASSWORD).await;
    let second = refresh(&site, &first).await.expect(200);
    let third = refresh(&site, &second).await.expect(200);
    with(&site, &third).get("/auth/me").await.expect(200);
    refresh(&site, &first).await.refused(401, "credentials");
    with(&site, &third).get("/auth/me").await.refused(401, "credential");
    refresh(&site, &third).await.refused(401, "credentials");
    with(&site, &other).get("/auth/me").await.expect(200);
    site.settle().await;
}

async fn of_two_refreshes_at_once_at_most_one_is_served(site: Site) {
    let tokens = site.log_in("admin", PASSWORD).await;
    let (one, two) = tokio::join!(refresh(&site, &tokens), refresh(&site, &tokens));
    let served = [&one, &two].into_iter().filter(|answer| answer.status == 200).count();
    assert_eq!(served, 1, "{} {}", one.text, two.text);
    site.settle().await;
}

async fn a_session_survives_a_restart(mut site: Site) {
    let tokens = site.log_in("admin", PASSWORD).await;
    site.restart().await;
    with(&site, &tokens).get("/auth/me").await.expect(200);
    site.settle().await;
}

async fn a_session_ends_after_thirty_days_however_often_it_is_refreshed(site: Site) {
    let tokens = site.log_in("admin", PASSWORD).await;
    let life = site.sql("SELECT CAST(expires_at AS TEXT) || ' ' || CAST(created_at AS TEXT) FROM sessions").await;
    let life = life.expect("one session").remove(0);
    let times: Vec<&str> = life.split(['T', ' ']).filter(|part| part.len() == 10 && part.contains('-')).collect();
    let day = |text: &str| text.parse::<chrono::NaiveDate>().expect("a day");
    assert_eq!((day(times[0]) - day(times[1])).num_days(), 30, "{life}");
    let past = "'2020-01-01T00:00:00+00:00'";
    site.sql(&format!("UPDATE sessions SET expires_at = {past}")).await.expect("its time has come");
    refresh(&site, &tokens).await.refused(401, "credentials");
    with(&site, &tokens).get("/auth/me").await.refused(401, "credential");
    site.settle().await;
}

async fn who_is_unknown_disabled_or_wrong_is_told_alike(site: Site) {
    site.user("ann", Role::Staff).await;
    site.apply("[[sellers]]\nusername = \"mute\"\nname = \"Mute\"\n").await;
    let id = site.user("gone", Role::Staff).await;
    site.as_admin().await.patch(&format!("/users/{id}"), json!({ "status": "disabled" })).await.expect(200);
    let mut told = Vec::new();
    for (username, password) in [("nobody", PASSWORD), ("ann", OTHER), ("gone", PASSWORD), ("mute", PASSWORD)] {
        let answer = site.as_nobody().post("/auth/login", json!({ "username": username, "password": password })).await;
        answer.refused(401, "credentials");
        told.push(answer.text);
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    site.settle().await;
}

async fn wrong_passwords_are_slowed_down_by_account_and_nobody_else_is(site: Site) {
    site.user("ann", Role::Staff).await;
    let nobody = site.as_nobody();
    let wrong = || nobody.post("/auth/login", json!({ "username": "ann", "password": OTHER }));
    for _ in 0..5 {
        wrong().await.refused(401, "credentials");
    }
    let answer = wrong().await;
    answer.refused(429, "throttled");
    let wait: u64 = answer.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=21).contains(&wait), "{wait}");
    let right = json!({ "username": "ann", "password": PASSWORD });
    site.as_nobody().post("/auth/login", right).await.refused(429, "throttled");
    site.log_in("admin", PASSWORD).await;
    // An unknown name is slowed down just so: the throttle tells nothing either.
    for n in 0..6 {
        let answer = site.as_nobody().post("/auth/login", json!({ "username": "nobody", "password": OTHER })).await;
        assert_eq!(answer.status, if n < 5 { 401 } else { 429 });
    }
    site.settle().await;
}

async fn a_password_is_changed_by_who_knows_the_old_one_and_ends_other_sessions(site: Site) {
    let here = site.log_in("admin", PASSWORD).await;
    let there = site.log_in("admin", PASSWORD).await;
    let change = |old: &str, new: &str| {
        let body = json!({ "current_password": old, "new_password": new });
        let caller = with(&site, &here);
        async move { caller.post("/auth/password", body).await }
    };
    assert_eq!(change(OTHER, OTHER).await.wrong_fields(), ["current_password"]);
    for bad in ["short", "passwordpassword", "my admin violet lamps", PASSWORD] {
        assert_eq!(change(PASSWORD, bad).await.wrong_fields(), ["new_password"], "{bad}");
    }
    change(PASSWORD, OTHER).await.expect(204);
    with(&site, &here).get("/auth/me").await.expect(200);
    with(&site, &there).get("/auth/me").await.refused(401, "credential");
    refresh(&site, &there).await.refused(401, "credentials");
    site.log_in("admin", OTHER).await;
    site.settle().await;
}

/// An id of a session is no secret: the audit shows it.
async fn knowing_the_id_of_a_session_ends_nothing(site: Site) {
    let (mine, other) = (site.log_in("admin", PASSWORD).await, site.log_in("admin", PASSWORD).await);
    let bytes = |tokens: &Value| {
        let token = tokens["refresh_token"].as_str().expect("a token").strip_prefix("ccr_").expect("the prefix");
        URL_SAFE_NO_PAD.decode(token).expect("base64")
    };
    let (own, foreign) = (bytes(&mine), bytes(&other));
    // The id of the session, with nothing, noise, or what belongs to another session.
    let noise = [&own[..16], &[7; 48]].concat();
    for made_up in [own[..16].to_vec(), noise, [&own[..16], &foreign[16..]].concat()] {
        let token = format!("ccr_{}", URL_SAFE_NO_PAD.encode(made_up));
        site.as_nobody().post("/auth/refresh", json!({ "refresh_token": token })).await.refused(401, "credentials");
        with(&site, &mine).get("/auth/me").await.expect(200);
    }
    let refresh = json!({ "refresh_token": mine["refresh_token"] });
    site.as_nobody().post("/auth/refresh", refresh).await.expect(200);
    site.settle().await;
}

async fn of_two_password_changes_at_once_one_is_served(site: Site) {
    let (here, there) = (site.log_in("admin", PASSWORD).await, site.log_in("admin", PASSWORD).await);
    let change = |tokens: &Value, new: &str| {
        let body = json!({ "current_password": PASSWORD, "new_password": new });
        let caller = with(&site, tokens);
        async move { caller.post("/auth/password", body).await }
    };
    let (one, two) = tokio::join!(change(&here, OTHER), change(&there, "brass orchid under snow"));
    let served = [&one, &two].into_iter().filter(|answer| answer.status == 204).count();
    assert_eq!(served, 1, "{} {}", one.text, two.text);
    let late = if one.status == 204 { two } else { one };
    assert!([401, 422].contains(&late.status.as_u16()), "{}", late.text);
    site.settle().await;
}

/// The moment between the comparison of a password and what it allows, made as long as can be.
async fn a_password_that_was_replaced_after_it_was_verified_allows_nothing(site: Site) {
    let db = &site.db;
    let ann = UserId(site.user("ann", Role::Staff).await);
    let (actor, now) = (Actor::System("test"), capconduit::clock::Clock::start().now().wall);
    let stored = || async { users::credentials(db, "ann").await.expect("read").expect("there").1.expect("a hash") };
    let open = |verified| {
        let (created_at, expires_at) = (now, now + chrono::TimeDelta::days(1));
        let id = secrets::session_id();
        let session = NewSession {
            id,
            user: ann,
            verified,
            refresh_hash: id.to_string(),
            family_hash: id.to_string(),
            created_at,
            expires_at,
            address: None,
        };
        async move { (id, sessions::open(db, actor, session, 50).await.expect("asked")) }
    };
    let change = |verified: SecretString, session| {
        let hash = SecretString::from("another hash");
        async move {
            let new = OwnPassword { verified: Some(&verified), hash: &hash, session, revoke_tokens: false };
            users::change_password(db, actor, ann, new, now).await
        }
    };
    let outdated = |answer| assert!(matches!(answer, Err(UserError::Outdated)), "{answer:?}");

    let old = stored().await;
    let (session, opened) = open(old.clone()).await;
    assert!(opened, "the password is the one there is");
    change(old.clone(), None).await.expect("nobody was quicker");
    assert!(!open(old.clone()).await.1, "the password was replaced");
    outdated(change(old, None).await);

    // Its session ended with the password; another one lives.
    outdated(change(stored().await, Some(session)).await);
    let (alive, _) = open(stored().await).await;
    site.as_admin().await.patch(&format!("/users/{}", ann.0), json!({ "status": "disabled" })).await.expect(200);
    let current = stored().await;
    assert!(!open(current.clone()).await.1, "the user is disabled");
    outdated(change(current.clone(), None).await);
    site.as_admin().await.patch(&format!("/users/{}", ann.0), json!({ "status": "active" })).await.expect(200);
    outdated(change(current.clone(), Some(alive)).await);
    let (alive, _) = open(current.clone()).await;
    change(current, Some(alive)).await.expect("nothing has changed meanwhile");
    site.settle().await;
}

async fn an_address_that_is_no_text_is_not_skipped(mut site: Site) {
    site.config.api.trusted_proxies = vec!["127.0.0.1".parse().expect("a network")];
    site.restart().await;
    let login = json!({ "username": "admin", "password": PASSWORD });
    for given in [&b"192.0.2.66, 198.51.100.7\xff"[..], b"\xff, 198.51.100.8"] {
        // What somebody made up comes first; what the proxy saw is in the next line.
        let add = |request: reqwest::RequestBuilder| {
            let seen = HeaderValue::from_bytes(given).expect("a header");
            request.header("X-Forwarded-For", "203.0.113.5").header("X-Forwarded-For", seen).json(&login)
        };
        site.as_nobody().send(reqwest::Method::POST, "/auth/login", add).await.expect(200);
    }
    let noted = "SELECT CAST(address AS TEXT) FROM audit WHERE action = 'session.open' ORDER BY id";
    assert_eq!(site.sql(noted).await.expect("the audit"), ["127.0.0.1", "198.51.100.8"]);
    site.settle().await;
}

crate::on_both_databases!(
    a_session_lives_from_log_in_to_log_out,
    a_refresh_token_is_good_once_and_its_second_use_ends_the_family,
    of_two_refreshes_at_once_at_most_one_is_served,
    a_session_survives_a_restart,
    a_session_ends_after_thirty_days_however_often_it_is_refreshed,
    who_is_unknown_disabled_or_wrong_is_told_alike,
    wrong_passwords_are_slowed_down_by_account_and_nobody_else_is,
    a_password_is_changed_by_who_knows_the_old_one_and_ends_other_sessions,
    knowing_the_id_of_a_session_ends_nothing,
    of_two_password_changes_at_once_one_is_served,
    a_password_that_was_replaced_after_it_was_verified_allows_nothing,
    an_address_that_is_no_text_is_not_skipped,
);
