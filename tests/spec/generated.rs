//! A client made of `openapi/seller.yaml` works: with it a seller signs in, sets up its routing and reads a call's record.

use capconduit::auth::roles::Role;
use serde_json::json;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::fake_ari::Behaviour;
use crate::patience::PATIENCE;
use crate::site::{Database, PASSWORD, Site};
use crate::tools::{program, succeed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_works_with_a_generated_client_on_sqlite() {
    a_seller_works_with_a_generated_client(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_works_with_a_generated_client_on_postgres() {
    a_seller_works_with_a_generated_client(Database::Postgres).await;
}

async fn a_seller_works_with_a_generated_client(database: Database) {
    let folder = TempDir::new().expect("a folder");
    let package = folder.path().join("capconduit_seller");
    let generate = ["-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning"];
    let from = ["--path", "openapi/seller.yaml", "--config", "tests/spec/client.yaml", "--output-path"];
    succeed(program("python").args(generate).args(from).arg(&package)).await;

    let site = Site::start(database).await;
    site.user("acme", Role::Seller).await;
    let north = json!({ "client_identifier": "north", "name": "North", "sip": { "host": "127.0.0.11" } });
    site.as_admin().await.post("/clients", north).await.expect(201);
    site.asterisk.endpoint("north", Behaviour::answers(10).hanging_up_after(60));

    let mut seller = program("python");
    let base = format!("http://{}", site.config.api.listen);
    seller.arg("tests/spec/seller.py").args([&base, PASSWORD]).env("PYTHONPATH", folder.path());
    let mut seller = seller.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut told = BufReader::new(seller.stdout.take().expect("its output")).lines();
    let mut next =
        async || tokio::time::timeout(PATIENCE, told.next_line()).await.expect("a line in time").expect("text");
    assert_eq!(next().await.as_deref(), Some("ready"));
    site.in_force().await;
    site.asterisk.incoming("capconduit-1", "+442071234567", "+447700900123").ended().await;
    seller.stdin.take().expect("its input").write_all(b"go\n").await.expect("told");
    assert!(next().await.is_some_and(|line| line.starts_with("read ")), "the record is read");
    assert!(seller.wait().await.expect("it ends").success());
    site.settle().await;
}
