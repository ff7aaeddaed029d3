//! Whoever listens hears at once that the configuration changed.

use sea_orm_migration::prelude::{
    ConnectionTrait, DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait,
};
use sea_orm_migration::sea_orm::DbBackend;

use crate::dialect;

/// Sent when the transaction commits, whatever program made the change. The channel's name stands in `src/store/listen.rs` too.
const POSTGRES: &str = "CREATE FUNCTION tell_of_routing() RETURNS trigger LANGUAGE plpgsql AS
        $body$ BEGIN PERFORM pg_notify('capconduit_routing', ''); RETURN NULL; END $body$;
    CREATE TRIGGER routing_revision_told AFTER UPDATE ON routing_revision FOR EACH STATEMENT EXECUTE FUNCTION tell_of_routing();";

/// A trigger in PostgreSQL; SQLite has no way to tell another process.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Step;

#[async_trait::async_trait]
impl MigrationTrait for Step {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        match manager.get_connection().get_database_backend() {
            DbBackend::Postgres => dialect::run(manager, POSTGRES).await,
            _ => Ok(()),
        }
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
