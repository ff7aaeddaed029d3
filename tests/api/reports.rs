//! One seller's read token asks for all the reports it can: everybody else is served.

use std::time::Duration;

use capconduit::auth::principal::Actor;
use capconduit::auth::roles::{Role, Scope};
use capconduit::auth::secrets;
use capconduit::clock::Clock;
use capconduit::id::UserId;
use capconduit::store::tokens;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::caller::{Answer, Caller};
use crate::held::Held;
use crate::on_both_databases;
use crate::patience::PATIENCE;
use crate::site::{Database, PASSWORD, Site};

on_both_databases!(a_summary_covers_as_many_days_as_it_may);

const BY_CLIENT: &str = "/calls/summary?group_by=client";

/// A token of a seller that may only read.
async fn read_token(site: &Site) -> Caller {
    let user = UserId(site.user("acme", Role::Seller).await);
    let secret = secrets::api_token();
    let (name, hash) = ("panel".to_owned(), secrets::hash(&secret));
    let new = tokens::NewToken { user, name, hash, scope: Scope::Read, expires_at: None };
    tokens::create(&site.db, Actor::System("cli"), new, 10, Clock::start().now().wall).await.expect("made");
    site.as_nobody().with_api_token(secret.expose_secret())
}

async fn hold(site: &Site) -> Held {
    match site.postgres_url() {
        Some(url) => Held::postgres(url).await,
        None => Held::sqlite(site.folder().join("capconduit.db")).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_summaries_keep_nobody_from_logging_in_pausing_and_asking_for_readiness_on_sqlite() {
    thirty_summaries(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_summaries_keep_nobody_from_logging_in_pausing_and_asking_for_readiness_on_postgres() {
    thirty_summaries(Database::Postgres).await;
}

/// Of one token.
async fn thirty_summaries(database: Database) {
    // However slow the machine is: the two that are under way stay so.
    let site = Site::start_with(database, |config| config.limits.report = Duration::from_secs(3600)).await;
    let (seller, staff) = (read_token(&site).await, site.as_staff().await);
    let owner = site.as_user("acme").await;
    let campaign = owner.post("/campaigns", json!({ "name": "Solar" })).await.expect(201);
    let held = hold(&site).await;
    let mut asked: FuturesUnordered<_> = (0..30).map(|_| seller.get(BY_CLIENT)).collect();
    // All but the two that are under way.
    for _ in 0..28 {
        let answer: Answer = next(&mut asked).await;
        let problem = answer.refused(429, "too_many_reports");
        assert!(problem["detail"].as_str().expect("text").contains("limits.reports_per_user"), "{problem}");
        assert!(answer.headers.contains_key("retry-after"), "{:?}", answer.headers);
    }
    let tokens: Value = site.log_in("admin", PASSWORD).await;
    assert!(tokens["access_token"].is_string());
    let paused = staff.patch(&format!("/campaigns/{}", campaign["id"]), json!({ "status": "paused" })).await;
    assert_eq!(paused.expect(200)["status"], "paused");
    site.in_force().await;
    assert_eq!(site.outside().get("/readyz").await.expect(200)["status"], "ready");
    // On SQLite there is a call, whose attempts are held.
    if site.postgres_url().is_some() {
        assert_eq!(staff.get("/calls").await.expect(200)["items"], json!([]), "others have places of their own");
    }
    let of_a_caller = seller.get("/calls?caller=%2B447700900123").await;
    assert_eq!(of_a_caller.expect(200)["items"], json!([]), "and what is quickly read needs none");
    assert!(held.is_at_work().await, "two are under way still");
    // The connections are closed with the requests.
    drop(asked);
    held.until_at_work(false).await;
    held.let_go().await;
    let served = async {
        while seller.get(BY_CLIENT).await.status == 429 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, served).await.expect("their places are free again");
    seller.get(BY_CLIENT).await.expect(200);
    site.settle().await;
}

async fn next<F: Future<Output = Answer>>(asked: &mut FuturesUnordered<F>) -> Answer {
    let answer = tokio::time::timeout(PATIENCE, asked.next()).await.expect("what is too much is refused at once");
    answer.expect("some are left")
}

async fn a_summary_covers_as_many_days_as_it_may(site: Site) {
    let seller = site.as_seller("acme").await;
    let path = "/calls/summary?group_by=day&to=2026-03-01T00:00:00Z&from=";
    let within = seller.get(&format!("{path}2025-01-25T00:00:00Z")).await.expect(200);
    assert_eq!(
        (&within["from"], &within["to"]),
        (&json!("2025-01-25T00:00:00+00:00"), &json!("2026-03-01T00:00:00+00:00"))
    );
    let refused = seller.get(&format!("{path}2025-01-24T23:59:59Z")).await;
    assert_eq!(refused.wrong_fields(), ["from"]);
    for part in ["2025-01-24T23:59:59+00:00", "400 days (limits.report_days)", "use 2025-01-25T00:00:00+00:00 or later"]
    {
        assert!(refused.text.contains(part), "{part} in {}", refused.text);
    }
    let without = seller.get("/calls/summary?group_by=day&to=2026-03-01T00:00:00Z").await.expect(200);
    assert_eq!(without["from"], "2025-01-25T00:00:00+00:00");
    site.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_summary_that_takes_too_long_says_what_to_narrow() {
    for database in [Database::Sqlite, Database::Postgres] {
        let site = Site::start_with(database, |config| config.limits.report = Duration::from_secs(1)).await;
        let seller = site.as_seller("acme").await;
        let held = hold(&site).await;
        let problem = seller.get(BY_CLIENT).await.refused(422, "report_too_long");
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains("1 seconds (limits.report_seconds)") && detail.contains("from, to"), "{detail}");
        assert_eq!(problem["errors"][0]["field"], "from");
        held.let_go().await;
        seller.get(BY_CLIENT).await.expect(200);
        site.settle().await;
    }
}
