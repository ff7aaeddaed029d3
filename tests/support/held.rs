//! A query that does not end: while a [`Held`] is there, whatever reads `call_attempts` goes on for ever. On SQLite it is at work, and there
//! is one call (acme's, if there is one), on PostgreSQL it waits for a lock.

use std::path::PathBuf;
use std::time::Duration;

use crate::patience::PATIENCE;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row, SqliteConnection};

const HOLD: [&str; 4] = [
    // SQLite leaves a join at once where a table is empty, or nothing of it is asked for.
    "INSERT INTO call_logs (call_id, node, uniqueid, linkedid, dialled_raw, caller_presentation, seller_id, arrived_at, ended_at, ring_ms,
            talk_ms, dialstatus, hung_up_by, ending, timeline)
        SELECT CAST('0123456789abcdef' AS BLOB), 'pbx', '1.1', '1.1', 'x', 'allowed', (SELECT id FROM users WHERE username = 'acme'), now, now,
            0, 0, 'NOANSWER', 'system', 'nobody_answered', '[]' FROM (SELECT strftime('%Y-%m-%dT%H:%M:%fZ') AS now)",
    "CREATE TABLE touched (n INTEGER)",
    "ALTER TABLE call_attempts RENAME TO attempts_aside",
    // Never a row, and never the end of them; LIMIT keeps it a query of its own.
    "CREATE VIEW call_attempts AS WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n)
        SELECT aside.* FROM n LEFT JOIN attempts_aside AS aside ON aside.number = n.n WHERE n.n = 0 LIMIT -1 OFFSET 0",
];
const LET_GO: [&str; 3] =
    ["DROP VIEW call_attempts", "ALTER TABLE attempts_aside RENAME TO call_attempts", "DROP TABLE touched"];

/// Queries of the whole database that are at work on `call_attempts`, this one and who holds it aside.
const AT_WORK: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'
    AND query LIKE '%call_attempts%' AND query NOT LIKE 'LOCK%' AND pid <> pg_backend_pid()";

/// Dropped on PostgreSQL, it lets go.
pub(crate) enum Held {
    Sqlite(PathBuf),
    Postgres { url: String, holder: PgConnection },
}

impl Held {
    pub(crate) async fn sqlite(path: PathBuf) -> Self {
        for statement in HOLD {
            sqlite(&path).await.execute(statement).await.expect("held");
        }
        Self::Sqlite(path)
    }

    pub(crate) async fn postgres(url: String) -> Self {
        let mut holder = PgConnection::connect(&url).await.expect("it opens");
        holder.execute("BEGIN").await.expect("begun");
        holder.execute("LOCK TABLE call_attempts IN ACCESS EXCLUSIVE MODE").await.expect("locked");
        Self::Postgres { url, holder }
    }

    /// Whether a query is at work on it, as the database has it.
    pub(crate) async fn is_at_work(&self) -> bool {
        match self {
            Self::Postgres { url, .. } => {
                let mut connection = PgConnection::connect(url).await.expect("it opens");
                let row = connection.fetch_one(AssertSqlSafe(AT_WORK)).await.expect("read");
                row.get::<i64, _>(0) > 0
            }
            // What was written cannot all go from the log to the file as long as somebody reads an earlier state.
            Self::Sqlite(path) => {
                let mut connection = sqlite(path).await;
                connection.execute("INSERT INTO touched VALUES (1)").await.expect("written");
                connection.execute("PRAGMA busy_timeout = 0").await.expect("set");
                let row = connection.fetch_one("PRAGMA wal_checkpoint(TRUNCATE)").await.expect("tried");
                row.get::<i64, _>(0) == 1
            }
        }
    }

    /// Waits until one is at work, or none.
    pub(crate) async fn until_at_work(&self, wanted: bool) {
        let poll = async {
            while self.is_at_work().await != wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, poll).await;
        assert!(waited.is_ok(), "whether a query is at work: not {wanted}");
    }

    /// From now on it is read as ever. On SQLite a query that is at work goes on.
    pub(crate) async fn let_go(self) {
        match self {
            Self::Postgres { holder, .. } => holder.close().await.expect("closed"),
            Self::Sqlite(path) => {
                for statement in LET_GO {
                    sqlite(&path).await.execute(statement).await.expect("let go");
                }
            }
        }
    }
}

async fn sqlite(path: &std::path::Path) -> SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    SqliteConnection::connect_with(&options).await.expect("it opens")
}
