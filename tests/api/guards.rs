//! What stands before every operation: rates, guesses, limits, methods, origins, versions, metrics.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::caller::{Answer, Caller};
use crate::fake_ari::Behaviour;
use crate::site::{PASSWORD, Site};
use crate::traffic::{OWN, Traffic};

const TOKEN: &str = "thirty-two bytes of a metrics token";

async fn requests_are_counted_by_user_and_else_by_address(mut site: Site) {
    let (acme, other) = (site.as_seller("acme").await, site.as_seller("other").await);
    let token = acme.post("/auth/tokens", json!({ "name": "t", "scope": "read" })).await.expect(201);
    let script = site.as_nobody().with_api_token(token["secret"].as_str().expect("a secret"));
    (site.config.api.requests_per_second, site.config.api.burst) = (1, 5);
    site.restart().await;
    let mut refused = None;
    // A session and a token of one user draw on one account.
    for _ in 0..10 {
        for caller in [&acme, &script] {
            let answer = caller.get("/auth/me").await;
            if answer.status == 429 {
                refused = Some(answer);
            }
        }
    }
    let refused = refused.expect("twenty at once are too many");
    refused.refused(429, "rate_limited");
    let wait: u64 = refused.headers["retry-after"].to_str().expect("a number").parse().expect("a number");
    assert!((1..=5).contains(&wait), "{wait}");
    other.get("/auth/me").await.expect(200);
    // Whoever is not known counts by address: also with a credential that is made up, and at log-in.
    let unknown = site.as_nobody().with_api_token("cck_made-up");
    let mut answers = Vec::new();
    for _ in 0..10 {
        answers.push(unknown.get("/auth/me").await.status.as_u16());
    }
    assert!(answers.contains(&401) && answers.contains(&429), "{answers:?}");
    let login = json!({ "username": "admin", "password": PASSWORD });
    site.as_nobody().post("/auth/login", login).await.refused(429, "rate_limited");
    // Probes are answered all the same.
    site.outside().get("/healthz").await.expect(200);
    site.outside().get("/readyz").await.expect(200);
    other.get("/auth/me").await.expect(200);
    site.settle().await;
}

/// A request that was begun by an admin and is finished by nobody.
async fn a_body_that_trickles_keeps_nobody_who_they_were(site: Site) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (admin, id) = (site.as_admin().await, site.user("second", capconduit::auth::roles::Role::Admin).await);
    let tokens = site.log_in("second", PASSWORD).await;
    let token = tokens["access_token"].as_str().expect("a token");
    let body =
        json!({ "username": "eve", "name": "Eve", "role": "admin", "password": "seven quiet lamps below" }).to_string();
    let head = format!(
        "POST /api/v1/users HTTP/1.1\r\nHost: here\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut half_sent = tokio::net::TcpStream::connect(site.config.api.listen).await.expect("connected");
    half_sent.write_all(head.as_bytes()).await.expect("sent");
    // Asked for when the body is read.
    let mut go_on = [0; 25];
    half_sent.read_exact(&mut go_on).await.expect("an answer");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    let disable = json!({ "status": "disabled" });
    admin.patch(&format!("/users/{id}"), disable).await.expect(200);
    half_sent.write_all(body.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    half_sent.read_to_string(&mut answer).await.expect("text");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let users = admin.get("/users").await.expect(200);
    assert!(!users.to_string().contains("eve"), "{users:#}");
    site.settle().await;
}

fn numbers(from: u32, count: u32) -> Vec<String> {
    (from..from + count).map(|n| format!("+44207{n:07}")).collect()
}

async fn bulk(caller: &Caller, numbers: &[String]) -> Answer {
    let items: Vec<Value> = numbers.iter().map(|number| json!({ "number": number })).collect();
    caller.post("/dids/bulk", json!({ "items": items })).await
}

async fn what_a_seller_learns_of_others_numbers_is_bounded(site: Site) {
    let (victim, guesser, other) =
        (site.as_seller("victim").await, site.as_seller("guesser").await, site.as_seller("other").await);
    let taken = numbers(0, 300);
    bulk(&victim, &taken).await.expect(201);
    // One by one and in bulk draw on one account; a bulk names no more than is left of it.
    let mut learnt = 0;
    for number in &taken[..5] {
        guesser.post("/dids", json!({ "number": number })).await.refused(409, "did_unavailable");
        learnt += 1;
    }
    let told = bulk(&guesser, &taken).await.refused(409, "did_unavailable");
    learnt += told["errors"].as_array().map_or(0, Vec::len);
    assert_eq!(learnt, 20);
    for answer in [
        bulk(&guesser, &taken[..2]).await,
        guesser.post("/dids", json!({ "number": taken[299] })).await,
        // Nor is it told of numbers that are free.
        guesser.post("/dids", json!({ "number": "+442089999999" })).await,
        bulk(&guesser, &numbers(1000, 2)).await,
    ] {
        answer.refused(429, "too_many_unavailable");
        assert!(answer.headers.contains_key("retry-after"));
    }
    // Many at once learn no more than one after the other.
    let sent = (0..10).map(|_| bulk(&other, &taken));
    let answers = futures_util::future::join_all(sent).await;
    let named = answers
        .iter()
        .filter(|answer| answer.status == 409)
        .map(|answer| answer.refused(409, "did_unavailable")["errors"].as_array().map_or(0, Vec::len));
    assert_eq!(named.sum::<usize>(), 20);
    // Whoever sees all numbers anyway is not held up.
    let (staff, seller) = (site.as_staff().await, site.user("other", capconduit::auth::roles::Role::Seller).await);
    for _ in 0..30 {
        let again = json!({ "number": taken[0], "seller_id": seller });
        staff.post("/dids", again).await.refused(409, "did_unavailable");
    }
    site.settle().await;
}

async fn methods_bodies_and_paths_have_limits(site: Site) {
    let admin = site.as_admin().await;
    for (path, allowed) in [("/users", "GET, HEAD, POST"), ("/users/1", "GET, HEAD, PATCH"), ("/dids/bulk", "POST")] {
        for method in [Method::DELETE, Method::OPTIONS, Method::TRACE] {
            let answer = admin.send(method, path, |request| request).await;
            answer.refused(405, "method");
            assert_eq!(answer.headers["allow"], allowed, "{path}");
        }
    }
    let long = format!("/users?cursor={}", "x".repeat(9000));
    admin.get(&long).await.refused(414, "uri_too_long");
    let nested = format!("{{\"name\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let send = |request: RequestBuilder| request.header("Content-Type", "application/json").body(nested);
    admin.send(Method::POST, "/campaigns", send).await.refused(400, "malformed");
    let sip = json!({ "host": "203.0.113.7", "codecs": ["x".repeat(2000)] });
    let client = json!({ "client_identifier": "north", "name": "North", "sip": sip });
    assert_eq!(admin.post("/clients", client).await.wrong_fields(), ["sip.codecs[0]"]);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let send = |request: RequestBuilder| request.header("Content-Type", kind).body("{}");
        admin.send(Method::POST, "/campaigns", send).await.refused(415, "media_type");
    }
    site.settle().await;
}

async fn a_version_is_an_etag_to_be_sent_back(site: Site) {
    let acme = site.as_seller("acme").await;
    let made = acme.post("/campaigns", json!({ "name": "Solar" })).await;
    assert_eq!(made.headers["etag"], "\"1\"");
    let path = format!("/campaigns/{}", made.expect(201)["id"]);
    let tag = acme.get(&path).await.headers["etag"].clone();
    let with = |tag: reqwest::header::HeaderValue, name: &str| {
        let (acme, path, body) = (acme.clone(), path.clone(), json!({ "name": name }));
        async move { acme.send(Method::PATCH, &path, |request| request.header("If-Match", tag).json(&body)).await }
    };
    let changed = with(tag.clone(), "Wind").await;
    changed.expect(200);
    assert_eq!(changed.headers["etag"], "\"2\"");
    let stale = with(tag, "Late").await;
    stale.refused(412, "stale");
    assert!(!stale.headers.contains_key("etag"));
    with("*".parse().expect("a header"), "Whatever").await.expect(200);
    for wrong in [&b"abc"[..], b"W/\"3\"", b"", b"\xff"] {
        let wrong = reqwest::header::HeaderValue::from_bytes(wrong).expect("a header");
        let problem = with(wrong, "Wrong").await.refused(400, "malformed");
        assert_eq!(problem["errors"][0]["field"], "If-Match");
    }
    assert!(!acme.get("/campaigns").await.headers.contains_key("etag"), "a list has no version");
    site.settle().await;
}

async fn pages_of_configured_origins_only_may_call(mut site: Site) {
    const PANEL: &str = "https://panel.example.com";
    let ask = |request: RequestBuilder, origin: &str| {
        request.header("Origin", origin).header("Access-Control-Request-Method", "PATCH")
    };
    let off = site.as_nobody().send(Method::OPTIONS, "/users", |request| ask(request, PANEL)).await;
    off.refused(405, "method");
    assert!(!off.headers.contains_key("access-control-allow-origin"));
    site.config.api.cors_origins = vec![PANEL.to_owned()];
    site.restart().await;
    let nobody = site.as_nobody();
    let preflight = nobody.send(Method::OPTIONS, "/users", |request| ask(request, PANEL)).await;
    preflight.expect(204);
    assert_eq!(preflight.headers["access-control-allow-origin"], PANEL);
    assert!(preflight.headers["access-control-allow-methods"].to_str().expect("text").contains("PATCH"));
    for header in ["Authorization", "If-Match", "Idempotency-Key"] {
        assert!(preflight.headers["access-control-allow-headers"].to_str().expect("text").contains(header), "{header}");
    }
    assert!(!preflight.headers.contains_key("access-control-allow-credentials"), "no cookies are used");
    // Refusals can be read as well.
    let refused = nobody.send(Method::GET, "/users", |request| request.header("Origin", PANEL)).await;
    refused.refused(401, "credential");
    assert_eq!(refused.headers["access-control-allow-origin"], PANEL);
    assert!(refused.headers["access-control-expose-headers"].to_str().expect("text").contains("ETag"));
    assert_eq!(refused.headers["vary"], "origin");
    for other in ["https://panel.example.com.evil.example", "http://panel.example.com", "null"] {
        let foreign = nobody.send(Method::OPTIONS, "/users", |request| ask(request, other)).await;
        assert!(!foreign.headers.contains_key("access-control-allow-origin"), "{other}");
    }
    site.settle().await;
}

async fn readiness_is_a_word_to_all_and_more_to_admins(site: Site) {
    let outside = site.outside();
    assert_eq!(outside.get("/readyz").await.expect(200), json!({ "status": "ready" }));
    site.as_seller("acme").await;
    for who in ["acme", "admin"] {
        let tokens = site.log_in(who, PASSWORD).await;
        let asked = outside.with_access_token(tokens["access_token"].as_str().expect("a token"));
        let told = asked.get("/readyz").await.expect(200);
        assert_eq!(told["details"].is_object(), who == "admin", "{told}");
        if who == "admin" {
            let details = &told["details"];
            assert_eq!((&details["database"], &details["nodes"][0]["name"]), (&json!(true), &json!("pbx")));
            assert!(details["snapshot_age_seconds"].as_f64().is_some_and(|age| age < 10.0), "{details}");
        }
    }
    // A credential that is not good makes it no less ready.
    assert_eq!(outside.with_api_token("cck_x").get("/readyz").await.expect(200), json!({ "status": "ready" }));
    site.settle().await;
}

async fn metrics_want_a_token_or_a_listener_of_their_own(mut site: Site) {
    let (outside, admin) = (site.outside(), site.as_admin().await);
    outside.get("/metrics").await.refused(404, "not_found");
    site.config.api.metrics_token = Some(TOKEN.to_owned().into());
    site.restart().await;
    outside.get("/metrics").await.refused(401, "credential");
    for wrong in ["", "thirty-two bytes of a metrics tokem", "thirty-two bytes of a metrics token2"] {
        outside.with_access_token(wrong).get("/metrics").await.refused(401, "credential");
    }
    let scraped = outside.with_access_token(TOKEN).get("/metrics").await;
    assert!(scraped.status == 200 && scraped.text.contains("capconduit_calls_total"), "{}", scraped.text);
    // It opens nothing else.
    site.as_nobody().with_access_token(TOKEN).get("/users").await.refused(401, "credential");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let own = listener.local_addr().expect("an address");
    drop(listener);
    site.config.api.metrics_token = None;
    site.config.api.metrics_listen = Some(own);
    site.restart().await;
    outside.get("/metrics").await.refused(404, "not_found");
    let alone = Caller::nobody(format!("http://{own}"));
    assert!(alone.get("/metrics").await.text.contains("capconduit_permits_held"));
    alone.get("/api/v1/users").await.refused(404, "not_found");
    admin.get("/users").await.expect(200);
    site.settle().await;
}

/// Whatever an operator is to watch is there.
async fn the_exposition_is_complete(mut site: Site) {
    site.config.api.metrics_token = Some(TOKEN.to_owned().into());
    site.restart().await;
    let metrics = site.outside().with_access_token(TOKEN);
    let traffic = Traffic::on(site).await;
    traffic.clients(Behaviour::answers(0), Behaviour::answers(0));
    let call = traffic.call(OWN);
    call.answered().await;
    let find = |text: &str, line: &str| text.lines().any(|found| found.starts_with(line));
    let talking = async {
        loop {
            let text = metrics.get("/metrics").await.text;
            if find(&text, "capconduit_cap_used{cap=\"link\",id=\"1\"} 1") || find(&text, "capconduit_permits_held 1") {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let text = tokio::time::timeout(crate::patience::PATIENCE, talking).await.expect("a permit is held");
    assert!(find(&text, "capconduit_calls_live{node=\"pbx\"} 1"), "{text}");
    assert!(find(&text, "capconduit_cap_limit{cap=\"link\""), "{text}");
    call.hang_up();
    traffic.records(1).await;
    let text = metrics.get("/metrics").await.text;
    for line in [
        "capconduit_calls_total{ending=\"completed\"} 1",
        "capconduit_calls_total{ending=\"all_full\"} 0",
        "capconduit_attempts_total{outcome=\"answered\"} 1",
        "capconduit_attempts_total{outcome=\"busy\"} 0",
        "capconduit_setup_seconds_count 1",
        "capconduit_route_seconds_count 1",
        "capconduit_ari_events_total{",
        "capconduit_ari_requests_total{",
        "capconduit_ari_request_seconds_bucket{",
        "capconduit_ari_reconnects_total{node=\"pbx\"}",
        "capconduit_ari_event_queue_depth{node=\"pbx\"}",
        "capconduit_heartbeat_failures_total",
        "capconduit_records_waiting",
        "capconduit_record_lag_seconds",
        "capconduit_record_failures_total 0",
        "capconduit_routing_revision",
        "capconduit_api_request_seconds_count{operation=\"getReadiness\",status=\"2xx\"}",
        "capconduit_cap_used{cap=\"",
    ] {
        assert!(find(&text, line), "{line} in\n{text}");
    }
    traffic.settle().await;
}

crate::on_both_databases!(
    requests_are_counted_by_user_and_else_by_address,
    a_body_that_trickles_keeps_nobody_who_they_were,
    what_a_seller_learns_of_others_numbers_is_bounded,
    methods_bodies_and_paths_have_limits,
    a_version_is_an_etag_to_be_sent_back,
    pages_of_configured_origins_only_may_call,
    readiness_is_a_word_to_all_and_more_to_admins,
    metrics_want_a_token_or_a_listener_of_their_own,
    the_exposition_is_complete,
);
