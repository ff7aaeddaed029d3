//! What is said when PostgreSQL cannot be had: at once, with the cause and the key, never with a password.

use capconduit::config::Database;
use capconduit::store::{Db, users};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::helpers::Home;
use crate::patience::PATIENCE;
use crate::postgres::Postgres;

async fn refusal(url: String) -> String {
    let config = Database { url: SecretString::from(url), max_connections: 2, wait: PATIENCE };
    let error = Db::connect(&config).await.expect_err("there is no such database");
    let text = error.to_string();
    // Who waits until the time is up says that instead.
    assert!(!text.contains("no answer within"), "{text}");
    assert!(!format!("{text}{error:?}").contains("hunter2"), "{text}");
    assert!(text.contains("database.url"), "{text}");
    text
}

/// How many descriptors this process has of a file.
fn descriptors(path: &std::path::Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").expect("procfs").flatten();
    open.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|file| file == path)).count()
}

#[tokio::test]
async fn sqlite_has_its_descriptors_from_the_start() {
    let home = Home::sqlite();
    let db = home.migrated().await;
    let Home::Sqlite(folder) = &home else { return };
    let path = folder.path().canonicalize().expect("there").join("deep/er/main.db");
    assert_eq!(descriptors(&path), 4, "one of each connection");
    let all = (0..8).map(|n| {
        let db = db.clone();
        tokio::spawn(async move { users::credentials(&db, &n.to_string()).await.expect("read") })
    });
    for asked in all.collect::<Vec<_>>() {
        assert!(asked.await.expect("no panic").is_none());
    }
    assert_eq!(descriptors(&path), 4, "eight at once need no more");
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_refused_at_once() {
    // Port 9 (discard) of loopback: nobody listens there.
    let text = refusal("postgres://u:hunter2@127.0.0.1:9/n".to_owned()).await;
    for part in ["postgres 127.0.0.1:9/n", "Connection refused", "host and port"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn an_unknown_user_or_database_is_named_as_the_server_names_it() {
    let server = Postgres::start();
    let at = |user: &str, name: &str| format!("postgres://{user}:hunter2@127.0.0.1:{}/{name}", server.port());
    let text = refusal(at("postgres", "nowhere")).await;
    assert!(text.contains("database \"nowhere\" does not exist") && text.contains("createdb"), "{text}");
    let text = refusal(at("stranger", server.name())).await;
    assert!(text.contains("role \"stranger\" does not exist") && text.contains("user and password"), "{text}");
}

/// What PostgreSQL answers to a wrong password; the tests' own server trusts everybody.
async fn refuse_the_password(listener: tokio::net::TcpListener) {
    let (mut client, _) = listener.accept().await.expect("a client");
    let mut length = [0; 4];
    // First whether TLS is spoken here (8 bytes; no), then the start-up packet.
    for answer in [&b"N"[..], b"E\0\0\0\x29SFATAL\0C28P01\0Mwrong password for u\0\0"] {
        client.read_exact(&mut length).await.expect("a packet");
        let mut rest = vec![0; u32::from_be_bytes(length) as usize - 4];
        client.read_exact(&mut rest).await.expect("all of it");
        client.write_all(answer).await.expect("it listens");
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_as_that() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("postgres://u:hunter2@{}/n", listener.local_addr().expect("bound"));
    let server = tokio::spawn(refuse_the_password(listener));
    let text = refusal(url).await;
    assert!(text.contains("wrong password for u") && text.contains("correct user and password"), "{text}");
    server.await.expect("it answered");
}
