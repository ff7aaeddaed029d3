//! The connections of reports: each in a pool of its own, so that it is known which of them is to end.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IsolationLevel,
    SqlxPostgresConnector, SqlxSqliteConnector, Statement, TransactionTrait,
};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::super::Db;

/// Of SQLite's steps: after so many it asks whether to go on. A step takes tens of nanoseconds.
const ASK_EVERY: i32 = 10_000;
/// SQLite's pages in memory for each connection here, in KiB: reports read what nobody reads again soon.
const CACHE: &str = "-8192";
/// How long PostgreSQL may take to pass it on that a query is to end.
const TELL_WITHIN: Duration = Duration::from_secs(2);

/// One connection for one report at a time.
#[derive(Debug, Clone)]
pub struct Lane {
    connection: DatabaseConnection,
    signal: Arc<Signal>,
    limit: Duration,
}

/// How a query is told to end.
#[derive(Debug, Default)]
struct Signal {
    /// Asked by SQLite's progress handler.
    end: AtomicBool,
    /// PostgreSQL's process of the connection while a report has it, else 0.
    process: AtomicI32,
}

impl Lane {
    /// A transaction whose reads all see the same moment. No statement in it outlives the time that a report has, whatever becomes of us.
    pub(in crate::store) async fn read(&self) -> Result<DatabaseTransaction, DbErr> {
        if self.connection.get_database_backend() != DbBackend::Postgres {
            return self.connection.begin().await;
        }
        let level = Some(IsolationLevel::RepeatableRead);
        let transaction = self.connection.begin_with_config(level, Some(AccessMode::ReadOnly)).await?;
        let limit = self.limit.as_millis().to_string();
        let bound = "SELECT pg_backend_pid() AS process, set_config('statement_timeout', $1, true)";
        let bound = Statement::from_sql_and_values(DbBackend::Postgres, bound, [limit.into()]);
        if let Some(row) = transaction.query_one_raw(bound).await? {
            self.signal.process.store(row.try_get("", "process")?, Ordering::Relaxed);
        }
        Ok(transaction)
    }

    /// Tells the query that runs here, if one does, to end; not that it has.
    pub(super) async fn tell_to_end(&self, core: &Db) {
        self.signal.end.store(true, Ordering::Relaxed);
        let process = self.signal.process.load(Ordering::Relaxed);
        if process != 0 {
            let cancel = "SELECT pg_cancel_backend($1)";
            let cancel = Statement::from_sql_and_values(DbBackend::Postgres, cancel, [process.into()]);
            match timeout(TELL_WITHIN, core.connection.execute_raw(cancel)).await {
                Ok(Ok(_)) => {}
                // It ends by itself when its time is up.
                Ok(Err(error)) => tracing::debug!(%error, "a report's query could not be told to end"),
                Err(_) => tracing::debug!("a report's query could not be told to end in time"),
            }
        }
    }

    fn is_free_again(&self) {
        self.signal.process.store(0, Ordering::Relaxed);
        self.signal.end.store(false, Ordering::Relaxed);
    }
}

/// How a lane connects.
#[derive(Debug)]
enum Way {
    Sqlite(SqliteConnectOptions),
    Postgres(PgConnectOptions),
}

impl Way {
    fn lane(&self, limit: Duration, wait: Duration) -> Lane {
        let signal = Arc::<Signal>::default();
        let connection = match self {
            Self::Sqlite(options) => {
                let asked = Arc::clone(&signal);
                let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(wait);
                let pool = pool.after_connect(move |connection, _| {
                    let asked = Arc::clone(&asked);
                    Box::pin(async move {
                        let goes_on = move || !asked.end.load(Ordering::Relaxed);
                        connection.lock_handle().await?.set_progress_handler(ASK_EVERY, goes_on);
                        Ok(())
                    })
                });
                SqlxSqliteConnector::from_sqlx_sqlite_pool(pool.connect_lazy_with(options.clone()))
            }
            Self::Postgres(options) => {
                let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(wait);
                SqlxPostgresConnector::from_sqlx_postgres_pool(pool.connect_lazy_with(options.clone()))
            }
        };
        Lane { connection, signal, limit }
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Lanes {
    way: Way,
    limit: Duration,
    /// How long one waits for its connection.
    wait: Duration,
    permits: Arc<Semaphore>,
    free: Mutex<Vec<Lane>>,
}

impl Lanes {
    /// `count` lanes to the database of `core`; no statement in them may take longer than `limit`.
    pub(super) fn of(core: &Db, count: usize, limit: Duration) -> Self {
        let way = if core.is_postgres() {
            let options = core.connection.get_postgres_connection_pool().connect_options();
            Way::Postgres((*options).clone())
        } else {
            let options = core.connection.get_sqlite_connection_pool().connect_options();
            Way::Sqlite((*options).clone().pragma("cache_size", CACHE).pragma("query_only", "ON"))
        };
        let free = (0..count).map(|_| way.lane(limit, core.wait)).collect();
        Self { way, limit, wait: core.wait, permits: Arc::new(Semaphore::new(count)), free: Mutex::new(free) }
    }

    /// One that nobody has; `None` once they are closed. There are as many as places, so it is waited for only where a query was just told
    /// to end.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Taken> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let lane = free.unwrap_or_else(|| self.lane());
        Some(Taken { lanes: Arc::clone(self), lane, _permit: permit })
    }

    fn lane(&self) -> Lane {
        self.way.lane(self.limit, self.wait)
    }

    pub(super) async fn close(&self) {
        self.permits.close();
        let free = std::mem::take(&mut *self.free.lock().unwrap_or_else(PoisonError::into_inner));
        for lane in free {
            if let Err(error) = lane.connection.close().await {
                tracing::debug!(%error, "a connection of reports did not close");
            }
        }
    }
}

/// A lane that somebody has; free again when this is dropped.
pub(super) struct Taken {
    lanes: Arc<Lanes>,
    lane: Lane,
    _permit: OwnedSemaphorePermit,
}

impl Taken {
    pub(super) fn lane(&self) -> Lane {
        self.lane.clone()
    }

    /// Another takes the place of this one, of which nothing is known.
    pub(super) fn give_up(&mut self) {
        self.lane = self.lanes.lane();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.lane.is_free_again();
        self.lanes.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.lane.clone());
    }
}
