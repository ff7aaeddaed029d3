//! Bringing the tables up to date.

use migration::{Migrate, MigrationTrait, Migrator, RealtimeMigrator, SchemaManager};
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, Statement};

use super::{Db, StoreError, numbers};
use crate::config::Realtime;

/// Key of the PostgreSQL advisory lock that migrating processes take turns by ("CAPCONDU").
const LOCK: i64 = 0x4341_5043_4f4e_4455;

/// The step that brings a DID's mark `raw`. Which DIDs it holds for, the numbering plans tell, which SQL does not know.
const RAW_DIDS: &str = "m20261129_000080_raw_dids";

/// Runs the steps that are missing, all or none. Safe when several processes do so at once: the others wait and find nothing to do.
///
/// # Errors
/// When a step fails, the database was migrated by a newer version, or `realtime` wants PostgreSQL and the database is SQLite.
pub async fn migrate(db: &Db, realtime: &Realtime) -> Result<(), StoreError> {
    let with_ps_tables = matches!(realtime, Realtime::Postgres);
    if with_ps_tables && !db.is_postgres() {
        return Err(StoreError::RealtimeNeedsPostgres);
    }
    super::server::look(db).await?.require_utf8(db)?;
    refuse_newer(db, realtime).await?;
    // A role that may make no tables, or a server that takes no changes, serves where nothing is to be made: even to look whether a table is
    // there, the steps' library would make it.
    if db.is_postgres() && pending(db, realtime).await?.is_empty() {
        return Ok(());
    }
    let transaction = db.write().await?;
    if db.is_postgres() {
        transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
    }
    let steps = Migrator::get_pending_migrations(&transaction).await?;
    Migrator::up(&transaction, None).await?;
    if !steps.is_empty() {
        note_program(&transaction).await?;
    }
    if steps.iter().any(|step| step.name() == RAW_DIDS) {
        numbers::settle(&transaction).await?;
    }
    if with_ps_tables {
        RealtimeMigrator::up(&transaction, None).await?;
    }
    Ok(transaction.commit().await?)
}

/// Names of the steps that [`migrate`] would run, oldest first; changes nothing.
///
/// # Errors
/// When the database cannot be read or was migrated by a newer version.
pub async fn pending(db: &Db, realtime: &Realtime) -> Result<Vec<String>, StoreError> {
    refuse_newer(db, realtime).await?;
    let mut steps = Migrator::get_pending_migrations_read_only(&db.connection).await?;
    if matches!(realtime, Realtime::Postgres) {
        steps.extend(RealtimeMigrator::get_pending_migrations_read_only(&db.connection).await?);
    }
    Ok(steps.iter().map(|step| step.name().to_owned()).collect())
}

/// Name of the newest step that the main tables have; `None` where there are no tables yet.
///
/// # Errors
/// When the database cannot be read.
pub async fn newest_step(db: &Db) -> Result<Option<String>, StoreError> {
    // Of a newer version's steps the names alone: the steps' library refuses them.
    let table = Migrator::migration_table_name().to_string();
    if !SchemaManager::new(&db.connection).has_table(&table).await? {
        return Ok(None);
    }
    Ok(texts(db, &format!("SELECT version FROM {table} ORDER BY version DESC LIMIT 1")).await?.into_iter().next())
}

/// Whether this version knows the main tables' step of this name.
#[must_use]
pub fn knows_step(name: &str) -> bool {
    names(Migrator::migrations()).iter().any(|step| step == name)
}

/// Refuses tables that have a step which this version does not know, before anything is written.
async fn refuse_newer(db: &Db, realtime: &Realtime) -> Result<(), StoreError> {
    let mut sets = vec![(Migrator::migration_table_name(), names(Migrator::migrations()))];
    if matches!(realtime, Realtime::Postgres) {
        sets.push((RealtimeMigrator::migration_table_name(), names(RealtimeMigrator::migrations())));
    }
    for (table, known) in sets {
        let table = table.to_string();
        if !SchemaManager::new(&db.connection).has_table(&table).await? {
            continue;
        }
        let applied = texts(db, &format!("SELECT version FROM {table} ORDER BY version DESC")).await?;
        if let Some(step) = applied.into_iter().find(|step| !known.contains(step)) {
            let made_by = texts(db, "SELECT version FROM program").await.unwrap_or_default().into_iter().next();
            let made_by = made_by.map_or_else(|| "a newer version".to_owned(), |version| format!("version {version}"));
            return Err(StoreError::NewerDatabase { target: db.target().to_owned(), made_by, step });
        }
    }
    Ok(())
}

fn names(steps: Vec<Box<dyn MigrationTrait>>) -> Vec<String> {
    steps.iter().map(|step| step.name().to_owned()).collect()
}

/// The first column of what a query finds.
async fn texts(db: &Db, query: &str) -> Result<Vec<String>, DbErr> {
    let rows = db.connection.query_all_raw(Statement::from_string(db.connection.get_database_backend(), query)).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// Notes that this version has brought the tables up to date.
async fn note_program(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    transaction.execute_unprepared("DELETE FROM program").await?;
    let note = format!("INSERT INTO program (version) VALUES ('{}')", env!("CARGO_PKG_VERSION"));
    transaction.execute_unprepared(&note).await.map(drop)
}

/// The layout of `realtime.db`: how many steps this version knows.
pub(super) fn realtime_layout() -> usize {
    RealtimeMigrator::migrations().len()
}

/// Brings `realtime.db` up to date inside a transaction that already holds its write lock. What a newer version has made is for the caller
/// to refuse before.
pub(super) async fn migrate_realtime(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    RealtimeMigrator::up(transaction, None).await?;
    transaction.execute_unprepared(&format!("PRAGMA user_version = {}", realtime_layout())).await.map(drop)
}

/// Whether `realtime.db` lacks steps that [`migrate_realtime`] would run; changes nothing.
pub(super) async fn pending_realtime(connection: &DatabaseConnection) -> Result<bool, DbErr> {
    Ok(!RealtimeMigrator::get_pending_migrations_read_only(connection).await?.is_empty())
}
