//! What SQLite knows of its tables when it chooses an index. PostgreSQL's autovacuum sees to that by itself.

use sea_orm::ConnectionTrait;

use super::{Db, StoreError};

/// Every table that has no statistics yet or has grown tenfold since, by a few hundred rows of each index: milliseconds, however large.
/// (SQLite's manual, "Recommended usage patterns" of ANALYZE.)
const OPTIMIZE: &str = "PRAGMA analysis_limit = 400; PRAGMA optimize = 0x10002";

/// Brings the statistics up to date, where that is ours to do.
///
/// # Errors
/// When the database cannot be written.
pub async fn keep(db: &Db) -> Result<(), StoreError> {
    if !db.is_postgres() {
        db.connection.execute_unprepared(OPTIMIZE).await?;
    }
    Ok(())
}
