//! Sellers that may use a client whose access is `selected`.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "client_sellers")]
pub struct Model {
    /// `clients.id`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub client_id: i64,
    /// `users.id`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seller_id: i64,
}

/// No relations: aggregates are read by explicit queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
