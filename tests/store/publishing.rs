//! The `ps_*` rows as Asterisk would read them.

use std::os::unix::fs::PermissionsExt;

use capconduit::config::Realtime;
use capconduit::plan::{Document, Screening};
use capconduit::realtime::{Md5Cred, Password};
use capconduit::store::apply::apply;
use capconduit::store::realtime::{Unfit, inspect, publish};
use capconduit::store::{Db, StoreError};
use sqlx::{Connection, Row};

use crate::helpers::{Home, on_both};

on_both!(rows_follow_the_clients_and_foreign_ones_go, a_second_publish_writes_nothing);

const CLIENTS: &str = r#"
[[clients]]
identifier = "north"
name = "North"
[clients.sip]
host = "203.0.113.7"
transport = "tcp"
identify_by_ip = ["203.0.113.7", "203.0.113.8"]
[[clients]]
identifier = "reg"
name = "Reg"
status = "paused"
[clients.sip]
registration = { username = "reg", password = "hunter2" }
"#;

/// Runs SQL where Asterisk would; the first column of every row.
async fn asterisk(home: &Home, statement: &str) -> Vec<String> {
    let text = sqlx::AssertSqlSafe(statement.to_owned());
    match (home, home.realtime()) {
        (_, Realtime::Sqlite { path }) => {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.expect("the file opens");
            let rows = sqlx::query(text).fetch_all(&mut connection).await.expect(statement);
            rows.iter().map(|row| row.get(0)).collect()
        }
        (Home::Postgres(postgres), _) => {
            let mut connection = sqlx::PgConnection::connect(&postgres.url()).await.expect("the server answers");
            let rows = sqlx::query(text).fetch_all(&mut connection).await.expect(statement);
            rows.iter().map(|row| row.get(0)).collect()
        }
        (Home::Sqlite(_), Realtime::Postgres) => unreachable!("SQLite homes have a file"),
    }
}

async fn applied(home: &Home, db: &Db, toml: &str) {
    let document = Document::parse(toml).expect("TOML of that form");
    apply(db, &home.realtime(), &Screening::default(), &document, true).await.expect("applies");
    // In PostgreSQL the rows are there with the commit; the file is published by `serve`.
    if let Realtime::Sqlite { .. } = home.realtime() {
        publish(db, &home.realtime()).await.expect("publishes");
    }
}

async fn rows_follow_the_clients_and_foreign_ones_go(home: Home) {
    let db = home.migrated().await;
    applied(&home, &db, CLIENTS).await;
    assert_eq!(asterisk(&home, "SELECT id FROM ps_endpoints ORDER BY id").await, ["north", "reg"]);
    let semicolon = if db.is_postgres() { "^3B" } else { ";" };
    let contact = asterisk(&home, "SELECT contact FROM ps_aors WHERE id = 'north'").await;
    assert_eq!(contact, [format!("sip:north@203.0.113.7:5060{semicolon}transport=tcp")]);
    let by_ip = asterisk(&home, "SELECT \"match\" FROM ps_endpoint_id_ips WHERE endpoint = 'north'").await;
    assert_eq!(by_ip, ["203.0.113.7,203.0.113.8"]);
    let realm = asterisk(&home, "SELECT realm FROM ps_auths").await.remove(0);
    let cred = Md5Cred::within(&realm, &"reg".parse().expect("a name"), &Password::new("hunter2".into()));
    let credentials = asterisk(&home, "SELECT auth_type || md5_cred FROM ps_auths WHERE password IS NULL").await;
    assert_eq!(credentials, [format!("md5{}", cred.expose())]);
    assert_eq!(asterisk(&home, "SELECT aors FROM ps_endpoints WHERE id = 'reg'").await, [format!("reg@{realm}")]);

    asterisk(&home, "INSERT INTO ps_endpoints (id, context) VALUES ('toll', 'outbound')").await;
    asterisk(&home, "UPDATE ps_endpoints SET allow_transfer = 'yes', set_var = 'x' WHERE id = 'north'").await;
    assert_eq!(publish(&db, &home.realtime()).await.expect("publishes"), 2);
    assert_eq!(asterisk(&home, "SELECT allow_transfer FROM ps_endpoints WHERE set_var IS NULL").await, ["no", "no"]);

    applied(&home, &db, "").await;
    for table in capconduit::realtime::TABLES {
        assert_eq!(asterisk(&home, &format!("SELECT id FROM {table}")).await, Vec::<String>::new(), "{table}");
    }
}

async fn a_second_publish_writes_nothing(home: Home) {
    let db = home.migrated().await;
    applied(&home, &db, CLIENTS).await;
    for _ in 0..2 {
        assert_eq!(publish(&db, &home.realtime()).await.expect("publishes"), 0);
    }
}

#[tokio::test]
async fn the_file_is_shared_by_group_and_nobody_else() {
    let home = Home::sqlite();
    let db = home.migrated().await;
    let Realtime::Sqlite { path } = home.realtime() else { panic!("a file") };
    assert_eq!(publish(&db, &home.realtime()).await.expect("publishes"), 0);
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(path.parent().expect("a folder"))), (0o660, 0o2770));
    let mut reader = sqlx::SqliteConnection::connect_with(&sqlx::sqlite::SqliteConnectOptions::new().filename(&path))
        .await
        .expect("the file opens");
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut reader).await.expect("asked");
    assert_eq!(journal, "wal");
    sqlx::query("SELECT count(*) FROM ps_endpoints").fetch_one(&mut reader).await.expect("read");
    assert_eq!(mode(&path.with_extension("db-wal")), 0o660);
    drop(reader);
    let refused = publish(&db, &Realtime::Postgres).await.expect_err("the main database is a file");
    assert!(matches!(refused, StoreError::RealtimeNeedsPostgres), "{refused}");
}

#[tokio::test]
async fn a_file_is_fit_only_when_it_can_be_written_and_has_its_tables() {
    let home = Home::sqlite();
    let db = home.migrated().await;
    let Realtime::Sqlite { path } = home.realtime() else { panic!("a file") };
    assert_eq!(inspect(&path).await, Err(Unfit::Absent));
    assert!(!path.exists(), "looking makes nothing");
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    // As Asterisk leaves it when it starts first.
    std::fs::write(&path, "").expect("written");
    assert_eq!(inspect(&path).await, Err(Unfit::NoTables));
    assert_eq!(std::fs::metadata(&path).expect("there").len(), 0, "looking changes nothing");
    publish(&db, &home.realtime()).await.expect("publishes");
    assert_eq!(inspect(&path).await, Ok(()));
    std::fs::write(&path, [b'x'; 4096]).expect("written");
    assert!(matches!(inspect(&path).await, Err(Unfit::Unwritable(_))));
    std::fs::remove_file(&path).expect("removed");
    std::fs::create_dir(&path).expect("made");
    assert!(matches!(inspect(&path).await, Err(Unfit::Unwritable(_))));
}
