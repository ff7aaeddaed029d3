//! `Idempotency-Key`: repeated, it is carried out once.

use capconduit::store::retention::Removal;
use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::{Answer, Caller};
use crate::site::Site;

/// Sends a POST with a key.
async fn keyed(caller: &Caller, path: &str, key: &str, body: &Value) -> Answer {
    caller.send(Method::POST, path, |request| request.header("Idempotency-Key", key).json(body)).await
}

fn is_replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

async fn a_repetition_gets_the_same_answer_and_does_nothing(site: Site) {
    let acme = site.as_seller("acme").await;
    let body = json!({ "name": "Solar" });
    let first = keyed(&acme, "/campaigns", "one", &body).await;
    let made = first.expect(201);
    assert!(!is_replayed(&first));
    let second = keyed(&acme, "/campaigns", "one", &body).await;
    assert_eq!((second.status, &second.text), (first.status, &first.text));
    assert!(is_replayed(&second));
    assert_eq!(second.headers["content-type"], first.headers["content-type"]);
    assert_eq!(second.headers["etag"], "\"1\"");
    // A script with an API token is the same user.
    let token = acme.post("/auth/tokens", json!({ "name": "t", "scope": "write" })).await.expect(201);
    let script = site.as_nobody().with_api_token(token["secret"].as_str().expect("a secret"));
    assert!(is_replayed(&keyed(&script, "/campaigns", "one", &body).await));
    // Another user, another operation, or no key: something else.
    let other = site.as_seller("other").await;
    assert_ne!(keyed(&other, "/campaigns", "one", &body).await.expect(201)["id"], made["id"]);
    keyed(&acme, "/dids", "one", &json!({ "number": "+442071234567" })).await.expect(201);
    acme.post("/campaigns", body.clone()).await.refused(409, "name_taken");
    // Another body or path under the same key is a mistake.
    for (path, body) in [("/campaigns", json!({ "name": "Wind" })), ("/campaigns?x=1", body.clone())] {
        keyed(&acme, path, "one", &body).await.refused(422, "idempotency_key_reused");
    }
    assert_eq!(acme.get("/campaigns").await.expect(200)["items"].as_array().map(Vec::len), Some(1));
    // One line in the audit for each that was made.
    let lines = site.sql("SELECT object FROM audit WHERE action = 'campaign.create'").await.expect("the audit");
    assert_eq!(lines.len(), 2);
    site.settle().await;
}

async fn of_twenty_at_once_one_is_carried_out(site: Site) {
    let acme = site.as_seller("acme").await;
    let body = json!({ "name": "Solar" });
    let sent = (0..20).map(|_| keyed(&acme, "/campaigns", "race", &body));
    let answers = futures_util::future::join_all(sent).await;
    for answer in &answers {
        if answer.status == 409 {
            answer.refused(409, "idempotency_in_progress");
            assert!(answer.headers.contains_key("retry-after"));
        } else {
            answer.expect(201);
        }
    }
    assert!(answers.iter().filter(|answer| answer.status == 201 && !is_replayed(answer)).count() == 1);
    assert_eq!(acme.get("/campaigns").await.expect(200)["items"].as_array().map(Vec::len), Some(1));
    let late = keyed(&acme, "/campaigns", "race", &body).await;
    assert!(late.status == 201 && is_replayed(&late), "{}", late.text);
    site.settle().await;
}

async fn refusals_of_the_request_are_repeated_and_those_of_the_moment_are_not(site: Site) {
    let (acme, other) = (site.as_seller("acme").await, site.as_seller("other").await);
    other.post("/dids", json!({ "number": "+442071234567" })).await.expect(201);
    let wrong = keyed(&acme, "/dids", "wrong", &json!({ "number": "+0" })).await;
    wrong.wrong_fields();
    let again = keyed(&acme, "/dids", "wrong", &json!({ "number": "+0" })).await;
    assert!(is_replayed(&again));
    assert_eq!(
        (again.text.as_str(), &again.headers["content-type"]),
        (wrong.text.as_str(), &wrong.headers["content-type"])
    );
    let taken = json!({ "number": "+442071234567" });
    keyed(&acme, "/dids", "taken", &taken).await.refused(409, "did_unavailable");
    let again = keyed(&acme, "/dids", "taken", &taken).await;
    again.refused(409, "did_unavailable");
    assert!(is_replayed(&again));
    // Who may not do it hears so each time, and nobody unknown finds out what a key belongs to.
    for _ in 0..2 {
        let refused = keyed(&acme, "/users", "role", &json!({})).await;
        refused.refused(403, "role");
        assert!(!is_replayed(&refused));
        keyed(&site.as_nobody(), "/dids", "wrong", &json!({ "number": "+0" })).await.refused(401, "credential");
    }
    for refused in ["", "a b", &"x".repeat(256)] {
        let problem = keyed(&acme, "/dids", refused, &taken).await.refused(400, "malformed");
        assert_eq!(problem["errors"][0]["field"], "Idempotency-Key", "{refused}");
    }
    // It failed here: the next try is a new one.
    site.sql("ALTER TABLE campaigns RENAME TO hidden").await.expect("renamed");
    keyed(&acme, "/campaigns", "failing", &json!({ "name": "Solar" })).await.refused(500, "internal");
    site.sql("ALTER TABLE hidden RENAME TO campaigns").await.expect("renamed back");
    keyed(&acme, "/campaigns", "failing", &json!({ "name": "Solar" })).await.expect(201);
    site.settle().await;
}

async fn secrets_are_not_kept(site: Site) {
    let admin = site.as_admin().await;
    let client =
        json!({ "client_identifier": "north", "name": "North", "sip": { "registration": { "username": "north" } } });
    let token = json!({ "name": "t", "scope": "read" });
    for (path, body, secret) in [("/clients", &client, "generated_password"), ("/auth/tokens", &token, "secret")] {
        let first = keyed(&admin, path, "secret", body).await.expect(201);
        let shown = first[secret].as_str().expect("it is shown once").to_owned();
        let again = keyed(&admin, path, "secret", body).await;
        assert!(is_replayed(&again));
        let mut left = first.clone();
        left.as_object_mut().expect("an object").remove(secret);
        assert_eq!(again.expect(201), left, "absent, and all else the same");
        let stored = site.sql("SELECT COALESCE(body, '') || key_hash || request_hash FROM idempotency_keys").await;
        assert!(stored.expect("read").iter().all(|row| !row.contains(&shown)));
    }
    site.settle().await;
}

/// A process that died in the middle holds the key for its lease only, and an answer is given again for a day.
async fn keys_come_free(site: Site) {
    let admin = site.as_admin().await;
    let (body, other) = (json!({ "name": "t", "scope": "read" }), json!({ "name": "u", "scope": "read" }));
    keyed(&admin, "/auth/tokens", "dead", &body).await.expect(201);
    site.sql("UPDATE idempotency_keys SET status = NULL, body = NULL").await.expect("as if it had not ended");
    keyed(&admin, "/auth/tokens", "dead", &body).await.refused(409, "idempotency_in_progress");
    keyed(&admin, "/auth/tokens", "dead", &other).await.refused(422, "idempotency_key_reused");
    let past = "'2020-01-01T00:00:00+00:00'";
    site.sql(&format!("UPDATE idempotency_keys SET leased_until = {past}")).await.expect("the lease is over");
    // Of several who find it so, one takes over.
    let answers = futures_util::future::join_all((0..5).map(|_| keyed(&admin, "/auth/tokens", "dead", &body))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201 && !is_replayed(answer)).count(), 1);
    site.sql(&format!("UPDATE idempotency_keys SET created_at = {past}")).await.expect("a day has passed");
    let anew = keyed(&admin, "/auth/tokens", "dead", &other).await;
    assert!(anew.status == 201 && !is_replayed(&anew), "{}", anew.text);
    // Taken over after a day, it is old, and its run is live all the same.
    site.sql(&format!("UPDATE idempotency_keys SET created_at = {past}, status = NULL")).await.expect("it runs");
    let now = capconduit::clock::Clock::start().now().wall;
    let year = chrono::TimeDelta::days(365);
    let removed = || async {
        let mut removal = Removal::new(year, now);
        while removal.slice(&site.db).await.expect("removed") {}
        removal.removed().keys
    };
    assert_eq!(removed().await, 0);
    keyed(&admin, "/auth/tokens", "dead", &other).await.refused(409, "idempotency_in_progress");
    site.sql(&format!("UPDATE idempotency_keys SET leased_until = {past}")).await.expect("the lease is over");
    assert_eq!(removed().await, 1);
    site.settle().await;
}

async fn a_user_has_so_many_keys_a_day(site: Site) {
    let (acme, other) = (site.as_seller("acme").await, site.as_seller("other").await);
    let first = keyed(&acme, "/campaigns", "first", &json!({ "name": "Solar" })).await;
    first.expect(201);
    let columns = "user_id, operation, request_hash, holder, created_at, leased_until, status";
    let many = format!(
        "INSERT INTO idempotency_keys (key_hash, {columns}) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) \
         SELECT 'k' || i, {columns} FROM idempotency_keys, n"
    );
    site.sql(&many).await.expect("10,000 keys");
    let refused = keyed(&acme, "/campaigns", "one-more", &json!({ "name": "Wind" })).await;
    refused.refused(429, "too_many_keys");
    assert!(refused.headers.contains_key("retry-after"));
    // What is known is still answered, without a key all goes on, and so do others.
    assert!(is_replayed(&keyed(&acme, "/campaigns", "first", &json!({ "name": "Solar" })).await));
    acme.post("/campaigns", json!({ "name": "Wind" })).await.expect(201);
    keyed(&other, "/campaigns", "one-more", &json!({ "name": "Wind" })).await.expect(201);
    site.settle().await;
}

/// What is stored of a request says nothing to whoever does not have the key of access tokens.
async fn under_another_key_a_repetition_is_another_request(mut site: Site) {
    let body = json!({ "name": "Solar" });
    keyed(&site.as_seller("acme").await, "/campaigns", "one", &body).await.expect(201);
    site.restart().await;
    assert!(is_replayed(&keyed(&site.as_seller("acme").await, "/campaigns", "one", &body).await), "the key is kept");
    site.config.auth.key = Some("another key that is long enough to use".into());
    site.restart().await;
    let again = keyed(&site.as_seller("acme").await, "/campaigns", "one", &body).await;
    again.refused(422, "idempotency_key_reused");
    site.settle().await;
}

crate::on_both_databases!(
    a_repetition_gets_the_same_answer_and_does_nothing,
    of_twenty_at_once_one_is_carried_out,
    refusals_of_the_request_are_repeated_and_those_of_the_moment_are_not,
    secrets_are_not_kept,
    keys_come_free,
    a_user_has_so_many_keys_a_day,
    under_another_key_a_repetition_is_another_request,
);
