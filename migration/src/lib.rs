//! Database migrations: [`Migrator`] for the main database, [`RealtimeMigrator`] for the `ps_*` tables that Asterisk reads.
//!
//! Each file is one step, written once for SQLite and PostgreSQL (see [`dialect`]), forward only. The caller runs `up` inside one
//! transaction that holds a lock, so that two processes may start together and a failed step leaves nothing behind. A step on a large table
//! of PostgreSQL takes no longer than it takes to note a column: whatever reads or writes rows is in [`LATER`].

mod dialect;
mod later;
mod main_set;
mod realtime_set;

use sea_orm_migration::prelude::{DynIden, MigratorTrait, async_trait};
use sea_orm_migration::sea_query::{Alias, IntoIden};

pub use later::{Fill, LATER, Later};
pub use sea_orm_migration::MigratorTrait as Migrate;
pub use sea_orm_migration::prelude::{MigrationTrait, SchemaManager};

/// Steps of the main database, oldest first.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        main_set::all()
    }
}

/// Steps of the `ps_*` tables, in `realtime.db` or beside the main tables in PostgreSQL; hence a ledger of its own.
#[derive(Debug)]
pub struct RealtimeMigrator;

#[async_trait::async_trait]
impl MigratorTrait for RealtimeMigrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        realtime_set::all()
    }

    fn migration_table_name() -> DynIden {
        Alias::new("realtime_migrations").into_iden()
    }
}
