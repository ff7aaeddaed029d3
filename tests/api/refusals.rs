//! What every refusal looks like, what no answer, audit line or log holds, and who is kept out of what.

use std::sync::Mutex;

use capconduit::auth::roles::Role;
use reqwest::Method;
use serde_json::json;

use crate::site::{PASSWORD, Site};

const OTHER: &str = "seven quiet lamps below";

async fn every_refusal_is_a_problem_and_every_answer_has_the_headers(site: Site) {
    let (nobody, admin) = (site.as_nobody(), site.as_admin().await);
    nobody.get("/users").await.refused(401, "credential");
    nobody.with_access_token("x.y.z").get("/users").await.refused(401, "credential");
    nobody.with_api_token("cck_x").get("/users").await.refused(401, "credential");
    admin.get("/nothing").await.refused(404, "not_found");
    admin.get("/users/999999").await.refused(404, "not_found");
    admin.get("/users/abc").await.refused(404, "not_found");
    admin.delete("/users").await.refused(405, "method");
    let text = |request: reqwest::RequestBuilder| request.header("Content-Type", "text/plain").body("{}");
    admin.send(Method::POST, "/users", text).await.refused(415, "media_type");
    admin.send(Method::POST, "/users", |request| request).await.refused(415, "media_type");
    let broken = |request: reqwest::RequestBuilder| request.header("Content-Type", "application/json").body("{");
    admin.send(Method::POST, "/users", broken).await.refused(400, "malformed");
    let deep =
        |request: reqwest::RequestBuilder| request.header("Content-Type", "application/json").body("[".repeat(100_000));
    admin.send(Method::POST, "/users", deep).await.refused(400, "malformed");
    let large = json!({ "username": "x".repeat(300_000) });
    admin.post("/users", large).await.refused(413, "too_large");
    for path in ["/users?limit=0", "/users?limit=x", "/users?cursor=zzz", "/users?role=king"] {
        assert_eq!(admin.get(path).await.wrong_fields().len(), 1, "{path}");
    }
    for answer in [admin.get("/users").await, nobody.get("/users").await, site.outside().get("/docs").await] {
        for header in ["content-security-policy", "x-content-type-options", "x-frame-options", "referrer-policy"] {
            assert!(answer.headers.contains_key(header), "{header}");
        }
    }
    assert_eq!(admin.get("/users").await.headers["cache-control"], "no-store");
    site.settle().await;
}

async fn a_nul_is_refused_before_the_database_sees_it(site: Site) {
    let (nobody, admin) = (site.as_nobody(), site.as_admin().await);
    for path in ["/users?x=%00", "/users?cursor=a%00b", "/users?%00=1", "/users/%00", "/nothing%00"] {
        admin.get(path).await.refused(400, "malformed");
    }
    // Only what is decoded once counts.
    admin.get("/users?x=%2500").await.expect(200);
    let login = |username: &str, password: &str| {
        let body = json!({ "username": username, "password": password });
        let nobody = nobody.clone();
        async move { nobody.post("/auth/login", body).await }
    };
    assert_eq!(login("a\0b", PASSWORD).await.wrong_fields(), ["username"]);
    assert_eq!(login("admin", "a\0b").await.wrong_fields(), ["password"]);
    let new = json!({ "username": "eve", "name": "E\0", "role": "staff", "password": OTHER });
    assert_eq!(admin.post("/users", new).await.wrong_fields(), ["name"]);
    site.settle().await;
}

async fn a_failing_database_is_not_quoted(site: Site) {
    let admin = site.as_admin().await;
    site.sql("ALTER TABLE users RENAME TO hidden").await.expect("renamed");
    let answer = admin.get("/auth/me").await;
    answer.refused(500, "internal");
    for word in ["users", "table", "relation", "SELECT", "select", "sql"] {
        assert!(!answer.text.contains(word), "{}", answer.text);
    }
    site.sql("ALTER TABLE hidden RENAME TO users").await.expect("renamed back");
    admin.get("/auth/me").await.expect(200);
    site.settle().await;
}

/// Every operation of my nouns by every role; what the table allows is not refused, what it does not allow is 403.
async fn roles_reach_what_the_table_says(site: Site) {
    let id = site.user("target", Role::Staff).await;
    let user = format!("/users/{id}");
    for (caller, manages) in
        [(site.as_admin().await, true), (site.as_staff().await, false), (site.as_seller("acme").await, false)]
    {
        let answers = [
            caller.get("/users").await,
            caller.get(&user).await,
            caller.patch(&user, json!({ "name": "Target" })).await,
            caller.post("/users", json!({ "username": "made", "name": "Made", "role": "staff" })).await,
        ];
        for answer in answers {
            if manages {
                assert!(answer.status.is_success(), "{}", answer.text);
            } else {
                answer.refused(403, "role");
            }
        }
        // Nor does an absent user look different to who may not look.
        if !manages {
            caller.get("/users/999999").await.refused(403, "role");
        }
        caller.get("/auth/me").await.expect(200);
        caller.get("/auth/tokens").await.expect(200);
    }
    site.settle().await;
}

/// Everything that this process logs, whatever its level.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn no_secret_comes_back_or_is_written_down(site: Site) {
    let everything = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(|| Log);
    everything.try_init().expect("nobody else logs here");
    let admin = site.as_admin().await;
    let body = json!({ "username": "eve", "name": "Eve", "role": "staff", "password": OTHER });
    let mut heard = vec![admin.post("/users", body).await];
    heard[0].expect(201);
    let tokens = site.log_in("eve", OTHER).await;
    let eve = site.as_nobody().with_access_token(tokens["access_token"].as_str().expect("a token"));
    let change = json!({ "current_password": OTHER, "new_password": "brass orchid under snow" });
    heard.push(eve.post("/auth/password", change).await);
    let made = eve.post("/auth/tokens", json!({ "name": "t", "scope": "read" })).await.expect(201);
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    // Typed into the wrong field, and of the wrong type.
    heard.push(site.as_nobody().post("/auth/login", json!({ "username": OTHER, "password": "x" })).await);
    heard.push(site.as_nobody().post("/auth/login", json!({ "username": "eve", "password": [OTHER] })).await);
    heard.push(site.as_nobody().post("/auth/refresh", json!({ "refresh_token": secret })).await);
    for path in ["/users", "/auth/tokens", "/auth/me"] {
        heard.push(admin.get(path).await);
        heard.push(eve.get(path).await);
    }
    let column = "SELECT actor || action || object || COALESCE(CAST(before AS TEXT), '') || COALESCE(CAST(after AS TEXT), '') FROM audit";
    let mut written = site.sql(column).await.expect("the audit");
    assert!(written.len() >= 6, "{written:?}");
    written.extend(heard.into_iter().map(|answer| answer.text));
    // Used twice: a warning.
    let reused = json!({ "refresh_token": tokens["refresh_token"] });
    for _ in 0..2 {
        site.as_nobody().post("/auth/refresh", reused.clone()).await;
    }
    let log = String::from_utf8_lossy(&LOG.lock().expect("not poisoned")).into_owned();
    assert!(log.contains("a refresh token was used twice"), "the log is there");
    written.push(log);
    let hashes = site.sql("SELECT password_hash FROM users WHERE password_hash IS NOT NULL").await.expect("hashes");
    let stored = site.sql("SELECT hash FROM api_tokens UNION SELECT refresh_hash FROM sessions").await.expect("hashes");
    let shown = [
        PASSWORD,
        OTHER,
        "brass orchid under snow",
        &secret,
        text(&tokens, "access_token"),
        text(&tokens, "refresh_token"),
    ];
    let secrets = shown.into_iter().map(str::to_owned).chain(hashes).chain(stored);
    for secret in secrets {
        for line in &written {
            assert!(!line.contains(&secret), "{secret} in {line}");
        }
    }
    let kept = site.sql("SELECT hash FROM api_tokens").await.expect("hashes");
    assert!(!kept.iter().any(|hash| hash.contains(&secret)));
    site.settle().await;
}

fn text<'a>(value: &'a serde_json::Value, field: &str) -> &'a str {
    value[field].as_str().expect("a text")
}

async fn the_audit_tells_who_did_what_and_is_never_changed(site: Site) {
    let admin = site.as_admin().await;
    let id = site.user("ann", Role::Staff).await;
    admin.patch(&format!("/users/{id}"), json!({ "name": "Ann" })).await.expect(200);
    let line = format!(
        "SELECT actor || ' ' || action || ' ' || address || ' ' || SUBSTR(credential, 1, 8) || ' ' \
         || CAST(before AS TEXT) || CAST(after AS TEXT) FROM audit WHERE object = 'user:{id}' AND action = 'user.update'"
    );
    let found = site.sql(&line).await.expect("the audit").remove(0);
    assert!(found.starts_with("admin user.update 127.0.0.1 session:"), "{found}");
    // PostgreSQL writes JSON with blanks.
    let (found, names) = (found.replace(": ", ":"), ["\"name\":\"ann\"", "\"name\":\"Ann\""]);
    assert!(names.iter().all(|name| found.contains(name)), "{found}");
    for change in ["UPDATE audit SET actor = 'x'", "DELETE FROM audit"] {
        let refused = site.sql(change).await.expect_err("it is refused");
        assert!(refused.contains("append-only"), "{refused}");
    }
    site.apply("[[sellers]]\nusername = \"acme\"\nname = \"Acme\"\n").await;
    let applied = site.sql("SELECT actor || CAST(after AS TEXT) FROM audit WHERE action = 'plan.apply'").await;
    let applied = applied.expect("the audit").remove(0);
    assert!(applied.starts_with("apply") && applied.contains("acme"), "{applied}");
    // What is refused leaves no line.
    let count = "SELECT CAST(COUNT(*) AS TEXT) FROM audit";
    let before = site.sql(count).await.expect("a number");
    admin.patch("/users/999999", json!({ "name": "x" })).await.refused(404, "not_found");
    assert_eq!(site.sql(count).await.expect("a number"), before);
    site.settle().await;
}

crate::on_both_databases!(
    every_refusal_is_a_problem_and_every_answer_has_the_headers,
    a_nul_is_refused_before_the_database_sees_it,
    a_failing_database_is_not_quoted,
    roles_reach_what_the_table_says,
    no_secret_comes_back_or_is_written_down,
    the_audit_tells_who_did_what_and_is_never_changed,
);
