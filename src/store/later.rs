//! What PostgreSQL is given after the steps of [`super::migrate`], beside all else that goes on: see [`migration::LATER`].

use std::collections::VecDeque;

use migration::{Fill, LATER, Later};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection, Row as _};
use uuid::Uuid;

use super::{Db, StoreError};

/// Key of the advisory lock of the one process that does it ("CAPCLATE").
const LOCK: i64 = 0x4341_5043_4c41_5445;
/// Whether an index can be used: one whose making was broken off is there, and is of no use.
const IS_VALID: &str = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)";

/// What is still to be done, statement by statement: whoever carries it out lets others write in between.
#[derive(Debug)]
pub struct Completion {
    /// Of its own: it holds the lock, and with it all ends. The pool's are needed for other things.
    connection: PgConnection,
    left: VecDeque<Later>,
    /// Behind which row of the first one is to be filled next; `None`: all are.
    behind: Option<Uuid>,
}

impl Completion {
    /// What is to be done; `None` where nothing is, or where another process is at it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn begin(db: &Db) -> Result<Option<Self>, StoreError> {
        if !db.is_postgres() {
            return Ok(None);
        }
        let options = db.connection.get_postgres_connection_pool().connect_options();
        let mut connection = options.as_ref().clone().connect().await.map_err(fault)?;
        let left = missing(&mut connection).await.map_err(fault)?;
        if left.is_empty() {
            return Ok(None);
        }
        let lock = sqlx::query("SELECT pg_try_advisory_lock($1)").bind(LOCK);
        let is_ours: bool = connection.fetch_one(lock).await.and_then(|row| row.try_get(0)).map_err(fault)?;
        if !is_ours {
            return Ok(None);
        }
        // What another has done meanwhile.
        let left = missing(&mut connection).await.map_err(fault)?;
        Ok(Some(Self { connection, left, behind: Some(Uuid::nil()) }))
    }

    /// Carries out the next part: a slice of rows, or an index; false when nothing is left.
    ///
    /// # Errors
    /// When the database cannot do it; what was done by then stays so.
    pub async fn step(&mut self) -> Result<bool, StoreError> {
        let Some(Later { index, create, fill }) = self.left.front().copied() else { return Ok(false) };
        if let (Some(fill), Some(behind)) = (fill, self.behind) {
            self.behind = self.fill(fill, behind).await.map_err(fault)?;
            return Ok(true);
        }
        // One that was broken off.
        let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {index}");
        self.connection.execute(AssertSqlSafe(drop)).await.map_err(fault)?;
        self.connection.execute(create).await.map_err(fault)?;
        tracing::info!(index, "the database has an index that was missing");
        self.left.pop_front();
        self.behind = Some(Uuid::nil());
        Ok(!self.left.is_empty())
    }

    /// One slice; behind which row the next one begins.
    async fn fill(&mut self, fill: Fill, behind: Uuid) -> Result<Option<Uuid>, sqlx::Error> {
        let last = self.connection.fetch_optional(sqlx::query(fill.last).bind(behind)).await?;
        let last: Option<Uuid> = last.map(|row| row.try_get(0)).transpose()?;
        self.connection.execute(sqlx::query(fill.rows).bind(behind).bind(last)).await?;
        Ok(last)
    }
}

async fn missing(connection: &mut PgConnection) -> Result<VecDeque<Later>, sqlx::Error> {
    let mut missing = VecDeque::new();
    for later in LATER {
        let row = connection.fetch_optional(sqlx::query(IS_VALID).bind(later.index)).await?;
        let valid: Option<bool> = row.map(|row| row.try_get(0)).transpose()?;
        if valid != Some(true) {
            missing.push_back(later);
        }
    }
    Ok(missing)
}

fn fault(error: sqlx::Error) -> StoreError {
    StoreError::Query(sea_orm::DbErr::Exec(sea_orm::RuntimeErr::SqlxError(error.into())))
}
