//! PostgreSQL as it is found: a standby, a pooler before it, a role that may little, another encoding, TLS: one sentence each.

use capconduit::config::{Database, Realtime};
use capconduit::store::{self, Db, StoreError, records, server};
use secrecy::SecretString;

use crate::helpers::Home;
use crate::patience::PATIENCE;
use crate::postgres::{Own, Pgbouncer, Postgres};
use crate::recording::record;

const FILE: Realtime = Realtime::Postgres;

async fn connect(url: String) -> Result<Db, StoreError> {
    Db::connect(&Database { url: SecretString::from(url), max_connections: 4, wait: PATIENCE }).await
}

/// The error's sentence: in one line, with these parts, and nothing told twice.
fn sentence(error: StoreError, parts: &[&str]) {
    let told = capconduit::telemetry::chain(&anyhow::Error::from(error));
    for part in parts {
        assert_eq!(told.matches(part).count(), 1, "{part:?} once in: {told}");
    }
    assert!(!told.contains('\n') && told.len() < 400, "{told}");
}

/// The very thing: its primary is gone, and nobody has promoted it yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_told_of_takes_no_changes_and_takes_them_once_it_is_promoted() {
    let primary = Postgres::start();
    let db = connect(primary.url()).await.expect("it opens");
    store::migrate(&db, &FILE).await.expect("the steps run");
    db.close().await.expect("closed");
    let standby = Own::standby(&primary);
    let db = connect(standby.url(primary.name())).await.expect("it can be read");
    assert!(server::look(&db).await.expect("it answers").read_only);
    store::migrate(&db, &FILE).await.expect("nothing is to be made");
    let refused = records::write(&db, &[record(1, Vec::new())]).await.expect_err("it is read only");
    assert!(refused.is_read_only() && !refused.is_refusal(), "the record is good: it waits");
    sentence(refused, &["read-only transaction", "promote it", "database.url"]);

    standby.psql(primary.name(), "SELECT pg_promote()");
    assert!(!server::look(&db).await.expect("it answers").read_only, "over the connections that there are");
    assert_eq!(records::write(&db, &[record(1, Vec::new())]).await.expect("it takes changes"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_is_refused_where_it_takes_sessions_away_and_works_where_it_does_not() {
    let postgres = Postgres::start();
    for mode in ["transaction", "statement"] {
        let pooled = Pgbouncer::start(&postgres, mode);
        let refused = connect(pooled.url(postgres.name())).await.expect_err("its sessions come and go");
        sentence(refused, &["a pooler gives each transaction another session", "pool_mode = session", "database.url"]);
    }
    let pooled = Pgbouncer::start(&postgres, "session");
    let db = connect(pooled.url(postgres.name())).await.expect("each connection has its session");
    store::migrate(&db, &FILE).await.expect("the steps run");
    assert_eq!(records::write(&db, &[record(1, Vec::new())]).await.expect("written"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_make_no_tables_is_told_so_and_serves_where_they_are_there() {
    let home = Home::postgres();
    let Home::Postgres(postgres) = &home else { unreachable!("it is one") };
    let role = format!("maker_{}", postgres.name());
    postgres.psql(&format!("CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC"));
    let url = postgres.url().replace("postgres@", &format!("{role}@"));
    let db = connect(url.clone()).await.expect("it may look");
    let refused = store::migrate(&db, &FILE).await.expect_err("it may make nothing");
    sentence(refused, &["permission denied for schema public", "GRANT CREATE", "capconduit migrate"]);
    db.close().await.expect("closed");

    home.migrated().await;
    postgres.psql(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"));
    let db = connect(url).await.expect("it may look");
    store::migrate(&db, &FILE).await.expect("nothing is to be made");
}

#[tokio::test]
async fn another_encoding_is_refused_before_a_table_is_made() {
    let postgres = Postgres::start();
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = format!("{}_{}", postgres.name(), encoding.to_lowercase());
        postgres.psql(&format!(
            "CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        ));
        let db = connect(postgres.url().replace(postgres.name(), &name)).await.expect("it opens");
        assert_eq!(server::look(&db).await.expect("it answers").encoding, encoding);
        sentence(
            store::migrate(&db, &FILE).await.expect_err("names would be lost"),
            &[encoding, "--encoding=UTF8", "database.url"],
        );
        assert_eq!(
            store::pending(&db, &FILE).await.expect("it can be read").first().map(String::is_empty),
            Some(false)
        );
    }
}

#[tokio::test]
async fn a_certificate_by_an_unknown_issuer_is_called_that() {
    let server = Own::with_tls();
    let at = |options: &str| format!("{}?{options}", server.url("postgres").replace("127.0.0.1", "localhost"));
    connect(at("sslmode=require")).await.expect("encrypted, by whomever");
    let refused = connect(at("sslmode=verify-full")).await.expect_err("nobody knows the issuer");
    sentence(refused, &["its certificate is not trusted", "sslrootcert in database.url"]);
    let refused = connect(
        server.url("postgres").replace("127.0.0.1", "localhost") + "?sslmode=verify-full&sslrootcert=/nonexistent",
    );
    sentence(refused.await.expect_err("no such file"), &["No such file", "sslrootcert"]);
    let plain = Postgres::start();
    let refused = connect(format!("{}?sslmode=require", plain.url())).await.expect_err("it speaks none");
    sentence(refused, &["sslmode"]);
}
