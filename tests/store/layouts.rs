//! Files that earlier versions have left, as they were: the journal and `realtime.db` of 217f4c8, which had no number for their layout yet.
//! A version with another layout adds its own files here.

use std::path::{Path, PathBuf};

use capconduit::config::{self, Realtime};
use capconduit::store::journal::aside::{self, Aside};
use capconduit::store::journal::{Held, inspect};
use capconduit::store::realtime::{Unfit, publish};
use capconduit::store::{self, StoreError, records};
use tempfile::TempDir;

use crate::helpers::Home;
use crate::recording::moment;

const LIMITS: config::Journal = config::Journal { max_records: 1_000, min_free_bytes: 1 };

/// A copy of a checked-in file, in a folder of its own under the name by which it is known.
fn copy(file: &str, name: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join(name);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/layouts").join(file);
    std::fs::copy(from, &path).expect("a checked-in file");
    (folder, path)
}

async fn pragma(path: &Path, statement: &str) -> i64 {
    use sqlx::{Connection, Row};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.expect("it opens");
    let rows = sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).fetch_all(&mut connection).await.expect("SQL");
    let number = rows.first().map_or(0, |row| row.get::<i64, _>(0));
    connection.close().await.expect("closed");
    number
}

fn refused_naming(error: &StoreError, command: &str) {
    let sentence = error.to_string();
    assert!(sentence.contains("newer version") && sentence.contains(command), "{sentence}");
}

#[tokio::test]
async fn the_journal_of_217f4c8_is_opened_with_all_that_is_in_it() {
    let (_folder, path) = copy("journal-217f4c8.db", "journal.db");
    let (journal, left) = store::journal::open(path.clone(), LIMITS).await.expect("it opens");
    let [call] = &left.calls[..] else { panic!("one call was under way: {left:?}") };
    assert!(call.record.uniqueid == "17.4" && call.legs.len() == 1 && call.record.trace.is_some(), "{call:?}");
    assert!(left.alive.is_some() && !left.same_boot);
    let waiting = journal.oldest(0, 10).await;
    assert_eq!(waiting.iter().map(|it| it.record.uniqueid.as_str()).collect::<Vec<_>>(), ["17.1", "17.2"]);
    assert_eq!(journal.counted().await.len(), 1);
    drop(journal);
    let held = Held { layout: 1, open: 1, waiting: 2, set_aside: 1 };
    assert_eq!(inspect(path).await.expect("readable"), Some(held));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_journal_is_set_aside_calls_go_on_and_all_of_it_is_read_back() {
    let (folder, path) = copy("journal-217f4c8.db", "journal.db");
    // As a newer version might leave it: another number, another column, one call that nobody here can read.
    pragma(&path, "ALTER TABLE open_calls ADD COLUMN later TEXT").await;
    pragma(&path, "INSERT INTO open_calls (call, body) VALUES (x'01', '{\"of\": \"tomorrow\"}')").await;
    pragma(&path, "PRAGMA user_version = 99").await;
    refused_naming(
        &store::journal::open(path.clone(), LIMITS).await.expect_err("it is newer"),
        "capconduit journal set-aside",
    );
    refused_naming(&inspect(path.clone()).await.expect_err("it is newer"), "capconduit journal set-aside");

    let moved = aside::set_file_aside(folder.path(), moment(0)).expect("it is moved");
    let Aside { path: old, carried, unread } = &moved;
    assert_eq!((*carried, *unread), (1, 1));
    let (journal, left) = store::journal::open(path.clone(), LIMITS).await.expect("a new one");
    assert_eq!(left.calls.iter().map(|call| call.legs.len()).collect::<Vec<_>>(), [1], "its permit is held");
    assert!(journal.oldest(0, 10).await.is_empty());
    drop(journal);
    assert_eq!(aside::files(folder.path()).expect("readable"), [path.clone(), old.clone()]);
    assert!(aside::set_aside(old, 9).is_err(), "not by this version");

    // The version that knows it reads it back.
    pragma(old, "PRAGMA user_version = 1").await;
    let home = Home::sqlite();
    let db = home.migrated().await;
    assert_eq!(aside::set_aside(old, 9).expect("readable")[0].why, "database: it was refused");
    let restored = aside::restore(&db, folder.path(), old).await.expect("it is read back");
    assert_eq!((restored.written, restored.open, restored.kept.len()), (3, 1, 0), "{restored:?}");
    assert_eq!(records::recent(&db, 10).await.expect("read").len(), 3);
    let again = aside::restore(&db, folder.path(), old).await.expect("nothing is left");
    assert_eq!((again.written, again.open), (0, 0));
    assert_eq!(inspect(path).await.expect("readable").map(|held| held.open), Some(1), "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_realtime_file_of_217f4c8_is_brought_up_and_a_newer_one_is_made_anew_where_it_is() {
    let (folder, path) = copy("realtime-217f4c8.db", "realtime.db");
    let home = Home::sqlite();
    let db = home.migrated().await;
    let mode = Realtime::Sqlite { path: path.clone() };
    assert_eq!(publish(&db, &mode).await.expect("it is brought up"), 1, "the client that is gone goes");
    assert_eq!(pragma(&path, "PRAGMA user_version").await, 2);
    assert_eq!(
        pragma(&path, "SELECT count(suppress_moh_on_sendonly) FROM ps_endpoints").await,
        0,
        "the column is there"
    );

    pragma(&path, "CREATE TABLE ps_tomorrow (id TEXT)").await;
    pragma(&path, "INSERT INTO realtime_migrations VALUES ('m29991231_000099_tomorrow', 1)").await;
    pragma(&path, "PRAGMA user_version = 99").await;
    refused_naming(&publish(&db, &mode).await.expect_err("it is newer"), "capconduit realtime set-aside");
    let Err(Unfit::Newer(sentence)) = store::realtime::inspect(&path).await else { panic!("it is newer") };
    assert!(sentence.contains("capconduit realtime set-aside"), "{sentence}");

    // Asterisk has it open all the while.
    use sqlx::Connection;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).read_only(true);
    let mut asterisk = sqlx::SqliteConnection::connect_with(&options).await.expect("it opens");
    let aside = store::realtime::set_aside(&db, &path, moment(0)).await.expect("made anew");
    let seen: i64 =
        sqlx::query_scalar("SELECT count(*) FROM ps_endpoints").fetch_one(&mut asterisk).await.expect("SQL");
    assert_eq!(seen, 0);
    sqlx::query("SELECT * FROM ps_tomorrow").fetch_all(&mut asterisk).await.expect_err("it is gone");
    assert_eq!(pragma(&path, "PRAGMA user_version").await, 2);
    assert_eq!(pragma(&aside, "PRAGMA user_version").await, 99);
    assert_eq!(publish(&db, &mode).await.expect("as ever"), 0);
    assert!(aside.starts_with(folder.path()));
}
