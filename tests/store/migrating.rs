//! Migrations: together, repeated, and what their constraints refuse.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use capconduit::cdr::talk;
use capconduit::id::UserId;
use capconduit::store;
use capconduit::store::calls::{By, Figures, Filter, summary};
use capconduit::store::later::Completion;

use crate::helpers::{Home, on_both, reports, sql};
use crate::patience::PATIENCE;
use crate::recording::{attempt, moment, record};

on_both!(
    many_starts_at_once_all_succeed,
    pending_steps_are_named_then_none,
    constraints_hold,
    stored_numbers_are_brought_under_the_one_rule,
    talks_whose_end_was_not_seen_get_their_bounds,
    what_is_left_for_later_is_made_once,
    tables_of_a_newer_version_are_refused_by_both_versions,
);

async fn many_starts_at_once_all_succeed(home: Home) {
    let starts = (0..8).map(|_| async {
        let db = home.connect().await;
        store::migrate(&db, &home.realtime()).await.expect("a start beside others");
        store::snapshot::revision(&db).await.expect("migrated")
    });
    let revisions = futures_util::future::join_all(starts).await;
    assert_eq!(revisions, [1; 8]);
}

async fn pending_steps_are_named_then_none(home: Home) {
    let db = home.connect().await;
    let steps = store::pending(&db, &home.realtime()).await.expect("an empty database can be asked");
    assert_eq!(steps.first().map(String::as_str), Some("m20261122_000001_users"));
    store::migrate(&db, &home.realtime()).await.expect("the steps run");
    assert_eq!(store::pending(&db, &home.realtime()).await.expect("asked again"), Vec::<String>::new());
    store::migrate(&db, &home.realtime()).await.expect("a second run changes nothing");
}

async fn tables_of_a_newer_version_are_refused_by_both_versions(home: Home) {
    let db = home.migrated().await;
    assert_eq!(store::pending(&db, &home.realtime()).await.expect("it is up to date"), Vec::<String>::new());
    for statement in [
        "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m20990101_000001_of_tomorrow', 0)",
        "UPDATE program SET version = '9.8.7'",
    ] {
        sql(&home, statement).await.expect("as a newer version does");
    }
    let this = env!("CARGO_PKG_VERSION");
    for refused in [store::pending(&db, &home.realtime()).await.map(drop), store::migrate(&db, &home.realtime()).await]
    {
        let sentence = refused.expect_err("this version does not know it").to_string();
        for part in ["version 9.8.7", this, "m20990101_000001_of_tomorrow", "install that version again"] {
            assert_eq!(sentence.matches(part).count(), 1, "{part} in {sentence}");
        }
    }
}

/// Statements that make one object of each kind.
const OBJECTS: &[&str] = &[
    "INSERT INTO users (id, username, name, role) VALUES (1, 'ann', 'Ann', 'seller'), (2, 'bob', 'Bob', 'seller')",
    "INSERT INTO clients (id, client_identifier, name, send_headers, sip) VALUES (1, 'north', 'North', CAST(0 AS BOOLEAN), '{}')",
    "INSERT INTO dids (id, number, seller_id) VALUES (1, '+441', 1), (2, '+442', 2)",
    "INSERT INTO campaigns (id, seller_id, name, routing_strategy, dial_timeout_seconds, status) VALUES
        (1, 1, 'solar', 'priority', 20, 'active'), (2, 1, 'wind', 'weighted', 20, 'paused')",
    "INSERT INTO campaign_dids (campaign_id, did_id, seller_id, campaign_status) VALUES (1, 1, 1, 'active'), (2, 1, 1, 'paused')",
    "INSERT INTO campaign_client_settings (id, campaign_id, client_id) VALUES (1, 1, 1)",
];

async fn constraints_hold(home: Home) {
    let _db = home.migrated().await;
    for statement in OBJECTS {
        sql(&home, statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    for (why, refused) in [
        ("a DID in two active campaigns", "UPDATE campaigns SET status = 'active' WHERE id = 2"),
        ("another seller's DID", "INSERT INTO campaign_dids VALUES (1, 2, 2, 'active')"),
        ("another seller's DID, seller faked", "INSERT INTO campaign_dids VALUES (1, 2, 1, 'active')"),
        ("a status that is not the campaign's", "INSERT INTO campaign_dids VALUES (2, 2, 1, 'active')"),
        (
            "an identifier that differs in case only",
            "INSERT INTO clients (client_identifier, name, send_headers, sip) VALUES ('NORTH', 'x', CAST(0 AS BOOLEAN), '{}')",
        ),
        ("a username in upper case", "INSERT INTO users (username, name, role) VALUES ('Ann', 'x', 'seller')"),
        ("an unknown role", "INSERT INTO users (username, name, role) VALUES ('x', 'x', 'root')"),
        ("a weight of nought", "UPDATE campaign_client_settings SET weight = 0"),
        ("a weight past 10000", "UPDATE campaign_client_settings SET weight = 10001"),
        ("a negative cap", "UPDATE campaign_client_settings SET max_concurrency = -1"),
        ("the same pair twice", "INSERT INTO campaign_client_settings (campaign_id, client_id) VALUES (1, 1)"),
        ("a client with links", "DELETE FROM clients"),
        ("a second revision", "INSERT INTO routing_revision VALUES (2, 1)"),
    ] {
        assert!(sql(&home, refused).await.is_err(), "{why} was accepted");
    }
    // The status travels with the key: once the first campaign is paused, the DID may move to the second.
    for accepted in
        ["UPDATE campaigns SET status = 'paused' WHERE id = 1", "UPDATE campaigns SET status = 'active' WHERE id = 2"]
    {
        sql(&home, accepted).await.unwrap_or_else(|error| panic!("{accepted}: {error}"));
    }
}

/// As a version before the mark `raw` left the database: what was no E.164 number was to be had by everybody, and what `apply` was given
/// was stored as it was spelt.
async fn stored_numbers_are_brought_under_the_one_rule(home: Home) {
    let db = home.migrated().await;
    for statement in [
        "DROP INDEX dids_raw",
        "ALTER TABLE dids DROP COLUMN raw",
        "DELETE FROM seaql_migrations WHERE version = 'm20261129_000080_raw_dids'",
        OBJECTS[0],
        "INSERT INTO dids (id, number, seller_id) VALUES (1, '+442071234567', 1), (2, '02071234567', 2), (3, 'sales', 1),
            (4, '+4420', 1), (5, '+4402079460958', 1), (6, '''+14155550101', 2), (7, '+4402071234567', 2), (8, '4.42079E+11', 1)",
    ] {
        sql(&home, statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let before = store::snapshot::revision(&db).await.expect("read");
    store::migrate(&db, &home.realtime()).await.expect("the step runs");
    let snapshot = store::snapshot::load(&db).await.expect("read");
    assert!(snapshot.revision > before, "a running `serve` hears of it");
    let mut stored: Vec<_> =
        snapshot.dids.iter().map(|(number, did)| (did.id.0, number.as_str(), did.raw, did.seller.0)).collect();
    stored.sort_unstable();
    let expected = [
        (1, "+442071234567", false, 1),
        (2, "02071234567", true, 2),
        (3, "sales", true, 1),
        (4, "+4420", true, 1),
        // In another spelling, and nobody else's: it is the number.
        (5, "+442079460958", false, 1),
        (6, "+14155550101", false, 2),
        // Somebody has the number.
        (7, "+4402071234567", true, 2),
        (8, "4.42079E+11", true, 1),
    ];
    assert_eq!(stored, expected);
    store::migrate(&db, &home.realtime()).await.expect("a second run changes nothing");
    assert_eq!(store::snapshot::load(&db).await.expect("read"), snapshot);
}

#[tokio::test]
async fn a_new_sqlite_file_is_its_owners_alone() {
    let home = Home::sqlite();
    let db = home.migrated().await;
    let mode = std::fs::metadata(db.target()).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Not a test of its own: [`processes_may_start_together`] runs it in other processes, with the URL in the environment.
#[tokio::test]
async fn starting_process() {
    let Ok(url) = std::env::var("CAPCONDUIT_TEST_START") else { return };
    let config = capconduit::config::Database { url: url.clone().into(), max_connections: 2, wait: PATIENCE };
    let db = store::Db::connect(&config).await.expect("the database opens beside others");
    let realtime = if db.is_postgres() {
        capconduit::config::Realtime::Postgres
    } else {
        capconduit::config::Realtime::Sqlite { path: "unused".into() }
    };
    store::migrate(&db, &realtime).await.expect("a start beside others");
}

async fn processes_may_start_together(home: Home) {
    use secrecy::ExposeSecret;
    let own = std::env::current_exe().expect("this test binary");
    let url = home.config().url.expose_secret().to_owned();
    let start = || {
        Command::new(&own)
            .args(["--exact", "migrating::starting_process"])
            .env("CAPCONDUIT_TEST_START", &url)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("this binary runs")
    };
    let starts: Vec<_> = (0..4).map(|_| start()).collect();
    for mut child in starts {
        assert!(child.wait().expect("it ends").success());
    }
    let db = home.connect().await;
    assert_eq!(store::pending(&db, &home.realtime()).await.expect("migrated"), Vec::<String>::new());
}

on_both!(processes_may_start_together);

fn is_postgres(home: &Home) -> bool {
    matches!(home, Home::Postgres(_))
}

/// How many parts there were.
async fn complete(db: &store::Db) -> u32 {
    let Some(mut completion) = Completion::begin(db).await.expect("begun") else { return 0 };
    let mut parts = 1;
    while completion.step().await.expect("done") {
        parts += 1;
    }
    parts
}

/// On SQLite the steps make all of it.
async fn what_is_left_for_later_is_made_once(home: Home) {
    const INDEXES: &str = "SELECT indexrelid::regclass::text FROM pg_index
        WHERE indisvalid AND indexrelid IN (to_regclass('call_logs_uncertain'), to_regclass('audit_at')) ORDER BY 1";
    let db = home.migrated().await;
    if !is_postgres(&home) {
        assert!(Completion::begin(&db).await.expect("begun").is_none());
        return;
    }
    assert_eq!(sql(&home, INDEXES).await.expect("read"), [""; 0], "no step has built one");
    let first = Completion::begin(&db).await.expect("begun");
    assert!(first.is_some() && Completion::begin(&db).await.expect("begun").is_none(), "one process at a time");
    drop(first);
    // The server hears of it a little later that nobody has the lock any more.
    let parts = async {
        loop {
            match complete(&db).await {
                0 => tokio::task::yield_now().await,
                parts => return parts,
            }
        }
    };
    let parts = tokio::time::timeout(std::time::Duration::from_secs(30), parts).await.expect("its turn comes");
    assert_eq!(parts, 3, "a slice of rows, and two indexes");
    assert_eq!(sql(&home, INDEXES).await.expect("read"), ["audit_at", "call_logs_uncertain"]);
    assert_eq!(complete(&db).await, 0, "a database that has them, by these or by the steps of an earlier version");
    // As if it had been broken off.
    sql(&home, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'audit_at'::regclass")
        .await
        .expect("superuser");
    assert_eq!(complete(&db).await, 1);
    assert_eq!(sql(&home, INDEXES).await.expect("read"), ["audit_at", "call_logs_uncertain"]);
}

/// As the step before had them: with the time within which they ended, and nothing that says how long they talked.
async fn talks_whose_end_was_not_seen_get_their_bounds(home: Home) {
    let db = home.migrated().await;
    let mut lost = record(1, vec![attempt(1, 1, true)]);
    (lost.answered_at, lost.ended_at, lost.talk_ms) = (Some(moment(2_000_000)), moment(9_500_000), 7_500);
    (lost.ended_after, lost.ended_before) = (Some(moment(9_500_000)), Some(moment(21_250_000)));
    let mut seen = record(2, vec![attempt(1, 1, true)]);
    (seen.answered_at, seen.ended_at, seen.talk_ms) = (Some(moment(2_000_000)), moment(3_000_000), 1_000);
    store::records::write(&db, &[lost.clone(), seen.clone(), record(3, vec![])]).await.expect("written");
    for statement in [
        "DROP INDEX IF EXISTS call_logs_uncertain",
        "ALTER TABLE call_logs DROP COLUMN answered_after",
        "ALTER TABLE call_logs DROP COLUMN answered_before",
        "ALTER TABLE call_logs DROP COLUMN talk_min_ms",
        "ALTER TABLE call_logs DROP COLUMN talk_max_ms",
        "DELETE FROM seaql_migrations WHERE version = 'm20261130_000091_unseen_answers'",
    ] {
        sql(&home, statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let db = home.connect().await;
    let file = "SELECT pg_relation_filenode('call_logs')::text || ' ' || sum(xmin::text::bigint) FROM call_logs";
    let before = is_postgres(&home).then_some(sql(&home, file).await);
    store::migrate(&db, &home.realtime()).await.expect("the step runs");
    if let Some(before) = before {
        assert_eq!(sql(&home, file).await, before, "the step has written no row");
    }
    complete(&db).await;
    let found =
        summary(&reports(&db), UserId(1), &Filter::default(), By::Day, chrono_tz::Tz::UTC).await.expect("summed").total;
    let bounds = [talk::bounds(&lost), talk::bounds(&seen)];
    assert_eq!((bounds[0].min_ms, bounds[0].max_ms), (7_500, 19_250));
    let (talk_min_ms, talk_max_ms) = (bounds.iter().map(|it| it.min_ms).sum(), bounds.iter().map(|it| it.max_ms).sum());
    assert_eq!(found, Figures { calls: 3, answered: 2, talk_ms: 8_500, talk_min_ms, talk_max_ms });
}
