//! What is kept of sessions, and for how long the audit is.

use sea_orm_migration::prelude::{
    ConnectionTrait, DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait,
};
use sea_orm_migration::sea_orm::DbBackend;

use crate::dialect;

/// From where it was opened; NULL where that was not noted.
const COLUMN: &str = "ALTER TABLE sessions ADD COLUMN address TEXT NULL;";

/// For removing old lines. On PostgreSQL it comes later: see [`crate::LATER`].
const SQLITE_INDEX: &str = "CREATE INDEX audit_at ON audit (at);";

/// A line that cannot be dated stays.
const SQLITE_KEEPS: &str = "DROP TRIGGER audit_no_delete;
    CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
        WHEN COALESCE(julianday(OLD.at) > julianday('now', '-30 days'), 1)
        BEGIN SELECT RAISE(ABORT, 'audit is append-only for 30 days'); END;";

const POSTGRES_KEEPS: &str = "CREATE OR REPLACE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
        $body$ BEGIN
            IF TG_OP = 'DELETE' THEN
                IF OLD.at <= now() - interval '30 days' THEN
                    RETURN OLD;
                END IF;
            END IF;
            RAISE EXCEPTION 'audit is append-only for 30 days';
        END $body$;";

/// Lines older than any retention that can be configured may go; all else is kept from change by the triggers, as before.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Step;

#[async_trait::async_trait]
impl MigrationTrait for Step {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, COLUMN).await?;
        if manager.get_connection().get_database_backend() == DbBackend::Sqlite {
            dialect::run(manager, SQLITE_INDEX).await?;
            return dialect::run(manager, SQLITE_KEEPS).await;
        }
        dialect::run(manager, POSTGRES_KEEPS).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
