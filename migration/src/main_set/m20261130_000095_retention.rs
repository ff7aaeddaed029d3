//! What is kept of sessions, and for how long the audit is.

use sea_orm_migration::prelude::{
    ConnectionTrait, DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait,
};
use sea_orm_migration::sea_orm::DbBackend;

use crate::dialect;

/// From where it was opened; NULL where that was not noted. The index is for removing old lines.
const TABLES: &str = "ALTER TABLE sessions ADD COLUMN address TEXT NULL;
    CREATE INDEX audit_at ON audit (at);";

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
        dialect::run(manager, TABLES).await?;
        let sqlite = manager.get_connection().get_database_backend() == DbBackend::Sqlite;
        dialect::run(manager, if sqlite { SQLITE_KEEPS } else { POSTGRES_KEEPS }).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
