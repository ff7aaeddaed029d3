//! Whatever a caller sends, the answer is one that the document allows, and never 5xx: schemathesis as each role, for a bounded time.

use capconduit::auth::roles::Role;
use serde_json::json;
use tempfile::TempDir;

use crate::fake_ari::Behaviour;
use crate::site::{Database, Site};
use crate::tools::{program, succeed};

/// For one role on one database.
const SECONDS: &str = "40";

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
    fuzzer.args(["-m", "schemathesis.cli", "--config-file", "tests/spec/schemathesis.toml", "run"]);
    fuzzer.arg(format!("openapi/{role}.yaml")).args(["--url", &format!("http://{}", site.config.api.listen)]);
    fuzzer.args(["--header", &token, "--max-time", SECONDS, "--generation-database", "none", "--no-color"]);
    fuzzer.env("HOME", folder.path());
    succeed(&mut fuzzer).await;
    site.outside().get("/healthz").await.expect(200);
    site.settle().await;
}

/// Something of everything, so that ids of the examples are good.
async fn furnish(site: &Site) {
    site.user("acme", Role::Seller).await;
    let admin = site.as_admin().await;
    let seller = admin.get("/users?role=seller").await.expect(200)["items"][0]["id"].clone();
    for name in ["north", "south"] {
        let client = json!({ "client_identifier": name, "name": name, "sip": { "host": "127.0.0.11" } });
        let client = admin.post("/clients", client).await.expect(201)["id"].clone();
        let campaign = json!({ "name": name, "seller_id": seller });
        let campaign = admin.post("/campaigns", campaign).await.expect(201)["id"].clone();
        let link = json!({ "client_id": client, "max_concurrency": 2, "status": "active" });
        admin.post(&format!("/campaigns/{campaign}/links"), link).await.expect(201);
        let did =
            json!({ "number": if name == "north" { "+442071234567" } else { "+442071234568" }, "seller_id": seller });
        let did = admin.post("/dids", did).await.expect(201)["id"].clone();
        admin.send(reqwest::Method::PUT, &format!("/campaigns/{campaign}/dids/{did}"), |r| r).await.expect(204);
        site.asterisk.endpoint(name, Behaviour::answers(10));
    }
}
