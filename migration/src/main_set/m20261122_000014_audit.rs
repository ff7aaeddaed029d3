//! Who changed what.

use sea_orm_migration::prelude::{
    ConnectionTrait, DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait,
};
use sea_orm_migration::sea_orm::DbBackend;

use crate::dialect;

/// No foreign keys: a line outlives what it tells of.
const TABLE: &str = "CREATE TABLE audit (
        id $ID,
        at $TIME NOT NULL,
        user_id $INT NULL,
        actor TEXT NOT NULL,
        credential TEXT NULL,
        address TEXT NULL,
        action TEXT NOT NULL,
        object TEXT NOT NULL,
        before $JSON NULL,
        after $JSON NULL
    ) $STRICT;
    CREATE INDEX audit_user ON audit (user_id, id);
    CREATE INDEX audit_object ON audit (object, id);";

const SQLITE_APPEND_ONLY: &str =
    "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
    CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;";

const POSTGRES_APPEND_ONLY: &str = "CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
        $body$ BEGIN RAISE EXCEPTION 'audit is append-only'; END $body$;
    CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();
    CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit EXECUTE FUNCTION audit_is_append_only();";

/// The table, and triggers that keep what was written: the two databases say them differently.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Step;

#[async_trait::async_trait]
impl MigrationTrait for Step {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, TABLE).await?;
        let sqlite = manager.get_connection().get_database_backend() == DbBackend::Sqlite;
        dialect::run(manager, if sqlite { SQLITE_APPEND_ONLY } else { POSTGRES_APPEND_ONLY }).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
