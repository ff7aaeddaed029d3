//! The tables Asterisk reads, step by step.

use sea_orm_migration::prelude::MigrationTrait;

mod m20261122_000001_ps_tables;

pub(crate) fn all() -> Vec<Box<dyn MigrationTrait>> {
    vec![Box::new(m20261122_000001_ps_tables::Step)]
}
