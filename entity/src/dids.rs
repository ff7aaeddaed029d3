//! Inbound numbers.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "dids")]
pub struct Model {
    /// Row id.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// E.164, or the raw text of what is not a number; unique.
    pub number: String,
    /// Whether it is no E.164 number.
    pub raw: bool,
    /// Owner (`users.id`).
    pub seller_id: i64,
    /// `active`, `paused` or `archived`.
    pub status: String,
    /// Grows with every change.
    pub version: i64,
    /// Its id on the old platform; unique.
    pub legacy_id: Option<String>,
}

/// No relations: aggregates are read by explicit queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
