//! How many sessions a user has: what is too much ends with the next log-in, however much it is.

use capconduit::auth::principal::Actor;
use capconduit::clock::Clock;
use capconduit::id::UserId;
use capconduit::store::sessions::{self, NewSession};
use chrono::TimeDelta;
use uuid::Uuid;

use crate::helpers::{Home, on_both, sql};

on_both!(all_that_is_too_much_ends_by_one_statement);

/// More than a statement has room for where each row takes a parameter.
const OPEN: u32 = 40_000;

/// On PostgreSQL each statement is counted.
const COUNTED: [&str; 4] = [
    "CREATE TABLE counted (of TEXT)",
    "CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO counted VALUES (TG_TABLE_NAME); RETURN NULL; END $$",
    "CREATE TRIGGER counted AFTER UPDATE ON sessions FOR EACH STATEMENT EXECUTE FUNCTION count_it()",
    "CREATE TRIGGER counted AFTER INSERT ON audit FOR EACH STATEMENT EXECUTE FUNCTION count_it()",
];

async fn many(home: &Home) {
    let id = match home {
        Home::Sqlite(_) => "CAST(substr('0000000000000000' || i, -16) AS BLOB)",
        Home::Postgres(_) => "CAST('00000000-0000-8000-8000-' || lpad(i::text, 12, '0') AS UUID)",
    };
    let (past, future) = match home {
        Home::Sqlite(_) => ("'2026-01-01T00:00:00+00:00'", "'2999-01-01T00:00:00+00:00'"),
        Home::Postgres(_) => ("'2026-01-01T00:00:00Z'::timestamptz", "'2999-01-01T00:00:00Z'::timestamptz"),
    };
    let statement = format!(
        "INSERT INTO sessions (id, user_id, refresh_hash, family_hash, created_at, expires_at, refreshed_at)
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {OPEN})
         SELECT {id}, 1, 'r' || CAST(i AS TEXT), 'f' || CAST(i AS TEXT), {past}, {future}, {past} FROM n"
    );
    sql(home, &statement).await.expect("an earlier version had no ceiling");
}

async fn all_that_is_too_much_ends_by_one_statement(home: Home) {
    let db = home.migrated().await;
    let user = "INSERT INTO users (id, username, name, role, password_hash) VALUES (1, 'ann', 'Ann', 'admin', 'hash')";
    sql(&home, user).await.expect("a user");
    many(&home).await;
    let is_postgres = matches!(home, Home::Postgres(_));
    for statement in COUNTED.iter().filter(|_| is_postgres) {
        sql(&home, statement).await.expect("counted");
    }
    let now = Clock::start().now().wall;
    let session = NewSession {
        id: Uuid::from_u128(u128::MAX),
        user: UserId(1),
        verified: "hash".to_owned().into(),
        refresh_hash: "r".to_owned(),
        family_hash: "f".to_owned(),
        created_at: now,
        expires_at: now + TimeDelta::days(1),
        address: None,
    };
    assert!(sessions::open(&db, Actor::System("cli"), session, 3).await.expect("opened"));
    let read = async |statement: &str| sql(&home, statement).await.expect("read");
    let alive = read("SELECT refresh_hash FROM sessions WHERE revoked_at IS NULL ORDER BY refresh_hash").await;
    // The newest: of one moment those with the greatest ids.
    assert_eq!(alive, ["r".to_owned(), format!("r{}", OPEN - 1), format!("r{OPEN}")]);
    let lines = read("SELECT CAST(COUNT(DISTINCT object) AS TEXT) FROM audit WHERE action = 'session.close'").await;
    assert_eq!(lines, [(OPEN - 2).to_string()], "each has its line");
    if is_postgres {
        assert_eq!(read("SELECT of FROM counted WHERE of = 'sessions'").await, ["sessions"]);
        // A thousand lines each, and the log-in.
        assert_eq!(read("SELECT COUNT(*)::text FROM counted WHERE of = 'audit'").await, ["41"]);
    }
}
