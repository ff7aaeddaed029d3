//! The tables Asterisk reads, step by step.

use sea_orm_migration::prelude::MigrationTrait;

mod m20261122_000001_ps_tables;
mod m20261130_000002_hold;

pub(crate) fn all() -> Vec<Box<dyn MigrationTrait>> {
    vec![Box::new(m20261122_000001_ps_tables::Step), Box::new(m20261130_000002_hold::Step)]
}
