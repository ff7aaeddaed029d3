//! Calls whose answer was not seen, and how long a talk may have been.

use sea_orm_migration::prelude::{
    ConnectionTrait, DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait,
};
use sea_orm_migration::sea_orm::DbBackend;

use crate::dialect;

/// Between `answered_after` and `answered_before` the caller was answered; NULL where that was seen. `talk_min_ms` and `talk_max_ms` are
/// NULL where `talk_ms` is certain. Columns that may be NULL are added without touching a row.
const COLUMNS: &str = "ALTER TABLE call_logs ADD COLUMN answered_after $TIME NULL;
    ALTER TABLE call_logs ADD COLUMN answered_before $TIME NULL;
    ALTER TABLE call_logs ADD COLUMN talk_min_ms $INT NULL;
    ALTER TABLE call_logs ADD COLUMN talk_max_ms $INT NULL;";

/// What is uncertain is rare: sums find it by an index of its own. On PostgreSQL both come later, beside all else: see [`crate::LATER`].
const REST: &str = "UPDATE call_logs SET
        talk_min_ms = CASE WHEN ended_after > answered_at THEN $MS(ended_after $) - $MS(answered_at $) ELSE 0 END,
        talk_max_ms = $MS(ended_before $) - $MS(answered_at $)
        WHERE answered_at IS NOT NULL AND ended_after < ended_before;
    CREATE INDEX call_logs_uncertain ON call_logs (arrived_at, call_id) WHERE talk_max_ms IS NOT NULL;";

/// As a released version ran it, a database has all of it.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Step;

#[async_trait::async_trait]
impl MigrationTrait for Step {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, COLUMNS).await?;
        if manager.get_connection().get_database_backend() == DbBackend::Sqlite {
            dialect::run(manager, REST).await?;
        }
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
