//! What is past its time is removed, and nothing else is.

use chrono::{DateTime, TimeDelta, Utc};

use capconduit::clock::Clock;
use capconduit::store::retention::{Removal, Removed};
use capconduit::store::{Db, StoreError};

use crate::helpers::{Home, on_both, sql};

const USER: &str = "INSERT INTO users (id, username, name, role) VALUES (1, 'ann', 'Ann', 'admin')";

/// All slices, without the pauses in between.
async fn prune(db: &Db, audit_kept: TimeDelta, now: DateTime<Utc>) -> Result<Removed, StoreError> {
    let mut removal = Removal::new(audit_kept, now);
    while removal.slice(db).await? {}
    Ok(removal.removed())
}

fn now() -> DateTime<Utc> {
    Clock::start().now().wall
}

/// A time as both databases take it.
fn at(ago: TimeDelta) -> String {
    format!("'{}'", (now() - ago).to_rfc3339())
}

async fn count(home: &Home, table: &str) -> String {
    sql(home, &format!("SELECT CAST(COUNT(*) AS TEXT) FROM {table}")).await.expect("counted").remove(0)
}

async fn run(home: &Home, statement: &str) {
    sql(home, statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// A line of the audit.
async fn line(home: &Home, ago: TimeDelta, action: &str) {
    let at = at(ago);
    run(home, &format!("INSERT INTO audit (at, actor, action, object) VALUES ({at}, 'x', '{action}', 'x')")).await;
}

fn uuid(home: &Home, n: u32) -> String {
    match home {
        Home::Sqlite(_) => format!("x'{n:032x}'"),
        Home::Postgres(_) => format!("'00000000-0000-8000-8000-{n:012x}'"),
    }
}

async fn session(home: &Home, n: u32, expires: &str, revoked: &str) {
    let (id, created) = (uuid(home, n), at(TimeDelta::days(1)));
    let columns = "id, user_id, refresh_hash, created_at, expires_at, refreshed_at, revoked_at";
    let row = format!("{id}, 1, '{n}', {created}, {expires}, {created}, {revoked}");
    run(home, &format!("INSERT INTO sessions ({columns}) VALUES ({row})")).await;
}

/// Of each two rows the one is as far past its time as matters, and differs from the other in nothing else.
async fn what_is_past_its_time_goes_and_all_else_stays(home: Home) {
    let db = home.migrated().await;
    run(&home, USER).await;
    let (day, hour) = (TimeDelta::days(1), TimeDelta::hours(1));
    for (n, expires, revoked) in
        [(1, at(-day), "NULL".to_owned()), (2, at(hour), "NULL".to_owned()), (3, at(-day), at(TimeDelta::zero()))]
    {
        session(&home, n, &expires, &revoked).await;
    }
    for (n, expires, revoked) in [
        (1, "NULL".to_owned(), "NULL".to_owned()),
        (2, at(-day), "NULL".to_owned()),
        (3, at(hour), "NULL".to_owned()),
        (4, "NULL".to_owned(), at(TimeDelta::zero())),
    ] {
        run(
            &home,
            &format!(
                "INSERT INTO api_tokens (id, user_id, name, hash, scope, created_at, expires_at, revoked_at)
                 VALUES ({n}, 1, 't', '{n}', 'read', {}, {expires}, {revoked})",
                at(day)
            ),
        )
        .await;
    }
    for (n, created, leased, status) in [
        (1, at(TimeDelta::hours(23)), at(hour), "200"),
        (2, at(TimeDelta::hours(25)), at(hour), "200"),
        // Old, and its run is live.
        (3, at(TimeDelta::hours(25)), at(-hour), "NULL"),
        (4, at(TimeDelta::hours(25)), at(hour), "NULL"),
    ] {
        let holder = uuid(&home, n);
        run(
            &home,
            &format!(
                "INSERT INTO idempotency_keys (user_id, operation, key_hash, request_hash, holder, created_at, leased_until, status)
                 VALUES (1, 'x', '{n}', 'x', {holder}, {created}, {leased}, {status})"
            ),
        )
        .await;
    }
    let kept = TimeDelta::days(100);
    for (ago, action) in [(kept + hour, "old"), (kept - hour, "young")] {
        line(&home, ago, action).await;
    }
    let removed = prune(&db, kept, now()).await.expect("pruned");
    assert_eq!(removed, Removed { sessions: 2, tokens: 2, keys: 2, lines: 1 });
    let ids = |statement: &'static str| sql(&home, statement);
    assert_eq!(ids("SELECT refresh_hash FROM sessions").await.expect("read"), ["1"]);
    assert_eq!(ids("SELECT hash FROM api_tokens ORDER BY hash").await.expect("read"), ["1", "2"]);
    assert_eq!(ids("SELECT key_hash FROM idempotency_keys ORDER BY key_hash").await.expect("read"), ["1", "3"]);
    assert_eq!(ids("SELECT action FROM audit").await.expect("read"), ["young"]);
    assert_eq!(prune(&db, kept, now()).await.expect("pruned"), Removed::default());
}

/// More than one statement takes.
async fn many_go_in_batches_and_none_is_left(home: Home) {
    let db = home.migrated().await;
    let rows = |n: u32| vec![format!("({}, 'x', 'x', 'x')", at(TimeDelta::days(800))); n as usize].join(", ");
    for _ in 0..5 {
        run(&home, &format!("INSERT INTO audit (at, actor, action, object) VALUES {}", rows(500))).await;
    }
    run(
        &home,
        &format!("INSERT INTO audit (at, actor, action, object) VALUES ({}, 'x', 'x', 'x')", at(TimeDelta::zero())),
    )
    .await;
    let mut removal = Removal::new(TimeDelta::days(730), now());
    // Of each slice it is known when it is over: others have their turn then.
    let mut left = Vec::new();
    while removal.slice(&db).await.expect("removed") {
        left.push(count(&home, "audit").await);
    }
    // Three tables before it have nothing to remove.
    assert_eq!(left, ["2501", "2501", "2501", "1501", "501"]);
    assert_eq!((removal.removed().lines, count(&home, "audit").await.as_str()), (2500, "1"));
}

/// Whatever is configured or asked for, the database keeps what is younger than 30 days, and lets nothing be changed.
async fn nothing_young_leaves_the_audit(home: Home) {
    let db = home.migrated().await;
    for (ago, action) in [(29, "young"), (31, "old")] {
        line(&home, TimeDelta::days(ago), action).await;
    }
    let refused = prune(&db, TimeDelta::days(28), now()).await.expect_err("refused");
    assert!(format!("{refused:?}").contains("append-only"), "{refused:?}");
    assert!(sql(&home, "DELETE FROM audit WHERE action = 'young'").await.is_err());
    assert!(sql(&home, "UPDATE audit SET actor = 'y' WHERE action = 'old'").await.is_err());
    assert_eq!(count(&home, "audit").await, "2");
    run(&home, "DELETE FROM audit WHERE action = 'old'").await;
    assert_eq!(count(&home, "audit").await, "1");
}

on_both!(
    what_is_past_its_time_goes_and_all_else_stays,
    many_go_in_batches_and_none_is_left,
    nothing_young_leaves_the_audit,
);
