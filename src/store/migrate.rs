//! Bringing the tables up to date.

use migration::{Migrate, Migrator, RealtimeMigrator};
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr};

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
    // A role that may make no tables, or a server that takes no changes, serves where nothing is to be made: even to look whether a table is
    // there, the steps' library would make it.
    if db.is_postgres() && pending(db, realtime).await?.is_empty() {
        return Ok(());
    }
    let transaction = db.write().await?;
    if db.is_postgres() {
        transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
    }
    let brings_raw = Migrator::get_pending_migrations(&transaction).await?.iter().any(|step| step.name() == RAW_DIDS);
    Migrator::up(&transaction, None).await?;
    if brings_raw {
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
    let mut steps = Migrator::get_pending_migrations_read_only(&db.connection).await?;
    if matches!(realtime, Realtime::Postgres) {
        steps.extend(RealtimeMigrator::get_pending_migrations_read_only(&db.connection).await?);
    }
    Ok(steps.iter().map(|step| step.name().to_owned()).collect())
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
