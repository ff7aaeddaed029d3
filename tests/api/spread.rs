//! Changes reach every process that shares a PostgreSQL.

use std::time::Duration;

use serde_json::json;

use crate::caller::Caller;
use crate::patience::PATIENCE;
use crate::site::{Database, PASSWORD, Site};

/// Two processes' worth of application on one database.
async fn two() -> (Site, Site) {
    let one = Site::start(Database::Postgres).await;
    let url = one.config.database.url.clone();
    let two = Site::start_with(Database::Sqlite, |config| config.database.url = url).await;
    (one, two)
}

/// A change over the API of one is in the other's routing within a second.
async fn spreads(one: &Site, two: &Site, admin: &Caller, name: &str) {
    let client = json!({ "client_identifier": name, "name": name, "sip": { "host": "203.0.113.7" } });
    let tokens = two.log_in("admin", PASSWORD).await;
    let there = two.outside().with_access_token(tokens["access_token"].as_str().expect("a token"));
    admin.post("/clients", client).await.expect(201);
    let revision = capconduit::store::snapshot::revision(&one.db).await.expect("read");
    let in_force = async {
        loop {
            if there.get("/readyz").await.expect(200)["details"]["routing_revision"] == json!(revision) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, in_force).await.expect("the other has it too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_made_through_one_is_in_force_in_the_other() {
    let (one, two) = two().await;
    let admin = one.as_admin().await;
    spreads(&one, &two, &admin, "north").await;
    spreads(&one, &two, &admin, "south").await;
    two.settle().await;
    one.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_which_nobody_is_told_is_in_force_as_well() {
    let (one, two) = two().await;
    let admin = one.as_admin().await;
    // As a pooler in front of PostgreSQL does that passes no notifications on.
    one.sql("ALTER TABLE routing_revision DISABLE TRIGGER USER").await.expect("nobody tells");
    spreads(&one, &two, &admin, "north").await;
    two.settle().await;
    one.settle().await;
}
