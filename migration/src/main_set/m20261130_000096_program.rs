//! Which version of the program has brought the tables up to date last: what an older one is told that finds steps it does not know.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

use crate::dialect;

/// One row, once a version has noted itself.
const TABLE: &str = "CREATE TABLE program (version TEXT NOT NULL);";

/// Notes itself in no row: whoever carries the steps out does.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Step;

#[async_trait::async_trait]
impl MigrationTrait for Step {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, TABLE).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
