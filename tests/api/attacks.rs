//! What somebody outside may try: made-up keys, requests that two readers read in two ways, addresses that are made up.

use std::sync::Mutex;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::caller::Caller;
use crate::site::Site;

/// A well-formed key that nobody has.
fn invented(n: u32) -> String {
    format!("cck_{n:A<43}")
}

async fn secret(caller: &Caller) -> String {
    let made = caller.post("/auth/tokens", json!({ "name": "t", "scope": "read" })).await.expect(201);
    made["secret"].as_str().expect("a secret").to_owned()
}

/// Made-up keys are refused by address, and good ones of the same address, used before or never, are let in all the while.
async fn invented_keys_lock_out_no_right_one(mut site: Site) {
    let acme = site.as_seller("acme").await;
    let (known, fresh) = (secret(&acme).await, secret(&acme).await);
    (site.config.api.requests_per_second, site.config.api.burst) = (1, 20);
    site.restart().await;
    let nobody = site.as_nobody();
    let (known, fresh) = (nobody.with_api_token(&known), nobody.with_api_token(&fresh));
    known.get("/auth/me").await.expect(200);
    // What cannot be a token is not looked up, and counts as anybody does who is not known.
    let nonsense = nobody.with_api_token("cck_made-up");
    for _ in 0..25 {
        nonsense.get("/auth/me").await;
    }
    known.get("/auth/me").await.expect(200);
    let attack = |from: u32| {
        let wrong = (from..from + 50).map(|n| nobody.with_api_token(&invented(n)));
        futures_util::future::join_all(wrong.map(|wrong| async move { wrong.get("/auth/me").await.status.as_u16() }))
    };
    let statuses = attack(0).await;
    assert!(statuses.iter().all(|status| [401, 429].contains(status)), "{statuses:?}");
    // How many of them come too soon is a matter of the machine's speed.
    assert!(statuses.contains(&429), "{statuses:?}");
    nobody.with_api_token(&invented(1)).get("/auth/me").await.refused(429, "rate_limited");
    for caller in [&known, &fresh] {
        let (statuses, right) = tokio::join!(attack(100), caller.get("/auth/me"));
        right.expect(200);
        assert!(!statuses.contains(&200));
        caller.get("/auth/me").await.expect(200);
    }
    // One that is revoked is nobody's, at once.
    let id = acme.get("/auth/tokens").await.expect(200)["items"][0]["id"].clone();
    acme.delete(&format!("/auth/tokens/{id}")).await.expect(204);
    assert_ne!(known.get("/auth/me").await.status, 200);
    fresh.get("/auth/me").await.expect(200);
    site.settle().await;
}

/// The first bytes of the answer to a request as it is.
async fn raw(site: &Site, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(site.config.api.listen).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    String::from_utf8(answer).expect("text")
}

async fn headers_that_are_there_twice_are_refused(site: Site) {
    let admin = site.as_admin().await;
    let (token, key) = (admin.request(Method::GET, "/").build().expect("a request"), secret(&admin).await);
    let token = token.headers()["authorization"].to_str().expect("text").to_owned();
    let script = site.as_nobody().with_api_token(&key);
    // Whichever of the two somebody in front has looked at.
    for second in [token.as_str(), "Bearer x", "Basic eA==", ""] {
        let answer = admin.send(Method::GET, "/auth/me", |request| request.header("Authorization", second)).await;
        assert_eq!(answer.refused(400, "malformed")["errors"][0]["field"], "Authorization", "{second}");
    }
    let answer = script.send(Method::GET, "/auth/me", |request| request.header("X-API-Key", key.as_str())).await;
    assert_eq!(answer.refused(400, "malformed")["errors"][0]["field"], "X-API-Key");
    for (name, value) in
        [("If-Match", "\"1\""), ("Idempotency-Key", "k"), ("Content-Type", "application/json"), ("Origin", "null")]
    {
        let twice = |request: reqwest::RequestBuilder| {
            request.header(name, value).header(name, value).body(r#"{"name":"t","scope":"read"}"#)
        };
        let answer = admin.send(Method::POST, "/auth/tokens", twice).await;
        assert_eq!(answer.refused(400, "malformed")["errors"][0]["field"], name);
    }
    for twins in ["Host: a\r\nHost: b", "Host: a\r\nContent-Length: 0\r\nContent-Length: 2"] {
        let status = raw(&site, &format!("GET /api/v1/auth/me HTTP/1.1\r\n{twins}\r\n\r\n")).await;
        assert_eq!(status, "HTTP/1.1 400", "{twins}");
    }
    assert_eq!(raw(&site, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await, "HTTP/1.1 200", "once");
    admin.get("/auth/me").await.expect(200);
    site.settle().await;
}

async fn names_that_are_there_twice_are_refused_in_bodies_and_queries(site: Site) {
    let (admin, seller) = (site.as_admin().await, site.user("acme", capconduit::auth::roles::Role::Seller).await);
    let send = |path: &'static str, body: String| {
        let admin = admin.clone();
        async move {
            let json = |request: reqwest::RequestBuilder| request.header("Content-Type", "application/json").body(body);
            admin.send(Method::POST, path, json).await
        }
    };
    for (path, body, place) in [
        ("/users", r#"{"username":"eve","name":"E","role":"staff","role":"admin"}"#.to_owned(), "role"),
        ("/users", r#"{"username":"eve","name":"E","role":"staff","\u0072ole":"admin"}"#.to_owned(), "role"),
        (
            "/clients",
            r#"{"client_identifier":"n","name":"N","sip":{"host":"127.0.0.9","port":5060,"host":"127.0.0.8"}}"#
                .to_owned(),
            "sip.host",
        ),
        (
            "/dids/bulk",
            format!(r#"{{"items":[{{"number":"+442071234567","seller_id":{seller},"seller_id":1}}]}}"#),
            "items[0].seller_id",
        ),
        ("/users", r#"{"username":"eve","name":"E","role":"staff","x":[{"y":1,"y":2}]}"#.to_owned(), "x[0].y"),
    ] {
        assert_eq!(send(path, body.clone()).await.wrong_fields(), [place], "{body}");
    }
    assert!(!admin.get("/users").await.text.contains("eve"));
    send("/users", r#"{"username":"eve","name":"E","role":"staff"}"#.to_owned()).await.expect(201);
    for query in ["/users?role=staff&role=admin", "/users?limit=1&limit=1", "/users?role=staff&r%6fle=admin"] {
        admin.get(query).await.refused(400, "malformed");
    }
    admin.get("/users?role=staff&limit=1").await.expect(200);
    site.settle().await;
}

async fn a_packed_body_is_refused_whatever_it_is_packed_with(site: Site) {
    let admin = site.as_admin().await;
    let body = r#"{"name":"t","scope":"read"}"#;
    for coding in ["gzip", "br", "deflate", "zstd", "x-gzip", "identity, gzip", ""] {
        let packed = |request: reqwest::RequestBuilder| {
            request.header("Content-Type", "application/json").header("Content-Encoding", coding).body(body)
        };
        admin.send(Method::POST, "/auth/tokens", packed).await.refused(415, "content_encoding");
    }
    let plain = |request: reqwest::RequestBuilder| {
        request.header("Content-Type", "application/json").header("Content-Encoding", "identity").body(body)
    };
    admin.send(Method::POST, "/auth/tokens", plain).await.expect(201);
    site.settle().await;
}

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

async fn who_is_not_believed_is_told_of_once(mut site: Site) {
    let warnings = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_ansi(false).with_writer(|| Log);
    warnings.try_init().expect("nobody else logs here");
    let told = || {
        let log = String::from_utf8_lossy(&LOG.lock().expect("not poisoned")).into_owned();
        log.lines().filter(|line| line.contains("X-Forwarded-For") && line.contains("127.0.0.1")).count()
    };
    let nobody = site.as_nobody();
    let forward = || nobody.send(Method::GET, "/auth/me", |request| request.header("X-Forwarded-For", "203.0.113.5"));
    nobody.get("/auth/me").await.refused(401, "credential");
    assert_eq!(told(), 0, "nobody is named");
    for _ in 0..5 {
        forward().await.refused(401, "credential");
    }
    assert_eq!(told(), 1);
    site.config.api.trusted_proxies = vec!["127.0.0.1".parse().expect("a network")];
    site.restart().await;
    forward().await.refused(401, "credential");
    assert_eq!(told(), 1, "a trusted one is believed");
    site.settle().await;
}

/// Log-ins that are refused are in the audit, but do not fill it: the throttle's own test counts to the bound.
async fn a_refused_log_in_is_noted_without_the_number_of_others(site: Site) {
    let wrong = json!({ "username": "nobody", "password": "seven quiet lamps below" });
    site.as_nobody().post("/auth/login", wrong).await.refused(401, "credentials");
    let lines = site.as_admin().await.get("/audit?action=session.refuse").await.expect(200);
    assert_eq!(lines["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(lines["items"][0]["after"], Value::Null);
    site.settle().await;
}

crate::on_both_databases!(
    invented_keys_lock_out_no_right_one,
    headers_that_are_there_twice_are_refused,
    names_that_are_there_twice_are_refused_in_bodies_and_queries,
    a_packed_body_is_refused_whatever_it_is_packed_with,
    who_is_not_believed_is_told_of_once,
    a_refused_log_in_is_noted_without_the_number_of_others,
);
