//! Whatever a caller sends, the answer is one that the document allows, and never 5xx: schemathesis as each role, for a bounded time.

use capconduit::auth::roles::Role;
use capconduit::cdr::record::CallRecord;
use capconduit::store::records;
use secrecy::ExposeSecret;
use serde_json::json;
use tempfile::TempDir;

use crate::fake_ari::Behaviour;
use crate::patience::PATIENCE;
use crate::site::{Database, Site};
use crate::tools::{program, repository, succeed};

/// For one role on one database, in seconds; the environment's `FUZZ_SECONDS` and `FUZZ_SEED` make it another one.
const SECONDS: &str = "40";
/// So that a run can be repeated; it finds the more, the longer it may take.
const SEED: &str = "1";
/// Ids that the examples of the document name.
const EXAMPLES: [(&str, i64); 5] =
    [("users", 3), ("dids", 12), ("clients", 7), ("campaigns", 5), ("campaign_client_settings", 9)];
/// The call that they name.
const CALL: &str = "0199c3a0-7c3e-7d2b-8a51-3f0e5b7c9d10";

macro_rules! fuzzed {
    ($($database:ident $variant:ident: $($name:ident $role:ident),+;)+) => { $(
        mod $database { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::fuzz(super::Database::$variant, super::Role::$role).await; }
        )+ }
    )+ };
}

fuzzed! {
    sqlite Sqlite: no_answer_to_an_admin_leaves_the_document Admin, no_answer_to_staff_leaves_the_document Staff,
        no_answer_to_a_seller_leaves_the_document Seller;
    postgres Postgres: no_answer_to_an_admin_leaves_the_document Admin, no_answer_to_staff_leaves_the_document Staff,
        no_answer_to_a_seller_leaves_the_document Seller;
}

async fn fuzz(database: Database, role: Role) {
    let site = Site::start(database).await;
    furnish(&site).await;
    let username = if role == Role::Seller { "acme" } else { role.as_str() };
    if role == Role::Staff {
        site.as_staff().await;
    }
    let tokens = site.log_in(username, crate::site::PASSWORD).await;
    let token = format!("Authorization: Bearer {}", tokens["access_token"].as_str().expect("a token"));
    let folder = TempDir::new().expect("a folder");
    let mut fuzzer = program("python");
    fuzzer.args(["-m", "schemathesis.cli", "--config-file"]).arg(repository("tests/spec/schemathesis.toml")).arg("run");
    fuzzer.arg(repository(&format!("openapi/{role}.yaml")));
    fuzzer.args(["--url", &format!("http://{}", site.config.api.listen)]);
    let set = |name, otherwise: &str| std::env::var(name).unwrap_or_else(|_| otherwise.to_owned());
    fuzzer.args(["--header", &token, "--generation-database", "none", "--no-color"]);
    fuzzer.args(["--max-time", &set("FUZZ_SECONDS", SECONDS), "--seed", &set("FUZZ_SEED", SEED)]);
    // How long an answer may take is not what it looks for.
    fuzzer.args(["--request-timeout", &PATIENCE.as_secs().to_string()]);
    // It leaves things behind where it runs.
    fuzzer.current_dir(folder.path()).env("HOME", folder.path());
    succeed(&mut fuzzer).await;
    site.outside().get("/healthz").await.expect(200);
    site.settle().await;
}

/// Something of everything, with the ids of the examples.
async fn furnish(site: &Site) {
    for (table, id) in EXAMPLES {
        next_id(site, table, id).await;
    }
    site.user("acme", Role::Seller).await;
    let admin = site.as_admin().await;
    let client = json!({ "client_identifier": "south", "name": "South", "sip": { "host": "127.0.0.11" } });
    admin.post("/clients", client).await.expect(201);
    let did = json!({ "number": "+442071234569", "seller_id": 3 });
    admin.post("/dids", did).await.expect(201);
    admin.post("/campaigns", json!({ "name": "Wind", "seller_id": 3 })).await.expect(201);
    let link = json!({ "client_id": 7, "max_concurrency": 2, "status": "active" });
    admin.post("/campaigns/5/links", link).await.expect(201);
    admin.send(reqwest::Method::PUT, "/campaigns/5/dids/12", |request| request).await.expect(204);
    site.asterisk.endpoint("south", Behaviour::answers(10).hanging_up_after(20));
    site.in_force().await;
    site.asterisk.incoming("capconduit-1", "+442071234569", "+447700900123").ended().await;
    let mut found = Vec::new();
    while found.is_empty() {
        found = records::recent(&site.db, 1).await.expect("read");
    }
    let call = CallRecord { call_id: CALL.parse().expect("an id"), ..found.remove(0) };
    records::write(&site.db, &[call]).await.expect("written");
}

/// The next row of the table gets this id.
async fn next_id(site: &Site, table: &str, id: i64) {
    if site.config.database.url.expose_secret().starts_with("postgres") {
        let set = format!("SELECT CAST(setval(pg_get_serial_sequence('{table}', 'id'), {}) AS TEXT)", id - 1);
        site.sql(&set).await.expect("set");
        return;
    }
    for statement in [
        format!("DELETE FROM sqlite_sequence WHERE name = '{table}' RETURNING name"),
        format!("INSERT INTO sqlite_sequence (name, seq) VALUES ('{table}', {}) RETURNING name", id - 1),
    ] {
        site.sql(&statement).await.expect("set");
    }
}
